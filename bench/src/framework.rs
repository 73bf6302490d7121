//! The client of the benchmarks: a small framework on the SDK, without its own policy.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context, Result, bail};
use mezzo_sdk::{
    Encoding, Event, SchedulerDriver,
    resources::Resources,
    scheduler::{Events, Handle},
    v1,
};
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(120);

/// How a task is asked for.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    /// Run as argv, without a shell.
    pub(crate) argv: Vec<String>,
    pub(crate) cpus: f64,
    pub(crate) mem: f64,
}

/// A subscribed framework.
pub(crate) struct Framework {
    pub(crate) scheduler: Handle,
    events: Events,
    wanted: Wanted,
    /// What its tasks' containers are made of.
    image: Option<String>,
    launched: usize,
    /// Came while nobody asked for one, and not yet given back.
    spare: Vec<v1::Offer>,
}

impl Framework {
    /// Subscribes.
    pub(crate) async fn start(master: &str, encoding: Encoding, wanted: Wanted) -> Result<Self> {
        let info = v1::FrameworkInfo {
            user: "root".into(),
            name: "mezzo-bench".into(),
            roles: vec!["*".into()],
            capabilities: vec![v1::framework_info::Capability {
                r#type: Some(v1::framework_info::capability::Type::MultiRole.into()),
            }],
            ..Default::default()
        };
        let (scheduler, events) = SchedulerDriver::builder(info).master(master).encoding(encoding).build()?;
        Ok(Self { scheduler, events, wanted, image: None, launched: 0, spare: Vec::new() })
    }

    /// Its tasks run in containers of this image.
    pub(crate) fn in_image(self, name: &str) -> Self {
        Self { image: Some(name.to_owned()), ..self }
    }

    /// The next event; an error after two minutes of silence.
    pub(crate) async fn event(&mut self) -> Result<Event> {
        let event = timeout(PATIENCE, self.events.recv()).await.context("the master sent nothing for two minutes")?;
        event.context("the driver has ended")
    }

    /// Keeps offers for the next time that one is asked for: an offer that nobody answers stays away from everybody.
    pub(crate) fn keep(&mut self, offers: Vec<v1::Offer>) {
        self.spare.extend(offers);
    }

    /// Waits for an offer that holds at least one task; others are given back at once.
    pub(crate) async fn offer(&mut self) -> Result<v1::Offer> {
        loop {
            while let Some(offer) = self.spare.pop() {
                if self.fits(&offer)? > 0 {
                    return Ok(offer);
                }
                self.scheduler.decline([offer.id], at_once());
            }
            match self.event().await? {
                Event::Offers(offers) => self.keep(offers),
                Event::Rescind(id) => self.spare.retain(|offer| offer.id != id),
                _ => {}
            }
        }
    }

    /// How many tasks an offer holds.
    pub(crate) fn fits(&self, offer: &v1::Offer) -> Result<usize> {
        let resources = Resources::from_protos(&offer.resources)?;
        let by_cpus = resources.cpus().as_f64() / self.wanted.cpus;
        let by_mem = resources.mem().as_f64() / self.wanted.mem;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count of tasks, rounded down")]
        Ok((by_cpus.min(by_mem) + 1e-9).floor() as usize)
    }

    /// Launches `count` tasks on an offer and returns their ids.
    pub(crate) fn launch(&mut self, offer: &v1::Offer, count: usize) -> Vec<String> {
        let tasks: Vec<v1::TaskInfo> = (0..count).map(|_| self.next_task(offer)).collect();
        let ids = tasks.iter().map(|task| task.task_id.value.clone()).collect();
        self.scheduler.launch([offer.id.clone()], tasks, at_once());
        ids
    }

    fn next_task(&mut self, offer: &v1::Offer) -> v1::TaskInfo {
        self.launched += 1;
        let scalar = |name: &str, value: f64| v1::Resource {
            name: name.into(),
            r#type: v1::value::Type::Scalar.into(),
            scalar: Some(v1::value::Scalar { value }),
            ..Default::default()
        };
        v1::TaskInfo {
            container: self.image.as_deref().map(container_of).map(Box::new),
            name: "bench".into(),
            task_id: v1::TaskId { value: format!("bench-{}", self.launched) },
            agent_id: offer.agent_id.clone(),
            resources: vec![scalar("cpus", self.wanted.cpus), scalar("mem", self.wanted.mem)],
            command: Some(v1::CommandInfo {
                shell: Some(false),
                value: self.wanted.argv.first().cloned(),
                arguments: self.wanted.argv.clone(),
                ..Default::default()
            }),
            ..Default::default()
        }
    }

    /// Runs `total` tasks to their end, as many at a time as offers hold; returns how many ended in which state.
    pub(crate) async fn run(&mut self, total: usize) -> Result<BTreeMap<&'static str, usize>> {
        let mut ends = BTreeMap::new();
        let (mut launched, mut ended) = (0, 0);
        while ended < total {
            match self.event().await? {
                Event::Offers(offers) => {
                    for offer in offers {
                        let count = self.fits(&offer)?.min(total - launched);
                        launched += count;
                        if count > 0 {
                            self.launch(&offer, count);
                        } else {
                            self.scheduler.decline([offer.id], at_once());
                        }
                    }
                }
                Event::Update(status) if is_terminal(status.state()) => {
                    *ends.entry(status.state().as_str_name()).or_default() += 1;
                    ended += 1;
                }
                Event::Ended(reason) => bail!("the driver ended: {reason}"),
                _ => {}
            }
        }
        Ok(ends)
    }
}

/// A filter of no duration.
pub(crate) fn at_once() -> Option<v1::Filters> {
    Some(v1::Filters { refuse_seconds: Some(0.0) })
}

/// Whether a task is over.
pub(crate) fn is_terminal(state: v1::TaskState) -> bool {
    use v1::TaskState::{
        TaskDropped, TaskError, TaskFailed, TaskFinished, TaskGone, TaskGoneByOperator, TaskKilled, TaskLost,
    };
    matches!(
        state,
        TaskFinished | TaskFailed | TaskKilled | TaskError | TaskLost | TaskDropped | TaskGone | TaskGoneByOperator
    )
}

fn container_of(image: &str) -> v1::ContainerInfo {
    let docker = v1::image::Docker { name: image.to_owned(), ..Default::default() };
    let image = v1::Image { r#type: v1::image::Type::Docker.into(), docker: Some(docker), ..Default::default() };
    v1::ContainerInfo {
        r#type: v1::container_info::Type::Mesos.into(),
        mesos: Some(v1::container_info::MesosInfo { image: Some(image) }),
        ..Default::default()
    }
}
