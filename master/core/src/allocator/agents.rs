//! Agents: what each has, what of it is taken, and what is left.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use mezzo_api::{
    resources::{Resource, Resources, Value},
    v1::{Unavailability, agent_info::capability},
};
use smallvec::SmallVec;

use super::{
    amounts::{Amounts, Names},
    filters::References,
};
use crate::{description::Description, frameworks::Capabilities, keys::FrameworkKey};

/// Kinds of frameworks, as bits; an agent bars those that it is not for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Bars(u8);

impl Bars {
    /// Frameworks without GPU_RESOURCES.
    pub(super) const WITHOUT_GPUS: Self = Self(1);
    /// Frameworks without REGION_AWARE.
    pub(super) const OF_ONE_REGION: Self = Self(2);
    /// Frameworks with MULTI_ROLE.
    pub(super) const MULTI_ROLE: Self = Self(4);
    /// Roles below others.
    pub(super) const NESTED_ROLE: Self = Self(8);

    pub(super) fn of_framework(capabilities: &Capabilities, role: &str) -> Self {
        let kinds = [
            (Self::WITHOUT_GPUS, !capabilities.gpu_resources),
            (Self::OF_ONE_REGION, !capabilities.region_aware),
            (Self::MULTI_ROLE, capabilities.multi_role),
            (Self::NESTED_ROLE, role.contains('/')),
        ];
        Self::union(kinds)
    }

    pub(super) fn union(kinds: [(Self, bool); 4]) -> Self {
        Self(kinds.into_iter().filter(|(_, is)| *is).fold(0, |bits, (kind, _)| bits | kind.0))
    }

    /// What both have.
    pub(super) fn common(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    pub(super) fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(super) fn has(self, kind: Self) -> bool {
        self.0 & kind.0 != 0
    }
}

/// What an agent must be able to do for some frameworks (src/master/allocator/mesos/hierarchical.cpp,
/// isCapableOfReceivingAgent).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AgentAbilities {
    multi_role: bool,
    hierarchical_role: bool,
}

impl AgentAbilities {
    /// From what it says of itself.
    pub(crate) fn new(capabilities: &[capability::Type]) -> Self {
        Self {
            multi_role: capabilities.contains(&capability::Type::MultiRole),
            hierarchical_role: capabilities.contains(&capability::Type::HierarchicalRole),
        }
    }
}

impl AgentAbilities {
    pub(super) fn multi_role(self) -> bool {
        self.multi_role
    }

    pub(super) fn hierarchical_role(self) -> bool {
        self.hierarchical_role
    }
}

/// Until somebody says otherwise.
impl Default for AgentAbilities {
    fn default() -> Self {
        Self { multi_role: true, hierarchical_role: true }
    }
}

/// Frameworks that have something of an agent, and how much of everything together.
type Holders = SmallVec<[(FrameworkKey, i128); 1]>;

#[derive(Debug)]
pub(super) struct Agent {
    pub(super) info: Description,
    pub(super) total: Arc<Resources>,
    /// Offered or used; without allocation. An agent may come back with less than is used of it.
    taken: Resources,
    /// What is left of the total. What is shared stays.
    pub(super) available: Resources,
    pub(super) active: bool,
    /// Its host name is on the list, or there is none.
    pub(super) listed: bool,
    pub(super) abilities: AgentAbilities,
    pub(super) has_gpus: bool,
    /// Nothing about its resources needs a second look: no reservations, nothing shared or revocable.
    pub(super) plain: bool,
    pub(super) has_shared: bool,
    /// What is left and neither reserved nor revocable.
    pub(super) free: Amounts,
    pub(super) references: References,
    holders: Holders,
    /// If it will not be available.
    pub(super) maintenance: Option<Box<Maintenance>>,
}

/// A planned time without the agent.
#[derive(Debug)]
pub(super) struct Maintenance {
    pub(super) unavailability: Unavailability,
    /// Frameworks that were asked to leave, and how that stands.
    pub(super) asked: BTreeMap<FrameworkKey, Asked>,
}

/// An inverse offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// It waits for its answer.
    Outstanding,
    /// It was answered, and is not to be made again before this.
    Until(Duration),
}

impl Agent {
    pub(super) fn new(info: Description, total: Arc<Resources>, active: bool, names: &mut Names) -> Self {
        let mut agent = Self {
            info,
            total: Arc::new(Resources::new()),
            taken: Resources::new(),
            available: Resources::new(),
            active,
            listed: true,
            abilities: AgentAbilities::default(),
            has_gpus: false,
            plain: true,
            has_shared: false,
            free: Amounts::default(),
            references: References::default(),
            holders: Holders::new(),
            maintenance: None,
        };
        agent.set_total(total, names);
        agent
    }

