//! Agents that nobody but the master can reach: they dialled out, and their own door is shut.

use mezzo_tests::cluster::Cluster;

use super::{is_content, looked_at, with_tasks};

#[test]
fn an_agent_that_cannot_be_dialled_is_read_through_the_master() {
    // What it says of itself leads nowhere, as behind a NAT: 192.0.2.0/24 belongs to nobody.
    let builder = Cluster::builder().agent_flag("--advertise_ip=192.0.2.7").agent_flag("--advertise_port=9");
    let Some((cluster, mut browser)) = looked_at(builder) else { return };
    let framework = with_tasks(&cluster);
    let agent = cluster.agent_ids().remove(0);
    browser.go(&format!("#/agents/{agent}"));
    browser.wait_text("192.0.2.7:9");
    browser.go(&format!("#/tasks/{}/task-that-runs", framework.id));
    browser.wait_text("to be seen");
    browser.click("a", "All files");
    browser.wait_text("stderr");
    browser.click("main a", "stdout");
    browser.wait_text("to be seen");
    let saved = browser.eval("fetch(document.querySelector('a.button').href).then((answer) => answer.text())");
    assert!(saved.as_str().unwrap_or_default().starts_with("to be seen\n"), "{saved}");
    // `is_content` holds that every request went to the master.
    is_content(&mut browser, &cluster);
}
