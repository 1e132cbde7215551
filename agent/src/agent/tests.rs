//! Requests as the loop takes them, with rooms that do what a test says.

use std::collections::BTreeSet;
use std::time::Duration;

use bulkhead_api::{ApplyFailed, Status, Summary};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;

use super::load::Right;
use super::requests::Requester;
use super::*;
use crate::manifest::Desired;
use crate::reconcile::tests::{World, let_go, rooms};
use crate::rooms::State;
use crate::socket::{self, Refusal};

/// For what is to come at once.
const SOON: Duration = Duration::from_secs(10);

type Answer = oneshot::Receiver<Result<Summary, Refusal>>;

/// An agent that follows nothing, whose guests' room does not end its looks, and its directory, which the caller removes.
fn agent(name: &str) -> (Agent, Arc<World>, PathBuf) {
    let root = std::env::temp_dir().join(format!("bulkhead-agent-{name}-{}", std::process::id()));
    let (state, runtime) = (root.join("state"), root.join("run"));
    std::fs::create_dir_all(&runtime).unwrap();
    let world = Arc::new(World::default());
    world.frozen.lock().unwrap().insert(Name::Guests);
    let agent = Agent {
        reconciler: Reconciler::new(rooms(&world)),
        dirty: Arc::default(),
        watchdog: Watchdog::of_the_environment(),
        generations: Generations::new(Directories { state, runtime }),
        manifest: root.join("host.toml"),
        found: None,
        generation: None,
        trouble: None,
        unnoted: None,
        publisher: Publisher::new().0,
        work: None,
        waiting: VecDeque::new(),
    };
    (agent, world, root)
}

/// The same, and what it publishes.
fn published(name: &str) -> (Agent, Arc<World>, PathBuf, watch::Receiver<Arc<Status>>) {
    let (mut agent, world, root) = agent(name);
    let (publisher, status) = Publisher::new();
    agent.publisher = publisher;
    (agent, world, root, status)
}

fn apply() -> (Request, Answer) {
    let (done, answer) = oneshot::channel();
    (Request::Apply { force: false, progress: mpsc::unbounded_channel().0, done }, answer)
}

/// An apply of a manifest with this trunk, whatever the files say.
fn apply_trunk(agent: &mut Agent, trunk: &str) -> Answer {
    apply_trunk_as(agent, trunk, false)
}

fn apply_trunk_as(agent: &mut Agent, trunk: &str, force: bool) -> Answer {
    let (reply, answer) = oneshot::channel();
    let requester = Requester::new(mpsc::unbounded_channel().0, reply);
    let desired = Desired { trunks: vec![trunk.parse().unwrap()], ..Desired::default() };
    let news = agent.follow(Right { text: format!("[trunk.{trunk}]\n"), desired, empty: Vec::new() }).unwrap();
    let earlier = match agent.work.take() {
        Some(Work::Apply(apply)) => Some(apply),
        Some(work) => panic!("{work:?}"),
        None => None,
    };
    agent.work = Some(agent.apply_followed(requester, force, &news, earlier));
    answer
}

/// Lets the loop turn until a look at this room has ended, or what was under way: the last look that it waits for may be of
/// another room.
async fn turn_until(agent: &mut Agent, name: Name) {
    let works = agent.work.is_some();
    let mut ended = None;
    while ended != Some(name) && agent.work.is_some() == works {
        let now = Instant::now();
        agent.reconciler.begin(now, &[]);
        let rested = agent.reconciler.next_begin(now).unwrap_or(now + SOON);
        tokio::select! {
            Some(look) = agent.reconciler.next() => {
                agent.look_ended(&look);
                ended = Some(look.name);
            }
            () = sleep_until(rested) => {}
        }
        agent.advance();
    }
}

/// Turns until the apply or the teardown under way has ended.
async fn end_work(agent: &mut Agent) {
    while agent.work.is_some() {
        turn_until(agent, Name::Guests).await;
    }
}

