//! One resource: a name, a value, and what sets it apart from others of the same name.

use std::sync::Arc;

use super::{Ranges, Scalar};
use crate::{roles, v1};

pub use v1::resource::disk_info::source::Type as DiskType;

/// A resource's name, if it is a common one; else it is among the details.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Name {
    Cpus,
    Mem,
    Disk,
    Gpus,
    Ports,
    Other,
}

impl Name {
    fn new(name: &str) -> Self {
        match name {
            "cpus" => Name::Cpus,
            "mem" => Name::Mem,
            "disk" => Name::Disk,
            "gpus" => Name::Gpus,
            "ports" => Name::Ports,
            _ => Name::Other,
        }
    }
}

/// How much.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// An amount.
    Scalar(Scalar),
    /// Whole numbers.
    Ranges(Ranges),
    /// Distinct items in the order in which they came; compared without it.
    Set(Arc<Vec<String>>),
}

impl Value {
    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        match self {
            Value::Scalar(amount) => amount.is_zero(),
            Value::Ranges(ranges) => ranges.is_empty(),
            Value::Set(items) => items.is_empty(),
        }
    }

    fn same_type(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }

    #[inline]
    fn contains(&self, other: &Self) -> bool {
        match (self, other) {
            (Value::Scalar(left), Value::Scalar(right)) => right <= left,
            (Value::Ranges(left), Value::Ranges(right)) => left.contains(right),
            (Value::Set(left), Value::Set(right)) => right.iter().all(|item| left.contains(item)),
            _ => false,
        }
    }

    pub(super) fn equals(&self, other: &Self) -> bool {
        match (self, other) {
            (Value::Set(left), Value::Set(right)) => left.len() == right.len() && self.contains(other),
            _ => self == other,
        }
    }

    fn add(&mut self, other: &Self) {
        match (self, other) {
            (Value::Scalar(left), Value::Scalar(right)) => *left += *right,
            (Value::Ranges(left), Value::Ranges(right)) => left.add(right),
            (Value::Set(left), Value::Set(right)) => {
                for item in right.iter() {
                    if !left.contains(item) {
                        Arc::make_mut(left).push(item.clone());
                    }
                }
            }
            _ => {}
        }
    }

    /// The sum.
    pub(super) fn plus(mut self, other: &Self) -> Self {
        self.add(other);
        self
    }

    /// An amount may become negative.
    fn subtract(&mut self, other: &Self) {
        match (self, other) {
            (Value::Scalar(left), Value::Scalar(right)) => *left -= *right,
            (Value::Ranges(left), Value::Ranges(right)) => left.subtract(right),
            (Value::Set(left), Value::Set(right)) => Arc::make_mut(left).retain(|item| !right.contains(item)),
            _ => {}
        }
    }
}

/// What most resources have nothing of.
#[derive(Clone, Debug, Default)]
pub(super) struct Details {
    /// The name, if it is no common one.
    pub(super) name: Option<Box<str>>,
    /// The stack, each entry with type and role.
    pub(super) reservations: Vec<v1::resource::ReservationInfo>,
    pub(super) disk: Option<Box<v1::resource::DiskInfo>>,
    pub(super) revocable: bool,
    pub(super) shared: bool,
    pub(super) provider_id: Option<String>,
}

impl Details {
    pub(super) fn is_default(&self) -> bool {
        self.name.is_none()
            && self.reservations.is_empty()
            && self.disk.is_none()
            && !self.revocable
            && !self.shared
            && self.provider_id.is_none()
    }
}

/// A valid resource in the form with a stack of reservations. There are many of them: it is small.
#[derive(Clone, Debug)]
pub struct Resource {
    value: Value,
    allocation: Option<Arc<str>>,
    details: Option<Arc<Details>>,
    /// How often it is held, when it is shared; else 1.
    shares: u32,
    name: Name,
}

const _: () = assert!(size_of::<Resource>() == 48);

impl Resource {
    /// An unreserved resource.
    pub fn new(name: &str, value: Value) -> Self {
        Self::with(name, None, Details::default(), value)
    }

    /// An unreserved amount.
    pub fn scalar(name: &str, amount: Scalar) -> Self {
        Self::new(name, Value::Scalar(amount))
    }

    pub(super) fn with(text: &str, allocation: Option<&str>, mut details: Details, value: Value) -> Self {
        let name = Name::new(text);
        details.name = (name == Name::Other).then(|| text.into());
        let details = (!details.is_default()).then(|| Arc::new(details));
        Self { value, allocation: allocation.map(Into::into), details, shares: 1, name }
    }

    /// E.g. `cpus`.
    pub fn name(&self) -> &str {
        match self.name {
            Name::Cpus => "cpus",
            Name::Mem => "mem",
            Name::Disk => "disk",
            Name::Gpus => "gpus",
            Name::Ports => "ports",
            Name::Other => self.details().and_then(|details| details.name.as_deref()).unwrap_or_default(),
        }
    }

    /// How much.
    pub fn value(&self) -> &Value {
        &self.value
    }

