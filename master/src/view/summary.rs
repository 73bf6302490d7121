//! `/state-summary` (src/master/readonly_handler.cpp, Master::ReadOnlyHandler::stateSummary).

use std::collections::{BTreeMap, BTreeSet};

use mezzo_api::v1::TaskState;
use serde::Serialize;

use super::{Master, View, document::Document, frameworks::framework_summary, shown::Text};

/// Tasks in each state; the states that Mesos counts here.
#[derive(Clone, Copy, Debug, Default, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
struct Counts {
    task_staging: u64,
    task_starting: u64,
    task_running: u64,
    task_killing: u64,
    task_finished: u64,
    task_killed: u64,
    task_failed: u64,
    task_lost: u64,
    task_error: u64,
    task_unreachable: u64,
}

/// Tasks of one agent or framework, and who is on the other side.
#[derive(Default)]
struct Side<'a> {
    counts: Counts,
    others: BTreeSet<&'a str>,
}

/// `/state-summary`.
pub(crate) fn summary(view: &View, master: Master<'_>) -> Vec<u8> {
    let mut by_agent: BTreeMap<&str, Side<'_>> = BTreeMap::new();
    let mut by_framework: BTreeMap<&str, Side<'_>> = BTreeMap::new();
    for task in view.present_tasks() {
        let (agent, framework) = (task.agent_id.as_str(), task.framework_id.as_str());
        for (sides, one, other) in [(&mut by_agent, agent, framework), (&mut by_framework, framework, agent)] {
            let side = sides.entry(one).or_default();
            side.counts.count(task.state);
            side.others.insert(other);
        }
    }
    let mut document = Document::default();
    document.member("hostname", &master.identity.hostname()).optional("cluster", master.flags.cluster.as_ref());
    document.objects("slaves", view.agents.values(), |document, shown| {
        let Side { counts, others } = by_agent.remove(shown.id.as_str()).unwrap_or_default();
        document.written_members(shown.text()).members(&counts).member("framework_ids", &others);
    });
    document.objects("frameworks", view.present_frameworks(), |document, shown| {
        let Side { counts, others } = by_framework.remove(shown.id.as_str()).unwrap_or_default();
        document.members(&framework_summary(shown)).members(&counts).member("slave_ids", &others);
    });
    document.end()
}

impl Counts {
    fn count(&mut self, state: TaskState) {
        let counter = match state {
            TaskState::TaskStaging => &mut self.task_staging,
            TaskState::TaskStarting => &mut self.task_starting,
            TaskState::TaskRunning => &mut self.task_running,
            TaskState::TaskKilling => &mut self.task_killing,
            TaskState::TaskFinished => &mut self.task_finished,
            TaskState::TaskKilled => &mut self.task_killed,
            TaskState::TaskFailed => &mut self.task_failed,
            TaskState::TaskLost => &mut self.task_lost,
            TaskState::TaskError => &mut self.task_error,
            TaskState::TaskUnreachable => &mut self.task_unreachable,
            TaskState::TaskDropped | TaskState::TaskGone | TaskState::TaskGoneByOperator | TaskState::TaskUnknown => {
                return;
            }
        };
        *counter += 1;
    }
}