#[tokio::test]
async fn a_full_queue_refuses_more_applies_and_keeps_nobody_else_waiting() {
    let (agent, _world, root) = agent("full");
    let (queues, requests) = socket::queues();
    let asks = async {
        let (done, _teardown) = oneshot::channel();
        queues.administer(Request::Teardown { force: false, progress: mpsc::unbounded_channel().0, done }).unwrap();
        let mut answers = Vec::new();
        for _ in 0..=WAITING {
            tokio::time::sleep(Duration::from_millis(10)).await;
            let (request, answer) = apply();
            queues.administer(request).unwrap();
            answers.push(answer);
        }
        let refused = timeout(SOON, answers.pop().unwrap()).await.expect("an answer").unwrap();
        assert!(matches!(refused, Err(Refusal::Busy(_))), "{refused:?}");
        let (reply, counters) = oneshot::channel();
        assert!(queues.counters(reply));
        let counted = timeout(SOON, counters).await.expect("the loop takes other requests in");
        assert!(counted.is_err(), "nothing is followed, so that there is nothing to count");
        assert!(answers.iter_mut().all(|answer| answer.try_recv() == Err(oneshot::error::TryRecvError::Empty)));
    };
    tokio::select! {
        () = agent.run(requests) => panic!("the loop ends"),
        () = asks => {}
    }
    std::fs::remove_dir_all(root).unwrap();
}

#[tokio::test]
async fn an_apply_takes_the_files_up_while_another_one_is_under_way_and_both_are_answered_by_the_newest() {
    let (mut agent, world, root) = agent("newest");
    let mut first = apply_trunk(&mut agent, "eth1");
    turn_until(&mut agent, Name::Limits).await;
    agent.reconciler.begin(Instant::now(), &[]);
    let mut second = apply_trunk(&mut agent, "eth2");
    assert_eq!(agent.reconciler.manifest().map(|manifest| manifest.trunks[0].as_str()), Some("eth2"));
    agent.advance();
    assert!(first.try_recv().is_err() && second.try_recv().is_err());
    let_go(&world);
    end_work(&mut agent).await;
    let generation = agent.generation.as_ref().map(|generation| generation.number);
    for answer in [first, second] {
        let summary = answer.await.unwrap().unwrap();
        assert_eq!((summary.generation, summary.verified), (generation, true));
    }
    std::fs::remove_dir_all(root).unwrap();
}

#[tokio::test]
async fn an_apply_of_files_that_are_wrong_is_refused_at_once_and_the_one_under_way_goes_on() {
    let (mut agent, _world, root) = agent("wrong");
    let mut first = apply_trunk(&mut agent, "eth1");
    std::fs::write(&agent.manifest, "[trunk").unwrap();
    let (request, mut second) = apply();
    agent.serve(request);
    agent.advance();
    assert!(matches!(second.try_recv(), Ok(Err(Refusal::ManifestInvalid(_)))));
    assert_eq!(first.try_recv(), Err(oneshot::error::TryRecvError::Empty));
    assert!(matches!(agent.work, Some(Work::Apply(_))));
    std::fs::remove_dir_all(root).unwrap();
}

#[tokio::test]
async fn what_an_apply_makes_is_no_repair_and_what_mends_the_host_later_is() {
    let (mut agent, world, root, status) = published("repair");
    let_go(&world);
    world.writes.lock().unwrap().insert(Name::Limits);
    let _answer = apply_trunk(&mut agent, "eth1");
    end_work(&mut agent).await;
    assert!(world.writes.lock().unwrap().is_empty(), "it has written");
    assert_eq!(status.borrow().wakes, []);
    world.writes.lock().unwrap().insert(Name::Limits);
    agent.reconciler.wake(Wake::now(Reason::Slices));
    turn_until(&mut agent, Name::Limits).await;
    let reasons: Vec<_> = status.borrow().wakes.iter().map(|wake| wake.reason.clone()).collect();
    assert_eq!(reasons, ["slices"]);
    std::fs::remove_dir_all(root).unwrap();
}

