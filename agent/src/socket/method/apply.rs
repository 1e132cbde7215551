//! `Apply`: makes the host as the manifest's files say.

use super::{Answer, Context, Force, Method, work};
use crate::socket::reply::Reply;
use crate::socket::{Request, Role};

pub(super) struct Apply;

impl Method for Apply {
    const NAME: &'static str = "Apply";
    const ROLE: Role = Role::Admin;
    const ONEWAY: bool = true;
    type Parameters = Force;

    fn answer(context: Context<'_>, parameters: Force) -> Result<Answer, Reply> {
        let force = parameters.force.unwrap_or(false);
        work(context, |progress, done| Request::Apply { force, progress, done })
    }
}
