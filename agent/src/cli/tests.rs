//! What the pictures are drawn from, and the commands against a served socket.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::{AtomicU32, Ordering};

use bulkhead_api::*;
use bulkhead_types::{Cause, Notice, Object};
use clap::{CommandFactory, Parser};

use super::failure::Failure;
use super::paint::Paint;
use super::{COLUMNS, Cli, Screen, UntilClosed};
use crate::socket::tests::{As, Daemon};
use crate::socket::{Bounds, Refusal, Request};

/// When the pictures are drawn, in microseconds since 1970.
pub(super) const NOW: u64 = 1_800_000_125_000_000;

/// The seed's host, two minutes after its manifest was applied, with a second guest and a foreign port.
pub(super) fn seed() -> Status {
    let segment = |name: &str, vlan: i64, addresses: &[&str], gateways: &[&str]| Segment {
        name: name.parse().unwrap(),
        trunk: "eth1".parse().unwrap(),
        vlan: vlan.try_into().unwrap(),
        vlan_link: format!("vlan{vlan}").parse().unwrap(),
        bridge: format!("br{vlan}").parse().unwrap(),
        declared: addresses.iter().map(|a| a.parse().unwrap()).collect(),
        addresses: Some(addresses.iter().map(|a| a.parse().unwrap()).collect()),
        gateways: Some(gateways.iter().map(|a| a.parse().unwrap()).collect()),
        state: State::Ready,
        why: None,
    };
    let limit = |control: &str, at, text: &str| Limit {
        control: control.to_owned(),
        declared: Some(at),
        at: Some(at),
        tighter: false,
        group: Some("/machine.slice".to_owned()),
        unknown: None,
        text: text.to_owned(),
    };
    let guest = |name: &str, state, accelerated, nics| Guest {
        name: name.parse().unwrap(),
        state,
        why: None,
        vcpus: Some(1),
        memory: Some(512 << 20),
        limits: vec![
            limit("memory", 768 << 20, "768 MiB"),
            limit("cpu", 1_000_000, "1 CPU"),
            limit("pids", 256, "256 tasks"),
        ],
        accelerated,
        nics,
    };
    let nic = |segment: &str, vlan: u8, last: u8, addresses: &[&str], dhcp| Nic {
        segment: segment.parse().unwrap(),
        tap: format!("bh-0123456789{last:02x}").parse().unwrap(),
        mac: [0x52, 0x54, 0, 0x1f, vlan, last].try_into().unwrap(),
        bridge: format!("br{vlan}").parse().unwrap(),
        addresses: addresses.iter().map(|a| a.parse().unwrap()).collect(),
        dhcp,
    };
    let allow = |from: &str, to: &str, what: &str, packets, bytes| Allow {
        from: from.to_owned(),
        to: to.to_owned(),
        what: what.to_owned(),
        packets,
        bytes,
    };
    let counter =
        |name: &str, dropped, packets| Counter { name: name.to_owned(), dropped, packets, bytes: packets * 60 };
    let phase = |phase, start, boot| PhaseTimes { phase, since_start_us: Some(start), since_boot_us: Some(boot) };
    let foreign = Notice {
        object: Object::Segment("lan".parse().unwrap()),
        cause: Cause::Foreign,
        text: "veth9 is on br20 and no guest declares it; nothing passes it. Take it off: ip link set veth9 nomaster"
            .to_owned(),
    };
    Status {
        version: "0.1.0".to_owned(),
        ready: true,
        verified: true,
        teardown: false,
        manifest: Manifest {
            generation: Some(3),
            sha256: Some("5f".repeat(32)),
            applied_at_us: Some(1_800_000_000_000_000),
            pending: true,
            errors: Vec::new(),
        },
        phases: vec![
            phase(Phase::Policy, 12_400, 6_012_400),
            phase(Phase::Links, 103_900, 6_103_900),
            phase(Phase::Limits, 141_000, 6_141_000),
            phase(Phase::Guests, 2_104_000, 8_104_000),
        ],
        policy_owner: Some(Owner::Held),
        trunks: vec![Trunk { name: "eth1".parse().unwrap(), state: State::Ready, why: None }],
        segments: vec![segment("lan", 20, &["10.13.37.30/24"], &["10.13.37.1"]), segment("dmz", 30, &[], &[])],
        guests: vec![
            guest("example", GuestState::Running, Some(false), vec![nic("lan", 20, 1, &["10.13.37.40"], true)]),
            guest(
                "web",
                GuestState::Stopped,
                None,
                vec![nic("lan", 20, 2, &["10.13.37.41", "2001:db8::41"], false), nic("dmz", 30, 3, &[], false)],
            ),
        ],
        allows: vec![
            allow("guest.example", "outside.lan", "tcp 80, 443", 12, 1234),
            allow("segment.lan", "host", "udp 53", 0, 0),
            allow("guest.web", "guest.example", "any from 10.13.37.41/32 to 10.13.37.40/32", 1, 60),
        ],
        counters: vec![counter("spoofed", true, 1000), counter("denied", true, 0), counter("replies", false, 7)],
        counted_at_us: Some(1_800_000_124_000_000),
        refused: Refused::default(),
        notices: vec![foreign],
        report: Vec::new(),
        wakes: vec![
            Wake { reason: "timer".to_owned(), at_us: 1_800_000_060_000_000, latency_us: 900, repairs: Vec::new() },
            Wake {
                reason: "links".to_owned(),
                at_us: 1_800_000_113_000_000,
                latency_us: 3_200,
                repairs: vec!["address add 10.13.37.30/24 dev br20".to_owned()],
            },
        ],
    }
}

