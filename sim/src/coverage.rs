//! What runs have reached: each input of each core, by the state in which it came.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
};

use foldhash::HashMap;
use mezzo_api::{
    ids::{AgentId, ContainerId},
    link::{from_agent, to_agent},
    v1::scheduler::event,
};
use mezzo_master_core::{input::RequestId, registry::RegistryError};

use crate::{
    fact::Fact,
    invariants::{Books, is_stream},
    world::World,
};

/// A table, an input, and the state in which it came.
type Entry = (&'static str, Cow<'static, str>, &'static str);

/// Counts by input and state.
#[derive(Clone, Debug, Default)]
pub struct Coverage {
    counts: HashMap<Entry, u64>,
    /// What operators asked for that is not answered.
    asked: BTreeMap<RequestId, &'static str>,
    /// Containers that have just ended, of which is not known yet how.
    ended: BTreeSet<(u16, ContainerId)>,
}

/// The states of each table, so that what was never reached shows.
const TABLES: [(&str, &[&str]); 5] = [
    ("an agent's message to the master", &["known", "first on its link", "awaited", "unreachable", "unknown"]),
    ("a framework's call to the master", &["current stream", "another stream", "away", "unknown"]),
    ("a master's message to the agent", &["registered", "not registered", "recovering"]),
    ("a master's event to the driver", &["of the leader", "of another master"]),
    ("a container's end to the agent", &["registered", "not registered", "recovering", "away"]),
];

impl Coverage {
    /// Takes note of a fact; `books` are as they were before it.
    pub fn see(&mut self, fact: &Fact, books: &Books, world: &World) {
        if !self.ended.is_empty() && !matches!(fact, Fact::Limited(..)) {
            self.count_ends(world);
        }
        match fact {
            Fact::FromAgent(master, link, message) => {
                let known = books.masters.get(master).is_some_and(|master| master.links.contains_key(link));
                let state = if known { "known" } else { newcomer(message, world) };
                self.count(TABLES[0].0, kind_from(message), state);
            }
            Fact::Called(master, _, stream_id, call) => {
                let id = call.framework_id.as_ref().map_or("", |id| id.value.as_str());
                let framework = books.masters.get(master).and_then(|master| master.frameworks.get(id));
                let state = match framework.map(|framework| framework.stream) {
                    None => "unknown",
                    Some(None) => "away",
                    Some(stream) if is_stream(stream, stream_id) => "current stream",
                    Some(_) => "another stream",
                };
                self.count(TABLES[1].0, call.r#type().as_str_name(), state);
            }
            Fact::Heard { agent, message, .. } => {
                self.count(TABLES[2].0, kind_to(message), agent_state(world, *agent));
            }
            Fact::Delivered { event, of_leader, .. } => {
                let state = if *of_leader { "of the leader" } else { "of another master" };
                let kind = event.r#type();
                let name = match (&event.update, kind) {
                    (Some(update), event::Type::Update) => update.status.state().as_str_name(),
                    _ => kind.as_str_name(),
                };
                self.count(TABLES[3].0, name, state);
            }
            Fact::Written(_, result) => {
                let name = match result {
                    Ok(()) => "done",
                    Err(RegistryError::Unknown) => "unknown",
                    Err(RegistryError::Fenced) => "fenced",
                };
                self.count("the end of a registry write", name, "in flight");
            }
            Fact::Operated(_, request, call) => {
                self.asked.insert(*request, crate::fact::operator(call));
            }
            Fact::OperatorTold(_, request, status) => {
                let state = match status {
                    ..300 => "done",
                    409 => "in conflict",
                    503 => "no leader",
                    _ => "refused",
                };
                if let Some(name) = self.asked.remove(request) {
                    self.count("an operator's call to the master", name, state);
                }
            }
            Fact::ContainerEnded(agent, container, ..) => {
                self.ended.insert((*agent, container.clone()));
            }
            Fact::Limited(agent, launch) => {
                self.ended.remove(&(*agent, launch.container_id.clone()));
                self.count(TABLES[4].0, "LIMITED", agent_state(world, *agent));
            }
            Fact::Unlaunched(agent, _) => self.count(TABLES[4].0, "FAILED", agent_state(world, *agent)),
            Fact::Listed(master, hosts) => {
                let offers = books.masters.get(master).is_some_and(|master| !master.offers.is_empty());
                let state = if offers { "offers are out" } else { "nothing is offered" };
                self.count("the whitelist to the master", if hosts.is_some() { "SOME" } else { "ALL" }, state);
            }
            Fact::Fault(text) => {
                let words: Vec<&str> = text.split(|c: char| c.is_ascii_digit()).collect();
                self.count("a fault", words.first().unwrap_or(&"").trim().to_owned(), "at all");
            }
            _ => {}
        }
    }

    /// Ends of the last step that were nothing but ends.
    fn count_ends(&mut self, world: &World) {
        for (agent, _) in std::mem::take(&mut self.ended) {
            self.count(TABLES[4].0, "EXITED", agent_state(world, agent));
        }
    }

    fn count(&mut self, table: &'static str, input: impl Into<Cow<'static, str>>, state: &'static str) {
        *self.counts.entry((table, input.into(), state)).or_default() += 1;
    }

    /// Adds another run's counts.
    pub fn add(&mut self, other: &Self) {
        for (entry, count) in &other.counts {
            *self.counts.entry(entry.clone()).or_default() += count;
        }
    }

    /// As text: a table for each kind of input, a line for each input, a count for each state.
    pub fn table(&self) -> Vec<String> {
        let mut tables: BTreeMap<&str, BTreeMap<(Cow<'static, str>, &'static str), u64>> = BTreeMap::new();
        for ((table, input, state), count) in &self.counts {
            tables.entry(table).or_default().insert((input.clone(), *state), *count);
        }
        let mut lines = Vec::new();
        for (table, counts) in &tables {
            let known = TABLES.iter().find(|(name, _)| name == table).map(|(_, states)| states.to_vec());
            let mut states = known.unwrap_or_default();
            for (_, state) in counts.keys() {
                if !states.contains(state) {
                    states.push(state);
                }
            }
            lines.push(format!("{table}: {}", states.join(" | ")));
            let mut inputs: Vec<&Cow<'static, str>> = counts.keys().map(|(input, _)| input).collect();
            inputs.dedup();
            for input in inputs {
                let of_state = |state: &&'static str| counts.get(&(input.clone(), *state)).copied().unwrap_or_default();
                let numbers: Vec<String> = states.iter().map(|state| of_state(state).to_string()).collect();
                lines.push(format!("  {input:40} {}", numbers.join(" | ")));
            }
        }
        lines
    }
}

fn agent_state(world: &World, agent: u16) -> &'static str {
    match &world.agents[usize::from(agent)].agent {
        None => "away",
        Some(agent) if agent.core.is_recovering() => "recovering",
        Some(agent) if agent.core.is_registered() => "registered",
        Some(_) => "not registered",
    }
}

/// What the registry knows of an agent that speaks first on its link.
fn newcomer(message: &from_agent::Message, world: &World) -> &'static str {
    let from_agent::Message::Reregister(report) = message else { return "first on its link" };
    let Some(id) = report.register.agent.id.as_ref().map(AgentId::from) else { return "unknown" };
    let content = &world.registry.content;
    if content.unreachable.contains_key(&id) {
        "unreachable"
    } else if content.agents.contains_key(&id) {
        "awaited"
    } else {
        "unknown"
    }
}

