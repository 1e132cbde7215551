//! libnftables (libnftables(3)), one context, buffers only, JSON both ways; and one socket option.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString, c_char, c_int, c_uint};
use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::NonNull;

/// `NFT_CTX_DEFAULT`.
const DEFAULT: u32 = 0;
/// `NFT_CTX_OUTPUT_JSON`.
const JSON: c_uint = 1 << 4;
/// `NFT_CTX_OUTPUT_NUMERIC_PROTO`: else protocols are listed by the names in /etc/protocols, where that file is.
const NUMERIC_PROTO: c_uint = 1 << 7;
/// `NFT_CTX_OUTPUT_NUMERIC_PRIO`.
const NUMERIC_PRIO: c_uint = 1 << 8;

/// `struct nft_ctx`.
#[repr(C)]
struct NftCtx {
    opaque: [u8; 0],
}

#[link(name = "nftables")]
unsafe extern "C" {
    fn nft_ctx_new(flags: u32) -> *mut NftCtx;
    fn nft_ctx_free(ctx: *mut NftCtx);
    fn nft_ctx_set_dry_run(ctx: *mut NftCtx, dry: bool);
    fn nft_ctx_output_set_flags(ctx: *mut NftCtx, flags: c_uint);
    fn nft_ctx_buffer_output(ctx: *mut NftCtx) -> c_int;
    fn nft_ctx_buffer_error(ctx: *mut NftCtx) -> c_int;
    fn nft_ctx_get_output_buffer(ctx: *mut NftCtx) -> *const c_char;
    fn nft_ctx_get_error_buffer(ctx: *mut NftCtx) -> *const c_char;
    fn nft_run_cmd_from_buffer(nft: *mut NftCtx, buf: *const c_char) -> c_int;
}

/// A context, with the netlink socket that owns our tables. It stays on the thread that made it.
pub(crate) struct Context {
    ctx: NonNull<NftCtx>,
    /// The library says nothing about threads.
    here: PhantomData<*mut ()>,
}

impl Context {
    /// Opens a context, or tells which call failed.
    pub(crate) fn new() -> Result<Self, &'static str> {
        // SAFETY: takes a number; the result is checked for null before it is used.
        let ctx = NonNull::new(unsafe { nft_ctx_new(DEFAULT) }).ok_or("nft_ctx_new")?;
        let context = Self { ctx, here: PhantomData };
        // SAFETY: the context is alive until `context` is dropped, and used by this thread only.
        unsafe {
            nft_ctx_output_set_flags(ctx.as_ptr(), JSON | NUMERIC_PROTO | NUMERIC_PRIO);
            if nft_ctx_buffer_output(ctx.as_ptr()) != 0 {
                return Err("nft_ctx_buffer_output");
            }
            if nft_ctx_buffer_error(ctx.as_ptr()) != 0 {
                return Err("nft_ctx_buffer_error");
            }
        }
        Ok(context)
    }

    /// Runs one document as one transaction. The output, or what the library or the kernel said against it. When `dry`, the
    /// kernel checks the transaction and commits nothing.
    pub(crate) fn run(&mut self, document: &str, dry: bool) -> Result<String, String> {
        let document = CString::new(document).map_err(|_| "the document has a NUL byte".to_owned())?;
        let ctx = self.ctx.as_ptr();
        // SAFETY: context and document are alive; the buffers that the library returns are its own, terminated by NUL and
        // valid until the next command, which `&mut self` keeps away until they are copied. Reading one empties it.
        unsafe {
            nft_ctx_set_dry_run(ctx, dry);
            let code = nft_run_cmd_from_buffer(ctx, document.as_ptr());
            let output = text(nft_ctx_get_output_buffer(ctx));
            let error = text(nft_ctx_get_error_buffer(ctx));
            if code == 0 { Ok(output) } else { Err(error) }
        }
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: made by nft_ctx_new, freed once.
        unsafe { nft_ctx_free(self.ctx.as_ptr()) }
    }
}

/// # Safety
/// `buffer` is null or a string terminated by NUL.
unsafe fn text(buffer: *const c_char) -> String {
    if buffer.is_null() {
        return String::new();
    }
    // SAFETY: not null, and the caller's promise.
    unsafe { CStr::from_ptr(buffer) }.to_string_lossy().into_owned()
}

/// Gives a socket a receive buffer past the system's limit, for which this process has `CAP_NET_ADMIN`.
pub(crate) fn force_receive_buffer(socket: BorrowedFd<'_>, bytes: c_int) -> io::Result<()> {
    let length = libc::socklen_t::try_from(size_of::<c_int>()).unwrap_or(4);
    // SAFETY: the descriptor is open for as long as it is borrowed, the pointer is to a live value of the length given.
    let done = unsafe {
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, (&raw const bytes).cast(), length)
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
