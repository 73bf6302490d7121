//! LAUNCH_GROUP: all tasks of the group or none.

use mezzo_api::{
    link,
    resources::Resources,
    time::Now,
    v1::{TaskGroupInfo, task_status::Reason},
};

use super::Ground;
use crate::{
    core::Core,
    effect::Effects,
    tasks::task_of,
    validate::{
        Invalid,
        group::{self, PreparedGroup},
        task::Site,
    },
};

impl Core {
    pub(super) fn launch_group(&mut self, now: Now, ground: &mut Ground, group: PreparedGroup, out: &mut Effects) {
        let wanted: Resources = group.tasks.iter().map(|task| &task.resources).chain([&group.executor_resources]).sum();
        self.share(now, ground, &wanted);
        let (Some(framework), Some(agent)) = (self.frameworks.get(ground.framework), self.agents.get(ground.agent))
        else {
            return;
        };
        let site = Site { framework, key: ground.framework, agent };
        let (consumed, launch_executor) = match group::validate(&group, &site, &ground.remaining) {
            Ok(valid) => valid,
            Err(Invalid(message)) => {
                tracing::info!(framework = %framework.id, message, "refused a task group");
                let tasks = group.tasks.iter().map(|task| &task.info);
                self.err_tasks(now, ground.framework, tasks, Reason::TaskGroupInvalid, &message, out);
                return;
            }
        };
        let (framework_id, framework_info) = (framework.id.clone(), framework.info.clone());
        let resource_version = agent.resource_version.clone();
        ground.remaining -= &consumed;
        ground.progressed = true;
        if launch_executor {
            let info = group.executor.clone();
            self.insert_executor(ground.framework, ground.agent, info, group.executor_resources, out);
        }
        let mut tasks = Vec::with_capacity(group.tasks.len());
        for task in group.tasks {
            let record = task_of(&task.info, &framework_id);
            self.add_task(ground.framework, ground.agent, record, task.resources, out);
            tasks.push(task.info);
        }
        let message = link::RunTaskGroup {
            framework: (*framework_info).clone(),
            executor: group.executor,
            task_group: TaskGroupInfo { tasks },
            launch_executor,
            resource_version,
        };
        self.tell(ground.agent, link::to_agent::Message::RunTaskGroup(Box::new(message)), out);
    }
}
