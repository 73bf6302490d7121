//! What a returning agent reports: put together from its chunks, read, and made comparable to the books.

use std::collections::BTreeSet;

use mezzo_api::{
    ids::AgentId,
    link::{self, to_agent},
    resources::Resources,
    time::Now,
    v1::{ExecutorInfo, FrameworkInfo, Resource, Task, resource::AllocationInfo},
};

use super::reregister::{Return, Were};
use crate::{
    core::Core,
    counters::Counter,
    effect::{CloseReason, Effects},
    input::LinkId,
    maintenance::DOWN,
    operations::total_of,
    registry::RegistryOp,
    validate::{framework::roles_of, validate_id},
    writes::Pending,
};

/// More entries than this in one report are taken for a fault.
const MAX_ENTRIES: usize = 2_000_000;
/// An ended task, as a report holds it, is hardly smaller than this, in bytes.
const SMALLEST_TASK: usize = 64;

impl Core {
    pub(super) fn on_report(&mut self, now: Now, link_id: LinkId, chunk: link::Reregister, out: &mut Effects) {
        let Some(link) = self.agents.links.get_mut(&link_id) else { return };
        if link.waiting {
            return; // the report before it is being written down
        }
        let last = chunk.last;
        match &mut link.report {
            Some(report) if report.report == chunk.report => extend(report, chunk),
            _ => link.report = Some(Box::new(chunk)),
        }
        let too_long = link.report.as_ref().is_some_and(|report| entries(report) > MAX_ENTRIES);
        if too_long {
            tracing::warn!(link = link_id.0, "refusing an agent whose report is too long");
            self.close_link(now, link_id, CloseReason::Protocol, out);
        } else if last && let Some(report) = link.report.take() {
            self.counters.increment(Counter::MessagesReregisterSlave);
            self.on_full_report(now, link_id, report, out);
        }
    }

    pub(super) fn on_full_report(
        &mut self,
        now: Now,
        link_id: LinkId,
        report: Box<link::Reregister>,
        out: &mut Effects,
    ) {
        let info = &report.register.agent;
        let description = self.agents.kinds.describe(info);
        let valid = total_of(&description, &report.register.checkpointed_resources).is_ok();
        let Some(id) = info.id.as_ref().filter(|id| valid && validate_id(&id.value).is_ok()).map(AgentId::from) else {
            tracing::warn!(link = link_id.0, "refusing an agent with an invalid description");
            self.close_link(now, link_id, CloseReason::Protocol, out);
            return;
        };
        let speaker = self.agents.links.get(&link_id).and_then(|link| self.agents.get(link.agent?));
        if speaker.is_some_and(|agent| agent.id != id) {
            tracing::warn!(link = link_id.0, agent = %id, "refusing a link that changes its agent");
            self.close_link(now, link_id, CloseReason::Protocol, out);
            return;
        }
        if self.agents.gone.contains_key(&id) {
            self.shut_down(now, link_id, "Agent has been marked gone", out);
            return;
        }
        if let Err(reason) = self.admissible(info) {
            let hostname = info.hostname.clone();
            self.refuse(now, link_id, &hostname, &reason, out);
            return;
        }
        let peer = self.agents.links.get(&link_id).map(|link| link.peer);
        if peer.is_some_and(|peer| self.is_down(&report.register, peer)) {
            self.shut_down(now, link_id, DOWN, out);
            return;
        }
        if let Some(parked) = self.agents.writing.get_mut(&id) {
            // It is heard when the write in flight has ended.
            *parked = Some(link_id);
            if let Some(link) = self.agents.links.get_mut(&link_id) {
                link.waiting = true;
                link.report = Some(report);
            }
            return;
        }
        let (were, known_info) = if let Some(agent) = self.agents.find(id.as_str()).and_then(|key| self.agents.get(key))
        {
            if agent.info.hostname() != info.hostname {
                self.shut_down(now, link_id, "Agent attempted to reregister with different hostname", out);
                return;
            }
            (Were::Known, Some(agent.info.clone()))
        } else if let Some(known) = self.agents.recovered.get(&id) {
            (Were::Recovered, Some(known.clone()))
        } else if self.agents.unreachable.contains_key(&id) {
            (Were::Unreachable, None)
        } else {
            (Were::Unknown, None)
        };
        let unchanged = known_info.is_some_and(|known| known == description);
        let info = info.clone();
        let back = Return { link: link_id, id: id.clone(), report, were };
        if unchanged {
            self.readmit(now, back, out);
            return;
        }
        if let Some(link) = self.agents.links.get_mut(&link_id) {
            link.waiting = true;
        }
        self.agents.writing.insert(id, None);
        self.write(vec![RegistryOp::PutAgent(Box::new(info))], Pending::Return(Box::new(back)), out);
    }

