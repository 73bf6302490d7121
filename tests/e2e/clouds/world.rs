//! Three regions: in each a seat (a machine with a master and a ZooKeeper server), and agents, in the open and behind NAT.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use mezzo_tests::hosts::{Host, Network, Router};
use mezzo_tests::part::Part;
use mezzo_tests::{http, wait, zookeeper};

use super::checker::at_any_moment;
use super::keeper::{Keeper, leads};
use super::site::Site;

pub(super) const REGIONS: usize = 3;
/// Session timeouts, elections of ZooKeeper and of masters, heartbeats that stay out: each may take its time.
pub(super) const PATIENCE: Duration = Duration::from_secs(120);
/// Where ZooKeeper servers listen.
const CLIENTS: u16 = 2181;

/// What stands in one region.
pub(super) struct Region {
    /// The machine of its master and its ZooKeeper server.
    pub(super) seat: Host,
    server: Part,
    /// All machines whose cables come together: all but what is behind the region's own router.
    hosts: Vec<Host>,
    _router: Option<Router>,
}

/// All three, and a framework's desk, where this thread stands.
pub(super) struct World {
    pub(super) site: Site,
    pub(super) regions: Vec<Region>,
    pub(super) masters: Vec<SocketAddr>,
    _network: Network,
}

/// Which agents there are in each region.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Agents {
    None,
    /// One in the open.
    Open,
    /// One in the open, one behind NAT.
    OpenAndHidden,
}

impl World {
    /// Starts it, and waits until the first master leads with all agents, the next in line being the second. ZooKeeper's
    /// leader is beside master `beside`. Nothing where this machine allows no networks.
    pub(super) fn start(session: Duration, beside: usize, agents: Agents) -> Option<Self> {
        let mut network = Network::new()?;
        let backbone = network.segment();
        let mut site = Site::new();
        let mut seats: Vec<Host> = (0..REGIONS).map(|region| network.host(&format!("m{region}"), &backbone)).collect();
        network.host("desk", &backbone).enter();
        let mut servers = ensemble(&site, &seats, zookeeper::TICK.max(session / 20));
        let leads = |seat: &Host| zookeeper::mode((seat.address(), CLIENTS).into()).as_deref() == Some("leader");
        let leading = wait::until_within(PATIENCE, "a ZooKeeper server leads", || seats.iter().position(leads));
        seats.rotate_left((leading + REGIONS - beside) % REGIONS);
        servers.rotate_left((leading + REGIONS - beside) % REGIONS);
        let places: Vec<String> = seats.iter().map(|host| format!("{}:{CLIENTS}", host.address())).collect();
        let zk = format!("zk://{}/mezzo", places.join(","));
        let (mut regions, mut masters) = (Vec::new(), Vec::new());
        for (number, (seat, server)) in seats.into_iter().zip(servers).enumerate() {
            let (region, zone) = (format!("--region=r{number}"), "--zone=a");
            let session = format!("--zk_session_timeout={}ms", session.as_millis());
            let (zk_flag, pings) = (format!("--zk={zk}"), "--agent_ping_timeout=1secs");
            let patience = ["--max_agent_ping_timeouts=5", "--agent_reregister_timeout=10secs"];
            let flags = [&zk_flag, &session, pings, patience[0], patience[1], &region, zone];
            masters.push(site.master(&seat, &flags));
            let expected: Vec<usize> = (0..=number).collect();
            let stand = || (line(&zk, &masters) == expected).then_some(());
            wait::until_within(PATIENCE, "the masters stand in line", stand);
            let mut hosts = vec![seat.clone()];
            let mut router = None;
            if agents != Agents::None {
                let open = network.host(&format!("a{number}"), &backbone);
                site.agent(&open, &zk, &[&region, zone]);
                hosts.push(open);
            }
            if agents == Agents::OpenAndHidden {
                let inner = network.segment();
                let gate = network.router(&format!("r{number}"), &inner, &backbone);
                let hidden = network.host(&format!("b{number}"), &inner);
                hidden.route_by(&inner);
                site.agent(&hidden, &zk, &[&region, zone]);
                hosts.push(gate.host().clone());
                router = Some(gate);
            }
            regions.push(Region { seat, server, hosts, _router: router });
        }
        let mut world = Self { site, regions, masters, _network: network };
        assert_eq!(world.leader(), 0);
        world.wait_for_agents(0, world.site.agents.len());
        Some(world)
    }

    /// Those that answer for themselves: a standby sends on, or says that nobody leads.
    pub(super) fn leaders(&self) -> Vec<usize> {
        (0..self.masters.len()).filter(|number| leads(self.masters[*number])).collect()
    }

    /// The one that leads.
    pub(super) fn leader(&self) -> usize {
        wait::until_within(PATIENCE, "one master leads", || match self.leaders()[..] {
            [leader] => Some(leader),
            _ => None,
        })
    }

    /// Whoever leads at this moment.
    ///
    /// # Panics
    /// When two do: one that leads before and after another one was seen to lead.
    pub(super) fn leader_at_most_one(&self) -> Option<usize> {
        let seen = self.leaders();
        if let [first, second, ..] = seen[..] {
            assert!(!leads(self.masters[first]), "masters {first} and {second} lead");
        }
        seen.last().copied()
    }

