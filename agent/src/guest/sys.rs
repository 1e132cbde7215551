//! What the `virt` crate lacks: events of domains, networks and pools, the callback of a closed connection, and
//! what a domain has of block jobs, checkpoints, snapshots and saved memory; and the one registration of a descriptor that tokio calls unsafe.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::sync::Arc;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use virt::connect::Connect;
use virt::domain::Domain;
use virt::error::Error;
use virt::sys;

/// Waits for urgent events of a file.
///
/// # Errors
/// The runtime cannot wait for this kind of file.
pub(super) fn urgent(file: File) -> io::Result<AsyncFd<File>> {
    // SAFETY: a `File` gives the same descriptor for as long as it lives, and the `AsyncFd` owns it until then.
    Ok(unsafe { AsyncFd::register_with_interest(file, Interest::PRIORITY) }?)
}

/// Whether a block job is running on a disk of a running domain.
///
/// # Errors
/// libvirt refused to say.
pub(super) fn has_block_job(domain: &Domain, disk: &str) -> Result<bool, Error> {
    // A target with a NUL in it is none of libvirt's.
    let Ok(disk) = CString::new(disk) else { return Ok(false) };
    let mut info = MaybeUninit::<sys::virDomainBlockJobInfo>::zeroed();
    // SAFETY: `domain` is referenced, `disk` is a C string and `info` has room for the answer, which is not read.
    counted(unsafe { sys::virDomainGetBlockJobInfo(domain.as_ptr(), disk.as_ptr(), info.as_mut_ptr(), 0) })
        .map(|found| found > 0)
}

/// Whether nobody is just calling something of a running domain. libvirt answers this at once, while most other questions about
/// a domain wait for such a call.
///
/// # Errors
/// libvirt refused to say.
pub(super) fn is_free(domain: &Domain) -> Result<bool, Error> {
    let mut info = MaybeUninit::<sys::virDomainControlInfo>::zeroed();
    // SAFETY: `domain` is referenced and `info` has room for the answer.
    counted(unsafe { sys::virDomainGetControlInfo(domain.as_ptr(), info.as_mut_ptr(), 0) })?;
    // SAFETY: it is a struct of numbers, of which all bits zero is a value, and libvirt has written it.
    Ok(unsafe { info.assume_init() }.state == sys::VIR_DOMAIN_CONTROL_OK)
}

/// How many snapshots libvirt knows of a domain.
///
/// # Errors
/// libvirt refused to say.
pub(super) fn snapshots(domain: &Domain) -> Result<u32, Error> {
    // SAFETY: `domain` is referenced.
    counted(unsafe { sys::virDomainSnapshotNum(domain.as_ptr(), 0) })
}

/// How many checkpoints libvirt knows of a domain.
///
/// # Errors
/// libvirt refused to say.
pub(super) fn checkpoints(domain: &Domain) -> Result<u32, Error> {
    // SAFETY: `domain` is referenced; without a place for the list libvirt only counts.
    counted(unsafe { sys::virDomainListAllCheckpoints(domain.as_ptr(), std::ptr::null_mut(), 0) })
}

/// The definition in a domain's saved memory.
///
/// # Errors
/// libvirt refused to say, such as where there is none.
pub(super) fn saved_definition(domain: &Domain) -> Result<String, Error> {
    // SAFETY: `domain` is referenced.
    let text = unsafe { sys::virDomainManagedSaveGetXMLDesc(domain.as_ptr(), 0) };
    if text.is_null() {
        return Err(Error::last_error());
    }
    // SAFETY: libvirt gave a C string of its own, which the caller frees.
    let xml = unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned();
    // SAFETY: it was allocated by malloc(3) and nobody else has it.
    unsafe { libc::free(text.cast()) };
    Ok(xml)
}

/// An answer that is a number, or -1 after an error.
fn counted(answer: libc::c_int) -> Result<u32, Error> {
    u32::try_from(answer).map_err(|_| Error::last_error())
}

/// Who is told, on the thread of libvirt's event loop. Both must return at once and must not call libvirt.
pub(super) trait Listener: Send + Sync + 'static {
    /// Something in libvirt changed.
    fn changed(&self);
    /// The connection is gone.
    fn closed(&self);
}

/// The callbacks of one connection, by libvirt's numbers. libvirt keeps the connection alive while they exist, so they are
/// given back before it is closed.
#[derive(Debug, Default)]
pub(super) struct Subscription {
    domains: Vec<i32>,
    network: Option<i32>,
    pool: Option<i32>,
    closed: bool,
}

