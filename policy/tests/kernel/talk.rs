//! Sockets of stations: who gets through to whom.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use crate::world::Station;

/// Longer than a round trip under emulation, shorter than the second SYN of TCP.
const PATIENCE: Duration = Duration::from_millis(900);

/// Echoes what comes over TCP to that address.
pub(crate) fn serve_tcp(listener: TcpListener) {
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            std::thread::spawn(move || {
                let mut byte = [0];
                while stream.read_exact(&mut byte).is_ok() && stream.write_all(&byte).is_ok() {}
            });
        }
    });
}

/// Echoes what comes over UDP to that address.
pub(crate) fn serve_udp(socket: UdpSocket) {
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            let _ = socket.send_to(&buffer[..length], from);
        }
    });
}

impl Station {
    pub(crate) fn serves_tcp(&self, address: &str) {
        self.run(|| serve_tcp(TcpListener::bind(address).unwrap()));
    }

    pub(crate) fn serves_udp(&self, address: &str) {
        self.run(|| serve_udp(UdpSocket::bind(address).unwrap()));
    }

    pub(crate) fn connects(&self, address: &str) -> Option<TcpStream> {
        self.run(|| connects(address))
    }

    /// What an echo over UDP gives: the answer, nothing, or an error that came back.
    pub(crate) fn asks(&self, from: &str, to: &str, length: usize) -> Result<bool, std::io::ErrorKind> {
        self.run(|| asks(from, to, length))
    }
}

pub(crate) fn connects(address: &str) -> Option<TcpStream> {
    let stream = TcpStream::connect_timeout(&address.parse().unwrap(), PATIENCE).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    Some(stream)
}

pub(crate) fn asks(from: &str, to: &str, length: usize) -> Result<bool, std::io::ErrorKind> {
    let socket = UdpSocket::bind(from).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.connect(to).unwrap();
    socket.send(&vec![7; length]).map_err(|error| error.kind())?;
    let mut buffer = vec![0; 4096];
    match socket.recv(&mut buffer) {
        Ok(received) => Ok(received == length),
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Ok(false),
        Err(error) => Err(error.kind()),
    }
}

/// Whether the connection still carries a byte there and back.
pub(crate) fn alive(stream: &mut TcpStream) -> bool {
    let mut byte = [0];
    stream.write_all(&[7]).is_ok() && stream.read_exact(&mut byte).is_ok()
}
