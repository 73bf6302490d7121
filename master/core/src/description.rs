//! How agents describe themselves. Nearly all of a large cluster say the same but for their names: that is kept once, encoded,
//! and decoded for whoever wants the message.

use std::{collections::BTreeMap, sync::Arc};

use mezzo_api::{
    ids::AgentId,
    resources::{Resources, ResourcesError},
    v1::{AgentInfo, Attribute, DomainInfo},
};
use prost::Message;

use crate::allocator::scalars_last;

/// With fewer kinds nobody looks for such that are no more in use.
const FEW: usize = 64;

/// An agent as it describes itself. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct Description {
    id: Option<AgentId>,
    hostname: Arc<str>,
    port: Option<i32>,
    kind: Arc<Kind>,
}

/// What agents have in common that differ by id, host name and port only.
#[derive(Debug)]
struct Kind {
    /// The message without these three.
    message: Arc<[u8]>,
    attributes: Box<[Attribute]>,
    domain: Option<Box<DomainInfo>>,
    started: Result<Arc<Resources>, ResourcesError>,
    in_order: Option<Arc<Resources>>,
}

impl Kind {
    fn new(message: Arc<[u8]>, info: &AgentInfo) -> Self {
        let started = Resources::from_protos(&info.resources).map(Arc::new);
        Self {
            message,
            attributes: info.attributes.as_slice().into(),
            domain: info.domain.clone().map(Box::new),
            in_order: started.iter().next().map(|started| scalars_last(started.clone())),
            started,
        }
    }
}

impl Description {
    /// One that shares nothing with others.
    pub fn new(info: &AgentInfo) -> Self {
        Kinds::default().describe(info)
    }

    /// Its id, if it has one.
    pub fn id(&self) -> Option<&AgentId> {
        self.id.as_ref()
    }

    /// What it calls its host.
    pub fn hostname(&self) -> &str {
        &self.hostname
    }

    /// The same, to be kept.
    pub(crate) fn shared_hostname(&self) -> &Arc<str> {
        &self.hostname
    }

    /// Where it says that it listens.
    pub fn port(&self) -> i32 {
        AgentInfo { port: self.port, ..AgentInfo::default() }.port()
    }

    /// Its attributes, in its order.
    pub fn attributes(&self) -> &[Attribute] {
        &self.kind.attributes
    }

    /// Region and zone.
    pub fn domain(&self) -> Option<&DomainInfo> {
        self.kind.domain.as_deref()
    }

    /// What it was started with: without reservations and volumes that were made since.
    ///
    /// # Errors
    /// If a resource is not valid.
    pub(crate) fn started(&self) -> Result<&Arc<Resources>, ResourcesError> {
        self.kind.started.as_ref().map_err(Clone::clone)
    }

    /// The agent's total in the order in which it is offered.
    pub(crate) fn in_order(&self, total: Arc<Resources>) -> Arc<Resources> {
        match (&self.kind.started, &self.kind.in_order) {
            (Ok(started), Some(in_order)) if Arc::ptr_eq(started, &total) => in_order.clone(),
            _ => scalars_last(total),
        }
    }

    /// The whole of it.
    pub fn message(&self) -> AgentInfo {
        let rest = AgentInfo::decode(&*self.kind.message).unwrap_or_default(); // it was encoded here
        AgentInfo {
            id: self.id.as_ref().map(AgentId::proto),
            hostname: self.hostname.to_string(),
            port: self.port,
            ..rest
        }
    }

    /// How long it is in protobuf, about.
    pub fn bytes(&self) -> usize {
        self.kind.message.len() + self.hostname.len() + self.id.as_ref().map_or(0, |id| id.as_str().len())
    }
}

/// It says the same.
impl PartialEq for Description {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
            && self.hostname == other.hostname
            && self.port == other.port
            && (Arc::ptr_eq(&self.kind, &other.kind) || self.kind.message == other.kind.message)
    }
}

/// The kinds that are in use.
#[derive(Clone, Debug, Default)]
pub struct Kinds {
    known: BTreeMap<Arc<[u8]>, Arc<Kind>>,
    /// With so many, those that nobody uses are dropped.
    enough: usize,
}