    /// The id under which a master leads.
    pub(super) fn id_of(&self, leader: usize) -> String {
        http::get_json(self.masters[leader], "/state")["id"].as_str().unwrap_or_default().to_owned()
    }

    /// Once a master does not lead and names this leader.
    pub(super) fn stands_by(&self, master: usize, leader: usize) -> Option<()> {
        let answer = http::send(self.masters[master], &http::Request::get("/redirect")).ok()?;
        let place = format!("//{}", self.masters[leader]);
        (!leads(self.masters[master]) && answer.head.header("Location") == Some(place.as_str())).then_some(())
    }

    pub(super) fn wait_for_agents(&mut self, leader: usize, count: usize) {
        let master = self.masters[leader];
        wait::until_within(PATIENCE, &format!("{count} agents are registered"), || {
            (self.registered(master) == count).then_some(())
        });
    }

    fn registered(&self, master: SocketAddr) -> usize {
        let shown = (0..self.site.agents.len()).filter_map(|number| self.site.shown(master, number));
        shown.filter(|agent| agent["active"] == true).count()
    }

    /// Everything that stands in a region vanishes, or comes back.
    pub(super) fn set_links(&self, region: usize, up: bool) {
        self.regions[region].hosts.iter().for_each(|host| host.set_link(up));
    }

    /// Which seat's ZooKeeper server leads its ensemble, of those that answer.
    pub(super) fn zookeeper_leader(&self, among: &[usize]) -> Option<usize> {
        let leads = |seat: &usize| zookeeper::mode(self.client_address(*seat)).as_deref() == Some("leader");
        among.iter().copied().find(leads)
    }

    fn client_address(&self, seat: usize) -> SocketAddr {
        SocketAddr::new(IpAddr::V4(self.regions[seat].seat.address()), CLIENTS)
    }

    /// Every master and every ZooKeeper server is killed, then all are started again.
    pub(super) fn restart_seats(&mut self) {
        for (region, master) in self.regions.iter_mut().zip(&mut self.site.masters) {
            region.server.kill();
            master.part.kill();
        }
        for (region, master) in self.regions.iter_mut().zip(&mut self.site.masters) {
            region.server.start();
            master.part.start();
        }
    }

    /// Works on, the checker looking on at every moment, until it is done.
    pub(super) fn work(&self, keeper: &mut Keeper, what: &str, mut done: impl FnMut(&Keeper) -> bool) {
        keeper.work_until(PATIENCE, what, |keeper| {
            at_any_moment(keeper, self.site.dir()).unwrap_or_else(|violation| panic!("{violation}"));
            done(keeper)
        });
    }

    /// Looks on for so long, with never more than one leader; there may be none, for which no framework waits.
    pub(super) fn watch_for(&self, keeper: &Keeper, time: Duration, mut meanwhile: impl FnMut(Option<usize>)) {
        let begun = Instant::now();
        while begun.elapsed() < time {
            meanwhile(self.leader_at_most_one());
            at_any_moment(keeper, self.site.dir()).unwrap_or_else(|violation| panic!("{violation}"));
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Works on for so long, with never more than one leader.
    pub(super) fn work_for(&self, keeper: &mut Keeper, time: Duration, mut meanwhile: impl FnMut(Option<usize>)) {
        let begun = Instant::now();
        self.work(keeper, "time passes", |_| {
            meanwhile(self.leader_at_most_one());
            begun.elapsed() > time
        });
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for region in &self.regions {
                eprintln!("{}", region.server.last_lines(20));
            }
        }
    }
}

/// The masters in the order in which they stand for election, the leader first.
fn line(url: &str, masters: &[SocketAddr]) -> Vec<usize> {
    let url = url.parse().expect("a URL");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let standing = runtime.block_on(async {
        let client = mezzo_election::connect(&url, PATIENCE).await.expect("a session");
        let mut names = client.list_children(url.path()).await.unwrap_or_default();
        names.sort();
        let mut standing = Vec::new();
        for name in names {
            if let Ok((data, _)) = client.get_data(&format!("{}/{name}", url.path())).await {
                standing.push(serde_json::from_slice::<serde_json::Value>(&data).expect("a master's znode holds JSON"));
            }
        }
        standing
    });
    let number = |info: &serde_json::Value| {
        let ip = info["address"]["ip"].as_str()?;
        masters.iter().position(|master| master.ip().to_string() == ip)
    };
    standing.iter().filter_map(number).collect()
}

/// A ZooKeeper server on each of the hosts.
fn ensemble(site: &Site, hosts: &[Host], tick: Duration) -> Vec<Part> {
    let list: String =
        (1..).zip(hosts).map(|(id, host)| format!("server.{id}={}:2888:3888\n", host.address())).collect();
    let start = |(id, host): (usize, &Host)| {
        let name = format!("zookeeper{id}");
        let address = SocketAddr::from((host.address(), CLIENTS));
        let (program, arguments) = zookeeper::command(&site.dir().join(&name), id, address, tick, &list);
        let mut part = host.part(&name, program, arguments, site.dir());
        part.start();
        part
    };
    let servers = (1..).zip(hosts).map(start).collect();
    for host in hosts {
        let address = SocketAddr::from((host.address(), CLIENTS));
        wait::until_within(PATIENCE, "a ZooKeeper server serves", || zookeeper::mode(address));
    }
    servers
}
