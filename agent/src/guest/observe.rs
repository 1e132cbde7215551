//! Reads what libvirt has, and of encrypted pools what is mounted at their place.
//!
//! One object that cannot be read is that one object unknown; only the loss of the connection ends the look.

mod domains;
mod storage;

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bulkhead_types::chain;
use tokio::time::Instant;
use virt::connect::Connect;
use virt::network::Network;
use virt::sys;

pub(super) use domains::{inactive_domain, irreplaceable, occupied};

use super::error::{Error, Refused as _};
use super::model::{Desired, NetworkDefinition, NetworkFound, Observed};
use super::thread::Libvirt;
use super::xml::{read_host, read_network};

/// How long one look at libvirt may take: a thousand calls of a tenth of a millisecond and much patience.
const DEADLINE: Duration = Duration::from_secs(10);

impl Libvirt {
    /// Takes up what is followed from now on: its guests are not asked to shut down any more, and whether mounts wake depends
    /// on its pools.
    pub fn take_up(&self, desired: &Desired) {
        let encrypted = desired.pools.iter().any(|pool| pool.encrypted);
        self.shared.mounts_matter.store(encrypted, Ordering::Relaxed);
        self.shared.patience.declared(desired.guests.iter().map(|guest| &guest.name));
    }

    /// Observes libvirt, for whichever manifest: what was asked of guests, and what wakes, stays as it is. That libvirt is
    /// absent, or does not answer, is an observation and not an error.
    ///
    /// # Errors
    /// libvirt refused to list its objects, or its capabilities are no XML.
    pub async fn observe(&self, desired: &Desired) -> Result<Observed, Error> {
        let wanted = desired.clone();
        match self.call(DEADLINE, move |connect| read(connect, &wanted)).await {
            Ok(observed) => {
                let recent = self.shared.patience.recent(&observed.domains, Instant::now());
                Ok(Observed { recent, timing: self.shared.patience.timing, ..observed })
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
    let mut observed = Observed { host, ..Observed::default() };
    storage::read_pools(connect, desired, &mut observed)?;
    let networks = connect.list_all_networks(0).refused("list", "networks")?;
    let networks = networks.iter().map(|network| (network.get_name().refused("name", "a network"), network));
    let networks = networks.map(|(name, network)| (name, read_one_network(network)));
    (observed.networks, observed.unread.networks) = apart(connect, networks)?;
    let domains = connect.list_all_domains(0).refused("list", "domains")?;
    let domains = domains.iter().map(|domain| (domain.get_name().refused("name", "a domain"), domain));
    let domains = domains.map(|(name, domain)| (name, domains::read_domain(connect, domain, desired, &observed.pools)));
    (observed.domains, observed.unread.domains) = apart(connect, domains)?;
    storage::read_volumes(connect, desired, &mut observed)?;
    Ok(observed)
}

/// What could be read of a kind of objects, by name, and why the rest could not.
type Apart<T> = (BTreeMap<String, T>, BTreeMap<String, String>);

/// Sets apart what could be read and what could not. What has gone since it was listed is neither.
fn apart<T>(
    connect: &Connect,
    objects: impl Iterator<Item = (Result<String, Error>, Result<T, Error>)>,
) -> Result<Apart<T>, Error> {
    let (mut read, mut unread) = (BTreeMap::new(), BTreeMap::new());
    for (name, object) in objects {
        match (name, object) {
            (Ok(name), Ok(object)) => _ = read.insert(name, object),
            (_, Err(error)) | (Err(error), _) if error.is_gone() => {}
            (_, Err(error)) | (Err(error), _) if !connect.is_alive().unwrap_or(false) => return Err(error),
            (Ok(name), Err(error)) => _ = unread.insert(name, chain(&error)),
            (Err(error), _) => tracing::warn!(error = chain(&error), "libvirt does not name one of its objects"),
        }
    }
    Ok((read, unread))
}

fn read_one_network(network: &Network) -> Result<NetworkFound, Error> {
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
    Ok(NetworkFound { uuid, owned, definition, running, persistent, autostart })
}

/// Whether a network is ours, and the definition that its next start uses.
pub(super) fn marked_network(network: &Network, name: &str) -> Result<(bool, NetworkDefinition), Error> {
    let persistent = network.is_persistent().refused("net-info", name)?;
    let inactive = if persistent { sys::VIR_NETWORK_XML_INACTIVE } else { 0 };
    let xml = network.get_xml_desc(inactive).refused("net-dumpxml --inactive", name)?;
    read_network(&xml).refused("net-dumpxml --inactive", name)
}
