//! The methods of `org.varlink.service`, which every varlink service has.

use bulkhead_api::{DESCRIPTION, INTERFACE, SERVICE, SERVICE_DESCRIPTION};
use serde::{Deserialize, Serialize};

use super::{Answer, Context, Method, Nothing};
use crate::socket::Role;
use crate::socket::reply::Reply;

pub(super) struct GetInfo;

#[derive(Serialize)]
struct Info {
    vendor: &'static str,
    product: &'static str,
    version: &'static str,
    url: &'static str,
    interfaces: [&'static str; 2],
}

impl Method for GetInfo {
    const NAME: &'static str = "GetInfo";
    const ROLE: Role = Role::Observe;
    const ONEWAY: bool = false;
    type Parameters = Nothing;

    fn answer(_: Context<'_>, _: Nothing) -> Result<Answer, Reply> {
        Ok(Answer::Now(Reply::all(&Info {
            vendor: "Bulkhead",
            product: "bulkheadd",
            version: env!("CARGO_PKG_VERSION"),
            url: env!("CARGO_PKG_REPOSITORY"),
            interfaces: [SERVICE, INTERFACE],
        })))
    }
}

pub(super) struct GetInterfaceDescription;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Interface {
    interface: String,
}

impl Method for GetInterfaceDescription {
    const NAME: &'static str = "GetInterfaceDescription";
    const ROLE: Role = Role::Observe;
    const ONEWAY: bool = false;
    type Parameters = Interface;

    fn answer(_: Context<'_>, parameters: Interface) -> Result<Answer, Reply> {
        let description = match parameters.interface.as_str() {
            SERVICE => SERVICE_DESCRIPTION,
            INTERFACE => DESCRIPTION,
            other => return Err(Reply::standard("InterfaceNotFound", "interface", other)),
        };
        Ok(Answer::Now(Reply::one("description", &description)))
    }
}
