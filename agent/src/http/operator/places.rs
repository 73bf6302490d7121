//! Which container an id means: one of the core's, or one that a call was for.

use std::path::PathBuf;

use mezzo_agent_core::view::{ExecutorState, ExecutorView, FrameworkView, View};
use mezzo_api::{
    ids::ContainerId,
    v1::{ContainerInfo, Task},
};

use crate::called::{ContainerPath, Found};

/// A container of the core's.
#[derive(Clone, Copy, Debug)]
pub(super) struct Own<'a> {
    pub(super) framework: &'a FrameworkView,
    pub(super) executor: &'a ExecutorView,
    /// It is that of a task of a pod, within the executor's.
    pub(super) nested: Option<&'a ContainerId>,
}

/// The executor's container that is the root of `path`.
pub(super) fn root<'a>(view: &'a View, path: &ContainerPath) -> Option<Own<'a>> {
    view.frameworks.iter().find_map(|framework| {
        let executor = framework.executors.iter().find(|executor| {
            executor.container_id.as_str() == path.root() && executor.state != ExecutorState::Terminated
        })?;
        Some(Own { framework, executor, nested: None })
    })
}

/// The container of the core's that `path` means.
pub(super) fn own<'a>(view: &'a View, path: &ContainerPath) -> Option<Own<'a>> {
    let root = root(view, path)?;
    match path.parts() {
        [_] => Some(root),
        [_, task] => {
            let nested = root.executor.nested.iter().find(|id| id.as_str() == task)?;
            Some(Own { nested: Some(nested), ..root })
        }
        _ => None,
    }
}

impl Own<'_> {
    /// What the containerizer calls it.
    pub(super) fn id(&self) -> ContainerId {
        self.nested.unwrap_or(&self.executor.container_id).clone()
    }

    /// It is the container of a pod, which has no process.
    pub(super) fn is_empty(&self) -> bool {
        self.nested.is_none() && self.executor.pid.is_none() && !self.executor.nested.is_empty()
    }

    /// Its sandbox.
    pub(super) fn sandbox(&self) -> PathBuf {
        match self.nested {
            Some(id) => self.executor.directory.join("containers").join(id.as_str()),
            None => self.executor.directory.to_path_buf(),
        }
    }

    /// The task of a pod that it is the container of.
    fn task(&self) -> Option<&Task> {
        let id = self.nested?;
        let is_its = |task: &&std::sync::Arc<Task>| {
            task.statuses.iter().any(|status| {
                let container = status.container_status.as_ref().and_then(|status| status.container_id.as_ref());
                container.is_some_and(|container| container.value == id.as_str())
            })
        };
        self.executor.tasks.iter().find(is_its).map(std::sync::Arc::as_ref)
    }

    /// As its framework describes it.
    fn info(&self) -> Option<ContainerInfo> {
        match self.nested {
            Some(_) => self.task()?.container.as_deref().cloned(),
            None => self.executor.info.container.as_deref().cloned(),
        }
    }

    /// Whom it runs as, with `--switch_user`.
    pub(super) fn user(&self) -> String {
        let of_task = self.task().and_then(|task| task.user.clone());
        let of_executor = self.executor.info.command.as_ref().and_then(|command| command.user.clone());
        of_task.or(of_executor.filter(|_| self.nested.is_none())).unwrap_or_else(|| self.framework.info.user.clone())
    }
}

/// What launches need to know of a container that others are within.
#[derive(Debug)]
pub(super) struct Parent {
    /// What the containerizer calls it.
    pub(super) id: ContainerId,
    pub(super) sandbox: PathBuf,
    pub(super) user: Option<String>,
    /// It has no process to be entered.
    pub(super) is_empty: bool,
    /// As its framework describes it.
    pub(super) info: Option<ContainerInfo>,
}

impl Parent {
    pub(super) fn of_own(own: &Own<'_>, switch_user: bool) -> Self {
        Self {
            id: own.id(),
            sandbox: own.sandbox(),
            user: switch_user.then(|| own.user()),
            is_empty: own.is_empty(),
            info: own.info(),
        }
    }

    pub(super) fn of_called(found: &Found) -> Self {
        Self {
            id: found.meta.path.id(),
            sandbox: found.meta.sandbox.clone(),
            user: found.meta.user.clone(),
            is_empty: false,
            info: None,
        }
    }
}