#[tokio::test]
async fn what_mends_the_host_is_a_repair_although_a_room_was_never_left_in_peace_since_the_host_was_made() {
    let (mut agent, world, root, status) = published("peace");
    let_go(&world);
    let _answer = apply_trunk(&mut agent, "eth1");
    agent.work = None;
    let turn = async |agent: &mut Agent| {
        let now = Instant::now();
        agent.reconciler.begin(now, &[]);
        agent.reconciler.wake(Wake::now(Reason::Slices));
        let rested = agent.reconciler.next_begin(now).unwrap_or(now + SOON);
        tokio::select! {
            Some(look) = agent.reconciler.next() => agent.look_ended(&look),
            () = sleep_until(rested) => {}
        }
    };
    while !agent.reconciler.verified() {
        turn(&mut agent).await;
    }
    world.writes.lock().unwrap().insert(Name::Limits);
    while !world.writes.lock().unwrap().is_empty() {
        turn(&mut agent).await;
    }
    let reasons: Vec<_> = status.borrow().wakes.iter().map(|wake| wake.reason.clone()).collect();
    assert_eq!(reasons, ["slices"]);
    std::fs::remove_dir_all(root).unwrap();
}

#[tokio::test]
async fn a_phase_is_told_once_the_rooms_of_it_have_nothing_left_to_write() {
    let (mut agent, world, root, status) = published("phase");
    let_go(&world);
    world.left.lock().unwrap().insert(Name::Limits);
    let _answer = apply_trunk(&mut agent, "eth1");
    end_work(&mut agent).await;
    let told = |phase| status.borrow().phases.iter().any(|one| one.phase == phase && one.since_start_us.is_some());
    assert!(told(Phase::Policy) && told(Phase::Links) && !told(Phase::Limits));
    world.left.lock().unwrap().clear();
    agent.reconciler.wake(Wake::now(Reason::Slices));
    turn_until(&mut agent, Name::Limits).await;
    assert!(told(Phase::Limits));
    std::fs::remove_dir_all(root).unwrap();
}

#[tokio::test]
async fn a_teardown_is_in_the_status_from_its_beginning_and_no_more_once_it_has_failed() {
    let (mut agent, world, root, status) = published("torn");
    let_go(&world);
    let _answer = apply_trunk(&mut agent, "eth1");
    end_work(&mut agent).await;
    assert!(!status.borrow().teardown);
    let (done, answer) = oneshot::channel();
    agent.serve(Request::Teardown { force: false, progress: mpsc::unbounded_channel().0, done });
    agent.advance();
    assert!(status.borrow().teardown);
    // Nothing says which guests run here, so that none can be ended.
    end_work(&mut agent).await;
    assert!(matches!(answer.await, Ok(Err(Refusal::Failed(_)))));
    assert!(!status.borrow().teardown);
    std::fs::remove_dir_all(root).unwrap();
}

#[tokio::test]
async fn a_host_that_could_not_follow_anything_after_a_boot_takes_up_no_file_that_is_written_meanwhile() {
    let (mut agent, _world, root) = agent("meanwhile");
    let whole = "[trunk.eth1]\n[segment.lan]\ntrunk = \"eth1\"\nvlan = 3\n[segment.dmz]\ntrunk = \"eth1\"\nvlan = 4\n";
    let kept = agent.generations.keep(whole).unwrap();
    agent.generations.mark(Some(&kept)).unwrap();
    std::fs::remove_file(root.join("run/generation")).unwrap();
    std::fs::write(agent.generations.file(1), "").unwrap();
    std::fs::write(&agent.manifest, "[trunk").unwrap();
    agent.start();
    assert!(agent.generation.is_none() && agent.trouble.is_some());
    let part = whole.split_once("[segment.dmz]").unwrap().0;
    std::fs::write(&agent.manifest, part).unwrap();
    for reason in [Reason::Files, Reason::Timer, Reason::Start] {
        agent.woken(Wake::now(reason));
        let trouble = agent.trouble.as_ref().map(|trouble| trouble.message.as_str()).unwrap_or_default();
        assert!(agent.generation.is_none() && trouble.contains("the host stays as it is"), "{reason:?}: {trouble}");
    }
    std::fs::write(&agent.manifest, whole).unwrap();
    agent.woken(Wake::now(Reason::Files));
    assert_eq!(agent.generation.as_ref().map(|generation| generation.text.as_str()), Some(whole), "by its checksum");
    std::fs::remove_dir_all(root).unwrap();
}

