//! Nobody waits for ever (docs/architecture.md, 8): when all faults are over and the bounded time to come to rest has
//! passed, every agent is registered, every wanted task runs once and nothing else does, framework, master and machine
//! agree on it, and no update waits for its acknowledgement.

use std::collections::{BTreeMap, BTreeSet};

use mezzo_agent_core::view::ExecutorState;
use mezzo_api::{ids::ContainerId, v1::TaskState};
use mezzo_sdk_core::supervisor::Supervisor;

use super::{Books, Invariant};
use crate::{
    fact::Fact,
    plan::Character,
    scheduler::guest,
    world::{AgentMachine, Author, FrameworkMachine, World},
};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Liveness;

impl Invariant for Liveness {
    fn name(&self) -> &'static str {
        "liveness"
    }

    #[inline]
    fn see(&mut self, _fact: &Fact, _books: &Books, _world: &World) -> Result<(), String> {
        Ok(())
    }

    fn finish(&mut self, _books: &Books, world: &World) -> Result<(), String> {
        if world.leader.is_none() || world.masters.len() != 1 {
            return Err(format!("{} masters live, the leader is {:?}", world.masters.len(), world.leader));
        }
        for machine in &world.agents {
            agent_is_at_rest(machine)?;
        }
        for machine in &world.frameworks {
            match machine.character {
                Character::Keeper | Character::Supervised => framework_is_at_rest(machine, world)?,
                Character::Guest | Character::Hostile => {}
            }
        }
        executors_agree(world)?;
        nothing_else_runs(world)
    }
}

fn agent_is_at_rest(machine: &AgentMachine) -> Result<(), String> {
    let number = machine.number;
    let agent = machine.agent.as_ref().ok_or(format!("agent{number} does not run"))?;
    let view = agent.core.view();
    if !view.registered {
        return Err(format!("agent{number} is not registered"));
    }
    for executor in view.frameworks.iter().flat_map(|framework| &framework.executors) {
        if let Some(task) = executor.terminated.first() {
            return Err(format!("the end of {} is not acknowledged on agent{number}", task.task_id.value));
        }
        if executor.state == ExecutorState::Terminated {
            return Err(format!(
                "executor {} of agent{number} has ended and is still there",
                executor.info.executor_id.value
            ));
        }
    }
    Ok(())
}

fn framework_is_at_rest(machine: &FrameworkMachine, world: &World) -> Result<(), String> {
    let number = machine.number;
    let scheduler = machine.scheduler.as_ref().ok_or(format!("framework{number} does not run"))?;
    let id = scheduler.core.framework_id().map(|id| id.value.clone()).unwrap_or_default();
    let believed = match &scheduler.author {
        Author::Keeper(keeper) => {
            let running = keeper.tasks.iter().filter(|(_, known)| known.state == TaskState::TaskRunning);
            let believed: BTreeSet<String> = running.map(|(id, _)| id.clone()).collect();
            if believed.len() != keeper.tasks.len() || believed.len() != keeper.wanted {
                let (wanted, tasks) = (keeper.wanted, &keeper.tasks);
                return Err(format!("framework{number} wants {wanted} tasks and knows of {tasks:?}"));
            }
            believed
        }
        Author::Guest(run) => supervised_tasks(machine, run)?,
    };
    let actual = running(world, |framework| framework == id);
    if actual != believed {
        return Err(format!("framework{number} believes in {believed:?}, and {actual:?} run"));
    }
    Ok(())
}

