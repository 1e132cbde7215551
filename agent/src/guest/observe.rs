//! Reads what libvirt has, and of encrypted pools what is mounted at their place.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;
use virt::connect::Connect;
use virt::domain::Domain;
use virt::network::Network;
use virt::storage_pool::StoragePool;
use virt::storage_vol::StorageVol;
use virt::sys;

use super::dm_crypt::unsealed;
use super::error::{Error, Refused as _};
use super::model::{
    Definition, Desired, DomainFound, NetworkDefinition, NetworkFound, Observed, Pool, PoolFound, State,
};
use super::thread::Libvirt;
use super::xml::{read_domain, read_host, read_network, read_pool};

/// How long one look at libvirt may take: a thousand calls of a tenth of a millisecond and much patience.
const DEADLINE: Duration = Duration::from_secs(10);

impl Libvirt {
    /// Observes libvirt. That it is absent, or does not answer, is an observation and not an error.
    ///
    /// # Errors
    /// libvirt refused a read, or said something that is no XML; or `/proc/self/mountinfo` could not be read.
    pub async fn observe(&self, desired: &Desired) -> Result<Observed, Error> {
        let encrypted = desired.pools.iter().any(|pool| pool.encrypted);
        self.shared.mounts_matter.store(encrypted, Ordering::Relaxed);
        self.shared.patience.looked(Instant::now());
        let wanted = desired.clone();
        match self.call(DEADLINE, move |connect| read(connect, &wanted)).await {
            Ok(observed) => {
                let recent = self.shared.patience.recent(desired, &observed.domains, Instant::now());
                Ok(Observed { recent, ..observed })
            }
            Err(Error::Down(why)) => Ok(Observed::down(why)),
            Err(error @ Error::Late(_)) => Ok(Observed::down(error.to_string())),
            Err(error) => Err(error),
        }
    }
}

fn read(connect: &Connect, desired: &Desired) -> Result<Observed, Error> {
    let capabilities = connect.get_capabilities().refused("read", "capabilities")?;
    let host = read_host(&capabilities).refused("read", "capabilities")?;
    let listed = connect.list_all_storage_pools(0).refused("list", "pools")?;
    let pools = present(listed.iter().map(pool))?;
    let networks = connect.list_all_networks(0).refused("list", "networks")?;
    let domains = connect.list_all_domains(0).refused("list", "domains")?;
    let mut found = Observed { host, ..Observed::default() };
    for wanted in &desired.pools {
        // One that this process may not look at is there for all it knows: making it would change its mode.
        let missing = std::fs::metadata(&wanted.path).is_err_and(|error| error.kind() == ErrorKind::NotFound);
        if !missing {
            found.directories.push(wanted.name.clone());
        }
        if wanted.encrypted
            && let Some(why) = unsealed(&wanted.path)?
        {
            found.unsealed.insert(wanted.name.clone(), why);
        }
        let here = pools.iter().zip(&listed).find(|(pool, _)| pool.path.as_ref() == Some(&wanted.path));
        if let Some((_, pool)) = here.filter(|(pool, _)| pool.active) {
            found.volumes.insert(wanted.name.clone(), volumes(pool, wanted, desired));
        }
    }
    found.networks = present(networks.iter().map(network))?.into_iter().collect();
    found.domains = present(domains.iter().map(domain))?.into_iter().collect();
    found.pools = pools;
    Ok(found)
}

/// What is still there: an object may go between the list and the question.
fn present<T>(objects: impl Iterator<Item = Result<T, Error>>) -> Result<Vec<T>, Error> {
    objects.filter(|object| !object.as_ref().is_err_and(Error::is_gone)).collect()
}

fn pool(pool: &StoragePool) -> Result<PoolFound, Error> {
    let name = pool.get_name().refused("name", "a pool")?;
    let xml = pool.get_xml_desc(0).refused("pool-dumpxml", &name)?;
    let path = read_pool(&xml).refused("pool-dumpxml", &name)?;
    let active = pool.is_active().refused("pool-info", &name)?;
    // A pool that only lives until its stop has no autostart to ask for.
    let persistent = pool.is_persistent().refused("pool-info", &name)?;
    let autostart = persistent && pool.get_autostart().refused("pool-info", &name)?;
    Ok(PoolFound { name, path, active, autostart })
}

/// The capacities of the volumes that declared disks name. libvirt lists a directory only when the pool is refreshed, so
/// one that it does not know, or that it knows and whose file is gone, is worth one refresh.
fn volumes(pool: &StoragePool, wanted: &Pool, desired: &Desired) -> BTreeMap<String, u64> {
    let disks = desired.guests.iter().flat_map(|guest| &guest.disks).filter(|disk| disk.pool == wanted.name);
    let names: Vec<_> = disks.map(|disk| disk.volume.as_str()).collect();
    let capacity = |name: &&str| {
        let info = StorageVol::lookup_by_name(pool, name).and_then(|volume| volume.get_info()).ok()?;
        Some(((*name).to_owned(), info.capacity))
    };
    let known: BTreeMap<_, _> = names.iter().filter_map(capacity).collect();
    if names.iter().all(|name| known.contains_key(*name)) {
        return known;
    }
    // Refused while a volume is being made in it; then what is known has to do.
    match pool.refresh(0) {
        Ok(_) => names.iter().filter_map(capacity).collect(),
        Err(_) => known,
    }
}

