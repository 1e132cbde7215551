//! The methods, one file each: its parameters, who may call it, and what it asks of the loop. Knows nothing of bytes.

mod apply;
mod plan;
mod schema;
mod service;
mod status;
mod teardown;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bulkhead_api::{ADMIN_GROUP, ApplyFailed, Done, INTERFACE, SERVICE, Summary, Why};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::access::Caller;
use super::reply::Reply;
use super::{Refusal, Request, Role, Service};
pub(super) use status::Written;

/// A call as it comes over the wire.
#[derive(Debug, Deserialize)]
pub(super) struct Call {
    method: String,
    parameters: Option<Value>,
    more: Option<bool>,
    oneway: Option<bool>,
    pub(super) upgrade: Option<bool>,
}

impl Call {
    /// Whether the caller wants no reply, not even an error.
    pub(super) fn is_oneway(&self) -> bool {
        self.oneway.unwrap_or(false)
    }
}

/// What a call comes to.
pub(super) enum Answer {
    /// It is answered.
    Now(Reply),
    /// It takes a while.
    Later(Later),
}

/// A call that takes a while.
pub(super) struct Later {
    /// Steps as they end; `None` when the caller did not ask for them.
    pub(super) progress: Option<UnboundedReceiver<Done>>,
    /// The last reply.
    pub(super) done: Pin<Box<dyn Future<Output = Reply> + Send>>,
}

/// One method.
trait Method {
    /// Its name in the interface.
    const NAME: &'static str;
    /// The least that a caller must be.
    const ROLE: Role;
    /// Whether it does something that is worth a call without a reply.
    const ONEWAY: bool;
    type Parameters: DeserializeOwned;

    /// An `Err` is the reply that says why not.
    fn answer(context: Context<'_>, parameters: Self::Parameters) -> Result<Answer, Reply>;
}

/// Whose call it is, and of whom.
#[derive(Clone, Copy)]
struct Context<'a> {
    service: &'a Arc<Service>,
    caller: Caller,
    more: bool,
}

/// Parameters of the methods that have none.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

/// Parameters of what changes the host.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Force {
    force: Option<bool>,
}

/// Answers one call of a peer that was let in. What has nothing but an answer is not looked at when nobody wants one.
pub(super) fn answer(service: &Arc<Service>, caller: Caller, call: &Call) -> Answer {
    dispatch(service, caller, call).unwrap_or_else(Answer::Now)
}

fn dispatch(service: &Arc<Service>, caller: Caller, call: &Call) -> Result<Answer, Reply> {
    let method = call.method.as_str();
    let unknown = || Reply::standard("MethodNotFound", "method", method);
    let (interface, name) = method.rsplit_once('.').ok_or_else(unknown)?;
    let run = match (interface, name) {
        (SERVICE, service::GetInfo::NAME) => run::<service::GetInfo>,
        (SERVICE, service::GetInterfaceDescription::NAME) => run::<service::GetInterfaceDescription>,
        (INTERFACE, status::Status::NAME) => run::<status::Status>,
        (INTERFACE, schema::Schema::NAME) => run::<schema::Schema>,
        (INTERFACE, plan::Plan::NAME) => run::<plan::Plan>,
        (INTERFACE, apply::Apply::NAME) => run::<apply::Apply>,
        (INTERFACE, teardown::Teardown::NAME) => run::<teardown::Teardown>,
        (SERVICE | INTERFACE, _) => return Err(unknown()),
        _ => return Err(Reply::standard("InterfaceNotFound", "interface", interface)),
    };
    run(service, caller, call)
}

fn run<M: Method>(service: &Arc<Service>, caller: Caller, call: &Call) -> Result<Answer, Reply> {
    let method = &call.method;
    if caller.role < M::ROLE {
        let why = format!("{method} is for root and members of group {ADMIN_GROUP}; the caller may only observe");
        return Err(Reply::error("PermissionDenied", &Why { why }));
    }
    if call.is_oneway() && !M::ONEWAY {
        return Err(Reply::standard("InvalidParameter", "parameter", "oneway"));
    }
    let parameters = parse(call.parameters.as_ref())?;
    M::answer(Context { service, caller, more: call.more.unwrap_or(false) }, parameters)
}

/// Missing and null parameters are an empty object, as clients of either habit exist.
fn parse<T: DeserializeOwned>(parameters: Option<&Value>) -> Result<T, Reply> {
    let value = match parameters {
        None | Some(Value::Null) => Value::Object(serde_json::Map::new()),
        Some(value @ Value::Object(_)) => value.clone(),
        Some(_) => return Err(Reply::standard("InvalidParameter", "parameter", "parameters")),
    };
    T::deserialize(&value).map_err(|error| Reply::standard("InvalidParameter", "parameter", &culprit(&value, &error)))
}

/// varlink wants the parameter's name, which serde says between back quotes ("unknown field `x`", "missing field `x`");
/// a value of the wrong type names no field, and each of our methods has one parameter alone.
fn culprit(value: &Value, error: &serde_json::Error) -> String {
    let text = error.to_string();
    if let Some(name) = text.split_once(" field `").and_then(|(_, rest)| rest.split('`').next()) {
        return name.to_owned();
    }
    value.as_object().and_then(|o| o.keys().next()).cloned().unwrap_or(text)
}

/// Asks the loop for work that ends with a summary.
fn work(
    context: Context<'_>,
    ask: impl FnOnce(UnboundedSender<Done>, oneshot::Sender<Result<Summary, Refusal>>) -> Request,
) -> Result<Answer, Reply> {
    let asked = Instant::now();
    let (progress, steps) = mpsc::unbounded_channel();
    let (done, summary) = oneshot::channel();
    context.service.queues.administer(ask(progress, done)).map_err(|busy| Reply::busy(&busy.why))?;
    let done = async move {
        let mut ended = summary.await;
        if let Ok(Ok(summary) | Err(Refusal::Failed(ApplyFailed { summary, .. }))) = &mut ended {
            // The loop counts from when it began; whoever asked has waited from here on.
            summary.duration_us = u64::try_from(asked.elapsed().as_micros()).unwrap_or(u64::MAX);
        }
        end(ended, |summary: &Summary| Reply::one("summary", summary))
    };
    let done = Box::pin(done);
    Ok(Answer::Later(Later { progress: context.more.then_some(steps), done }))
}

fn end<T>(result: Result<Result<T, Refusal>, oneshot::error::RecvError>, reply: impl FnOnce(&T) -> Reply) -> Reply {
    match result {
        Ok(Ok(value)) => reply(&value),
        Ok(Err(refusal)) => Reply::from(&refusal),
        Err(_) => Reply::busy("the daemon stopped before it answered; try again when it is back"),
    }
}
