//! Maintenance: machines that will be, or are, taken down (src/master/maintenance.cpp, src/master/http.cpp).

use std::net::IpAddr;

use mezzo_api::{
    codec::{Encoding, encode},
    link,
    time::Now,
    v1::{
        MachineId, MachineInfo,
        machine_info::Mode,
        maintenance::{ClusterStatus, Schedule, Window, cluster_status::DrainingMachine},
    },
};

use crate::{
    agents::{Cause, advertised},
    core::Core,
    effect::{Answer, Effect, Effects},
    input::RequestId,
    keys::AgentKey,
    maps::IndexMap,
    model,
    registry::{Machine, RegistryOp},
    validate::Invalid,
    writes::Pending,
};

/// What an agent on a machine that is down is told.
pub(crate) const DOWN: &str = "The machine of the agent is DOWN for maintenance";

/// Machines are told apart by host name, whatever its case, and address.
type Name = (String, String);

fn name(id: &MachineId) -> Name {
    (id.hostname().to_lowercase(), id.ip().to_owned())
}

/// The machines of the schedule, by their place in it.
#[derive(Debug, Default)]
pub(crate) struct Machines(IndexMap<Name, Machine>);

impl Machines {
    pub(crate) fn recover(machines: Vec<Machine>) -> Self {
        let mut all = Self(machines.into_iter().map(|machine| (name(&machine.info.id), machine)).collect());
        all.sort();
        all
    }

    fn sort(&mut self) {
        self.0.sort_by(|_, a, _, b| (a.window, a.position).cmp(&(b.window, b.position)));
    }

    /// As it was given, without the machines that are up again.
    pub(crate) fn schedule(&self) -> Schedule {
        let mut windows: IndexMap<u32, Window> = IndexMap::default();
        for machine in self.0.values() {
            let unavailability = machine.info.unavailability.unwrap_or_default();
            let window =
                windows.entry(machine.window).or_insert_with(|| Window { machine_ids: Vec::new(), unavailability });
            window.machine_ids.push(machine.info.id.clone());
        }
        Schedule { windows: windows.into_values().collect() }
    }

    /// The machine that an agent is on, if it is in the schedule. A machine that is given by its host name alone, or by
    /// its address alone, is any that has it.
    fn of(&self, hostname: &str, addresses: [IpAddr; 2]) -> Option<&Machine> {
        let hostname = hostname.to_lowercase();
        let matches = |(named, ip): &Name| {
            (named.is_empty() || *named == hostname)
                && (ip.is_empty() || addresses.iter().any(|address| address.to_string() == *ip))
        };
        self.0.iter().find(|(machine, _)| matches(machine)).map(|(_, machine)| machine)
    }
}

/// A change of the schedule that waits for the registry.
#[derive(Debug)]
pub(crate) struct Planned {
    request: RequestId,
    machines: Vec<Machine>,
    /// Agents on machines that go down.
    down: bool,
}

impl Planned {
    /// Who waits for it.
    pub(crate) fn request(&self) -> RequestId {
        self.request
    }
}

impl Core {
    /// A new schedule: what is DRAINING and not in it any more is up, what is new in it is DRAINING.
    pub(crate) fn update_schedule(&mut self, request: RequestId, schedule: &Schedule, out: &mut Effects) {
        if let Err(Invalid(text)) = self.validate_schedule(schedule) {
            out.push(Effect::Reply(request, Answer::new(400, text)));
            return;
        }
        let mut machines = Vec::new();
        for (window_number, window) in (0..).zip(&schedule.windows) {
            for (position, id) in (0..).zip(&window.machine_ids) {
                let known = self.machines.0.get(&name(id));
                let mode = known.map_or(Mode::Draining, |machine| machine.info.mode());
                let unavailability = Some(window.unavailability);
                let info = MachineInfo { id: id.clone(), mode: Some(mode.into()), unavailability };
                machines.push(Machine { info, window: window_number, position });
            }
        }
        self.plan(request, machines, false, out);
    }

