//! `Teardown`: removes what is ours from the host.

use super::{Answer, Context, Force, Method, work};
use crate::socket::reply::Reply;
use crate::socket::{Request, Role};

pub(super) struct Teardown;

impl Method for Teardown {
    const NAME: &'static str = "Teardown";
    const ROLE: Role = Role::Admin;
    const ONEWAY: bool = true;
    type Parameters = Force;

    fn answer(context: Context<'_>, parameters: Force) -> Result<Answer, Reply> {
        let force = parameters.force.unwrap_or(false);
        work(context, |progress, done| Request::Teardown { force, progress, done })
    }
}
