use bulkhead_api::{DESCRIPTION, ManifestInvalid, Plan, Problem};
use serde_json::json;
use tokio::io::AsyncWriteExt;

use super::{Daemon, ask, call, closed, nothing, reply};
use crate::manifest;
use crate::socket::{Bounds, Refusal, Request};

#[tokio::test]
async fn the_service_describes_itself() {
    let daemon = Daemon::start(Bounds::default());
    let mut stream = daemon.connect().await;
    let info = call(&mut stream, "org.varlink.service.GetInfo", json!({})).await;
    assert_eq!(info["parameters"]["interfaces"], json!(["org.varlink.service", "io.bulkhead.Agent"]));
    assert_eq!(info["parameters"]["product"], "bulkheadd");
    let name = json!({ "interface": "io.bulkhead.Agent" });
    let description = call(&mut stream, "org.varlink.service.GetInterfaceDescription", name).await;
    assert_eq!(description["parameters"]["description"], DESCRIPTION);
}

#[tokio::test]
async fn what_does_not_exist_is_refused_by_its_name() {
    let daemon = Daemon::start(Bounds::default());
    let mut stream = daemon.connect().await;
    for (method, error, parameters) in [
        ("io.bulkhead.Agent.Reboot", "MethodNotFound", json!({ "method": "io.bulkhead.Agent.Reboot" })),
        ("org.varlink.service.Reboot", "MethodNotFound", json!({ "method": "org.varlink.service.Reboot" })),
        ("Status", "MethodNotFound", json!({ "method": "Status" })),
        ("io.bulkhead.Agent2.Status", "InterfaceNotFound", json!({ "interface": "io.bulkhead.Agent2" })),
    ] {
        let refused = call(&mut stream, method, json!({})).await;
        assert_eq!(refused["error"], format!("org.varlink.service.{error}"), "{method}");
        assert_eq!(refused["parameters"], parameters, "{method}");
    }
    let other = json!({ "interface": "org.example" });
    let refused = call(&mut stream, "org.varlink.service.GetInterfaceDescription", other).await;
    assert_eq!(refused["error"], "org.varlink.service.InterfaceNotFound");
}

#[tokio::test]
async fn wrong_parameters_are_refused_by_their_name() {
    let mut daemon = Daemon::start(Bounds::default());
    let mut stream = daemon.connect().await;
    for (method, parameters, culprit) in [
        ("io.bulkhead.Agent.Apply", json!({ "force": "yes" }), "force"),
        ("io.bulkhead.Agent.Apply", json!({ "farce": true }), "farce"),
        ("io.bulkhead.Agent.Status", json!({ "force": true }), "force"),
        ("io.bulkhead.Agent.Plan", json!([1]), "parameters"),
        ("org.varlink.service.GetInterfaceDescription", json!({}), "interface"),
        ("org.varlink.service.GetInterfaceDescription", json!({ "interface": 1 }), "interface"),
    ] {
        let refused = call(&mut stream, method, parameters.clone()).await;
        assert_eq!(refused["error"], "org.varlink.service.InvalidParameter", "{method} {parameters}");
        assert_eq!(refused["parameters"], json!({ "parameter": culprit }), "{method} {parameters}");
    }
    assert!(nothing(&mut daemon.requests).await, "the loop heard of it");
}

#[tokio::test]
async fn parameters_may_be_missing_or_null() {
    let daemon = Daemon::start(Bounds::default());
    let mut stream = daemon.connect().await;
    for call in [
        json!({ "method": "io.bulkhead.Agent.Status" }),
        json!({ "method": "io.bulkhead.Agent.Status", "parameters": null }),
    ] {
        ask(&mut stream, &call).await;
        assert!(reply(&mut stream).await["parameters"]["status"].is_object(), "{call}");
    }
}

#[tokio::test]
async fn status_answers_while_the_loop_is_busy() {
    let daemon = Daemon::start(Bounds::default());
    let mut stream = daemon.connect().await;
    let mut waiting = daemon.connect().await;
    ask(&mut waiting, &json!({ "method": "io.bulkhead.Agent.Plan" })).await;
    assert!(call(&mut stream, "io.bulkhead.Agent.Status", json!({})).await["parameters"]["status"].is_object());
}

#[test]
fn the_errors_of_a_manifest_keep_their_places() {
    let path = std::env::temp_dir().join(format!("bulkhead-wrong-{}.toml", std::process::id()));
    std::fs::write(&path, "[segment.lan]\nvlan = 20\ntrunk = \"eth1\"\n").unwrap();
    let problems = manifest::parse(&manifest::read(&path).unwrap()).unwrap_err();
    let invalid = ManifestInvalid::from(&problems);
    std::fs::remove_file(&path).unwrap();
    assert_eq!(invalid.errors.len(), problems.count(manifest::Level::Error));
    assert_eq!((invalid.errors[0].line, invalid.errors[0].file.as_str()), (3, path.to_str().unwrap()));
    assert!(invalid.drawn.contains("eth1"), "{}", invalid.drawn);
}

#[tokio::test]
async fn a_refusal_of_the_loop_reaches_the_caller_whole() {
    let mut daemon = Daemon::start(Bounds::default());
    let mut stream = daemon.connect().await;
    ask(&mut stream, &json!({ "method": "io.bulkhead.Agent.Plan" })).await;
    let Some(Request::Plan { reply: to }) = daemon.requests.recv().await else { panic!("not a plan") };
    let error = Problem {
        file: "/etc/bulkhead/host.toml".to_owned(),
        line: 3,
        column: 8,
        message: "no such trunk".to_owned(),
        help: vec!["declare [trunk.eth1]".to_owned()],
    };
    let invalid = ManifestInvalid { errors: vec![error], drawn: "error: no such trunk\n".to_owned() };
    to.send(Err(Refusal::ManifestInvalid(invalid)));
    let refused = reply(&mut stream).await;
    assert_eq!(refused["error"], "io.bulkhead.Agent.ManifestInvalid");
    assert_eq!(refused["parameters"]["errors"][0]["line"], 3);

    ask(&mut stream, &json!({ "method": "io.bulkhead.Agent.Plan" })).await;
    let Some(Request::Plan { reply: to }) = daemon.requests.recv().await else { panic!("not a plan") };
    to.send(Ok(Plan::default()));
    assert_eq!(reply(&mut stream).await, json!({ "parameters": { "steps": [], "notices": [] } }));
}

#[tokio::test]
async fn a_oneway_call_is_done_and_not_answered() {
    let mut daemon = Daemon::start(Bounds::default());
    let mut stream = daemon.connect().await;
    ask(&mut stream, &json!({ "method": "io.bulkhead.Agent.Apply", "oneway": true })).await;
    ask(&mut stream, &json!({ "method": "org.varlink.service.GetInfo" })).await;
    assert_eq!(reply(&mut stream).await["parameters"]["vendor"], "Bulkhead");
    assert!(matches!(daemon.requests.recv().await, Some(Request::Apply { force: false, .. })));
}

#[tokio::test]
async fn an_upgrade_is_refused() {
    let daemon = Daemon::start(Bounds::default());
    let mut stream = daemon.connect().await;
    stream.write_all(b"{\"method\":\"io.bulkhead.Agent.Status\",\"upgrade\":true}\0").await.unwrap();
    assert_eq!(reply(&mut stream).await["error"], "org.varlink.service.InvalidParameter");
    assert!(closed(&mut stream).await);
}
