//! Which of the daemon's calls change something: by the messages in them.

/// Members of D-Bus interfaces that change something, which the daemon may call.
const BUS: [&str; 5] = ["SetUnitProperties", "StartUnit", "StopUnit", "SetLinkDNS", "RevertLink"];

/// libvirt's remote procedures that change something, by their numbers in its protocol, in the words of virsh.
const LIBVIRT: [(u32, &str); 19] = [
    (9, "start"),
    (11, "define"),
    (12, "destroy"),
    (29, "autostart"),
    (33, "shutdown"),
    (39, "net-start"),
    (41, "net-define"),
    (42, "net-destroy"),
    (48, "net-autostart"),
    (49, "net-undefine"),
    (77, "pool-define"),
    (78, "pool-start"),
    (79, "pool-build"),
    (90, "pool-autostart"),
    (93, "vol-create"),
    (196, "start"),
    (231, "undefine"),
    (350, "define"),
    (432, "net-define"),
];

/// What a message that is sent through a descriptor changes; `None` if it changes nothing. The descriptor is told by what
/// `/proc/PID/fd` says of it.
pub(super) fn said(descriptor: &str, bytes: &[u8]) -> Option<String> {
    if let Some(key) = descriptor.strip_prefix("/proc/sys/") {
        return Some(format!("sysctl {key}"));
    }
    if !descriptor.starts_with("socket:") {
        return None;
    }
    netlink(bytes).or_else(|| bus(bytes)).or_else(|| libvirt(bytes))
}

/// A whole number of netlink messages, at least one of which is no request to read.
fn netlink(bytes: &[u8]) -> Option<String> {
    const HEADER: usize = 16;
    const NFTABLES: u16 = 10;
    /// NFT_MSG_GET*, of tables, chains, rules, sets, elements, the generation, objects (twice) and flowtables.
    const READS: [u16; 9] = [1, 4, 7, 10, 13, 16, 19, 21, 23];
    let (mut rest, mut written, mut nftables) = (bytes, 0, false);
    while !rest.is_empty() {
        let length = usize::try_from(u32::from_ne_bytes(rest.get(..4)?.try_into().ok()?)).ok()?;
        let kind = u16::from_ne_bytes(rest.get(4..6)?.try_into().ok()?);
        if length < HEADER || length > rest.len() {
            return None;
        }
        let read = match (kind >> 8, kind & 0xff) {
            (NFTABLES, message) => READS.contains(&message),
            // Each object of rtnetlink has four: new, delete, get, set. A batch of nfnetlink begins and ends with 16 and 17.
            (0, message) => message & 3 == 2,
            _ => return None,
        };
        nftables |= kind >> 8 == NFTABLES;
        written += usize::from(!read);
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    let family = if nftables { "nftables" } else { "netlink" };
    (written > 0).then(|| format!("{family}, {written} messages in {} bytes", bytes.len()))
}

/// A method call (D-Bus, version 1, little endian) of one of the members.
fn bus(bytes: &[u8]) -> Option<String> {
    let [b'l', 1, _, 1, ..] = bytes else { return None };
    let has = |member: &&&str| bytes.windows(member.len()).any(|window| window == member.as_bytes());
    BUS.iter().find(has).map(|member| format!("D-Bus {member}"))
}

/// A call of libvirt's remote program: length, program, version, procedure, all in network order.
fn libvirt(bytes: &[u8]) -> Option<String> {
    const REMOTE: u32 = 0x2000_8086;
    let word = |at: usize| bytes.get(at..at + 4)?.try_into().ok().map(u32::from_be_bytes);
    if word(0)? as usize != bytes.len() || word(4)? != REMOTE {
        return None;
    }
    let procedure = word(12)?;
    LIBVIRT.iter().find(|(number, _)| *number == procedure).map(|(_, name)| format!("libvirt {name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u16, payload: usize) -> Vec<u8> {
        let length = u32::try_from(16 + payload).unwrap();
        [&length.to_ne_bytes()[..], &kind.to_ne_bytes(), &[0; 10], &vec![0; payload]].concat()
    }

    const SOCKET: &str = "socket:[4711]";

    #[test]
    fn a_read_changes_nothing_and_one_write_among_reads_does() {
        let (get_link, new_link, get_table, new_rule) = (18, 16, 0x0a01, 0x0a06);
        assert_eq!(said(SOCKET, &message(get_link, 4)), None);
        assert_eq!(said(SOCKET, &message(get_table, 4)), None);
        let both = [message(get_link, 4), message(new_link, 24)].concat();
        assert_eq!(said(SOCKET, &both).unwrap(), "netlink, 1 messages in 60 bytes");
        let batch = [message(16, 4), message(new_rule, 8), message(17, 4)].concat();
        assert_eq!(said(SOCKET, &batch).unwrap(), "nftables, 3 messages in 64 bytes");
        assert_eq!(said("/dev/null", &both), None);
    }

    #[test]
    fn calls_of_systemd_and_libvirt_are_known_by_their_names_and_numbers() {
        let call = b"l\x01\0\x01........\x03\x01s\0\x09\0\0\0StartUnit\0";
        assert_eq!(said(SOCKET, call).unwrap(), "D-Bus StartUnit");
        assert_eq!(said(SOCKET, b"l\x02\0\x01..StartUnit"), None, "an answer");
        let rpc = |procedure: u32| [28, 0x2000_8086, 1, procedure, 0, 7, 0].map(u32::to_be_bytes).concat();
        assert_eq!(said(SOCKET, &rpc(77)).unwrap(), "libvirt pool-define");
        assert_eq!(said(SOCKET, &rpc(23)), None, "a look-up");
    }

    #[test]
    fn a_sysctl_is_known_by_its_file() {
        assert_eq!(
            said("/proc/sys/net/ipv6/conf/br30/disable_ipv6", b"1").unwrap(),
            "sysctl net/ipv6/conf/br30/disable_ipv6"
        );
    }
}
