//! LAUNCH: one task at a time, each out of what the earlier ones left.

use mezzo_api::{link, time::Now, v1::task_status::Reason};

use super::Ground;
use crate::{
    core::Core,
    effect::Effects,
    tasks::task_of,
    validate::task::{self, Prepared, Site},
};

impl Core {
    pub(super) fn launch(&mut self, now: Now, ground: &mut Ground, task: Prepared, out: &mut Effects) {
        self.share(now, ground, &(&task.resources + &task.executor_resources));
        let (Some(framework), Some(agent)) = (self.frameworks.get(ground.framework), self.agents.get(ground.agent))
        else {
            return;
        };
        let site = Site { framework, key: ground.framework, agent };
        let launchable = match task::validate(&task, &site, &ground.remaining) {
            Ok(launchable) => launchable,
            Err(invalid) => {
                let message = invalid.to_string();
                self.err_tasks(now, ground.framework, [&task.info], Reason::TaskInvalid, &message, out);
                return;
            }
        };
        let framework_info = framework.info.clone();
        let resource_version = agent.resource_version.clone();
        let record = task_of(&task.info, &framework.id);
        ground.remaining -= &launchable.consumed;
        ground.progressed = true;
        if let Some(executor) = task.info.executor.as_deref().filter(|_| launchable.launch_executor) {
            self.insert_executor(ground.framework, ground.agent, executor.clone(), task.executor_resources, out);
        }
        self.add_task(ground.framework, ground.agent, record, task.resources, out);
        let message = link::RunTask {
            framework: (*framework_info).clone(),
            task: task.info,
            launch_executor: launchable.launch_executor,
            resource_version,
        };
        self.tell(ground.agent, link::to_agent::Message::RunTask(Box::new(message)), out);
    }
}
