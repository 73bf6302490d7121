//! What operators do: errands that are asked for again until the master has said that they are done, and taken back
//! later.

use std::{
    collections::{BTreeSet, VecDeque},
    rc::Rc,
    time::Duration,
};

use mezzo_api::{
    ids::AgentId,
    v1::{
        self,
        offer::{Operation, operation},
        resource::{ReservationInfo, reservation_info},
    },
};
use mezzo_master_core::{
    effect::Answer,
    input::{OperatorCall, RequestId},
};

use super::{Event, World};
use crate::{
    fact::Fact,
    fault::Errand as Wanted,
    ids::{Host, ProcessId},
    plan::Character,
    scheduler::storage::volume_of,
};

/// Numbers of operators' requests begin here: they are nobody else's.
pub(super) const OPERATOR: u64 = 1 << 60;

/// How often an operator asks again …
const EVERY: Duration = Duration::from_secs(10);
/// … and how many times.
const TIMES: u32 = 300;
const SOON: Duration = Duration::from_secs(5);

/// Something that an operator wants done, and what is to follow.
#[derive(Debug)]
pub(super) struct Errand {
    step: Step,
    /// It is asked for so many times more.
    left: u32,
    asked: Option<RequestId>,
    /// The steps after it, each so long after the one before it is done, or was asked for in vain.
    then: VecDeque<(Duration, Step)>,
}

#[derive(Clone, Debug)]
enum Step {
    /// The master is asked.
    Call(OperatorCall),
    /// The machine of an agent that is gone is set up anew.
    Replace(u16, AgentId),
}

impl World {
    /// The operator's call to whoever leads, if anybody does.
    pub(super) fn operator(&mut self, call: OperatorCall) -> Option<RequestId> {
        let leader = self.leader?;
        self.operator_calls += 1;
        let request = RequestId(OPERATOR + self.operator_calls);
        self.note(Fact::Operated(leader, request, Rc::new(call.clone())));
        self.master_step(leader, |core, now, out| core.operator_call(now, request, None, call, out));
        Some(request)
    }

    /// The master has answered an operator.
    pub(super) fn operator_told(&mut self, master: ProcessId, request: RequestId, answer: &Answer) {
        self.note(Fact::OperatorTold(master, request, answer.status));
        let Some((number, errand)) = self.errands.iter().find(|(_, errand)| errand.asked == Some(request)) else {
            return;
        };
        let is_gone = matches!(errand.step, Step::Call(OperatorCall::MarkAgentGone { .. })) && answer.status == 404;
        if answer.status < 300 || is_gone {
            let number = *number;
            self.next_step(number);
        }
    }

    /// The errand's next step, after its pause.
    fn next_step(&mut self, number: u64) {
        let Some(mut errand) = self.errands.remove(&number) else { return };
        let Some((pause, step)) = errand.then.pop_front() else { return };
        let pause = if self.healed { SOON } else { pause };
        let number = self.next_errand;
        self.next_errand += 1;
        self.errands.insert(number, Errand { step, left: TIMES, asked: None, then: errand.then });
        self.queue.push(self.now + pause, Event::Operate(number));
    }

    /// The time of an errand has come, for the first time or again.
    pub(super) fn operate(&mut self, number: u64) {
        let Some(errand) = self.errands.get_mut(&number) else { return };
        if errand.left == 0 {
            return self.next_step(number);
        }
        errand.left -= 1;
        let step = errand.step.clone();
        self.queue.push(self.now + EVERY, Event::Operate(number));
        match step {
            Step::Call(call) => {
                // The answer may come at once: it must find who asked. While nobody leads nobody is asked.
                errand.asked = self.leader.map(|_| RequestId(OPERATOR + self.operator_calls + 1));
                self.operator(call);
            }
            Step::Replace(agent, id) => {
                if self.replace_machine(agent, &id) {
                    self.next_step(number);
                }
            }
        }
    }