    /// Its resources may be offered.
    pub(super) fn is_offerable(&self) -> bool {
        self.active && self.listed
    }

    pub(super) fn set_total(&mut self, total: Arc<Resources>, names: &mut Names) {
        self.total = self.info.in_order(total);
        let is_plain =
            |resource: &Resource| resource.is_unreserved() && !resource.is_revocable() && !resource.is_shared();
        self.plain = self.total.iter().all(is_plain);
        self.has_shared = self.total.iter().any(Resource::is_shared);
        self.has_gpus = !self.total.gpus().is_zero();
        self.refresh(names);
    }

    pub(super) fn take(&mut self, framework: FrameworkKey, resources: &Resources, names: &mut Names) {
        self.taken += resources;
        for resource in resources.iter().filter(|resource| !resource.is_shared()) {
            self.available.subtract(resource);
        }
        self.hold(framework, measure(resources));
        self.refresh_free(names);
    }

    /// What the agent did not offer (it came with the agent), and may not even have.
    pub(super) fn take_anyway(&mut self, framework: FrameworkKey, resources: &Resources, names: &mut Names) {
        self.taken += resources;
        self.hold(framework, measure(resources));
        self.refresh(names);
    }

    pub(super) fn give_back(&mut self, framework: FrameworkKey, resources: &Resources, names: &mut Names) {
        self.taken -= resources;
        self.hold(framework, -measure(resources));
        self.refresh(names);
    }

    /// What is taken and what there is change together.
    pub(super) fn convert(
        &mut self,
        framework: FrameworkKey,
        consumed: &Resources,
        converted: &Resources,
        names: &mut Names,
    ) {
        self.taken -= consumed;
        self.taken += converted;
        self.hold(framework, measure(converted) - measure(consumed));
        let shared_before = |resource: &&Resource| resource.is_shared() && self.total.contains_one(resource);
        let known: Resources = converted.iter().filter(shared_before).cloned().collect();
        let total = &(&*self.total - consumed) + &(converted - &known);
        self.set_total(Arc::new(total), names);
    }

    /// Frameworks that have something of it.
    pub(super) fn holders(&self) -> impl Iterator<Item = FrameworkKey> + '_ {
        self.holders.iter().map(|(framework, _)| *framework)
    }

    /// Everything that is taken of it.
    pub(super) fn taken(&self) -> &Resources {
        &self.taken
    }

    fn hold(&mut self, framework: FrameworkKey, amount: i128) {
        let at = self.holders.iter().position(|(holder, _)| *holder == framework).unwrap_or_else(|| {
            self.holders.push((framework, 0));
            self.holders.len() - 1
        });
        self.holders[at].1 += amount;
        if self.holders[at].1 <= 0 {
            self.holders.swap_remove(at);
        }
    }

    fn refresh(&mut self, names: &mut Names) {
        self.available = left(&self.total, &self.taken);
        self.refresh_free(names);
    }

    fn refresh_free(&mut self, names: &mut Names) {
        self.free = names.amounts(&self.available, |resource| resource.is_unreserved() && !resource.is_revocable());
    }
}

/// In the order in which they are offered (src/master/allocator/mesos/hierarchical.cpp: what is not scalar goes first).
pub(crate) fn scalars_last(total: Arc<Resources>) -> Arc<Resources> {
    let is_scalar = |resource: &Resource| resource.amount().is_some();
    if total.iter().map(is_scalar).is_sorted() {
        return total;
    }
    let mut ordered = total.filter(|resource| !is_scalar(resource));
    ordered += &total.filter(is_scalar);
    Arc::new(ordered)
}

/// What is left; nothing of a name of which more is taken than there is.
fn left(total: &Resources, taken: &Resources) -> Resources {
    let mut left = total.clone();
    for resource in taken.iter().filter(|resource| !resource.is_shared()) {
        if left.contains_one(resource) {
            left.subtract(resource);
        } else {
            left = left.filter(|other| other.name() != resource.name());
        }
    }
    left
}

/// Something that adds up, and is zero for nothing only.
fn measure(resources: &Resources) -> i128 {
    let of = |resource: &Resource| match resource.value() {
        Value::Scalar(amount) => i128::from(amount.thousandths()),
        Value::Ranges(ranges) => i128::from(ranges.count()),
        Value::Set(items) => i128::try_from(items.len()).unwrap_or(i128::MAX),
    };
    resources.iter().map(|resource| of(resource) * i128::from(resource.shares())).sum()
}

/// Without allocation.
pub(crate) fn unallocated(resources: &Resources) -> Resources {
    let mut bare = resources.clone();
    bare.unallocate();
    bare
}
