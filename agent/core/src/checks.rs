//! Checks and health checks of the tasks whose executor the agent plays (src/checks/checker_process.cpp,
//! src/checks/checker.cpp, src/checks/health_checker.cpp): when a task is looked at, and what follows from what is seen.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use mezzo_api::{
    ids::{ContainerId, ExecutorId, FrameworkId, TaskId},
    time::Now,
    v1::{self, CheckStatusInfo, check_info, check_status_info, health_check, network_info},
};

use crate::{
    container::{ContainerEvent, Outcome, Probe, Stop},
    core::Core,
    effect::{Effect, Effects},
    played::Found,
    record::{self, Entry},
    run::{Health, Run, Spec, Why},
    status,
    timers::{Handle, Timer},
};

/// Which of a task's two checkers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Tells what it finds.
    Check,
    /// Judges, and kills.
    Health,
}

/// One of them at work.
#[derive(Debug)]
pub(crate) struct Checker {
    kind: Kind,
    what: What,
    interval: Duration,
    /// None is for ever.
    timeout: Option<Duration>,
    /// For the next look, or the end of the present one.
    timer: Option<Handle>,
    looking: Option<ContainerId>,
    /// What a check has told last; what health checks found is with the run, since it outlives the agent.
    previous: CheckStatusInfo,
    grace: GracePeriod,
    /// Of failures in a row, for a health check.
    limit: u32,
}

/// In which failures before the first success do not count.
#[derive(Clone, Copy, Debug)]
struct GracePeriod {
    length: Duration,
    until: Duration,
}

/// Between the first looks of a task's two checkers.
const APART: Duration = Duration::from_millis(50);

/// How to look.
#[derive(Clone, Debug, PartialEq)]
enum What {
    Command(Box<v1::CommandInfo>),
    Net(Probe),
}

/// What a health check decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    healthy: bool,
    kill: bool,
}

impl Checker {
    fn of_check(check: &v1::CheckInfo, previous: Option<CheckStatusInfo>) -> Option<Self> {
        let what = match check.r#type() {
            check_info::Type::Command => What::Command(Box::new(check.command.as_ref()?.command.clone())),
            check_info::Type::Http => {
                let http = check.http.as_ref()?;
                What::Net(http_probe("http", http.port, http.path.as_deref(), false))
            }
            check_info::Type::Tcp => What::Net(tcp_probe(check.tcp.as_ref()?.port, false)?),
            check_info::Type::Unknown => return None,
        };
        Some(Self {
            kind: Kind::Check,
            what,
            interval: seconds(check.interval_seconds()),
            timeout: Some(seconds(check.timeout_seconds())).filter(|timeout| !timeout.is_zero()),
            timer: None,
            looking: None,
            previous: previous.unwrap_or_else(|| empty_status(check.r#type())),
            grace: GracePeriod { length: Duration::ZERO, until: Duration::ZERO },
            limit: 0,
        })
    }

    /// `born` is when the task was started.
    fn of_health(check: &v1::HealthCheck, born: Duration) -> Option<Self> {
        let is_v6 = |protocol| protocol == network_info::Protocol::IPv6;
        let what = match check.r#type() {
            health_check::Type::Command => What::Command(Box::new(check.command.clone()?)),
            health_check::Type::Http => {
                let http = check.http.as_ref()?;
                let scheme = http.scheme.as_deref().unwrap_or("http");
                What::Net(http_probe(scheme, http.port, http.path.as_deref(), is_v6(http.protocol())))
            }
            health_check::Type::Tcp => {
                let tcp = check.tcp.as_ref()?;
                What::Net(tcp_probe(tcp.port, is_v6(tcp.protocol()))?)
            }
            health_check::Type::Unknown => return None,
        };
        let grace = seconds(check.grace_period_seconds());
        Some(Self {
            kind: Kind::Health,
            what,
            interval: seconds(check.interval_seconds()),
            timeout: Some(seconds(check.timeout_seconds())).filter(|timeout| !timeout.is_zero()),
            timer: None,
            looking: None,
            previous: CheckStatusInfo::default(),
            grace: GracePeriod { length: grace, until: born + grace },
            limit: check.consecutive_failures(),
        })
    }