#[tokio::test]
async fn where_nothing_is_followed_the_next_boot_closes_nothing_though_a_teardown_was_cut_off() {
    let (mut agent, _world, root) = agent("unlock");
    let lockdown = root.join("state/lockdown.nft");
    let whole = agent.generations.keep("[trunk.eth1]\n").unwrap();
    for boots in [false, true] {
        agent.generations.mark(None).unwrap();
        agent.generations.lockdown(Some("table bridge x {}\n")).unwrap();
        if boots {
            std::fs::remove_file(root.join("run/generation")).unwrap();
        }
        agent.start();
        assert!(agent.generation.is_none() && agent.trouble.is_none() && !lockdown.exists(), "boots: {boots}");
    }
    agent.generations.lockdown(Some("table bridge x {}\n")).unwrap();
    agent.generations.mark(Some(&whole)).unwrap();
    std::fs::write(root.join("run/generation"), "none\n").unwrap();
    agent.start();
    assert!(agent.generation.is_none() && lockdown.exists(), "an apply that was cut off is what the next boot follows");
    std::fs::remove_dir_all(root).unwrap();
}

/// Keeps a file of the state from being written, as a full disk does: what is written beside it cannot be.
fn obstruct(beside: &std::path::Path) {
    std::fs::create_dir_all(beside.join("full")).unwrap();
}

#[tokio::test]
async fn a_teardown_that_could_not_be_noted_is_refused_before_anything_is_shut_down() {
    let (mut agent, world, root, status) = published("refused");
    let_go(&world);
    let _answer = apply_trunk(&mut agent, "eth1");
    end_work(&mut agent).await;
    for beside in ["state/intent/generation.new", "run/generation.new"] {
        obstruct(&root.join(beside));
        let (done, mut answer) = oneshot::channel();
        agent.serve(Request::Teardown { force: false, progress: mpsc::unbounded_channel().0, done });
        agent.advance();
        let Ok(Err(Refusal::Failed(failed))) = answer.try_recv() else { panic!("it is refused at once") };
        assert!(failed.why.starts_with("nothing was torn down") && failed.why.contains(beside), "{}", failed.why);
        assert!(agent.work.is_none() && agent.generation.is_some() && !status.borrow().teardown);
        assert!(agent.reconciler.torn().is_empty());
        std::fs::remove_dir_all(root.join(beside)).unwrap();
    }
    std::fs::remove_dir_all(root).unwrap();
}

#[tokio::test]
async fn a_teardown_whose_note_is_lost_at_its_end_goes_back_to_the_manifest_and_says_why_once() {
    let (mut agent, _world, root) = agent("once");
    let _answer = apply_trunk(&mut agent, "eth1");
    agent.work = None;
    let notes = agent.generations.notes(None).unwrap();
    let note = root.join("state/intent/generation");
    std::fs::remove_file(&note).unwrap();
    obstruct(&note);
    let (reply, answer) = oneshot::channel();
    agent.torn_down(Requester::new(mpsc::unbounded_channel().0, reply), notes);
    let Err(Refusal::Failed(failed)) = answer.await.unwrap() else { panic!("it has failed") };
    assert_eq!(failed.why.matches("cannot rename into").count(), 1, "{}", failed.why);
    assert!(agent.generation.is_some());
    std::fs::remove_dir_all(root).unwrap();
}

#[tokio::test]
async fn what_was_followed_is_followed_after_a_restart_without_room_for_its_notes_which_are_written_later() {
    let (mut agent, _world, root, status) = published("resume");
    let text = "[trunk.eth1]\n[segment.lan]\ntrunk = \"eth1\"\nvlan = 3\n";
    let kept = agent.generations.keep(text).unwrap();
    agent.generations.mark(Some(&kept)).unwrap();
    std::fs::write(&agent.manifest, text).unwrap();
    let beside = root.join("state/lockdown.new");
    obstruct(&beside);
    agent.start();
    assert_eq!(agent.generation, Some(kept));
    for reason in [Reason::Start, Reason::Timer] {
        agent.woken(Wake::now(reason));
        let errors = status.borrow().manifest.errors.clone();
        assert!(errors.len() == 1 && errors[0].message.contains("lockdown.new"), "{errors:?}");
    }
    let (request, mut answer) = apply();
    agent.serve(request);
    agent.advance();
    assert!(matches!(answer.try_recv(), Ok(Err(Refusal::Failed(_)))), "an apply needs the room");
    std::fs::remove_dir_all(&beside).unwrap();
    agent.woken(Wake::now(Reason::Timer));
    assert!(root.join("state/lockdown.nft").exists());
    assert_eq!(status.borrow().manifest.errors, []);
    std::fs::remove_dir_all(root).unwrap();
}