    /// The amount, if it is one.
    pub fn amount(&self) -> Option<Scalar> {
        match self.value {
            Value::Scalar(amount) => Some(amount),
            Value::Ranges(_) | Value::Set(_) => None,
        }
    }

    /// The role that it is allocated to.
    pub fn allocation_role(&self) -> Option<&str> {
        self.allocation.as_deref()
    }

    /// The stack of reservations; the last refines those before. Each has a type and a role.
    pub fn reservations(&self) -> &[v1::resource::ReservationInfo] {
        self.details.as_deref().map_or(&[], |details| &details.reservations)
    }

    /// The role of the last reservation.
    pub fn reservation_role(&self) -> Option<&str> {
        self.reservations().last().map(v1::resource::ReservationInfo::role)
    }

    /// Whether nobody reserved it.
    pub fn is_unreserved(&self) -> bool {
        self.reservations().is_empty()
    }

    /// Whether it is reserved to exactly this role.
    pub fn is_reserved_to(&self, role: &str) -> bool {
        self.reservation_role() == Some(role)
    }

    /// Whether the last reservation was made while the agent ran.
    pub fn is_dynamically_reserved(&self) -> bool {
        let last = self.reservations().last();
        last.is_some_and(|last| last.r#type() == v1::resource::reservation_info::Type::Dynamic)
    }

    /// Whether a reservation is refined by another one.
    pub fn has_refined_reservations(&self) -> bool {
        self.reservations().len() > 1
    }

    /// Whether a framework of this role may use it: it is unreserved, or reserved to the role or an ancestor of it.
    pub fn is_allocatable_to(&self, role: &str) -> bool {
        self.reservation_role().is_none_or(|reserved| reserved == role || roles::is_strict_subrole(role, reserved))
    }

    /// The disk's persistence, volume and source.
    pub fn disk(&self) -> Option<&v1::resource::DiskInfo> {
        self.details.as_deref().and_then(|details| details.disk.as_deref())
    }

    /// The kind of the disk's source, if it has one.
    pub fn disk_type(&self) -> Option<DiskType> {
        self.disk().and_then(|disk| disk.source.as_ref()).map(v1::resource::disk_info::Source::r#type)
    }

    /// The disk that it is of, if it is not the one that the agent works on.
    pub fn disk_source(&self) -> Option<&v1::resource::disk_info::Source> {
        self.disk().and_then(|disk| disk.source.as_ref())
    }

    /// The id of the persistent volume that it is.
    pub fn persistence_id(&self) -> Option<&str> {
        let persistence = self.disk().and_then(|disk| disk.persistence.as_ref());
        persistence.map(|persistence| persistence.id.as_str())
    }

    /// Whether it is a persistent volume.
    pub fn is_persistent_volume(&self) -> bool {
        self.disk().is_some_and(|disk| disk.persistence.is_some())
    }

    /// Whether the agent may take it back.
    pub fn is_revocable(&self) -> bool {
        self.details.as_deref().is_some_and(|details| details.revocable)
    }

    /// Whether several may hold it at once.
    pub fn is_shared(&self) -> bool {
        self.details.as_deref().is_some_and(|details| details.shared)
    }

    /// How often it is held, when it is shared; else 1.
    pub fn shares(&self) -> u32 {
        self.shares
    }

    /// The resource provider that it comes from.
    pub fn provider_id(&self) -> Option<&str> {
        self.details.as_deref().and_then(|details| details.provider_id.as_deref())
    }

    /// The same with another value.
    pub fn with_value(&self, value: Value) -> Self {
        Self { value, ..self.clone() }
    }

    /// Whether it can be cut into smaller ones of its kind.
    pub fn is_divisible(&self) -> bool {
        !self.is_shared() && !self.is_exclusive()
    }

    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.shares == 0 || self.value.is_empty()
    }

    pub(super) fn set_allocation(&mut self, role: Option<Arc<str>>) {
        self.allocation = role;
    }

    pub(super) fn details(&self) -> Option<&Details> {
        self.details.as_deref()
    }

    pub(super) fn map_reservations(&self, change: impl FnOnce(&mut Vec<v1::resource::ReservationInfo>)) -> Self {
        self.map_details(|details| change(&mut details.reservations))
    }

    pub(super) fn map_details(&self, change: impl FnOnce(&mut Details)) -> Self {
        let mut details = self.details.as_deref().cloned().unwrap_or_default();
        change(&mut details);
        let details = (!details.is_default()).then(|| Arc::new(details));
        Self { details, ..self.clone() }
    }

    /// A MOUNT or BLOCK disk, a RAW disk with an id, or a persistent volume: taken whole or not at all.
    pub(super) fn is_exclusive(&self) -> bool {
        let Some(disk) = self.disk() else { return false };
        disk.persistence.is_some()
            || disk.source.as_ref().is_some_and(|source| match source.r#type() {
                DiskType::Mount | DiskType::Block => true,
                DiskType::Raw => source.id.is_some(),
                DiskType::Path | DiskType::Unknown => false,
            })
    }

