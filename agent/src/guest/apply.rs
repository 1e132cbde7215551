//! Makes the calls of a plan.

use std::time::Duration;

use bulkhead_types::{GuestName, Outcome, Report, chain};
use tokio::time::Instant;
use virt::connect::Connect;
use virt::domain::Domain;
use virt::network::Network;
use virt::storage_pool::StoragePool;
use virt::storage_vol::StorageVol;
use virt::sys;

use super::error::{Error, Refused as _};
use super::observe::{marked_domain, marked_network};
use super::plan::{DEFAULT, Plan};
use super::step::Step;
use super::thread::Libvirt;

/// How long one call may take: the start of a guest under emulation on a busy host, or a volume on a slow disk.
const DEADLINE: Duration = Duration::from_secs(60);

impl Libvirt {
    /// Applies a plan. A failed step skips the later ones of the same object, and those that need that object; the others
    /// go on. `progress` hears of each step once it has ended.
    pub async fn apply(&self, plan: &Plan, progress: &mut (dyn FnMut(&Step, &Outcome) + Send)) -> Report<Step> {
        let mut report = Report::default();
        for step in &plan.steps {
            let outcome = match report.stopped(step) {
                Some(why) => Outcome::Skipped(why.to_owned()),
                None => self.one(step).await,
            };
            progress(step, &outcome);
            report.record(step.clone(), outcome);
        }
        report
    }

    async fn one(&self, step: &Step) -> Outcome {
        let own = step.clone();
        let result = self.call(DEADLINE, move |connect| execute(connect, &own)).await;
        let failure = result.err().map(|error| chain(&error));
        match step {
            // A start that fails is one too: libvirt tells of it by events, which would try it again at once.
            Step::Start { guest } => self.shared.patience.started(guest, failure.clone(), Instant::now()),
            Step::Shutdown { guest } if failure.is_none() => self.shared.patience.shut_down(guest, Instant::now()),
            _ => {}
        }
        failure.map_or(Outcome::Done, Outcome::Failed)
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
        // libvirt itself refuses where the name is taken by a domain of another uuid.
        Step::DefineDomain { guest, xml, .. } => {
            Domain::define_xml(connect, xml).map(drop).refused("define", guest.as_str())
        }
        Step::NoAutostart { guest } => {
            let domain = domain(connect, "autostart --disable", guest)?;
            domain.set_autostart(false).map(drop).refused("autostart --disable", guest.as_str())
        }
        Step::Start { guest } => start(&domain(connect, "start", guest)?, guest),
        Step::Shutdown { guest } => {
            domain(connect, "shutdown", guest)?.shutdown().map(drop).refused("shutdown", guest.as_str())
        }
        Step::Destroy { guest } => domain(connect, "destroy", guest)?.destroy().refused("destroy", guest.as_str()),
        Step::UndefineDomain { guest } => {
            let domain = domain(connect, "undefine", guest)?;
            domain.undefine_flags(UNDEFINE).refused("undefine", guest.as_str())
        }
    }
}

/// What belongs to a domain and not to its volumes, and without which libvirt refuses to forget it.
const UNDEFINE: sys::virDomainUndefineFlagsValues = sys::VIR_DOMAIN_UNDEFINE_MANAGED_SAVE
    | sys::VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
    | sys::VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA;

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
    let (owned, _) = marked_domain(&domain, name)?;
    if owned { Ok(domain) } else { Err(Error::Foreign { operation, object: format!("domain {name}") }) }
}