fn kind_from(message: &from_agent::Message) -> &'static str {
    use from_agent::Message;
    match message {
        Message::Register(_) => "REGISTER",
        Message::Reregister(_) => "REREGISTER",
        Message::Pong(_) => "PONG",
        Message::StatusUpdate(_) => "UPDATE",
        Message::ExecutorMessage(_) => "EXECUTOR MESSAGE",
        Message::ExitedExecutor(_) => "EXITED EXECUTOR",
        Message::Unregister(_) => "UNREGISTER",
        Message::OperationStatus(_) => "OPERATION STATUS",
        Message::ResourcesChanged(_) => "RESOURCES CHANGED",
    }
}

fn kind_to(message: &to_agent::Message) -> &'static str {
    use to_agent::Message;
    match message {
        Message::Registered(_) => "REGISTERED",
        Message::Reregistered(_) => "REREGISTERED",
        Message::Ping(_) => "PING",
        Message::RunTask(_) => "RUN TASK",
        Message::RunTaskGroup(_) => "RUN TASK GROUP",
        Message::KillTask(_) => "KILL TASK",
        Message::ShutdownExecutor(_) => "SHUTDOWN EXECUTOR",
        Message::ShutdownFramework(_) => "SHUTDOWN FRAMEWORK",
        Message::FrameworkMessage(_) => "FRAMEWORK MESSAGE",
        Message::Acknowledge(_) => "ACKNOWLEDGE",
        Message::UpdateFramework(_) => "UPDATE FRAMEWORK",
        Message::Shutdown(_) => "SHUTDOWN",
        Message::OpenBulk(_) => "OPEN BULK",
        Message::ApplyOperation(_) => "APPLY OPERATION",
        Message::AcknowledgeOperation(_) => "ACKNOWLEDGE OPERATION",
        Message::Notice(_) => "NOTICE",
        Message::DrainAgent(_) => "DRAIN AGENT",
    }
}