/// The tasks of a supervisor that has what it wants.
fn supervised_tasks(machine: &FrameworkMachine, run: &guest::Run) -> Result<BTreeSet<String>, String> {
    let number = machine.number;
    let supervisor = run.as_ref::<Supervisor>().ok_or(format!("framework{number} is no supervisor"))?;
    let summary = supervisor.summary(guest::GROUP).unwrap_or_default();
    if summary.ready != machine.wanted || summary.outdated > 0 || summary.waiting > 0 {
        return Err(format!("framework{number} wants {} tasks and has {summary:?}", machine.wanted));
    }
    let tasks: BTreeSet<String> =
        supervisor.instances(guest::GROUP).into_iter().map(|instance| instance.task_id).collect();
    if tasks.len() != machine.wanted {
        return Err(format!("framework{number} wants {} tasks and knows of {tasks:?}", machine.wanted));
    }
    Ok(tasks)
}

/// The tasks that run on some machine, of frameworks that are wanted. One that runs twice shows as one too many.
fn running(world: &World, wanted: impl Fn(&str) -> bool) -> BTreeSet<String> {
    let mut tasks = BTreeSet::new();
    for agent in world.agents.iter().filter_map(|machine| machine.agent.as_ref()) {
        for framework in agent.core.view().frameworks {
            let id = framework.info.id.as_ref().map_or("", |id| id.value.as_str());
            if !wanted(id) {
                continue;
            }
            for executor in framework.executors {
                for task in executor.tasks {
                    let id = task.task_id.value.clone();
                    if !tasks.insert(id.clone()) {
                        tasks.insert(format!("{id} (again)"));
                    }
                }
                tasks.extend(executor.queued.iter().map(|task| format!("{} (queued)", task.task_id.value)));
            }
        }
    }
    tasks
}

/// A custom executor has told all that it knows, and runs what its agent has given to it.
fn executors_agree(world: &World) -> Result<(), String> {
    let mut given: BTreeMap<ContainerId, BTreeSet<String>> = BTreeMap::new();
    for agent in world.agents.iter().filter_map(|machine| machine.agent.as_ref()) {
        for executor in agent.core.view().frameworks.iter().flat_map(|framework| &framework.executors) {
            let tasks = executor.tasks.iter().map(|task| task.task_id.value.clone());
            given.insert(executor.container_id.clone(), tasks.collect());
        }
    }
    for (container, tasks, unacknowledged) in world.executors() {
        if unacknowledged > 0 {
            return Err(format!("the executor in {container} has {unacknowledged} updates that nobody acknowledges"));
        }
        let tasks: BTreeSet<String> = tasks.into_iter().map(str::to_owned).collect();
        if given.get(container).is_some_and(|given| *given != tasks) {
            return Err(format!(
                "the executor in {container} runs {tasks:?}, its agent gave it {:?}",
                given[container]
            ));
        }
    }
    Ok(())
}

/// Of frameworks that nobody drives nothing runs any more, and no process is left that no agent knows.
fn nothing_else_runs(world: &World) -> Result<(), String> {
    let driven: BTreeSet<String> = world
        .frameworks
        .iter()
        .filter_map(|machine| machine.scheduler.as_ref())
        .filter_map(|scheduler| scheduler.core.framework_id().map(|id| id.value.clone()))
        .collect();
    let patient: BTreeSet<&String> = world
        .frameworks
        .iter()
        .filter(|machine| machine.failover_timeout().as_secs() > 1000)
        .flat_map(|machine| &machine.ids)
        .collect();
    let orphans = running(world, |framework| !driven.contains(framework) && !patient.contains(&framework.to_owned()));
    if let Some(orphan) = orphans.first() {
        return Err(format!("{orphan} runs for a framework that is gone"));
    }
    for machine in &world.agents {
        let Some(agent) = &machine.agent else { continue };
        let view = agent.core.view();
        let known: BTreeSet<_> = view
            .frameworks
            .iter()
            .flat_map(|framework| &framework.executors)
            .flat_map(|executor| executor.nested.iter().chain([&executor.container_id]).cloned().collect::<Vec<_>>())
            .collect();
        if let Some((id, _)) = machine.containers.iter().find(|(id, _)| !known.contains(*id)) {
            return Err(format!("container {id} of agent{} belongs to nobody", machine.number));
        }
    }
    Ok(())
}
