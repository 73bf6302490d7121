//! The rules of disks, shares and reservations, case by case.

use super::*;
use crate::{codec, v1};

fn resource(members: &str) -> Resource {
    let text = format!(r#"{{"name":"disk","type":"SCALAR",{members}}}"#);
    let proto: v1::Resource = codec::decode(codec::Encoding::Json, text.as_bytes()).unwrap();
    Resource::from_proto(&proto).unwrap()
}

fn disk(amount: f64, disk: &str) -> Resource {
    resource(&format!(r#""scalar":{{"value":{amount}}},"disk":{{{disk}}}"#))
}

fn sum(all: &[&Resource]) -> Resources {
    all.iter().copied().cloned().collect()
}

const MOUNT: &str = r#""source":{"type":"MOUNT","mount":{"root":"/m"}}"#;
const PATH: &str = r#""source":{"type":"PATH","path":{"root":"/p"}}"#;
const BLOCK: &str = r#""source":{"type":"BLOCK"}"#;
const RAW: &str = r#""source":{"type":"RAW"}"#;
const RAW_WITH_ID: &str = r#""source":{"type":"RAW","id":"i"}"#;
const VOLUME: &str = r#""persistence":{"id":"v"}"#;

#[test]
fn exclusive_disks_stay_apart() {
    for kind in [MOUNT, BLOCK, RAW_WITH_ID, VOLUME] {
        let (one, two) = (disk(1.0, kind), disk(2.0, kind));
        assert!(!one.is_divisible());
        let both = sum(&[&one, &one]);
        assert_eq!(both.len(), 2, "{kind}");
        assert_eq!(both.disk(), Scalar::from_f64(2.0));
        let larger = sum(&[&two]);
        assert!(!larger.contains(&sum(&[&one])), "{kind}: no part of it can be had");
        assert_eq!(&larger - &sum(&[&one]), larger, "{kind}: no part of it can be taken");
        assert!(!sum(&[&one]).contains(&both), "{kind}: one is not two");
        assert_eq!(&both - &sum(&[&one]), sum(&[&one]));
    }
}

#[test]
fn other_disks_add_up() {
    for kind in [PATH, RAW, r#""source":{"type":"PATH"}"#] {
        let (one, two) = (disk(1.0, kind), disk(2.0, kind));
        assert!(one.is_divisible());
        assert_eq!(sum(&[&one, &two]).to_string(), disk(3.0, kind).to_string());
        assert!(sum(&[&two]).contains(&sum(&[&one])));
        assert_eq!(&sum(&[&two]) - &sum(&[&one]), sum(&[&one]));
    }
    let different =
        sum(&[&disk(1.0, PATH), &disk(1.0, RAW), &disk(1.0, r#""source":{"type":"PATH","path":{"root":"/q"}}"#)]);
    assert_eq!(different.len(), 3);
}

#[test]
fn what_a_volume_is_used_as_does_not_count() {
    let used = disk(1.0, r#""persistence":{"id":"v","principal":"p"},"volume":{"container_path":"data","mode":"RW"}"#);
    assert_eq!(used, disk(1.0, VOLUME));
    assert!(sum(&[&disk(1.0, VOLUME)]).contains(&sum(&[&used])));
    assert_eq!(used.to_string(), "disk[v:data]:1");
    assert_ne!(disk(1.0, r#""persistence":{"id":"w"}"#), disk(1.0, VOLUME));
}

#[test]
fn shared_resources_are_counted() {
    let shared = resource(r#""scalar":{"value":5},"disk":{"persistence":{"id":"v"}},"shared":{}"#);
    let (once, twice) = (sum(&[&shared]), sum(&[&shared, &shared]));
    assert_eq!(twice.len(), 1);
    assert_eq!(twice.to_string(), "disk[v]<SHARED>:5<2>");
    assert_eq!(twice.disk(), Scalar::from_f64(5.0), "its amount counts once");
    assert!(twice.contains(&once) && !once.contains(&twice));
    assert_ne!(once, twice);
    assert_eq!(&twice - &once, once);
    assert_eq!(&once - &twice, Resources::new());
    assert!(!once.contains(&sum(&[&disk(5.0, VOLUME)])), "what is not shared is something else");
    assert_eq!(once.shared(), once);
    assert!(once.non_shared().is_empty());
}

#[test]
fn amounts_never_become_negative() {
    let cpus = |amount| Resources::from(Resource::scalar("cpus", Scalar::from_f64(amount)));
    assert!((&cpus(1.0) - &cpus(2.0)).is_empty());
    assert!((&cpus(1.0) - &cpus(1.0)).is_empty());
    assert_eq!(&cpus(1.0) - &Resources::parse("mem:1", "*").unwrap(), cpus(1.0));
    assert_eq!(&cpus(0.3) - &cpus(0.1), cpus(0.2));
    assert!(cpus(0.0).is_empty());
}

#[test]
fn whatever_sets_resources_apart_keeps_them_apart() {
    let plain = r#""scalar":{"value":1}"#;
    let variants = [
        String::new(),
        r#","revocable":{}"#.into(),
        r#","provider_id":{"value":"p"}"#.into(),
        r#","allocation_info":{"role":"dev"}"#.into(),
        r#","reservations":[{"type":"STATIC","role":"dev"}]"#.into(),
        r#","reservations":[{"type":"DYNAMIC","role":"dev"}]"#.into(),
        r#","reservations":[{"type":"DYNAMIC","role":"dev","principal":"p"}]"#.into(),
        r#","reservations":[{"type":"DYNAMIC","role":"dev","labels":{"labels":[{"key":"a"}]}}]"#.into(),
        r#","reservations":[{"type":"STATIC","role":"dev"},{"type":"DYNAMIC","role":"dev/web"}]"#.into(),
        format!(r#","disk":{{{PATH}}}"#),
    ];
    let all: Vec<Resource> = variants.iter().map(|variant| resource(&format!("{plain}{variant}"))).collect();
    let together: Resources = all.iter().cloned().collect();
    assert_eq!(together.len(), all.len());
    for (at, one) in all.iter().enumerate() {
        for (other_at, other) in all.iter().enumerate() {
            assert_eq!(one == other, at == other_at, "{one} and {other}");
            assert_eq!(one.contains(other), at == other_at, "{one} and {other}");
        }
    }
}

#[test]
fn labels_are_compared_without_their_order() {
    let reserved = |labels: &str| {
        resource(&format!(
            r#""scalar":{{"value":1}},"reservations":[{{"type":"DYNAMIC","role":"dev","labels":{{"labels":[{labels}]}}}}]"#
        ))
    };
    let (a, b) = (r#"{"key":"a"}"#, r#"{"key":"b","value":"1"}"#);
    assert_eq!(reserved(&format!("{a},{b}")), reserved(&format!("{b},{a}")));
    assert_ne!(reserved(&format!("{a},{a},{b}")), reserved(&format!("{a},{b},{b}")));
    assert_eq!(reserved(&format!("{a},{b}")).to_string(), "disk(reservations: [(DYNAMIC,dev,{a, b: 1})]):1");
}

#[test]
fn reservations_decide_who_may_use_it() {
    let reserved = resource(r#""scalar":{"value":1},"reservations":[{"type":"STATIC","role":"a/b"}]"#);
    for (role, allowed) in [("a/b", true), ("a/b/c", true), ("a", false), ("a/bc", false), ("*", false)] {
        assert_eq!(reserved.is_allocatable_to(role), allowed, "{role}");
    }
    assert!(resource(r#""scalar":{"value":1}"#).is_allocatable_to("any"));
    let resources = sum(&[&reserved]);
    assert_eq!(resources.reserved_to_subtree("a"), resources);
    assert!(resources.reserved_to("a").is_empty());
    assert_eq!(resources.to_unreserved().to_string(), "disk:1");
    assert_eq!(resources.pop_reservation().to_string(), "disk:1");
    let refinement = v1::resource::ReservationInfo {
        r#type: Some(v1::resource::reservation_info::Type::Dynamic.into()),
        role: Some("a/b/c".into()),
        ..Default::default()
    };
    let refined = resources.push_reservation(&refinement);
    assert_eq!(refined.to_string(), "disk(reservations: [(STATIC,a/b), (DYNAMIC,a/b/c)]):1");
    assert_eq!(refined.pop_reservation(), resources);
}

#[test]
#[allow(deprecated)]
fn wire_forms() {
    let dynamic = resource(r#""scalar":{"value":1},"role":"dev","reservation":{"principal":"p"}"#);
    assert_eq!(dynamic.to_string(), "disk(reservations: [(DYNAMIC,dev,p)]):1");
    let proto = dynamic.to_proto();
    assert_eq!((proto.role, proto.reservation, proto.reservations.len()), (None, None, 1));
    let legacy = dynamic.to_legacy_proto();
    assert_eq!((legacy.role.as_deref(), legacy.reservations.len()), (Some("dev"), 0));
    assert_eq!(legacy.reservation.unwrap().principal.as_deref(), Some("p"));
    let endpoint = dynamic.to_endpoint_proto();
    assert_eq!((endpoint.role.as_deref(), endpoint.reservations.len()), (Some("dev"), 1));
    assert!(endpoint.reservation.is_some());
    let unreserved = resource(r#""scalar":{"value":1}"#);
    assert_eq!(unreserved.to_legacy_proto().role.as_deref(), Some("*"));
    assert_eq!(unreserved.to_proto().role, None);
    let r#static = resource(r#""scalar":{"value":1},"role":"dev""#);
    assert_eq!(r#static.to_string(), "disk(reservations: [(STATIC,dev)]):1");
    assert_eq!(r#static.to_legacy_proto().reservation, None);
}

#[test]
fn invalid_resources_say_why() {
    let scalar = r#""scalar":{"value":1}"#;
    for (members, expected) in [
        (r#""ranges":{}"#.into(), "Invalid scalar resource"),
        (format!(r#"{scalar},"set":{{}}"#), "Invalid scalar resource"),
        (
            format!(r#"{scalar},"disk":{{"source":{{"type":"UNKNOWN"}}}}"#),
            "Unsupported 'DiskInfo.Source.Type' in 'UNKNOWN'",
        ),
        (
            format!(r#"{scalar},"disk":{{"source":{{"type":"RAW","path":{{}}}}}}"#),
            "Path should not be set for RAW disk source",
        ),
        (
            format!(r#"{scalar},"disk":{{"source":{{"type":"BLOCK","mount":{{}}}}}}"#),
            "Mount should not be set for BLOCK disk source",
        ),
        (format!(r#"{scalar},"shared":{{}}"#), "Only persistent volumes can be shared"),
        (format!(r#"{scalar},"reservation":{{}}"#), "Invalid reservation: role \"*\" cannot be dynamically reserved"),
        (
            format!(r#"{scalar},"role":"a","reservation":{{"type":"DYNAMIC"}}"#),
            "'Resource.ReservationInfo.type' must not be set for the 'Resource.reservation' field",
        ),
        (
            format!(r#"{scalar},"reservations":[{{"role":"a"}}]"#),
            "Invalid reservation: 'Resource.ReservationInfo.type' field must be set.",
        ),
        (
            format!(r#"{scalar},"reservations":[{{"type":"STATIC"}}]"#),
            "Invalid reservation: 'Resource.ReservationInfo.role' field must be set.",
        ),
        (
            format!(r#"{scalar},"reservations":[{{"type":"UNKNOWN","role":"a"}}]"#),
            "Unsupported 'Resource.ReservationInfo.Type'",
        ),
        (
            format!(r#"{scalar},"reservations":[{{"type":"STATIC","role":"a"}},{{"type":"STATIC","role":"a/b"}}]"#),
            "Invalid refined reservation: A refined reservation cannot be STATIC",
        ),
        (
            format!(r#"{scalar},"reservations":[{{"type":"STATIC","role":"a"}},{{"type":"DYNAMIC","role":"b"}}]"#),
            "Invalid refined reservation: role 'b' is not a refinement of 'a'",
        ),
        (
            format!(r#"{scalar},"role":"b","reservations":[{{"type":"STATIC","role":"a"}}]"#),
            "Invalid resource format: 'Resource.role' field with 'b' does not match the role 'a' in 'Resource.reservations'",
        ),
        (
            format!(
                r#"{scalar},"role":"a","reservations":[{{"type":"STATIC","role":"a"}},{{"type":"DYNAMIC","role":"a/b"}}]"#
            ),
            "Invalid resource format: 'Resource.role' must not be set if there is more than one reservation in 'Resource.reservations'",
        ),
        (
            format!(r#"{scalar},"role":"a","reservations":[{{"type":"DYNAMIC","role":"a"}}]"#),
            "Invalid resource format: 'Resource.role' and 'Resource.reservation' must either be both set or both not set if the single reservation in 'Resource.reservations' is DYNAMIC",
        ),
    ] {
        let text = format!(r#"{{"name":"disk","type":"SCALAR",{members}}}"#);
        let proto: v1::Resource = codec::decode(codec::Encoding::Json, text.as_bytes()).unwrap();
        assert_eq!(validate(&proto).unwrap_err().to_string(), expected, "{members}");
    }
    for (name, r#type, expected) in
        [("x", "TEXT", "Unsupported resource type"), ("cpus", "SCALAR", "DiskInfo should not be set for cpus resource")]
    {
        let text = format!(r#"{{"name":"{name}","type":"{type}",{scalar},"disk":{{}}}}"#);
        let proto: v1::Resource = codec::decode(codec::Encoding::Json, text.as_bytes()).unwrap();
        assert_eq!(validate(&proto).unwrap_err().to_string(), expected);
    }
}

#[test]
fn summary_of_endpoints() {
    let resources =
        Resources::parse("cpus:1.5;cpus(dev):0.5;mem:64;ports:[1-2,5-6];names:{a,b};widgets:3", "*").unwrap();
    let mut revocable = resource(r#""scalar":{"value":7},"revocable":{}"#).to_proto();
    revocable.name = "cpus".into();
    let all = &resources + &Resources::from_protos(&[revocable]).unwrap();
    let summary = serde_json::Value::Object(all.summary()).to_string();
    let expected = r#"{"disk":0.0,"mem":64.0,"gpus":0.0,"cpus":2.0,"widgets":3.0,"cpus_revocable":7.0,"ports":"[1-2, 5-6]","names":"{a, b}"}"#;
    assert_eq!(summary, expected);
    let nothing = serde_json::Value::Object(Resources::new().summary()).to_string();
    assert_eq!(nothing, r#"{"disk":0.0,"mem":0.0,"gpus":0.0,"cpus":0.0}"#);
}
