//! The agent's picture as messages (src/slave/http.cpp, getTasks and its kind).

use mezzo_agent_core::{
    staging,
    view::{ExecutorView, FrameworkView, View},
};
use mezzo_api::{
    ids::FrameworkId,
    v1::{
        self,
        agent::{
            Call, Response as Answer, call,
            response::{
                self, GetAgent, GetContainers, GetExecutors, GetFrameworks, GetOperations, GetResourceProviders,
                GetState, GetTasks, get_executors, get_frameworks,
            },
        },
    },
};

use super::{
    super::{Door, containers},
    of,
};
use crate::called::Kind;

/// Answers the calls that only read.
pub(super) fn of_view(view: &View, call: &Call) -> Option<Answer> {
    Some(match call.r#type() {
        call::Type::GetAgent => Answer { get_agent: Some(agent(view)), ..of(response::Type::GetAgent) },
        call::Type::GetTasks => Answer { get_tasks: Some(tasks(view)), ..of(response::Type::GetTasks) },
        call::Type::GetExecutors => Answer { get_executors: Some(executors(view)), ..of(response::Type::GetExecutors) },
        call::Type::GetFrameworks => {
            Answer { get_frameworks: Some(frameworks(view)), ..of(response::Type::GetFrameworks) }
        }
        call::Type::GetState => {
            let get_state = GetState {
                get_tasks: Some(tasks(view)),
                get_executors: Some(executors(view)),
                get_frameworks: Some(frameworks(view)),
            };
            Answer { get_state: Some(get_state), ..of(response::Type::GetState) }
        }
        call::Type::GetOperations => {
            let get_operations = GetOperations { operations: view.operations.clone() };
            Answer { get_operations: Some(get_operations), ..of(response::Type::GetOperations) }
        }
        call::Type::GetResourceProviders => Answer {
            get_resource_providers: Some(GetResourceProviders::default()),
            ..of(response::Type::GetResourceProviders)
        },
        _ => return None,
    })
}

/// GET_CONTAINERS: executors', and what else is asked for. A nested one shows its whole id only in its status, as in
/// Mesos (src/slave/http.cpp, __containers).
pub(super) async fn containers(door: &Door, view: &View, wanted: &call::GetContainers) -> Answer {
    let mut containers = containers::messages(view, &door.accounts);
    if wanted.show_nested() {
        containers.extend(containers::nested(view));
    }
    if wanted.show_nested() || wanted.show_standalone() {
        for found in door.calls.list().await {
            let shown = match found.meta.kind {
                Kind::Nested | Kind::Session => wanted.show_nested(),
                Kind::Standalone => wanted.show_standalone(),
            };
            if shown {
                let processes = door.containers.processes(found.meta.path.id()).await;
                let pid = processes.map(|processes| processes.task.pid);
                containers.push(containers::called(&found.meta.path.proto(), pid));
            }
        }
    }
    Answer { get_containers: Some(GetContainers { containers }), ..of(response::Type::GetContainers) }
}

fn agent(view: &View) -> GetAgent {
    let mut info = (*view.info).clone();
    info.id = view.agent_id.as_ref().map(mezzo_api::ids::AgentId::proto);
    GetAgent { agent_info: Some(info), ..GetAgent::default() }
}

fn all(view: &View) -> impl Iterator<Item = &FrameworkView> {
    view.frameworks.iter().chain(&view.completed_frameworks)
}

fn tasks(view: &View) -> GetTasks {
    let mut out = GetTasks::default();
    for framework in all(view) {
        let id = framework.info.id.as_ref().map(FrameworkId::from);
        let completed = framework.completed_executors.iter().map(|executor| &**executor);
        for executor in framework.executors.iter().chain(completed) {
            let id = id.as_ref();
            out.queued_tasks.extend(id.into_iter().flat_map(|id| executor.queued.iter().map(|task| staging(task, id))));
            out.launched_tasks.extend(plain(&executor.tasks));
            out.terminated_tasks.extend(plain(&executor.terminated));
            out.completed_tasks.extend(plain(&executor.completed));
        }
    }
    out
}

fn plain(tasks: &[std::sync::Arc<v1::Task>]) -> impl Iterator<Item = v1::Task> {
    tasks.iter().map(|task| (**task).clone())
}

fn executors(view: &View) -> GetExecutors {
    let executor = |view: &ExecutorView| get_executors::Executor { executor_info: (*view.info).clone() };
    GetExecutors {
        executors: view.frameworks.iter().flat_map(|framework| &framework.executors).map(executor).collect(),
        completed_executors: all(view)
            .flat_map(|framework| &framework.completed_executors)
            .map(|view| executor(view))
            .collect(),
    }
}

fn frameworks(view: &View) -> GetFrameworks {
    let framework = |view: &FrameworkView| get_frameworks::Framework { framework_info: (*view.info).clone() };
    GetFrameworks {
        frameworks: view.frameworks.iter().map(framework).collect(),
        completed_frameworks: view.completed_frameworks.iter().map(framework).collect(),
    }
}
