//! Cutting a plan into what goes together.

use crate::socket::CHUNK;
use crate::step::Step;

/// Bridges deleted by one message. Each costs the kernel about 18 ms, during which it holds the RTNL lock: nobody else can
/// change or list links for longer than that.
const BRIDGES_AT_ONCE: usize = 10;

/// Neighbouring steps of a plan that are written together.
#[derive(Debug, PartialEq)]
pub(super) struct Batch<'a> {
    pub(super) method: Method,
    pub(super) steps: &'a [Step],
}

/// How a batch is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    /// A message each, in one send. Steps of different phases never share one, so that a step whose object failed in an
    /// earlier phase can be skipped.
    Each { phase: u8 },
    /// Links set up by one message to their group.
    GroupUp,
    /// Links deleted by one message to the group they are moved to.
    GroupDelete { bridges: bool },
    /// Files below `/proc/sys/net`.
    Sysctl,
}

impl Method {
    fn of(step: &Step) -> Self {
        let phase = match step {
            Step::SetIpv6 { .. } => return Self::Sysctl,
            Step::LinkUp { by_group: true, .. } => return Self::GroupUp,
            Step::DeleteLink { by_group: true, is_bridge, .. } => return Self::GroupDelete { bridges: *is_bridge },
            Step::TrunkUp { .. } => 0,
            Step::DeleteLink { .. } => 1,
            Step::DeleteAddress { .. } | Step::DeleteRoute { .. } => 2,
            Step::CreateBridge { .. } | Step::CreateVlan { .. } => 3,
            Step::LinkDown { .. } => 4,
            Step::ChangeLink { .. } => 5,
            Step::LinkUp { .. } => 6,
            Step::AddAddress { .. } => 7,
            Step::AddRoute { .. } => 8,
            Step::ChangePort { .. } | Step::DeleteFdb { .. } | Step::AddFdb { .. } | Step::PortUp { .. } => 9,
        };
        Self::Each { phase }
    }

    fn most(self) -> usize {
        match self {
            Self::Each { .. } => CHUNK,
            Self::GroupUp | Self::Sysctl => usize::MAX,
            Self::GroupDelete { bridges: true } => BRIDGES_AT_ONCE,
            // One message more deletes the group.
            Self::GroupDelete { bridges: false } => CHUNK - 1,
        }
    }
}

/// Cuts the steps, in their order.
pub(super) fn cut(steps: &[Step]) -> impl Iterator<Item = Batch<'_>> {
    let same = steps.chunk_by(|a, b| Method::of(a) == Method::of(b));
    same.filter_map(|steps| steps.first().map(|first| (Method::of(first), steps)))
        .flat_map(|(method, steps)| steps.chunks(method.most()).map(move |steps| Batch { method, steps }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delete(index: u32, is_bridge: bool, by_group: bool) -> Step {
        let link: bulkhead_types::IfName = format!("l{index}").parse().unwrap();
        Step::DeleteLink { bridge: crate::SegmentBridge::left(link.clone()), link, index, is_bridge, by_group }
    }

    #[test]
    fn bridges_go_ten_at_a_time_and_vlans_as_many_as_fit_a_send() {
        let steps: Vec<Step> =
            (0..70).map(|i| delete(i, false, true)).chain((70..95).map(|i| delete(i, true, true))).collect();
        let lengths: Vec<usize> = cut(&steps).map(|batch| batch.steps.len()).collect();
        assert_eq!(lengths, [63, 7, 10, 10, 5]);
    }

    #[test]
    fn a_cut_plan_is_the_plan() {
        let steps: Vec<Step> = (0..130).map(|i| delete(i, i % 7 == 0, i % 5 != 0)).collect();
        let again: Vec<Step> = cut(&steps).flat_map(|batch| batch.steps.to_vec()).collect();
        assert_eq!(again, steps);
    }
}
