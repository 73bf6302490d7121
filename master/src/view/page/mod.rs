//! What the web page reads: small answers to what it shows at one time, so that a page costs the master the same whether
//! the cluster has ten agents or ten thousand. The forms are the page's own and change with it; tools read Mesos' endpoints.

pub(crate) mod activity;
mod agents;
mod amounts;
mod frameworks;
pub(crate) mod history;
mod list;
mod offers;
mod overview;
mod tasks;
mod topology;

use std::sync::Arc;

use mezzo_server::http::query::Query;

use super::{Master, View};
use history::Moment;

/// One thing that the page shows.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum PageRead {
    /// The sums of the cluster, by role and zone, its latest events.
    Overview,
    /// The last hour, for charts.
    History,
    /// Some of the agents.
    Agents(list::Wanted),
    /// One agent.
    Agent(String),
    /// Some of the frameworks, completed ones too.
    Frameworks(list::Wanted),
    /// One framework.
    Framework(String),
    /// Some of the tasks.
    Tasks(list::Wanted, tasks::Narrowed),
    /// One task of a framework.
    Task(String, String),
    /// Some of the outstanding offers.
    Offers(list::Wanted),
    /// Every agent in few words, by region and zone.
    Topology,
}

impl PageRead {
    /// `/ui/<name>?…`
    pub(crate) fn of(name: &str, query: &Query) -> Option<Self> {
        let text = |key: &str| query.get(key).unwrap_or_default().to_owned();
        let wanted = || list::Wanted::of(query);
        Some(match name {
            "overview" => Self::Overview,
            "history" => Self::History,
            "agents" => Self::Agents(wanted()),
            "agent" => Self::Agent(text("id")),
            "frameworks" => Self::Frameworks(wanted()),
            "framework" => Self::Framework(text("id")),
            "tasks" => Self::Tasks(wanted(), tasks::Narrowed::of(query)),
            "task" => Self::Task(text("framework"), text("id")),
            "offers" => Self::Offers(wanted()),
            "topology" => Self::Topology,
            _ => return None,
        })
    }
}

/// Renders it; nothing if there is no such agent, framework or task.
pub(crate) fn render(view: &View, master: Master<'_>, moments: &[Arc<Moment>], read: &PageRead) -> Option<Vec<u8>> {
    Some(match read {
        PageRead::Overview => overview::overview(view, master),
        PageRead::History => history::history(moments),
        PageRead::Agents(wanted) => agents::agents(view, wanted),
        PageRead::Agent(id) => return agents::agent(view, id),
        PageRead::Frameworks(wanted) => frameworks::frameworks(view, wanted),
        PageRead::Framework(id) => return frameworks::framework(view, id),
        PageRead::Tasks(wanted, narrowed) => tasks::tasks(view, wanted, narrowed),
        PageRead::Task(framework, id) => return tasks::task(view, framework, id),
        PageRead::Offers(wanted) => offers::offers(view, wanted),
        PageRead::Topology => topology::topology(view),
    })
}

#[cfg(test)]
mod tests;
