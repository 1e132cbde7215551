//! Makes the calls of a plan.

use std::time::Duration;

use bulkhead_types::{Cancelled, Execute, GuestName, Outcome, Progress, Report, chain};
use tokio::time::Instant;
use virt::connect::Connect;
use virt::domain::Domain;
use virt::error::ErrorNumber;
use virt::network::Network;
use virt::storage_pool::StoragePool;
use virt::storage_vol::StorageVol;
use virt::sys;

use super::definition::Definition;
use super::error::{Error, Refused as _};
use super::model::NAMESPACE;
use super::observe::{inactive_domain, irreplaceable, marked_network, occupied};
use super::plan::{DEFAULT, Plan};
use super::step::Step;
use super::thread::Libvirt;
use super::xml::{domain_xml, is_as_made, mark_as_made, mark_away, read_domain};

/// How long one call may take: the start of a guest under emulation on a busy host, or a volume on a slow disk.
const DEADLINE: Duration = Duration::from_secs(60);

impl Libvirt {
    /// Makes the calls of a plan, each of which may take a minute, as [`Report::of`] says.
    pub async fn apply(&self, plan: &Plan, cancelled: Cancelled<'_>, progress: Progress<'_, Step>) -> Report<Step> {
        Report::of(plan, self, cancelled, progress).await
    }
}

impl Execute<Step> for &Libvirt {
    async fn execute(&mut self, step: &Step) -> Outcome {
        let own = step.clone();
        let result = self.call(DEADLINE, move |connect| execute(connect, &own)).await;
        let failure = result.err().map(|error| chain(&why(step, error)));
        match step {
            // A start that fails is one too: libvirt tells of it by events, which would try it again at once.
            Step::Start { guest } => self.shared.patience.started(guest, failure.clone(), Instant::now()),
            Step::Shutdown { guest } if failure.is_none() => self.shared.patience.shut_down(guest, Instant::now()),
            _ => {}
        }
        failure.map_or(Outcome::Done, Outcome::Failed)
    }
}

/// Why a step was not acknowledged: a start that libvirt has taken up goes on when nobody waits for it any more.
fn why(step: &Step, error: Error) -> Error {
    match (step, error) {
        (Step::Start { .. }, Error::Late(deadline)) => Error::Starts(deadline),
        (_, error) => error,
    }
}

fn execute(connect: &Connect, step: &Step) -> Result<(), Error> {
    match step {
        Step::DefinePool { pool, xml } => {
            StoragePool::define_xml(connect, xml, 0).map(drop).refused("pool-define", pool)
        }
        Step::BuildPool { at, .. } => pool(connect, at)?.build(0).map(drop).refused("pool-build", at),
        Step::StartPool { at, .. } => pool(connect, at)?.create(0).map(drop).refused("pool-start", at),
        Step::AutostartPool { pool: name } => {
            pool(connect, name)?.set_autostart(true).map(drop).refused("pool-autostart", name)
        }
        Step::CreateVolume { at, volume, xml, .. } => create_volume(connect, at, volume, xml),
        Step::DestroyNetwork { network: name } => {
            network(connect, "net-destroy", name)?.destroy().refused("net-destroy", name)
        }
        Step::UndefineNetwork { network: name } => {
            network(connect, "net-undefine", name)?.undefine().refused("net-undefine", name)
        }
        Step::DefineNetwork { network, xml } => {
            Network::define_xml(connect, xml).map(drop).refused("net-define", network)
        }
        Step::StartNetwork { network: name } => {
            network(connect, "net-start", name)?.create().map(drop).refused("net-start", name)
        }
        Step::AutostartNetwork { network: name } => {
            network(connect, "net-autostart", name)?.set_autostart(true).map(drop).refused("net-autostart", name)
        }
        Step::DefineDomain { guest, wanted, found, .. } => define(connect, guest, wanted, found.as_deref()),
        Step::NoteAway { guest, away } => {
            let domain = domain(connect, "metadata", guest)?;
            let mark = |xml: &str| mark_away(guest.as_str(), xml, *away).refused("dumpxml --inactive", guest.as_str());
            set_mark(&domain, guest.as_str(), mark)
        }
        Step::NoAutostart { guest } => {
            let domain = domain(connect, "autostart --disable", guest)?;
            domain.set_autostart(false).map(drop).refused("autostart --disable", guest.as_str())
        }
        Step::Start { guest } => start(&domain(connect, "start", guest)?, guest),
        Step::Shutdown { guest } => {
            unoccupied(connect, "shutdown", guest)?.shutdown().map(drop).refused("shutdown", guest.as_str())
        }
        Step::Destroy { guest } => unoccupied(connect, "destroy", guest)?.destroy().refused("destroy", guest.as_str()),
        Step::UndefineDomain { guest } => {
            let domain = domain(connect, "undefine", guest)?;
            if !irreplaceable(&domain, guest.as_str())?.is_empty() {
                return Err(Error::Changed { operation: "undefine", object: guest.to_string() });
            }
            domain.undefine_flags(UNDEFINE).refused("undefine", guest.as_str())
        }
    }
}

