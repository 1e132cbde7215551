//! Life signs to systemd: one for each finished look at policy and links, so that a loop or a libnftables that hangs is
//! started again (`WatchdogSec=`).

use std::time::Duration;

use sd_notify::NotifyState;
use tokio::time::Instant;

use crate::reconcile::Reconciler;
use crate::rooms::{Name, State, States, Unread};
use crate::watch::{Reason, Wake};

/// The longest sleep of a loop for which nothing is to come.
pub(super) const IDLE: Duration = Duration::from_secs(3600);
/// Looks in the time that systemd waits for a sign: one may be slow.
const LOOKS: u32 = 4;

/// What systemd is still to hear.
#[derive(Debug)]
pub(crate) struct Watchdog {
    /// How often the walls are looked at when nothing else makes somebody look; `None` where systemd does not wait for it.
    every: Option<Duration>,
    next: Instant,
    policy: bool,
    links: bool,
}

impl Watchdog {
    /// As systemd says in the daemon's environment (sd_watchdog_enabled(3)).
    pub(crate) fn of_the_environment() -> Self {
        Self::new(sd_notify::watchdog_enabled())
    }

    fn new(timeout: Option<Duration>) -> Self {
        let every = timeout.map(|timeout| timeout / LOOKS);
        Self { every, next: Instant::now() + every.unwrap_or(IDLE), policy: false, links: false }
    }

    /// When the walls are to be looked at.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.every.map(|_| self.next)
    }

    /// A look has ended. One that got no answer is none.
    pub(super) fn record(&mut self, name: Name, states: &States) {
        self.policy |= name == Name::Policy && !matches!(states.policy, State::Unread(Unread::Late(_), _));
        self.links |= name == Name::Links;
    }

    /// Gives the sign that is due, and has the walls looked at when it is time. Links wait for a policy that stands; where
    /// nothing is followed, that the loop turns is all there is to see.
    pub(super) fn turn(&mut self, reconciler: &mut Reconciler, idle: bool) {
        let Some(every) = self.every else { return };
        let now = Instant::now();
        let due = now >= self.next;
        if due {
            self.next = now + every;
            reconciler.wake_only(&[Name::Policy, Name::Links], Wake::now(Reason::Timer));
        }
        if self.sign(reconciler.states().policy.verified(), idle && due)
            && let Err(error) = sd_notify::notify(&[NotifyState::Watchdog])
        {
            tracing::warn!("cannot tell systemd: {error}");
        }
    }

    /// Whether a sign is due: both were looked at since the last one.
    fn sign(&mut self, policy_stands: bool, idle: bool) -> bool {
        let sign = idle || self.policy && (self.links || !policy_stands);
        if sign {
            (self.policy, self.links) = (false, false);
        }
        sign
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn states(policy: Unread) -> States {
        States { policy: State::Unread(policy, None), ..States::default() }
    }

    #[tokio::test]
    async fn a_sign_is_given_for_a_look_at_policy_and_links_and_for_no_other() {
        let mut watchdog = Watchdog::new(Some(Duration::from_secs(60)));
        assert!(!watchdog.sign(true, false), "nobody has looked");
        let seen = States::default();
        watchdog.record(Name::Guests, &seen);
        watchdog.record(Name::Policy, &seen);
        assert!(!watchdog.sign(true, false), "links were not looked at");
        watchdog.record(Name::Links, &seen);
        assert!(watchdog.sign(true, false));
        assert!(!watchdog.sign(true, false), "one look is one sign");
    }

    #[tokio::test]
    async fn a_libnftables_that_does_not_answer_gives_no_sign_and_one_that_refuses_does() {
        let mut watchdog = Watchdog::new(Some(Duration::from_secs(60)));
        watchdog.record(Name::Links, &States::default());
        watchdog.record(Name::Policy, &states(Unread::Late("no answer".to_owned())));
        assert!(!watchdog.sign(false, false));
        watchdog.record(Name::Policy, &states(Unread::Refused("no".to_owned())));
        assert!(watchdog.sign(false, false), "links wait for the policy, which is no hang");
    }
}