/// Compares with a picture in `testdata/`; `BULKHEAD_REDRAW=1` draws it anew.
pub(super) fn compare(drawn: &str, name: &str) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/cli/testdata").join(name);
    if std::env::var_os("BULKHEAD_REDRAW").is_some() {
        std::fs::write(&path, drawn).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap();
    assert!(drawn == expected, "{name} is drawn otherwise:\n{drawn}\ninstead of\n{expected}");
}

/// What a command came to: its exit status, and what it wrote to standard output and to standard error.
async fn bulkhead(socket: std::path::PathBuf, args: &'static [&'static str]) -> (String, String, String) {
    let command = move || {
        let socket = ["--socket", socket.to_str().unwrap()];
        let args = ["bulkhead"].iter().chain(args).chain(&socket);
        let cli = Cli::try_parse_from(args).unwrap();
        let mut out = Vec::new();
        let result =
            super::run(&cli, &mut Screen { out: &mut out, paint: Paint::new(false), json: cli.json, columns: COLUMNS });
        let out = String::from_utf8(out).unwrap();
        match result {
            // ExitCode has no PartialEq, and its Debug is the number in words of the standard library.
            Ok(code) => (format!("{code:?}"), out, String::new()),
            Err(failure) => (format!("{:?}", failure.exit()), out, failure.to_string()),
        }
    };
    tokio::task::spawn_blocking(command).await.unwrap()
}

fn exit(code: u8) -> String {
    format!("{:?}", std::process::ExitCode::from(code))
}

/// Answers each request of a command with what `answer` does to it.
async fn with_loop(
    args: &'static [&'static str],
    answer: impl FnOnce(Request) + Send + 'static,
) -> (String, String, String) {
    let mut daemon = Daemon::start_for(As::Admin, Bounds::default(), seed());
    let path = daemon.path();
    let (result, ()) = tokio::join!(bulkhead(path, args), async { answer(daemon.requests.recv().await.unwrap()) });
    result
}

/// Output whose reader goes after so many bytes.
struct Head(usize);

impl std::io::Write for Head {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.0 == 0 {
            return Err(std::io::ErrorKind::BrokenPipe.into());
        }
        let taken = bytes.len().min(self.0);
        self.0 -= taken;
        Ok(taken)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        if self.0 == 0 { Err(std::io::ErrorKind::BrokenPipe.into()) } else { Ok(()) }
    }
}

