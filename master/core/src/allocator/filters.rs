//! Refused resources: not offered again for a while to who refused them, unless there is more.
//!
//! A thousand frameworks that decline fifty thousand agents make fifty million filters. Nearly all of them say the same:
//! "all that was free of this agent, until then". So an agent keeps what was refused of it, once, and a client keeps
//! half a byte for each agent: which of its classes (an end, and which of the agent's refused bundles) holds for it.
//! What does not fit into that is kept exactly.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use mezzo_api::{resources::Resources, v1};
use smallvec::SmallVec;

use super::clients::ClientKey;
use crate::keys::AgentKey;

/// Filters expire together within this.
const BUCKET: Duration = Duration::from_millis(50);

/// So many classes of a client may end within [`BUCKET`]; further ones end up to an eighth of their time later.
const FINE_CLASSES: usize = 8;

/// Classes that half a byte tells apart, beside none.
const CLASSES: usize = 15;

/// Refused bundles that an agent remembers for classes.
const REFERENCES: usize = 4;

/// Agents of a page.
const PAGE: usize = 512;

/// Longer ones are cut (src/master/allocator/mesos/hierarchical.cpp).
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

/// How long a framework refuses, by what it sent: the default is 5 seconds; 0 is no filter (`None`).
pub(crate) fn refusal(filters: Option<&v1::Filters>) -> Option<Duration> {
    let default = v1::Filters::default().refuse_seconds();
    let seconds = filters.map_or(default, v1::Filters::refuse_seconds);
    let duration = if seconds >= 0.0 && seconds * 1e9 < i64::MAX as f64 {
        Duration::from_secs_f64(seconds)
    } else if seconds > 0.0 {
        LONGEST
    } else {
        Duration::from_secs_f64(default)
    };
    Some(duration.min(LONGEST)).filter(|duration| !duration.is_zero())
}

/// A bundle that was refused of an agent.
#[derive(Debug)]
struct Reference {
    refused: Arc<Resources>,
    users: u32,
}

/// How many filters mean each bundle of an agent.
pub(super) type Users = [Option<u32>; REFERENCES];

/// What classes of filters mean for an agent.
#[derive(Debug, Default)]
pub(super) struct References(SmallVec<[Option<Reference>; 1]>);

impl References {
    /// The bundle of a class.
    pub(super) fn get(&self, at: u8) -> Option<&Arc<Resources>> {
        self.0.get(usize::from(at))?.as_ref().map(|reference| &reference.refused)
    }

    /// How many filters mean each that is there; for checks.
    pub(super) fn users(&self) -> Users {
        let mut users = Users::default();
        for (at, reference) in self.0.iter().enumerate() {
            users[at] = reference.as_ref().map(|reference| reference.users);
        }
        users
    }

    /// Where the bundle is, if there is room for it. `whole` is one that is there anyway.
    fn hold(&mut self, refused: &Resources, whole: &Arc<Resources>) -> Option<u8> {
        let same = |reference: &Option<Reference>| reference.as_ref().is_some_and(|one| *one.refused == *refused);
        let at = self.0.iter().position(same).or_else(|| {
            let refused = if **whole == *refused { whole.clone() } else { Arc::new(refused.clone()) };
            let fresh = Some(Reference { refused, users: 0 });
            let free = self.0.iter().position(Option::is_none);
            let at = free.or_else(|| (self.0.len() < REFERENCES).then(|| self.0.len()))?;
            if at == self.0.len() {
                self.0.push(fresh)
            } else {
                self.0[at] = fresh
            }
            Some(at)
        })?;
        if let Some(reference) = &mut self.0[at] {
            reference.users += 1;
        }
        u8::try_from(at).ok()
    }

    pub(super) fn release(&mut self, at: u8) {
        let Some(slot) = self.0.get_mut(usize::from(at)) else { return };
        if let Some(reference) = slot {
            reference.users -= 1;
            if reference.users == 0 {
                *slot = None;
            }
        }
    }
}

/// Filters of one client that end together, of bundles at the same place.
#[derive(Clone, Copy, Debug)]
struct Class {
    expires: Duration,
    reference: u8,
    agents: u32,
}

/// A filter that no class tells.
#[derive(Debug)]
struct Exact {
    refused: Arc<Resources>,
    expires: Duration,
}

/// What a client refused.
#[derive(Debug, Default)]
pub(super) struct ClientFilters {
    classes: [Option<Class>; CLASSES],
    /// Half a byte for each agent, by the number of its slot; 0 is none.
    pages: Vec<Option<Box<[u8; PAGE / 2]>>>,
    exact: BTreeMap<AgentKey, SmallVec<[Exact; 1]>>,
}

