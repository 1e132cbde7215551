//! Telling when systemd-resolved comes or goes: its name on the system bus changes its owner.

use futures_util::{FutureExt, StreamExt};
use zbus::message::Type;
use zbus::{Connection, MatchRule, MessageStream};

use super::Error;
use super::bus::SERVICE;

const BUS: &str = "org.freedesktop.DBus";

/// The bus's signals about one name, over a connection of its own.
#[derive(Debug)]
pub struct Watch {
    signals: MessageStream,
    /// Its match rules go when it is dropped.
    _connection: Connection,
}

impl Watch {
    /// Connects and subscribes.
    ///
    /// # Errors
    /// The system bus cannot be reached.
    pub async fn open() -> Result<Self, Error> {
        let connection = Connection::system().await.map_err(Error::Bus)?;
        let rule = || {
            let signal = MatchRule::builder().msg_type(Type::Signal).sender(BUS);
            signal.interface(BUS).member("NameOwnerChanged").arg(0, SERVICE).build()
        };
        let rule = rule().map_err(Error::Bus)?;
        let signals = MessageStream::for_match_rule(rule, &connection, None).await.map_err(Error::Bus)?;
        Ok(Self { signals, _connection: connection })
    }

    /// Waits until systemd-resolved came or went. Many changes are one wake.
    ///
    /// # Errors
    /// The bus is gone: open another.
    pub async fn wake(&mut self) -> Result<(), Error> {
        let ended = || Error::Bus(zbus::Error::InvalidReply);
        self.signals.next().await.ok_or_else(ended)?.map_err(Error::Bus)?;
        while let Some(Some(_)) = self.signals.next().now_or_never() {}
        Ok(())
    }
}
