//! The methods: parameters in, an answer out. Knows nothing of bytes.

use std::future::Future;
use std::pin::Pin;

use bulkhead_api::{ADMIN_GROUP, DESCRIPTION, Done, INTERFACE, Plan, SERVICE, SERVICE_DESCRIPTION, Summary, Why};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender, error::TrySendError};
use tokio::sync::oneshot;
use varlink::Reply;

use super::wire::{self, Force, Interface, Nothing};
use super::{Refusal, Request, Role, Service};

/// What a call comes to.
pub(super) enum Answer {
    /// It is answered.
    Now(Reply),
    /// The loop works on it.
    Later(Later),
}

/// A call that the loop works on.
pub(super) struct Later {
    /// Steps as they end; `None` when the caller did not ask for them.
    pub(super) progress: Option<UnboundedReceiver<Done>>,
    /// The last reply.
    pub(super) done: Pin<Box<dyn Future<Output = Reply> + Send>>,
}

/// Answers one call of a peer with this role.
pub(super) fn answer(service: &Service, role: Role, request: &varlink::Request<'_>) -> Answer {
    dispatch(service, role, request).unwrap_or_else(Answer::Now)
}

/// An `Err` is the reply that says why not.
fn dispatch(service: &Service, role: Role, request: &varlink::Request<'_>) -> Result<Answer, Reply> {
    let method = request.method.as_ref();
    let unknown = || wire::standard("MethodNotFound", "method", method);
    let (interface, name) = method.rsplit_once('.').ok_or_else(unknown)?;
    let parameters = request.parameters.as_ref();
    match (interface, name) {
        (SERVICE, "GetInfo") => parse::<Nothing>(parameters).map(|_| Answer::Now(info())),
        (SERVICE, "GetInterfaceDescription") => parse(parameters).map(|p| Answer::Now(describe(&p))),
        (INTERFACE, "Status") => {
            parse::<Nothing>(parameters)?;
            Ok(Answer::Now(wire::one("status", &**service.status.borrow())))
        }
        (INTERFACE, "Schema") => {
            parse::<Nothing>(parameters)?;
            Ok(Answer::Now(wire::one("schema", &*service.schema)))
        }
        (INTERFACE, "Plan") => {
            parse::<Nothing>(parameters)?;
            plan(service)
        }
        (INTERFACE, "Apply") => {
            permit(role, method)?;
            let force = parse::<Force>(parameters)?.force.unwrap_or(false);
            work(service, request, |progress, done| Request::Apply { force, progress, done })
        }
        (INTERFACE, "Teardown") => {
            permit(role, method)?;
            let force = parse::<Force>(parameters)?.force.unwrap_or(false);
            work(service, request, |progress, done| Request::Teardown { force, progress, done })
        }
        (SERVICE | INTERFACE, _) => Err(unknown()),
        _ => Err(wire::standard("InterfaceNotFound", "interface", interface)),
    }
}

fn permit(role: Role, method: &str) -> Result<(), Reply> {
    if role >= Role::Admin {
        return Ok(());
    }
    let why = format!("{method} is for root and members of group {ADMIN_GROUP}; the caller may only observe");
    Err(wire::error("PermissionDenied", &Why { why }))
}

/// Missing and null parameters are an empty object, as clients of either habit exist.
fn parse<T: DeserializeOwned>(parameters: Option<&Value>) -> Result<T, Reply> {
    let value = match parameters {
        None | Some(Value::Null) => Value::Object(serde_json::Map::new()),
        Some(value @ Value::Object(_)) => value.clone(),
        Some(_) => return Err(wire::standard("InvalidParameter", "parameter", "parameters")),
    };
    T::deserialize(&value).map_err(|error| wire::standard("InvalidParameter", "parameter", &culprit(&value, &error)))
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

fn info() -> Reply {
    wire::all(&varlink::ServiceInfo {
        vendor: "Bulkhead".into(),
        product: "bulkheadd".into(),
        version: env!("CARGO_PKG_VERSION").into(),
        url: env!("CARGO_PKG_REPOSITORY").into(),
        interfaces: vec![SERVICE.into(), INTERFACE.into()],
    })
}

fn describe(parameters: &Interface) -> Reply {
    match parameters.interface.as_str() {
        SERVICE => wire::one("description", &SERVICE_DESCRIPTION),
        INTERFACE => wire::one("description", &DESCRIPTION),
        other => wire::standard("InterfaceNotFound", "interface", other),
    }
}

fn plan(service: &Service) -> Result<Answer, Reply> {
    let (reply, planned) = oneshot::channel();
    send(service, Request::Plan { reply })?;
    let done = Box::pin(async move { end(planned.await, |plan: &Plan| wire::all(plan)) });
    Ok(Answer::Later(Later { progress: None, done }))
}

fn work(
    service: &Service,
    request: &varlink::Request<'_>,
    ask: impl FnOnce(UnboundedSender<Done>, oneshot::Sender<Result<Summary, Refusal>>) -> Request,
) -> Result<Answer, Reply> {
    let (progress, steps) = mpsc::unbounded_channel();
    let (done, summary) = oneshot::channel();
    send(service, ask(progress, done))?;
    let done = Box::pin(async move { end(summary.await, |summary: &Summary| wire::one("summary", summary)) });
    Ok(Answer::Later(Later { progress: request.more.unwrap_or(false).then_some(steps), done }))
}

fn send(service: &Service, request: Request) -> Result<(), Reply> {
    service.requests.try_send(request).map_err(|error| {
        wire::refusal(&match error {
            TrySendError::Full(_) => Refusal::busy("other requests are waiting; try again"),
            TrySendError::Closed(_) => Refusal::busy("the daemon is stopping; try again when it is back"),
        })
    })
}

fn end<T>(result: Result<Result<T, Refusal>, oneshot::error::RecvError>, reply: impl FnOnce(&T) -> Reply) -> Reply {
    match result {
        Ok(Ok(value)) => reply(&value),
        Ok(Err(refusal)) => wire::refusal(&refusal),
        Err(_) => wire::refusal(&Refusal::busy("the daemon stopped before it answered; try again when it is back")),
    }
}
