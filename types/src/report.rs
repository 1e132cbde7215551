//! What every room says of its work: the objects that steps belong to, how each step ended, what the plan could not cover.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{GuestName, IfName, SegmentName};

/// The thing in the manifest that a step or a notice belongs to. A failed step stops the later phases of its object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(tag = "kind", content = "name", rename_all = "kebab-case")]
pub enum Object {
    /// The whole ruleset: nothing starts before it stands.
    Policy,
    /// A trunk port.
    Trunk(IfName),
    /// A segment of the manifest.
    Segment(SegmentName),
    /// A bridge of ours whose segment is not in the manifest any more.
    Bridge(IfName),
    /// A guest.
    Guest(GuestName),
    /// A libvirt storage pool.
    Pool(String),
    /// A libvirt network.
    Network(String),
    /// The host's DNS servers.
    Resolver,
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Policy => f.write_str("policy"),
            Self::Trunk(name) => write!(f, "trunk {name}"),
            Self::Segment(name) => write!(f, "segment {name}"),
            Self::Bridge(name) => write!(f, "bridge {name}"),
            Self::Guest(name) => write!(f, "guest {name}"),
            Self::Pool(name) => write!(f, "pool {name}"),
            Self::Network(name) => write!(f, "network {name}"),
            Self::Resolver => f.write_str("resolver"),
        }
    }
}

/// One write of a plan: printed to people with `Display`, to programs with `Serialize`.
pub trait Step: fmt::Display + Serialize {
    /// The object that this write serves.
    fn object(&self) -> Object;

    /// Another object without which this write cannot be done: a volume needs its pool.
    fn needs(&self) -> Option<Object> {
        None
    }

    /// Whether the later writes of its object need it.
    fn required(&self) -> bool {
        true
    }
}

/// The writes that are missing between desired and observed, and what no write mends: what each room's `plan` returns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Plan<S> {
    /// The writes, in the order in which they have to happen.
    pub steps: Vec<S>,
    /// What a person should know.
    pub notices: Vec<Notice>,
}

impl<S> Plan<S> {
    /// Whether there is nothing to write.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// Adds what a person should know.
    pub fn notice(&mut self, object: Object, cause: Cause, text: impl Into<String>) {
        self.notices.push(Notice { object, cause, text: text.into() });
    }
}

impl<S> Default for Plan<S> {
    fn default() -> Self {
        Self { steps: Vec::new(), notices: Vec::new() }
    }
}

/// How a step ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "outcome", content = "why")]
pub enum Outcome {
    /// The kernel, systemd or libvirt acknowledged it.
    Done,
    /// It was refused; the text names operation, object and cause.
    Failed(String),
    /// It was not tried, because of an earlier failure, or because it was not wanted any more; the text says which.
    Skipped(String),
}

impl Outcome {
    /// How a write ended that answered so.
    pub fn of<E: Error>(result: Result<(), E>) -> Self {
        result.map_or_else(|error| Self::Failed(chain(&error)), |()| Self::Done)
    }
}

/// An error and all its causes in one line, as [`Outcome::Failed`] carries it.
#[must_use]
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}

/// Asked before a write: why no further one is wanted, or `None` while it is.
pub type Cancelled<'a> = &'a (dyn Fn() -> Option<&'static str> + Sync);

/// Hears of each step and its end, once it has ended.
pub type Progress<'a, S> = &'a mut (dyn FnMut(&S, &Outcome) + Send);

/// Makes the writes of a room that go one after the other.
pub trait Execute<S> {
    /// Makes one, and says how it ended.
    fn execute(&mut self, step: &S) -> impl Future<Output = Outcome> + Send;
}

/// What applying a plan did: every step of the plan, in its order, with its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report<S> {
    /// The steps and how each ended.
    pub steps: Vec<(S, Outcome)>,
    /// Objects whose later steps are skipped, and why.
    stopped: BTreeMap<Object, String>,
}

impl<S> Default for Report<S> {
    fn default() -> Self {
        Self { steps: Vec::new(), stopped: BTreeMap::new() }
    }
}

impl<S: Step> Report<S> {
    /// Makes the steps of a plan in their order, but for those that [`Self::skip`] names. `progress` hears of each.
    pub async fn of(
        plan: &Plan<S>,
        mut room: impl Execute<S>,
        cancelled: Cancelled<'_>,
        progress: Progress<'_, S>,
    ) -> Self
    where
        S: Clone,
    {
        let mut report = Self::default();
        for step in &plan.steps {
            let outcome = match report.skip(step, cancelled()) {
                Some(skipped) => skipped,
                None => room.execute(step).await,
            };
            progress(step, &outcome);
            report.record(step.clone(), outcome);
        }
        report
    }

    /// How a step ends that is not to be tried: an earlier step of its object, or of one that it needs, failed or was skipped,
    /// or else no further write is wanted at all. `None`: it is to be tried.
    #[must_use]
    pub fn skip(&self, step: &S, cancelled: Option<&str>) -> Option<Outcome> {
        let objects = [Some(step.object()), step.needs()];
        let stopped = objects.into_iter().flatten().find_map(|object| self.stopped.get(&object)).map(String::as_str);
        stopped.or(cancelled).map(|why| Outcome::Skipped(why.to_owned()))
    }

    /// Takes down how a step ended. What [`Self::skip`] says of later ones follows from it.
    pub fn record(&mut self, step: S, outcome: Outcome) {
        let why = match &outcome {
            Outcome::Done => None,
            Outcome::Failed(_) => Some(format!("`{step}` failed")),
            Outcome::Skipped(why) => Some(why.clone()),
        };
        if let Some(why) = why.filter(|_| step.required()) {
            self.stopped.entry(step.object()).or_insert(why);
        }
        self.steps.push((step, outcome));
    }
}

