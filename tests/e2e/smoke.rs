//! The main job, in short.

use mezzo_tests::cluster::Cluster;
use mezzo_tests::framework::Framework;
use mezzo_tests::tasks;

/// A framework subscribes, takes an offer, runs a task, sees it end, and leaves; nothing of it stays.
#[test]
fn a_task_runs_and_nothing_stays() {
    let cluster = Cluster::builder().start();
    let mut framework = Framework::subscribe(cluster.master_address, tasks::framework_info("smoke", "dev"));
    framework.run("hello", "echo hello");
    let finished = framework.wait_status("hello", "TASK_FINISHED");
    assert_eq!(finished["message"], "Command exited with status 0");
    let states: Vec<_> = framework.statuses("hello").iter().map(|status| status["state"].clone()).collect();
    assert_eq!(states, ["TASK_STARTING", "TASK_RUNNING", "TASK_FINISHED"]);
    assert_eq!(framework.stream().odd_chunks(), 0, "each chunk must hold one record");
    framework.run("long", "sleep 1000");
    framework.wait_status("long", "TASK_RUNNING");
    framework.teardown();
    mezzo_tests::wait::until_true("no task stays after TEARDOWN", || {
        cluster.children().iter().all(|process| !process.command.contains("sleep"))
    });
}
