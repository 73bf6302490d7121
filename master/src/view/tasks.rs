//! Tasks as legacy endpoints show them (src/common/http.cpp), and `/tasks`.

use mezzo_api::{
    codec::to_json_value,
    ids::{FrameworkId, TaskId},
    resources::Resources,
    v1,
};
use mezzo_master_core::model::Task;
use prost::Message;
use serde_json::{Map, Value};

use super::{
    View,
    document::{Document, labels},
    shown::{Entity, Text},
};

/// What is wanted of `/tasks`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TaskQuery {
    pub(crate) framework_id: Option<String>,
    pub(crate) task_id: Option<String>,
    pub(crate) limit: u64,
    pub(crate) offset: u64,
    pub(crate) ascending: bool,
}

/// Where a task stands among all: by the time of its first status; those without one come first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    first: i64,
    task: TaskId,
    framework: FrameworkId,
}

impl Place {
    pub(super) fn of(task: &Task) -> Self {
        let first = (!task.statuses.is_empty()).then(|| task.statuses.first_time().unwrap_or_default());
        Self { first: first.map_or(i64::MIN, ordered), task: task.id.clone(), framework: task.framework_id.clone() }
    }
}

/// A number that stands among others as `value` does in its total order.
fn ordered(value: f64) -> i64 {
    let bits = value.to_bits().cast_signed();
    bits ^ ((bits >> 63).cast_unsigned() >> 1).cast_signed()
}

/// `/tasks`: by the time of the first status.
pub(crate) fn tasks(view: &View, query: &TaskQuery) -> Vec<u8> {
    let mut document = Document::default();
    let found = |place: &Place| view.tasks.get(&place.framework)?.get(&place.task);
    if query.framework_id.is_none() && query.task_id.is_none() {
        let (skipped, taken) = cut(query, view.by_first_status.len());
        let places = view.by_first_status.iter();
        let places: Box<dyn Iterator<Item = _>> =
            if query.ascending { Box::new(places) } else { Box::new(places.rev()) };
        let chosen = places.skip(skipped).take(taken).filter_map(found);
        document.written("tasks", chosen.map(|task| task.text()));
        return document.end();
    }
    let frameworks =
        view.tasks.iter().filter(|(id, _)| query.framework_id.as_deref().is_none_or(|wanted| wanted == id.as_str()));
    let chosen = frameworks.flat_map(|(_, tasks)| match query.task_id.as_deref() {
        Some(wanted) => tasks.get(wanted).into_iter().collect::<Vec<_>>(),
        None => tasks.values().collect(),
    });
    let mut chosen: Vec<_> = chosen.map(|task| (Place::of(task), task)).collect();
    chosen.sort_by(|(a, _), (b, _)| if query.ascending { a.cmp(b) } else { b.cmp(a) });
    let (skipped, taken) = cut(query, chosen.len());
    document.written("tasks", chosen.iter().skip(skipped).take(taken).map(|(_, task)| task.text()));
    document.end()
}

/// How many of `count` tasks are passed over, and how many are wanted then. As in Mesos the end is an unsigned sum that wraps:
/// `limit=-1` is all without an offset and nothing with one.
fn cut(query: &TaskQuery, count: usize) -> (usize, usize) {
    let end = usize::try_from(query.offset.wrapping_add(query.limit)).unwrap_or(usize::MAX).min(count);
    let start = usize::try_from(query.offset).unwrap_or(usize::MAX).min(end);
    (start, end - start)
}

impl Entity for Task {
    /// As legacy endpoints show it.
    fn write(&self) -> Vec<u8> {
        let fixed = fixed(self);
        let resources = Resources::from_protos(&fixed.resources).unwrap_or_default();
        let role = fixed.resources.first().and_then(|resource| resource.allocation_info.as_ref());
        let mut document = Document::default();
        document.reserve(1024);
        document
            .member("id", &self.id.as_str())
            .member("name", &fixed.name)
            .member("framework_id", &self.framework_id.as_str())
            .member("executor_id", &fixed.executor_id.as_ref().map_or("", |id| &id.value))
            .member("slave_id", &self.agent_id.as_str())
            .member("state", &self.state.as_str_name())
            .member("resources", &resources.summary())
            .optional("limits", (!fixed.limits.is_empty()).then(|| limits(&fixed)))
            .member("role", &role.map_or("", |allocation| allocation.role()))
            .objects("statuses", self.statuses.iter(), |document, status| write_status(document, &status))
            .optional("user", fixed.user.as_deref())
            .labels(fixed.labels.as_ref())
            .message("discovery", fixed.discovery.as_ref())
            .message("container", fixed.container.as_deref())
            .message("health_check", fixed.health_check.as_deref());
        document.end()
    }
}

/// The task's message with everything in it.
pub(super) fn message(task: &Task) -> v1::Task {
    let mut message = fixed(task);
    message.state = task.state as i32;
    message.statuses = task.statuses.iter().collect();
    if let Some((state, uuid)) = &task.status_update {
        message.status_update_state = Some(*state as i32);
        message.status_update_uuid = Some(uuid.clone());
    }
    message
}

fn fixed(task: &Task) -> v1::Task {
    // The core encoded it, so it decodes.
    v1::Task::decode(task.fixed.clone()).unwrap_or_default()
}

fn limits(task: &v1::Task) -> Map<String, Value> {
    let limit = |value: f64| if value.is_finite() { value.into() } else { Value::from("Infinity") };
    task.limits.iter().map(|(name, scalar)| (name.clone(), limit(scalar.value))).collect()
}

fn write_status(document: &mut Document, status: &v1::TaskStatus) {
    document
        .member("state", &status.state().as_str_name())
        .member("timestamp", &status.timestamp.unwrap_or_default())
        .labels(status.labels.as_ref());
    if let Some(status) = &status.container_status {
        document.object("container_status", |document| write_container_status(document, status));
    }
    document.optional("healthy", status.healthy);
}

fn write_container_status(document: &mut Document, status: &v1::ContainerStatus) {
    document.message("container_id", status.container_id.as_ref());
    let infos = &status.network_infos;
    if infos.iter().any(|info| info.labels.is_some()) {
        document.list("network_infos", infos.iter().map(network_info));
    } else if !infos.is_empty() {
        document.messages("network_infos", infos);
    }
    document.message("cgroup_info", status.cgroup_info.as_ref());
}

fn network_info(info: &v1::NetworkInfo) -> Value {
    let mut value = to_json_value(info);
    if let (Some(members), Some(given)) = (value.as_object_mut(), &info.labels) {
        members.insert("labels".into(), labels(given));
    }
    value
}

#[cfg(test)]
mod tests {
    use super::ordered;

    #[test]
    fn numbers_stand_in_their_order() {
        let values = [f64::NEG_INFINITY, -1.5, -0.0, 0.0, 1e-300, 1.0, 1_795_319_631.5, f64::INFINITY];
        assert!(values.is_sorted_by(|a, b| ordered(*a) < ordered(*b)));
    }
}
