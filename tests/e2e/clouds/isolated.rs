//! The machines of two masters, one of them the leader's, do not see each other: neither the masters nor their ZooKeeper
//! servers. Everybody else sees both.

use std::time::Duration;

use super::checker::settle;
use super::keeper::Keeper;
use super::world::{Agents, PATIENCE, REGIONS, World};

/// Who loses its ZooKeeper server has time to find another one, also where everything shares two cores with other tests.
const SESSION: Duration = Duration::from_secs(20);
/// Connections that are silent are found out within this, and challenges come and fail.
const LONG_ENOUGH: Duration = Duration::from_secs(8);

/// What the firewall between them does.
#[derive(Clone, Copy)]
enum Wall {
    /// Nothing comes through.
    Drops,
    /// Every connection is reset: to the standby the leader's process looks dead.
    Resets,
}

#[test]
fn two_masters_between_which_everything_is_dropped() {
    walled(Wall::Drops);
}

#[test]
fn two_masters_between_which_connections_are_reset() {
    walled(Wall::Resets);
}

fn walled(wall: Wall) {
    // The standby that costs most: the one that would challenge a dead leader, with ZooKeeper's leader beside it.
    let (leader, standby) = (0, 1);
    let Some(mut world) = World::start(SESSION, standby, Agents::Open) else { return };
    let mut keeper = Keeper::start(&world.masters, "walled", true, REGIONS);
    settle(&mut keeper, world.masters[leader], world.site.dir(), PATIENCE);
    let mark = keeper.told.len();
    let id = world.id_of(leader);
    build(wall, &world, leader, standby);

    // Nothing stops: who leads goes on, tasks run on, and new ones run too.
    world.work_for(&mut keeper, LONG_ENOUGH, |leads| {
        assert!(leads.is_none_or(|leads| leads == leader), "master {leads:?} leads, and {leader} did");
    });
    assert_eq!(keeper.told_since(mark), [] as [String; 0], "tasks notice nothing");
    assert_eq!(world.id_of(leader), id, "the same leadership");
    keeper.grow();
    settle(&mut keeper, world.masters[leader], world.site.dir(), PATIENCE);
    if matches!(wall, Wall::Resets) {
        let said = world.site.masters[leader].part.log();
        assert!(said.contains("another master cannot reach this one and challenged it; answered"), "{said}");
    }

    // All begin anew, and still do not see each other: perhaps nobody leads, but never two do.
    world.restart_seats();
    let mut led = 0;
    for _ in 0..2 {
        // Again where the machine was too busy for anybody to lead yet.
        if led == 0 {
            world.watch_for(&keeper, LONG_ENOUGH, |leads| led += u32::from(leads.is_some()));
        }
    }
    eprintln!("behind the wall a master was seen to lead {led} times");

    // The wall is gone.
    for seat in [leader, standby] {
        world.regions[seat].seat.heal();
    }
    let leads = world.leader();
    world.wait_for_agents(leads, REGIONS);
    settle(&mut keeper, world.masters[leads], world.site.dir(), PATIENCE);
    assert!(world.site.masters.iter_mut().all(|master| master.part.is_running()), "a master ended");
    keeper.end();
}

fn build(wall: Wall, world: &World, one: usize, other: usize) {
    let [one, other] = [one, other].map(|seat| &world.regions[seat].seat);
    for (here, there) in [(one, other), (other, one)] {
        match wall {
            Wall::Drops => here.drop_all_of(&[there.address()]),
            Wall::Resets => here.reset_all_of(&[there.address()]),
        }
    }
}
