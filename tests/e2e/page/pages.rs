//! Each page, empty and with something to show.

use mezzo_tests::cluster::Cluster;

use super::{agent_of, is_content, looked_at, with_tasks};

#[test]
fn every_page_says_what_to_do_when_there_is_nothing() {
    let Some((cluster, mut browser)) = looked_at(Cluster::builder().agents(0)) else { return };
    for (page, says) in [
        ("#/", "No task has run yet"),
        ("#/tasks", "No task has run yet"),
        ("#/agents", "No agent has registered"),
        ("#/frameworks", "No framework has subscribed"),
        ("#/roles", "There is no role yet"),
        ("#/offers", "No offer is out"),
        ("#/topology", "No agent is registered"),
        ("#/maintenance", "Nothing is planned"),
        ("#/explain", "No framework is there"),
        ("#/tasks/nobody/nothing", "The master does not know it"),
        ("#/agents/nobody", "The master does not know it"),
        ("#/frameworks/nobody", "The master does not know it"),
        ("#/no/such/page", "There is no page of this address"),
    ] {
        browser.go(page);
        browser.wait_text(says);
    }
    is_content(&mut browser, &cluster);
}

#[test]
fn every_page_shows_what_is_there() {
    let builder = Cluster::builder().agents(2).agent_flag("--attributes=region:north;zone:one;rack:seven");
    let Some((cluster, mut browser)) = looked_at(builder) else { return };
    let mut framework = with_tasks(&cluster);
    let agent = cluster.agent_ids().remove(0);
    let of = agent_of(&mut framework, "task-that-runs");
    let mut shows = |page: &str, texts: &[&str]| {
        browser.go(page);
        for text in texts {
            browser.wait_text(text);
        }
    };
    shows("#/", &["Running tasks", "north / one", "dev", "task failed", "task-that-fails", "framework subscribed"]);
    shows("#/tasks", &["task-that-runs", "running", "finished", "failed", "a-framework"]);
    shows("#/tasks?state=TASK_FAILED", &["task-that-fails"]);
    shows("#/agents", &["north / one", "active"]);
    shows(&format!("#/agents/{agent}"), &["rack", "seven", "Connected from", "Ports [31000-32000]"]);
    shows("#/frameworks", &["a-framework", "dev", "active"]);
    shows(&format!("#/frameworks/{}", framework.id), &["a-framework", "Dominant share", "task-that-runs", "Tear down"]);
    shows("#/roles?role=dev", &["Fair share among siblings", "Role dev"]);
    shows("#/topology", &["north", "one"]);
    let task = |name: &str| format!("#/tasks/{}/{name}", framework.id);
    shows(&task("task-that-runs"), &["to be seen", "and told", "told by the executor", "Kill"]);
    shows(&task("task-that-fails"), &["Command exited with status 7"]);
    let place = format!("/frameworks/{}/executors/task-that-runs/runs/latest", framework.id);
    shows(&format!("#/agents/{of}/files?path={place}"), &["stdout", "stderr", "Download"]);
    shows(&format!("#/agents/{of}/files?path="), &["sandboxes, by framework and executor"]);
    shows(&format!("#/agents/{of}/file?path={place}/stdout"), &["to be seen"]);
    is_content(&mut browser, &cluster);
}

#[test]
fn keys_lead_everywhere() {
    let Some((cluster, mut browser)) = looked_at(Cluster::builder()) else { return };
    let _framework = with_tasks(&cluster);
    browser.press("g");
    browser.press("t");
    browser.wait("the tasks are listed", "document.querySelectorAll('.rows .row').length === 3");
    browser.press("j");
    browser.press("j");
    browser.press("k");
    browser.wait("the first row is chosen", "document.querySelectorAll('.rows .row')[0].classList.contains('chosen')");
    browser.press("/");
    browser.wait("the search box has the focus", "document.activeElement.matches('main input.search')");
    browser.type_text("that-ends");
    browser.wait("one row is left", "document.querySelectorAll('.rows .row').length === 1");
    browser.wait("the address says so", "location.hash.includes('q=that-ends')");
    browser.press("Escape");
    browser.wait("all rows are back", "document.querySelectorAll('.rows .row').length === 3");
    browser.press("j");
    browser.press("Enter");
    browser.wait("a task is open", "location.hash.startsWith('#/tasks/')");
    browser.press("?");
    browser.wait("the help is open", "document.querySelector('dialog.help').open");
    browser.press("Escape");
    browser.wait("the help is closed", "!document.querySelector('dialog.help').open");
    browser.press("d");
    browser.wait("it is light", "document.documentElement.dataset.theme === 'light'");
    is_content(&mut browser, &cluster);
}
