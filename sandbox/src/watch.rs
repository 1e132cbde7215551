//! Says that something about our slices changed, so that the agent looks again. A wake never carries the news.

mod writes;

use std::time::Duration;

use futures_util::{FutureExt, StreamExt};
use zbus::message::{Message, Type};
use zbus::{Connection, MatchRule, MessageStream};

use crate::error::Error;
use crate::systemd::{MANAGER, OBJECT, SERVICE, SLICE, connect};
use crate::unit::{guest_of_keeper, guest_of_slice};
use writes::Writes;

/// How long the bus is left alone after it could not be reached.
const RECONNECT: Duration = Duration::from_secs(1);
/// Object paths of our slices, escaped as sd_bus_path_encode(3) does.
const SLICE_OBJECTS: &str = "/org/freedesktop/systemd1/unit/machine_2dbulkhead_2d";
/// What systemd-machined makes of a machine's name, such as `machine-qemu\x2d1\x2dweb.scope`.
const MACHINE: (&str, &str) = ("machine-", ".scope");

/// systemd's signals about our slices, over a connection of its own, and what is written into the groups of guests.
#[derive(Debug)]
pub struct Watch {
    signals: Option<Signals>,
    writes: Writes,
}

#[derive(Debug)]
struct Signals {
    connection: Connection,
    /// Units that systemd forgot: a stopped keeper, a slice that went.
    units: MessageStream,
    /// daemon-reload, after which systemd has read its files anew.
    reloads: MessageStream,
    /// Changed properties of slices, such as the active state.
    slices: MessageStream,
    /// Jobs that have ended, such as the start of a machine in a slice of ours.
    jobs: MessageStream,
}

impl Watch {
    /// Connects and subscribes.
    ///
    /// # Errors
    /// When the system bus or systemd cannot be reached, or no directory can be watched.
    pub async fn open() -> Result<Self, Error> {
        Ok(Self { signals: Some(Signals::open().await?), writes: Writes::open()? })
    }

    /// Resolves when a slice or keeper of ours, or a machine in one, may have changed, or when a limit was written into the group of
    /// one; many changes are one wake. Losing the bus is a wake too, after it is back.
    ///
    /// # Errors
    /// None is final: after an error the next call connects again, after a second.
    pub async fn wake(&mut self) -> Result<(), Error> {
        let Some(signals) = &mut self.signals else {
            tokio::time::sleep(RECONNECT).await;
            self.signals = Some(Signals::open().await?);
            return Ok(());
        };
        let there = tokio::select! {
            there = signals.next() => there,
            written = self.writes.wake() => written.map(|()| true)?,
        };
        if !there {
            self.signals = None;
            return Err(Error::Bus(zbus::Error::InvalidReply));
        }
        signals.drain();
        self.writes.watch_groups();
        Ok(())
    }
}

impl Signals {
    async fn open() -> Result<Self, Error> {
        let connection = connect().await?;
        let stream = async |rule: zbus::Result<MatchRule<'static>>| {
            MessageStream::for_match_rule(rule.map_err(Error::Bus)?, &connection, None).await.map_err(Error::Bus)
        };
        let manager = |member: &'static str| {
            let rule = MatchRule::builder().msg_type(Type::Signal).sender(SERVICE);
            rule.path(OBJECT).interface(MANAGER).member(member).build()
        };
        let changed = || {
            let rule = MatchRule::builder().msg_type(Type::Signal).sender(SERVICE);
            rule.interface("org.freedesktop.DBus.Properties").member("PropertiesChanged").arg(0, SLICE).build()
        };
        let signals = Self {
            units: stream(manager("UnitRemoved")).await?,
            reloads: stream(manager("Reloading")).await?,
            slices: stream(changed()).await?,
            jobs: stream(manager("JobRemoved")).await?,
            connection,
        };
        // Without a subscriber systemd sends none of them.
        let subscribe = signals.connection.call_method(Some(SERVICE), OBJECT, Some(MANAGER), "Subscribe", &());
        subscribe.await.map_err(|source| Error::Call { call: "Subscribe", unit: "all units".to_owned(), source })?;
        Ok(signals)
    }

    /// Waits for a signal about a slice of ours; `false` when the bus has gone.
    async fn next(&mut self) -> bool {
        loop {
            let signal = tokio::select! {
                signal = self.units.next() => signal,
                signal = self.reloads.next() => signal,
                signal = self.slices.next() => signal,
                signal = self.jobs.next() => signal,
            };
            match signal {
                Some(Ok(signal)) if ours(&signal) => return true,
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return false,
            }
        }
    }

    /// Takes what has come meanwhile: the reconcile that follows sees it all.
    fn drain(&mut self) {
        for stream in [&mut self.units, &mut self.reloads, &mut self.slices, &mut self.jobs] {
            while let Some(Some(Ok(_))) = stream.next().now_or_never() {}
        }
    }
}

fn ours(signal: &Message) -> bool {
    let header = signal.header();
    match header.member().map(|member| member.as_str()) {
        Some("UnitRemoved") => {
            let unit = signal.body().deserialize::<(String, zbus::OwnedObjectPath)>();
            unit.is_ok_and(|(unit, _)| guest_of_slice(&unit).is_some() || guest_of_keeper(&unit).is_some())
        }
        Some("JobRemoved") => {
            let job = signal.body().deserialize::<(u32, zbus::OwnedObjectPath, String, String)>();
            // What it is in, the signal does not say; a scope of libvirt's ends in one of ours or in somebody else's slice.
            job.is_ok_and(|(_, _, unit, _)| unit.starts_with(MACHINE.0) && unit.ends_with(MACHINE.1))
        }
        Some("PropertiesChanged") => header.path().is_some_and(|path| path.as_str().starts_with(SLICE_OBJECTS)),
        // Reloading says `true` when it begins and `false` when it has ended.
        _ => signal.body().deserialize::<bool>().is_ok_and(|begins| !begins),
    }
}