    pub(super) fn shut_down(&mut self, now: Now, link: LinkId, reason: &str, out: &mut Effects) {
        tracing::warn!(link = link.0, reason, "telling an agent to shut down");
        self.tell_link(link, to_agent::Message::Shutdown(link::Shutdown { reason: reason.to_owned() }), out);
        self.close_link(now, link, CloseReason::Shutdown, out);
    }

    /// A write about the agent has ended: a report that came meanwhile is heard now.
    pub(super) fn end_write_of(&mut self, now: Now, id: &AgentId, out: &mut Effects) {
        let Some(Some(parked)) = self.agents.writing.remove(id) else { return };
        let Some(link) = self.agents.links.get_mut(&parked) else { return };
        link.waiting = false;
        if let Some(report) = link.report.take() {
            self.on_full_report(now, parked, report, out);
        }
    }
}

fn entries(report: &link::Reregister) -> usize {
    let ended: usize = report.completed_tasks.iter().map(|history| 1 + history.tasks.len() / SMALLEST_TASK).sum();
    report.tasks.len() + report.executors.len() + report.frameworks.len() + report.operations.len() + ended
}

fn extend(report: &mut link::Reregister, chunk: link::Reregister) {
    report.frameworks.extend(chunk.frameworks);
    report.executors.extend(chunk.executors);
    report.tasks.extend(chunk.tasks);
    report.completed_frameworks.extend(chunk.completed_frameworks);
    report.completed_tasks.extend(chunk.completed_tasks);
    report.operations.extend(chunk.operations);
}

/// A task or executor with its resources read.
pub(super) struct Reported<T> {
    pub(super) item: T,
    pub(super) resources: Resources,
}

/// Reads a task's resources; `None` if they are not valid.
pub(super) fn read_task(mut task: Task, framework: &FrameworkInfo) -> Option<Reported<Task>> {
    let resources = read(&mut task.resources, framework)?;
    Some(Reported { item: task, resources })
}

/// Reads an executor's resources; `None` if they are not valid.
pub(super) fn read_executor(mut executor: ExecutorInfo, framework: &FrameworkInfo) -> Option<Reported<ExecutorInfo>> {
    let resources = read(&mut executor.resources, framework)?;
    Some(Reported { item: executor, resources })
}

/// Resources that name no role are the framework's only role's.
fn read(protos: &mut [Resource], framework: &FrameworkInfo) -> Option<Resources> {
    for proto in protos.iter_mut() {
        let info = proto.allocation_info.get_or_insert_with(AllocationInfo::default);
        if info.role.is_none() {
            info.role = Some(roles_of(framework).pop_first().unwrap_or_else(|| "*".to_owned()));
        }
    }
    match Resources::from_protos(protos) {
        Ok(resources) => Some(resources),
        Err(error) => {
            tracing::warn!(%error, "an agent reports invalid resources");
            None
        }
    }
}

/// Executors that the agent made up for command tasks: they hold nothing in the master's books.
pub(super) fn generated_executors(report: &link::Reregister) -> BTreeSet<(String, String)> {
    let of_tasks = report.tasks.iter().filter(|task| task.executor_id.is_none());
    let mut generated: BTreeSet<_> =
        of_tasks.map(|task| (task.framework_id.value.clone(), task.task_id.value.clone())).collect();
    // Such an executor may outlive its task for a moment (src/slave/slave.cpp, getExecutorInfo, gives the name).
    for executor in &report.executors {
        let id = &executor.executor_id.value;
        if executor.name().starts_with(&format!("Command Executor (Task: {id})")) {
            let framework = executor.framework_id.as_ref().map(|id| id.value.clone()).unwrap_or_default();
            generated.insert((framework, id.clone()));
        }
    }
    generated
}