/// Registers `listener` for whatever this connection's driver can tell. A driver that cannot (libvirt's test driver knows
/// no closed connection) leaves that part out: the timer still looks.
///
/// The event loop must run ([`virt::event`]), or libvirt refuses.
pub(super) fn subscribe<L: Listener>(connect: &Connect, listener: &Arc<L>) -> Subscription {
    let conn = connect.as_ptr();
    // SAFETY: a function pointer is cast to libvirt's generic callback type, as its API asks (VIR_NETWORK_EVENT_CALLBACK);
    // for VIR_NETWORK_EVENT_ID_LIFECYCLE libvirt calls it with exactly the arguments of virConnectNetworkEventLifecycleCallback.
    let on_network: sys::virConnectNetworkEventGenericCallback =
        unsafe { std::mem::transmute(on_network::<L> as *const ()) };
    // SAFETY: as above, for VIR_STORAGE_POOL_EVENT_ID_LIFECYCLE and virConnectStoragePoolEventLifecycleCallback.
    let on_pool: sys::virConnectStoragePoolEventGenericCallback =
        unsafe { std::mem::transmute(on_pool::<L> as *const ()) };
    let domains = domain_events::<L>().into_iter().filter_map(|(event, callback)| {
        // SAFETY: `conn` is open; null means every domain; `opaque` owns a reference that `release` gives back.
        registered::<L>(listener, |opaque| unsafe {
            let any = std::ptr::null_mut();
            sys::virConnectDomainEventRegisterAny(conn, any, event as i32, callback, opaque, Some(release::<L>))
        })
    });
    let domains = domains.collect();
    let lifecycle = sys::VIR_NETWORK_EVENT_ID_LIFECYCLE as i32;
    // SAFETY: as for domains.
    let network = registered::<L>(listener, |opaque| unsafe {
        let any = std::ptr::null_mut();
        sys::virConnectNetworkEventRegisterAny(conn, any, lifecycle, on_network, opaque, Some(release::<L>))
    });
    let lifecycle = sys::VIR_STORAGE_POOL_EVENT_ID_LIFECYCLE as i32;
    // SAFETY: as for domains.
    let pool = registered::<L>(listener, |opaque| unsafe {
        let any = std::ptr::null_mut();
        sys::virConnectStoragePoolEventRegisterAny(conn, any, lifecycle, on_pool, opaque, Some(release::<L>))
    });
    // SAFETY: as for domains.
    let closed = registered::<L>(listener, |opaque| unsafe {
        sys::virConnectRegisterCloseCallback(conn, Some(on_close::<L>), opaque, Some(release::<L>))
    });
    Subscription { domains, network, pool, closed: closed.is_some() }
}

/// libvirt's one type for the callbacks of all events of domains.
type OnDomain = sys::virConnectDomainEventGenericCallback;

/// The events of a domain that can change what is planned, each with its callback.
fn domain_events<L: Listener>() -> [(sys::virDomainEventID, OnDomain); 5] {
    use std::mem::transmute;
    // SAFETY: libvirt takes every callback as one of the generic type, as its API asks (VIR_DOMAIN_EVENT_CALLBACK), and calls it with
    // the arguments of the type that is named here, which libvirt-domain.h has for the event.
    unsafe {
        [
            // It was defined, started, paused, stopped or forgotten.
            (
                sys::VIR_DOMAIN_EVENT_ID_LIFECYCLE,
                transmute::<sys::virConnectDomainEventCallback, OnDomain>(Some(on_domain::<L>)),
            ),
            // A copy, a pull or a commit of a disk is ready, or has ended.
            (
                sys::VIR_DOMAIN_EVENT_ID_BLOCK_JOB_2,
                transmute::<sys::virConnectDomainEventBlockJobCallback, OnDomain>(Some(on_block_job::<L>)),
            ),
            // A backup or a migration has ended.
            (
                sys::VIR_DOMAIN_EVENT_ID_JOB_COMPLETED,
                transmute::<sys::virConnectDomainEventJobCompletedCallback, OnDomain>(Some(on_job::<L>)),
            ),
            // A device was plugged into a running guest, or taken out of it.
            (
                sys::VIR_DOMAIN_EVENT_ID_DEVICE_ADDED,
                transmute::<sys::virConnectDomainEventDeviceAddedCallback, OnDomain>(Some(on_device::<L>)),
            ),
            (
                sys::VIR_DOMAIN_EVENT_ID_DEVICE_REMOVED,
                transmute::<sys::virConnectDomainEventDeviceRemovedCallback, OnDomain>(Some(on_device::<L>)),
            ),
        ]
    }
}

