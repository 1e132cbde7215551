//! The status: written once, and with counters as fresh as the question.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bulkhead_api::{Counter, Refused, Status};
use serde_json::json;
use tokio::sync::watch;

use super::{ask, call, connected, nothing, reply, service};
use crate::socket::access::{Caller, Groups, Role};
use crate::socket::refused::Cause;
use crate::socket::{Bounds, Request, Requests, Service, queues};

const OBSERVER: Caller = Caller { uid: 7, role: Role::Observe };

fn start(bounds: Bounds) -> (Arc<Service>, Requests, watch::Sender<Arc<Status>>) {
    let (queues, requests) = queues();
    let (publisher, status) = watch::channel(Arc::new(counted(0)));
    (Arc::new(service(Groups::default(), bounds, status, queues)), requests, publisher)
}

fn counted(packets: u64) -> Status {
    let counter = Counter { name: "routed".to_owned(), dropped: true, packets, bytes: packets };
    Status { counters: vec![counter], ..Status::default() }
}

fn packets(reply: &serde_json::Value) -> u64 {
    reply["parameters"]["status"]["counters"][0]["packets"].as_u64().unwrap()
}

#[tokio::test]
async fn a_status_shows_what_the_counters_say_when_it_is_asked() {
    let (service, mut requests, publisher) = start(Bounds { fresh: Duration::ZERO, ..Bounds::default() });
    let mut stream = connected(&service, OBSERVER);
    for now in [5, 6] {
        ask(&mut stream, &json!({ "method": "io.bulkhead.Agent.Status" })).await;
        let Some(Request::Counters { reply: read }) = requests.recv().await else { panic!("not the counters") };
        publisher.send_replace(Arc::new(counted(now)));
        read.send(()).unwrap();
        assert_eq!(packets(&reply(&mut stream).await), now);
    }
}

#[tokio::test]
async fn many_who_ask_at_once_are_one_reading() {
    let (service, mut requests, publisher) = start(Bounds { fresh: Duration::from_secs(60), ..Bounds::default() });
    let mut streams: Vec<_> = (0..10).map(|_| connected(&service, OBSERVER)).collect();
    for stream in &mut streams {
        ask(stream, &json!({ "method": "io.bulkhead.Agent.Status" })).await;
    }
    let Some(Request::Counters { reply: read }) = requests.recv().await else { panic!("not the counters") };
    publisher.send_replace(Arc::new(counted(5)));
    read.send(()).unwrap();
    for stream in &mut streams {
        assert_eq!(packets(&reply(stream).await), 5);
    }
    assert!(nothing(&mut requests).await, "the counters were read twice");
}

#[tokio::test]
async fn a_loop_that_is_busy_delays_no_status_for_longer_than_its_bound() {
    let bounds = Bounds { counters: Duration::from_millis(100), ..Bounds::default() };
    let (service, mut requests, publisher) = start(bounds);
    let mut stream = connected(&service, OBSERVER);
    let start = Instant::now();
    for _ in 0..3 {
        assert_eq!(packets(&call(&mut stream, "io.bulkhead.Agent.Status", json!({})).await), 0);
    }
    assert!(start.elapsed() < Duration::from_secs(5), "three answers took {:?}", start.elapsed());
    // Nobody waits for that reading any more, so that it is none when the loop has time again; the next question is.
    assert!(nothing(&mut requests).await, "it is read for nobody");
    ask(&mut stream, &json!({ "method": "io.bulkhead.Agent.Status" })).await;
    let Some(Request::Counters { reply: read }) = requests.recv().await else { panic!("not the counters") };
    publisher.send_replace(Arc::new(counted(7)));
    read.send(()).unwrap();
    assert_eq!(packets(&reply(&mut stream).await), 7);
}

#[tokio::test]
async fn a_status_is_written_once_for_all_who_ask() {
    let (service, _requests, publisher) = start(Bounds::default());
    let written = || service.written.of(&service.status.borrow(), &service);
    let (first, second) = (written(), written());
    assert_eq!(first.bytes().as_ptr(), second.bytes().as_ptr(), "it was written twice");
    publisher.send_replace(Arc::new(counted(5)));
    assert_ne!(written(), first, "the old one is told for ever");
}

#[tokio::test]
async fn strangers_are_in_the_next_status_that_is_published() {
    let (service, _requests, publisher) = start(Bounds::default());
    for _ in 0..1000 {
        service.refused.count(Cause::Stranger, 1000, tokio::time::Instant::now());
    }
    publisher.send_replace(Arc::new(counted(5)));
    let mut stream = connected(&service, OBSERVER);
    let answered = call(&mut stream, "io.bulkhead.Agent.Status", json!({})).await;
    let refused: Refused = serde_json::from_value(answered["parameters"]["status"]["refused"].clone()).unwrap();
    assert_eq!(refused, Refused { strangers: 1000, crowded: 0 });
}
