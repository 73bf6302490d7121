//! The reader's leniencies and refusals, beyond those that the golden tests hold.

use bytes::{Bytes, BytesMut};
use prost::Message;

use super::*;
use crate::v1::{self, scheduler};

fn json<M: ApiMessage>(text: &str) -> Result<M, String> {
    decode(Encoding::Json, text.as_bytes()).map_err(|error| error.detail().to_owned())
}

fn call(text: &str) -> scheduler::Call {
    json(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn refusal(text: &str) -> String {
    json::<scheduler::Call>(text).err().unwrap_or_else(|| panic!("accepted: {text}"))
}

fn protobuf_refusal<M: ApiMessage>(wire: &[u8]) -> DecodeError {
    decode::<M>(Encoding::Protobuf, wire).err().expect("a refusal")
}

#[test]
fn null_is_unset() {
    assert_eq!(call(r#"{"type":null,"revive":null}"#), scheduler::Call::default());
    assert_eq!(call(r#"{"type":"REVIVE","type":null}"#), scheduler::Call::default());
    assert_eq!(refusal(r#"{"framework_id":{"value":null}}"#), "Missing required fields: framework_id.value");
    let revive = call(r#"{"revive":{"roles":["a",null,"b"]}}"#).revive.unwrap();
    assert_eq!(revive.roles, ["a", "b"]);
}

#[test]
fn the_last_of_equal_members_counts() {
    let text = r#"{"decline":{"offer_ids":[{"value":"1"}],"filters":{"refuse_seconds":1},"offer_ids":[{"value":"2"}]},
        "type":"DECLINE","framework_id":{"value":"a"},"framework_id":{"value":"b"},"type":"REVIVE"}"#;
    let call = call(text);
    let decline = call.decline.as_ref().unwrap();
    assert_eq!(decline.offer_ids, [v1::OfferId { value: "2".into() }]);
    assert_eq!(decline.filters.as_ref().unwrap().refuse_seconds, Some(1.0));
    assert_eq!(call.framework_id.as_ref().unwrap().value, "b");
    assert_eq!(call.r#type(), scheduler::call::Type::Revive);
    let unset = r#"{"framework_id":{"value":"a"},"framework_id":{}}"#;
    assert_eq!(refusal(unset), "Missing required fields: framework_id.value");
}

#[test]
fn quoted_numbers_and_booleans() {
    let info: v1::FrameworkInfo =
        json(r#"{"user":"","name":"","failover_timeout":" 1e3 ","checkpoint":"true"}"#).unwrap();
    assert_eq!((info.failover_timeout, info.checkpoint), (Some(1000.0), Some(true)));
    let info: v1::FrameworkInfo = json(r#"{"user":"","name":"","failover_timeout":"-Infinity"}"#).unwrap();
    assert_eq!(info.failover_timeout, Some(f64::NEG_INFINITY));
    for (text, expected) in [
        (
            r#""failover_timeout":"true""#,
            "Failed to parse 'true' as a JSON number for field 'failover_timeout': Unexpected JSON type parsed",
        ),
        (
            r#""checkpoint":"1""#,
            "Failed to parse '1' as a JSON boolean for field 'checkpoint': Unexpected JSON type parsed",
        ),
        (
            r#""failover_timeout":"1e400""#,
            "Failed to parse '1e400' as a JSON number for field 'failover_timeout': Value out of range",
        ),
        (
            r#""failover_timeout":"1 2""#,
            "Failed to parse '1 2' as a JSON number for field 'failover_timeout': Parsed JSON included non-whitespace trailing characters:  2",
        ),
        (r#""failover_timeout":true"#, "Not expecting a JSON boolean for field 'failover_timeout'"),
        (r#""failover_timeout":{}"#, "Not expecting a JSON object for field 'failover_timeout'"),
    ] {
        let text = format!(r#"{{"user":"","name":"",{text}}}"#);
        assert_eq!(json::<v1::FrameworkInfo>(&text).unwrap_err(), expected);
    }
}

#[test]
fn numbers_that_do_not_fit_are_refused() {
    let nanoseconds = |number: &str| json::<v1::DurationInfo>(&format!(r#"{{"nanoseconds":{number}}}"#));
    assert_eq!(nanoseconds("9223372036854775807").unwrap().nanoseconds, i64::MAX);
    assert_eq!(nanoseconds("-9223372036854775808").unwrap().nanoseconds, i64::MIN);
    assert_eq!(nanoseconds("1.9").unwrap().nanoseconds, 1);
    assert_eq!(nanoseconds("-1.9e1").unwrap().nanoseconds, -19);
    assert_eq!(nanoseconds("007").unwrap().nanoseconds, 7);
    for number in ["9223372036854775808", "1e19", "-1e19", "\"1e19\""] {
        assert_eq!(nanoseconds(number).unwrap_err(), "Number out of range for field 'nanoseconds'", "{number}");
    }
    let range = |begin: &str| json::<v1::value::Range>(&format!(r#"{{"begin":{begin},"end":1}}"#));
    assert_eq!(range("18446744073709551615").unwrap().begin, u64::MAX);
    assert_eq!(range("-0.5").unwrap().begin, 0);
    for number in ["-1", "18446744073709551616", "1e20"] {
        assert_eq!(range(number).unwrap_err(), "Number out of range for field 'begin'", "{number}");
    }
    let port = |number: &str| json::<v1::Port>(&format!(r#"{{"number":{number}}}"#));
    assert_eq!(port("4294967295").unwrap().number, u32::MAX);
    assert!(port("4294967296").is_err());
    for number in ["1e", "-", "1-2", "--1", "+1", ".5", "0x1"] {
        assert!(nanoseconds(number).unwrap_err().starts_with("syntax error at line 1 near: "), "{number}");
    }
}

#[test]
fn one_element_needs_no_array() {
    let call = call(
        r#"{"revive":{"roles":"a"},"decline":{"offer_ids":{"value":"o"}},"suppress":{"roles":[["a"],["b","c"]]}}"#,
    );
    assert_eq!(call.revive.unwrap().roles, ["a"]);
    assert_eq!(call.decline.unwrap().offer_ids.len(), 1);
    assert_eq!(call.suppress.unwrap().roles, ["a", "b", "c"]);
}

#[test]
fn maps() {
    let text = r#"{"guarantees":{"cpus":{"value":1},"mem":{"value":"2"}},"limits":[{"cpus":{"value":3}}],"role":"r"}"#;
    let config: v1::quota::QuotaConfig = json(text).unwrap();
    assert_eq!(config.guarantees["mem"].value, 2.0);
    assert_eq!(config.limits["cpus"].value, 3.0);
    let expected =
        r#"{"role":"r","guarantees":{"cpus":{"value":1.0},"mem":{"value":2.0}},"limits":{"cpus":{"value":3.0}}}"#;
    assert_eq!(encode(Encoding::Json, &config), expected);
    let missing = json::<v1::quota::QuotaConfig>(r#"{"limits":{"cpus":{}}}"#).unwrap_err();
    assert_eq!(missing, "Missing required fields: role, limits[0].value.value");
    assert_eq!(
        json::<v1::quota::QuotaConfig>(r#"{"limits":"x"}"#).unwrap_err(),
        "Not expecting a JSON string for field 'limits'"
    );
}

#[test]
fn oneofs() {
    use scheduler::attribute_constraint::selector::Selector;

    let text = r#"{"selector":{"pseudoattribute_type":"ZONE"},"predicate":{"text_equals":{"value":"z"}}}"#;
    let constraint: scheduler::AttributeConstraint = json(text).unwrap();
    assert_eq!(constraint.selector.selector, Some(Selector::PseudoattributeType(3)));
    assert_eq!(encode(Encoding::Json, &constraint), text);
    let missing = json::<scheduler::AttributeConstraint>(r#"{"predicate":{"text_equals":{}}}"#).unwrap_err();
    assert_eq!(missing, "Missing required fields: selector, predicate.text_equals.value");
}

#[test]
fn strings() {
    let value = |text: &str| json::<v1::TaskId>(&format!(r#"{{"value":"{text}"}}"#)).map(|id| id.value);
    assert_eq!(value(r#"\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00é"#).unwrap(), "\"\\/\u{8}\u{c}\n\r\té😀é");
    for text in [r"\x", r"\u12", r"\ud83d", r"\ude00", r"\ud83dx", r"\ud83d\u0041", "\n"] {
        assert!(value(text).unwrap_err().starts_with("syntax error at line "), "{text}");
    }
    let invalid = decode::<v1::TaskId>(Encoding::Json, b"{\"value\":\"a\xffb\"}").unwrap();
    assert_eq!(invalid.value, "a\u{fffd}b");
}

#[test]
fn places_of_syntax_errors() {
    for (text, expected) in [
        ("{\"a\":1,}", "syntax error at line 1 near: }"),
        ("{\"a\":[1,]}", "syntax error at line 1 near: ]}"),
        ("{\n\"a\" 1,\n}", "syntax error at line 2 near: 1,"),
        ("{\"a\":tru}", "syntax error at line 1 near: }"),
        ("{\"a\":1", "syntax error at line 1 near: "),
        ("{\"a\"", "syntax error at line 1 near: "),
        ("{\"type\":5,\"a\":}", "syntax error at line 1 near: }"),
        ("[1, 2", "syntax error at line 1 near: "),
        ("{} \n x \n", "Parsed JSON included non-whitespace trailing characters:  \n x"),
    ] {
        assert_eq!(refusal(text), expected, "{text}");
    }
}

#[test]
fn nesting_has_a_limit() {
    let nested = |depth: usize| format!("{{\"x\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
    assert_eq!(call(&nested(199)), scheduler::Call::default());
    assert!(refusal(&nested(200)).starts_with("syntax error"));
    let parents = |depth: usize| {
        format!("{}{}", "{\"value\":\"c\",\"parent\":".repeat(depth), "}".repeat(depth)).replace(":}", ":null}")
    };
    assert!(json::<v1::ContainerId>(&parents(90)).is_ok());
    assert!(json::<v1::ContainerId>(&parents(199)).is_err(), "prost decodes no more than 100 levels");
    assert!(json::<v1::ContainerId>(&parents(100_000)).unwrap_err().starts_with("syntax error"));
}

#[test]
fn missing_fields_are_named_in_protobufs_order() {
    let text = r#"{"accept":{"operations":[{"type":"LAUNCH","launch":{"task_infos":[{"resources":[{"name":"x"},{}]}]}}]},
        "kill":{}}"#;
    let expected = "Missing required fields: accept.operations[0].launch.task_infos[0].name, \
        accept.operations[0].launch.task_infos[0].task_id, accept.operations[0].launch.task_infos[0].agent_id, \
        accept.operations[0].launch.task_infos[0].resources[0].type, accept.operations[0].launch.task_infos[0].resources[1].name, \
        accept.operations[0].launch.task_infos[0].resources[1].type, kill.task_id";
    assert_eq!(refusal(text), expected);
}

#[test]
fn protobuf_needs_its_required_fields_too() {
    let call = scheduler::Call { framework_id: Some(v1::FrameworkId::default()), ..Default::default() };
    assert_eq!(decode::<scheduler::Call>(Encoding::Protobuf, &call.encode_to_vec()).unwrap(), call);
    let error = protobuf_refusal::<scheduler::Call>(&[0x0a, 0]);
    assert_eq!(error.to_string(), "Failed to parse body into Call protobuf");
    assert_eq!(error.detail(), "Missing required fields: framework_id.value");
    assert_eq!(decode::<scheduler::Call>(Encoding::Protobuf, b"").unwrap(), scheduler::Call::default());
    for wire in [&b"\x0a\x05\x0a"[..], b"\xff", b"\x0a\x80", b"\x0c", b"\x0b\x0a\x00", b"\x08\x01"] {
        protobuf_refusal::<scheduler::Call>(wire);
    }
}

#[test]
fn a_message_in_pieces_is_one() {
    let pieces = [&[0x0a, 0][..], &[0x0a, 3, 0x0a, 1, b'f']].concat(); // framework_id twice, then with its value
    let call: scheduler::Call = decode(Encoding::Protobuf, &pieces).unwrap();
    assert_eq!(call.framework_id.unwrap().value, "f");
    let elements = [&[0x0a, 2, 0x08, 1][..], &[0x0a, 2, 0x10, 2]].concat(); // two ranges, each with half of its fields
    let error = protobuf_refusal::<v1::value::Ranges>(&elements);
    assert_eq!(error.detail(), "Missing required fields: range[0].end, range[1].begin");
}

#[test]
fn enum_values_of_the_future_are_unset() {
    let unknown = scheduler::Call {
        r#type: Some(99),
        framework_id: Some(v1::FrameworkId { value: "f".into() }),
        ..Default::default()
    };
    let decoded: scheduler::Call = decode(Encoding::Protobuf, &unknown.encode_to_vec()).unwrap();
    assert_eq!(decoded, scheduler::Call { r#type: None, ..unknown });
    let resource = v1::Resource { name: "x".into(), r#type: 99, ..Default::default() };
    let error = protobuf_refusal::<v1::Resource>(&resource.encode_to_vec());
    assert_eq!(error.detail(), "Missing required fields: type");
}

#[test]
fn unknown_fields_are_passed_over() {
    let call = scheduler::Call { r#type: Some(5), ..Default::default() };
    let mut wire = call.encode_to_vec();
    wire.extend_from_slice(b"\xf8\x3f\x01"); // field 1023, varint
    wire.extend_from_slice(b"\xfb\x3f\x08\x01\x12\x01x\x0b\x0c\xfc\x3f"); // field 1023, a group with a group in it
    assert_eq!(decode::<scheduler::Call>(Encoding::Protobuf, &wire).unwrap(), call);
    assert_eq!(json::<scheduler::Call>(r#"{"slave_id":{"value":[1,{"a":"b"}]},"type":"REVIVE"}"#).unwrap(), call);
}

#[test]
fn records_are_encoded_in_place() {
    let event = scheduler::Event { r#type: Some(8), ..Default::default() };
    for encoding in [Encoding::Json, Encoding::Protobuf] {
        let record = encode_to_record(encoding, &event);
        let mut appended = BytesMut::from("before");
        encode_record(encoding, &event, &mut appended);
        assert_eq!(appended, [b"before", record.as_ref()].concat());
        let mut decoder = crate::recordio::Decoder::new(1000);
        decoder.feed(&record);
        assert_eq!(decoder.next(), Ok(Some(encode(encoding, &event))));
    }
    assert_eq!(encode_to_record(Encoding::Json, &event), Bytes::from_static(b"20\n{\"type\":\"HEARTBEAT\"}"));
}

#[test]
fn arrays_of_messages() {
    let ids: Vec<v1::TaskId> = decode_json_array(br#" [{"value":"a"}, {"value":"b"}] "#).unwrap();
    assert_eq!(ids.iter().map(|id| id.value.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    assert!(decode_json_array::<v1::TaskId>(b"[]").unwrap().is_empty());
    for (text, expected) in [
        ("{}", "Expecting a JSON array"),
        ("[1]", "Expecting a JSON object"),
        ("[{}]", "Missing required fields: value"),
        ("[", "syntax error at line 1 near: "),
        ("[{\"value\":\"a\"}", "syntax error at line 1 near: "),
        ("[] x", "Parsed JSON included non-whitespace trailing characters:  x"),
    ] {
        assert_eq!(decode_json_array::<v1::TaskId>(text.as_bytes()).unwrap_err().detail(), expected, "{text}");
    }
}
