//! Where two JSON values differ, said so that a person can read it.

use serde_json::Value;

/// Every place where `actual` is not `expected`, as `path: what`.
#[must_use]
pub fn differences(expected: &Value, actual: &Value) -> Vec<String> {
    let mut found = Vec::new();
    compare("", expected, actual, &mut found);
    found
}

fn compare(path: &str, expected: &Value, actual: &Value, found: &mut Vec<String>) {
    match (expected, actual) {
        (Value::Object(expected), Value::Object(actual)) => {
            for (name, value) in expected {
                match actual.get(name) {
                    Some(other) => compare(&join(path, name), value, other, found),
                    None => found.push(format!("{}: missing, expected {}", join(path, name), short(value))),
                }
            }
            for (name, value) in actual.iter().filter(|(name, _)| !expected.contains_key(*name)) {
                found.push(format!("{}: not expected, got {}", join(path, name), short(value)));
            }
        }
        (Value::Array(expected), Value::Array(actual)) => {
            for (index, pair) in expected.iter().zip(actual).enumerate() {
                compare(&join(path, &index.to_string()), pair.0, pair.1, found);
            }
            for (index, value) in expected.iter().enumerate().skip(actual.len()) {
                found.push(format!("{}: missing, expected {}", join(path, &index.to_string()), short(value)));
            }
            for (index, value) in actual.iter().enumerate().skip(expected.len()) {
                found.push(format!("{}: not expected, got {}", join(path, &index.to_string()), short(value)));
            }
        }
        _ if same(expected, actual) => {}
        _ => found.push(format!("{path}: expected {}, got {}", short(expected), short(actual))),
    }
}

/// Numbers are the same when their values are: JSON knows one kind of number.
fn same(expected: &Value, actual: &Value) -> bool {
    match (expected.as_f64(), actual.as_f64()) {
        (Some(expected), Some(actual)) => expected.to_bits() == actual.to_bits(),
        _ => expected == actual,
    }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

/// A value as text, cut where it is long: a difference must fit on a screen.
fn short(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(400) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn equal_values_do_not_differ_and_numbers_are_numbers() {
        assert!(differences(&json!({"a": [1, 2.0], "b": null}), &json!({"b": null, "a": [1.0, 2]})).is_empty());
    }

    #[test]
    fn every_kind_of_difference_is_found() {
        let expected = json!({"a": 1, "b": [1, 2], "c": {"d": "x"}, "e": true, "f": [1]});
        let actual = json!({"a": "1", "b": [1], "c": {"d": "y"}, "g": 0, "f": [1, 3]});
        let found = differences(&expected, &actual);
        let expected = [
            "a: expected 1, got \"1\"",
            "b.1: missing, expected 2",
            "c.d: expected \"x\", got \"y\"",
            "e: missing, expected true",
            "f.1: not expected, got 3",
            "g: not expected, got 0",
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn zero_is_not_false_and_null_is_not_absent() {
        assert_eq!(differences(&json!(0), &json!(false)).len(), 1);
        assert_eq!(differences(&json!({"a": null}), &json!({})).len(), 1);
        assert_eq!(differences(&json!(1.5), &json!(1.25)).len(), 1);
    }
}