    /// All but the value agrees. Most that are compared differ in the name: that is seen where it is asked.
    #[inline]
    pub(super) fn same_kind(&self, other: &Self) -> bool {
        self.name == other.name && self.same_beside_name(other)
    }

    #[inline]
    fn same_beside_name(&self, other: &Self) -> bool {
        self.value.same_type(&other.value)
            && self.allocation == other.allocation
            && same_details(self.details.as_ref(), other.details.as_ref())
    }

    /// All agrees but the value, and the role that the other one may be allocated to; this one is not.
    pub(super) fn same_unallocated(&self, other: &Self) -> bool {
        self.name == other.name
            && self.value.same_type(&other.value)
            && self.allocation.is_none()
            && same_details(self.details.as_ref(), other.details.as_ref())
    }

    /// They are allocated to the same role, or both to none.
    pub(super) fn same_allocation(&self, other: &Self) -> bool {
        self.allocation == other.allocation
    }

    /// Whether the sum is one resource (src/common/resources.cpp, `addable`).
    #[inline]
    pub(super) fn is_addable(&self, other: &Self) -> bool {
        self.same_kind(other) && if self.is_shared() { self.value.equals(&other.value) } else { !self.is_exclusive() }
    }

    /// Whether the difference is one resource (src/common/resources.cpp, `subtractable`).
    #[inline]
    pub(super) fn is_subtractable(&self, other: &Self) -> bool {
        self.same_kind(other) && (self.is_divisible() || self.value.equals(&other.value))
    }

    /// Adds what is addable.
    pub(super) fn add(&mut self, other: &Self) {
        if self.is_shared() {
            self.shares = self.shares.saturating_add(other.shares);
        } else {
            self.value.add(&other.value);
        }
    }

    /// Subtracts what is subtractable; false when nothing is left.
    pub(super) fn subtract(&mut self, other: &Self) -> bool {
        if self.is_shared() {
            self.shares = self.shares.saturating_sub(other.shares);
        } else {
            self.value.subtract(&other.value);
        }
        !self.is_empty() && self.amount().is_none_or(|amount| amount > Scalar::ZERO)
    }

    /// Whether `other` is a part of it.
    #[inline]
    pub fn contains(&self, other: &Self) -> bool {
        self.is_subtractable(other)
            && if self.is_shared() { self.shares >= other.shares } else { self.value.contains(&other.value) }
    }
}

/// The volume that a disk will be used as and the principal of a persistent volume do not count.
impl PartialEq for Resource {
    fn eq(&self, other: &Self) -> bool {
        self.shares == other.shares && self.same_kind(other) && self.value.equals(&other.value)
    }
}

#[inline]
fn same_details(left: Option<&Arc<Details>>, right: Option<&Arc<Details>>) -> bool {
    match (left, right) {
        (None, None) => true,
        (Some(left), Some(right)) => Arc::ptr_eq(left, right) || same_in_detail(left, right),
        _ => false,
    }
}

fn same_in_detail(left: &Details, right: &Details) -> bool {
    left.name == right.name
        && left.revocable == right.revocable
        && left.shared == right.shared
        && left.provider_id == right.provider_id
        && same_reservations(&left.reservations, &right.reservations)
        && same_option(left.disk.as_deref(), right.disk.as_deref(), same_disk)
}

fn same_reservations(left: &[v1::resource::ReservationInfo], right: &[v1::resource::ReservationInfo]) -> bool {
    left.len() == right.len()
        && left.iter().zip(right).all(|(left, right)| {
            left.r#type == right.r#type
                && left.role == right.role
                && left.principal == right.principal
                && same_option(left.labels.as_ref(), right.labels.as_ref(), same_labels)
        })
}

fn same_disk(left: &v1::resource::DiskInfo, right: &v1::resource::DiskInfo) -> bool {
    same_option(left.source.as_ref(), right.source.as_ref(), same_source)
        && left.persistence.as_ref().map(|persistence| &persistence.id)
            == right.persistence.as_ref().map(|persistence| &persistence.id)
}

fn same_source(left: &v1::resource::disk_info::Source, right: &v1::resource::disk_info::Source) -> bool {
    left.r#type == right.r#type
        && left.path == right.path
        && left.mount == right.mount
        && left.vendor == right.vendor
        && left.id == right.id
        && left.profile == right.profile
        && same_option(left.metadata.as_ref(), right.metadata.as_ref(), same_labels)
}

/// Labels are compared without their order (src/common/type_utils.cpp).
pub(super) fn same_labels(left: &v1::Labels, right: &v1::Labels) -> bool {
    let count = |labels: &v1::Labels, label| labels.labels.iter().filter(|other| *other == label).count();
    left.labels.len() == right.labels.len() && left.labels.iter().all(|label| count(left, label) == count(right, label))
}

fn same_option<T>(left: Option<&T>, right: Option<&T>, same: impl FnOnce(&T, &T) -> bool) -> bool {
    match (left, right) {
        (None, None) => true,
        (Some(left), Some(right)) => same(left, right),
        _ => false,
    }
}
