//! The writes that a plan can hold, in virsh's words.

use std::fmt;

use bulkhead_types::{GuestName, Object};
use serde::Serialize;

use super::definition::Definition;
use super::model::Away;
use super::xml::{XmlError, domain_xml};

/// One call of libvirt. It names its object by what a person calls it; `apply` makes sure that a domain or network of that
/// name is ours before it touches it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "step")]
pub enum Step {
    /// Defines a pool that nobody has.
    DefinePool {
        /// The pool, by its name in the manifest, which is also libvirt's.
        pool: String,
        /// Its definition.
        xml: String,
    },
    /// Makes the directory of a pool.
    BuildPool {
        /// The pool, by its name in the manifest.
        pool: String,
        /// libvirt's name of it.
        at: String,
    },
    /// Starts a pool.
    StartPool {
        /// The pool, by its name in the manifest.
        pool: String,
        /// libvirt's name of it.
        at: String,
    },
    /// Lets libvirtd start a pool by itself.
    AutostartPool {
        /// The pool, by its name in the manifest, which is also libvirt's.
        pool: String,
    },
    /// Makes a volume, unless one of that name is there.
    CreateVolume {
        /// The guest whose disk it is.
        guest: GuestName,
        /// The pool, by its name in the manifest.
        pool: String,
        /// libvirt's name of the pool.
        at: String,
        /// The volume.
        volume: String,
        /// Its definition.
        xml: String,
    },
    /// Stops a network: one of ours, or libvirt's own `default`.
    DestroyNetwork {
        /// The network.
        network: String,
    },
    /// Forgets a network: one of ours, or libvirt's own `default`.
    UndefineNetwork {
        /// The network.
        network: String,
    },
    /// Defines a network, or defines it anew.
    DefineNetwork {
        /// The network.
        network: String,
        /// Its definition.
        xml: String,
    },
    /// Starts a network.
    StartNetwork {
        /// The network.
        network: String,
    },
    /// Lets libvirtd start a network by itself.
    AutostartNetwork {
        /// The network.
        network: String,
    },
    /// Defines a domain, or sets our facets in its definition; one that runs goes on with its old definition.
    DefineDomain {
        /// The guest.
        guest: GuestName,
        /// Its facets.
        wanted: Box<Definition>,
        /// What was found of its definition; `None` for a new one. Where it is another by now, the step fails.
        found: Option<Box<Definition>>,
        /// What is not as the manifest says; empty for a new one.
        differences: Vec<String>,
    },
    /// Notes in a domain's metadata where its guest went, or that it is here again.
    NoteAway {
        /// The guest.
        guest: GuestName,
        /// Where it went.
        away: Option<Away>,
    },
    /// Keeps libvirtd from starting a domain by itself: only this agent knows when its walls stand.
    NoAutostart {
        /// The guest.
        guest: GuestName,
    },
    /// Starts a domain, unless it runs.
    Start {
        /// The guest.
        guest: GuestName,
    },
    /// Asks a guest to shut down, as its power button would.
    Shutdown {
        /// The guest.
        guest: GuestName,
    },
    /// Pulls a guest's plug.
    Destroy {
        /// The guest.
        guest: GuestName,
    },
    /// Forgets a domain; its volumes stay.
    UndefineDomain {
        /// The guest.
        guest: GuestName,
    },
}

impl Step {
    /// The definition that a [`Self::DefineDomain`] writes, made of the one that libvirt has, where it has one; `None` of any
    /// other step.
    ///
    /// # Errors
    /// The definition that libvirt has is no XML of a domain.
    pub fn domain_xml(&self, current: Option<&str>) -> Result<Option<String>, XmlError> {
        match self {
            Self::DefineDomain { guest, wanted, .. } => domain_xml(guest.as_str(), wanted, current).map(Some),
            _ => Ok(None),
        }
    }
}

impl bulkhead_types::Step for Step {
    fn needs(&self) -> Option<Object> {
        match self {
            Self::CreateVolume { pool, .. } => Some(Object::Pool(pool.clone())),
            _ => None,
        }
    }

    fn object(&self) -> Object {
        match self {
            Self::DefinePool { pool, .. }
            | Self::BuildPool { pool, .. }
            | Self::StartPool { pool, .. }
            | Self::AutostartPool { pool } => Object::Pool(pool.clone()),
            Self::DestroyNetwork { network }
            | Self::UndefineNetwork { network }
            | Self::DefineNetwork { network, .. }
            | Self::StartNetwork { network }
            | Self::AutostartNetwork { network } => Object::Network(network.clone()),
            Self::CreateVolume { guest, .. }
            | Self::DefineDomain { guest, .. }
            | Self::NoteAway { guest, .. }
            | Self::NoAutostart { guest }
            | Self::Start { guest }
            | Self::Shutdown { guest }
            | Self::Destroy { guest }
            | Self::UndefineDomain { guest } => Object::Guest(guest.clone()),
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DefinePool { pool, .. } => write!(f, "pool-define {pool}"),
            Self::BuildPool { at, .. } => write!(f, "pool-build {at}"),
            Self::StartPool { at, .. } => write!(f, "pool-start {at}"),
            Self::AutostartPool { pool } => write!(f, "pool-autostart {pool}"),
            Self::CreateVolume { at, volume, .. } => write!(f, "vol-create {at} {volume}"),
            Self::DestroyNetwork { network } => write!(f, "net-destroy {network}"),
            Self::UndefineNetwork { network } => write!(f, "net-undefine {network}"),
            Self::DefineNetwork { network, .. } => write!(f, "net-define {network}"),
            Self::StartNetwork { network } => write!(f, "net-start {network}"),
            Self::AutostartNetwork { network } => write!(f, "net-autostart {network}"),
            Self::DefineDomain { guest, differences, .. } if differences.is_empty() => write!(f, "define {guest}"),
            Self::DefineDomain { guest, differences, .. } => {
                write!(f, "define {guest} anew ({})", differences.join("; "))
            }
            Self::NoteAway { guest, away: Some(away) } => write!(f, "metadata {guest} ({})", away.as_str()),
            Self::NoteAway { guest, away: None } => write!(f, "metadata {guest} (here again)"),
            Self::NoAutostart { guest } => write!(f, "autostart --disable {guest}"),
            Self::Start { guest } => write!(f, "start {guest}"),
            Self::Shutdown { guest } => write!(f, "shutdown {guest}"),
            Self::Destroy { guest } => write!(f, "destroy {guest}"),
            Self::UndefineDomain { guest } => write!(f, "undefine {guest}"),
        }
    }
}
