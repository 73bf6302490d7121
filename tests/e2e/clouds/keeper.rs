//! A framework that keeps so many tasks running, wherever they go: what is lost it launches elsewhere, what comes back beyond
//! that it kills.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use mezzo_tests::framework::Framework;
use mezzo_tests::{http, tasks, wait};
use serde_json::{Value, json};

/// A task that was launched.
#[derive(Clone, Debug)]
pub(super) struct Task {
    pub(super) agent: String,
    pub(super) port: u64,
    /// The latest state that was told.
    pub(super) state: String,
    /// Nobody wants it any more.
    killed: bool,
}

impl Task {
    /// One that was just launched.
    pub(super) fn on(agent: &str, port: u64) -> Self {
        Self { agent: agent.to_owned(), port, state: "launched".to_owned(), killed: false }
    }

    /// Whether it counts as one of those that are wanted.
    fn counts(&self) -> bool {
        !self.killed && matches!(self.state.as_str(), "launched" | "TASK_STAGING" | "TASK_STARTING" | "TASK_RUNNING")
    }

    /// Whether it may use what it was given.
    pub(super) fn may_live(&self) -> bool {
        !tasks::is_terminal(&self.state)
    }
}

/// The framework.
pub(super) struct Keeper {
    framework: Framework,
    masters: Vec<SocketAddr>,
    /// The one that it is subscribed with.
    master: SocketAddr,
    wanted: usize,
    /// One agent gets no more.
    pub(super) share: usize,
    pub(super) tasks: BTreeMap<String, Task>,
    /// States in the order in which they were told, by task.
    pub(super) told: Vec<(String, String)>,
    count: u32,
    /// When anything came last, heartbeats too.
    heard: Instant,
    /// When it last asked what became of its tasks.
    asked: Instant,
}

/// The master sends a heartbeat every 15 s: who hears nothing for longer has a dead connection.
const SILENCE: Duration = Duration::from_secs(20);
/// How often it asks for everything that may live.
const RECONCILIATION: Duration = Duration::from_secs(5);

impl Keeper {
    /// Subscribes with whoever leads.
    pub(super) fn start(masters: &[SocketAddr], name: &str, checkpoint: bool, wanted: usize) -> Self {
        let mut info = tasks::framework_info(name, "dev");
        info["checkpoint"] = json!(checkpoint);
        info["capabilities"].as_array_mut().expect("a list").push(json!({"type": "REGION_AWARE"}));
        let (framework, master) = wait::until("a master takes the framework", || subscribe(masters, &info));
        let heard = Instant::now();
        Self {
            framework,
            masters: masters.to_vec(),
            master,
            wanted,
            share: wanted,
            tasks: BTreeMap::new(),
            told: Vec::new(),
            count: 0,
            heard,
            asked: heard,
        }
    }

    pub(super) fn id(&self) -> &str {
        &self.framework.id
    }

    /// The command of a task: its number tells its process from others'.
    pub(super) fn command(&self, number: u32) -> String {
        format!("exec sleep 90000.{number:05}")
    }

    /// Takes what comes, for so long, and does what follows from it.
    pub(super) fn work(&mut self, patience: Duration) {
        if let Some(event) = self.framework.next(patience) {
            self.heard = Instant::now();
            if event["type"] == "UPDATE" {
                self.update(&event["update"]["status"]);
            }
        }
        if self.framework.closed.is_some() || self.heard.elapsed() > SILENCE {
            self.come_back();
        }
        if self.asked.elapsed() > RECONCILIATION {
            // A call to a master that was cut off would be waited for.
            if self.masters.len() > 1 && !leads(self.master) {
                self.come_back();
            }
            self.reconcile();
        }
        self.launch();
        self.kill_surplus();
    }

    /// Works until `done`.
    pub(super) fn work_until(&mut self, patience: Duration, what: &str, mut done: impl FnMut(&mut Self) -> bool) {
        wait::until_within(patience, what, || {
            self.work(Duration::from_millis(20));
            done(self).then_some(())
        });
    }

    fn update(&mut self, status: &Value) {
        let id = status["task_id"]["value"].as_str().unwrap_or_default();
        let state = status["state"].as_str().unwrap_or_default().to_owned();
        let Some(task) = self.tasks.get_mut(id) else { return };
        // What it knows already is no news: answers to its own questions.
        if task.state != state {
            self.told.push((id.to_owned(), state.clone()));
            task.state = state;
        }
    }

