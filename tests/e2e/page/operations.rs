//! What operators do with agents, quota and machines, done on the page.

use mezzo_tests::cluster::Cluster;
use mezzo_tests::wait;

use super::{agent_of, is_content, looked_at, with_tasks};

#[test]
fn an_agent_is_deactivated_reactivated_and_drained() {
    let Some((cluster, mut browser)) = looked_at(Cluster::builder()) else { return };
    let mut framework = with_tasks(&cluster);
    let agent = agent_of(&mut framework, "task-that-runs");
    browser.go(&format!("#/agents/{agent}"));
    let of_agent = || cluster.state()["slaves"][0].clone();

    browser.click(".title button", "Deactivate");
    browser.click("dialog[open] button", "Deactivate it");
    wait::until_true("it is deactivated", || of_agent()["deactivated"] == true);
    browser.click(".title button", "Reactivate");
    browser.click("dialog[open] button", "Reactivate it");
    wait::until_true("it is reactivated", || of_agent()["deactivated"] == false);

    browser.click(".title button", "Drain");
    browser.wait("the dialog is open", "!!document.querySelector('dialog[open] input[name=grace]')");
    browser.eval("document.querySelector('dialog[open] input[name=grace]').value = '3'");
    browser.click("dialog[open] button", "Drain it");
    framework.wait_status("task-that-runs", "TASK_KILLED");
    browser.wait_text("Drained: nothing runs here any more.");
    assert_eq!(of_agent()["drain_info"]["config"]["max_grace_period"]["nanoseconds"], 3_000_000_000_u64);
    is_content(&mut browser, &cluster);
}

#[test]
fn a_quota_and_a_weight_are_set_and_changed() {
    let Some((cluster, mut browser)) = looked_at(Cluster::builder()) else { return };
    let _framework = with_tasks(&cluster);
    let role = || {
        let roles = cluster.get("/roles").unwrap().json();
        roles["roles"].as_array().unwrap().iter().find(|role| role["name"] == "dev").cloned().unwrap_or_default()
    };
    browser.go("#/roles");
    browser.click(".title button", "Set a quota");
    fill(&mut browser, "role", "dev");
    fill(&mut browser, "guarantee cpus", "0.5");
    fill(&mut browser, "limit cpus", "1");
    browser.click("dialog[open] button", "Set the quota");
    wait::until_true("the limit stands", || role()["quota"]["limit"]["cpus"] == 1.0);
    assert_eq!(role()["quota"]["guarantee"]["cpus"], 0.5);

    browser.go("#/roles?role=dev");
    browser.click("button", "Change quota");
    // More than the cluster has is refused, and the page says why.
    fill(&mut browser, "guarantee cpus", "1000");
    fill(&mut browser, "limit cpus", "");
    browser.click("dialog[open] button", "Set the quota");
    browser.wait("the refusal is shown", "!!document.querySelector('dialog[open] .trouble')");
    assert_eq!(role()["quota"]["guarantee"]["cpus"], 0.5);
    browser.click("dialog[open] button", "Cancel");

    browser.click("button", "Change weight");
    fill(&mut browser, "weight", "2.5");
    browser.click("dialog[open] button", "Set the weight");
    wait::until_true("the weight stands", || role()["weight"] == 2.5);
    browser.wait("and is shown", "document.querySelector('table.tree').innerText.includes('2.5')");
    is_content(&mut browser, &cluster);
}

#[test]
fn a_machine_is_planned_taken_down_and_brought_up() {
    let Some((cluster, mut browser)) = looked_at(Cluster::builder()) else { return };
    let hostname = cluster.state()["slaves"][0]["hostname"].as_str().unwrap().to_owned();
    browser.go("#/maintenance");
    browser.wait_text("Nothing is planned.");
    browser.click(".title button", "Plan maintenance");
    fill(&mut browser, "hosts", &hostname);
    fill(&mut browser, "ip", "127.0.0.1");
    fill(&mut browser, "hours", "1");
    browser.click("dialog[open] button", "Plan it");
    browser.wait_text(&format!("{hostname} / 127.0.0.1"));
    browser.click("button", "Take down");
    browser.click("dialog[open] button", "Take down");
    wait::until_true("its agent has left", || cluster.agent_ids().is_empty());
    browser.click("button", "Up again");
    browser.click("dialog[open] button", "Up again");
    browser.wait_text("Nothing is planned.");
    is_content(&mut browser, &cluster);
}

/// Types into a field of the open dialog.
fn fill(browser: &mut mezzo_tests::browser::Browser, name: &str, text: &str) {
    let field = format!("document.querySelector('dialog[open] input[name=\"{name}\"]')");
    browser.wait("the field is there", &format!("!!{field}"));
    browser.eval(&format!("{field}.value = {}", serde_json::json!(text)));
}
