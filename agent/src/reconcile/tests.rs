//! The loop's decisions, with rooms that do what a test says.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bulkhead_api::{Phase, Status};
use bulkhead_types::{Cause, IfName, Object};
use tokio::sync::Notify;
use tokio::time::timeout;

use super::*;
use crate::rooms::{Look, OnDone, Policy, Room, View, Walk, walk};

/// What a test has seen and decides.
#[derive(Debug, Default)]
pub(crate) struct World {
    /// The looks that began, in their order.
    began: Mutex<Vec<(Name, Mode)>>,
    /// Rooms whose looks do not end until they are let go.
    pub(crate) frozen: Mutex<BTreeSet<Name>>,
    go: Notify,
    /// Rooms whose looks are answered before they are frozen.
    pub(crate) answered: Mutex<BTreeSet<Name>>,
    /// Rooms that write something with the next look.
    pub(crate) writes: Mutex<BTreeSet<Name>>,
    /// Rooms in which something is left.
    pub(crate) left: Mutex<BTreeSet<Name>>,
    /// Why looks were cancelled, of each that was.
    cancelled: Mutex<Vec<(Name, &'static str)>>,
    /// Of each look at the policy, whether it keeps closed every bridge that the ruleset names.
    kept_closed: Mutex<Vec<bool>>,
    /// What guests lack changes with every look at links.
    links_matter: bool,
}

#[derive(Debug)]
struct Fake {
    name: Name,
    phase: Phase,
    needs: &'static [Name],
    walled: bool,
    source: Reason,
    world: Arc<World>,
    target: Option<Target>,
}

/// What a room is to make: these trunks, after so many looks at links, and whether everything stays closed meanwhile.
type Target = (Vec<IfName>, usize, bool);

/// A fake of each room, in their order.
pub(crate) fn rooms(world: &Arc<World>) -> Vec<Box<dyn AnyRoom>> {
    let mut fakes = Fakes { world: Arc::clone(world), rooms: Vec::new() };
    let Ok(()) = walk(&mut fakes);
    fakes.rooms
}

struct Fakes {
    world: Arc<World>,
    rooms: Vec<Box<dyn AnyRoom>>,
}

impl Walk for Fakes {
    type Error = Infallible;

    fn room<R: Room>(&mut self) -> Result<(), Infallible> {
        let (name, phase, needs, walled, source) = (R::NAME, R::PHASE, R::NEEDS, R::WALLED, R::SOURCE);
        let fake = Fake { name, phase, needs, walled, source, world: Arc::clone(&self.world), target: None };
        self.rooms.push(Box::new(fake));
        Ok(())
    }
}

fn looks(world: &World, name: Name) -> usize {
    world.began.lock().unwrap().iter().filter(|(began, _)| *began == name).count()
}

impl AnyRoom for Fake {
    fn name(&self) -> Name {
        self.name
    }
    fn phase(&self) -> Phase {
        self.phase
    }
    fn needs(&self) -> &'static [Name] {
        self.needs
    }
    fn walled(&self) -> bool {
        self.walled
    }
    fn source(&self) -> Reason {
        self.source
    }
    fn handle(&self) -> Box<dyn AnyRoom> {
        Box::new(Self { world: Arc::clone(&self.world), target: None, ..*self })
    }
    fn retarget(&mut self, wanted: Wanted<'_>, states: &States) -> bool {
        let links =
            if self.name == Name::Guests && self.world.links_matter { looks(&self.world, Name::Links) } else { 0 };
        let closed = self.name == Name::Policy && Policy::desired(wanted, states).keep_closed;
        let target = Some((wanted.manifest.trunks.clone(), links, closed));
        let news = self.target != target;
        self.target = target;
        news
    }
    fn look(&self, mode: Mode, cancellation: Cancellation, _: OnDone) -> Look {
        let (name, world) = (self.name, Arc::clone(&self.world));
        world.began.lock().unwrap().push((name, mode));
        if name == Name::Policy {
            world.kept_closed.lock().unwrap().extend(self.target.as_ref().map(|target| target.2));
        }
        Box::pin(async move {
            if world.answered.lock().unwrap().contains(&name) {
                cancellation.observed();
            }
            while world.frozen.lock().unwrap().contains(&name) {
                world.go.notified().await;
            }
            world.cancelled.lock().unwrap().extend(cancellation.why().map(|why| (name, why)));
            let step =
                |outcome| Done { phase: Phase::Links, object: Object::Policy, text: String::new(), outcome, why: None };
            let done = world.writes.lock().unwrap().remove(&name).then(|| step(Ended::Done)).into_iter().collect();
            let left = world.left.lock().unwrap().contains(&name);
            let keep = move |states: &mut States| match name {
                Name::Policy if left => states.policy = State::Incomplete(view(), Vec::new()),
                Name::Policy => states.policy = State::Verified(view()),
                Name::Links => states.links = State::Verified(view()),
                Name::Guests => states.guests = State::Verified(view()),
                _ => {}
            };
            Findings { name, done, keep: Box::new(keep) }
        })
    }
    fn plan(&self, _: Wanted<'_>, _: &States) -> Look {
        self.look(Mode::Plan, Cancellation::default(), Box::new(|_| ()))
    }
    fn verified(&self, _: &States) -> bool {
        !self.world.left.lock().unwrap().contains(&self.name)
    }
    fn unread(&self, _: &States) -> Option<Unread> {
        None
    }
    fn remaining(&self, _: &States) -> Vec<Step> {
        Vec::new()
    }
    fn notices(&self, _: &Desired, _: &States) -> Vec<Notice> {
        let stays = Notice { object: Object::Policy, cause: Cause::Held, text: "stays".to_owned() };
        self.world.left.lock().unwrap().contains(&self.name).then_some(stays).into_iter().collect()
    }
    fn page(&self, _: &Desired, _: &States, _: &mut Status) {}
}

