//! A host that is as the manifest says is only looked at.

use std::os::fd::AsRawFd;

use bulkhead_packet::run;
use nix::sys::socket::{AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, socket};

use super::strace::Strace;
use super::{Case, SEED, daemon};
use crate::inside::Lab;
use crate::suite::Suite;

/// Case 5.
pub(super) const ONLY_READS: Case = Case {
    number: 5,
    name: "after boot the plan is empty, and another apply sends nothing but reads and leaves the ruleset's generation",
    on: Suite::ALL,
    boot: &SEED,
    run: only_reads,
};

/// Members of D-Bus interfaces that change something, which the daemon may call.
const BUS_WRITES: [&str; 5] = ["SetUnitProperties", "StartUnit", "StopUnit", "SetLinkDNS", "RevertLink"];

fn only_reads(lab: &Lab) -> Result<(), String> {
    daemon::running(lab, "example")?;
    daemon::settled(lab)?;
    let before = (generation()?, run("nft -s -a list ruleset")?, libvirt(lab)?);
    let strace = Strace::attach(lab, daemon::pid(lab)?, "sendto,sendmsg,sendmmsg")?;
    let applied = lab.apply_seed();
    let calls = strace.finish(lab)?;
    let summary = applied?;
    if !summary.contains(r#""done":0"#) {
        return Err(format!("the apply did something: {summary}"));
    }
    let (reads, writes) = sent(&calls);
    if !writes.is_empty() {
        return Err(format!("{} sends are no reads:\n{}", writes.len(), writes.join("\n")));
    }
    for asked in ["RTM_GETLINK", "NFT_MSG_GETTABLE"] {
        if !reads.iter().any(|kind| kind.contains(asked)) {
            return Err(format!("nothing asked for {asked}, so strace did not see all: {reads:?}"));
        }
    }
    let after = (generation()?, run("nft -s -a list ruleset")?, libvirt(lab)?);
    if before != after {
        return Err(format!("before and after the apply differ:\n{before:?}\n{after:?}"));
    }
    lab.measured(format!("{} netlink reads, 0 writes; nftables generation {} before and after", reads.len(), after.0));
    Ok(())
}

/// The kinds of netlink messages that only read, and the calls with anything else in them that changes something.
fn sent(calls: &str) -> (Vec<String>, Vec<String>) {
    let (mut reads, mut writes) = (Vec::new(), Vec::new());
    for call in calls.lines() {
        let kinds = call.split("nlmsg_type=").skip(1).map(|rest| rest.split(',').next().unwrap_or_default());
        let (asked, other): (Vec<&str>, Vec<&str>) = kinds.partition(|kind| kind.contains("_GET"));
        if !other.is_empty() || BUS_WRITES.iter().any(|member| call.contains(member)) {
            writes.push(call.to_owned());
        }
        reads.extend(asked.into_iter().map(str::to_owned));
    }
    (reads, writes)
}

/// The number that the kernel counts up with every change of the ruleset (NFT_MSG_GETGEN, NFTA_GEN_ID).
fn generation() -> Result<u32, String> {
    const REQUEST: u16 = 1;
    const GET: u16 = (10 << 8) | 16;
    const ID: usize = 20;
    let failed = |error: nix::Error| format!("ask for the ruleset's generation: {error}");
    let mut message = 20_u32.to_ne_bytes().to_vec();
    message.extend([GET, REQUEST].iter().flat_map(|number| number.to_ne_bytes()));
    message.extend([0; 12]);
    let family = (AddressFamily::Netlink, SockProtocol::NetlinkNetFilter);
    let socket = socket(family.0, SockType::Raw, SockFlag::SOCK_CLOEXEC, family.1).map_err(failed)?;
    let (kernel, mut answer) = (NetlinkAddr::new(0, 0), [0; 256]);
    sendto(socket.as_raw_fd(), &message, &kernel, MsgFlags::empty()).map_err(failed)?;
    recv(socket.as_raw_fd(), &mut answer, MsgFlags::empty()).map_err(failed)?;
    match answer.get(ID..ID + 8) {
        // The first attribute: its length 8, its type 1, and the number in network order.
        Some([8, 0, 1, 0, number @ ..]) => {
            number.try_into().map(u32::from_be_bytes).map_err(|_| format!("a generation of {number:?}"))
        }
        _ => Err(format!("an answer without a generation: {answer:?}")),
    }
}

/// Everything that libvirt has.
fn libvirt(lab: &Lab) -> Result<String, String> {
    let lines = ["list --all", "net-list --all", "pool-list --all", "dumpxml --inactive example"];
    lines.iter().map(|line| lab.run(&format!("virsh {line}"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_with_one_write_among_its_messages_is_no_read() {
        let calls = concat!(
            r#"7 sendto(9, [{nlmsg_len=40, nlmsg_type=RTM_GETLINK, nlmsg_flags=NLM_F_REQUEST}, ..."#,
            "\n",
            r#"7 sendmsg(8, [{nlmsg_len=20, nlmsg_type=NFNL_SUBSYS_NFTABLES<<8|NFT_MSG_GETGEN, nlmsg_flags=1}"#,
            "\n",
            r#"7 sendto(9, [{nlmsg_type=RTM_GETLINK, nlmsg_flags=1}, {nlmsg_type=RTM_NEWLINK, nlmsg_flags=1}"#,
            "\n",
            r#"7 sendmsg(5, {msg_iov=[{iov_base="l\1\0\1..StartUnit.."#,
        );
        let (reads, writes) = sent(calls);
        assert_eq!(reads.len(), 3);
        assert_eq!(writes.len(), 2, "{writes:?}");
    }
}