    fn send_on(&mut self, errand: Errand) {
        let number = self.next_errand;
        self.next_errand += 1;
        self.errands.insert(number, errand);
        self.operate(number);
    }

    /// The operator wants this done now.
    pub(super) fn run_errand(&mut self, wanted: &Wanted) {
        let errand = match *wanted {
            Wanted::Limit(framework, tenths, time) => self.limit(framework, tenths, time),
            Wanted::Guarantee(framework, tenths, time) => self.guarantee(framework, tenths, time),
            Wanted::Weight(framework, weight) => self.role_of(framework).map(|role| {
                let info = v1::WeightInfo { role: Some(role), weight: f64::from(weight) };
                Errand::new(OperatorCall::UpdateWeights(vec![info]), 1)
            }),
            Wanted::Plan(agent, start, time) => {
                let over = OperatorCall::UpdateSchedule(v1::maintenance::Schedule::default());
                Some(self.plan_maintenance(agent, start, time).then(start + time, Step::Call(over)))
            }
            Wanted::TakeDown(agent, time) => {
                let down = OperatorCall::StartMaintenance(vec![machine_id(agent)]);
                let up = OperatorCall::StopMaintenance(vec![machine_id(agent)]);
                let planned = self.plan_maintenance(agent, SOON, time);
                Some(planned.then(SOON, Step::Call(down)).then(time, Step::Call(up)))
            }
            Wanted::Deactivate(agent, time) => self.agent_id(agent).map(|id| {
                let back = OperatorCall::Reactivate { agent_id: id.proto() };
                Errand::new(OperatorCall::Deactivate { agent_id: id.proto() }, 3).then(time, Step::Call(back))
            }),
            Wanted::MarkGone(agent, time) => self.agent_id(agent).map(|id| {
                let call = OperatorCall::MarkAgentGone { agent_id: id.proto() };
                Errand::new(call, TIMES).then(time, Step::Replace(agent, id))
            }),
            Wanted::Teardown(framework) => {
                self.framework_id(framework).map(|framework_id| Errand::new(OperatorCall::Teardown { framework_id }, 1))
            }
            Wanted::KillTask(framework) => self.kill_some_task(framework),
            Wanted::Reserve(agent, framework, time) => self.reserve(agent, framework, time),
            Wanted::Volume(agent, framework, time) => self.make_volume(agent, framework, time),
            Wanted::Unlist(agent, time) => {
                self.unlist(agent, time);
                None
            }
        };
        if let Some(errand) = errand {
            self.send_on(errand);
        }
    }

    fn agent_id(&self, agent: u16) -> Option<AgentId> {
        self.agents[usize::from(agent)].agent.as_ref().and_then(|agent| agent.core.agent_id().cloned())
    }

    fn framework_id(&self, framework: u16) -> Option<v1::FrameworkId> {
        let machine = &self.frameworks[usize::from(framework)];
        let id = machine.ids.last().filter(|_| machine.character == Character::Keeper)?;
        Some(v1::FrameworkId { value: id.clone() })
    }

    /// The role of a framework that has one of its own.
    #[allow(deprecated)] // `role` is what frameworks without MULTI_ROLE have
    fn role_of(&self, framework: u16) -> Option<String> {
        let info = &self.frameworks[usize::from(framework)].info;
        info.roles.first().or(info.role.as_ref()).cloned()
    }

    fn limit(&self, framework: u16, tenths: u32, time: Duration) -> Option<Errand> {
        let role = self.role_of(framework)?;
        let config = v1::quota::QuotaConfig {
            role: role.clone(),
            limits: [("cpus".to_owned(), cpus(tenths))].into(),
            ..Default::default()
        };
        Some(quota(config).then(time, Step::Call(no_quota(role))))
    }

    fn guarantee(&self, framework: u16, tenths: u32, time: Duration) -> Option<Errand> {
        let role = self.role_of(framework)?;
        let config = v1::quota::QuotaConfig {
            role: role.clone(),
            guarantees: [("cpus".to_owned(), cpus(tenths))].into(),
            ..Default::default()
        };
        Some(quota(config).then(time, Step::Call(no_quota(role))))
    }

