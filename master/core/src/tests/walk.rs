//! Seeded random walks: frameworks, agents and a registry that do anything at any time. After each step every
//! invariant holds (the harness checks), and at the end of a healing phase nothing is left in the air.

use std::{collections::BTreeMap, time::Duration};

use mezzo_api::{
    link::to_agent,
    v1::{self, Task, TaskState, scheduler::call},
};
use rand::{Rng, SeedableRng, rngs::SmallRng, seq::IndexedRandom};

use super::{accept::group, accept::group_executor, *};

/// An agent as it is, whatever the master believes.
#[derive(Default)]
struct Machine {
    link: Option<LinkId>,
    id: Option<String>,
    info: AgentInfo,
    /// By framework and id: the state, and whether its last update was acknowledged.
    tasks: BTreeMap<(String, String), (Task, Option<bytes::Bytes>)>,
    executors: BTreeMap<(String, String), v1::ExecutorInfo>,
    frameworks: BTreeMap<String, FrameworkInfo>,
    reports: u64,
}

struct Client {
    info: FrameworkInfo,
    scheduler: Option<Scheduler>,
    offers: Vec<v1::Offer>,
    unacknowledged: Vec<TaskStatus>,
    tasks: u32,
}

struct Walk {
    world: World,
    rng: SmallRng,
    machines: Vec<Machine>,
    clients: Vec<Client>,
    uuids: u64,
}

impl Walk {
    fn new(seed: u64) -> Self {
        let config = Config {
            agent_ping_timeout: Duration::from_secs(2),
            max_agent_ping_timeouts: 2,
            agent_reregister_timeout: Duration::from_secs(20),
            offer_timeout: Some(Duration::from_secs(5)),
            ..config()
        };
        let machine = |port: i32| Machine {
            info: AgentInfo { port: Some(port), ..agent_info("cpus:4;mem:1024;disk:100;ports:[1-9];cpus(ops):1") },
            ..Default::default()
        };
        let infos =
            [modern("dev"), plain("ops"), framework(&["dev", "ops/web"], &[Capability::PartitionAware]), plain("*")];
        let client = |info: FrameworkInfo| Client {
            info: FrameworkInfo { failover_timeout: Some(3.0), ..info },
            scheduler: None,
            offers: Vec::new(),
            unacknowledged: Vec::new(),
            tasks: 0,
        };
        Self {
            world: World::with(config, Recovered::default()),
            rng: SmallRng::seed_from_u64(seed),
            machines: (0..3).map(machine).collect(),
            clients: infos.into_iter().map(client).collect(),
            uuids: 0,
        }
    }

    fn step(&mut self) {
        let client = self.rng.random_range(0..self.clients.len());
        let machine = self.rng.random_range(0..self.machines.len());
        match self.rng.random_range(0..100) {
            0..6 => self.subscribe(client),
            6 => self.hang_up(client),
            7 if self.rng.random_bool(0.3) => self.tear_down(client),
            7..30 => self.use_offers(client),
            30..45 => self.acknowledge(client),
            45..50 => self.small_call(client),
            50..54 => self.connect(machine),
            54..56 => self.disconnect(machine),
            56 => self.crash(machine),
            57..77 => self.progress(machine),
            77..82 => self.resend(machine),
            82..90 => self.registry(),
            90..97 => self.world.pass(Duration::from_millis(self.rng.random_range(1..50))),
            97..99 => self.world.pass(Duration::from_millis(self.rng.random_range(1..1500))),
            _ => self.world.pass(Duration::from_millis(self.rng.random_range(1000..6000))),
        }
        self.deliver();
    }

    /// Everything that the core has said reaches its reader.
    fn deliver(&mut self) {
        for client in &mut self.clients {
            let Some(scheduler) = client.scheduler.clone() else { continue };
            for event in self.world.events(scheduler.stream) {
                if let Some(offers) = event.offers {
                    client.offers.extend(offers.offers);
                }
                if let Some(update) = event.update {
                    client.unacknowledged.push(update.status);
                }
            }
            if self.world.closed_streams.contains(&scheduler.stream) {
                client.scheduler = None;
                client.offers.clear();
                client.info.id = None;
                self.world.close(scheduler.stream);
            }
        }
        for machine in &mut self.machines {
            let Some(link) = machine.link else { continue };
            if self.rng.random_bool(0.3) {
                self.world.say(link, from_agent::Message::Pong(link::Pong { sequence: 0 }));
            }
            for message in self.world.messages(link) {
                machine.hear(message);
            }
            if self.world.closed_links.iter().any(|(closed, _)| *closed == link) {
                machine.link = None;
                self.world.link_down(link);
            }
        }
    }