fn view<O: Default>() -> View<O> {
    View { observed: Arc::default(), notices: Vec::new().into() }
}

fn manifest() -> Arc<Desired> {
    Arc::new(Desired { trunks: vec!["eth1".parse().unwrap()], ..Desired::default() })
}

fn following(world: &Arc<World>) -> Reconciler {
    let mut reconciler = Reconciler::new(rooms(world));
    reconciler.follow(Some(manifest()), Wake::now(Reason::Start));
    reconciler
}

/// For a look that is not frozen.
const PATIENCE: Duration = Duration::from_millis(500);

/// Lets looks begin and end until none does any more.
async fn run(reconciler: &mut Reconciler) -> Vec<Name> {
    let mut ended = Vec::new();
    loop {
        let now = Instant::now();
        reconciler.begin(now, &[]);
        let soon = now + BREATH * 2;
        let rested = reconciler.next_begin(now).filter(|at| *at < soon);
        match timeout(PATIENCE, reconciler.next()).await {
            Ok(Some(look)) => ended.push(look.name),
            Ok(None) | Err(_) => match rested {
                Some(at) => tokio::time::sleep_until(at).await,
                None => return ended,
            },
        }
    }
}

#[tokio::test]
async fn what_a_teardown_keeps_is_told_where_no_manifest_is_followed_any_more() {
    let world = Arc::new(World::default());
    world.left.lock().unwrap().insert(Name::Guests);
    let mut reconciler = Reconciler::new(rooms(&world));
    reconciler.tear(Name::Guests, Wake::now(Reason::Request));
    let texts: Vec<String> = reconciler.notices().into_iter().map(|notice| notice.text).collect();
    assert_eq!(texts, ["stays"]);
}

#[tokio::test]
async fn the_first_looks_come_in_the_order_of_what_needs_what() {
    let world = Arc::new(World::default());
    let mut reconciler = following(&world);
    let ended = run(&mut reconciler).await;
    assert_eq!(ended[0], Name::Links, "the policy must know which bridges there are");
    assert_eq!(world.began.lock().unwrap()[0], (Name::Links, Mode::Plan));
    assert_eq!(ended[1], Name::Policy);
    let ended = &ended[1..];
    let position = |name| ended.iter().position(|ended| *ended == name).unwrap();
    assert!(position(Name::Links) < position(Name::Resolver));
    assert!(position(Name::Links) < position(Name::Guests) && position(Name::Limits) < position(Name::Guests));
    assert_eq!(ended.len(), reconciler.rooms().count(), "each room once: {ended:?}");
}