    /// The machine will be away.
    fn plan_maintenance(&self, agent: u16, start: Duration, time: Duration) -> Errand {
        let nanos = |duration: Duration| i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX);
        let begin = crate::time::BEGIN_SECS * 1_000_000_000 + self.now.0;
        let unavailability = v1::Unavailability {
            start: v1::TimeInfo { nanoseconds: i64::try_from(begin).unwrap_or(i64::MAX).saturating_add(nanos(start)) },
            duration: Some(v1::DurationInfo { nanoseconds: nanos(time) }),
        };
        let window = v1::maintenance::Window { machine_ids: vec![machine_id(agent)], unavailability };
        Errand::new(OperatorCall::UpdateSchedule(v1::maintenance::Schedule { windows: vec![window] }), 3)
    }

    fn kill_some_task(&mut self, framework: u16) -> Option<Errand> {
        let framework_id = self.framework_id(framework)?;
        let scheduler = self.frameworks[usize::from(framework)].scheduler.as_ref()?;
        let super::Author::Keeper(keeper) = &scheduler.author else { return None };
        let tasks: Vec<String> = keeper.tasks.keys().cloned().collect();
        if tasks.is_empty() {
            return None;
        }
        let task_id = v1::TaskId { value: tasks[self.random.index(tasks.len())].clone() };
        Some(Errand::new(OperatorCall::KillTask { framework_id, task_id }, 1))
    }

    /// Some disk is reserved, and given back.
    fn reserve(&self, agent: u16, framework: u16, time: Duration) -> Option<Errand> {
        let id = self.agent_id(agent)?;
        let disk = reserved_disk(self.role_of(framework)?, 16.0);
        Some(Errand::new(on_agent(&id, reserve(&disk)), 1).then(time, Step::Call(on_agent(&id, unreserve(&disk)))))
    }

    /// A volume is made on disk that is reserved for it, and destroyed.
    fn make_volume(&mut self, agent: u16, framework: u16, time: Duration) -> Option<Errand> {
        let id = self.agent_id(agent)?;
        let disk = reserved_disk(self.role_of(framework)?, 24.0);
        self.operator_calls += 1;
        let volume = volume_of(disk.clone(), format!("operator-{}", self.operator_calls));
        let create = Operation {
            r#type: Some(operation::Type::Create.into()),
            create: Some(operation::Create { volumes: vec![volume.clone()] }),
            ..Default::default()
        };
        let destroy = Operation {
            r#type: Some(operation::Type::Destroy.into()),
            destroy: Some(operation::Destroy { volumes: vec![volume] }),
            ..Default::default()
        };
        let errand = Errand::new(on_agent(&id, reserve(&disk)), 3).then(SOON, Step::Call(on_agent(&id, create)));
        let errand = errand.then(time, Step::Call(on_agent(&id, destroy)));
        Some(errand.then(SOON, Step::Call(on_agent(&id, unreserve(&disk)))))
    }

    /// The agent's host is left out of the whitelist for so long.
    fn unlist(&mut self, agent: u16, time: Duration) {
        *self.unlisted.entry(agent).or_default() += 1;
        self.whitelist_changed();
        self.queue.push(self.now + time, Event::Relist(agent));
    }

    /// It is on the whitelist again.
    pub(super) fn relist(&mut self, agent: u16) {
        if let Some(times) = self.unlisted.get_mut(&agent) {
            *times -= 1;
            self.unlisted.retain(|_, times| *times > 0);
            self.whitelist_changed();
        }
    }

    /// There is no whitelist any more.
    pub(super) fn list_all(&mut self) {
        self.unlisted.clear();
        self.whitelist_changed();
    }

    /// Each master looks at the file by and by.
    fn whitelist_changed(&mut self) {
        let masters: Vec<ProcessId> = self.masters.keys().copied().collect();
        for master in masters {
            let delay = self.random.duration(Duration::from_millis(1), SOON);
            self.queue.push(self.now + delay, Event::ReadWhitelist(master));
        }
    }

    /// The master reads the whitelist as it is now.
    pub(super) fn read_whitelist(&mut self, master: ProcessId) {
        if !self.masters.contains_key(&master) {
            return;
        }
        let hosts = (!self.unlisted.is_empty()).then(|| {
            let listed = (0..self.plan.agents).filter(|agent| !self.unlisted.contains_key(agent));
            listed.map(|agent| Host::Agent(agent).to_string()).collect::<BTreeSet<String>>()
        });
        self.note(Fact::Listed(master, hosts.clone().map(Rc::new)));
        self.master_step(master, |core, now, _| core.set_whitelist(now, hosts));
    }

    /// What an agent that is gone had is gone too: its machine is a new one. Whether that is settled.
    fn replace_machine(&mut self, number: u16, id: &AgentId) -> bool {
        let Some(own) = self.agent_id(number) else { return false };
        if own == *id && self.registry.content.gone.contains_key(id) {
            self.note(Fact::Fault(format!("the machine of agent{number} is set up anew")));
            self.power_cut(number);
            self.agents[usize::from(number)].wipe();
            self.queue.push(self.now + SOON, Event::StartAgent(number));
        }
        true
    }

    /// All faults are over: operators do what is left of their errands, and take back what they wanted.
    pub(super) fn end_errands(&mut self) {
        let waiting: Vec<u64> = self.errands.keys().copied().collect();
        for number in waiting {
            self.queue.push(self.now + SOON, Event::Operate(number));
        }
    }
}