#[tokio::test]
async fn a_teardown_of_a_host_that_follows_nothing_is_shown_as_under_way() {
    let (mut agent, _world, root, status) = published("shown");
    let (done, _answer) = oneshot::channel();
    agent.serve(Request::Teardown { force: false, progress: mpsc::unbounded_channel().0, done });
    agent.advance();
    assert!(status.borrow().teardown);
    std::fs::remove_dir_all(root).unwrap();
}

#[tokio::test]
async fn an_apply_that_touches_no_guest_tells_a_busy_look_at_guests_from_one_without_an_answer() {
    for busy in [false, true] {
        let (mut agent, world, root) = agent("busy");
        let_go(&world);
        let _first = apply_trunk(&mut agent, "eth1");
        while agent.work.is_some() {
            turn_until(&mut agent, Name::Guests).await;
        }
        world.frozen.lock().unwrap().insert(Name::Guests);
        world.answered.lock().unwrap().extend(busy.then_some(Name::Guests));
        agent.reconciler.wake_only(&[Name::Guests], Wake::now(Reason::Timer));
        agent.reconciler.begin(Instant::now(), &[]);
        let (reply, answer) = oneshot::channel();
        let mut requester = Requester::new(mpsc::unbounded_channel().0, reply);
        requester.began.at -= Duration::from_secs(10);
        agent.work = Some(agent.apply_followed(requester, false, &BTreeSet::new(), None));
        for name in [Name::Resolver, Name::Limits] {
            if agent.work.is_some() {
                timeout(SOON, turn_until(&mut agent, name)).await.expect("a look at what does not wait for guests");
            }
        }
        let answer = answer.await.unwrap();
        let said = matches!(&answer, Err(Refusal::Failed(ApplyFailed { why, summary }))
            if why.contains("still busy with an earlier look") && !summary.verified);
        assert_eq!(said, busy, "{answer:?}");
        assert_eq!(matches!(agent.reconciler.states().guests, State::Verified(_)), busy, "what was seen last is kept");
        std::fs::remove_dir_all(root).unwrap();
    }
}

#[tokio::test]
async fn an_apply_with_force_is_told_that_one_without_it_took_its_place() {
    let (mut agent, world, root) = agent("withdrawn");
    world.left.lock().unwrap().insert(Name::Guests);
    let first = apply_trunk_as(&mut agent, "eth1", true);
    let second = apply_trunk(&mut agent, "eth1");
    let_go(&world);
    end_work(&mut agent).await;
    for (answer, withdrawn) in [(first, true), (second, false)] {
        let Err(Refusal::Failed(failed)) = answer.await.unwrap() else { panic!("something is left") };
        assert_eq!(failed.why.ends_with("a later apply without --force took its place"), withdrawn, "{}", failed.why);
    }
    std::fs::remove_dir_all(root).unwrap();
}

#[tokio::test]
async fn a_status_says_of_a_newer_manifest_nothing_that_was_seen_for_an_earlier_one() {
    let (mut agent, world, root, status) = published("seen");
    let_go(&world);
    let stands = || (status.borrow().ready, status.borrow().verified);
    let _first = apply_trunk(&mut agent, "eth1");
    assert_eq!(stands(), (false, false));
    end_work(&mut agent).await;
    assert_eq!(stands(), (true, true));
    let _second = apply_trunk(&mut agent, "eth2");
    assert_eq!(status.borrow().manifest.generation, agent.generation.as_ref().map(|generation| generation.number));
    assert_eq!(stands(), (false, false));
    end_work(&mut agent).await;
    assert_eq!(stands(), (true, true));
    std::fs::remove_dir_all(root).unwrap();
}