    fn subscribe(&mut self, index: usize) {
        let client = &mut self.clients[index];
        let subscribe = call::Subscribe { framework_info: client.info.clone(), ..Default::default() };
        let stream = self.world.try_subscribe(subscribe);
        if self.world.closed_streams.contains(&stream) {
            let refused = self.world.events(stream).remove(0).error.unwrap().message;
            assert_eq!(refused, "Framework has been removed");
            self.clients[index].info.id = None;
            return;
        }
        let scheduler = self.world.greeted(stream);
        let client = &mut self.clients[index];
        client.info.id = Some(v1::FrameworkId { value: scheduler.id.clone() });
        client.scheduler = Some(scheduler);
        client.offers.clear();
    }

    fn hang_up(&mut self, index: usize) {
        let client = &mut self.clients[index];
        client.offers.clear();
        if let Some(scheduler) = client.scheduler.take() {
            self.world.close(scheduler.stream);
        }
    }

    fn tear_down(&mut self, index: usize) {
        if let Some(scheduler) = self.clients[index].scheduler.clone() {
            self.world.post(&scheduler, bare(call::Type::Teardown));
        }
    }

    fn call(&mut self, index: usize, call: Call) {
        if let Some(scheduler) = self.clients[index].scheduler.clone() {
            let request = self.world.post(&scheduler, call);
            if let Some(answer) = self.world.replies.remove(&request) {
                let removed = answer == Answer::new(400, "Framework cannot be found");
                assert!(answer.status == 202 || removed, "{answer:?}");
            }
        }
    }

    fn use_offers(&mut self, index: usize) {
        let client = &mut self.clients[index];
        let Some(framework) = client.scheduler.as_ref().map(|scheduler| scheduler.id.clone()) else { return };
        if client.offers.is_empty() {
            return;
        }
        let offer = client.offers.swap_remove(self.rng.random_range(0..client.offers.len()));
        let refuse = *[0.0, 1.0, 3.0].choose(&mut self.rng).unwrap();
        if self.rng.random_bool(0.2) {
            self.call(index, decline(&[&offer], Some(refuse)));
            return;
        }
        let mut operations = Vec::new();
        for _ in 0..self.rng.random_range(0..4) {
            client.tasks += 1;
            // Now and then an id twice, or more than there is.
            let id = format!("t{}", if self.rng.random_bool(0.1) { client.tasks / 2 } else { client.tasks });
            let amount = *["cpus:0.3;mem:32", "cpus:0.2;mem:64", "cpus:0.1;mem:16;ports:[3-4]", "cpus:5;mem:1"]
                .choose(&mut self.rng)
                .unwrap();
            let mut info = TaskInfo { resources: resources(amount), ..task(&id, &offer) };
            operations.push(match self.rng.random_range(0..6) {
                0 => {
                    info.command = None;
                    let executor = group_executor("group", &framework);
                    group(v1::ExecutorInfo { resources: resources("cpus:0.1;mem:32;disk:1"), ..executor }, vec![info])
                }
                1 | 2 => {
                    info.command = None;
                    let executor = if self.rng.random_bool(0.5) { "e1" } else { "e2" };
                    info.executor = Some(Box::new(v1::ExecutorInfo {
                        resources: resources("cpus:0.2;mem:32"),
                        ..custom_executor(executor)
                    }));
                    launch(vec![info])
                }
                _ => launch(vec![info]),
            });
        }
        self.call(index, accept(&[&offer], operations, refuse));
    }

    fn acknowledge(&mut self, index: usize) {
        let client = &mut self.clients[index];
        if client.scheduler.is_none() || client.unacknowledged.is_empty() {
            return;
        }
        let status = client.unacknowledged.remove(0);
        let (Some(uuid), Some(agent_id)) = (status.uuid, status.agent_id) else { return };
        let acknowledge = call::Acknowledge { agent_id, task_id: status.task_id, uuid };
        self.call(index, Call { acknowledge: Some(acknowledge), ..bare(call::Type::Acknowledge) });
    }

    fn small_call(&mut self, index: usize) {
        let task = format!("t{}", self.rng.random_range(0..=self.clients[index].tasks));
        let call = match self.rng.random_range(0..5) {
            0 => bare(call::Type::Revive),
            1 => bare(call::Type::Suppress),
            2 => reconcile(&[]),
            3 => reconcile(&[(&task, None), (&task, Some("m-S0"))]),
            _ => kill(&task, None),
        };
        let suppressed = call.r#type() == call::Type::Suppress;
        self.call(index, call);
        if suppressed && self.rng.random_bool(0.8) {
            self.call(index, bare(call::Type::Revive));
        }
    }

    fn connect(&mut self, index: usize) {
        let machine = &mut self.machines[index];
        if machine.link.is_some() && self.rng.random_bool(0.9) {
            return;
        }
        let link = self.world.link_up();
        let old = machine.link.replace(link);
        machine.reports += 1;
        self.world.say(link, machine.greeting());
        if let Some(old) = old.filter(|_| self.rng.random_bool(0.5)) {
            self.world.link_down(old);
        }
    }

