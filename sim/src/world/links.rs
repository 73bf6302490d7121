//! Connections of agents: the link to a master, which is dialled and dialled again, and those that executors open.

use std::time::Duration;

use mezzo_agent_core::effect::{Effects, LinkId};

use super::{
    Event, Owner, World,
    agents::{Agent, Link},
};
use crate::{
    ids::{Host, ProcessId, Service},
    network::{ConnId, Incoming, Opening, Packet, Side},
};

const DIAL_FIRST: Duration = Duration::from_millis(500);
const DIAL_MAX: Duration = Duration::from_secs(15);

impl World {
    /// The link is no more: the core hears it, the shell dials again.
    pub(super) fn link_lost(&mut self, agent: &mut Agent) {
        if let Link::Up(_, link) = std::mem::replace(&mut agent.link, Link::Down) {
            let mut effects = Effects::new();
            agent.core.link_down(agent.clock.read(self.now), link, &mut effects);
            agent.staged.extend(effects);
        }
        let delay = self.random.duration(Duration::ZERO, DIAL_FIRST);
        agent.dial_after = DIAL_FIRST;
        self.queue.push(self.now + delay, Event::Dial(agent.process));
    }

    pub(super) fn agent_detects(&mut self, number: u16, host: Host) {
        let Some(mut agent) = self.agents[usize::from(number)].agent.take() else { return };
        let same = agent.leader == Some(host);
        agent.leader = Some(host);
        if !same {
            if let Link::Up(conn, _) | Link::Dialling(conn) = agent.link {
                self.network.close(&mut self.queue, self.now, conn, Side::Dialer);
                self.link_lost(&mut agent);
            } else {
                self.queue.push(self.now, Event::Dial(agent.process));
            }
        }
        self.agents[usize::from(number)].agent = Some(agent);
    }

    pub(super) fn agent_dials(&mut self, process: ProcessId) {
        let Some(Owner::Agent(number)) = self.owners.get(&process).copied() else { return };
        let Some(agent) = self.agents[usize::from(number)].agent.as_mut() else { return };
        let (Some(leader), Link::Down) = (agent.leader, agent.link) else { return };
        let from = (Host::Agent(number), process);
        let conn = self.network.dial(&mut self.queue, self.now, from, (leader, Service::Master), Opening::Link);
        agent.link = Link::Dialling(conn);
    }

    /// The shell dials although its link stands: a second link to the same master.
    pub(super) fn agent_second_link(&mut self, number: u16) {
        let Some(agent) = self.agents[usize::from(number)].agent.as_mut() else { return };
        let (Some(leader), Link::Up(..)) = (agent.leader, agent.link) else { return };
        let from = (Host::Agent(number), agent.process);
        let conn = self.network.dial(&mut self.queue, self.now, from, (leader, Service::Master), Opening::Link);
        agent.second = Some(conn);
    }

    pub(super) fn agent_incoming(&mut self, number: u16, conn: ConnId, side: Side, what: Incoming) {
        match (side, what) {
            (Side::Dialer, what) => self.agent_link(number, conn, what),
            (Side::Listener, Incoming::Opened(opening)) => self.agent_opened(number, conn, opening),
            (Side::Listener, Incoming::Packet(Packet::ExecutorCall(call))) => self.agent_called(number, conn, &call),
            (Side::Listener, Incoming::Packet(_)) => {}
            (Side::Listener, Incoming::Closed { .. }) => {
                let Some(agent) = self.agents[usize::from(number)].agent.as_mut() else { return };
                if let Some(Some(stream)) = agent.conns.remove(&conn) {
                    agent.streams.remove(&stream);
                    self.agent_step(number, |core, now, out| core.stream_closed(now, stream, out));
                }
            }
        }
    }

    fn agent_link(&mut self, number: u16, conn: ConnId, what: Incoming) {
        let Some(agent) = self.agents[usize::from(number)].agent.as_mut() else { return };
        match what {
            Incoming::Packet(Packet::Accepted) if agent.link == Link::Dialling(conn) => {
                let link = LinkId(agent.next_link);
                agent.next_link += 1;
                agent.link = Link::Up(conn, link);
                agent.dial_after = DIAL_FIRST;
                self.agent_step(number, |core, now, out| core.link_up(now, link, out));
            }
            Incoming::Packet(Packet::Accepted) if agent.second == Some(conn) => {
                agent.second = None;
                let link = LinkId(agent.next_link);
                agent.next_link += 1;
                if let Link::Up(old, _) | Link::Dialling(old) = std::mem::replace(&mut agent.link, Link::Up(conn, link))
                {
                    self.network.vanish(old);
                }
                self.agent_step(number, |core, now, out| core.link_up(now, link, out));
            }
            Incoming::Packet(Packet::ToAgent(term, message)) => {
                let Link::Up(current, link) = agent.link else { return };
                if current == conn {
                    self.agent_heard(number, link, term, &message);
                }
            }
            Incoming::Closed { .. } if agent.second == Some(conn) => agent.second = None,
            Incoming::Closed { .. } if agent.link == Link::Dialling(conn) => {
                agent.link = Link::Down;
                let ceiling = agent.dial_after.max(DIAL_FIRST);
                agent.dial_after = (ceiling * 2).min(DIAL_MAX);
                let process = agent.process;
                let delay = self.random.duration(ceiling / 2, ceiling);
                self.queue.push(self.now + delay, Event::Dial(process));
            }
            Incoming::Closed { .. } => {
                let Link::Up(current, _) = agent.link else { return };
                if current == conn {
                    let Some(mut agent) = self.agents[usize::from(number)].agent.take() else { return };
                    self.link_lost(&mut agent);
                    self.agents[usize::from(number)].agent = Some(agent);
                    self.agent_step(number, |_, _, _| {});
                }
            }
            Incoming::Opened(_) | Incoming::Packet(_) => {}
        }
    }
}
