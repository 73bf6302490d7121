//! `/state` (src/master/readonly_handler.cpp, Master::ReadOnlyHandler::state).

use mezzo_api::MESOS_VERSION;
use mezzo_server::build;
use serde_json::json;

use super::{
    View,
    agents::{self, agent_info},
    document::Document,
    frameworks, tasks,
};
use crate::{flags::Flags, identity::Identity};

/// Who serves the picture.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Master<'a> {
    pub(crate) identity: &'a Identity,
    pub(crate) flags: &'a Flags,
}

/// `/state`.
pub(crate) fn state(view: &View, master: Master<'_>) -> Vec<u8> {
    tasks::write_ahead(view);
    let mut document = Document::default();
    // About as much as it will be: a large one is not copied again and again while it grows.
    document.reserve(1024 + 1024 * view.size());
    of_master(&mut document, view, master);
    document.written("slaves", view.agents.values().map(|shown| agents::text(shown)));
    document.list("recovered_slaves", view.recovered.values().map(|info| agent_info(info)));
    frameworks::lists(&mut document, view, |_| true);
    document.list("orphan_tasks", [(); 0]);
    document.list("unregistered_frameworks", [(); 0]);
    document.end()
}

#[allow(clippy::cast_precision_loss)] // counts of agents, shown as numbers with a fraction
fn of_master(document: &mut Document, view: &View, Master { identity, flags }: Master<'_>) {
    let active = view.agents.values().filter(|agent| agent.active).count();
    let info = &identity.info;
    let capabilities = info.capabilities.iter().map(|capability| capability.r#type().as_str_name());
    document
        .member("version", &MESOS_VERSION)
        .member("mezzo_version", &mezzo_api::MEZZO_VERSION)
        .member("build_date", &*build::DATE)
        .member("build_time", &*build::TIME)
        .member("build_user", &build::USER)
        .member("start_time", &identity.start_time)
        .member("elected_time", &identity.elected_time)
        .member("id", &identity.id())
        .member("pid", &identity.pid())
        .member("hostname", &identity.hostname())
        .list("capabilities", capabilities)
        .member("activated_slaves", &(active as f64))
        .member("deactivated_slaves", &((view.agents.len() - active) as f64))
        .member("unreachable_slaves", &(view.unreachable.len() as f64))
        .member("leader", &identity.pid())
        .member(
            "leader_info",
            &json!({ "id": identity.id(), "pid": identity.pid(), "port": info.port, "hostname": identity.hostname() }),
        )
        .optional("cluster", flags.cluster.as_ref())
        .member("flags", &flags.listed);
}