    /// What a check tells of an outcome, if it is news.
    fn tell(&mut self, outcome: &Outcome) -> Option<CheckStatusInfo> {
        let mut status = empty_status(self.previous.r#type());
        match outcome {
            Outcome::Exited(code) => status.command = Some(check_status_info::Command { exit_code: Some(*code) }),
            Outcome::Http(code) => {
                status.http = Some(check_status_info::Http { status_code: Some(u32::from(*code)) });
            }
            Outcome::Tcp(succeeded) => status.tcp = Some(check_status_info::Tcp { succeeded: Some(*succeeded) }),
            Outcome::Error(_) => {}
        }
        if status == self.previous {
            return None;
        }
        self.previous = status;
        Some(status)
    }

    /// What a health check says of an outcome, if it is anything.
    fn judge(&self, now: Duration, health: &mut Health, outcome: &Outcome) -> Option<Verdict> {
        let healthy = match outcome {
            Outcome::Exited(code) => *code == 0,
            Outcome::Http(code) => (200..400).contains(code),
            Outcome::Tcp(succeeded) => *succeeded,
            Outcome::Error(_) => false,
        };
        if healthy {
            let news = !health.succeeded || health.failures > 0;
            *health = Health { failures: 0, succeeded: true };
            return news.then_some(Verdict { healthy: true, kill: false });
        }
        let forgiven = !health.succeeded && !self.grace.length.is_zero() && now <= self.grace.until;
        if forgiven {
            return None;
        }
        health.failures += 1;
        Some(Verdict { healthy: false, kill: health.failures >= self.limit })
    }
}

impl Core {
    /// The task runs: its checkers begin; `again`, at once, since an earlier life of the agent had begun them.
    pub(crate) fn start_checks(&mut self, now: Now, container: &ContainerId, again: bool) {
        let Some((framework, id, task)) = self.played_in(container) else { return };
        let Some(executor) = self.executor(&framework, &id) else { return };
        let told = executor.launched.get(&task).and_then(|task| task.statuses.last()?.check_status);
        let Some(run) = executor.run_mut(&task).filter(|run| run.checkers.is_empty()) else { return };
        let spec = run.spec.clone();
        let passed = Duration::try_from_secs_f64(now.timestamp() - run.started_at).unwrap_or_default();
        let born = now.mono.saturating_sub(passed);
        let mut begun = Vec::new();
        if let Some(check) = &spec.check
            && let Some(checker) = Checker::of_check(check, told)
        {
            begun.push((checker, seconds(check.delay_seconds())));
        }
        if let Some(check) = &spec.health_check
            && let Some(checker) = Checker::of_health(check, born)
        {
            // Not at the very moment of the check: what both find is then told in one order.
            let apart = if begun.is_empty() { Duration::ZERO } else { APART };
            begun.push((checker, seconds(check.delay_seconds()) + apart));
        }
        for (checker, delay) in &mut begun {
            let delay = if again { Duration::ZERO } else { *delay };
            checker.timer = Some(self.timers.set(now.mono + delay, Timer::Check(container.clone(), checker.kind)));
        }
        if let Some(run) = self.run_in(container) {
            run.checkers = begun.into_iter().map(|(checker, _)| checker).collect();
        }
    }

    /// The task is killed or over: nobody looks at it any more.
    pub(crate) fn end_checks(&mut self, container: &ContainerId, out: &mut Effects) {
        let Some(run) = self.run_in(container) else { return };
        for checker in std::mem::take(&mut run.checkers) {
            self.timers.cancel(checker.timer);
            if let Some(probe) = checker.looking {
                self.end_probe(&probe, &checker.what, out);
            }
        }
    }

    fn end_probe(&mut self, probe: &ContainerId, what: &What, out: &mut Effects) {
        match what {
            // Its end still comes, and is let go then.
            What::Command(_) => out.push(Effect::Stop(probe.clone(), Stop::Kill)),
            What::Net(_) => {
                self.probes.remove(probe);
                out.push(Effect::EndProbe(probe.clone()));
            }
        }
    }

    /// It is time to look at a task.
    pub(crate) fn check_due(&mut self, now: Now, container: &ContainerId, kind: Kind, out: &mut Effects) {
        let Some(checker) = self.checker(container, kind) else { return };
        checker.timer = None;
        if checker.looking.is_some() {
            return;
        }
        let (what, timeout) = (checker.what.clone(), checker.timeout);
        let probe = ContainerId::from(status::uuid(&mut self.random).to_string());
        self.probes.insert(probe.clone(), (container.clone(), kind));
        if let Some(checker) = self.checker(container, kind) {
            checker.looking = Some(probe.clone());
        }
        match what {
            What::Command(command) => match self.check_command(container, &probe, &command) {
                Ok(launch) => out.push(Effect::Launch(Box::new(launch))),
                Err(why) => return self.looked(now, &probe, &Outcome::Error(why), out),
            },
            What::Net(probing) => {
                let inside = self.has_own_network(container).then(|| container.clone());
                out.push(Effect::Probe { id: probe, probe: probing, inside });
            }
        }
        let timer =
            timeout.map(|timeout| self.timers.set(now.mono + timeout, Timer::CheckTimeout(container.clone(), kind)));
        if let Some(checker) = self.checker(container, kind) {
            checker.timer = timer;
        }
    }

