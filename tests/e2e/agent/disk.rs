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

/// Output that is rotated on a full disk: the task is not held up, what was written stays, and it goes on when there is room.
#[test]
fn rotation_outlasts_a_full_disk() {
    let mut cluster =
        Cluster::builder().agent_flag("--max_stdout_size=1MB").agent_flag("--max_rotated_files=3").start();
    cluster.agents[0].part.kill();
    let work_dir = cluster.agents[0].work_dir.clone();
    let Some(small) = Small::mount(&work_dir) else {
        environment::skip("mounting a tmpfs needs root");
        return;
    };
    cluster.agents[0].part.start();
    cluster.wait_until_registered(1);
    let mut framework = framework(&cluster, "rotates");
    let go = cluster.dir().join("go");
    let script = format!(
        "i=0; while ! [ -e {go} ]; do i=$((i+1)); printf '%1023d\\n' $i; echo >> {go}.count; done; echo the last line",
        go = go.display()
    );
    framework.run("talks", &script);
    let status = framework.wait_status("talks", "TASK_RUNNING");
    let run = status["container_status"]["container_id"]["value"].as_str().unwrap();
    let agent = cluster.agent_ids().remove(0);
    let executors = work_dir.join(format!("slaves/{agent}/frameworks/{}/executors", framework.id));
    let sandbox = executors.join("talks/runs").join(run);
    let count = || std::fs::metadata(format!("{}.count", go.display())).map_or(0, |metadata| metadata.len());
    // While one is being put aside, it may have no name for a moment.
    let older = || std::fs::metadata(sandbox.join("stdout.1")).map_or(0, |metadata| metadata.len());
    wait::until_true("something is put aside before the disk is full", || older() > 100_000);
    framework.run("hog", "dd if=/dev/zero of=big bs=1M; sleep 1331");
    framework.wait_status("hog", "TASK_RUNNING");
    wait::until_true("the agent says that its disk is full", || {
        cluster.agents[0].part.log().contains("the disk of the work directory is full")
    });
    // Far more than fits.
    let before = count();
    wait::until_true("the task goes on", || count() > before + 8000);
    wait::until_true("what was put aside is there", || older() > 100_000);
    framework.call("KILL", serde_json::json!({"task_id": {"value": "hog"}}));
    framework.wait_status("hog", "TASK_KILLED");
    std::fs::remove_file(std::fs::read_link(executors.join("hog/runs/latest")).unwrap().join("big")).unwrap();
    let before = count();
    wait::until_true("it writes with room again", || count() > before + 2000);
    std::fs::write(&go, "").unwrap();
    framework.wait_status("talks", "TASK_FINISHED");
    let text = std::fs::read_to_string(sandbox.join("stdout")).unwrap();
    assert!(text.ends_with("the last line\n"), "{:?}", text.lines().last());
    let mut names: Vec<String> = std::fs::read_dir(&sandbox)
        .unwrap()
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| name.starts_with("stdout"))
        .collect();
    names.sort();
    assert_eq!(names, ["stdout", "stdout.1", "stdout.2", "stdout.3"]);
    cluster.agents[0].part.end(std::time::Duration::from_secs(5));
    drop(small);
}
