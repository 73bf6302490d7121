//! The web page on a large cluster: how soon it is there, how it scrolls, what it keeps, and what it costs the master. The
//! agents and tasks are made up ([`mezzo_master::stand_in`]), the doors and the browser are real.

use std::{
    net::SocketAddr,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use mezzo_master::stand_in::{self, Load};
use mezzo_tests::{browser::Browser, environment};
use serde_json::{Value, json};

use crate::{figure::Figure, process::memory};

/// What is looked for on a page that is there: an element with a figure or a row in it.
const PAGES: [(&str, &str); 4] = [
    ("overview", ".stat .value"),
    ("tasks", ".rows .row:not(.ghost)"),
    ("agents", ".rows .row:not(.ghost)"),
    ("topology", ".blocks canvas"),
];

/// Notes when the element is there, and every task of the main thread that is longer than 50 ms.
const WATCH: &str = r"
    window.longTasks = [];
    new PerformanceObserver((list) => longTasks.push(...list.getEntries().map((one) => one.duration))).observe({ type: 'longtask', buffered: true });
    const look = () => { if (document.querySelector(SELECTOR)) window.thereAt = performance.now(); else requestAnimationFrame(look); };
    look();";

/// Scrolls through the whole list, a screen in each frame, and gives the milliseconds between frames.
const SCROLL: &str = r"
    new Promise((done) => {
      const box = document.querySelector('.rows');
      const frames = [];
      let [last, count] = [performance.now(), 0];
      longTasks.length = 0;
      const step = (now) => {
        frames.push(now - last);
        last = now;
        count += 1;
        box.scrollTop = count < 200 ? box.scrollTop + 400 : (count - 200) / 200 * box.scrollHeight;
        if (count < 400) requestAnimationFrame(step); else done(frames);
      };
      requestAnimationFrame(step);
    })";

/// The process that serves: `mezzo-bench serve-page ADDRESS AGENTS TASKS CHANGES`.
pub(crate) async fn serve(words: &[String]) -> Result<()> {
    let [address, agents, tasks, changes] = words else { anyhow::bail!("ADDRESS AGENTS TASKS CHANGES are expected") };
    let load = Load { agents: agents.parse()?, tasks: tasks.parse()?, changes_per_second: changes.parse()? };
    Ok(stand_in::serve(address.parse()?, load).await?)
}

struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Measures with `load`; the page is watched for so long.
pub(crate) fn measure(load: Load, watched: Duration, as_json: bool) -> Result<()> {
    let program = environment::browser().context("there is no Chromium: run `cargo xtask setup`")?;
    let dir = tempfile::tempdir()?;
    let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let words = [load.agents, load.tasks, load.changes_per_second].map(|number| number.to_string());
    let server = Command::new(std::env::current_exe()?)
        .arg("serve-page")
        .arg(address.to_string())
        .args(words)
        .stdin(Stdio::null())
        .spawn()?;
    let server = Server(server);
    mezzo_tests::wait::until_true("the stand-in serves", || std::net::TcpStream::connect(address).is_ok());
    let print = |case: &str, value: f64, unit| {
        Figure::new("page", case, value, unit)
            .with("agents", load.agents)
            .with("tasks", load.tasks)
            .with("changes_per_second", load.changes_per_second)
            .print(as_json);
    };
    let mut browser = Browser::start(&program, dir.path());
    for (page, selector) in PAGES {
        print(&format!("first_view_{page}"), first_view(&mut browser, address, page, selector), "ms");
    }
    first_view(&mut browser, address, "tasks", PAGES[1].1);
    browser.call("Performance.enable", json!({ "timeDomain": "threadTicks" }));
    let before = main_thread(&mut browser);
    let frames = browser.eval(SCROLL);
    let after = main_thread(&mut browser);
    let mut frames: Vec<f64> = frames.as_array().into_iter().flatten().filter_map(Value::as_f64).collect();
    frames.sort_by(f64::total_cmp);
    #[expect(clippy::cast_precision_loss, reason = "four hundred frames")]
    for (part, (before, after)) in MAIN_THREAD.iter().zip(before.iter().zip(&after)) {
        let case = format!("scroll_{}_per_frame", part.to_lowercase());
        print(&case, (after - before) * 1000.0 / frames.len().max(1) as f64, "ms of processor");
    }
    print("scroll_frame_p99", crate::figure::percentile(&frames, 0.99), "ms");
    print("scroll_long_tasks", number(&browser.eval("longTasks.length")), "count");
    print("scroll_longest_task", number(&browser.eval("Math.max(0, ...longTasks)")), "ms");
    first_view(&mut browser, address, "", PAGES[0].1);
    let (before, start) = (cpu_seconds(server.0.id())?, Instant::now());
    std::thread::sleep(watched);
    let spent = (cpu_seconds(server.0.id())? - before) / start.elapsed().as_secs_f64();
    print("master_cpu_one_page", spent * 100.0, "percent");
    browser.call("HeapProfiler.collectGarbage", json!({}));
    print("page_heap", number(&browser.eval("performance.memory.usedJSHeapSize")) / 1048576.0, "MiB");
    print("watched", watched.as_secs_f64(), "s");
    #[expect(clippy::cast_precision_loss, reason = "kilobytes, to be read")]
    print("master_rss", memory(server.0.id())?.rss as f64 / 1024.0, "MiB");
    Ok(())
}

/// From the start of the navigation to the first data on the page.
fn first_view(browser: &mut Browser, address: SocketAddr, page: &str, selector: &str) -> f64 {
    browser.open("about:blank");
    let script = WATCH.replace("SELECTOR", &json!(selector).to_string());
    let added = browser.call("Page.addScriptToEvaluateOnNewDocument", json!({ "source": script }));
    browser.open(&format!("http://{address}/#/{}", if page == "overview" { "" } else { page }));
    let there = browser.wait("the page is there", "window.thereAt");
    browser.call("Page.removeScriptToEvaluateOnNewDocument", json!({ "identifier": added["identifier"] }));
    number(&there)
}

/// What the page's main thread does with its time.
const MAIN_THREAD: [&str; 4] = ["TaskDuration", "ScriptDuration", "LayoutDuration", "RecalcStyleDuration"];

/// Seconds of [`MAIN_THREAD`] so far, of processor time: what else runs on the machine does not count.
fn main_thread(browser: &mut Browser) -> [f64; 4] {
    let metrics = browser.call("Performance.getMetrics", json!({}));
    let metrics = metrics["metrics"].as_array().cloned().unwrap_or_default();
    MAIN_THREAD.map(|name| metrics.iter().find(|metric| metric["name"] == name).map_or(0.0, |it| number(&it["value"])))
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_default()
}

/// Processor time that a process has used.
fn cpu_seconds(pid: u32) -> Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks: f64 = fields[11].parse::<f64>()? + fields[12].parse::<f64>()?;
    Ok(ticks / 100.0)
}