/// Gives the callbacks back. On a connection that is gone libvirt forgets them without asking the daemon.
pub(super) fn unsubscribe<L: Listener>(connect: &Connect, subscription: &Subscription) {
    let conn = connect.as_ptr();
    // SAFETY: `conn` is still referenced, and each number is one that this connection gave out and that is given back once,
    // since the caller drops the subscription after this. A failure leaves the callback registered, which is safe: it owns
    // what it points to.
    unsafe {
        for id in &subscription.domains {
            sys::virConnectDomainEventDeregisterAny(conn, *id);
        }
        if let Some(id) = subscription.network {
            sys::virConnectNetworkEventDeregisterAny(conn, id);
        }
        if let Some(id) = subscription.pool {
            sys::virConnectStoragePoolEventDeregisterAny(conn, id);
        }
        if subscription.closed {
            sys::virConnectUnregisterCloseCallback(conn, Some(on_close::<L>));
        }
    }
}

/// Hands a reference to libvirt; `None` where it refused. libvirt does not say whether it released the reference of a call
/// that it refused, so that one is never reclaimed: a few bytes for each connection at most.
fn registered<L: Listener>(listener: &Arc<L>, register: impl FnOnce(*mut libc::c_void) -> i32) -> Option<i32> {
    let opaque = Arc::into_raw(Arc::clone(listener)).cast_mut().cast();
    let number = register(opaque);
    (number >= 0).then_some(number)
}

extern "C" fn release<L: Listener>(opaque: *mut libc::c_void) {
    // SAFETY: libvirt hands back, once, the pointer that `registered` made by `Arc::into_raw`.
    drop(unsafe { Arc::<L>::from_raw(opaque.cast_const().cast()) });
}

/// The listener behind a callback's pointer.
///
/// # Safety
/// `opaque` is what [`registered`] handed to libvirt, and libvirt has not released it: it does so only after the last call.
unsafe fn listener<'a, L: Listener>(opaque: *mut libc::c_void) -> &'a L {
    // SAFETY: the caller's promise; the reference that libvirt holds keeps it alive.
    unsafe { &*opaque.cast_const().cast::<L>() }
}

extern "C" fn on_domain<L: Listener>(
    _: sys::virConnectPtr,
    _: sys::virDomainPtr,
    _: libc::c_int,
    _: libc::c_int,
    opaque: *mut libc::c_void,
) -> libc::c_int {
    // SAFETY: libvirt calls with the pointer it was given.
    unsafe { listener::<L>(opaque) }.changed();
    0
}

extern "C" fn on_block_job<L: Listener>(
    _: sys::virConnectPtr,
    _: sys::virDomainPtr,
    _: *const libc::c_char,
    _: libc::c_int,
    _: libc::c_int,
    opaque: *mut libc::c_void,
) {
    // SAFETY: libvirt calls with the pointer it was given.
    unsafe { listener::<L>(opaque) }.changed();
}

extern "C" fn on_job<L: Listener>(
    _: sys::virConnectPtr,
    _: sys::virDomainPtr,
    _: sys::virTypedParameterPtr,
    _: libc::c_int,
    opaque: *mut libc::c_void,
) {
    // SAFETY: libvirt calls with the pointer it was given.
    unsafe { listener::<L>(opaque) }.changed();
}

extern "C" fn on_device<L: Listener>(
    _: sys::virConnectPtr,
    _: sys::virDomainPtr,
    _: *const libc::c_char,
    opaque: *mut libc::c_void,
) {
    // SAFETY: libvirt calls with the pointer it was given.
    unsafe { listener::<L>(opaque) }.changed();
}

extern "C" fn on_network<L: Listener>(
    _: sys::virConnectPtr,
    _: sys::virNetworkPtr,
    _: libc::c_int,
    _: libc::c_int,
    opaque: *mut libc::c_void,
) {
    // SAFETY: libvirt calls with the pointer it was given.
    unsafe { listener::<L>(opaque) }.changed();
}

extern "C" fn on_pool<L: Listener>(
    _: sys::virConnectPtr,
    _: sys::virStoragePoolPtr,
    _: libc::c_int,
    _: libc::c_int,
    opaque: *mut libc::c_void,
) {
    // SAFETY: libvirt calls with the pointer it was given.
    unsafe { listener::<L>(opaque) }.changed();
}

extern "C" fn on_close<L: Listener>(_: sys::virConnectPtr, _: libc::c_int, opaque: *mut libc::c_void) {
    // SAFETY: libvirt calls with the pointer it was given.
    unsafe { listener::<L>(opaque) }.closed();
}