/// A domain's firmware variables and the state of its TPM are a person's, like its volumes. libvirt refuses to forget one that
/// has saved memory, snapshots or checkpoints, and no flag of ours says otherwise.
const UNDEFINE: sys::virDomainUndefineFlagsValues =
    sys::VIR_DOMAIN_UNDEFINE_KEEP_NVRAM | sys::VIR_DOMAIN_UNDEFINE_KEEP_TPM;

/// How often a definition is made of a newer one before the step gives up on somebody who goes on changing it.
const ROUNDS: usize = 3;

/// Sets our facets in the definition that a domain has, or defines a new one.
fn define(connect: &Connect, guest: &GuestName, wanted: &Definition, found: Option<&Definition>) -> Result<(), Error> {
    define_from(connect, guest, wanted, found, &mut || definition(connect, guest.as_str()))
}

/// The definition is read with its secrets, so that whatever else it holds is written back; where the part that we speak of is
/// no longer the one that the plan saw, such as after a snapshot, nothing is written. libvirt cannot write on the condition
/// that nothing has changed, so the definition is read again right before: what somebody has written meanwhile is edited anew.
pub(super) fn define_from(
    connect: &Connect,
    guest: &GuestName,
    wanted: &Definition,
    found: Option<&Definition>,
    read: &mut dyn FnMut() -> Result<Option<String>, Error>,
) -> Result<(), Error> {
    let name = guest.as_str();
    let mut current = read()?;
    for _ in 0..ROUNDS {
        let xml = edit(name, wanted, found, current.as_deref())?;
        let ours_alone = current.as_deref().map_or(Ok(true), is_as_made).refused("dumpxml --inactive", name)?;
        if current.is_some() {
            unoccupied(connect, "define", guest)?;
        }
        let now = read()?;
        if now != current {
            current = now;
            continue;
        }
        // libvirt itself refuses where the name is taken by a domain of another uuid.
        let domain = Domain::define_xml(connect, &xml).refused("define", name)?;
        if ours_alone && let Err(error) = set_mark(&domain, name, |xml| as_made(name, wanted, xml)) {
            // Without the note the domain stays defined when it leaves the manifest, which loses nothing.
            tracing::warn!(guest = name, error = chain(&error), "cannot note that the definition is ours alone");
        }
        return Ok(());
    }
    Err(Error::Changed { operation: "define", object: name.to_owned() })
}

/// What libvirt has of a domain for its next start, with its secrets; `None` where there is no such domain.
pub(super) fn definition(connect: &Connect, name: &str) -> Result<Option<String>, Error> {
    match Domain::lookup_by_name(connect, name) {
        Ok(domain) => {
            let flags = sys::VIR_DOMAIN_XML_INACTIVE | sys::VIR_DOMAIN_XML_SECURE;
            domain.get_xml_desc(flags).map(Some).refused("dumpxml --inactive --security-info", name)
        }
        Err(error) if error.code() == ErrorNumber::NoDomain => Ok(None),
        Err(error) => Err(error).refused("find domain", name),
    }
}

/// The definition to write in the place of the current one, if that is ours and as the plan saw it.
fn edit(name: &str, wanted: &Definition, found: Option<&Definition>, current: Option<&str>) -> Result<String, Error> {
    let read = current.map(read_domain).transpose().refused("dumpxml --inactive", name)?;
    if read.as_ref().is_some_and(|read| !read.owned) {
        return Err(Error::Foreign { operation: "define", object: format!("domain {name}") });
    }
    if read.as_ref().map(|read| &read.definition) != found {
        return Err(Error::Changed { operation: "define", object: name.to_owned() });
    }
    domain_xml(name, wanted, current).refused("define", name)
}

/// The mark for what libvirt made of the definition that we have just written. Where that is not ours any more, or not as
/// wanted, somebody has written another since. What leaves all that we speak of as it is cannot be told from what libvirt adds.
fn as_made(name: &str, wanted: &Definition, xml: &str) -> Result<String, Error> {
    let read = read_domain(xml).refused("dumpxml --inactive", name)?;
    if !read.owned || !wanted.differences(&read.definition).is_empty() {
        return Err(Error::Changed { operation: "metadata", object: name.to_owned() });
    }
    mark_as_made(name, xml).refused("dumpxml --inactive", name)
}