impl Errand {
    fn new(call: OperatorCall, left: u32) -> Self {
        Self { step: Step::Call(call), left, asked: None, then: VecDeque::new() }
    }

    fn then(mut self, after: Duration, next: Step) -> Self {
        self.then.push_back((after, next));
        self
    }
}

fn on_agent(agent: &AgentId, operation: Operation) -> OperatorCall {
    OperatorCall::Operation { agent_id: agent.to_string(), operation: Box::new(operation) }
}

fn reserved_disk(role: String, size: f64) -> v1::Resource {
    let reservation = ReservationInfo {
        r#type: Some(reservation_info::Type::Dynamic.into()),
        role: Some(role),
        ..Default::default()
    };
    v1::Resource {
        name: "disk".to_owned(),
        r#type: v1::value::Type::Scalar as i32,
        scalar: Some(v1::value::Scalar { value: size }),
        reservations: vec![reservation],
        ..Default::default()
    }
}

fn reserve(resource: &v1::Resource) -> Operation {
    Operation {
        r#type: Some(operation::Type::Reserve.into()),
        reserve: Some(operation::Reserve { resources: vec![resource.clone()], source: Vec::new() }),
        ..Default::default()
    }
}

fn unreserve(resource: &v1::Resource) -> Operation {
    Operation {
        r#type: Some(operation::Type::Unreserve.into()),
        unreserve: Some(operation::Unreserve { resources: vec![resource.clone()] }),
        ..Default::default()
    }
}

fn machine_id(agent: u16) -> v1::MachineId {
    v1::MachineId { hostname: Some(Host::Agent(agent).to_string()), ip: None }
}

fn cpus(tenths: u32) -> v1::value::Scalar {
    v1::value::Scalar { value: f64::from(tenths) / 10.0 }
}

fn quota(config: v1::quota::QuotaConfig) -> Errand {
    Errand::new(OperatorCall::UpdateQuota { configs: vec![config], force: true }, 2)
}

fn no_quota(role: String) -> OperatorCall {
    let config = v1::quota::QuotaConfig { role, ..Default::default() };
    OperatorCall::UpdateQuota { configs: vec![config], force: true }
}
