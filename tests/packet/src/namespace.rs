//! Network namespaces: what stands in for guests, and for whatever is beyond the trunk.

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::thread;

use crate::{Capture, Direction, Error, Ether, Sender, guard, run, sys};

/// A network namespace. One that was made goes with this value, together with the links that were made for it.
#[derive(Debug)]
pub struct Namespace {
    name: String,
    file: File,
    made: bool,
    outer: Vec<String>,
    vlans: Vec<String>,
}

impl Namespace {
    /// Makes a namespace of this name, where iproute2 sees it too.
    ///
    /// # Errors
    /// This is not the lab, the name is taken, or the privilege is missing.
    pub fn new(name: &str) -> Result<Self, Error> {
        run(&format!("ip netns add {name}"))?;
        let path = format!("/run/netns/{name}");
        let file = File::open(&path).map_err(Error::call("open", path))?;
        let namespace = Self { name: name.to_owned(), file, made: true, outer: Vec::new(), vlans: Vec::new() };
        namespace.run("ip link set lo up")?;
        Ok(namespace)
    }

    /// The calling thread's own, which stays.
    ///
    /// # Errors
    /// This is not the lab.
    pub fn here() -> Result<Self, Error> {
        const PATH: &str = "/proc/thread-self/ns/net";
        guard::permitted()?;
        let file = File::open(PATH).map_err(Error::call("open", PATH))?;
        Ok(Self { name: "host".to_owned(), file, made: false, outer: Vec::new(), vlans: Vec::new() })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Does something in it, on a thread of its own. Sockets opened there stay there; programs started there run there.
    ///
    /// # Errors
    /// The namespace cannot be entered, or `work` panics.
    pub fn within<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, Error> {
        let file = self.file.as_fd();
        let thread = thread::scope(|scope| {
            let thread = scope.spawn(move || sys::enter(file).map(|()| work()));
            thread.join().map_err(|_| Error::Thread("work in a namespace"))
        })?;
        thread.map_err(Error::call("enter the namespace", &self.name))
    }

    /// Runs one command line in it; see [`run`].
    ///
    /// # Errors
    /// As [`run`].
    pub fn run(&self, line: &str) -> Result<String, Error> {
        self.within(|| run(line))?
    }

    /// Makes a pair of veth links: `outer` here, in the calling thread's namespace, and `inner` with this address in the
    /// namespace, which is up. To put `outer` on a bridge and up is the caller's part.
    ///
    /// # Errors
    /// A link of one of the names exists, or the privilege is missing.
    pub fn veth(&mut self, outer: &str, inner: &str, address: Ether) -> Result<(), Error> {
        run(&format!("ip link add {outer} type veth peer name {inner} address {address} netns {}", self.name))?;
        self.outer.push(outer.to_owned());
        self.up(inner)
    }

    /// Makes a VLAN link of an interface of the calling thread's namespace and moves it into this one.
    ///
    /// # Errors
    /// There is no such interface, the link exists, or the privilege is missing.
    pub fn vlan(&mut self, trunk: &str, id: u16, inner: &str) -> Result<(), Error> {
        run(&format!("ip link add link {trunk} name {inner} type vlan id {id}"))?;
        run(&format!("ip link set {inner} netns {}", self.name))?;
        self.vlans.push(inner.to_owned());
        self.up(inner)
    }

    /// Silent but for what a case sends: without an address of its own, IPv6 has nothing to say on the link.
    fn up(&self, link: &str) -> Result<(), Error> {
        self.within(|| sysctl(&format!("ipv6/conf/{link}/disable_ipv6"), "1"))??;
        self.run(&format!("ip link set {link} up")).map(drop)
    }

    /// Gives one of its links an address with a prefix length; the first of IPv6 brings the link-local one with it.
    ///
    /// # Errors
    /// There is no such link, or it has the address.
    pub fn address(&self, link: &str, address: &str) -> Result<(), Error> {
        let v6 = address.contains(':');
        if v6 {
            self.within(|| sysctl(&format!("ipv6/conf/{link}/disable_ipv6"), "0"))??;
        }
        let nodad = if v6 { " nodad" } else { "" };
        self.run(&format!("ip address add {address} dev {link}{nodad}")).map(drop)
    }

    /// Opens one of its links to send.
    ///
    /// # Errors
    /// There is no such link.
    pub fn sender(&self, link: &str) -> Result<Sender, Error> {
        self.within(|| Sender::open(link))?
    }

    /// Opens one of its links to see what comes.
    ///
    /// # Errors
    /// There is no such link.
    pub fn capture(&self, link: &str, direction: Direction) -> Result<Capture, Error> {
        self.within(|| Capture::open(link, direction))?
    }
}

/// Writes a sysctl below `net` of the calling thread's namespace.
///
/// # Errors
/// This is not the lab, there is no such key, or the kernel refuses the value.
pub fn sysctl(key: &str, value: &str) -> Result<(), Error> {
    guard::permitted()?;
    fs::write(format!("/proc/sys/net/{key}"), value).map_err(Error::call("write the sysctl", key))
}

impl Drop for Namespace {
    /// Sockets may keep the namespace alive after its name is gone, so the links that reach out of it go first.
    fn drop(&mut self) {
        let outer = self.outer.iter().map(|outer| format!("ip link delete {outer}"));
        let vlans = self.vlans.iter().map(|vlan| format!("ip -n {} link delete {vlan}", self.name));
        let name = self.made.then(|| format!("ip netns delete {}", self.name));
        for line in outer.chain(vlans).chain(name) {
            if let Err(error) = run(&line) {
                eprintln!("left behind: {error}");
            }
        }
    }
}