/// Why something desired is not covered by steps, or something observed is worth a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// It waits for something that may come by itself: a trunk, libvirt, an encrypted mount.
    Pending,
    /// A foreign object stands where ours should be; it is left alone.
    Clash,
    /// A foreign object on something of ours, such as an undeclared port on our bridge.
    Foreign,
    /// This kernel or service lacks a feature, and what the manifest says holds without it, by a weaker means or slower.
    Unsupported,
    /// Not as the manifest says and not mended, because mending would hurt more than it helps; the text says what to do.
    Held,
    /// What runs has a way around its walls, and goes on until a person ends it; the text names it.
    Violation,
    /// It could not be read, so that nobody knows whether it is as the manifest says; the text says why.
    Unknown,
}

/// One thing that a person should know and that no step mends.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Notice {
    /// What it is about.
    pub object: Object,
    /// What kind of thing it is.
    pub cause: Cause,
    /// The whole sentence: what, why, and what to do about it.
    pub text: String,
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Context, Poll, Waker};

    use super::*;

    #[derive(Debug, Clone, Serialize)]
    struct Write {
        text: &'static str,
        object: Object,
        needs: Option<Object>,
        required: bool,
    }

    fn write(text: &'static str, object: Object) -> Write {
        Write { text, object, needs: None, required: true }
    }

    impl fmt::Display for Write {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.text)
        }
    }

    impl Step for Write {
        fn object(&self) -> Object {
            self.object.clone()
        }
        fn needs(&self) -> Option<Object> {
            self.needs.clone()
        }
        fn required(&self) -> bool {
            self.required
        }
    }

    fn skipped(why: &str) -> Option<Outcome> {
        Some(Outcome::Skipped(why.to_owned()))
    }

    fn pool(name: &str) -> Object {
        Object::Pool(name.to_owned())
    }

    fn web() -> Object {
        Object::Guest("web".parse().unwrap())
    }

    /// A room in which everything fails, and what was tried there.
    impl Execute<Write> for &mut Vec<String> {
        async fn execute(&mut self, step: &Write) -> Outcome {
            self.push(step.to_string());
            Outcome::Failed("no".to_owned())
        }
    }

    /// What comes of a future that waits for nothing.
    fn ready<T>(future: impl Future<Output = T>) -> T {
        match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(value) => value,
            Poll::Pending => panic!("it waits"),
        }
    }

    #[test]
    fn a_plan_is_made_in_its_order_until_it_is_cancelled_and_each_end_is_told() {
        let steps = vec![
            write("pool-define a", pool("a")),
            write("pool-start a", pool("a")),
            write("pool-define b", pool("b")),
            write("define web", web()),
        ];
        let plan = Plan { steps, notices: Vec::new() };
        let (asked, mut tried, mut told) = (AtomicUsize::new(0), Vec::new(), Vec::new());
        let cancelled = || (asked.fetch_add(1, Ordering::Relaxed) == 3).then_some("the manifest has changed");
        let mut progress = |step: &Write, outcome: &Outcome| told.push((step.text, outcome.clone()));
        let report = ready(Report::of(&plan, &mut tried, &cancelled, &mut progress));
        assert_eq!(tried, ["pool-define a", "pool-define b"]);
        let failed = || Outcome::Failed("no".to_owned());
        let skipped = |why: &str| Outcome::Skipped(why.to_owned());
        let ends = [failed(), skipped("`pool-define a` failed"), failed(), skipped("the manifest has changed")];
        assert_eq!(report.steps.iter().map(|(_, outcome)| outcome.clone()).collect::<Vec<_>>(), ends);
        assert_eq!(told, report.steps.iter().map(|(step, end)| (step.text, end.clone())).collect::<Vec<_>>());
    }

    #[test]
    fn a_failure_stops_its_object_and_what_needs_it_and_nobody_else() {
        let mut report = Report::default();
        report.record(write("pool-define a", pool("a")), Outcome::Failed("no".to_owned()));
        report.record(write("pool-define b", pool("b")), Outcome::Done);
        assert_eq!(report.skip(&write("pool-start a", pool("a")), None), skipped("`pool-define a` failed"));
        assert_eq!(report.skip(&write("pool-start b", pool("b")), None), None);
        assert_eq!(report.skip(&write("define web", web()), None), None);
        let volume = Write { needs: Some(pool("a")), ..write("vol-create", web()) };
        let skip = report.skip(&volume, None);
        assert_eq!(skip, skipped("`pool-define a` failed"));
        report.record(volume, skip.unwrap());
        // The first failure is named, however long the chain from it is.
        assert_eq!(report.skip(&write("define web", web()), None), skipped("`pool-define a` failed"));
    }

    #[test]
    fn once_no_further_write_is_wanted_each_step_is_skipped_and_a_failure_before_it_is_still_named() {
        let mut report = Report::default();
        report.record(write("pool-define a", pool("a")), Outcome::Failed("no".to_owned()));
        let cancelled = Some("the manifest has changed");
        assert_eq!(report.skip(&write("define web", web()), cancelled), skipped("the manifest has changed"));
        assert_eq!(report.skip(&write("pool-start a", pool("a")), cancelled), skipped("`pool-define a` failed"));
        assert_eq!(report.skip(&write("define web", web()), None), None, "it is wanted again");
    }

    #[test]
    fn a_failed_step_that_its_object_does_without_stops_nothing() {
        let mut report = Report::default();
        let optional = Write { required: false, ..write("address add", web()) };
        report.record(optional, Outcome::Failed("no".to_owned()));
        assert_eq!(report.skip(&write("start web", web()), None), None);
    }
}
