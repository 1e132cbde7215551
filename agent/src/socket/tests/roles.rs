//! That nobody is kept out by those who may less.

use std::sync::Arc;
use std::time::Duration;

use bulkhead_api::{Plan, Status, Summary};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::{ask, call, connected, nothing, reply, service};
use crate::socket::access::{Caller, Groups, Role};
use crate::socket::method::{self, Answer, Call};
use crate::socket::reply::Reply;
use crate::socket::{Bounds, Request, Requests, Service, queues};

fn start() -> (Arc<Service>, Requests) {
    let (queues, requests) = queues();
    let status = watch::channel(Arc::new(Status::default())).1;
    (Arc::new(service(Groups::default(), Bounds::default(), status, queues)), requests)
}

fn observer(uid: u32) -> Caller {
    Caller { uid, role: Role::Observe }
}

const ROOT: Caller = Caller { uid: 0, role: Role::Admin };

fn plan() -> Value {
    json!({ "method": "io.bulkhead.Agent.Plan" })
}

/// The next request, which must come within five seconds.
async fn next(requests: &mut Requests) -> Request {
    tokio::time::timeout(Duration::from_secs(5), requests.recv()).await.expect("a request").expect("a socket")
}

/// Answers a plan so that its asker can tell it from others.
async fn answer_plan(requests: &mut Requests) {
    let Request::Plan { reply } = next(requests).await else { panic!("not a plan") };
    reply.send(Ok(Plan::default()));
}

#[tokio::test]
async fn an_administrator_is_served_before_a_crowd_of_observers_and_never_told_to_come_again() {
    let (service, mut requests) = start();
    let mut crowd = Vec::new();
    for uid in 1..=40 {
        let mut stream = connected(&service, observer(uid));
        ask(&mut stream, &plan()).await;
        // Answered, so that the plan before it was taken or waits.
        ask(&mut stream, &json!({ "method": "org.varlink.service.GetInfo" })).await;
        crowd.push(stream);
    }
    tokio::task::yield_now().await;
    let mut root = connected(&service, ROOT);
    for method in ["Apply", "Teardown"] {
        ask(&mut root, &json!({ "method": format!("io.bulkhead.Agent.{method}") })).await;
        tokio::time::sleep(Duration::from_millis(10)).await;
        match next(&mut requests).await {
            Request::Apply { done, .. } | Request::Teardown { done, .. } => done.send(Ok(Summary::default())).unwrap(),
            other => panic!("before the administrator came {other:?}"),
        }
        let answered = reply(&mut root).await;
        assert!(answered["parameters"]["summary"].is_object(), "{method}: {answered}");
    }
    // And the crowd is served too, each of them.
    for stream in &mut crowd {
        answer_plan(&mut requests).await;
        let _ = stream;
    }
    for stream in &mut crowd {
        assert!(reply(stream).await["parameters"]["steps"].is_array());
    }
}

#[tokio::test]
async fn a_oneway_plan_asks_nothing_of_the_loop() {
    let (service, mut requests) = start();
    let mut stream = connected(&service, observer(7));
    for method in ["Plan", "Status", "Schema"] {
        let oneway = json!({ "method": format!("io.bulkhead.Agent.{method}"), "oneway": true });
        ask(&mut stream, &oneway).await;
        let call: Call = serde_json::from_value(oneway).unwrap();
        let answer = method::answer(&service, observer(7), &call);
        let refused = Reply::standard("InvalidParameter", "parameter", "oneway");
        assert!(matches!(answer, Answer::Now(reply) if reply == refused), "{method} is looked at for nobody");
    }
    // No reply to any of them: the next one is that of the next call.
    let info = call(&mut stream, "org.varlink.service.GetInfo", json!({})).await;
    assert_eq!(info["parameters"]["vendor"], "Bulkhead");
    assert!(nothing(&mut requests).await, "the loop was asked");
}

#[tokio::test]
async fn a_plan_whose_asker_has_left_is_not_made() {
    let (service, mut requests) = start();
    let mut leaver = connected(&service, observer(1));
    ask(&mut leaver, &plan()).await;
    tokio::time::sleep(Duration::from_millis(10)).await;
    drop(leaver);
    let mut stayer = connected(&service, observer(2));
    ask(&mut stayer, &plan()).await;
    tokio::time::sleep(Duration::from_millis(10)).await;
    answer_plan(&mut requests).await;
    assert!(reply(&mut stayer).await["parameters"]["steps"].is_array());
    assert!(nothing(&mut requests).await, "there was another plan");
}

#[tokio::test]
async fn a_user_has_one_plan_at_a_time_and_the_next_one_waits_for_it() {
    let (service, mut requests) = start();
    let mut streams = [connected(&service, observer(7)), connected(&service, observer(7))];
    for stream in &mut streams {
        ask(stream, &plan()).await;
    }
    let Request::Plan { reply: first } = next(&mut requests).await else { panic!("not a plan") };
    assert!(nothing(&mut requests).await, "a second plan of the same user");
    let mut other = connected(&service, observer(8));
    ask(&mut other, &plan()).await;
    answer_plan(&mut requests).await;
    assert!(reply(&mut other).await["parameters"]["steps"].is_array(), "another user has to wait");
    first.send(Ok(Plan::default()));
    answer_plan(&mut requests).await;
    for stream in &mut streams {
        assert!(reply(stream).await["parameters"]["steps"].is_array());
    }
}