    fn validate_schedule(&self, schedule: &Schedule) -> Result<(), Invalid> {
        let mut seen: Vec<Name> = Vec::new();
        for window in &schedule.windows {
            if window.machine_ids.is_empty() {
                return Err(Invalid::new("List of machines in the maintenance window is empty"));
            }
            if window.unavailability.duration.is_some_and(|duration| duration.nanoseconds < 0) {
                return Err(Invalid::new("Unavailability 'duration' is negative"));
            }
            validate_machines(&window.machine_ids, &mut seen)?;
        }
        let down = self.machines.0.iter().filter(|(_, machine)| machine.info.mode() == Mode::Down);
        match down.into_iter().find(|(name, _)| !seen.contains(name)) {
            Some((_, machine)) => Err(Invalid(format!(
                "Machine '{}' is deactivated and cannot be removed from the schedule",
                json(&machine.info.id)
            ))),
            None => Ok(()),
        }
    }

    /// DRAINING machines go DOWN: their agents are told to shut down, and removed.
    pub(crate) fn start_maintenance(&mut self, request: RequestId, ids: &[MachineId], out: &mut Effects) {
        let what = (Mode::Draining, "is not in DRAINING mode and cannot be brought down");
        match self.changed_machines(ids, what) {
            Err(Invalid(text)) => out.push(Effect::Reply(request, Answer::new(400, text))),
            Ok(names) => {
                let mut machines: Vec<Machine> = self.machines.0.values().cloned().collect();
                for machine in machines.iter_mut().filter(|machine| names.contains(&name(&machine.info.id))) {
                    machine.info.mode = Some(Mode::Down.into());
                }
                self.plan(request, machines, true, out);
            }
        }
    }

    /// DOWN machines are up again, and no more in the schedule.
    pub(crate) fn stop_maintenance(&mut self, request: RequestId, ids: &[MachineId], out: &mut Effects) {
        let what = (Mode::Down, "is not in DOWN mode and cannot be brought up");
        match self.changed_machines(ids, what) {
            Err(Invalid(text)) => out.push(Effect::Reply(request, Answer::new(400, text))),
            Ok(names) => {
                let kept = self.machines.0.values().filter(|machine| !names.contains(&name(&machine.info.id)));
                let machines = kept.cloned().collect();
                self.plan(request, machines, false, out);
            }
        }
    }

    fn changed_machines(&self, ids: &[MachineId], (mode, otherwise): (Mode, &str)) -> Result<Vec<Name>, Invalid> {
        if ids.is_empty() {
            return Err(Invalid::new("List of machines is empty"));
        }
        let mut names = Vec::new();
        validate_machines(ids, &mut names)?;
        for (id, name) in ids.iter().zip(&names) {
            match self.machines.0.get(name) {
                None => {
                    return Err(Invalid(format!("Machine '{}' is not part of a maintenance schedule", json(id))));
                }
                Some(machine) if machine.info.mode() != mode => {
                    return Err(Invalid(format!("Machine '{}' {otherwise}", json(id))));
                }
                Some(_) => {}
            }
        }
        Ok(names)
    }

    /// Writes down how the machines shall be.
    fn plan(&mut self, request: RequestId, machines: Vec<Machine>, down: bool, out: &mut Effects) {
        if self.writes.pending().any(|pending| matches!(pending, Pending::Maintenance(_))) {
            let text = "Another change of the maintenance schedule is being written: try again";
            out.push(Effect::Reply(request, Answer::new(409, text)));
            return;
        }
        let kept: Vec<Name> = machines.iter().map(|machine| name(&machine.info.id)).collect();
        let gone = self.machines.0.iter().filter(|(name, _)| !kept.contains(name));
        let mut ops: Vec<RegistryOp> =
            gone.map(|(_, machine)| RegistryOp::RemoveMachine(machine.info.id.clone())).collect();
        let changed = machines.iter().filter(|machine| self.machines.0.get(&name(&machine.info.id)) != Some(*machine));
        ops.extend(changed.map(|machine| RegistryOp::PutMachine(Box::new(machine.clone()))));
        self.write(ops, Pending::Maintenance(Planned { request, machines, down }), out);
    }

