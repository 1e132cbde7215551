//! The connection to systemd over the system bus, and the calls that this room makes (org.freedesktop.systemd1(5)).

use std::collections::HashMap;
use std::time::Duration;

use bulkhead_types::Known;
use futures_util::StreamExt;
use serde::Serialize;
use zbus::fdo;
use zbus::message::{Message, Type};
use zbus::{Connection, DynamicType, MatchRule, MessageStream, OwnedObjectPath, OwnedVariant, Variant};

use crate::error::Error;
use crate::model::{Control, Limits};

pub(crate) const SERVICE: &str = "org.freedesktop.systemd1";
pub(crate) const OBJECT: &str = "/org/freedesktop/systemd1";
pub(crate) const MANAGER: &str = "org.freedesktop.systemd1.Manager";
pub(crate) const SLICE: &str = "org.freedesktop.systemd1.Slice";
const PROPERTIES: &str = "org.freedesktop.DBus.Properties";

/// A call is answered in milliseconds; polkit, started for the first one, takes a second or two.
const CALL_TIMEOUT: Duration = Duration::from_secs(25);
/// A keeper runs `/bin/true`: its job is longer only where systemd itself is stuck.
const JOB_TIMEOUT: Duration = Duration::from_secs(25);

/// systemd, over one connection that is made when it is first needed, and again when the bus has gone.
///
/// Belongs to the tokio runtime that first used it. Watching has a connection of its own ([`crate::watch::Watch`]): a stream
/// that nobody reads for a while would hold up the answers to calls.
#[derive(Debug, Default)]
pub struct Systemd {
    connection: Option<Connection>,
}

/// A unit as systemd lists it.
pub(crate) struct Listed {
    pub(crate) name: String,
    pub(crate) active: bool,
    pub(crate) object: String,
}

/// What systemd has for a slice.
pub(crate) struct Properties {
    pub(crate) limits: Known<Limits>,
    /// From the root of cgroupfs; none while the slice is not active.
    pub(crate) group: Known<Option<String>>,
}

/// A row of `ListUnitsByPatterns`: name, description, load state, active state, sub state, followed unit, object path, job.
type Row = (String, String, String, String, String, String, OwnedObjectPath, u32, String, OwnedObjectPath);

impl Systemd {
    /// No connection yet: the first call makes it.
    #[must_use]
    pub const fn new() -> Self {
        Self { connection: None }
    }

    /// The loaded units whose names match the globs.
    pub(crate) async fn list(&mut self, patterns: &[&str]) -> Result<Vec<Listed>, Error> {
        const CALL: &str = "ListUnitsByPatterns";
        let named = patterns.join(" ");
        let states: &[&str] = &[];
        let reply = self.call(OBJECT, MANAGER, CALL, &named, &(states, patterns)).await?;
        let rows: Vec<Row> = reply.body().deserialize().map_err(|source| refused(CALL, &named, source))?;
        Ok(rows
            .into_iter()
            .map(|row| Listed { name: row.0, active: row.3 == "active", object: row.6.to_string() })
            .collect())
    }

    /// The properties of a slice, by its object path; `None` when systemd has forgotten it meanwhile.
    pub(crate) async fn slice(&mut self, slice: &Listed) -> Result<Option<Properties>, Error> {
        const CALL: &str = "GetAll";
        let reply = match self.call(&slice.object, PROPERTIES, CALL, &slice.name, &SLICE).await {
            Err(Error::Call { source: zbus::Error::FDO(error), .. })
                if matches!(*error, fdo::Error::UnknownObject(_) | fdo::Error::UnknownInterface(_)) =>
            {
                return Ok(None);
            }
            reply => reply?,
        };
        let all: HashMap<String, OwnedVariant> =
            reply.body().deserialize().map_err(|source| refused(CALL, &slice.name, source))?;
        let limit = |control: Control| {
            let property = control.property();
            let value = all.get(property).and_then(|value| control.parse_bus(value));
            value.ok_or_else(|| refused(CALL, &slice.name, zbus::Error::MissingParameter(property)))
        };
        let group = all.get("ControlGroup").and_then(|value| <&str>::try_from(&**value).ok());
        let group = group.ok_or_else(|| refused(CALL, &slice.name, zbus::Error::MissingParameter("ControlGroup")));
        Ok(Some(Properties {
            limits: Limits::try_from_fn(limit).into(),
            group: Known::from(group).map(|group| Some(group.to_owned()).filter(|group| !group.is_empty())),
        }))
    }

