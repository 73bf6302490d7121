//! Operations on agents' resources. The master believes in an operation as soon as it asks for it, so that a framework
//! can use in one ACCEPT what it reserves there; the agent has the last word
//! (src/master/master.cpp, _apply, updateOperationStatus).

mod operator;
mod reconcile;
mod report;
mod status;

pub(crate) use report::total_of;

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use mezzo_api::{
    ids::FrameworkId,
    link::{self, to_agent},
    resources::{Conversion, Resources},
    time::Now,
    v1::{self, OperationState, offer},
};
use rand::{RngCore, SeedableRng, rngs::SmallRng};

use crate::{
    core::Core,
    effect::{Change, Effect, Effects},
    keys::{AgentKey, FrameworkKey},
    maps::IndexMap,
    model,
    slots::Touched,
};

/// An operation that an agent has not answered, or whose answer nobody has acknowledged.
#[derive(Debug)]
pub(crate) struct Operation {
    pub(crate) agent: AgentKey,
    pub(crate) view: Arc<model::Operation>,
}

impl Operation {
    /// It asks for feedback.
    fn id(&self) -> Option<&v1::OperationId> {
        self.view.info.id.as_ref()
    }
}

/// All of them.
#[derive(Debug)]
pub(crate) struct Operations {
    /// By uuid, the oldest first.
    all: IndexMap<Bytes, Operation>,
    touched: Touched<Bytes>,
    /// By what the framework calls them.
    names: BTreeMap<(FrameworkId, String), Bytes>,
    random: SmallRng,
}

impl Operations {
    pub(crate) fn new(seed: u64) -> Self {
        // Another stream than the allocator's.
        let random = SmallRng::seed_from_u64(seed ^ 0x6f70_6572_6174_696f);
        Self { all: IndexMap::default(), touched: Touched::default(), names: BTreeMap::new(), random }
    }

    pub(crate) fn get(&self, uuid: &Bytes) -> Option<&Operation> {
        self.all.get(uuid)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Bytes, &Operation)> {
        self.all.iter()
    }

    /// See [`Touched::take`].
    pub(crate) fn take_touched(&mut self, uuids: &mut Vec<Bytes>) -> bool {
        self.touched.take(uuids)
    }

    fn insert(&mut self, uuid: Bytes, operation: Operation) {
        self.touched.add(uuid.clone());
        self.all.insert(uuid, operation);
    }

    fn remove(&mut self, uuid: &Bytes) -> Option<Operation> {
        self.touched.add(uuid.clone());
        self.all.shift_remove(uuid)
    }

    fn named(&self, framework: &FrameworkId, id: &str) -> Option<&Bytes> {
        self.names.get(&(framework.clone(), id.to_owned()))
    }

    fn new_uuid(&mut self) -> Bytes {
        let mut bytes = [0; 16];
        self.random.fill_bytes(&mut bytes);
        Bytes::copy_from_slice(uuid::Builder::from_random_bytes(bytes).into_uuid().as_bytes())
    }
}

/// A status is an operation's last.
fn is_terminal(state: OperationState) -> bool {
    match state {
        OperationState::OperationFinished
        | OperationState::OperationFailed
        | OperationState::OperationError
        | OperationState::OperationDropped
        | OperationState::OperationGoneByOperator => true,
        OperationState::OperationUnsupported
        | OperationState::OperationPending
        | OperationState::OperationUnreachable
        | OperationState::OperationRecovering
        | OperationState::OperationUnknown => false,
    }
}

impl Core {
    /// Asks the agent for an operation. The books have it already.
    pub(crate) fn begin_operation(
        &mut self,
        framework: Option<FrameworkKey>,
        agent_key: AgentKey,
        info: offer::Operation,
        out: &mut Effects,
    ) {
        let framework_id = framework.and_then(|key| self.frameworks.get(key)).map(|framework| framework.id.clone());
        let Some(agent) = self.agents.get(agent_key) else { return };
        let status = v1::OperationStatus {
            operation_id: info.id.clone(),
            state: OperationState::OperationPending.into(),
            agent_id: Some(agent.id.proto()),
            ..Default::default()
        };
        let (agent_id, version) = (agent.id.clone(), agent.resource_version.clone());
        let uuid = self.operations.new_uuid();
        tracing::info!(agent = %agent_id, operation = info.r#type().as_str_name(), "applying an operation");
        let message = link::ApplyOperation {
            operation_uuid: uuid.clone(),
            framework_id: framework_id.as_ref().map(FrameworkId::proto),
            operation: info.clone(),
            resource_version: version,
        };
        let view = model::Operation {
            uuid: uuid.clone(),
            framework_id,
            agent_id,
            info: Arc::new(info),
            latest: status.clone(),
            statuses: vec![status],
        };
        self.enter_operation(uuid, agent_key, view, out);
        self.tell(agent_key, to_agent::Message::ApplyOperation(Box::new(message)), out);
    }

    fn enter_operation(&mut self, uuid: Bytes, agent: AgentKey, view: model::Operation, out: &mut Effects) {
        if let (Some(framework), Some(id)) = (&view.framework_id, &view.info.id) {
            self.operations.names.insert((framework.clone(), id.value.clone()), uuid.clone());
        }
        if let Some(agent) = self.agents.get_mut(agent) {
            agent.operations.insert(uuid.clone());
        }
        let view = Arc::new(view);
        out.push(Effect::Publish(Change::Operation(view.clone())));
        self.operations.insert(uuid, Operation { agent, view });
    }

    /// Nothing more will be heard or said of it.
    fn forget_operation(&mut self, uuid: &Bytes, out: &mut Effects) {
        let Some(operation) = self.operations.remove(uuid) else { return };
        if let (Some(framework), Some(id)) = (&operation.view.framework_id, operation.id()) {
            let name = (framework.clone(), id.value.clone());
            if self.operations.names.get(&name) == Some(uuid) {
                self.operations.names.remove(&name);
            }
        }
        if let Some(agent) = self.agents.get_mut(operation.agent) {
            agent.operations.remove(uuid);
        }
        out.push(Effect::Publish(Change::OperationRemoved(uuid.clone())));
    }

    /// A framework turns what it holds into something else: so do the books.
    pub(crate) fn convert(&mut self, now: Now, framework: FrameworkKey, agent: AgentKey, conversion: &Conversion) {
        self.allocator.convert(now.mono, framework, agent, &conversion.consumed, &conversion.converted);
        let unallocated = conversion.unallocated();
        if let Some(agent) = self.agents.get_mut(agent) {
            let total = &(&*agent.total - &unallocated.consumed) + &unallocated.converted;
            agent.total = Arc::new(total);
        }
        self.dirty.agents.insert(agent);
    }

    /// The agent has other resources than was believed. Offers of it are void.
    pub(crate) fn set_total(&mut self, now: Now, key: AgentKey, total: Arc<Resources>, out: &mut Effects) {
        let Some(agent) = self.agents.get(key).filter(|agent| agent.total != total) else { return };
        tracing::info!(agent = %agent.id, resources = %total, "the agent's resources changed");
        self.rescind_offers_of_agent(now, key, out);
        if let Some(agent) = self.agents.get_mut(key) {
            agent.total = total.clone();
        }
        self.allocator.update_total(now.mono, key, total);
        self.dirty.agents.insert(key);
    }
}
