//! A DHCP server for one client on the far side of a trunk, and everything it saw.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use crate::dhcp::{self, CLIENT_PORT, Kind, Message, SERVER_PORT};
use crate::{Capture, Captured, Direction, Error, Ether, Frame, Sender, Tag, ip::Ip, transport};

/// Whom to give what, on which VLAN of the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offer {
    /// The tag that questions must have and answers get.
    pub vlan: u16,
    /// The server's own station.
    pub station: Ether,
    /// The server's address.
    pub server: Ipv4Addr,
    /// The client's station.
    pub client: Ether,
    /// The address for the client.
    pub yours: Ipv4Addr,
}

/// Serves one lease on an interface that sees tagged frames: answers every discover and request of the client until a
/// request was answered or the deadline has come. Returns every frame from or to the client that was seen, the
/// answers included, whatever tags they had.
///
/// # Errors
/// This is not the lab, or the interface is not there.
pub fn serve(interface: &str, offer: &Offer, deadline: Instant) -> Result<Vec<Captured>, Error> {
    /// For what else the client may send on a wrong VLAN, after all is done.
    const AFTERWARDS: Duration = Duration::from_millis(500);
    let (capture, sender) = (Capture::open(interface, Direction::Both)?, Sender::open(interface)?);
    let mut frames = Vec::new();
    let (mut deadline, mut done) = (deadline, false);
    while let Some(captured) = capture.next(deadline)? {
        let ours = [captured.frame.source, captured.frame.destination].contains(&offer.client);
        let said = message(&captured.frame).filter(|said| said.client == offer.client);
        let tagged = captured.frame.tags == [Tag::dot1q(offer.vlan)];
        if let Some(answer) = said.filter(|_| tagged && !done).and_then(|said| said.answer(offer.server, offer.yours)) {
            sender.send(&offer.frame(&answer))?;
            if answer.kind == Kind::Ack {
                (deadline, done) = (Instant::now() + AFTERWARDS, true);
            }
        }
        if ours || said.is_some() {
            frames.push(captured);
        }
    }
    Ok(frames)
}

impl Offer {
    fn frame(&self, answer: &Message) -> Frame {
        // A client that asks for no broadcast takes frames to its own station before it has the address (RFC 2131, 4.1).
        let (to, station) =
            if answer.broadcast { (Ipv4Addr::BROADCAST, Ether::BROADCAST) } else { (self.yours, self.client) };
        let packet = transport::udp((self.server, to), SERVER_PORT, CLIENT_PORT, &answer.bytes());
        packet.frame(self.station, station).tagged(Tag::dot1q(self.vlan))
    }
}

/// The DHCP message in a frame, of a client or of a server.
#[must_use]
pub fn message(frame: &Frame) -> Option<Message> {
    let packet = Ip::parse(frame)?;
    let between = transport::ports(&packet)?;
    let data = transport::udp_data(&packet)?;
    let known = [(CLIENT_PORT, SERVER_PORT), (SERVER_PORT, CLIENT_PORT)].contains(&between);
    known.then(|| dhcp::Message::parse(data)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    const OFFER: Offer = Offer {
        vlan: 20,
        station: Ether([2, 0, 0, 0, 0, 1]),
        server: Ipv4Addr::new(10, 13, 37, 1),
        client: Ether([0x52, 0x54, 0, 1, 2, 3]),
        yours: Ipv4Addr::new(10, 13, 37, 40),
    };

    #[test]
    fn the_answer_goes_where_the_client_can_hear_it() {
        for (broadcast, station, address) in
            [(true, Ether::BROADCAST, Ipv4Addr::BROADCAST), (false, OFFER.client, OFFER.yours)]
        {
            let discover = Message { broadcast, ..Message::discover(OFFER.client, 1) };
            let answer = discover.answer(OFFER.server, OFFER.yours).unwrap();
            let frame = OFFER.frame(&answer);
            assert_eq!((frame.destination, frame.tags.as_slice()), (station, &[Tag::dot1q(20)][..]));
            assert_eq!(Ip::parse(&frame).unwrap().ends.destination(), address);
            assert_eq!(message(&frame), Some(answer));
        }
    }
}
