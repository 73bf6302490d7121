//! Operations on the agent's resources: carried out once, recorded with their status before anybody hears of it, the
//! status sent until it is acknowledged (src/slave/slave.cpp, applyOperation; src/status_update_manager).

use std::time::Duration;

use bytes::Bytes;
use indexmap::IndexMap;
use mezzo_api::{
    ids::FrameworkId,
    link::{self, from_agent},
    resources::{Resource, Resources, conversions},
    time::Now,
    v1::{self, OperationState},
};

use crate::{
    core::Core,
    effect::{Effect, Effects},
    record::{self, Entry},
    status,
    timers::{Handle, Timer},
    volumes::{self, VolumeAction},
};

/// An unacknowledged status is sent again after this.
const RETRY_MIN: Duration = Duration::from_secs(10);
/// Doubling up to this.
const RETRY_MAX: Duration = Duration::from_secs(600);

/// An operation whose status is not acknowledged.
#[derive(Debug)]
pub(crate) struct Operation {
    framework: Option<FrameworkId>,
    info: v1::offer::Operation,
    /// Terminal, with its uuid.
    status: v1::OperationStatus,
    retry: Option<Handle>,
    interval: Duration,
}

/// What the agent has, and what it has to say of operations on it.
#[derive(Debug, Default)]
pub(crate) struct Operations {
    /// Names what the master counts on: another one after an operation that was not carried out.
    pub(crate) version: Bytes,
    /// Dynamic reservations and persistent volumes.
    pub(crate) checkpointed: Resources,
    /// By uuid, the oldest first.
    pending: IndexMap<Bytes, Operation>,
    /// Volumes, made or destroyed, whose directories may not be so yet.
    unsettled: Vec<Resource>,
}

impl Operations {
    /// Whether the next status is to be sent, by uuid; for checks.
    pub(crate) fn scheduled(&self) -> impl Iterator<Item = (&Bytes, bool)> {
        self.pending.iter().map(|(uuid, operation)| (uuid, operation.retry.is_some()))
    }

    /// Enters an operation's volumes, to be made or removed.
    fn unsettle(&mut self, volumes: &Resources) {
        for volume in volumes {
            self.unsettled.retain(|other| !same_volume(other, volume));
            self.unsettled.push(volume.clone());
        }
    }

    /// As master and readers are told.
    pub(crate) fn protos(&self) -> impl Iterator<Item = v1::Operation> {
        self.pending.iter().map(|(uuid, operation)| v1::Operation {
            framework_id: operation.framework.as_ref().map(FrameworkId::proto),
            agent_id: operation.status.agent_id.clone(),
            info: operation.info.clone(),
            latest_status: operation.status.clone(),
            statuses: vec![operation.status.clone()],
            uuid: v1::Uuid { value: uuid.clone() },
        })
    }
}

impl Core {
    /// All that the agent has, with reservations and volumes.
    pub(crate) fn total(&self) -> Resources {
        let started = Resources::from_protos(&self.info.resources).unwrap_or_default();
        started.with_checkpointed(&self.operations.checkpointed).unwrap_or(started)
    }

    /// Whether reservations and volumes that a task counts on are there.
    pub(crate) fn knows(&self, resources: &[v1::Resource]) -> bool {
        let checkpointed = |wanted: &Resource| wanted.is_dynamically_reserved() || wanted.is_persistent_volume();
        let wanted = resources.iter().map(Resource::from_proto);
        let wanted =
            wanted.filter(|wanted| wanted.as_ref().map_or(true, checkpointed)).collect::<Result<Resources, _>>();
        let Ok(mut wanted) = wanted else { return false };
        wanted.unallocate();
        wanted.iter().all(|wanted| self.operations.checkpointed.contains_one(wanted))
    }

    /// The master wants an operation carried out.
    pub(crate) fn apply_operation(&mut self, now: Now, message: link::ApplyOperation, out: &mut Effects) {
        if self.recovering.is_some() || self.terminating.is_some() {
            tracing::warn!("ignored an operation: the agent recovers or ends");
            return;
        }
        if self.operations.pending.contains_key(&message.operation_uuid) {
            tracing::debug!("an operation that was carried out already");
            return;
        }
        let outdated = message.resource_version.as_ref().is_some_and(|version| *version != self.operations.version);
        if outdated {
            let text = "The operation was made for resources that the agent has no more";
            self.refuse_operation(now, message, text.into(), out);
            return;
        }
        match self.after(&message.operation) {
            Ok(total) => self.carry_out_operation(now, message, total.checkpointed(), out),
            Err(error) => self.refuse_operation(now, message, error.to_string(), out),
        }
    }

