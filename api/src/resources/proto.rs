//! To and from the wire's forms (src/common/resources_utils.cpp, `convertResourceFormat`).

use super::{
    Range, Ranges, Resource, Resources, ResourcesError, Scalar, Value, display::display_proto, resource::Details,
    validate,
};
use crate::v1::{self, resource::ReservationInfo, resource::reservation_info::Type as ReservationType};

impl Resources {
    /// From any of the wire's forms. Amounts of zero, empty ranges and sets are left out.
    ///
    /// # Errors
    /// If one is not valid.
    pub fn from_protos(protos: &[v1::Resource]) -> Result<Self, ResourcesError> {
        protos.iter().map(Resource::from_proto).collect()
    }

    /// The form with a stack of reservations: what we keep and what capable peers see.
    pub fn to_protos(&self) -> Vec<v1::Resource> {
        self.iter().map(Resource::to_proto).collect()
    }

    /// The form before reservation refinement, with `role` and `reservation`: what frameworks without
    /// RESERVATION_REFINEMENT see. A refined resource, which they never get, keeps its stack.
    pub fn to_legacy_protos(&self) -> Vec<v1::Resource> {
        self.iter().map(Resource::to_legacy_proto).collect()
    }

    /// The form of endpoints: both, as long as nothing is refined.
    pub fn to_endpoint_protos(&self) -> Vec<v1::Resource> {
        self.iter().map(Resource::to_endpoint_proto).collect()
    }
}

impl Resource {
    /// From any of the wire's forms.
    ///
    /// # Errors
    /// If it is not valid.
    pub fn from_proto(proto: &v1::Resource) -> Result<Self, ResourcesError> {
        validate(proto)
            .map_err(|reason| ResourcesError::Invalid { resource: display_proto(proto).to_string(), reason })?;
        let details = Details {
            reservations: stack(proto),
            disk: proto.disk.clone(),
            revocable: proto.revocable.is_some(),
            shared: proto.shared.is_some(),
            provider_id: proto.provider_id.as_ref().map(|id| id.value.clone()),
            ..Details::default()
        };
        let allocation = proto.allocation_info.as_ref().and_then(|allocation| allocation.role.as_deref());
        Ok(Self::with(&proto.name, allocation, details, value(proto)))
    }

    /// The form with a stack of reservations.
    pub fn to_proto(&self) -> v1::Resource {
        let mut proto = self.to_proto_without_reservations();
        proto.reservations = self.reservations().to_vec();
        proto
    }

    /// The form before reservation refinement.
    pub fn to_legacy_proto(&self) -> v1::Resource {
        let mut proto = self.to_endpoint_proto();
        if !self.has_refined_reservations() {
            proto.reservations.clear();
        }
        proto
    }

    /// The form of endpoints.
    #[allow(deprecated)]
    pub fn to_endpoint_proto(&self) -> v1::Resource {
        let mut proto = self.to_proto();
        match self.reservations() {
            [] => proto.role = Some("*".into()),
            [single] => {
                proto.role.clone_from(&single.role);
                if single.r#type() == ReservationType::Dynamic {
                    let (principal, labels) = (single.principal.clone(), single.labels.clone());
                    proto.reservation = Some(ReservationInfo { principal, labels, ..Default::default() });
                }
            }
            _ => {}
        }
        proto
    }

    fn to_proto_without_reservations(&self) -> v1::Resource {
        let mut proto = v1::Resource { name: self.name().into(), ..Default::default() };
        match self.value() {
            Value::Scalar(amount) => {
                proto.set_type(v1::value::Type::Scalar);
                proto.scalar = Some(v1::value::Scalar { value: amount.as_f64() });
            }
            Value::Ranges(ranges) => {
                proto.set_type(v1::value::Type::Ranges);
                let range = ranges.iter().map(|Range { begin, end }| v1::value::Range { begin, end }).collect();
                proto.ranges = Some(v1::value::Ranges { range });
            }
            Value::Set(items) => {
                proto.set_type(v1::value::Type::Set);
                proto.set = Some(v1::value::Set { item: items.to_vec() });
            }
        }
        proto.allocation_info =
            self.allocation_role().map(|role| v1::resource::AllocationInfo { role: Some(role.into()) });
        if let Some(details) = self.details() {
            proto.disk = details.disk.clone();
            proto.revocable = details.revocable.then(v1::resource::RevocableInfo::default);
            proto.shared = details.shared.then(v1::resource::SharedInfo::default);
            proto.provider_id = details.provider_id.clone().map(|value| v1::ResourceProviderId { value });
        }
        proto
    }
}

/// The reservations of a valid resource as a stack.
#[allow(deprecated)]
fn stack(proto: &v1::Resource) -> Vec<ReservationInfo> {
    if !proto.reservations.is_empty() {
        return proto.reservations.clone();
    }
    if proto.role() == "*" {
        return Vec::new();
    }
    let (r#type, details) = match &proto.reservation {
        None => (ReservationType::Static, ReservationInfo::default()),
        Some(reservation) => (ReservationType::Dynamic, reservation.clone()),
    };
    vec![ReservationInfo { r#type: Some(r#type.into()), role: proto.role.clone(), ..details }]
}

/// The value of a valid resource.
fn value(proto: &v1::Resource) -> Value {
    if let Some(scalar) = &proto.scalar {
        Value::Scalar(Scalar::from_f64(scalar.value))
    } else if let Some(ranges) = &proto.ranges {
        let ranges: Ranges = ranges.range.iter().map(|&v1::value::Range { begin, end }| Range { begin, end }).collect();
        Value::Ranges(ranges)
    } else {
        Value::Set(proto.set.as_ref().map(|set| set.item.clone()).unwrap_or_default().into())
    }
}