    /// Sets the limits of a slice, active or not, until the next boot.
    pub(crate) async fn set_limits(&mut self, slice: &str, limits: Limits) -> Result<(), Error> {
        let properties: Vec<(&str, Variant<'_>)> =
            limits.iter().map(|(control, limit)| (control.property(), control.to_bus(*limit))).collect();
        // Runtime: a guest that leaves the manifest while the machine is off leaves no limits behind.
        let runtime = true;
        self.call(OBJECT, MANAGER, "SetUnitProperties", slice, &(slice, runtime, properties)).await.map(|_| ())
    }

    /// Starts a unit and waits until its job has ended.
    pub(crate) async fn start(&mut self, unit: &str) -> Result<(), Error> {
        self.job("StartUnit", unit).await
    }

    /// Stops a unit and waits until its job has ended.
    pub(crate) async fn stop(&mut self, unit: &str) -> Result<(), Error> {
        self.job("StopUnit", unit).await
    }

    async fn job(&mut self, call: &'static str, unit: &str) -> Result<(), Error> {
        // Listening begins before the call. Only this unit's jobs, so that the stream cannot fill up and hold the reply back.
        let rule = MatchRule::builder()
            .msg_type(Type::Signal)
            .sender(SERVICE)
            .path(OBJECT)
            .interface(MANAGER)
            .member("JobRemoved")
            .arg(2, unit)
            .build()
            .map_err(Error::Bus)?;
        let bus = self.bus().await?;
        let mut removed = MessageStream::for_match_rule(rule, bus, None).await.map_err(Error::Bus)?;
        let reply = self.call(OBJECT, MANAGER, call, unit, &(unit, "replace")).await?;
        let job: OwnedObjectPath = reply.body().deserialize().map_err(|source| refused(call, unit, source))?;
        let ended = tokio::time::timeout(JOB_TIMEOUT, async {
            while let Some(signal) = removed.next().await {
                let signal = signal.map_err(Error::Bus)?;
                let (_, path, _, result): (u32, OwnedObjectPath, String, String) =
                    signal.body().deserialize().map_err(Error::Bus)?;
                if path == job {
                    return Ok(result);
                }
            }
            Err(Error::Bus(zbus::Error::InvalidReply))
        });
        match ended.await {
            Err(_) => Err(Error::Slow { unit: unit.to_owned(), after: JOB_TIMEOUT }),
            Ok(Ok(result)) if result != "done" => Err(Error::Job { unit: unit.to_owned(), result }),
            Ok(ended) => ended.map(|_| ()),
        }
    }

    async fn bus(&mut self) -> Result<&Connection, Error> {
        if self.connection.as_ref().is_some_and(Connection::is_closed) {
            self.connection = None;
        }
        match &mut self.connection {
            Some(connection) => Ok(connection),
            none => Ok(none.insert(connect().await?)),
        }
    }

    async fn call<B>(
        &mut self,
        object: &str,
        interface: &str,
        call: &'static str,
        unit: &str,
        body: &B,
    ) -> Result<Message, Error>
    where
        B: Serialize + DynamicType,
    {
        let bus = self.bus().await?;
        bus.call_method(Some(SERVICE), object, Some(interface), call, body)
            .await
            .map_err(|source| refused(call, unit, source))
    }
}

/// A connection to the system bus whose calls end.
pub(crate) async fn connect() -> Result<Connection, Error> {
    zbus::connection::Builder::system().method_timeout(CALL_TIMEOUT).build().await.map_err(Error::Bus)
}

fn refused(call: &'static str, unit: &str, source: zbus::Error) -> Error {
    let unit = unit.to_owned();
    // systemd asks polkit without a prompt: an administrator's password would do, and nobody is there to type it.
    let denied = match &source {
        zbus::Error::FDO(error) => {
            matches!(**error, fdo::Error::AccessDenied(_) | fdo::Error::InteractiveAuthorizationRequired(_))
        }
        _ => false,
    };
    if denied { Error::Denied { call, unit, source } } else { Error::Call { call, unit, source } }
}