    fn disconnect(&mut self, index: usize) {
        if let Some(link) = self.machines[index].link.take() {
            self.world.link_down(link);
        }
    }

    /// The agent loses all that it had; sometimes its id, too.
    fn crash(&mut self, index: usize) {
        self.disconnect(index);
        let machine = &mut self.machines[index];
        machine.executors.clear();
        for (task, _) in machine.tasks.values_mut() {
            if !crate::events::is_terminal(task.state()) {
                task.state = TaskState::TaskFailed.into();
            }
        }
        if self.rng.random_bool(0.3) {
            *machine = Machine { info: AgentInfo { id: None, ..machine.info.clone() }, ..Default::default() };
        }
    }

    /// A task moves on, or an executor ends.
    fn progress(&mut self, index: usize) {
        let machine = &mut self.machines[index];
        if self.rng.random_bool(0.1) {
            if let (Some(link), Some((key, _))) = (machine.link, machine.executors.pop_first()) {
                self.world.say(
                    link,
                    from_agent::Message::ExitedExecutor(link::ExitedExecutor {
                        framework_id: v1::FrameworkId { value: key.0 },
                        executor_id: v1::ExecutorId { value: key.1 },
                        status: 0,
                    }),
                );
            }
            return;
        }
        let keys: Vec<_> = machine.tasks.keys().cloned().collect();
        let Some(key) = keys.choose(&mut self.rng) else { return };
        let (task, uuid) = machine.tasks.get_mut(key).unwrap();
        if uuid.is_none() && !crate::events::is_terminal(task.state()) {
            let next = [TaskState::TaskRunning, TaskState::TaskFinished, TaskState::TaskFailed, TaskState::TaskKilled];
            task.state = (*next.choose(&mut self.rng).unwrap()).into();
            self.uuids += 1;
            *uuid = Some(uuid::Uuid::from_u128(u128::from(self.uuids) | 0x4000 << 64).into_bytes().to_vec().into());
        }
        self.resend(index);
    }

    /// Updates without an acknowledgement are sent again.
    fn resend(&mut self, index: usize) {
        let machine = &self.machines[index];
        let (Some(link), Some(id)) = (machine.link, machine.id.clone()) else { return };
        let pending = machine.tasks.iter().filter_map(|((framework, _), (task, uuid))| {
            let status = TaskStatus {
                task_id: task.task_id.clone(),
                state: task.state,
                source: Some(Source::Executor.into()),
                agent_id: Some(v1::AgentId { value: id.clone() }),
                uuid: Some(uuid.clone()?),
                ..Default::default()
            };
            let framework_id = v1::FrameworkId { value: framework.clone() };
            Some(link::StatusUpdate { framework_id, status, latest_state: None })
        });
        for update in pending.collect::<Vec<_>>() {
            self.world.say(link, from_agent::Message::StatusUpdate(update));
        }
    }

    fn registry(&mut self) {
        if self.world.writes.is_empty() {
            return;
        }
        if self.rng.random_bool(0.2) {
            self.world.write_failed(RegistryError::Unknown);
        } else {
            self.world.write_done();
        }
        self.world.replies.clear();
    }

    /// All are there and do their part: in the end nobody waits for anything.
    fn heal(&mut self) {
        for index in 0..self.clients.len() {
            if self.clients[index].scheduler.is_none() {
                self.subscribe(index);
            }
            self.deliver();
        }
        for _ in 0..60 {
            for index in 0..self.machines.len() {
                if self.machines[index].link.is_none() {
                    self.connect(index);
                }
            }
            while !self.world.writes.is_empty() {
                self.world.write_done();
                self.deliver();
            }
            for index in 0..self.machines.len() {
                if let Some(link) = self.machines[index].link {
                    self.world.say(link, from_agent::Message::Pong(link::Pong { sequence: 0 }));
                }
                self.machines[index].finish_all(&mut self.uuids);
                self.resend(index);
            }
            self.deliver();
            for index in 0..self.clients.len() {
                self.call(index, reconcile(&[]));
                while self.clients[index].scheduler.is_some() && !self.clients[index].unacknowledged.is_empty() {
                    self.acknowledge(index);
                    self.deliver();
                }
                if self.clients[index].scheduler.is_none() {
                    self.subscribe(index);
                }
            }
            self.world.pass(Duration::from_millis(500));
            self.deliver();
            self.world.replies.clear();
        }
    }

