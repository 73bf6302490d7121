//! A full disk: the agent says so, refuses new tasks, and loses none of the old.

use std::path::{Path, PathBuf};

use mezzo_tests::{cluster::Cluster, environment, wait};
use nix::mount::{MntFlags, MsFlags, mount, umount2};

use super::framework;

/// A small file system of its own.
struct Small(PathBuf);

impl Small {
    fn mount(path: &Path) -> Option<Self> {
        std::fs::create_dir_all(path).unwrap();
        mount(Some("tmpfs"), path, Some("tmpfs"), MsFlags::empty(), Some("size=32m")).ok()?;
        Some(Self(path.to_path_buf()))
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = umount2(&self.0, MntFlags::MNT_DETACH);
    }
}

#[test]
fn a_full_disk_loses_nothing() {
    let mut cluster = Cluster::builder().start();
    cluster.agents[0].part.kill();
    let work_dir = cluster.agents[0].work_dir.clone();
    let Some(small) = Small::mount(&work_dir) else {
        environment::skip("mounting a tmpfs needs root");
        return;
    };
    cluster.agents[0].part.start();
    cluster.wait_until_registered(1);
    let mut framework = framework(&cluster, "full");
    framework.run("old", "while ! [ -e go ]; do sleep 0.05; done");
    let old = framework.wait_status("old", "TASK_RUNNING");
    framework.run("hog", "dd if=/dev/zero of=big bs=1M; sleep 1330");
    framework.wait_status("hog", "TASK_RUNNING");
    wait::until_true("the agent says that its disk is full", || {
        cluster.agents[0].part.log().contains("the disk of the work directory is full")
    });
    framework.run("new", "true");
    let refused = framework.wait_status("new", "TASK_DROPPED");
    assert_eq!(refused["message"], "The disk of the agent's work directory is full");
    // Also over a restart, without room for a new checkpoint.
    cluster.restart_agent(0);
    cluster.wait_until_registered(1);
    let run = old["container_status"]["container_id"]["value"].as_str().unwrap();
    let agent = cluster.agent_ids().remove(0);
    let sandboxes = work_dir.join(format!("slaves/{agent}/frameworks/{}/executors", framework.id));
    std::fs::write(sandboxes.join(format!("old/runs/{run}/go")), "").unwrap();
    framework.wait_status("old", "TASK_FINISHED");
    framework.call("KILL", serde_json::json!({"task_id": {"value": "hog"}}));
    framework.wait_status("hog", "TASK_KILLED");
    let hog = std::fs::read_link(sandboxes.join("hog/runs/latest")).unwrap();
    std::fs::remove_file(hog.join("big")).unwrap();
    wait::until_true("there is room again", || {
        cluster.agents[0].part.log().contains("the disk of the work directory has room again")
    });
    framework.run("next", "true");
    framework.wait_status("next", "TASK_FINISHED");
    cluster.agents[0].part.end(std::time::Duration::from_secs(5));
    drop(small);
}