impl Kinds {
    /// An agent's description; it shares what others said before it.
    pub fn describe(&mut self, info: &AgentInfo) -> Description {
        let common = AgentInfo { id: None, hostname: String::new(), port: None, ..info.clone() };
        let message: Arc<[u8]> = common.encode_to_vec().into();
        let kind = match self.known.get(&message) {
            Some(known) => known.clone(),
            None => self.learn(message, info),
        };
        Description {
            id: info.id.as_ref().map(AgentId::from),
            hostname: info.hostname.as_str().into(),
            port: info.port,
            kind,
        }
    }

    fn learn(&mut self, message: Arc<[u8]>, info: &AgentInfo) -> Arc<Kind> {
        if self.known.len() >= self.enough.max(FEW) {
            self.known.retain(|_, kind| Arc::strong_count(kind) > 1);
            self.enough = 2 * self.known.len();
        }
        let kind = Arc::new(Kind::new(message.clone(), info));
        self.known.insert(message, kind.clone());
        kind
    }
}

/// Descriptions of many agents, in the order in which they came.
#[derive(Clone, Debug, Default)]
pub struct Descriptions {
    kinds: Kinds,
    all: Vec<Description>,
}

impl Descriptions {
    /// Adds one.
    pub fn push(&mut self, info: &AgentInfo) {
        self.all.push(self.kinds.describe(info));
    }

    /// Brings them into the order of their ids.
    pub fn sort(&mut self) {
        self.all.sort_by(|one, other| one.id.cmp(&other.id));
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &Description> {
        self.all.iter()
    }

    /// The messages.
    pub fn messages(&self) -> Vec<AgentInfo> {
        self.all.iter().map(Description::message).collect()
    }

    /// What they share, and each.
    pub(crate) fn into_parts(self) -> (Kinds, Vec<Description>) {
        (self.kinds, self.all)
    }
}

impl FromIterator<AgentInfo> for Descriptions {
    fn from_iter<I: IntoIterator<Item = AgentInfo>>(agents: I) -> Self {
        let mut descriptions = Self::default();
        agents.into_iter().for_each(|info| descriptions.push(&info));
        descriptions
    }
}

impl From<Vec<AgentInfo>> for Descriptions {
    fn from(agents: Vec<AgentInfo>) -> Self {
        agents.into_iter().collect()
    }
}

impl PartialEq for Descriptions {
    fn eq(&self, other: &Self) -> bool {
        self.all == other.all
    }
}

#[cfg(test)]
mod tests {
    use mezzo_api::v1::{AgentId, value};

    use super::*;

    fn info(number: usize, rack: &str) -> AgentInfo {
        AgentInfo {
            hostname: format!("h{number}"),
            port: Some(5051),
            id: Some(AgentId { value: format!("S{number}") }),
            resources: Resources::parse("cpus:4;ports:[1-9]", "*").unwrap().to_protos(),
            attributes: vec![Attribute {
                name: "rack".into(),
                r#type: value::Type::Text.into(),
                text: Some(value::Text { value: rack.into() }),
                ..Attribute::default()
            }],
            ..AgentInfo::default()
        }
    }

    #[test]
    fn what_is_said_comes_back_and_what_is_alike_is_kept_once() {
        let mut kinds = Kinds::default();
        let (one, two, other) =
            (kinds.describe(&info(1, "a")), kinds.describe(&info(2, "a")), kinds.describe(&info(1, "b")));
        assert_eq!([&one, &two, &other].map(Description::message), [info(1, "a"), info(2, "a"), info(1, "b")]);
        assert!(Arc::ptr_eq(&one.kind, &two.kind) && !Arc::ptr_eq(&one.kind, &other.kind));
        assert_eq!(one, Description::new(&info(1, "a")));
        assert!(one != two && one != other);
        let started = one.started().unwrap().clone();
        assert_eq!(started.to_string(), "cpus:4; ports:[1-9]");
        assert!(Arc::ptr_eq(&one.in_order(started.clone()), &two.in_order(started.clone())));
        assert_eq!(one.in_order(started).to_string(), "ports:[1-9]; cpus:4");
    }

    #[test]
    fn kinds_that_nobody_uses_are_forgotten() {
        let mut kinds = Kinds::default();
        let kept = kinds.describe(&info(0, "kept"));
        for number in 0..10 * FEW {
            kinds.describe(&info(number, &number.to_string()));
            assert!(kinds.known.len() <= FEW);
        }
        assert!(Arc::ptr_eq(&kept.kind, &kinds.describe(&info(0, "kept")).kind));
    }
}
