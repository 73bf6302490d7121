//! A terminal in a task's container, typed into as on a keyboard.

use mezzo_tests::browser::Browser;
use mezzo_tests::cluster::Cluster;

use super::{is_content, looked_at, with_tasks};

#[test]
fn a_shell_is_opened_beside_a_task() {
    // The agent's own door is shut to the browser: the terminal goes through the master.
    let builder = Cluster::builder().agent_flag("--advertise_ip=192.0.2.7").agent_flag("--advertise_port=9");
    let Some((cluster, mut browser)) = looked_at(builder) else { return };
    let framework = with_tasks(&cluster);
    browser.go(&format!("#/tasks/{}/task-that-runs", framework.id));
    browser.click(".title a", "Terminal");
    browser.wait("the terminal is drawn", "document.querySelector('.terminal .xterm-rows')?.childElementCount > 10");
    line(&mut browser, "echo seen-$((6*7))");
    browser.wait_text("seen-42");
    line(&mut browser, "stty size");
    let size = "/^[1-9][0-9]+ [1-9][0-9]+$/m.test(document.body.innerText)";
    browser.wait("the shell knows the size of the window", size);
    line(&mut browser, "exit");
    browser.wait_text("The session has ended.");
    browser.click("button", "New session");
    browser.wait("the old one is gone", "!document.querySelector('.notice')");
    line(&mut browser, "echo again-$((6*7))");
    browser.wait_text("again-42");
    browser.go("#/");
    is_content(&mut browser, &cluster);
}

fn line(browser: &mut Browser, text: &str) {
    browser.wait("the terminal has the keys", "document.activeElement?.className.includes('xterm-helper-textarea')");
    text.chars().for_each(|letter| browser.press(&letter.to_string()));
    browser.press("Enter");
}