#[test]
fn the_verdict_stands_although_the_reader_of_the_output_is_gone() {
    let file = std::env::temp_dir().join(format!("bulkhead-{}-verdict.toml", std::process::id()));
    std::fs::write(&file, "nonsense = 1\n").unwrap();
    for args in [vec!["bulkhead", "check"], vec!["bulkhead", "--json", "check"]] {
        let cli = Cli::try_parse_from(args.into_iter().chain(file.to_str())).unwrap();
        let mut out = UntilClosed::new(Head(10));
        let mut screen = Screen { out: &mut out, paint: Paint::new(false), json: cli.json, columns: COLUMNS };
        assert_eq!(format!("{:?}", super::run(&cli, &mut screen).unwrap()), exit(1));
    }
    std::fs::remove_file(file).unwrap();
}

#[test]
fn the_arguments_are_sound() {
    Cli::command().debug_assert();
}

#[test]
fn only_what_asks_the_daemon_has_a_socket() {
    for command in ["plan", "apply", "status", "map", "teardown"] {
        assert!(Cli::try_parse_from(["bulkhead", command, "--socket", "/s"]).is_ok(), "{command}");
    }
    for command in ["check", "schema"] {
        assert!(Cli::try_parse_from(["bulkhead", command, "--socket", "/s"]).is_err(), "{command}");
    }
}

#[test]
fn help_is_wrapped_between_words_at_any_width() {
    for mut command in [Cli::command(), crate::daemon::Arguments::command()] {
        for columns in [60, 80, 100] {
            let help = command.clone().term_width(columns).render_long_help().to_string();
            command.build();
            for line in help.lines() {
                assert!(line.chars().count() <= columns, "wider than {columns}: {line}");
            }
            // A paragraph that is wrapped twice leaves a line of a word or two in its middle.
            let lines: Vec<&str> = help.lines().collect();
            for pair in lines.windows(2) {
                let [line, next] = pair else { continue };
                let first = next.split(' ').next().unwrap_or_default();
                let prose = !line.starts_with(' ') && !next.starts_with(' ') && !line.is_empty() && !next.is_empty();
                let fits = line.chars().count() + 1 + first.chars().count() <= columns;
                assert!(!(prose && fits && !line.ends_with(':')), "{columns}: {line:?} has room for {first:?}");
            }
        }
    }
}

#[test]
fn a_plan_offline_asks_no_daemon_and_shows_what_is_wrong_with_the_manifest() {
    let file = std::env::temp_dir().join(format!("bulkhead-offline-{}.toml", std::process::id()));
    std::fs::write(&file, "[segment.lan]\nvlan = 20\ntrunk = \"eth1\"\n").unwrap();
    let args = ["bulkhead", "plan", "--json", "--offline", file.to_str().unwrap()];
    let cli = Cli::try_parse_from(args).unwrap();
    let mut out = Vec::new();
    let mut screen = Screen { out: &mut out, paint: Paint::new(false), json: true, columns: COLUMNS };
    let failure = super::run(&cli, &mut screen).unwrap_err();
    std::fs::remove_file(&file).unwrap();
    assert_eq!(format!("{:?}", failure.exit()), exit(1), "{failure}");
    assert!(failure.to_string().contains("eth1"), "{failure}");
    assert_eq!(failure.as_json().unwrap()["error"], "io.bulkhead.Agent.ManifestInvalid");
    assert!(Cli::try_parse_from(args.into_iter().chain(["--socket", "/s"])).is_err(), "which of the two is it?");
}

#[tokio::test]
async fn status_and_map_are_drawn_from_the_daemons_answer() {
    let daemon = Daemon::start_for(As::Admin, Bounds::default(), seed());
    let (code, out, _) = bulkhead(daemon.path(), &["status"]).await;
    assert_eq!(code, exit(0));
    assert!(out.starts_with("● ready, 1 notice · generation 3"), "{out}");
    let (code, out, _) = bulkhead(daemon.path(), &["map", "--json"]).await;
    assert_eq!(code, exit(0));
    assert_eq!(serde_json::from_str::<Status>(&out).unwrap(), seed());
}

#[tokio::test]
async fn a_daemon_that_is_not_ready_is_exit_status_one() {
    let daemon = Daemon::start_for(As::Admin, Bounds::default(), Status::default());
    assert_eq!(bulkhead(daemon.path(), &["status"]).await.0, exit(1));
}

