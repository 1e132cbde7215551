use std::io::{ErrorKind, Write};
use std::time::Duration;

use bulkhead_api::Status;
use serde_json::json;
use tokio::io::AsyncReadExt;

use super::{As, Daemon, ask, call, closed, later, nothing, reply};
use crate::socket::Bounds;

#[tokio::test]
async fn a_stranger_is_told_why_and_closed_before_a_byte_is_read() {
    let daemon = Daemon::start_for(As::Stranger, Bounds::default(), Status::default());
    let mut stream = daemon.connect_now();
    stream.write_all(b"{\"method\":\"io.bulkhead.Agent.Status\"}\0").unwrap();
    let mut stream = later(stream);
    let refused = reply(&mut stream).await;
    assert_eq!(refused["error"], "io.bulkhead.Agent.NotServed", "{refused}");
    assert!(refused["parameters"]["why"].as_str().unwrap().contains("group bulkhead-observe"), "{refused}");
    // A unix socket that is closed with unread bytes resets its peer; had they been read, this would be an orderly end.
    assert_eq!(stream.read(&mut [0; 16]).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn an_observer_sees_status_and_may_not_apply() {
    let status = Status { version: "1".to_owned(), ..Status::default() };
    let mut daemon = Daemon::start_for(As::Observer, Bounds::default(), status);
    let mut stream = daemon.connect().await;
    let status = call(&mut stream, "io.bulkhead.Agent.Status", json!({})).await;
    assert_eq!(status["parameters"]["status"]["version"], "1");
    for method in ["Apply", "Teardown"] {
        let refused = call(&mut stream, &format!("io.bulkhead.Agent.{method}"), json!({})).await;
        assert_eq!(refused["error"], "io.bulkhead.Agent.PermissionDenied", "{refused}");
        assert!(refused["parameters"]["why"].as_str().unwrap().contains("group bulkhead"), "{refused}");
    }
    assert!(nothing(&mut daemon.requests).await, "the loop heard of it");
}

#[tokio::test]
async fn a_refused_observer_does_not_lose_the_connection() {
    let daemon = Daemon::start_for(As::Observer, Bounds::default(), Status::default());
    let mut stream = daemon.connect().await;
    call(&mut stream, "io.bulkhead.Agent.Apply", json!({})).await;
    let schema = call(&mut stream, "io.bulkhead.Agent.Schema", json!({})).await;
    assert_eq!(schema["parameters"]["schema"]["title"], "the manifest");
}

#[tokio::test]
async fn one_connection_too_many_is_told_so_and_a_place_comes_back() {
    let daemon = Daemon::start(Bounds { per_user: 1, ..Bounds::default() });
    let mut first = daemon.connect().await;
    call(&mut first, "org.varlink.service.GetInfo", json!({})).await;
    let mut second = daemon.connect().await;
    assert_eq!(reply(&mut second).await["error"], "io.bulkhead.Agent.Busy");
    assert!(closed(&mut second).await);
    drop(first);
    // The first connection's task may see its end before or after the next one comes.
    let again = async {
        loop {
            let mut stream = daemon.connect().await;
            let call = json!({ "method": "org.varlink.service.GetInfo" });
            ask(&mut stream, &call).await;
            if reply(&mut stream).await.get("error").is_none() {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(5), again).await.expect("a place within five seconds");
}
