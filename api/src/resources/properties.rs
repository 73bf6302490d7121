//! Laws of the algebra, on random resources.

use std::sync::Arc;

use proptest::{prelude::*, sample::select};

use super::{Range, Resource, Resources, Scalar, Value};
use crate::v1::{
    self, Label, Labels,
    resource::{
        DiskInfo, ReservationInfo, disk_info,
        disk_info::{Persistence, Source, source::Type as DiskType},
        reservation_info::Type as ReservationType,
    },
};

fn reservation(r#type: ReservationType, role: &str, label: Option<&str>) -> ReservationInfo {
    let labels = label.map(|value| Labels { labels: vec![Label { key: "k".into(), value: Some(value.into()) }] });
    let principal = label.map(|_| "p".to_owned());
    ReservationInfo { r#type: Some(r#type.into()), role: Some(role.into()), principal, labels }
}

fn any_reservations() -> impl Strategy<Value = Vec<ReservationInfo>> {
    let r#static = reservation(ReservationType::Static, "dev", None);
    let dynamic = |role, label| reservation(ReservationType::Dynamic, role, label);
    select(vec![
        vec![],
        vec![],
        vec![],
        vec![r#static.clone()],
        vec![dynamic("dev", None)],
        vec![dynamic("dev", Some("x"))],
        vec![dynamic("dev", Some("y"))],
        vec![r#static, dynamic("dev/web", None)],
    ])
}

fn source(r#type: DiskType, root: &str, id: Option<&str>) -> Source {
    let root = Some(root.to_owned());
    Source {
        r#type: r#type.into(),
        path: (r#type == DiskType::Path).then(|| disk_info::source::Path { root: root.clone() }),
        mount: (r#type == DiskType::Mount).then_some(disk_info::source::Mount { root }),
        id: id.map(Into::into),
        ..Default::default()
    }
}

fn any_disk() -> impl Strategy<Value = Option<DiskInfo>> {
    let sources = select(vec![
        None,
        Some(source(DiskType::Path, "/a", None)),
        Some(source(DiskType::Path, "/b", None)),
        Some(source(DiskType::Mount, "/a", None)),
        Some(source(DiskType::Raw, "", None)),
        Some(source(DiskType::Raw, "", Some("i"))),
        Some(source(DiskType::Block, "", Some("b"))),
    ]);
    (sources, select(vec![None, None, Some("v1"), Some("v2")])).prop_map(|(source, id)| {
        let persistence = id.map(|id| Persistence { id: id.into(), principal: None });
        let wanted = source.is_some() || persistence.is_some();
        wanted.then_some(DiskInfo { source, persistence, volume: None })
    })
}

/// `side` keeps ranges and sets of the two operands of a sum apart: what both have counts once.
fn any_value(side: u64) -> impl Strategy<Value = (&'static str, Value)> {
    let amounts = (select(vec!["cpus", "mem", "disk", "widgets"]), 1i64..5000)
        .prop_map(|(name, amount)| (name, Value::Scalar(Scalar::from_thousandths(amount))));
    let ranges = prop::collection::vec((0u64..20, 0u64..5), 1..4).prop_map(move |blocks| {
        let blocks = blocks.into_iter().map(|(block, length)| 10 * (2 * block + side) + length);
        ("ports", Value::Ranges(blocks.map(|begin| Range { begin, end: begin + 5 }).collect()))
    });
    let items = prop::collection::btree_set(0u64..6, 1..4).prop_map(move |items| {
        ("names", Value::Set(Arc::new(items.into_iter().map(|item| format!("{side}-{item}")).collect())))
    });
    prop_oneof![4 => amounts, 1 => ranges, 1 => items]
}

fn any_resource(side: u64) -> impl Strategy<Value = Resource> {
    let marks = (select(vec![None, None, Some("dev")]), prop::bool::weighted(0.2), any::<bool>());
    (any_value(side), any_reservations(), any_disk(), marks, select(vec![None, None, Some("provider")])).prop_map(
        |((name, value), reservations, disk, (role, revocable, shared), provider)| {
            let mut proto = Resource::new(name, value).to_proto();
            proto.reservations = reservations;
            proto.disk = disk.filter(|_| name == "disk").map(Box::new);
            proto.allocation_info = role.map(|role| v1::resource::AllocationInfo { role: Some(role.into()) });
            proto.revocable = revocable.then(Default::default);
            let persistent = proto.disk.as_ref().is_some_and(|disk| disk.persistence.is_some());
            proto.shared = (shared && persistent).then(Default::default);
            proto.provider_id = provider.map(|value| v1::ResourceProviderId { value: value.into() });
            Resource::from_proto(&proto).expect("a valid resource")
        },
    )
}

fn any_resources(side: u64) -> impl Strategy<Value = Resources> {
    prop::collection::vec(any_resource(side), 0..8).prop_map(Resources::from_iter)
}

fn assert_normal(resources: &Resources) {
    for (at, resource) in resources.iter().enumerate() {
        assert!(!resource.is_empty(), "{resource}");
        assert!(resource.amount().is_none_or(|amount| amount > Scalar::ZERO), "{resource}");
        assert!(resources.iter().skip(at + 1).all(|other| !resource.is_addable(other)), "{resource} stands twice");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn adding_and_subtracting_gives_back(a in any_resources(0), b in any_resources(1)) {
        let sum = &a + &b;
        assert_normal(&sum);
        prop_assert_eq!(&sum - &b, a);
        prop_assert_eq!(&sum - &sum, Resources::new());
    }

    #[test]
    fn sums_do_not_depend_on_order(a in any_resources(0), b in any_resources(1), c in any_resources(0)) {
        prop_assert_eq!(&a + &b, &b + &a);
        prop_assert_eq!(&(&a + &b) + &c, &a + &(&b + &c));
    }

    #[test]
    fn sums_contain_their_parts(a in any_resources(0), b in any_resources(1)) {
        let sum = &a + &b;
        prop_assert!(a.contains(&a));
        prop_assert!(sum.contains(&a) && sum.contains(&b));
        prop_assert!(a.contains(&Resources::new()));
        prop_assert_eq!(a.contains(&sum), b.is_empty());
    }

    #[test]
    fn what_is_contained_can_be_taken_out(a in any_resources(0), b in any_resources(0)) {
        let rest = &a - &b;
        assert_normal(&rest);
        prop_assert!(a.contains(&rest));
        if a.contains(&b) {
            prop_assert_eq!(&rest + &b, a);
        }
    }

    #[test]
    fn the_order_of_entries_does_not_count(entries in prop::collection::vec(any_resource(0), 0..8)) {
        let forth: Resources = entries.iter().cloned().collect();
        let back: Resources = entries.iter().rev().cloned().collect();
        prop_assert_eq!(forth, back);
    }

    #[test]
    fn wire_forms_mean_the_same(a in any_resources(0)) {
        let once = a.non_shared();
        prop_assert_eq!(&Resources::from_protos(&once.to_protos()).unwrap(), &once);
        prop_assert_eq!(&Resources::from_protos(&once.to_endpoint_protos()).unwrap(), &once);
        prop_assert_eq!(&Resources::from_protos(&once.to_legacy_protos()).unwrap(), &once);
    }

    #[test]
    fn amounts_add_up(a in any_resources(0), b in any_resources(0)) {
        let (a, b) = (a.non_shared(), b.non_shared());
        let sum = &a + &b;
        for name in ["cpus", "mem", "disk", "widgets"] {
            prop_assert_eq!(sum.scalar(name), a.scalar(name) + b.scalar(name));
        }
    }

    #[test]
    fn parts_make_the_whole(a in any_resources(0)) {
        prop_assert_eq!(&a.revocable() + &a.non_revocable(), a.clone());
        let reserved: Resources = a.reserved().values().sum();
        prop_assert_eq!(&a.unreserved() + &reserved, a.clone());
        let mut allocated = a.clone();
        allocated.allocate("r");
        prop_assert_eq!(allocated.allocations().get("r").cloned().unwrap_or_default(), allocated.clone());
        let mut plain = a.clone();
        plain.unallocate();
        allocated.unallocate();
        prop_assert_eq!(allocated, plain);
    }

    #[test]
    fn a_whole_is_split_as_its_sum_says(
        a in any_resources(0),
        b in any_resources(1),
        free in any_resources(1),
        more in any_resources(0),
    ) {
        let (plain, free) = (|all: &Resources| all.filter(Resource::is_divisible), &free);
        for (a, b, free) in [(a.clone(), b.clone(), free.clone()), (plain(&a), plain(&b), plain(free))] {
            let mut sum = &a + &b;
            sum.unallocate();
            let sum = sum + &free;
            let reversed: Resources = sum.iter().collect::<Vec<_>>().into_iter().rev().cloned().collect();
            prop_assert!(sum.are_split_into([&a, &b], &free) && reversed.are_split_into([&b, &a], &free));
            let other = &sum + &more;
            prop_assert_eq!(other.are_split_into([&a, &b], &free), other == sum);
            prop_assert_eq!(sum.are_split_into([&a, &more], &free), {
                let mut sum_with_more = &a + &more;
                sum_with_more.unallocate();
                sum == sum_with_more + &free
            });
        }
    }

    #[test]
    fn text_is_read_back(values in prop::collection::vec(any_value(0), 0..6)) {
        let plain: Resources = values.into_iter().map(|(name, value)| Resource::new(name, value)).collect();
        let text = if plain.is_empty() { String::new() } else { plain.to_string().replace("; ", ";") };
        prop_assert_eq!(Resources::parse(&text, "*").unwrap(), plain);
    }
}
