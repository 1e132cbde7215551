use std::sync::Arc;
use std::time::{Duration, Instant};

use bulkhead_api::{Counter, Status};
use proptest::prelude::*;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;

use super::{As, Daemon, call, closed, reply, service};
use crate::socket::access::{Caller, Groups, Role};
use crate::socket::connection::Connection;
use crate::socket::{Bounds, queues};

const GET_INFO: &[u8] = b"{\"method\":\"org.varlink.service.GetInfo\"}\0";

#[tokio::test]
async fn a_call_may_come_byte_by_byte() {
    let daemon = Daemon::start(Bounds::default());
    let mut stream = daemon.connect().await;
    for byte in GET_INFO {
        stream.write_all(&[*byte]).await.unwrap();
        tokio::task::yield_now().await;
    }
    assert_eq!(reply(&mut stream).await["parameters"]["vendor"], "Bulkhead");
}

#[tokio::test]
async fn calls_sent_together_are_answered_in_order() {
    let daemon = Daemon::start(Bounds::default());
    let mut stream = daemon.connect().await;
    let mut calls = GET_INFO.to_vec();
    calls.extend_from_slice(b"{\"method\":\"a.B\"}\0{\"method\":\"io.bulkhead.Agent.Status\"}\0");
    stream.write_all(&calls).await.unwrap();
    assert_eq!(reply(&mut stream).await["parameters"]["vendor"], "Bulkhead");
    assert_eq!(reply(&mut stream).await["error"], "org.varlink.service.InterfaceNotFound");
    assert!(reply(&mut stream).await["parameters"]["status"].is_object());
}

#[tokio::test]
async fn a_call_that_is_too_long_ends_the_connection() {
    let daemon = Daemon::start(Bounds { message: 1000, ..Bounds::default() });
    for end in [&b""[..], b"\0"] {
        let mut stream = daemon.connect().await;
        let mut call = vec![b' '; 1001];
        call[0] = b'{';
        call.extend_from_slice(end);
        stream.write_all(&call).await.unwrap();
        assert!(closed(&mut stream).await, "with end {end:?}");
    }
    // The bound is for one call, not for all of them.
    let mut stream = daemon.connect().await;
    for _ in 0..100 {
        call(&mut stream, "org.varlink.service.GetInfo", json!({})).await;
    }
}

#[tokio::test]
async fn bytes_that_are_no_call_end_the_connection() {
    let daemon = Daemon::start(Bounds::default());
    for bytes in [&b"\0"[..], b"hello\0", b"{}\0", b"{\"method\":1}\0", b"[]\0", b"{\"method\":\"\xff\"}\0"] {
        let mut stream = daemon.connect().await;
        stream.write_all(bytes).await.unwrap();
        assert!(closed(&mut stream).await, "{bytes:?}");
    }
}

#[tokio::test]
async fn a_call_that_never_ends_and_a_caller_who_never_calls_are_closed() {
    let short = Duration::from_millis(50);
    let daemon = Daemon::start(Bounds { receive: short, idle: 4 * short, ..Bounds::default() });
    let mut half = daemon.connect().await;
    half.write_all(b"{").await.unwrap();
    let mut idle = daemon.connect().await;
    assert!(closed(&mut half).await && closed(&mut idle).await);
}

#[tokio::test]
async fn a_caller_who_does_not_read_delays_nobody_and_is_closed() {
    let counter = Counter { name: "c".repeat(1000), dropped: true, packets: 1, bytes: 1 };
    let status = Status { counters: vec![counter; 1000], ..Status::default() };
    let bounds = Bounds { send: Duration::from_millis(300), counters: Duration::ZERO, ..Bounds::default() };
    let daemon = Daemon::start_for(As::Admin, bounds, status);
    let mut slow = daemon.connect().await;
    slow.write_all(b"{\"method\":\"io.bulkhead.Agent.Status\"}\0").await.unwrap();
    let mut other = daemon.connect().await;
    let start = Instant::now();
    call(&mut other, "org.varlink.service.GetInfo", json!({})).await;
    assert!(start.elapsed() < bounds.send, "another caller waited {:?}", start.elapsed());
    tokio::time::sleep(2 * bounds.send).await;
    // What the kernel had buffered is all that ever comes.
    let mut bytes = Vec::new();
    slow.read_to_end(&mut bytes).await.unwrap();
    assert!(bytes.len() < 1_000_000, "{} bytes came", bytes.len());
}

/// Bytes of any kind, with more of those that mean something here.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let part = prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..40),
        Just(b"\0".to_vec()),
        Just(GET_INFO.to_vec()),
        Just(b"{\"method\":\"io.bulkhead.Agent.Apply\",\"more\":true,\"parameters\":".to_vec()),
        Just(b"{\"method\":\"io.bulkhead.Agent.Status\",\"oneway\":true}\0".to_vec()),
        Just(b"{\"force\":null}}\0".to_vec()),
        "[{}\\[\\]\":,a-z.\\\\]{0,20}".prop_map(String::into_bytes),
    ];
    proptest::collection::vec(part, 0..20).prop_map(|parts| parts.concat())
}

proptest! {
    #[test]
    fn no_bytes_make_the_connection_panic_or_stay(bytes in bytes(), cut in 1usize..50) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let (mut ours, theirs) = tokio::io::duplex(1 << 20);
            let bounds = Bounds { message: 500, ..Bounds::default() };
            let status = watch::channel(Arc::new(Status::default())).1;
            let service = Arc::new(service(Groups::default(), bounds, status, queues().0));
            let caller = Caller { uid: 0, role: Role::Admin };
            let connection = tokio::spawn(Connection::new(theirs, caller, service).run());
            for chunk in bytes.chunks(cut) {
                // It fails once the connection has ended, which it may.
                let _ = ours.write_all(chunk).await;
                tokio::task::yield_now().await;
            }
            let _ = ours.shutdown().await;
            let end = tokio::time::timeout(Duration::from_secs(5), connection).await;
            assert!(matches!(end, Ok(Ok(_))), "{end:?}");
        });
    }
}
