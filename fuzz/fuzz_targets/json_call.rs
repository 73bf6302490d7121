//! Scheduler calls in JSON: what decodes means the same in both encodings.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mezzo_api::{
    codec::{Encoding, decode, encode},
    v1::scheduler::Call,
};

fuzz_target!(|text: &[u8]| {
    let Ok(call) = decode::<Call>(Encoding::Json, text) else { return };
    let json = encode(Encoding::Json, &call);
    let again: Call = decode(Encoding::Json, &json).expect("our own JSON");
    assert_eq!(encode(Encoding::Json, &again), json);
    let wire = encode(Encoding::Protobuf, &call);
    let again: Call = decode(Encoding::Protobuf, &wire).expect("our own protobuf");
    assert_eq!(encode(Encoding::Protobuf, &again), wire);
    assert_eq!(encode(Encoding::Json, &again), json);
});