/// An end of filters, to be looked at.
#[derive(Clone, Copy, Debug)]
pub(super) enum Expiry {
    /// Those of a class.
    Class(ClientKey, u8),
    /// Those of one agent that no class tells.
    Exact(ClientKey, AgentKey),
    /// Not a filter: the agent is to be looked at again.
    Look(AgentKey),
}

/// The number of an agent's slot: small, and used again after its end.
pub(super) fn slot_of(agent: AgentKey) -> usize {
    use slotmap::Key;
    usize::try_from(agent.data().as_ffi() & u64::from(u32::MAX)).unwrap_or_default()
}

impl ClientFilters {
    pub(super) fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.classes.iter().all(Option::is_none)
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        let classes: usize = self.classes.iter().flatten().map(|class| class.agents as usize).sum();
        classes + self.exact.values().map(|filters| filters.len()).sum::<usize>()
    }

    /// Adds a filter; the answer is the end that is to be looked at, and when.
    pub(super) fn add(
        &mut self,
        client: ClientKey,
        agent: AgentKey,
        (references, whole): (&mut References, &Arc<Resources>),
        refused: &Resources,
        (now, duration): (Duration, Duration),
    ) -> Option<(Duration, Expiry)> {
        let slot = slot_of(agent);
        let before = self.code(slot);
        if let Some(class) = before.and_then(|code| self.classes[code]) {
            // One that covers an older one with an earlier end takes its place.
            let covered = references.get(class.reference).is_some_and(|older| refused.contains(older));
            if class.expires <= now + duration && covered {
                self.release(slot, references);
            }
        }
        if self.code(slot).is_none()
            && let Some(reference) = references.hold(refused, whole)
        {
            if let Some((code, new)) = self.class(now, duration, reference) {
                self.set_code(slot, Some(code));
                let Some(class) = &mut self.classes[code] else { return None };
                class.agents += 1;
                let code = u8::try_from(code).unwrap_or_default();
                return new.then_some((class.expires, Expiry::Class(client, code)));
            }
            references.release(reference);
        }
        let expires = rounded(now + duration, BUCKET);
        let filters = self.exact.entry(agent).or_default();
        filters.retain(|older| older.expires > expires || !refused.contains(&older.refused));
        filters.push(Exact { refused: Arc::new(refused.clone()), expires });
        Some((expires, Expiry::Exact(client, agent)))
    }

    /// Ends the class, if it is its time; the answer is the agents of which something may be offered again.
    pub(super) fn end_class(&mut self, code: u8, now: Duration) -> Vec<usize> {
        let code = usize::from(code);
        if self.classes[code].is_none_or(|class| class.expires > now) || mezzo_api::mutant!("filter-never-expires") {
            return Vec::new();
        }
        let slots: Vec<usize> = self.slots().filter(|(_, of)| *of == code).map(|(slot, _)| slot).collect();
        slots
    }

    /// Ends what no class tells, if it is its time; the answer is whether there was something.
    pub(super) fn end_exact(&mut self, agent: AgentKey, now: Duration) -> bool {
        let Some(filters) = self.exact.get_mut(&agent) else { return false };
        let before = filters.len();
        filters.retain(|filter| filter.expires > now || mezzo_api::mutant!("filter-never-expires"));
        let ended = filters.len() < before;
        if filters.is_empty() {
            self.exact.remove(&agent);
        }
        ended
    }

    /// Forgets the filter of a class for an agent.
    pub(super) fn release(&mut self, slot: usize, references: &mut References) {
        let Some(code) = self.code(slot) else { return };
        self.set_code(slot, None);
        let Some(class) = &mut self.classes[code] else { return };
        references.release(class.reference);
        class.agents -= 1;
        if class.agents == 0 {
            self.classes[code] = None;
        }
    }

    /// Forgets what no class tells of an agent.
    pub(super) fn release_exact(&mut self, agent: AgentKey) {
        self.exact.remove(&agent);
    }

    /// Forgets everything; the answer is where references are to be released.
    pub(super) fn clear(&mut self) -> Vec<(usize, u8)> {
        let known = self.slots().filter_map(|(slot, code)| Some((slot, self.classes[code]?.reference)));
        let known = known.collect();
        *self = Self::default();
        known
    }

    /// When the last of the filters ends that cover this.
    pub(super) fn covered_until(
        &self,
        agent: AgentKey,
        references: &References,
        resources: &Resources,
    ) -> Option<Duration> {
        let class = self.code(slot_of(agent)).and_then(|code| self.classes[code]);
        let by_class = class
            .filter(|class| references.get(class.reference).is_some_and(|refused| refused.contains(resources)))
            .map(|class| class.expires);
        let exact = self.exact.get(&agent).into_iter().flatten();
        let exact = exact.filter(|filter| filter.refused.contains(resources)).map(|filter| filter.expires);
        exact.chain(by_class).max()
    }

    /// The place of the bundle that was refused by class, if one was.
    pub(super) fn reference(&self, slot: usize) -> Option<u8> {
        Some(self.classes[self.code(slot)?]?.reference)
    }

    /// Whether something that no class tells covers this.
    pub(super) fn covered_exactly(&self, agent: AgentKey, resources: &Resources) -> bool {
        !self.exact.is_empty()
            && self.exact.get(&agent).into_iter().flatten().any(|filter| filter.refused.contains(resources))
    }

    /// The class for such filters, and whether it is new.
    fn class(&mut self, now: Duration, duration: Duration, reference: u8) -> Option<(usize, bool)> {
        let used = self.classes.iter().flatten().count();
        let coarse = if used < FINE_CLASSES { BUCKET } else { bucket(duration / 8) };
        let expires = rounded(now + duration, coarse);
        let same =
            |class: &Option<Class>| class.is_some_and(|class| class.expires == expires && class.reference == reference);
        if let Some(known) = self.classes.iter().position(same) {
            return Some((known, false));
        }
        let free = self.classes.iter().position(Option::is_none)?;
        self.classes[free] = Some(Class { expires, reference, agents: 0 });
        Some((free, true))
    }

    fn code(&self, slot: usize) -> Option<usize> {
        let page = self.pages.get(slot / PAGE)?.as_ref()?;
        let code = (page[slot % PAGE / 2] >> (slot % 2 * 4)) & 0xf;
        usize::from(code).checked_sub(1)
    }

    fn set_code(&mut self, slot: usize, code: Option<usize>) {
        if self.pages.len() <= slot / PAGE {
            self.pages.resize_with(slot / PAGE + 1, || None);
        }
        let page = self.pages[slot / PAGE].get_or_insert_with(|| Box::new([0; PAGE / 2]));
        let code = code.map_or(0, |code| u8::try_from(code + 1).unwrap_or(0));
        let shift = slot % 2 * 4;
        let byte = &mut page[slot % PAGE / 2];
        *byte = *byte & !(0xf << shift) | code << shift;
    }

    /// The slots of agents with a filter by class, and its code.
    fn slots(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        let pages = self.pages.iter().enumerate().filter_map(|(at, page)| Some((at, page.as_ref()?)));
        pages
            .flat_map(|(at, page)| {
                let bytes = page.iter().enumerate().filter(|(_, byte)| **byte != 0);
                bytes.flat_map(move |(place, byte)| {
                    let slot = at * PAGE + place * 2;
                    [(slot, byte & 0xf), (slot + 1, byte >> 4)]
                })
            })
            .filter_map(|(slot, code)| Some((slot, usize::from(code).checked_sub(1)?)))
    }
}