#[tokio::test]
async fn where_nobody_listens_the_unit_is_named() {
    let (code, _, err) = bulkhead("/nonexistent/socket".into(), &["status"]).await;
    assert_eq!(code, exit(3));
    assert!(err.contains("systemctl status bulkheadd"), "{err}");
}

/// What a command comes to whose one connection is served by `serve`.
async fn against(
    args: &'static [&'static str],
    serve: impl FnOnce(UnixStream) + Send + 'static,
) -> (String, String, String) {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let directory = std::env::temp_dir().join(format!("bulkhead-cli-{}-{number}", std::process::id()));
    std::fs::create_dir(&directory).unwrap();
    let listener = UnixListener::bind(directory.join("socket")).unwrap();
    let serving = std::thread::spawn(move || serve(listener.accept().unwrap().0));
    let result = bulkhead(directory.join("socket"), args).await;
    serving.join().unwrap();
    std::fs::remove_dir_all(directory).unwrap();
    result
}

#[tokio::test]
async fn a_stranger_is_told_which_group_to_join() {
    let not_served = |mut stream: UnixStream| {
        stream.write_all(b"{\"error\":\"io.bulkhead.Agent.NotServed\",\"parameters\":{\"why\":\"w\"}}\0").unwrap();
    };
    let (code, _, err) = against(&["status"], not_served).await;
    assert_eq!(code, exit(4));
    assert!(err.contains("usermod -aG bulkhead-observe"), "{err}");
}

#[tokio::test]
async fn an_early_end_is_an_early_end_and_not_a_refusal() {
    // Closed at once, closed with the call unread, read and closed, closed in the middle of a reply or between two.
    let first = b"{\"continues\":true,\"parameters\":{}}\0";
    let mut ends: Vec<Box<dyn FnOnce(UnixStream) + Send>> = vec![
        Box::new(drop),
        Box::new(|stream| {
            let mut byte = [0];
            (&stream).read_exact(&mut byte).unwrap();
        }),
        Box::new(|stream| {
            BufReader::new(stream).read_until(0, &mut Vec::new()).unwrap();
        }),
        Box::new(move |mut stream| {
            BufReader::new(&stream).read_until(0, &mut Vec::new()).unwrap();
            stream.write_all(&first[..20]).unwrap();
        }),
    ];
    for (number, end) in ends.drain(..).enumerate() {
        let (code, out, err) = against(&["apply", "--json"], end).await;
        assert_eq!((code, out), (exit(5), String::new()), "end {number}: {err}");
        assert!(err.contains("ended the connection") && !err.contains("sudo"), "end {number}: {err}");
        assert!(err.contains("systemctl status bulkheadd.service"), "end {number}: {err}");
    }
}

#[tokio::test]
async fn a_plan_with_steps_is_exit_status_one_and_an_empty_one_zero() {
    let step = Step { phase: Phase::Links, object: Object::Policy, text: "link add br20".to_owned() };
    let plan = Plan { steps: vec![step], notices: Vec::new() };
    for (plan, code) in [(plan, 1), (Plan::default(), 0)] {
        let answered = with_loop(&["plan"], |request| {
            let Request::Plan { reply } = request else { panic!("not a plan") };
            reply.send(Ok(plan));
        });
        assert_eq!(answered.await.0, exit(code));
    }
}

fn done(text: &str, outcome: Ended, why: Option<&str>) -> Done {
    Done { phase: Phase::Links, object: Object::Policy, text: text.to_owned(), outcome, why: why.map(str::to_owned) }
}

#[tokio::test]
async fn apply_shows_a_line_a_step_and_then_the_verdict() {
    let answer = |request| {
        let Request::Apply { force: true, progress, done: end } = request else { panic!("not a forced apply") };
        progress.send(done("link add br20", Ended::Done, None)).unwrap();
        let summary =
            Summary { generation: Some(4), done: 1, verified: true, duration_us: 2_000, ..Summary::default() };
        end.send(Ok(summary)).unwrap();
    };
    let (code, out, _) = with_loop(&["apply", "--force"], answer).await;
    assert_eq!(code, exit(0));
    let expected = "✓ links   link add br20\nThe host is as the manifest says, generation 4.\n1 done in ";
    assert!(out.starts_with(expected), "{out}");
}

