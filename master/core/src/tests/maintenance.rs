//! Maintenance: schedules, machines that go down and come up, inverse offers.

use mezzo_api::v1::{
    DurationInfo, MachineId, TimeInfo, Unavailability,
    machine_info::Mode,
    maintenance::{Schedule, Window},
};

use super::*;

pub(crate) fn machine(hostname: &str) -> MachineId {
    MachineId { hostname: Some(hostname.into()), ip: None }
}

pub(crate) fn planned() -> Unavailability {
    Unavailability { start: TimeInfo { nanoseconds: 5 }, duration: None }
}

pub(crate) fn schedule(machines: Vec<MachineId>) -> OperatorCall {
    let windows =
        if machines.is_empty() { vec![] } else { vec![Window { machine_ids: machines, unavailability: planned() }] };
    OperatorCall::UpdateSchedule(Schedule { windows })
}

fn down(machines: &[MachineId]) -> OperatorCall {
    OperatorCall::StartMaintenance(machines.to_vec())
}

fn up(machines: &[MachineId]) -> OperatorCall {
    OperatorCall::StopMaintenance(machines.to_vec())
}

#[test]
fn schedules_that_cannot_be_are_refused() {
    let mut world = World::new();
    let bad = |text: &str| Answer::new(400, text);
    let ip = |ip: &str| MachineId { hostname: None, ip: Some(ip.into()) };
    let window = |machine_ids| {
        OperatorCall::UpdateSchedule(Schedule { windows: vec![Window { machine_ids, unavailability: planned() }] })
    };
    assert_eq!(world.answered(window(vec![])), bad("List of machines in the maintenance window is empty"));
    assert_eq!(world.answered(window(vec![ip("x")])), bad("Failed to parse IPv4: x"));
    assert_eq!(
        world.answered(window(vec![MachineId::default()])),
        bad("Both 'hostname' and 'ip' for a machine are empty")
    );
    assert_eq!(
        world.answered(window(vec![machine("H"), machine("h")])),
        bad(r#"Machine '{"hostname":"h"}' appears more than once in the schedule"#)
    );
    let mut negative = Window { machine_ids: vec![machine("m")], unavailability: planned() };
    negative.unavailability.duration = Some(DurationInfo { nanoseconds: -1 });
    let negative = OperatorCall::UpdateSchedule(Schedule { windows: vec![negative] });
    assert_eq!(world.answered(negative), bad("Unavailability 'duration' is negative"));
    assert_eq!(world.answered(down(&[])), bad("List of machines is empty"));
    assert_eq!(
        world.answered(down(&[machine("zz")])),
        bad(r#"Machine '{"hostname":"zz"}' is not part of a maintenance schedule"#)
    );
    assert!(world.writes.is_empty());
}

#[test]
fn a_machine_goes_down_and_comes_up_again() {
    let mut world = World::new();
    let scheduler = world.subscribe(modern("dev"));
    let agent = world.agent(AGENT_RESOURCES);
    let offer = world.offer(&scheduler);
    assert_eq!(offer.unavailability, None);
    world.ordered(schedule(vec![machine("HOST"), machine("other")]));
    let events = world.events(scheduler.stream);
    assert!(matches!(&events[..], [event, ..] if event.rescind.is_some()), "the offer said otherwise: {events:?}");
    world.settle();
    let offered = world.events(scheduler.stream).into_iter().find_map(|event| event.offers).expect("OFFERS");
    let offer = offered.offers[0].clone();
    assert_eq!(offer.unavailability, Some(planned()));
    assert_eq!(
        world.answered(up(&[machine("host")])),
        Answer::new(400, r#"Machine '{"hostname":"host"}' is not in DOWN mode and cannot be brought up"#)
    );
    world.launch(&scheduler, &offer, vec![task("t", &offer)], 600.0);
    world.messages(agent.link);

    let ops = world.ordered(down(&[machine("host")]));
    assert!(matches!(&ops[..], [RegistryOp::PutMachine(machine)] if machine.info.mode() == Mode::Down), "{ops:?}");
    assert!(matches!(&world.messages(agent.link)[..], [to_agent::Message::Shutdown(_)]));
    assert!(matches!(&world.write_done()[..], [RegistryOp::RemoveAgent(_)]));
    let updates: Vec<_> = world.events(scheduler.stream);
    let lost = updates.iter().find_map(|event| event.update.as_ref()).expect("the task is lost");
    assert_eq!(lost.status.state(), TaskState::TaskLost);
    assert_eq!(lost.status.message(), "Agent host removed: Operator initiated 'Machine DOWN'");
    world.closed_links.clear();

    let link = world.link_up();
    world.say(link, from_agent::Message::Register(register(&agent.info)));
    assert!(matches!(&world.messages(link)[..], [to_agent::Message::Shutdown(_)]), "it is not taken");
    world.closed_links.clear();
    assert_eq!(
        world.answered(schedule(vec![machine("other")])),
        Answer::new(400, r#"Machine '{"hostname":"HOST"}' is deactivated and cannot be removed from the schedule"#)
    );
    assert_eq!(
        world.answered(down(&[machine("host")])),
        Answer::new(400, r#"Machine '{"hostname":"host"}' is not in DRAINING mode and cannot be brought down"#)
    );
    assert_eq!(world.view.maintenance.status.down_machines, [machine("HOST")]);
    assert_eq!(world.ordered(up(&[machine("host")])), [RegistryOp::RemoveMachine(machine("HOST"))]);
    assert_eq!(world.view.maintenance.schedule.windows[0].machine_ids, [machine("other")]);
    world.agent(AGENT_RESOURCES);
    world.ordered(schedule(vec![]));
    assert!(world.view.maintenance.schedule.windows.is_empty());
}

#[test]
fn the_next_leader_knows_the_schedule() {
    let mut first = World::new();
    let two = OperatorCall::UpdateSchedule(Schedule {
        windows: vec![
            Window { machine_ids: vec![machine("b"), machine("a")], unavailability: planned() },
            Window { machine_ids: vec![machine("c")], unavailability: planned() },
        ],
    });
    let machines = first
        .ordered(two)
        .into_iter()
        .rev()
        .map(|op| match op {
            RegistryOp::PutMachine(machine) => *machine,
            other => panic!("{other:?}"),
        })
        .collect();
    let second = World::with(config(), Recovered { machines, ..Default::default() });
    assert_eq!(second.view.maintenance.schedule, first.view.maintenance.schedule);
}