#[tokio::test]
async fn while_libvirt_is_frozen_walls_are_looked_at_and_its_own_wake_is_kept() {
    let world = Arc::new(World::default());
    let mut reconciler = following(&world);
    run(&mut reconciler).await;
    world.frozen.lock().unwrap().insert(Name::Guests);
    reconciler.wake(Wake::now(Reason::Domains));
    run(&mut reconciler).await;
    let before = (looks(&world, Name::Links), looks(&world, Name::Policy), looks(&world, Name::Guests));
    reconciler.wake(Wake::now(Reason::Domains));
    reconciler.wake(Wake::now(Reason::Links));
    assert_eq!(run(&mut reconciler).await, [Name::Links], "a wake of links is about links alone");
    reconciler.wake(Wake::now(Reason::Ruleset));
    assert_eq!(run(&mut reconciler).await, [Name::Policy]);
    assert_eq!((looks(&world, Name::Links), looks(&world, Name::Policy)), (before.0 + 1, before.1 + 1));
    assert_eq!(looks(&world, Name::Guests), before.2, "one look at a time");
    world.frozen.lock().unwrap().clear();
    world.go.notify_one();
    assert_eq!(run(&mut reconciler).await, [Name::Guests, Name::Guests], "the wake that came meanwhile is looked into");
}

#[tokio::test]
async fn nothing_is_written_behind_a_policy_that_does_not_stand() {
    let world = Arc::new(World::default());
    world.left.lock().unwrap().insert(Name::Policy);
    let mut reconciler = following(&world);
    run(&mut reconciler).await;
    let writes =
        |began: &[(Name, Mode)]| began.iter().filter(|(_, mode)| *mode == Mode::Apply).map(|(name, _)| *name).collect();
    let wrote: BTreeSet<Name> = writes(&world.began.lock().unwrap());
    assert_eq!(wrote, [Name::Policy, Name::Resolver, Name::Limits].into(), "a slice and a server let no frame pass");
    let began = Instant::now();
    assert!(!reconciler.rests_since(Name::Links, began), "nobody has looked at the policy since");
    world.left.lock().unwrap().clear();
    reconciler.wake(Wake::now(Reason::Request));
    assert_eq!(run(&mut reconciler).await.len(), reconciler.rooms().count());
    assert!(reconciler.rooms().all(|room| reconciler.rests_since(room.name(), began)));
}

#[tokio::test]
async fn guests_that_were_started_have_their_ports_looked_at() {
    let world = Arc::new(World::default());
    let mut reconciler = following(&world);
    run(&mut reconciler).await;
    world.writes.lock().unwrap().insert(Name::Guests);
    reconciler.wake(Wake::now(Reason::Domains));
    let ended = run(&mut reconciler).await;
    assert_eq!(ended[0], Name::Guests);
    assert!(ended.contains(&Name::Links) && ended.contains(&Name::Limits), "{ended:?}");
}

#[tokio::test]
async fn a_room_whose_target_changes_by_another_room_is_looked_at() {
    let world = Arc::new(World { links_matter: true, ..World::default() });
    let mut reconciler = following(&world);
    run(&mut reconciler).await;
    reconciler.wake(Wake::now(Reason::Links));
    assert_eq!(run(&mut reconciler).await, [Name::Links, Name::Guests]);
}

#[tokio::test]
async fn a_room_that_left_something_rests_before_it_is_looked_at_again() {
    let world = Arc::new(World::default());
    world.left.lock().unwrap().insert(Name::Links);
    let mut reconciler = following(&world);
    run(&mut reconciler).await;
    let before = looks(&world, Name::Links);
    reconciler.wake(Wake::now(Reason::Links));
    reconciler.begin(Instant::now(), &[]);
    assert_eq!(looks(&world, Name::Links), before);
    assert!(reconciler.next_begin(Instant::now()).is_some_and(|at| at > Instant::now()));
    reconciler.wake(Wake::now(Reason::Request));
    reconciler.begin(Instant::now(), &[]);
    reconciler.next().await;
    reconciler.begin(Instant::now(), &[]);
    assert_eq!(looks(&world, Name::Links), before + 1, "a person does not wait for the rest");
}