/// The widest bucket of the kind `BUCKET`, twice that, four times … that is not wider than this.
fn bucket(widest: Duration) -> Duration {
    let times = (widest.as_nanos() / BUCKET.as_nanos()).max(1);
    BUCKET * 2_u32.saturating_pow(times.ilog2())
}

/// The end of the bucket that a moment is in.
fn rounded(at: Duration, bucket: Duration) -> Duration {
    let buckets = at.as_nanos().div_ceil(bucket.as_nanos());
    bucket.saturating_mul(u32::try_from(buckets).unwrap_or(u32::MAX))
}

/// What is to be looked at when.
#[derive(Debug, Default)]
pub(super) struct Expiries(BTreeMap<Duration, Vec<Expiry>>);

impl Expiries {
    pub(super) fn add(&mut self, at: Duration, expiry: Expiry) {
        self.0.entry(at).or_default().push(expiry);
    }

    pub(super) fn next(&self) -> Option<Duration> {
        self.0.first_key_value().map(|(at, _)| *at)
    }

    /// Those whose time has come.
    pub(super) fn pop(&mut self, now: Duration) -> Option<Vec<Expiry>> {
        let entry = self.0.first_entry()?;
        if *entry.key() > now { None } else { Some(entry.remove()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_read_as_in_mesos() {
        let refuse = |seconds| refusal(Some(&v1::Filters { refuse_seconds: Some(seconds) }));
        let five = Some(Duration::from_secs(5));
        assert_eq!(refusal(None), five);
        assert_eq!(refusal(Some(&v1::Filters { refuse_seconds: None })), five);
        assert_eq!(refuse(0.0), None);
        assert_eq!(refuse(-1.0), five);
        assert_eq!(refuse(f64::NAN), five);
        assert_eq!(refuse(1.5), Some(Duration::from_millis(1500)));
        assert_eq!(refuse(1e9), Some(LONGEST));
    }
}
