//! Questions and answers between a master and its server.

use std::{rc::Rc, time::Duration};

use super::{Event, TOUCH, World};
use crate::election::{
    client::{Op, Told},
    ensemble::{SessionId, Write},
};

impl World {
    /// Sends a question; one that is asked without a connection waits for the next.
    pub(super) fn send(&mut self, number: usize, op: Op) {
        let client = &mut self.masters[number].client;
        let Some(question) = client.ask(op) else { return };
        self.dispatch(number, question);
    }

    pub(super) fn dispatch(&mut self, number: usize, question: u64) {
        let delay = self.random.spread(Duration::from_micros(200), Duration::from_millis(20));
        let client = &mut self.masters[number].client;
        let Some(op) = client.asked.get(&question).cloned() else { return };
        let (server, epoch) = (client.server, client.epoch);
        let at = client.outgoing(self.now + delay);
        if !self.is_cut(number, server) {
            self.at(at, Event::Arrive { master: number, epoch, server, number: question, op });
        }
    }

    pub(super) fn arrive(
        &mut self,
        master: usize,
        epoch: u64,
        server: usize,
        number: u64,
        op: &Op,
    ) -> Result<(), (&'static str, String)> {
        if !self.ensemble.servers[server].serves {
            self.answer(master, epoch, server, number, Told::Lost);
            return Ok(());
        }
        if let Op::Close(session) = op {
            // The process that sent it may be gone by now.
            if self.is_linked(server) {
                self.ensemble.close(*session);
            }
            return Ok(());
        }
        let client = &self.masters[master].client;
        if client.epoch != epoch {
            return Ok(());
        }
        let session = client.session;
        let told = match (op, session) {
            (Op::Connect, _) => self.connect(master, server),
            (_, Some(session)) if self.ensemble.knows(session) => {
                if self.random.chance(800) {
                    let at = self.now + self.random.duration(Duration::ZERO, TOUCH);
                    self.at(at, Event::Touch(server, session));
                }
                self.serve(master, server, session, op)?
            }
            _ => Some(Told::Expired),
        };
        if let Some(told) = told {
            self.answer(master, epoch, server, number, told);
        }
        Ok(())
    }

    pub(super) fn connect(&mut self, master: usize, server: usize) -> Option<Told> {
        let client = &self.masters[master].client;
        if !self.is_linked(server) || self.ensemble.servers[server].tree.zxid < client.last_zxid {
            return Some(Told::Lost);
        }
        Some(match client.session {
            None => Told::Opened(self.ensemble.open(self.now)),
            Some(session) if self.ensemble.knows(session) => {
                self.ensemble.touch(self.now, session);
                Told::Connected
            }
            Some(_) => Told::Expired,
        })
    }

    pub(super) fn serve(
        &mut self,
        master: usize,
        server: usize,
        session: SessionId,
        op: &Op,
    ) -> Result<Option<Told>, (&'static str, String)> {
        let linked = self.is_linked(server);
        Ok(match op {
            Op::Ping => Some(Told::Pong),
            Op::Read(name) => {
                let znode = self.ensemble.servers[server].tree.candidates.get(name);
                Some(Told::Read(name.clone(), znode.map(|znode| Rc::clone(&znode.data))))
            }
            Op::Children => {
                let tree = &self.ensemble.servers[server].tree;
                let challenge = tree.challenge.as_ref().filter(|(_, _, answered)| !answered);
                Some(Told::Children(
                    tree.candidates.keys().cloned().collect(),
                    challenge.map(|(against, ..)| against.clone()),
                    tree.changes,
                ))
            }
            Op::Confirm { own, asked } if linked => {
                self.ensemble.write(self.now, server, session, &Write::Sync);
                let present = self.ensemble.latest.candidates.contains_key(own);
                Some(Told::Confirmed { asked: *asked, present })
            }
            Op::Write(write) if linked => {
                let outcome = self.ensemble.write(self.now, server, session, write);
                self.watcher.wrote(self.now, master, write, &outcome, &self.masters)?;
                Some(Told::Wrote(write.clone(), outcome))
            }
            Op::Confirm { .. } | Op::Write(_) | Op::Connect | Op::Close(_) => None,
        })
    }

    pub(super) fn answer(&mut self, master: usize, epoch: u64, server: usize, number: u64, told: Told) {
        if self.is_cut(master, server) {
            return;
        }
        let delay = self.random.spread(Duration::from_micros(200), Duration::from_millis(20));
        let zxid = self.ensemble.servers[server].tree.zxid;
        let client = &mut self.masters[master].client;
        let at = client.incoming(self.now + delay, zxid);
        self.at(at, Event::Respond { master, epoch, told, number });
    }

    pub(super) fn respond(
        &mut self,
        number: usize,
        epoch: u64,
        told: Told,
        question: u64,
    ) -> Result<(), (&'static str, String)> {
        let master = &mut self.masters[number];
        if !master.up || master.client.epoch != epoch || master.client.asked.remove(&question).is_none() {
            return Ok(());
        }
        if master.frozen {
            master.inbox.push(told);
            return Ok(());
        }
        self.tell(number, told)
    }
}
