//! The daemon is killed, and nobody notices.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle, sleep};
use std::time::{Duration, Instant};

use bulkhead_packet::{Answer, Marker, Namespace, TcpServer, tcp, transport};

use super::drip::Drip;
use super::stand_in::{FAR, LINK, Outside, StandIn, station, under};
use super::watchers::{PATIENCE, Watchers};
use super::{Case, SEED, daemon};
use crate::inside::Lab;
use crate::suite::Suite;

/// Case 8, its first half.
pub(super) const NOBODY_NOTICES: Case = Case {
    number: 8,
    name: "after kill -9 of the daemon flows and guests go on, forbidden frames stay out, and the plan after its restart is empty",
    on: &[Suite::Debian13],
    boot: &SEED,
    run: nobody_notices,
};

const DEADLINE: Duration = Duration::from_secs(30);
/// Long enough for what is tried without the daemon.
const AWAY: &str = "RestartSec=8s";
/// An exchange that takes longer than this was held up.
const HELD_UP: Duration = Duration::from_secs(2);

fn nobody_notices(lab: &Lab) -> Result<(), String> {
    let qemu = daemon::running(lab, "example")?;
    under(lab, "forward", || daemon::with_settings(lab, AWAY, || gone_and_back(lab, qemu)))
}

fn gone_and_back(lab: &Lab, qemu: u32) -> Result<(), String> {
    let web = StandIn::plug(lab, "web", "lan")?;
    let outside = Outside::on(20, &["10.13.37.1/24"])?;
    web.speak()?;
    let flow = Flow::start(&web.namespace, &outside.namespace)?;
    let server = outside.namespace.within(|| TcpServer::listen(at(443)))??;
    let marker = Marker::unique();
    let (here, there) = (Ipv4Addr::new(10, 13, 37, 41), Ipv4Addr::new(10, 13, 37, 1));
    let forbidden = transport::udp((here, there), 40000, 9, marker.bytes()).frame(web.nic.mac, station(FAR)?);
    let watchers = Watchers::start(marker, &["br20"], &[])?;
    let drip = Drip::start(vec![(web.namespace.sender(LINK)?, forbidden)]);
    let old = daemon::pid(lab)?;
    lab.run(&format!("kill -KILL {old}"))?;
    let during = web.namespace.within(|| tcp(at(443), DEADLINE))??;
    if let Ok(pid) = daemon::pid(lab) {
        return Err(format!("the daemon is back already, as process {pid}"));
    }
    let state = lab.run("virsh domstate example")?;
    let (_, back) = lab.wait("systemd to start the daemon again", DEADLINE, || match daemon::pid(lab)? {
        pid if pid != old && daemon::property(lab, "ActiveState")? == "active" => Ok(()),
        pid => Err(format!("process {pid}")),
    })?;
    let left = daemon::plan()?;
    daemon::settled(lab)?;
    sleep(Duration::from_millis(500));
    let (sent, exchanges) = (drip.finish()?, flow.finish()?);
    watchers.nothing(&format!("{sent} forbidden frames"), PATIENCE)?;
    if state.trim() != "running" {
        return Err(format!("without the daemon the guest is {state}"));
    }
    if during != Answer::Reply || server.answered() != 1 {
        return Err(format!("a new allowed connection without the daemon: {during:?}"));
    }
    // What waits for libvirt is a connection that is being opened, not something to write.
    let left: Vec<_> = left.into_iter().filter(|text| !text.contains("waits for libvirt")).collect();
    if !left.is_empty() {
        return Err(format!("the plan after the restart: {}", left.join("; ")));
    }
    let repairs: Vec<String> = lab.status()?.report.into_iter().map(|done| done.text).collect();
    lab.measured(format!(
        "READY again {} ms after the kill; meanwhile a new connection was answered; {exchanges} exchanges of the old one; \
         {sent} forbidden frames, 0 arrived",
        back.as_millis()
    ));
    lab.measured(format!("written after the restart: {}", repairs.join("; ")));
    match daemon::running(lab, "example")? {
        pid if pid == qemu => Ok(()),
        pid => Err(format!("the guest's QEMU was process {qemu} and is {pid}")),
    }
}

fn at(port: u16) -> SocketAddr {
    SocketAddr::from(([10, 13, 37, 1], port))
}

/// One TCP connection that is used all along.
struct Flow {
    stop: Arc<AtomicBool>,
    exchanges: Arc<AtomicU64>,
    threads: Vec<JoinHandle<Result<(), String>>>,
}

impl Flow {
    /// From a namespace to port 80 of another one.
    fn start(from: &Namespace, to: &Namespace) -> Result<Self, String> {
        let failed = |error: std::io::Error| format!("the flow: {error}");
        let listener = to.within(|| TcpListener::bind(at(80)))?.map_err(failed)?;
        let client = from.within(|| TcpStream::connect_timeout(&at(80), DEADLINE))?.map_err(failed)?;
        let (server, _) = listener.accept().map_err(failed)?;
        for stream in [&client, &server] {
            stream.set_read_timeout(Some(DEADLINE)).map_err(failed)?;
        }
        let (stop, exchanges) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (told, count) = (Arc::clone(&stop), Arc::clone(&exchanges));
        let threads = vec![
            thread::spawn(move || echo(server)),
            thread::spawn(move || {
                let mut client = client;
                while !told.load(Ordering::Acquire) {
                    exchange(&mut client)?;
                    count.fetch_add(1, Ordering::AcqRel);
                    sleep(Duration::from_millis(20));
                }
                Ok(())
            }),
        ];
        Ok(Self { stop, exchanges, threads })
    }

    /// Ends it; how often the two had exchanged something.
    fn finish(self) -> Result<u64, String> {
        self.stop.store(true, Ordering::Release);
        for thread in self.threads {
            thread.join().map_err(|_| "a thread of the flow ended by a panic".to_owned())??;
        }
        Ok(self.exchanges.load(Ordering::Acquire))
    }
}

/// Sends back whatever comes, until the client has closed.
fn echo(mut server: TcpStream) -> Result<(), String> {
    let mut bytes = [0; 64];
    loop {
        match server.read(&mut bytes).map_err(|error| format!("the flow's server: {error}"))? {
            0 => return Ok(()),
            length => server.write_all(&bytes[..length]).map_err(|error| format!("the flow's server: {error}"))?,
        }
    }
}

fn exchange(client: &mut TcpStream) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("the flow's client: {error}");
    let began = Instant::now();
    client.write_all(b"still there?").map_err(failed)?;
    client.read_exact(&mut [0; 12]).map_err(failed)?;
    match began.elapsed() {
        took if took > HELD_UP => Err(format!("an exchange of the flow took {took:?}")),
        _ => Ok(()),
    }
}
