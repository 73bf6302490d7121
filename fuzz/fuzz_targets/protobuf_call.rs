//! Scheduler calls in protobuf: what decodes means the same in both encodings.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mezzo_api::{
    codec::{Encoding, decode, encode},
    v1::scheduler::Call,
};

fuzz_target!(|wire: &[u8]| {
    let Ok(call) = decode::<Call>(Encoding::Protobuf, wire) else { return };
    let wire = encode(Encoding::Protobuf, &call);
    let again: Call = decode(Encoding::Protobuf, &wire).expect("our own protobuf");
    assert_eq!(encode(Encoding::Protobuf, &again), wire);
    let json = encode(Encoding::Json, &call);
    if json.windows(5).any(|window| window == b":null") {
        return; // a NaN, which JSON does not have, is written as null and read as unset
    }
    let again: Call = decode(Encoding::Json, &json).expect("our own JSON");
    assert_eq!(encode(Encoding::Json, &again), json);
});
