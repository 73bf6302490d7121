//! `mezzo task logs -f` goes through a restart of the agent and through rotation, and ends with the task.

use std::{
    io::{BufRead, BufReader, Read},
    process::{Command, Stdio},
};

use mezzo_tests::{cluster::Cluster, environment};

use super::framework;

#[test]
fn logs_are_followed_through_restart_and_rotation() {
    let mut cluster = Cluster::builder().agent_flag("--max_stdout_size=4KB").start();
    let mut framework = framework(&cluster, "logs");
    let go = cluster.dir().join("go");
    let script = format!(
        "i=0; while [ $i -lt 3000 ]; do echo line-$i; i=$((i+1)); \
         if [ $i = 100 ]; then while ! [ -e {} ]; do sleep 0.05; done; fi; \
         if [ $((i % 20)) = 0 ]; then sleep 0.01; fi; done",
        go.display()
    );
    framework.run("talks", &script);
    framework.wait_status("talks", "TASK_RUNNING");
    let mut follower = Command::new(environment::binary("mezzo"))
        .args(["task", "logs", "-f", "talks"])
        .env("MEZZO_MASTER", cluster.master_address.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // It begins with what is there: before anything is put aside.
    let mut output = BufReader::new(follower.stdout.take().unwrap());
    let mut text = String::new();
    output.read_line(&mut text).unwrap();
    cluster.restart_agent(0);
    cluster.wait_until_registered(1);
    std::fs::write(&go, "").unwrap();
    framework.wait_status("talks", "TASK_FINISHED");
    output.read_to_string(&mut text).unwrap();
    assert!(follower.wait().unwrap().success());
    let expected: String = (0..3000).map(|number| format!("line-{number}\n")).collect();
    let first = text.lines().zip(expected.lines()).position(|(got, wanted)| got != wanted);
    assert!(text == expected, "{} of {} bytes, different from line {first:?}", text.len(), expected.len());
    let none = Command::new(environment::binary("mezzo"))
        .args(["task", "logs", "no-such-task"])
        .env("MEZZO_MASTER", cluster.master_address.to_string())
        .output()
        .unwrap();
    assert_eq!(none.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&none.stderr).contains("no task 'no-such-task'"));
}
