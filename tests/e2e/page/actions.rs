//! What is done on the page happens in the cluster.

use mezzo_tests::cluster::Cluster;
use mezzo_tests::wait;

use super::{is_content, looked_at, with_tasks};

#[test]
fn a_task_is_killed() {
    let Some((cluster, mut browser)) = looked_at(Cluster::builder()) else { return };
    let mut framework = with_tasks(&cluster);
    browser.go(&format!("#/tasks/{}/task-that-runs", framework.id));
    browser.click(".title button", "Kill");
    browser.click("dialog[open] button", "Cancel");
    browser.wait("nothing happens", "!document.querySelector('dialog[open]')");
    browser.click(".title button", "Kill");
    browser.click("dialog[open] button", "Kill the task");
    framework.wait_status("task-that-runs", "TASK_KILLED");
    browser.wait_text("killed");
    browser.wait(
        "there is nothing left to kill",
        "![...document.querySelectorAll('.title button')].some((one) => one.textContent === 'Kill')",
    );
    is_content(&mut browser, &cluster);
}

#[test]
fn a_framework_is_torn_down() {
    let Some((cluster, mut browser)) = looked_at(Cluster::builder()) else { return };
    let framework = with_tasks(&cluster);
    browser.go(&format!("#/frameworks/{}", framework.id));
    browser.click(".title button", "Tear down");
    browser.click("dialog[open] button", "End it and all its tasks");
    browser.wait("it is completed", "document.querySelector('.title .state')?.innerText.includes('completed')");
    let completed = || cluster.state()["completed_frameworks"][0]["id"] == framework.id;
    wait::until_true("the master has completed it", completed);
    is_content(&mut browser, &cluster);
}

#[test]
fn an_agent_is_marked_gone() {
    let Some((cluster, mut browser)) = looked_at(Cluster::builder().agents(2)) else { return };
    let agent = cluster.agent_ids().remove(0);
    browser.go(&format!("#/agents/{agent}"));
    browser.click(".title button", "Mark gone");
    browser.click("dialog[open] button", "It is gone for good");
    wait::until_true("the master has given it up", || !cluster.agent_ids().contains(&agent));
    browser.go("#/");
    browser.wait_text("agent marked gone");
    is_content(&mut browser, &cluster);
}

#[test]
fn it_is_explained_why_a_framework_waits() {
    let Some((cluster, mut browser)) = looked_at(Cluster::builder()) else { return };
    let framework = with_tasks(&cluster);
    browser.go(&format!("#/explain?framework={}", framework.id));
    browser.wait_text("Could be offered now");
    browser.wait_text("What keeps agents from it");
    browser.go(&format!("#/explain?framework={}&resources=cpus:64", framework.id));
    browser.wait_text("the agent does not have as much");
    browser.go(&format!("#/explain?framework={}&resources=nonsense", framework.id));
    browser.wait_text("Invalid 'resources'");
    is_content(&mut browser, &cluster);
}