    /// It is durable.
    pub(crate) fn maintain(&mut self, now: Now, planned: Planned, out: &mut Effects) {
        let Planned { request, machines, down } = planned;
        tracing::info!(machines = machines.len(), "maintenance schedule changed");
        self.machines = Machines::recover(machines);
        self.dirty.maintenance = true;
        let agents: Vec<AgentKey> = self.agents.slots.keys().collect();
        for key in agents {
            let machine = self.machine_of(key);
            let planned = machine.and_then(|machine| machine.info.unavailability);
            let is_down = down && machine.is_some_and(|machine| machine.info.mode() == Mode::Down);
            self.set_unavailability(now, key, planned, out);
            if is_down {
                self.take_down(now, key, out);
            }
        }
        out.push(Effect::Reply(request, Answer::new(200, "")));
    }

    fn take_down(&mut self, now: Now, key: AgentKey, out: &mut Effects) {
        let shutdown = link::Shutdown { reason: "Operator initiated 'Machine DOWN'".to_owned() };
        self.tell(key, link::to_agent::Message::Shutdown(shutdown), out);
        self.begin_agent_removal(now, key, Cause::MachineDown, out);
    }

    fn machine_of(&self, key: AgentKey) -> Option<&Machine> {
        let agent = self.agents.get(key)?;
        self.machines.of(agent.info.hostname(), [agent.advertised.0, agent.peer])
    }

    /// An agent is there: it may be on a machine that is to go.
    pub(crate) fn plan_for_agent(&mut self, now: Now, key: AgentKey) {
        let planned = self.machine_of(key).and_then(|machine| machine.info.unavailability);
        let Some(agent) = self.agents.get_mut(key).filter(|agent| agent.unavailability != planned) else { return };
        agent.unavailability = planned;
        self.allocator.set_unavailability(now.mono, key, planned);
        self.dirty.maintenance = true;
    }

    /// Agents of machines that are down are not taken.
    pub(crate) fn is_down(&self, register: &link::Register, peer: IpAddr) -> bool {
        let machine = self.machines.of(&register.agent.hostname, [advertised(register, peer).0, peer]);
        machine.is_some_and(|machine| machine.info.mode() == Mode::Down)
    }

    /// As readers see it.
    pub(crate) fn maintenance_view(&self) -> model::Maintenance {
        let mut status = ClusterStatus::default();
        for machine in self.machines.0.values() {
            match machine.info.mode() {
                Mode::Down => status.down_machines.push(machine.info.id.clone()),
                Mode::Draining => {
                    let own = |agent: &crate::agents::Agent| {
                        self.machines.of(agent.info.hostname(), [agent.advertised.0, agent.peer]) == Some(machine)
                    };
                    let agents = self.agents.slots.values().filter(|agent| own(agent));
                    let statuses = agents.flat_map(|agent| agent.inverse_answers.values().cloned()).collect();
                    status.draining_machines.push(DrainingMachine { id: machine.info.id.clone(), statuses });
                }
                Mode::Up => {}
            }
        }
        model::Maintenance { schedule: self.machines.schedule(), status }
    }
}

fn validate_machines(ids: &[MachineId], seen: &mut Vec<Name>) -> Result<(), Invalid> {
    for id in ids {
        if id.hostname().is_empty() && id.ip().is_empty() {
            return Err(Invalid::new("Both 'hostname' and 'ip' for a machine are empty"));
        }
        if !id.ip().is_empty() && id.ip().parse::<std::net::Ipv4Addr>().is_err() {
            return Err(Invalid(format!("Failed to parse IPv4: {}", id.ip())));
        }
        let name = name(id);
        if seen.contains(&name) {
            return Err(Invalid(format!("Machine '{}' appears more than once in the schedule", json(id))));
        }
        seen.push(name);
    }
    Ok(())
}

fn json(id: &MachineId) -> String {
    String::from_utf8_lossy(&encode(Encoding::Json, id)).into_owned()
}
