//! What happens is seen.

use std::time::{Duration, Instant};

use mezzo_tests::cluster::Cluster;
use mezzo_tests::framework::Framework;
use mezzo_tests::{http, tasks, wait};

use super::{is_content, looked_at, with_tasks};

/// A change is on an open page within a second; more than this says that the page was not told.
const SEEN: Duration = Duration::from_secs(5);

#[test]
fn changes_are_on_the_page_at_once() {
    let Some((cluster, mut browser)) = looked_at(Cluster::builder()) else { return };
    let mut framework = Framework::subscribe(cluster.master_address, tasks::framework_info("lively", "dev"));
    browser.go("#/tasks");
    browser.wait_text("No task has run yet");
    let offer = framework.wait_any_offer();
    framework.launch(&offer, &[tasks::command("fresh", tasks::agent_of(&offer), "sleep 1000")]);
    framework.wait_status("fresh", "TASK_RUNNING");
    let start = Instant::now();
    browser.wait("the task is seen to run", "document.querySelector('.rows .row')?.innerText.includes('running')");
    let seen = start.elapsed();
    println!("seen after {} ms", seen.as_millis());
    assert!(seen < SEEN, "seen after {seen:?}");
    framework.call("KILL", serde_json::json!({"task_id": {"value": "fresh"}}));
    framework.wait_status("fresh", "TASK_KILLED");
    browser.wait("its end is seen", "document.querySelector('.rows .row')?.innerText.includes('killed')");
    is_content(&mut browser, &cluster);
}

#[test]
fn a_log_is_followed_and_searched() {
    let Some((cluster, mut browser)) = looked_at(Cluster::builder()) else { return };
    let mut framework = Framework::subscribe(cluster.master_address, tasks::framework_info("talker", "dev"));
    let command = "for n in $(seq 1 9000); do echo \"line $n äöü €\"; done; until [ -e go ]; do sleep 0.05; done; echo the needle; sleep 1000";
    framework.run("talks", command);
    framework.wait_status("talks", "TASK_RUNNING");
    let agent = cluster.agent_ids().remove(0);
    let path = format!("/frameworks/{}/executors/talks/runs/latest", framework.id);
    // More than the page reads at first.
    let printed = sandbox(&cluster, &path).join("stdout");
    wait::until_true("all is printed", || {
        std::fs::read_to_string(&printed).is_ok_and(|text| text.contains("line 9000 "))
    });
    browser.go(&format!("#/agents/{agent}/file?path={path}/stdout"));
    browser.wait_text("line 9000 äöü €");
    let broken = browser.eval("document.querySelector('.tail pre').textContent.includes('\\uFFFD')");
    assert_eq!(broken, false, "a character was cut in two");
    let at_end = "(({ scrollTop, clientHeight, scrollHeight }) => scrollTop + clientHeight > scrollHeight - 10)(document.querySelector('.tail pre'))";
    browser.wait("its end is in sight", at_end);
    std::fs::write(sandbox(&cluster, &path).join("go"), "").unwrap();
    browser.wait_text("the needle");
    browser.wait("its end is in sight again", at_end);
    browser.click("button", "Show earlier");
    browser.eval("document.querySelector('.panel input.search').focus()");
    browser.type_text("needle");
    browser.wait_text("1 found");
    is_content(&mut browser, &cluster);
}

fn sandbox(cluster: &Cluster, path: &str) -> std::path::PathBuf {
    let places = http::get_json(cluster.agents[0].address, "/files/debug");
    let root = places["/frameworks"].as_str().expect("the agent shows its sandboxes");
    format!("{root}{}", path.trim_start_matches("/frameworks")).into()
}

#[test]
fn an_open_page_outlives_its_master() {
    let Some((mut cluster, mut browser)) = looked_at(Cluster::builder()) else { return };
    let _framework = with_tasks(&cluster);
    browser.go("#/agents");
    browser.wait_text("active");
    cluster.master.kill();
    browser.wait("the page says so", "document.querySelector('#link')?.className.includes('lost')");
    browser.wait_text("The master does not answer");
    cluster.master.start();
    cluster.wait_until_master_is_healthy();
    browser.wait("the page is live again", "document.querySelector('#link')?.textContent === 'live'");
    browser.wait("it is where it was", "location.hash === '#/agents'");
    browser.wait("the agent is back", "document.querySelector('.rows .row')?.innerText.includes('active')");
}
