use std::time::Duration;

use bulkhead_api::{ApplyFailed, Done, Ended, Phase, Summary};
use bulkhead_types::Object;
use serde_json::json;

use super::{Daemon, ask, call, reply};
use crate::socket::{Bounds, Refusal, Request};

fn step(text: &str) -> Done {
    Done { phase: Phase::Links, object: Object::Policy, text: text.to_owned(), outcome: Ended::Done, why: None }
}

#[tokio::test]
async fn an_apply_with_more_sends_each_step_and_then_the_summary() {
    let mut daemon = Daemon::start(Bounds::default());
    let mut stream = daemon.connect().await;
    let asked = json!({ "method": "io.bulkhead.Agent.Apply", "more": true, "parameters": { "force": true } });
    ask(&mut stream, &asked).await;
    let Some(Request::Apply { force: true, progress, done }) = daemon.requests.recv().await else { panic!("no apply") };
    progress.send(step("first")).unwrap();
    let first = reply(&mut stream).await;
    assert_eq!((&first["continues"], &first["parameters"]["step"]["text"]), (&json!(true), &json!("first")));
    // Both lie in their channels at once: the step still comes before the end.
    progress.send(step("second")).unwrap();
    done.send(Ok(Summary { done: 2, verified: true, ..Summary::default() })).unwrap();
    assert_eq!(reply(&mut stream).await["parameters"]["step"]["text"], "second");
    let last = reply(&mut stream).await;
    assert_eq!((last.get("continues"), &last["parameters"]["summary"]["done"]), (None, &json!(2)));
    // The connection serves the next call.
    assert!(call(&mut stream, "io.bulkhead.Agent.Status", json!({})).await["parameters"]["status"].is_object());
}

#[tokio::test]
async fn an_apply_without_more_is_one_reply() {
    let mut daemon = Daemon::start(Bounds::default());
    let mut stream = daemon.connect().await;
    ask(&mut stream, &json!({ "method": "io.bulkhead.Agent.Teardown" })).await;
    let Some(Request::Teardown { force: false, progress, done }) = daemon.requests.recv().await else {
        panic!("no teardown")
    };
    // Nobody listens to the steps, and the loop need not care.
    let _ = progress.send(step("first"));
    done.send(Ok(Summary::default())).unwrap();
    assert!(reply(&mut stream).await["parameters"]["summary"].is_object());
}

#[tokio::test]
async fn a_caller_who_leaves_during_a_stream_is_noticed_at_once() {
    let mut daemon = Daemon::start(Bounds::default());
    let mut stream = daemon.connect().await;
    ask(&mut stream, &json!({ "method": "io.bulkhead.Agent.Apply", "more": true })).await;
    let Some(Request::Apply { progress, done, .. }) = daemon.requests.recv().await else { panic!("no apply") };
    drop(stream);
    tokio::time::timeout(Duration::from_secs(5), progress.closed()).await.expect("noticed without another step");
    assert!(done.is_closed());
}

#[tokio::test]
async fn a_daemon_that_drops_the_request_still_answers() {
    let mut daemon = Daemon::start(Bounds::default());
    let mut stream = daemon.connect().await;
    ask(&mut stream, &json!({ "method": "io.bulkhead.Agent.Apply", "more": true })).await;
    drop(daemon.requests.recv().await);
    assert_eq!(reply(&mut stream).await["error"], "io.bulkhead.Agent.Busy");
}

#[tokio::test]
async fn a_summary_counts_from_the_request_and_not_from_when_the_loop_began() {
    let mut daemon = Daemon::start(Bounds::default());
    let mut stream = daemon.connect().await;
    let failed = ApplyFailed { why: "w".to_owned(), summary: Summary { duration_us: 1, ..Summary::default() } };
    for answer in [Ok(failed.summary.clone()), Err(Refusal::Failed(failed))] {
        ask(&mut stream, &json!({ "method": "io.bulkhead.Agent.Apply" })).await;
        let Some(Request::Apply { done, .. }) = daemon.requests.recv().await else { panic!("no apply") };
        tokio::time::sleep(Duration::from_millis(30)).await;
        done.send(answer).unwrap();
        let answered = reply(&mut stream).await;
        let duration = answered["parameters"]["summary"]["duration_us"].as_u64().unwrap();
        assert!(duration >= 30_000, "{answered}");
    }
}
