//! Pools: defined where nobody has them, used where somebody does, never redefined and never removed.

use std::collections::BTreeMap;

use bulkhead_types::{Cause, Object};

use super::Plan;
use crate::guest::model::{Desired, Observed, Pool};
use crate::guest::step::Step;
use crate::guest::xml::pool_xml;

/// Of each declared pool, by its name in the manifest: libvirt's name of it, or why its guests must wait.
pub(super) type Pools = BTreeMap<String, Result<String, String>>;

/// Plans the pools.
pub(super) fn plan(desired: &Desired, observed: &Observed, plan: &mut Plan) -> Pools {
    desired.pools.iter().map(|pool| (pool.name.clone(), one(pool, observed, plan))).collect()
}

fn one(pool: &Pool, observed: &Observed, plan: &mut Plan) -> Result<String, String> {
    let object = Object::Pool(pool.name.clone());
    let here = observed.pools.iter().find(|found| found.path.as_ref() == Some(&pool.path));
    let namesake = observed.pools.iter().find(|found| found.name == pool.name);
    if let (None, Some(found)) = (here, namesake) {
        let name = &pool.name;
        let theirs = found.path.as_ref().map_or("no directory".to_owned(), |path| path.display().to_string());
        let text = format!(
            "the manifest's pool {name} is {}, but libvirt's pool {name} is {theirs}; rename it in the manifest",
            pool.path.display()
        );
        plan.notice(object, Cause::Clash, text);
        return Err(format!("its pool {name} is another one in libvirt"));
    }
    let found = here.or(namesake).map_or(&pool.name, |found| &found.name);
    if let Some(why) = observed.unread.pools.get(found) {
        plan.notice(object, Cause::Unknown, format!("what libvirt has of it cannot be read: {why}"));
        return Err(format!("its pool {} cannot be read: {why}", pool.name));
    }
    if let Some(why) = observed.unencrypted.get(&pool.name) {
        let text = format!("{why}; unlock and mount it, and its guests go on by themselves");
        plan.notice(object, Cause::Held, text);
        return Err(format!("its pool {} is declared encrypted, and {why}", pool.name));
    }
    let name = pool.name.clone();
    let at = here.map_or_else(|| name.clone(), |found| found.name.clone());
    if here.is_none() {
        plan.steps.push(Step::DefinePool { pool: name.clone(), xml: pool_xml(pool) });
    }
    if !here.is_some_and(|found| found.active) {
        // A directory that is there, for all this process knows, keeps its mode and its owner.
        let hidden = observed.hidden.get(&name);
        if let Some(why) = hidden {
            let text = format!(
                "its directory {0} is not made, because it may be there: {why}; `mkdir {0}` if it is not, or choose another \
                 such as /srv",
                pool.path.display()
            );
            plan.notice(object, Cause::Held, text);
        }
        if hidden.is_none() && !observed.directories.contains(&name) {
            plan.steps.push(Step::BuildPool { pool: name.clone(), at: at.clone() });
        }
        plan.steps.push(Step::StartPool { pool: name.clone(), at: at.clone() });
    }
    // libvirtd would start an encrypted pool before its mount is there.
    let ours = here.is_none_or(|found| found.name == pool.name);
    if ours && !pool.encrypted && !here.is_some_and(|found| found.autostart) {
        plan.steps.push(Step::AutostartPool { pool: name });
    }
    Ok(at)
}
