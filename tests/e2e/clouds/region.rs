//! What three regions survive: one of them is lost, or the machine of the leader alone.

use std::time::{Duration, Instant};

use mezzo_tests::wait;

use super::checker::{processes, settle};
use super::keeper::Keeper;
use super::world::{Agents, PATIENCE, REGIONS, World};

const WANTED: usize = 6;
const SESSION: Duration = Duration::from_secs(4);

fn others(region: usize) -> Vec<usize> {
    (0..REGIONS).filter(|other| *other != region).collect()
}

/// Ids of the agents of a region, two in each.
fn agents_of(world: &World, leader: usize, region: usize) -> Vec<String> {
    let shown = [2 * region, 2 * region + 1].map(|number| world.site.shown(world.masters[leader], number));
    shown.into_iter().flatten().filter_map(|agent| agent["id"].as_str().map(str::to_owned)).collect()
}

/// A region vanishes: a master and a ZooKeeper server (those that lead), two agents, one of them behind NAT.
#[test]
fn a_region_is_lost_and_comes_back() {
    let Some(mut world) = World::start(SESSION, 0, Agents::OpenAndHidden) else { return };
    let leader = 0;
    let mut keeper = Keeper::start(&world.masters, "regions", true, WANTED);
    // One on each agent, so that some are in the region that is lost.
    keeper.share = 1;
    settle(&mut keeper, world.masters[leader], world.site.dir(), PATIENCE);
    let lost = agents_of(&world, leader, leader);
    assert_eq!(lost.len(), 2);
    let in_region = |keeper: &Keeper, ids: &[String]| {
        keeper.running().iter().filter(|id| ids.contains(&keeper.tasks[*id].agent)).count()
    };
    let theirs = in_region(&keeper, &lost);
    assert!(theirs > 0, "a task runs in the region that will be lost");

    // They go dark at once, and their processes run on and do not know.
    world.set_links(leader, false);
    let others = others(leader);
    let next = wait::until_within(PATIENCE, "another master leads", || {
        let leaders = world.leaders();
        others.iter().copied().find(|other| leaders.contains(other))
    });
    world.wait_for_agents(next, 2 * others.len());
    keeper.share = WANTED;
    world.work(&mut keeper, "what was lost runs elsewhere", |keeper| {
        keeper.running().len() == WANTED && in_region(keeper, &lost) == 0
    });
    assert_eq!(processes(world.site.dir()).len(), WANTED + theirs, "what cannot hear runs on");

    // Light again: one leader, all agents, and only what the framework wants.
    world.set_links(leader, true);
    let leads = world.leader();
    assert_eq!(leads, next, "who leads goes on leading");
    world.wait_for_agents(leads, 2 * REGIONS);
    settle(&mut keeper, world.masters[leads], world.site.dir(), PATIENCE);
    for number in 0..world.site.agents.len() {
        assert!(world.site.agents[number].part.is_running(), "agent{number} ended");
    }
    assert!(world.site.masters.iter_mut().all(|master| master.part.is_running()), "a master ended");
    keeper.end();
}

/// The leader's machine vanishes, and on it the ZooKeeper server that leads.
#[test]
fn the_leaders_machine_is_lost_with_its_zookeeper_server() {
    let Some(mut world) = World::start(SESSION, 0, Agents::Open) else { return };
    let leader = 0;
    let mut keeper = Keeper::start(&world.masters, "machine", true, REGIONS);
    settle(&mut keeper, world.masters[leader], world.site.dir(), PATIENCE);
    let before = processes(world.site.dir());
    let mark = keeper.told.len();
    let (others, since) = (others(leader), Instant::now());
    world.regions[leader].seat.set_link(false);
    // ZooKeeper's own election, and then the session: it begins anew with each leader.
    let elected = wait::until_within(PATIENCE, "ZooKeeper has a leader", || {
        world.zookeeper_leader(&others).map(|_| since.elapsed())
    });
    let (next, took) = wait::until_within(PATIENCE, "another master leads", || {
        let leads = |other: &usize| super::keeper::leads(world.masters[*other]);
        others.iter().copied().find(leads).map(|next| (next, since.elapsed()))
    });
    eprintln!(
        "the leader's machine was lost, session {} s: ZooKeeper had a leader after {:.2} s, the masters after {:.2} s",
        SESSION.as_secs(),
        elected.as_secs_f64(),
        took.as_secs_f64()
    );
    // Busy machines are given more than the second that was promised.
    assert!(took < elected + SESSION + Duration::from_secs(4), "{took:?}, ZooKeeper's election {elected:?}");
    world.wait_for_agents(next, REGIONS);
    settle(&mut keeper, world.masters[next], world.site.dir(), PATIENCE);
    assert_eq!(keeper.told_since(mark), [] as [String; 0], "tasks notice nothing");
    assert_eq!(processes(world.site.dir()), before, "the same processes");
    world.regions[leader].seat.set_link(true);
    wait::until_within(PATIENCE, "the machine's master stands by", || world.stands_by(leader, next));
    keeper.end();
}
