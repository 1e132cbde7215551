//! `Schema`: the JSON Schema of the manifest.

use super::{Answer, Context, Method, Nothing};
use crate::socket::Role;
use crate::socket::reply::Reply;

pub(super) struct Schema;

impl Method for Schema {
    const NAME: &'static str = "Schema";
    const ROLE: Role = Role::Observe;
    const ONEWAY: bool = false;
    type Parameters = Nothing;

    fn answer(context: Context<'_>, _: Nothing) -> Result<Answer, Reply> {
        Ok(Answer::Now(context.service.schema.clone()))
    }
}
