//! The web page in a real browser.

mod access;
mod actions;
mod failover;
mod hostile;
mod live;
mod login;
mod operations;
mod pages;
mod pictures;
mod reach;
mod terminal;

use mezzo_tests::browser::Browser;
use mezzo_tests::cluster::{Builder, Cluster};
use mezzo_tests::framework::Framework;
use mezzo_tests::{environment, tasks};

/// A cluster and a browser that looks at it; nothing where there is no browser.
fn looked_at(builder: Builder) -> Option<(Cluster, Browser)> {
    let Some(program) = environment::browser() else {
        environment::skip("there is no Chromium: run `cargo xtask setup`");
        return None;
    };
    let cluster = builder.start();
    let mut browser = Browser::start(&program, cluster.dir());
    browser.open(&format!("http://{}/", cluster.master_address));
    browser.wait("the page is live", "document.querySelector('#link')?.textContent === 'live'");
    Some((cluster, browser))
}

/// A framework with a task that runs and prints, one that finished and one that failed.
fn with_tasks(cluster: &Cluster) -> Framework {
    let mut framework = Framework::subscribe(cluster.master_address, tasks::framework_info("a-framework", "dev"));
    framework.run("task-that-runs", "echo to be seen; echo and told >&2; while true; do sleep 0.1; date +%N; done");
    framework.wait_status("task-that-runs", "TASK_RUNNING");
    framework.run("task-that-ends", "true");
    framework.wait_status("task-that-ends", "TASK_FINISHED");
    framework.run("task-that-fails", "exit 7");
    framework.wait_status("task-that-fails", "TASK_FAILED");
    framework
}

/// Nothing that the page did was refused, thrown or warned of, and it asked nobody but the master.
fn is_content(browser: &mut Browser, cluster: &Cluster) {
    assert_eq!(browser.complaints(), [""; 0]);
    let own = format!("http://{}/", cluster.master_address);
    for url in browser.requests() {
        // The browser's own parts, as the button of a date, are drawn from data.
        assert!(url.starts_with(&own) || url.starts_with("data:"), "the page asked {url}");
    }
}

/// The agent that a task runs on.
fn agent_of(framework: &mut Framework, task: &str) -> String {
    let status = framework.wait_status(task, "TASK_RUNNING");
    status["agent_id"]["value"].as_str().unwrap_or_default().to_owned()
}
