//! systemd-resolved over the system bus (org.freedesktop.resolve1(5)).

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use serde::Serialize;
use zbus::{Connection, DynamicType, Message, OwnedObjectPath, OwnedVariant};

use super::{Desired, Error};

pub(super) const SERVICE: &str = "org.freedesktop.resolve1";
const OBJECT: &str = "/org/freedesktop/resolve1";
const MANAGER: &str = "org.freedesktop.resolve1.Manager";
const LINK: &str = "org.freedesktop.resolve1.Link";
/// A call is answered in milliseconds; polkit, started for the first one, takes a second or two.
const CALL_TIMEOUT: Duration = Duration::from_secs(25);
/// `AF_INET` and `AF_INET6`, as the interface names the family of an address.
const FAMILIES: (i32, i32) = (libc::AF_INET, libc::AF_INET6);

/// A connection that is made when it is first needed, and again when the bus has gone.
#[derive(Debug, Default)]
pub(super) struct Bus {
    connection: Option<Connection>,
}

impl Bus {
    /// Whether systemd-resolved runs. Asked of the bus, so that asking does not start it.
    pub(super) async fn runs(&mut self) -> Result<bool, Error> {
        const CALL: &str = "NameHasOwner";
        let reply = self.ask("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus", CALL, &SERVICE);
        answer(CALL, &reply.await?)
    }

    /// The servers that it has for each bridge that exists, by ifindex.
    pub(super) async fn servers(&mut self, desired: &Desired) -> Result<BTreeMap<u32, Vec<IpAddr>>, Error> {
        let mut found = BTreeMap::new();
        for index in desired.bridges.iter().filter_map(|bridge| bridge.index) {
            found.insert(index, self.of(index).await?);
        }
        Ok(found)
    }

    async fn of(&mut self, index: u32) -> Result<Vec<IpAddr>, Error> {
        const GET_LINK: &str = "GetLink";
        const GET: &str = "Get";
        let reply = self.ask(SERVICE, OBJECT, MANAGER, GET_LINK, &index.cast_signed()).await?;
        let link: OwnedObjectPath = answer(GET_LINK, &reply)?;
        let reply = self.ask(SERVICE, link.as_str(), "org.freedesktop.DBus.Properties", GET, &(LINK, "DNS")).await?;
        let value: OwnedVariant = answer(GET, &reply)?;
        let list = Vec::<(i32, Vec<u8>)>::try_from(value).map_err(|error| Error::Call { call: GET, source: error })?;
        Ok(list.into_iter().filter_map(|(_, bytes)| address(&bytes)).collect())
    }

    /// Tells it the servers of a link; without servers, to forget what it was told.
    pub(super) async fn set(&mut self, index: u32, servers: &[IpAddr]) -> Result<(), Error> {
        let index = index.cast_signed();
        if servers.is_empty() {
            return self.ask(SERVICE, OBJECT, MANAGER, "RevertLink", &index).await.map(drop);
        }
        let list: Vec<(i32, Vec<u8>)> = servers.iter().map(bytes).collect();
        self.ask(SERVICE, OBJECT, MANAGER, "SetLinkDNS", &(index, list)).await.map(drop)
    }

    async fn ask<B: Serialize + DynamicType>(
        &mut self,
        service: &str,
        object: &str,
        interface: &str,
        call: &'static str,
        body: &B,
    ) -> Result<Message, Error> {
        if self.connection.as_ref().is_none_or(Connection::is_closed) {
            let builder = zbus::connection::Builder::system().method_timeout(CALL_TIMEOUT);
            self.connection = Some(builder.build().await.map_err(Error::Bus)?);
        }
        let Some(bus) = &self.connection else { return Err(Error::Bus(zbus::Error::InvalidReply)) };
        let reply = bus.call_method(Some(service), object, Some(interface), call, body).await;
        reply.map_err(|source| Error::Call { call, source })
    }
}

fn answer<T: for<'a> serde::Deserialize<'a> + zbus::Type>(call: &'static str, reply: &Message) -> Result<T, Error> {
    reply.body().deserialize().map_err(|source| Error::Call { call, source })
}

fn bytes(ip: &IpAddr) -> (i32, Vec<u8>) {
    match ip {
        IpAddr::V4(v4) => (FAMILIES.0, v4.octets().to_vec()),
        IpAddr::V6(v6) => (FAMILIES.1, v6.octets().to_vec()),
    }
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}
