//! The life of one `mezzo run`: placing the task, following it, its end.

use std::{io, time::Duration};

use anyhow::{Context, bail};
use mezzo_sdk::{
    Address, Event,
    scheduler::{EndReason, Events, Handle},
    v1::{self, TaskState, TaskStatus},
};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::{Instant, sleep_until},
};

use super::{BROKEN_PIPE, INTERRUPTED, NOT_PLACED, explain, outcome, output::Output, task::Task};
use crate::args::Run;

/// Offers that do not suffice are not wanted again soon; larger ones come all the same.
const REFUSE_SECONDS: f64 = 30.0;
/// A master that is away for longer is given up: past the failover timeout, it has removed the framework.
const MASTER_AWAY: Duration = Duration::from_secs(30);
/// A teardown that takes longer is left to the failover timeout.
const TEARDOWN_WITHIN: Duration = Duration::from_secs(5);

/// What wakes a session.
enum Woken {
    Event(Option<Event>),
    Interrupt,
    ReadOutput,
    TimeIsUp,
    MasterIsGone,
}

pub(super) struct Session<'a> {
    options: &'a Run,
    task: Task,
    scheduler: Handle,
    events: Events,
    started: Instant,
    subscribed: Option<(v1::FrameworkId, Address)>,
    /// Since when the master is away.
    away_since: Option<Instant>,
    /// Of the last attempt to subscribe.
    trouble: Option<String>,
    placed: Option<Placed>,
    interrupted: bool,
    broken_pipe: bool,
}

/// The task was sent to an agent.
struct Placed {
    agent: v1::AgentId,
    host: String,
    output: Output,
    /// While the task runs.
    read_at: Option<Instant>,
    state: TaskState,
}

impl<'a> Session<'a> {
    pub(super) fn new(options: &'a Run, task: Task, scheduler: Handle, events: Events) -> Self {
        Self {
            options,
            task,
            scheduler,
            events,
            started: Instant::now(),
            subscribed: None,
            away_since: None,
            trouble: None,
            placed: None,
            interrupted: false,
            broken_pipe: false,
        }
    }

    /// Returns the exit code.
    pub(super) async fn run(mut self) -> anyhow::Result<u8> {
        let mut interrupts = Interrupts::new().context("cannot listen for signals")?;
        loop {
            let code = match self.wait(&mut interrupts).await {
                Woken::Event(Some(event)) => self.event(event).await?,
                Woken::Event(None) => bail!("the connection to the master has ended"),
                Woken::Interrupt => self.interrupt(),
                Woken::ReadOutput => self.read_output().await,
                Woken::TimeIsUp => Some(self.time_is_up().await?),
                Woken::MasterIsGone => bail!(
                    "no master for {} s ({}): what became of the task is not known",
                    MASTER_AWAY.as_secs(),
                    self.trouble.as_deref().unwrap_or("no answer")
                ),
            };
            if let Some(code) = code {
                self.leave().await;
                return Ok(code);
            }
        }
    }

    async fn wait(&mut self, interrupts: &mut Interrupts) -> Woken {
        let placing = self.placed.is_none() && self.options.timeout > 0.0;
        let give_up_at = self.started + Duration::from_secs_f64(self.options.timeout);
        let read_at = self.placed.as_ref().and_then(|placed| placed.read_at);
        let gone_at = self.away_since.map(|since| since + MASTER_AWAY);
        tokio::select! {
            event = self.events.recv() => Woken::Event(event),
            () = interrupts.next() => Woken::Interrupt,
            () = sleep_until(read_at.unwrap_or(give_up_at)), if read_at.is_some() => Woken::ReadOutput,
            () = sleep_until(give_up_at), if placing => Woken::TimeIsUp,
            () = sleep_until(gone_at.unwrap_or(give_up_at)), if gone_at.is_some() => Woken::MasterIsGone,
        }
    }

    async fn event(&mut self, event: Event) -> anyhow::Result<Option<u8>> {
        match event {
            Event::Subscribed(event) => {
                if let Some(placed) = &mut self.placed {
                    placed.output.follow(&event.address);
                }
                self.subscribed = Some((event.framework_id, event.address));
                self.away_since = None;
                self.trouble = None;
            }
            Event::Retrying { master, reason, delay } => self.retrying(master, reason, delay)?,
            Event::Disconnected { reason } => {
                self.away_since = Some(Instant::now());
                self.say(format_args!("lost the master ({reason}); coming back to it"));
            }
            Event::Offers(offers) => self.offers(offers),
            Event::Update(status) if status.task_id.value == self.task.id => return self.update(&status).await,
            Event::Rejected { call, error } => self.say(format_args!("{}: {error}", call.as_str_name())),
            Event::Ended(EndReason::Removed) => bail!("the framework was torn down: the task is killed"),
            Event::Ended(reason) => bail!("{reason}"),
            _ => {}
        }
        Ok(None)
    }

    /// At the first contact, a master that nobody listens for is an error at once; later it may come back.
    fn retrying(&mut self, master: Option<Address>, reason: String, delay: Duration) -> anyhow::Result<()> {
        let detected = self.options.master().contains("zk://") || self.options.master().starts_with("file://");
        if self.subscribed.is_none() && !detected && !delay.is_zero() && reason.starts_with("cannot connect") {
            bail!(
                "{reason}\n  Is a master running there? `mezzo local` starts a cluster on this machine; \
                 --master or MEZZO_MASTER names another one."
            );
        }
        if self.trouble.as_ref() != Some(&reason) {
            let master = master.map(|master| master.to_string()).unwrap_or_default();
            self.say(format_args!("waiting for {master}: {reason}"));
            self.trouble = Some(reason);
        }
        Ok(())
    }