fn network(network: &Network) -> Result<(String, NetworkFound), Error> {
    let name = network.get_name().refused("name", "a network")?;
    let persistent = network.is_persistent().refused("net-info", &name)?;
    let (owned, definition) = marked_network(network, &name)?;
    let running = if network.is_active().refused("net-info", &name)? {
        let xml = network.get_xml_desc(0).refused("net-dumpxml", &name)?;
        Some(read_network(&xml).refused("net-dumpxml", &name)?.1)
    } else {
        None
    };
    let uuid = network.get_uuid_string().refused("net-uuid", &name)?;
    let autostart = persistent && network.get_autostart().refused("net-info", &name)?;
    Ok((name, NetworkFound { uuid, owned, definition, running, persistent, autostart }))
}

/// Whether a network is ours, and the definition that its next start uses.
pub(super) fn marked_network(network: &Network, name: &str) -> Result<(bool, NetworkDefinition), Error> {
    let persistent = network.is_persistent().refused("net-info", name)?;
    let inactive = if persistent { sys::VIR_NETWORK_XML_INACTIVE } else { 0 };
    let xml = network.get_xml_desc(inactive).refused("net-dumpxml --inactive", name)?;
    read_network(&xml).refused("net-dumpxml --inactive", name)
}

/// Whether a domain is ours, and the definition that its next start uses.
pub(super) fn marked_domain(domain: &Domain, name: &str) -> Result<(bool, Definition), Error> {
    let xml = domain.get_xml_desc(sys::VIR_DOMAIN_XML_INACTIVE).refused("dumpxml --inactive", name)?;
    read_domain(&xml).refused("dumpxml --inactive", name)
}

fn domain(domain: &Domain) -> Result<(String, DomainFound), Error> {
    let name = domain.get_name().refused("name", "a domain")?;
    let uuid = domain.get_uuid_string().refused("domuuid", &name)?;
    let (owned, definition) = marked_domain(domain, &name)?;
    let (state, reason) = domain.get_state().refused("domstate", &name)?;
    let state = state_of(state, reason);
    let running = if domain.is_active().refused("domstate", &name)? {
        let xml = domain.get_xml_desc(0).refused("dumpxml", &name)?;
        Some(read_domain(&xml).refused("dumpxml", &name)?.1)
    } else {
        None
    };
    let persistent = domain.is_persistent().refused("dominfo", &name)?;
    let autostart = persistent && domain.get_autostart().refused("dominfo", &name)?;
    Ok((name, DomainFound { uuid, owned, state, definition, running, persistent, autostart }))
}

fn state_of(state: sys::virDomainState, reason: i32) -> State {
    match state {
        sys::VIR_DOMAIN_RUNNING | sys::VIR_DOMAIN_BLOCKED => State::Running,
        sys::VIR_DOMAIN_SHUTOFF => State::ShutOff,
        sys::VIR_DOMAIN_PAUSED => State::Paused(paused(reason.cast_unsigned())),
        sys::VIR_DOMAIN_SHUTDOWN => State::Other("shutting down"),
        sys::VIR_DOMAIN_CRASHED => State::Other("crashed"),
        sys::VIR_DOMAIN_PMSUSPENDED => State::Other("asleep"),
        _ => State::Other("in a state that libvirt does not name"),
    }
}

/// virsh's words for the reasons.
fn paused(reason: sys::virDomainPausedReason) -> &'static str {
    match reason {
        sys::VIR_DOMAIN_PAUSED_USER => "by a user",
        sys::VIR_DOMAIN_PAUSED_MIGRATION => "for a migration",
        sys::VIR_DOMAIN_PAUSED_SAVE => "while it is saved",
        sys::VIR_DOMAIN_PAUSED_DUMP => "while it is dumped",
        sys::VIR_DOMAIN_PAUSED_IOERROR => "by an I/O error of a disk",
        sys::VIR_DOMAIN_PAUSED_WATCHDOG => "by its watchdog",
        sys::VIR_DOMAIN_PAUSED_FROM_SNAPSHOT => "since it was restored from a snapshot",
        sys::VIR_DOMAIN_PAUSED_SHUTTING_DOWN => "while it shuts down",
        sys::VIR_DOMAIN_PAUSED_SNAPSHOT => "for a snapshot",
        sys::VIR_DOMAIN_PAUSED_CRASHED => "by a crash",
        sys::VIR_DOMAIN_PAUSED_STARTING_UP => "while it starts",
        _ => "for a reason that libvirt does not name",
    }
}