#[tokio::test]
async fn a_teardown_empties_one_room_while_the_others_follow_the_manifest() {
    let world = Arc::new(World::default());
    let mut reconciler = following(&world);
    run(&mut reconciler).await;
    reconciler.tear(Name::Guests, Wake::now(Reason::Request));
    assert_eq!(run(&mut reconciler).await, [Name::Guests]);
    reconciler.wake(Wake::now(Reason::Links));
    assert_eq!(run(&mut reconciler).await, [Name::Links], "a deleted VLAN is repaired meanwhile");
    assert_eq!(world.began.lock().unwrap().last(), Some(&(Name::Links, Mode::Apply)));
    reconciler.restore(Wake::now(Reason::Request));
    assert_eq!(run(&mut reconciler).await, [Name::Guests], "a teardown that was given up leaves the manifest followed");
}

#[tokio::test]
async fn where_nothing_is_followed_only_what_is_torn_down_is_written() {
    let world = Arc::new(World::default());
    let mut reconciler = Reconciler::new(rooms(&world));
    reconciler.wake(Wake::now(Reason::Timer));
    assert!(run(&mut reconciler).await.is_empty());
    reconciler.tear(Name::Guests, Wake::now(Reason::Request));
    reconciler.wake(Wake::now(Reason::Request));
    run(&mut reconciler).await;
    let began = world.began.lock().unwrap().clone();
    assert!(began.iter().all(|(name, mode)| (*mode == Mode::Apply) == (*name == Name::Guests)), "{began:?}");
}

#[tokio::test]
async fn what_was_verified_for_another_manifest_lets_nothing_be_built() {
    for (first, then) in [(Name::Policy, Name::Links), (Name::Limits, Name::Guests)] {
        let world = Arc::new(World::default());
        let mut reconciler = following(&world);
        run(&mut reconciler).await;
        world.frozen.lock().unwrap().insert(first);
        reconciler.wake_only(&[first], Wake::now(Reason::Timer));
        reconciler.begin(Instant::now(), &[]);
        reconciler.follow(Some(Arc::new(Desired::default())), Wake::now(Reason::Request));
        // The longer a look took, the longer its room rests.
        tokio::time::sleep(Duration::from_millis(100)).await;
        world.frozen.lock().unwrap().clear();
        world.go.notify_one();
        let ended = run(&mut reconciler).await;
        let again = ended.iter().enumerate().filter(|(_, name)| **name == first).map(|(at, _)| at).nth(1);
        let built = ended.iter().position(|name| *name == then);
        assert!(again.is_some() && again < built, "{first:?} for the new manifest before {then:?}: {ended:?}");
    }
}

/// Begins a look at a room of a host that stands, and lets it last until it is let go.
async fn begin_long_look(name: Name) -> (Arc<World>, Reconciler) {
    let world = Arc::new(World::default());
    let mut reconciler = following(&world);
    run(&mut reconciler).await;
    world.frozen.lock().unwrap().insert(name);
    reconciler.wake_only(&[name], Wake::now(Reason::Timer));
    reconciler.begin(Instant::now(), &[]);
    (world, reconciler)
}

pub(crate) fn let_go(world: &World) {
    world.frozen.lock().unwrap().clear();
    world.go.notify_one();
}

#[tokio::test]
async fn a_look_that_makes_what_is_not_wanted_any_more_is_cancelled_and_its_room_is_looked_at_again_at_once() {
    let (world, mut reconciler) = begin_long_look(Name::Guests).await;
    let wake = Wake::now(Reason::Request);
    reconciler.follow(Some(Arc::new(Desired::default())), wake);
    let_go(&world);
    while reconciler.next().await.is_some_and(|look| look.name != Name::Guests) {}
    let [(Name::Guests, why)] = world.cancelled.lock().unwrap()[..] else { panic!("{:?}", world.cancelled) };
    assert!(why.starts_with("something else is to be made"), "{why}");
    assert!(!reconciler.rests_since(Name::Guests, wake.at), "an apply waits for the look that makes what it wants");
    let position = reconciler.position(Name::Guests).unwrap();
    assert!(reconciler.rooms[position].1.due.is_some() && reconciler.rooms[position].1.rested <= Instant::now());
    assert!(run(&mut reconciler).await.contains(&Name::Guests));
    assert_eq!(world.cancelled.lock().unwrap().len(), 1, "what makes what is wanted goes on");
}

