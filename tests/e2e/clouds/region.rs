//! One of three regions vanishes: a master (the one that leads), a ZooKeeper server, two agents, one of them behind NAT.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use mezzo_tests::hosts::{Host, Network};
use mezzo_tests::part::Part;
use mezzo_tests::{wait, zookeeper};

use super::checker::{at_any_moment, processes, settle};
use super::keeper::{Keeper, leads};
use super::site::Site;

const CLASSPATH: &str = "/usr/share/java/zookeeper.jar:/usr/share/java/slf4j-simple.jar";
const REGIONS: usize = 3;
const WANTED: usize = 6;
/// Session timeouts, elections of ZooKeeper and of masters, heartbeats that stay out: each may take its time.
const PATIENCE: Duration = Duration::from_secs(120);

/// What stands in one region.
struct Region {
    /// Where its cables come together: all but what is behind the region's own router.
    hosts: Vec<Host>,
}

struct World {
    site: Site,
    regions: Vec<Region>,
    masters: Vec<SocketAddr>,
    _servers: Vec<Part>,
    _network: Network,
}

fn world() -> Option<World> {
    let mut network = Network::new()?;
    let backbone = network.segment();
    let mut site = Site::new();
    let keepers: Vec<Host> = (0..REGIONS).map(|region| network.host(&format!("z{region}"), &backbone)).collect();
    network.host("desk", &backbone).enter();
    let servers = ensemble(&site, &keepers);
    let places: Vec<String> = keepers.iter().map(|host| format!("{}:2181", host.address())).collect();
    let zk = format!("zk://{}/mezzo", places.join(","));
    let (mut regions, mut masters) = (Vec::new(), Vec::new());
    for (number, keeper) in keepers.into_iter().enumerate() {
        let (region, zone) = (format!("--region=r{number}"), "--zone=a");
        let master = network.host(&format!("m{number}"), &backbone);
        let flags = [
            &format!("--zk={zk}"),
            "--zk_session_timeout=4secs",
            "--agent_ping_timeout=1secs",
            "--max_agent_ping_timeouts=5",
            "--agent_reregister_timeout=15secs",
            &region,
            zone,
        ];
        masters.push(site.master(&master, &flags));
        let open = network.host(&format!("a{number}"), &backbone);
        let inner = network.segment();
        let router = network.router(&format!("r{number}"), &inner, &backbone);
        let hidden = network.host(&format!("b{number}"), &inner);
        hidden.route_by(&inner);
        for host in [&open, &hidden] {
            site.agent(host, &zk, &[&region, zone]);
        }
        regions.push(Region { hosts: vec![keeper, master, open, router.host().clone()] });
    }
    let mut world = World { site, regions, masters, _servers: servers, _network: network };
    let leader = world.leader();
    world.wait_for_agents(leader, 2 * REGIONS);
    Some(world)
}

/// A ZooKeeper server on each of the hosts.
fn ensemble(site: &Site, hosts: &[Host]) -> Vec<Part> {
    let list: String =
        (1..).zip(hosts).map(|(id, host)| format!("server.{id}={}:2888:3888\n", host.address())).collect();
    let start = |(id, host): (i32, &Host)| {
        let name = format!("zookeeper{id}");
        let data = site.dir().join(&name).join("data");
        std::fs::create_dir_all(&data).expect("the test's directory must be writable");
        std::fs::write(data.join("myid"), id.to_string()).expect("the same");
        let settings = format!(
            "tickTime=500\ninitLimit=10\nsyncLimit=5\ndataDir={}\nclientPort=2181\nclientPortAddress={}\n\
             admin.enableServer=false\n4lw.commands.whitelist=*\nforceSync=no\n{list}",
            data.display(),
            host.address()
        );
        let file = site.dir().join(&name).join("zoo.cfg");
        std::fs::write(&file, settings).expect("the same");
        let jvm = ["-Xms32m", "-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", CLASSPATH];
        let mut arguments: Vec<OsString> = jvm.map(Into::into).into();
        arguments.push("org.apache.zookeeper.server.quorum.QuorumPeerMain".into());
        arguments.push(file.into());
        let mut part = host.part(&name, PathBuf::from("/usr/bin/java"), arguments, site.dir());
        part.start();
        part
    };
    let servers = (1..).zip(hosts).map(start).collect();
    for host in hosts {
        let address = SocketAddr::from((host.address(), 2181));
        wait::until_within(PATIENCE, "a ZooKeeper server serves", || zookeeper::mode(address));
    }
    servers
}

impl World {
    /// Those that answer for themselves: a standby sends on, or says that nobody leads.
    fn leaders(&self) -> Vec<usize> {
        (0..self.masters.len()).filter(|number| leads(self.masters[*number])).collect()
    }

    /// The one that leads.
    fn leader(&self) -> usize {
        wait::until_within(PATIENCE, "one master leads", || match self.leaders()[..] {
            [leader] => Some(leader),
            _ => None,
        })
    }

    fn wait_for_agents(&mut self, leader: usize, count: usize) {
        let master = self.masters[leader];
        wait::until_within(PATIENCE, &format!("{count} agents are registered"), || {
            let registered = (0..self.site.agents.len()).filter_map(|number| self.site.shown(master, number));
            (registered.filter(|agent| agent["active"] == true).count() == count).then_some(())
        });
    }

    fn set_links(&self, region: usize, up: bool) {
        self.regions[region].hosts.iter().for_each(|host| host.set_link(up));
    }

    /// Ids of the agents of a region.
    fn agents_of(&self, leader: usize, region: usize) -> Vec<String> {
        let shown = [2 * region, 2 * region + 1].map(|number| self.site.shown(self.masters[leader], number));
        shown.into_iter().flatten().filter_map(|agent| agent["id"].as_str().map(str::to_owned)).collect()
    }

    fn work(&self, keeper: &mut Keeper, what: &str, mut done: impl FnMut(&Keeper) -> bool) {
        keeper.work_until(PATIENCE, what, |keeper| {
            at_any_moment(keeper, self.site.dir()).unwrap_or_else(|violation| panic!("{violation}"));
            done(keeper)
        });
    }
}

#[test]
fn a_region_is_lost_and_comes_back() {
    let Some(mut world) = world() else { return };
    let leader = world.leader();
    let mut keeper = Keeper::start(&world.masters, "regions", true, WANTED);
    // One on each agent, so that some are in the region that is lost.
    keeper.share = 1;
    settle(&mut keeper, world.masters[leader], world.site.dir(), PATIENCE);
    let lost = world.agents_of(leader, leader);
    assert_eq!(lost.len(), 2);
    let in_region = |keeper: &Keeper, ids: &[String]| {
        keeper.running().iter().filter(|id| ids.contains(&keeper.tasks[*id].agent)).count()
    };
    let theirs = in_region(&keeper, &lost);
    assert!(theirs > 0, "a task runs in the region that will be lost");

    // The leader, a server, and two agents with their tasks go dark at once: their processes run on and do not know.
    world.set_links(leader, false);
    let others: Vec<usize> = (0..REGIONS).filter(|region| *region != leader).collect();
    let next = wait::until_within(PATIENCE, "another master leads", || {
        others.iter().copied().find(|other| world.leaders().contains(other))
    });
    world.wait_for_agents(next, 4);
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
        assert!(world.site.masters.iter_mut().all(|master| master.part.is_running()), "no master ended");
    }
    keeper.end();
}
