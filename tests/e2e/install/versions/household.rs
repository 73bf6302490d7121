//! What must go on over an upgrade: tasks of every kind, a volume, what operators said.

use mezzo_tests::cluster::Cluster;
use mezzo_tests::framework::Framework;
use mezzo_tests::leftovers::Process;
use mezzo_tests::{operator, tasks, wait};
use serde_json::{Value, json};

use crate::agent::pod;
use crate::storage::{finished, has_volume, on_volume, reserved, volume};

const ROLE: &str = "dev";
/// Of a custom executor: the task of which it speaks while its agent is away.
const CUSTOM: &str = "c-1";
/// Tasks that run all the time: a command, two of a pod, one with a check, a custom executor's.
const STEADY: [&str; 5] = ["command", "pod-1", "pod-2", "checked", CUSTOM];

/// Everything that runs and stays.
pub(super) struct Household {
    framework: Framework,
    volume: Value,
    processes: Vec<Process>,
}

impl Household {
    pub(super) fn start(cluster: &Cluster) -> Self {
        let master = cluster.master_address;
        let weights =
            json!({"type": "UPDATE_WEIGHTS", "update_weights": {"weight_infos": [{"role": ROLE, "weight": 2.5}]}});
        assert_eq!(operator::call(master, &weights).status(), 200);
        let mut framework = Framework::subscribe(master, tasks::framework_info("household", ROLE));
        let offer = framework.wait_any_offer();
        let agent = tasks::agent_of(&offer).to_owned();
        let mut checked = tasks::command("checked", &agent, "exec sleep 7777");
        checked["health_check"] =
            json!({"type": "COMMAND", "command": {"value": "true"}, "interval_seconds": 0.2, "delay_seconds": 0.0});
        let command = tasks::command("command", &agent, "exec sleep 7777");
        let members = [1, 2].map(|number| tasks::command(&format!("pod-{number}"), &agent, "exec sleep 7777"));
        let group = json!({"executor": pod(&framework, "pod"), "task_group": {"tasks": members}});
        let v = volume(ROLE, "v", 64.0);
        framework.accept(
            &offer,
            json!([
                {"type": "RESERVE", "id": {"value": "r"}, "reserve": {"resources": [reserved(ROLE, tasks::scalar("disk", 64.0))]}},
                {"type": "CREATE", "id": {"value": "c"}, "create": {"volumes": [v]}},
                {"type": "LAUNCH", "launch": {"task_infos": [
                    command, checked, custom(&framework, &agent), on_volume("writer", &offer, &v, "echo kept > data/f")
                ]}},
                {"type": "LAUNCH_GROUP", "launch_group": group},
            ]),
        );
        finished(&mut framework, "r");
        finished(&mut framework, "c");
        framework.wait_status("writer", "TASK_FINISHED");
        for task in STEADY {
            framework.wait_status(task, "TASK_RUNNING");
        }
        wait::until_true("every task has become its command", || sleepers(cluster).len() == 4);
        let processes = sleepers(cluster);
        Self { framework, volume: v, processes }
    }

    /// Before somebody is replaced: a task that will end only afterwards.
    pub(super) fn begin(&mut self, step: usize) {
        let name = format!("across-{step}");
        self.framework.run(&name, "while ! [ -e go ]; do sleep 0.05; done; exit 3");
        self.framework.wait_status(&name, "TASK_RUNNING");
    }

    /// After it: all is as it was, and everything can still be done.
    pub(super) fn go_on(&mut self, what: &str, step: usize, cluster: &Cluster) {
        let mark = self.framework.mark();
        wait::until_true(&format!("{what}: the framework is subscribed again"), || {
            self.framework.resubscribe().is_ok()
        });
        assert_eq!(sleepers(cluster), self.processes, "{what}: tasks go on");
        self.reconcile(what);

        // What ran meanwhile ends, and says how.
        let across = format!("across-{step}");
        std::fs::write(sandbox(cluster, &across).join("go"), "").expect("the sandbox is there");
        self.framework.wait_status_since(mark, &across, "TASK_FAILED");

        // New ones, with what was written to the volume.
        let (short, volume) = (format!("short-{step}"), self.volume.clone());
        let offer = self.framework.wait_offer("of the volume", has_volume("v"));
        self.framework.launch(&offer, &[on_volume(&short, &offer, &volume, "test \"$(cat data/f)\" = kept")]);
        self.framework.wait_status(&short, "TASK_FINISHED");

        // And one that is killed.
        let killed = format!("killed-{step}");
        self.framework.run(&killed, "exec sleep 8888");
        self.framework.wait_status(&killed, "TASK_RUNNING");
        self.framework.call("KILL", json!({"task_id": {"value": killed}}));
        self.framework.wait_status(&killed, "TASK_KILLED");

        let weights = operator::ask(cluster.master_address, "GET_WEIGHTS");
        assert_eq!(weights["get_weights"]["weight_infos"][0]["weight"], 2.5, "{what}: {weights}");
    }

    /// The master knows of each steady task, and none ever ended.
    fn reconcile(&mut self, what: &str) {
        let mark = self.framework.mark();
        let asked: Vec<Value> = STEADY.iter().map(|task| json!({"task_id": {"value": task}})).collect();
        self.framework.call("RECONCILE", json!({"tasks": asked}));
        for task in STEADY {
            self.framework.wait_status_since(mark, task, "TASK_RUNNING");
            let ended = self
                .framework
                .statuses(task)
                .into_iter()
                .find(|status| status["state"] != "TASK_RUNNING" && status["state"] != "TASK_STARTING");
            assert_eq!(ended, None, "{what}: {task}");
        }
    }

    /// The last one turns off the light.
    pub(super) fn end(mut self) {
        for task in STEADY {
            self.framework.call("KILL", json!({"task_id": {"value": task}}));
            self.framework.wait_status(task, "TASK_KILLED");
        }
        self.framework.teardown();
    }
}

fn custom(framework: &Framework, agent: &str) -> Value {
    let mut task = tasks::command(CUSTOM, agent, "");
    task.as_object_mut().expect("a task").remove("command");
    task["executor"] = json!({
        "executor_id": {"value": "custom"},
        "framework_id": {"value": framework.id},
        "command": {"value": format!("exec {} json", env!("CARGO_BIN_EXE_scripted-executor"))},
        "resources": tasks::small(),
    });
    task
}

fn sleepers(cluster: &Cluster) -> Vec<Process> {
    cluster.children().into_iter().filter(|process| process.command == "sleep 7777").collect()
}

/// The sandbox of a command task.
fn sandbox(cluster: &Cluster, task: &str) -> std::path::PathBuf {
    let find = std::process::Command::new("find")
        .arg(&cluster.agents[0].work_dir)
        .args(["-path", &format!("*/executors/{task}/runs/latest")])
        .output();
    let said = String::from_utf8(find.expect("find starts").stdout).expect("a path is text");
    said.lines().next().unwrap_or_else(|| panic!("{task} has no sandbox")).into()
}