#[tokio::test]
async fn a_look_behind_a_policy_that_falls_is_cancelled_and_goes_on_when_it_stands_again() {
    let (world, mut reconciler) = begin_long_look(Name::Guests).await;
    world.left.lock().unwrap().insert(Name::Policy);
    reconciler.wake(Wake::now(Reason::Ruleset));
    assert_eq!(run(&mut reconciler).await, [Name::Policy]);
    let_go(&world);
    assert_eq!(run(&mut reconciler).await, [Name::Guests], "and no second look without walls");
    let [(Name::Guests, why)] = world.cancelled.lock().unwrap()[..] else { panic!("{:?}", world.cancelled) };
    assert!(why.starts_with("the policy does not stand"), "{why}");
    world.left.lock().unwrap().clear();
    reconciler.wake_only(&[Name::Policy], Wake::now(Reason::Ruleset));
    assert_eq!(run(&mut reconciler).await, [Name::Policy, Name::Guests]);
}

#[tokio::test]
async fn a_look_goes_on_while_its_walls_are_only_looked_at() {
    let (world, mut reconciler) = begin_long_look(Name::Guests).await;
    reconciler.wake(Wake::now(Reason::Ruleset));
    reconciler.wake(Wake::now(Reason::Links));
    assert_eq!(run(&mut reconciler).await, [Name::Policy, Name::Links]);
    let_go(&world);
    run(&mut reconciler).await;
    assert!(world.cancelled.lock().unwrap().is_empty(), "{:?}", world.cancelled);
}

#[tokio::test]
async fn while_links_are_written_for_an_earlier_manifest_the_policy_of_the_newer_one_keeps_their_bridges_closed() {
    let (world, mut reconciler) = begin_long_look(Name::Links).await;
    assert_eq!(*world.kept_closed.lock().unwrap(), [false]);
    reconciler.follow(Some(Arc::new(Desired::default())), Wake::now(Reason::Request));
    let ended = run(&mut reconciler).await;
    assert!(ended.contains(&Name::Policy) && !ended.contains(&Name::Links), "{ended:?}");
    assert_eq!(*world.kept_closed.lock().unwrap(), [false, true]);
    let_go(&world);
    let ended = run(&mut reconciler).await;
    let position = |name| ended.iter().position(|ended| *ended == name);
    assert!(position(Name::Policy) > position(Name::Links), "only then it is known what became of them: {ended:?}");
    assert_eq!(*world.kept_closed.lock().unwrap(), [false, true, false]);
    assert_eq!(ended.iter().filter(|ended| **ended == Name::Links).count(), 2, "and made for the newer one: {ended:?}");
}

#[tokio::test]
async fn what_was_verified_for_another_manifest_is_not_verified_and_a_look_that_is_only_routine_takes_nothing_back() {
    let world = Arc::new(World::default());
    let mut reconciler = following(&world);
    assert!(!reconciler.verified());
    run(&mut reconciler).await;
    assert!(reconciler.verified());
    world.frozen.lock().unwrap().extend([Name::Policy, Name::Limits]);
    reconciler.wake(Wake::now(Reason::Request));
    run(&mut reconciler).await;
    assert!(reconciler.verified(), "it is looked at, for the same");
    reconciler.follow(Some(Arc::new(Desired::default())), Wake::now(Reason::Request));
    assert!(!reconciler.verified() && !reconciler.are_current(&[Name::Policy]));
    let_go(&world);
    world.go.notify_one();
    world.frozen.lock().unwrap().insert(Name::Limits);
    run(&mut reconciler).await;
    assert!(!reconciler.verified() && reconciler.are_current(&[Name::Policy, Name::Links]));
    let_go(&world);
    run(&mut reconciler).await;
    assert!(reconciler.verified());
}

#[tokio::test]
async fn an_apply_does_not_wait_for_what_needs_links_while_the_policy_is_refused() {
    let world = Arc::new(World::default());
    let mut reconciler = following(&world);
    run(&mut reconciler).await;
    world.left.lock().unwrap().insert(Name::Policy);
    let wake = Wake::now(Reason::Request);
    reconciler.follow(Some(Arc::new(Desired::default())), wake);
    reconciler.wake(wake);
    run(&mut reconciler).await;
    let names = reconciler.rooms().map(AnyRoom::name);
    let waits: Vec<Name> = names.filter(|name| !reconciler.rests_since(*name, wake.at)).collect();
    assert_eq!(waits, []);
    assert!(!reconciler.verified());
}
