//! The first page in a real browser: agents, frameworks and tasks are there to be seen.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use mezzo_tests::cluster::Cluster;
use mezzo_tests::framework::Framework;
use mezzo_tests::{environment, part, tasks, wait};

/// Keeps a browser to what it is asked for.
const QUIET: [&str; 10] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--window-size=1280,900",
];

#[test]
fn the_page_shows_agents_frameworks_and_tasks() {
    let Some(browser) = environment::browser() else {
        return environment::skip("there is no Chromium: run `cargo xtask setup`");
    };
    let cluster = Cluster::builder().agents(2).start();
    let mut framework =
        Framework::subscribe(cluster.master_address, tasks::framework_info("a-framework-to-see", "dev"));
    framework.run("task-that-ends", "true");
    framework.wait_status("task-that-ends", "TASK_FINISHED");
    framework.run("task-that-runs", "echo to be seen; sleep 1000");
    framework.wait_status("task-that-runs", "TASK_RUNNING");
    let url = format!("http://{}/", cluster.master_address);
    let page = dump(&browser, &url, cluster.dir());
    for text in ["a-framework-to-see", "task-that-ends", "task-that-runs", "running", "finished"] {
        assert!(page.to_lowercase().contains(text), "{text:?} is not on the page:\n{page}");
    }
    for agent in cluster.agent_ids() {
        assert!(page.contains(&agent), "agent {agent} is not on the page:\n{page}");
    }
    let task = dump(&browser, &format!("{url}#/task/{}/task-that-runs", framework.id), cluster.dir());
    assert!(task.contains("to be seen"), "the task's output is not on its page:\n{task}");
    let picture = cluster.dir().join("page.png");
    ask(&browser, &[&format!("--screenshot={}", picture.display()), "--virtual-time-budget=4000", &url], cluster.dir());
    let bytes = std::fs::read(&picture).expect("the browser must draw the page");
    assert!(bytes.starts_with(b"\x89PNG") && bytes.len() > 10_000, "the picture has {} bytes", bytes.len());
}

/// The page as it is after its scripts have run.
fn dump(browser: &Path, url: &str, dir: &Path) -> String {
    ask(browser, &["--virtual-time-budget=4000", "--dump-dom", url], dir)
}

fn ask(browser: &Path, arguments: &[&str], dir: &Path) -> String {
    let profile = tempfile::Builder::new().prefix("browser-").tempdir_in(dir).unwrap();
    let output = profile.path().join("output");
    let mut child = Command::new(browser)
        .args(QUIET)
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .args(arguments)
        .env(part::MARK, dir)
        .env("HOME", profile.path())
        .stdin(Stdio::null())
        .stdout(std::fs::File::create(&output).unwrap())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    wait::until_within(Duration::from_secs(60), "the browser is done", || child.try_wait().unwrap());
    std::fs::read_to_string(output).unwrap()
}
