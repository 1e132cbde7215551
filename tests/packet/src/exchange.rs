//! Real conversations: servers that answer, and clients that ask once, all in the calling thread's namespace.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::{Error, guard};

/// How often a server looks whether it is to end.
const TURN: Duration = Duration::from_millis(20);
/// How long a server waits for a client that has connected.
const CLIENT: Duration = Duration::from_secs(5);
const QUESTION: &[u8] = b"who is there?";

/// What a client got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// The server's reply to its question.
    Reply,
    /// Somebody's word that nobody listens.
    Refused,
    /// Somebody's word that the way does not exist, its own kernel's included: nobody answered for the address.
    Unreachable,
    /// Nothing before the deadline.
    Silence,
}

/// Asks over TCP: connects, sends a question, and waits for the whole of it to come back.
///
/// # Errors
/// This is not the lab, or the socket cannot be made.
pub fn tcp(to: SocketAddr, deadline: Duration) -> Result<Answer, Error> {
    guard::permitted()?;
    answer(to, || {
        let mut stream = TcpStream::connect_timeout(&to, deadline)?;
        stream.set_read_timeout(Some(deadline))?;
        stream.write_all(QUESTION)?;
        stream.read_exact(&mut [0; QUESTION.len()])
    })
}

/// Asks over UDP: sends a question and waits for it to come back.
///
/// # Errors
/// This is not the lab, or the socket cannot be made.
pub fn udp(to: SocketAddr, deadline: Duration) -> Result<Answer, Error> {
    guard::permitted()?;
    answer(to, || {
        let socket = UdpSocket::bind(unspecified(to))?;
        socket.set_read_timeout(Some(deadline))?;
        socket.connect(to)?;
        socket.send(QUESTION)?;
        socket.recv(&mut [0; QUESTION.len()]).map(drop)
    })
}

fn answer(to: SocketAddr, ask: impl FnOnce() -> io::Result<()>) -> Result<Answer, Error> {
    match ask() {
        Ok(()) => Ok(Answer::Reply),
        Err(error) => match error.kind() {
            ErrorKind::TimedOut | ErrorKind::WouldBlock => Ok(Answer::Silence),
            ErrorKind::ConnectionRefused | ErrorKind::ConnectionReset | ErrorKind::UnexpectedEof => Ok(Answer::Refused),
            ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable => Ok(Answer::Unreachable),
            _ => Err(Error::call("ask", to.to_string())(error)),
        },
    }
}

fn unspecified(like: SocketAddr) -> SocketAddr {
    let all = if like.is_ipv4() { [0; 4].into() } else { [0_u16; 8].into() };
    SocketAddr::new(all, 0)
}

/// A server's thread and its count.
#[derive(Debug)]
struct Serving {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Serving {
    /// Takes one turn after another until told to stop; a turn says whether it answered somebody.
    fn start(turn: impl Fn() -> bool + Send + 'static) -> Self {
        let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (told, count) = (Arc::clone(&stop), Arc::clone(&answered));
        let thread = thread::spawn(move || {
            while !told.load(Ordering::Acquire) {
                count.fetch_add(u64::from(turn()), Ordering::AcqRel);
            }
        });
        Self { stop, answered, thread: Some(thread) }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            // Its panic has been printed where it happened.
            let _ = thread.join();
        }
    }
}

/// Answers TCP clients one after another, until it is dropped.
#[derive(Debug)]
pub struct TcpServer(Serving);

impl TcpServer {
    /// Listens.
    ///
    /// # Errors
    /// This is not the lab, or the address is taken or not there.
    pub fn listen(at: SocketAddr) -> Result<Self, Error> {
        guard::permitted()?;
        let failed = || Error::call("listen at", format!("tcp {at}"));
        let listener = TcpListener::bind(at).map_err(failed())?;
        listener.set_nonblocking(true).map_err(failed())?;
        Ok(Self(Serving::start(move || match listener.accept() {
            Ok((stream, _)) => echo(stream).is_ok(),
            Err(_) => {
                thread::sleep(TURN);
                false
            }
        })))
    }

    /// How many clients had their answer.
    #[must_use]
    pub fn answered(&self) -> u64 {
        self.0.answered.load(Ordering::Acquire)
    }
}

fn echo(mut stream: TcpStream) -> io::Result<()> {
    let mut question = [0; QUESTION.len()];
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(CLIENT))?;
    stream.read_exact(&mut question)?;
    stream.write_all(&question)
}

/// Answers UDP clients, until it is dropped.
#[derive(Debug)]
pub struct UdpServer(Serving);

impl UdpServer {
    /// Listens.
    ///
    /// # Errors
    /// This is not the lab, or the address is taken or not there.
    pub fn listen(at: SocketAddr) -> Result<Self, Error> {
        guard::permitted()?;
        let failed = || Error::call("listen at", format!("udp {at}"));
        let socket = UdpSocket::bind(at).map_err(failed())?;
        socket.set_read_timeout(Some(TURN)).map_err(failed())?;
        Ok(Self(Serving::start(move || {
            let mut question = [0; 1500];
            let asked = socket.recv_from(&mut question);
            asked.and_then(|(length, client)| socket.send_to(&question[..length], client)).is_ok()
        })))
    }

    /// How many questions were answered.
    #[must_use]
    pub fn answered(&self) -> u64 {
        self.0.answered.load(Ordering::Acquire)
    }
}
