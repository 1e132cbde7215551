//! What an apply would write on an empty host. Pure, so that it needs no daemon and no privilege.

use bulkhead_api::{Phase, Plan, Step};
use bulkhead_netlink as netlink;
use bulkhead_policy as policy;
use bulkhead_sandbox as sandbox;
use bulkhead_types::IfName;

use crate::guest;
use crate::manifest::{HostId, Manifest};
use crate::resolver;

/// Plans a manifest for an empty host: one that has nothing but what every manifest takes for granted and no step of ours
/// makes, which are its trunks, the directories of its pools and what they are encrypted by, a libvirt with KVM, and a kernel
/// that can do everything. The order is that of the phases.
#[must_use]
pub fn plan(manifest: &Manifest, host: &HostId) -> Plan {
    let desired = manifest.lower(host);
    let mut plan = Plan::default();
    add(&mut plan, Phase::Policy, policy::plan(&desired.policy, &ruleset()));
    add(&mut plan, Phase::Links, netlink::plan(&desired.netlink, &trunks(&desired.trunks)));
    let servers = resolver::Desired::of(&desired, None);
    add(&mut plan, Phase::Links, resolver::plan(&servers, &resolver::Observed::default()));
    add(&mut plan, Phase::Limits, sandbox::plan::plan(&desired.sandbox, &sandbox::model::Observed::default()));
    let libvirt = libvirt(&desired.guest);
    add(&mut plan, Phase::Guests, guest::plan(&desired.guest, &libvirt, &guest::Given::default()));
    plan
}

fn add<S: bulkhead_types::Step>(plan: &mut Plan, phase: Phase, room: bulkhead_types::Plan<S>) {
    plan.steps.extend(room.steps.iter().map(|step| Step::of(phase, step)));
    plan.notices.extend(room.notices);
}

/// No ruleset, on a kernel that can hold one.
fn ruleset() -> policy::model::Observed {
    let mut observed = policy::model::Observed::default();
    observed.holdable = true;
    observed
}

/// The trunks, up, and no other link.
fn trunks(names: &[IfName]) -> netlink::model::Observed {
    let link = |(index, name): (u32, &IfName)| netlink::model::Link {
        index,
        name: name.to_string(),
        up: true,
        mtu: 1500,
        ipv6: Some(true),
        ..netlink::model::Link::default()
    };
    netlink::model::Observed { links: (1..).zip(names).map(link).collect(), ..netlink::model::Observed::default() }
}

/// No pool, network or domain.
fn libvirt(desired: &guest::model::Desired) -> guest::model::Observed {
    guest::model::Observed {
        host: guest::model::Host { kind: "kvm".to_owned(), ..guest::model::Host::default() },
        directories: desired.pools.iter().map(|pool| pool.name.clone()).collect(),
        ..guest::model::Observed::default()
    }
}
