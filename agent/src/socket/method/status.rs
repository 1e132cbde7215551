//! `Status`: the last published status, with counters as fresh as the question where the loop can read them in a moment.

use std::sync::{Arc, Mutex, PoisonError};

use bulkhead_api::Status as Published;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};

use super::{Answer, Context, Later, Method, Nothing};
use crate::socket::reply::Reply;
use crate::socket::{Role, Service};

pub(super) struct Status;

impl Method for Status {
    const NAME: &'static str = "Status";
    const ROLE: Role = Role::Observe;
    const ONEWAY: bool = false;
    type Parameters = Nothing;

    fn answer(context: Context<'_>, _: Nothing) -> Result<Answer, Reply> {
        let service = Arc::clone(context.service);
        let done = async move {
            freshen(&service).await;
            service.written.of(&service.status.borrow(), &service)
        };
        Ok(Answer::Later(Later { progress: None, done: Box::pin(done) }))
    }
}

/// Has the loop read the counters, unless it did so a moment ago. One reading serves all who ask meanwhile; and whoever has
/// waited long enough is told what was read last, with its time.
async fn freshen(service: &Service) {
    let came = Instant::now();
    let bounds = service.bounds;
    let reading = async {
        let mut read = service.read.lock().await;
        if read.is_some_and(|at| came <= at + bounds.fresh) {
            return;
        }
        let (reply, published) = oneshot::channel();
        let asked = Instant::now();
        if service.queues.counters(reply) && published.await.is_ok() {
            *read = Some(asked);
        }
    };
    // Whether it came in time or not, what is known is told.
    let _ = timeout(bounds.counters, reading).await;
}

/// The last published status in bytes: written when the first asks for it, and once.
#[derive(Debug, Default)]
pub(in crate::socket) struct Written(Mutex<Option<(Arc<Published>, Reply)>>);

impl Written {
    pub(in crate::socket) fn of(&self, status: &Arc<Published>, service: &Service) -> Reply {
        let mut written = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((of, reply)) = &*written
            && Arc::ptr_eq(of, status)
        {
            return reply.clone();
        }
        let told = Published { refused: service.refused.counts(), ..Published::clone(status) };
        let reply = Reply::one("status", &told);
        *written = Some((Arc::clone(status), reply.clone()));
        reply
    }
}