    /// It takes too long.
    pub(crate) fn check_timeout(&mut self, now: Now, container: &ContainerId, kind: Kind, out: &mut Effects) {
        let Some(checker) = self.checker(container, kind) else { return };
        checker.timer = None;
        let Some(probe) = checker.looking.clone() else { return };
        let (what, timeout) = (checker.what.clone(), checker.timeout.unwrap_or_default());
        let text = format!("timed out after {}", mezzo_api::time::format_duration(timeout));
        self.looked(now, &probe, &Outcome::Error(text), out);
        if let What::Command(_) = what {
            // Not to be taken for a container that nobody knows.
            self.probes.insert(probe.clone(), (container.clone(), kind));
        }
        self.end_probe(&probe, &what, out);
    }

    /// What the shell saw of a [`Probe`].
    pub fn probed(&mut self, now: Now, probe: &ContainerId, outcome: &Outcome, out: &mut Effects) {
        self.looked(now, probe, outcome, out);
    }

    /// The command of a check is over, or never ran. `false` if it is none.
    pub(crate) fn check_command_event(
        &mut self,
        now: Now,
        probe: &ContainerId,
        event: &ContainerEvent,
        out: &mut Effects,
    ) -> bool {
        if !self.probes.contains_key(probe) {
            return false;
        }
        let outcome = match event {
            ContainerEvent::Running { .. } => return true,
            ContainerEvent::Failed { message } => Outcome::Error(message.clone()),
            ContainerEvent::Exited { status: Some(status) } if status & 0x7f == 0 => {
                Outcome::Exited((status >> 8) & 0xff)
            }
            ContainerEvent::Exited { status: Some(status) } => Outcome::Error(status::describe_exit(*status)),
            ContainerEvent::Exited { status: None } => Outcome::Error("its end was not seen".into()),
            ContainerEvent::Limited { limitation, .. } => Outcome::Error(limitation.message.clone()),
        };
        self.looked(now, probe, &outcome, out);
        self.probes.remove(probe);
        out.push(Effect::Forget(probe.clone()));
        true
    }

    /// A look at a task is over.
    fn looked(&mut self, now: Now, probe: &ContainerId, outcome: &Outcome, out: &mut Effects) {
        let Some((container, kind)) = self.probes.remove(probe) else { return };
        let Some(checker) = self.checker(&container, kind).filter(|checker| checker.looking.as_ref() == Some(probe))
        else {
            return;
        };
        checker.looking = None;
        let (timer, interval) = (checker.timer.take(), checker.interval);
        self.timers.cancel(timer);
        let next = self.timers.set(now.mono + interval, Timer::Check(container.clone(), kind));
        if let Some(checker) = self.checker(&container, kind) {
            checker.timer = Some(next);
        }
        let Some((framework, id, task)) = self.played_in(&container) else { return };
        if let Outcome::Error(why) = outcome {
            tracing::debug!(%framework, %task, ?kind, "a check failed: {why}");
        }
        match kind {
            Kind::Check => {
                let told = self.checker(&container, kind).and_then(|checker| checker.tell(outcome));
                if let Some(check_status) = told {
                    self.checked_update(now, &framework, &id, &task, Found::Check(check_status), out);
                }
            }
            Kind::Health => self.judged(now, (&framework, &id, &task), outcome, out),
        }
    }

    fn judged(
        &mut self,
        now: Now,
        (framework, id, task): (&FrameworkId, &ExecutorId, &TaskId),
        outcome: &Outcome,
        out: &mut Effects,
    ) {
        let Some(run) = self.executor(framework, id).and_then(|executor| executor.run_mut(task)) else { return };
        let mut health = run.health;
        let Some(verdict) = run
            .checkers
            .iter()
            .find(|checker| checker.kind == Kind::Health)
            .and_then(|checker| checker.judge(now.mono, &mut health, outcome))
        else {
            return;
        };
        run.health = health;
        let entry = Entry::Health(record::Health {
            framework_id: framework.proto(),
            task_id: task.proto(),
            failures: health.failures,
            succeeded: health.succeeded,
        });
        self.record(entry, out);
        self.checked_update(now, framework, id, task, Found::Health(verdict.healthy), out);
        if verdict.kill {
            tracing::info!(%framework, %task, failures = health.failures, "killing an unhealthy task");
            let grace = self.run_grace(framework, id, task, None);
            self.kill_run(now, (framework, id, task), grace, Why::Unhealthy, out);
        }
    }

    fn has_own_network(&mut self, container: &ContainerId) -> bool {
        let Some((framework, id, task)) = self.played_in(container) else { return false };
        self.executor(&framework, &id).is_some_and(|executor| executor.network_of(&task).is_some())
    }

