//! How soon a change is on an open page: from the TASK_RUNNING that a framework is told to the row that says so, on a small
//! cluster of real processes, in a real browser.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use mezzo_sdk::{Encoding, Event, v1};
use mezzo_tests::{browser::Browser, environment};
use serde_json::json;

use crate::{
    cluster::Cluster,
    figure::{Figure, percentile},
    framework::{Framework, Wanted},
};

/// Tasks that are looked for, one after the other.
const SAMPLES: usize = 50;

/// When the row of `ID` is there, in milliseconds of the clock.
const LOOK: &str = r"
    new Promise((done) => {
      const says = (row) => new RegExp(ID + '\\b').test(row.innerText) && row.innerText.includes('running');
      const look = () => [...document.querySelectorAll('.rows .row')].some(says) ? done(Date.now()) : setTimeout(look, 5);
      look();
    })";

/// Measures it.
pub(crate) async fn measure(as_json: bool) -> Result<()> {
    let program = environment::browser().context("there is no Chromium: run `cargo xtask setup`")?;
    let dir = tempfile::tempdir()?;
    let cluster = Cluster::start(1, "cpus:32;mem:4096;disk:1024;ports:[31000-32000]")?;
    let mut browser = Browser::start(&program, dir.path());
    let wanted = Wanted { argv: vec!["sleep".into(), "1000".into()], cpus: 0.1, mem: 16.0 };
    let mut framework = Framework::start(&cluster.address, Encoding::Protobuf, wanted).await?;
    browser.open(&format!("http://{}/#/tasks", cluster.address));
    browser.wait("the page is live", "document.querySelector('#link')?.textContent === 'live'");
    let mut seen = Vec::with_capacity(SAMPLES);
    for _ in 0..SAMPLES {
        let task = run(&mut framework).await?;
        let told = now_ms();
        // The browser is spoken to from this thread: meanwhile nobody else wants it.
        let there = browser.eval(&LOOK.replace("ID", &json!(task).to_string()));
        seen.push((there.as_f64().unwrap_or_default() - told).max(0.0));
    }
    framework.scheduler.teardown().await?;
    seen.sort_by(f64::total_cmp);
    for (case, share) in [("change_seen_p50", 0.5), ("change_seen_max", 1.0)] {
        Figure::new("page", case, percentile(&seen, share), "ms").with("samples", SAMPLES).print(as_json);
    }
    Ok(())
}

/// Launches one task; its id once it runs.
async fn run(framework: &mut Framework) -> Result<String> {
    let offer = framework.offer().await?;
    let tasks = framework.launch(&offer, 1);
    loop {
        match framework.event().await? {
            Event::Update(status) if status.state() == v1::TaskState::TaskRunning => break,
            Event::Offers(offers) => framework.keep(offers),
            _ => {}
        }
    }
    tasks.into_iter().next().context("no task was launched: the offer is too small")
}

fn now_ms() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64() * 1000.0
}