    /// What there would be after an operation.
    fn after(&self, operation: &v1::offer::Operation) -> Result<Resources, mezzo_api::resources::ConversionError> {
        let unallocated: Vec<_> = conversions(operation)?.iter().map(|conversion| conversion.unallocated()).collect();
        self.total().apply_all(&unallocated)
    }

    fn carry_out_operation(
        &mut self,
        now: Now,
        message: link::ApplyOperation,
        checkpointed: Resources,
        out: &mut Effects,
    ) {
        let kind = message.operation.r#type().as_str_name();
        tracing::info!(operation = kind, resources = %checkpointed, "carried out an operation on resources");
        let status = self.operation_status(&message.operation, OperationState::OperationFinished, None);
        self.conclude_operation(now, message, status, Some(checkpointed), out);
    }

    /// The operation is not carried out: what the master believes of the agent's resources is wrong from here on.
    fn refuse_operation(&mut self, now: Now, message: link::ApplyOperation, why: String, out: &mut Effects) {
        tracing::warn!(operation = message.operation.r#type().as_str_name(), why, "dropped an operation on resources");
        self.renew_version();
        let changed = link::ResourcesChanged {
            resource_version: self.operations.version.clone(),
            checkpointed_resources: self.operations.checkpointed.to_protos(),
        };
        self.say(from_agent::Message::ResourcesChanged(changed), out);
        let status = self.operation_status(&message.operation, OperationState::OperationDropped, Some(why));
        self.conclude_operation(now, message, status, None, out);
    }

    /// Another version: what was sent for the one before is dropped.
    pub(crate) fn renew_version(&mut self) {
        self.operations.version = Bytes::copy_from_slice(status::uuid(&mut self.random).as_bytes());
    }

    fn operation_status(
        &mut self,
        operation: &v1::offer::Operation,
        state: OperationState,
        message: Option<String>,
    ) -> v1::OperationStatus {
        v1::OperationStatus {
            operation_id: operation.id.clone(),
            state: state.into(),
            message,
            uuid: Some(v1::Uuid { value: Bytes::copy_from_slice(status::uuid(&mut self.random).as_bytes()) }),
            agent_id: self.agent_id.as_ref().map(mezzo_api::ids::AgentId::proto),
            ..Default::default()
        }
    }

    /// Its end is recorded, together with what it did; then it is told.
    fn conclude_operation(
        &mut self,
        now: Now,
        message: link::ApplyOperation,
        status: v1::OperationStatus,
        checkpointed: Option<Resources>,
        out: &mut Effects,
    ) {
        let record = record::Operation {
            uuid: message.operation_uuid.clone(),
            framework_id: message.framework_id,
            operation: message.operation,
            status,
            counted: false,
        };
        if !mezzo_api::mutant!("operation-status-unrecorded") {
            self.record_synced(Entry::Operation(Box::new(record.clone())), out);
        }
        if let Some(checkpointed) = checkpointed {
            self.operations.checkpointed = checkpointed;
            let volumes = touched(&record.operation);
            self.operations.unsettle(&volumes);
            self.settle_volumes(out);
        }
        self.enter_operation(record);
        self.send_operation(now, &message.operation_uuid, RETRY_MIN, out);
    }

    fn enter_operation(&mut self, record: record::Operation) {
        let operation = Operation {
            framework: record.framework_id.map(FrameworkId::from),
            info: record.operation,
            status: record.status,
            retry: None,
            interval: RETRY_MIN,
        };
        self.operations.pending.insert(record.uuid, operation);
    }

    /// Has the directories made and removed that are not as they should be.
    pub(crate) fn settle_volumes(&mut self, out: &mut Effects) {
        for volume in std::mem::take(&mut self.operations.unsettled) {
            let Some(place) = volumes::place(&self.config.work_dir, &volume) else { continue };
            let lives = self.operations.checkpointed.iter().any(|held| same_volume(held, &volume));
            let settled = Entry::VolumeSettled(place.path().to_string_lossy().into_owned()).to_bytes();
            if !lives && mezzo_api::mutant!("volume-kept-on-disk") {
                continue;
            }
            let action = if lives { VolumeAction::Make(place) } else { VolumeAction::Remove(place) };
            out.push(Effect::Volume { action, settled });
        }
    }

    /// Sends an operation's status, and again after `interval`.
    fn send_operation(&mut self, now: Now, uuid: &Bytes, interval: Duration, out: &mut Effects) {
        if !self.registered {
            return;
        }
        let Some(operation) = self.operations.pending.get_mut(uuid) else { return };
        self.timers.cancel(operation.retry.take());
        operation.interval = interval;
        operation.retry = Some(self.timers.set(now.mono + interval, Timer::Operation(uuid.clone())));
        let message = link::OperationStatus {
            operation_uuid: uuid.clone(),
            framework_id: operation.framework.as_ref().map(FrameworkId::proto),
            status: operation.status.clone(),
        };
        self.say(from_agent::Message::OperationStatus(message), out);
    }

    /// It was not acknowledged in time.
    pub(crate) fn retry_operation(&mut self, now: Now, uuid: &Bytes, out: &mut Effects) {
        let Some(operation) = self.operations.pending.get_mut(uuid) else { return };
        operation.retry = None;
        let interval = (operation.interval * 2).min(RETRY_MAX);
        self.send_operation(now, uuid, interval, out);
    }

    pub(crate) fn acknowledge_operation(&mut self, message: &link::AcknowledgeOperation, out: &mut Effects) {
        let uuid = &message.operation_uuid;
        let Some(operation) = self.operations.pending.get(uuid) else { return };
        if operation.status.uuid.as_ref().is_none_or(|status| status.value != message.status_uuid) {
            tracing::debug!("an acknowledgement of another status of an operation");
            return;
        }
        let retry = operation.retry;
        self.timers.cancel(retry);
        self.operations.pending.shift_remove(uuid);
        if !mezzo_api::mutant!("operation-acknowledgement-unrecorded") {
            self.record_synced(Entry::OperationAcknowledged(uuid.clone()), out);
        }
    }

    /// There is a master to tell.
    pub(crate) fn resume_operations(&mut self, now: Now, out: &mut Effects) {
        let pending: Vec<Bytes> = self.operations.pending.keys().cloned().collect();
        pending.iter().for_each(|uuid| self.send_operation(now, uuid, RETRY_MIN, out));
    }

    pub(crate) fn pause_operations(&mut self) {
        for operation in self.operations.pending.values_mut() {
            self.timers.cancel(operation.retry.take());
        }
    }

    /// The master has an operation for the agent that was not in its report: it never came, and never will.
    pub(crate) fn reconcile_operation(&mut self, now: Now, message: link::ApplyOperation, out: &mut Effects) {
        if self.operations.pending.contains_key(&message.operation_uuid) {
            return;
        }
        let text = "Reconciliation: Operation is unknown to the agent".to_owned();
        let status = self.operation_status(&message.operation, OperationState::OperationDropped, Some(text));
        self.conclude_operation(now, message, status, None, out);
    }

    /// Enters an operation of an earlier life of the agent.
    pub(crate) fn replay_operation(&mut self, record: record::Operation) {
        let finished = record.status.state() == OperationState::OperationFinished;
        if finished
            && !record.counted
            && let Ok(total) = self.after(&record.operation)
        {
            self.operations.checkpointed = total.checkpointed();
            self.operations.unsettle(&touched(&record.operation));
        }
        self.enter_operation(record);
    }

    pub(crate) fn replay_operation_acknowledged(&mut self, uuid: &Bytes) {
        self.operations.pending.shift_remove(uuid);
    }

    pub(crate) fn replay_volume_settled(&mut self, path: &str) {
        let work_dir = self.config.work_dir.clone();
        self.operations.unsettled.retain(|volume| {
            volumes::place(&work_dir, volume).is_some_and(|place| place.path().to_string_lossy() != path)
        });
    }

    pub(crate) fn replay_resources(&mut self, record: &record::Resources) {
        self.operations.checkpointed = Resources::from_protos(&record.checkpointed).unwrap_or_default();
    }

    /// The records that give this state again.
    pub(crate) fn operation_records(&self) -> Vec<Entry> {
        let resources = record::Resources { checkpointed: self.operations.checkpointed.to_protos() };
        let mut entries = vec![Entry::Resources(resources)];
        if mezzo_api::mutant!("volumes-left-out-of-snapshot") {
            entries.clear();
        }
        entries.extend(self.operations.pending.iter().map(|(uuid, operation)| {
            Entry::Operation(Box::new(record::Operation {
                uuid: uuid.clone(),
                framework_id: operation.framework.as_ref().map(FrameworkId::proto),
                operation: operation.info.clone(),
                status: operation.status.clone(),
                counted: true,
            }))
        }));
        entries
    }
}

/// The volumes that an operation makes or destroys.
fn touched(operation: &v1::offer::Operation) -> Resources {
    let created = operation.create.as_ref().map_or(&[][..], |create| &create.volumes);
    let destroyed = operation.destroy.as_ref().map_or(&[][..], |destroy| &destroy.volumes);
    let mut volumes = Resources::from_protos(created).unwrap_or_default();
    volumes += &Resources::from_protos(destroyed).unwrap_or_default();
    volumes.unallocate();
    volumes
}

/// Whether two resources are the same volume, whatever its size.
fn same_volume(left: &Resource, right: &Resource) -> bool {
    left.persistence_id() == right.persistence_id()
        && left.persistence_id().is_some()
        && left.reservation_role() == right.reservation_role()
        && left.disk_source() == right.disk_source()
}
