//! `/state` (src/master/readonly_handler.cpp, Master::ReadOnlyHandler::state).

use mezzo_api::MESOS_VERSION;
use mezzo_server::{build, threads::Steps};
use serde_json::json;

use super::{View, agents::agent_info, document::Document, frameworks, pieces::Pieces};
use crate::{flags::Flags, identity::Identity};

/// Who serves the picture.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Master<'a> {
    pub(crate) identity: &'a Identity,
    pub(crate) flags: &'a Flags,
}

/// `/state`, which shares what it can with an older one.
pub(crate) fn state(view: &View, master: Master<'_>, older: Option<&Pieces>) -> Pieces {
    let mut document = Document::after(older);
    of_master(&mut document, view, master);
    document.shown("slaves", view.agents.values());
    document.list("recovered_slaves", view.recovered.values().map(|info| agent_info(info)));
    frameworks::lists(&mut document, view, |_| true);
    document.list("orphan_tasks", [(); 0]);
    document.list("unregistered_frameworks", [(); 0]);
    document.pieces()
}

#[allow(clippy::cast_precision_loss)] // counts of agents, shown as numbers with a fraction
fn of_master(document: &mut Document, view: &View, Master { identity, flags }: Master<'_>) {
    let steps = Steps::default();
    let active = view.agents.values().inspect(|_| steps.step()).filter(|agent| agent.active).count();
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