    fn at_rest(&self) {
        let core = &self.world.core;
        let left: Vec<_> = core.tasks.values().map(|task| (&task.view.id, task.view.state)).collect();
        assert!(left.is_empty(), "all tasks have ended and are acknowledged: {left:?}");
        let connected = core.agents.slots.values().filter(|agent| agent.active()).count();
        assert_eq!(connected, self.machines.len(), "all agents are there");
        assert!(core.writes.pending().next().is_none());
        for machine in &self.machines {
            let waiting: Vec<_> =
                machine.tasks.iter().filter(|(_, (_, uuid))| uuid.is_some()).map(|(key, _)| key).collect();
            assert!(waiting.is_empty(), "every update was acknowledged: {waiting:?}");
        }
    }
}

impl Machine {
    fn greeting(&self) -> from_agent::Message {
        let Some(id) = &self.id else { return from_agent::Message::Register(register(&self.info)) };
        let info = AgentInfo { id: Some(v1::AgentId { value: id.clone() }), ..self.info.clone() };
        from_agent::Message::Reregister(link::Reregister {
            register: register(&info),
            report: self.reports,
            last: true,
            frameworks: self.frameworks.values().cloned().collect(),
            executors: self.executors.values().cloned().collect(),
            tasks: self.tasks.values().map(|(task, _)| task.clone()).collect(),
            ..Default::default()
        })
    }

    fn hear(&mut self, message: to_agent::Message) {
        match message {
            to_agent::Message::Registered(registered) => self.id = Some(registered.agent_id.value),
            to_agent::Message::Reregistered(reregistered) => {
                for missing in reregistered.reconcile {
                    let key = (missing.framework_id.value.clone(), missing.task_id.value.clone());
                    if !self.tasks.contains_key(&key) {
                        let state = if missing.partition_aware { TaskState::TaskDropped } else { TaskState::TaskLost };
                        let task = Task {
                            task_id: missing.task_id,
                            framework_id: missing.framework_id,
                            agent_id: v1::AgentId { value: self.id.clone().unwrap() },
                            state: state.into(),
                            ..Default::default()
                        };
                        self.tasks.insert(key, (task, Some(fresh(u128::from(self.reports)))));
                    }
                }
            }
            to_agent::Message::RunTask(run) => self.run(&run.framework, &run.task, run.task.executor.as_deref()),
            to_agent::Message::RunTaskGroup(run) => {
                run.task_group.tasks.iter().for_each(|task| self.run(&run.framework, task, Some(&run.executor)));
            }
            to_agent::Message::Acknowledge(acknowledge) => {
                let key = (acknowledge.framework_id.value, acknowledge.task_id.value);
                let Some((task, uuid)) = self.tasks.get_mut(&key) else { return };
                if uuid.as_ref() == Some(&acknowledge.uuid) {
                    *uuid = None;
                    if crate::events::is_terminal(task.state()) {
                        self.tasks.remove(&key);
                    }
                }
            }
            to_agent::Message::ShutdownFramework(shutdown) => {
                let id = shutdown.framework_id.value;
                self.tasks.retain(|(framework, _), _| *framework != id);
                self.executors.retain(|(framework, _), _| *framework != id);
                self.frameworks.remove(&id);
            }
            to_agent::Message::Shutdown(_) => {
                *self = Machine { info: AgentInfo { id: None, ..self.info.clone() }, ..Default::default() };
            }
            _ => {}
        }
    }

    fn run(&mut self, framework: &FrameworkInfo, task: &TaskInfo, executor: Option<&v1::ExecutorInfo>) {
        let id = framework.id.clone().unwrap();
        self.frameworks.insert(id.value.clone(), framework.clone());
        if let Some(executor) = executor {
            self.executors.insert((id.value.clone(), executor.executor_id.value.clone()), executor.clone());
        }
        let record = crate::tasks::task_of(task, &id.value.as_str().into());
        self.tasks.insert((id.value, task.task_id.value.clone()), (record, None));
    }

    fn finish_all(&mut self, uuids: &mut u64) {
        for (task, uuid) in self.tasks.values_mut() {
            if uuid.is_none() {
                task.state = TaskState::TaskFinished.into();
                *uuids += 1;
                *uuid = Some(fresh(u128::from(*uuids)));
            }
        }
    }
}

fn fresh(number: u128) -> bytes::Bytes {
    uuid::Uuid::from_u128(number | 0x4000 << 64).into_bytes().to_vec().into()
}

fn walk(seed: u64, steps: usize) {
    let mut walk = Walk::new(seed);
    for _ in 0..steps {
        walk.step();
    }
    walk.heal();
    walk.at_rest();
}

/// `MEZZO_SEED=… cargo test -p mezzo-master-core walk` repeats one; `MEZZO_SEEDS=… ` makes more of them.
#[test]
fn anything_may_happen_at_any_time() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    if let Some(seed) = number("MEZZO_SEED") {
        walk(seed, 800);
        return;
    }
    for seed in 0..number("MEZZO_SEEDS").unwrap_or(12) {
        eprintln!("MEZZO_SEED={seed}");
        walk(seed, 800);
    }
}