    fn offers(&mut self, offers: Vec<v1::Offer>) {
        let mut declined = Vec::new();
        for offer in offers {
            let task = if self.placed.is_some() || self.interrupted { None } else { self.task.fit(&offer) };
            match (task, &self.subscribed) {
                (Some(task), Some((framework, master))) => {
                    let output = Output::new(master.clone(), framework, &self.task.id, &offer);
                    self.placed = Some(Placed {
                        agent: offer.agent_id.clone(),
                        host: offer.hostname.clone(),
                        output,
                        read_at: None,
                        state: TaskState::TaskStaging,
                    });
                    self.scheduler.launch([offer.id], vec![task], refuse());
                }
                _ => declined.push(offer.id),
            }
        }
        if self.placed.is_some() {
            self.scheduler.suppress(Vec::new());
        }
        if !declined.is_empty() {
            self.scheduler.decline(declined, refuse());
        }
    }

    async fn update(&mut self, status: &TaskStatus) -> anyhow::Result<Option<u8>> {
        let Some(placed) = &mut self.placed else { return Ok(None) };
        let state = status.state();
        if placed.state == TaskState::TaskStaging {
            let line = format!("task {} on {}", self.task.id, placed.host);
            self.say(format_args!("{line}"));
        }
        let Some(placed) = &mut self.placed else { return Ok(None) };
        let changed = std::mem::replace(&mut placed.state, state) != state;
        let Some(code) = outcome::exit_code(status) else {
            if state == TaskState::TaskRunning && placed.read_at.is_none() {
                placed.read_at = Some(Instant::now() + placed.output.wait());
            }
            if changed && state != TaskState::TaskStarting {
                self.say_state(status);
            }
            return Ok(None);
        };
        if let Err(error) = placed.output.pass_on().await {
            return Ok(Some(self.cannot_write(&error)));
        }
        let problem = placed.output.problem().map(str::to_owned);
        self.say_state(status);
        if let (Some(problem), TaskState::TaskFinished | TaskState::TaskFailed | TaskState::TaskKilled) =
            (problem, state)
        {
            eprintln!("mezzo: the task's output cannot be read: {problem}");
        }
        Ok(Some(match (self.broken_pipe, self.interrupted && state == TaskState::TaskKilled) {
            (true, _) => BROKEN_PIPE,
            (false, true) => INTERRUPTED,
            (false, false) => code,
        }))
    }

    async fn read_output(&mut self) -> Option<u8> {
        let placed = self.placed.as_mut()?;
        match placed.output.pass_on().await {
            Ok(()) => {
                placed.read_at = Some(Instant::now() + placed.output.wait());
                None
            }
            Err(error) => {
                placed.read_at = None;
                self.broken_pipe = true;
                self.kill();
                (error.kind() != io::ErrorKind::BrokenPipe).then(|| self.cannot_write(&error))
            }
        }
    }

    fn cannot_write(&self, error: &io::Error) -> u8 {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return BROKEN_PIPE;
        }
        eprintln!("mezzo: cannot write the task's output: {error}");
        super::OWN_FAILURE
    }

    /// The first Ctrl-C kills the task, a second one leaves.
    fn interrupt(&mut self) -> Option<u8> {
        if self.interrupted || self.placed.is_none() {
            return Some(INTERRUPTED);
        }
        self.interrupted = true;
        self.say(format_args!("killing the task; Ctrl-C again leaves at once"));
        self.kill();
        None
    }

    fn kill(&self) {
        if let Some(placed) = &self.placed {
            let task = v1::TaskId { value: self.task.id.clone() };
            self.scheduler.kill(task, Some(placed.agent.clone()), None);
        }
    }

    async fn time_is_up(&mut self) -> anyhow::Result<u8> {
        let Some((_, master)) = &self.subscribed else {
            let trouble = self.trouble.take().unwrap_or_else(|| "no answer".to_owned());
            bail!("not subscribed with {} within {} s: {trouble}", self.options.shown_master(), self.options.timeout);
        };
        let cluster = explain::cluster(master.clone()).await;
        eprintln!(
            "mezzo: nothing suitable was offered within {} s (--timeout).\n  asked for: {} in role {}\n{cluster}",
            self.options.timeout,
            self.task.needs(),
            self.options.role
        );
        Ok(NOT_PLACED)
    }

    /// Removes the framework, so that nothing of it is left; if the master is away, its failover timeout does.
    async fn leave(&mut self) {
        if self.subscribed.is_some() && self.away_since.is_none() {
            let _ = tokio::time::timeout(TEARDOWN_WITHIN, self.scheduler.teardown()).await;
        }
    }

    fn say_state(&self, status: &TaskStatus) {
        let name = status.state().as_str_name().trim_start_matches("TASK_").to_lowercase();
        let seconds = self.started.elapsed().as_secs_f64();
        let message = status.message().trim();
        match (status.state(), message.is_empty()) {
            (TaskState::TaskRunning, _) | (_, true) => self.say(format_args!("{name} after {seconds:.2} s")),
            _ => self.say(format_args!("{name} after {seconds:.2} s: {message}")),
        }
    }

    fn say(&self, text: std::fmt::Arguments<'_>) {
        if !self.options.quiet {
            eprintln!("mezzo: {text}");
        }
    }
}

fn refuse() -> Option<v1::Filters> {
    Some(v1::Filters { refuse_seconds: Some(REFUSE_SECONDS) })
}

/// Ctrl-C and its like.
struct Interrupts {
    interrupt: Signal,
    terminate: Signal,
}

impl Interrupts {
    fn new() -> io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