/// Puts a mark of ours that is made of the definition as libvirt has it now in the place of the one in it.
fn set_mark(domain: &Domain, name: &str, mark: impl FnOnce(&str) -> Result<String, Error>) -> Result<(), Error> {
    let xml = domain.get_xml_desc(sys::VIR_DOMAIN_XML_INACTIVE).refused("dumpxml --inactive", name)?;
    let mark = mark(&xml)?;
    let kind = sys::VIR_DOMAIN_METADATA_ELEMENT.cast_signed();
    let (key, uri) = (Some("bulkhead"), Some(NAMESPACE));
    domain.set_metadata(kind, Some(&mark), key, uri, sys::VIR_DOMAIN_AFFECT_CONFIG).map(drop).refused("metadata", name)
}

fn pool(connect: &Connect, name: &str) -> Result<StoragePool, Error> {
    StoragePool::lookup_by_name(connect, name).refused("find pool", name)
}

/// Makes a volume unless it is there: the plan could not know of a pool that was not yet started.
fn create_volume(connect: &Connect, at: &str, volume: &str, xml: &str) -> Result<(), Error> {
    let pool = pool(connect, at)?;
    if StorageVol::lookup_by_name(&pool, volume).is_ok() {
        return Ok(());
    }
    StorageVol::create_xml(&pool, xml, 0).map(drop).refused("vol-create", volume)
}

/// Starts a domain unless it runs. One that is still being started looks shut off, and libvirt answers a second start when
/// the first is done: a daemon that ended while libvirt started its guests leaves just that.
fn start(domain: &Domain, guest: &GuestName) -> Result<(), Error> {
    match domain.create() {
        Err(_) if domain.is_active().unwrap_or(false) => Ok(()),
        result => result.map(drop).refused("start", guest.as_str()),
    }
}

/// A network of that name that is ours still, or libvirt's own `default`, which only a plan for its absence names.
fn network(connect: &Connect, operation: &'static str, name: &str) -> Result<Network, Error> {
    let network = Network::lookup_by_name(connect, name).refused("find network", name)?;
    let (owned, definition) = marked_network(&network, name)?;
    let libvirts_own = name == DEFAULT && definition.forward.as_deref() == Some("nat");
    if owned || libvirts_own {
        Ok(network)
    } else {
        Err(Error::Foreign { operation, object: format!("network {name}") })
    }
}

/// A domain of that name that is ours still.
fn domain(connect: &Connect, operation: &'static str, guest: &GuestName) -> Result<Domain, Error> {
    let name = guest.as_str();
    let domain = Domain::lookup_by_name(connect, name).refused("find domain", name)?;
    if inactive_domain(&domain, name)?.owned {
        Ok(domain)
    } else {
        Err(Error::Foreign { operation, object: format!("domain {name}") })
    }
}

/// The same, if nobody is at work with it: a migration or a copy that has begun since the look is not ended half way.
fn unoccupied(connect: &Connect, operation: &'static str, guest: &GuestName) -> Result<Domain, Error> {
    let domain = domain(connect, operation, guest)?;
    match occupied(&domain, guest.as_str())? {
        None => Ok(domain),
        Some(_) => Err(Error::Changed { operation, object: guest.to_string() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guest::samples;

    #[test]
    fn what_somebody_wrote_right_after_us_is_not_noted_as_ours_alone() {
        let wanted = samples::definition();
        let made = domain_xml("example", &wanted, None).unwrap();
        assert!(as_made("example", &wanted, &made).is_ok());
        let earlier = Definition { memory: wanted.memory * 2, ..wanted.clone() };
        let over = domain_xml("example", &earlier, Some(&made)).unwrap();
        let unmarked = made.replace(NAMESPACE, "urn:theirs");
        for theirs in [over, unmarked] {
            assert!(matches!(as_made("example", &wanted, &theirs), Err(Error::Changed { .. })), "{theirs}");
        }
    }

    #[test]
    fn a_start_that_takes_long_is_not_called_a_libvirt_that_does_not_answer() {
        let guest: GuestName = "web".parse().unwrap();
        let start = why(&Step::Start { guest: guest.clone() }, Error::Late(DEADLINE)).to_string();
        assert!(start.starts_with("libvirt goes on with the start"), "{start}");
        let shutdown = why(&Step::Shutdown { guest }, Error::Late(DEADLINE)).to_string();
        assert!(shutdown.starts_with("libvirt did not answer within 60 s"), "{shutdown}");
    }
}