    fn checker(&mut self, container: &ContainerId, kind: Kind) -> Option<&mut Checker> {
        self.run_in(container)?.checkers.iter_mut().find(|checker| checker.kind == kind)
    }
}

impl Spec {
    /// Whether anything is to be looked at.
    pub(crate) fn is_checked(&self) -> bool {
        self.check.is_some() || self.health_check.is_some()
    }
}

impl Run {
    /// What the core's invariants hold: each checker waits for something, none beside a kill.
    pub(crate) fn check_checkers(&self) {
        for checker in &self.checkers {
            assert!(self.kill.is_none(), "a task that is killed is still checked");
            assert!(checker.looking.is_some() || checker.timer.is_some(), "a checker of {} is stuck", self.task);
        }
    }
}

/// The status of a check that has found nothing yet.
pub(crate) fn empty_status(kind: check_info::Type) -> CheckStatusInfo {
    use check_info::Type;
    let mut status = CheckStatusInfo { r#type: Some(kind as i32), ..Default::default() };
    match kind {
        Type::Command => status.command = Some(check_status_info::Command::default()),
        Type::Http => status.http = Some(check_status_info::Http::default()),
        Type::Tcp => status.tcp = Some(check_status_info::Tcp::default()),
        Type::Unknown => {}
    }
    status
}

/// The master has refused what is negative; what no clock can hold is for ever.
fn seconds(seconds: f64) -> Duration {
    const FOR_EVER: Duration = Duration::from_secs(1 << 32);
    Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(FOR_EVER).min(FOR_EVER)
}

fn http_probe(scheme: &str, port: u32, path: Option<&str>, v6: bool) -> Probe {
    let domain = if v6 { "[::1]" } else { "127.0.0.1" };
    Probe::Http { url: format!("{scheme}://{domain}:{port}{}", path.unwrap_or_default()) }
}

fn tcp_probe(port: u32, v6: bool) -> Option<Probe> {
    let ip: IpAddr = if v6 { Ipv6Addr::LOCALHOST.into() } else { Ipv4Addr::LOCALHOST.into() };
    Some(Probe::Tcp { address: SocketAddr::new(ip, port.try_into().ok()?) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn health(grace: f64, limit: u32) -> Checker {
        let check = v1::HealthCheck {
            r#type: Some(health_check::Type::Tcp as i32),
            tcp: Some(health_check::TcpCheckInfo { port: 80, protocol: Some(network_info::Protocol::IPv6 as i32) }),
            grace_period_seconds: Some(grace),
            consecutive_failures: Some(limit),
            ..Default::default()
        };
        Checker::of_health(&check, Duration::from_secs(100)).unwrap()
    }

    fn verdicts(checker: &Checker, outcomes: &[(u64, bool)]) -> Vec<Option<(bool, bool)>> {
        let mut health = Health::default();
        outcomes
            .iter()
            .map(|(at, good)| {
                let verdict = checker.judge(Duration::from_secs(*at), &mut health, &Outcome::Tcp(*good));
                verdict.map(|verdict| (verdict.healthy, verdict.kill))
            })
            .collect()
    }

    #[test]
    fn failures_count_after_the_grace_period_or_the_first_success() {
        let checker = health(10.0, 2);
        assert_eq!(
            verdicts(&checker, &[(105, false), (110, false), (111, false), (112, false)]),
            [None, None, Some((false, false)), Some((false, true))]
        );
        assert_eq!(
            verdicts(&checker, &[(101, true), (102, true), (103, false), (104, true), (105, false), (106, false)]),
            [
                Some((true, false)),
                None,
                Some((false, false)),
                Some((true, false)),
                Some((false, false)),
                Some((false, true))
            ]
        );
        assert_eq!(verdicts(&health(0.0, 1), &[(100, false)]), [Some((false, true))]);
    }

    #[test]
    fn a_check_tells_what_is_new() {
        let check = v1::CheckInfo {
            r#type: Some(check_info::Type::Http as i32),
            http: Some(check_info::Http { port: 8080, path: Some("/x".into()) }),
            ..Default::default()
        };
        let mut checker = Checker::of_check(&check, None).unwrap();
        assert_eq!(checker.what, What::Net(Probe::Http { url: "http://127.0.0.1:8080/x".into() }));
        assert_eq!(checker.tell(&Outcome::Error("no answer".into())), None, "nothing was known before either");
        let told = checker.tell(&Outcome::Http(503)).unwrap();
        assert_eq!(told.http.unwrap().status_code, Some(503));
        assert_eq!(checker.tell(&Outcome::Http(503)), None);
        assert_eq!(checker.tell(&Outcome::Error("no answer".into())).unwrap().http.unwrap().status_code, None);
    }

    #[test]
    fn looks_where_it_is_told() {
        assert_eq!(health(0.0, 1).what, What::Net(Probe::Tcp { address: "[::1]:80".parse().unwrap() }));
        assert_eq!(seconds(f64::NAN), Duration::ZERO);
        assert_eq!(seconds(1e300), Duration::from_secs(1 << 32));
    }
}
