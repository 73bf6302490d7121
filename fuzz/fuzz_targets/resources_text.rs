//! Resources as operators write them: laws of the algebra, and wire forms that give the resources back.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mezzo_api::resources::{Resources, Scalar};

fuzz_target!(|text: &str| {
    let Ok(resources) = Resources::parse(text, "*") else { return };
    assert!(resources.contains(&resources));
    assert!((&resources - &resources).is_empty());
    assert!((&resources + &resources).contains(&resources));
    if resources.quantities().values().any(|sum| *sum > Scalar::WIRE_MAX) {
        return; // a sum that is not taken from the wire
    }
    for protos in [resources.to_protos(), resources.to_legacy_protos(), resources.to_endpoint_protos()] {
        assert_eq!(Resources::from_protos(&protos).expect("our own form"), resources);
    }
    let _ = (resources.to_string(), resources.summary(), resources.reserved(), resources.quantities());
});
