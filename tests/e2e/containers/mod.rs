//! Containers that are made of images, and containers that are kept from one another, on this host's cgroups and in namespaces of their own. All of it needs root.

mod bridge;
mod exec;
mod images;
mod limits;
mod nested;
mod privileges;
mod registries;
mod remains;
mod views;
mod watched;

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use mezzo_tests::{cluster::Cluster, environment, framework::Framework, tasks, wait};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::{Value, json};

/// What most tests isolate by.
const USUAL: &str =
    "cgroups/cpu,cgroups/mem,cgroups/pids,cgroups/cpuset,filesystem/linux,namespaces/pid,namespaces/ipc";

/// A cluster whose agent isolates, and one framework of it. When it goes, so do its cgroups.
struct World {
    cluster: Cluster,
    framework: Framework,
    _groups: Groups,
}

/// The cgroups of one agent.
struct Groups(String);

impl Groups {
    /// The agent's group in every hierarchy that has it.
    fn roots(&self) -> Vec<PathBuf> {
        let hierarchies = fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten().map(|entry| entry.path());
        let all = hierarchies.chain([PathBuf::from("/sys/fs/cgroup")]).map(|path| path.join(&self.0));
        all.filter(|path| path.is_dir()).collect()
    }

    /// The groups of containers that are there.
    fn left(&self) -> Vec<PathBuf> {
        self.roots().iter().flat_map(|root| directories(root)).collect()
    }
}

impl Drop for Groups {
    fn drop(&mut self) {
        for root in self.roots() {
            for _ in 0..100 {
                if remove(&root) {
                    break;
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }
}

fn remove(group: &Path) -> bool {
    directories(group).iter().for_each(|below| {
        let _ = remove(below);
    });
    let processes = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    for pid in processes.lines().filter_map(|line| line.parse().ok()) {
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
    fs::remove_dir(group).is_ok()
}

fn directories(path: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
}

impl World {
    /// With these isolators and further flags; `None` where this cannot be.
    fn start(isolation: &str, flags: &[&str]) -> Option<Self> {
        Self::start_dying(isolation, flags, None)
    }

    /// With an agent whose code, or that of its supervisors, kills at a place that this variable names.
    fn start_dying(isolation: &str, flags: &[&str], death: Option<(&str, &str)>) -> Option<Self> {
        if !environment::is_root() {
            environment::skip("containers are isolated by root only");
            return None;
        }
        let name = format!("mezzo-test-{}-{}", std::process::id(), unique());
        let groups = Groups(name.clone());
        let mut builder = Cluster::builder()
            .agent_flag(&format!("--isolation={isolation}"))
            .agent_flag(&format!("--cgroups_root={name}"));
        for flag in flags {
            builder = builder.agent_flag(flag);
        }
        let mut cluster = builder.start();
        if let Some((variable, death)) = death {
            let registered = |cluster: &Cluster| cluster.agents[0].part.log().matches("registered agent=").count();
            wait::until_true("the agent knows its id", || registered(&cluster) == 1);
            let part = &mut cluster.agents[0].part;
            part.kill();
            part.set_variable(variable, death);
            part.start();
            wait::until_true("the agent is back", || registered(&cluster) == 2);
        }
        let framework = Framework::subscribe(cluster.master_address, tasks::framework_info("containers", "dev"));
        Some(Self { cluster, framework, _groups: groups })
    }

    /// Launches tasks in one offer.
    fn launch(&mut self, make: impl Fn(&str) -> Vec<Value>) {
        let offer = self.framework.wait_any_offer();
        let agent = tasks::agent_of(&offer).to_owned();
        self.framework.launch(&offer, &make(&agent));
    }

    /// Where the groups of a container are in the hierarchy of a controller.
    fn group(&self, controller: &str, container: &str) -> PathBuf {
        let of =
            |hierarchy: &str| PathBuf::from("/sys/fs/cgroup").join(hierarchy).join(&self._groups.0).join(container);
        let places = [of(controller), of("unified"), of("")];
        places.iter().find(|path| path.is_dir()).unwrap_or(&places[0]).clone()
    }

    /// The id of a task's container.
    fn container(&mut self, task: &str) -> String {
        let status = self.framework.wait_status(task, "TASK_RUNNING");
        status["container_status"]["container_id"]["value"].as_str().unwrap().to_owned()
    }

    /// Nothing of any container is left but sandboxes.
    fn wait_until_nothing_is_left(&self) {
        let dir = self.cluster.dir().display().to_string();
        wait::until_true("nothing is left of the containers", || {
            let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
            let roots = self.cluster.dir().join("agent0/run/roots");
            let left = self.cluster.children();
            let processes = left.iter().any(|process| process.command.contains("sleep 13"));
            self._groups.left().is_empty() && !mounts.contains(&dir) && directories(&roots).is_empty() && !processes
        });
    }
}

/// A number that no other world of this process has.
fn unique() -> u64 {
    static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
}

/// A task with these resources.
fn task(id: &str, agent: &str, (cpus, mem): (f64, f64), command: &str) -> Value {
    let mut task = tasks::command(id, agent, command);
    task["resources"] = json!([tasks::scalar("cpus", cpus), tasks::scalar("mem", mem)]);
    task
}

/// With this `container`, a ContainerInfo without its type.
fn with(mut task: Value, mut container: Value) -> Value {
    container["type"] = json!("MESOS");
    task["container"] = container;
    task
}

fn number(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}