#[tokio::test]
async fn an_apply_that_fails_shows_how_far_it_came() {
    let answer = |request| {
        let Request::Apply { progress, done: end, .. } = request else { panic!("not an apply") };
        progress.send(done("link add br20", Ended::Failed, Some("File exists"))).unwrap();
        let summary = Summary { failed: 1, duration_us: 2_000, ..Summary::default() };
        end.send(Err(Refusal::Failed(ApplyFailed { why: "1 step failed".to_owned(), summary }))).unwrap();
    };
    let (code, out, err) = with_loop(&["apply"], answer).await;
    assert_eq!((code, err.as_str()), (exit(1), "1 step failed"));
    let expected = "✗ links   link add br20\n          File exists\n0 done, 1 failed in ";
    assert!(out.starts_with(expected), "{out}");
}

#[tokio::test]
async fn apply_for_programs_is_one_object_a_line() {
    let answer = |request| {
        let Request::Apply { progress, done: end, .. } = request else { panic!("not an apply") };
        progress.send(done("link add br20", Ended::Done, None)).unwrap();
        end.send(Ok(Summary::default())).unwrap();
    };
    let (_, out, _) = with_loop(&["apply", "--json"], answer).await;
    let lines: Vec<serde_json::Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines[0]["step"]["outcome"], "done");
    assert!(lines[1]["summary"].is_object() && lines.len() == 2);
}

#[tokio::test]
async fn a_wrong_manifest_is_shown_as_the_daemon_drew_it() {
    let answer = |request| {
        let Request::Teardown { force: false, done: end, .. } = request else { panic!("not a teardown") };
        let drawn = "error: no such trunk\n --> host.toml:3:8\n".to_owned();
        end.send(Err(Refusal::ManifestInvalid(ManifestInvalid { errors: Vec::new(), drawn }))).unwrap();
    };
    let (code, _, err) = with_loop(&["teardown", "--yes"], answer).await;
    assert_eq!(code, exit(1));
    assert!(err.ends_with("nothing was changed\nerror: no such trunk\n --> host.toml:3:8"), "{err}");
}

#[tokio::test]
async fn what_waits_or_is_not_known_is_never_said_to_be_as_the_manifest_says() {
    let notice = |cause| Notice { object: Object::Guest("web".parse().unwrap()), cause, text: "t".to_owned() };
    for (cause, code) in [(Cause::Pending, 1), (Cause::Held, 1), (Cause::Clash, 1), (Cause::Foreign, 0)] {
        let plan = Plan { steps: Vec::new(), notices: vec![notice(cause)] };
        let answered = with_loop(&["plan"], |request| {
            let Request::Plan { reply } = request else { panic!("not a plan") };
            reply.send(Ok(plan));
        });
        let (planned, said, _) = answered.await;
        assert_eq!(planned, exit(code), "plan, {cause:?}");
        assert_eq!(said.contains("the host is as the manifest says"), code == 0, "plan, {cause:?}: {said}");
        let summary = Summary { verified: true, notices: vec![notice(cause)], ..Summary::default() };
        let answered = with_loop(&["apply"], |request| {
            let Request::Apply { done: end, .. } = request else { panic!("not an apply") };
            end.send(Ok(summary)).unwrap();
        });
        let (applied, said, _) = answered.await;
        assert_eq!(applied, exit(code), "apply, {cause:?}");
        assert_eq!(said.contains("the host is as the manifest says."), code == 0, "apply, {cause:?}: {said}");
    }
}

#[test]
fn an_observer_who_applies_is_told_what_he_lacks() {
    let refused = Failure::Daemon(client::Error::Refused {
        error: "io.bulkhead.Agent.PermissionDenied".to_owned(),
        parameters: serde_json::json!({ "why": "Apply is for root" }),
    });
    assert_eq!(format!("{:?}", refused.exit()), exit(4));
    assert!(refused.to_string().contains("join group bulkhead"), "{refused}");
    assert_eq!(refused.as_json().unwrap()["error"], "io.bulkhead.Agent.PermissionDenied");
}