    /// Subscribes again, and asks for everything that it knows.
    fn come_back(&mut self) {
        let (masters, info) = (self.masters.clone(), self.framework.info().clone());
        let back = wait::until_within(Duration::from_secs(90), "the framework is subscribed again", || {
            subscribe(&masters, &info)
        });
        (self.framework, self.master) = back;
        self.heard = Instant::now();
        self.reconcile();
    }

    /// Asks for every task that may live.
    fn reconcile(&mut self) {
        self.asked = Instant::now();
        let open = self.tasks.iter().filter(|(_, task)| task.may_live());
        let open: Vec<Value> =
            open.map(|(id, task)| json!({"task_id": {"value": id}, "agent_id": {"value": task.agent}})).collect();
        if !open.is_empty() {
            let _ = self.framework.try_call("RECONCILE", json!({"tasks": open}));
        }
    }

    fn counting(&self) -> usize {
        self.tasks.values().filter(|task| task.counts()).count()
    }

    fn launch(&mut self) {
        let offers: Vec<Value> = self.framework.offers.values().cloned().collect();
        for offer in offers {
            self.framework.offers.remove(offer["id"]["value"].as_str().unwrap_or_default());
            let agent = tasks::agent_of(&offer).to_owned();
            let missing = self.wanted.saturating_sub(self.counting());
            // One agent shall not have them all.
            let there = self.tasks.values().filter(|task| task.counts() && task.agent == agent).count();
            let share = self.share.saturating_sub(there).min(missing).min(self.wanted.div_ceil(2));
            let chosen: Vec<Value> =
                tasks::ports(&offer).into_iter().take(share).map(|port| self.task(&agent, port)).collect();
            let operations = if chosen.is_empty() {
                json!([])
            } else {
                json!([{"type": "LAUNCH", "launch": {"task_infos": chosen}}])
            };
            let filters = json!({"refuse_seconds": 0.2});
            let body = json!({"offer_ids": [offer["id"]], "operations": operations, "filters": filters});
            let _ = self.framework.try_call("ACCEPT", body);
        }
    }

    fn task(&mut self, agent: &str, port: u64) -> Value {
        self.count += 1;
        let id = format!("{:05}", self.count);
        let mut task = tasks::command(&id, agent, &self.command(self.count));
        task["resources"].as_array_mut().expect("resources are a list").push(tasks::port(port));
        self.tasks.insert(id, Task::on(agent, port));
        task
    }

    /// The oldest stay.
    fn kill_surplus(&mut self) {
        let running: Vec<String> =
            self.tasks.iter().filter(|(_, task)| task.counts()).map(|(id, _)| id.clone()).collect();
        for id in running.iter().skip(self.wanted) {
            if let Some(task) = self.tasks.get_mut(id) {
                let agent = json!({"value": task.agent});
                task.killed = true;
                let _ = self.framework.try_call("KILL", json!({"task_id": {"value": id}, "agent_id": agent}));
            }
        }
    }

    /// Ids of the tasks that it believes to run.
    pub(super) fn running(&self) -> BTreeSet<String> {
        let running = |task: &Task| task.state == "TASK_RUNNING" && !task.killed;
        self.tasks.iter().filter(|(_, task)| running(task)).map(|(id, _)| id.clone()).collect()
    }

    /// As many run as are wanted, and nothing else may.
    pub(super) fn is_content(&self) -> bool {
        let may_live = self.tasks.values().filter(|task| task.may_live()).count();
        self.running().len() == self.wanted && may_live == self.wanted
    }

    /// The updates since a mark in `told`.
    pub(super) fn told_since(&self, mark: usize) -> Vec<String> {
        self.told[mark..].iter().map(|(id, state)| format!("{id} {state}")).collect()
    }

    /// Whether it is subscribed with this master.
    pub(super) fn follows(&self, master: SocketAddr) -> bool {
        self.master == master && self.framework.closed.is_none()
    }

    /// It wants one more.
    pub(super) fn grow(&mut self) {
        self.wanted += 1;
    }

    pub(super) fn end(self) {
        self.framework.teardown();
    }
}

/// Whether this master answers for itself: a standby sends on, and one that is cut off is not waited for.
pub(super) fn leads(master: SocketAddr) -> bool {
    TcpStream::connect_timeout(&master, Duration::from_millis(500)).is_ok()
        && http::send(master, &http::Request::get("/slaves")).is_ok_and(|response| response.status() == 200)
}

/// With the first master that leads and takes it.
fn subscribe(masters: &[SocketAddr], info: &Value) -> Option<(Framework, SocketAddr)> {
    masters.iter().filter(|master| leads(**master)).find_map(|master| {
        let framework = Framework::try_subscribe(mezzo_api::codec::Encoding::Json, *master, info.clone()).ok()?;
        Some((framework, *master))
    })
}
