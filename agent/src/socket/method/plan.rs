//! `Plan`: what an apply would write now. A user has one at a time with the loop; further ones wait for it on their
//! connections.

use std::sync::Arc;

use bulkhead_api::Plan as Planned;
use tokio::sync::oneshot;

use super::{Answer, Context, Later, Method, Nothing, end};
use crate::socket::reply::Reply;
use crate::socket::{Role, request};

pub(super) struct Plan;

impl Method for Plan {
    const NAME: &'static str = "Plan";
    const ROLE: Role = Role::Observe;
    const ONEWAY: bool = false;
    type Parameters = Nothing;

    fn answer(Context { service, caller, .. }: Context<'_>, _: Nothing) -> Result<Answer, Reply> {
        let service = Arc::clone(service);
        let done = async move {
            let permit = service.plans.wait(caller).await;
            let (reply, planned) = oneshot::channel();
            match service.queues.plan(caller.role, request::Answer::new(reply, permit)).await {
                Ok(()) => end(planned.await, |plan: &Planned| Reply::all(plan)),
                Err(busy) => Reply::busy(&busy.why),
            }
        };
        Ok(Answer::Later(Later { progress: None, done: Box::pin(done) }))
    }
}
