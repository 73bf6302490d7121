//! The agent under real work: pods, checks, recovery, a full disk.

mod checks;
mod disk;
mod drains;
mod failpoints;
mod fetching;
mod logs;
mod pods;
mod recovery;

use mezzo_tests::{cluster::Cluster, framework::Framework, tasks};
use serde_json::{Value, json};

fn framework(cluster: &Cluster, name: &str) -> Framework {
    Framework::subscribe(cluster.master_address, tasks::framework_info(name, "dev"))
}

/// The default executor.
pub(crate) fn pod(framework: &Framework, id: &str) -> Value {
    json!({
        "type": "DEFAULT",
        "executor_id": {"value": id},
        "framework_id": {"value": framework.id},
        "resources": [tasks::scalar("cpus", 0.1), tasks::scalar("mem", 32.0), tasks::scalar("disk", 1.0)],
    })
}

/// A LAUNCH_GROUP of these tasks, given as (id, command).
fn group(framework: &mut Framework, executor: &str, of: &[(&str, &str)]) {
    let offer = framework.wait_any_offer();
    let agent = tasks::agent_of(&offer).to_owned();
    let list: Vec<Value> = of.iter().map(|(id, command)| tasks::command(id, &agent, command)).collect();
    launch_group(framework, &offer, executor, &list);
}

fn launch_group(framework: &mut Framework, offer: &Value, executor: &str, list: &[Value]) {
    let executor = pod(framework, executor);
    let operation = json!({"type": "LAUNCH_GROUP",
                           "launch_group": {"executor": executor, "task_group": {"tasks": list}}});
    framework.accept(offer, json!([operation]));
}
