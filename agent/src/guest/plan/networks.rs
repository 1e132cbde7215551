//! Networks that publish our bridges, and libvirt's own `default`.

use bulkhead_types::{Cause, Object};

use super::Plan;
use crate::guest::model::{Desired, Network, NetworkDefinition, NetworkFound, Observed};
use crate::guest::step::Step;
use crate::guest::xml::network_xml;

/// libvirt's name of the NAT network that its packages define.
pub(crate) const DEFAULT: &str = "default";

/// Plans the networks of the manifest.
pub(super) fn plan(desired: &Desired, observed: &Observed, plan: &mut Plan) {
    for network in &desired.networks {
        if let Some(why) = observed.unread.networks.get(&network.name) {
            let text = format!("is left alone: what libvirt has of it cannot be read: {why}");
            plan.notice(Object::Network(network.name.clone()), Cause::Unknown, text);
            continue;
        }
        match observed.networks.get(&network.name) {
            Some(found) if goes(desired, &network.name, found) => {
                remove(&network.name, found, plan);
                make(network, plan);
            }
            Some(found) if !found.owned => clash(network, found, plan),
            Some(found) => mend(network, found, plan),
            None => make(network, plan),
        }
    }
}

/// Plans the end of networks that left the manifest, and of libvirt's own `default` where it must be absent.
pub(super) fn leave(desired: &Desired, observed: &Observed, plan: &mut Plan) {
    unread(desired, observed, plan);
    for (name, found) in &observed.networks {
        let declared = desired.networks.iter().any(|network| network.name == *name);
        if !declared && (found.owned || goes(desired, name, found)) {
            remove(name, found, plan);
        }
        if desired.default_network_absent && name == DEFAULT && !found.owned && !goes(desired, name, found) {
            let text = "is no NAT network, so it is not libvirt's own and was left alone; \
                        `virsh net-undefine default` removes it";
            plan.notice(Object::Network(name.clone()), Cause::Clash, text);
        }
    }
}

/// Tells of networks that may be ours and cannot be read.
fn unread(desired: &Desired, observed: &Observed, plan: &mut Plan) {
    for (name, why) in &observed.unread.networks {
        if !desired.networks.iter().any(|network| network.name == *name) {
            let text = format!("whether it is one of ours that left the manifest is not known: {why}");
            plan.notice(Object::Network(name.clone()), Cause::Unknown, text);
        }
    }
}

/// The only foreign network that is ever touched: libvirt's NAT network `default`, where the manifest says absent.
fn goes(desired: &Desired, name: &str, found: &NetworkFound) -> bool {
    desired.default_network_absent && name == DEFAULT && found.is_nat()
}

fn clash(network: &Network, found: &NetworkFound, plan: &mut Plan) {
    let name = &network.name;
    let foreign = match (&found.definition.forward, &found.definition.bridge) {
        (Some(mode), Some(bridge)) => format!("forwards by {mode} on {bridge}"),
        (Some(mode), None) => format!("forwards by {mode}"),
        (None, Some(bridge)) => format!("is isolated on {bridge}"),
        (None, None) => "is isolated".to_owned(),
    };
    let text = format!(
        "the manifest publishes bridge {} as libvirt network {name}, but a network {name} that is not ours is there and \
         {foreign}; choose another `libvirt-network`, or remove it by `virsh net-undefine {name}`",
        network.bridge
    );
    plan.notice(Object::Network(name.clone()), Cause::Clash, text);
}

fn make(network: &Network, plan: &mut Plan) {
    let name = network.name.clone();
    let xml = network_xml(network, None);
    plan.steps.push(Step::DefineNetwork { network: name.clone(), xml });
    plan.steps.push(Step::StartNetwork { network: name.clone() });
    plan.steps.push(Step::AutostartNetwork { network: name });
}

fn mend(network: &Network, found: &NetworkFound, plan: &mut Plan) {
    let name = || network.name.clone();
    let wanted = NetworkDefinition::of(network);
    let defined = found.persistent && found.definition == wanted;
    // A network takes a new definition only when it starts; guests name the bridge and do not notice.
    let runs = found.running.as_ref() == Some(&wanted);
    if found.running.is_some() && !runs {
        plan.steps.push(Step::DestroyNetwork { network: name() });
    }
    if !defined {
        let xml = network_xml(network, Some(&found.uuid));
        plan.steps.push(Step::DefineNetwork { network: name(), xml });
    }
    if !runs {
        plan.steps.push(Step::StartNetwork { network: name() });
    }
    // One that is not persistent forgets its autostart with its stop.
    if !found.autostart || !found.persistent {
        plan.steps.push(Step::AutostartNetwork { network: name() });
    }
}

fn remove(name: &str, found: &NetworkFound, plan: &mut Plan) {
    if found.running.is_some() {
        plan.steps.push(Step::DestroyNetwork { network: name.to_owned() });
    }
    if found.persistent {
        plan.steps.push(Step::UndefineNetwork { network: name.to_owned() });
    }
}
