//! Shapes of JSON: which fields are always there, which sometimes, and of which type each is.

use std::collections::BTreeMap;

use serde_json::Value;

/// What is known of values at one place.
#[derive(Clone, Debug, PartialEq)]
pub enum Shape {
    /// Nothing was seen here.
    Unknown,
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool,
    /// A number.
    Number,
    /// A text.
    Text,
    /// An array, whose elements all have this shape.
    Array(Box<Shape>),
    /// An object: each field, and whether it was there every time.
    Object(BTreeMap<String, (Shape, bool)>),
    /// An object whose field names are data: all values have this shape.
    Dictionary(Box<Shape>),
    /// Values of different types.
    Either(Vec<Shape>),
}

impl Shape {
    /// The shape of one value.
    #[must_use]
    pub fn of(value: &Value) -> Self {
        Self::with_dictionaries(value, &[])
    }

    /// The shape of one value; objects that are the value of a field of these names are dictionaries.
    #[must_use]
    pub fn with_dictionaries(value: &Value, dictionaries: &[&str]) -> Self {
        match value {
            Value::Null => Shape::Null,
            Value::Bool(_) => Shape::Bool,
            Value::Number(_) => Shape::Number,
            Value::String(_) => Shape::Text,
            Value::Array(items) => Shape::Array(Box::new(merged(items.iter(), dictionaries))),
            Value::Object(fields) => {
                let field = |(name, value): (&String, &Value)| {
                    let shape = match value {
                        Value::Object(entries) if dictionaries.contains(&name.as_str()) => {
                            Shape::Dictionary(Box::new(merged(entries.values(), dictionaries)))
                        }
                        _ => Self::with_dictionaries(value, dictionaries),
                    };
                    (name.clone(), (shape, true))
                };
                Shape::Object(fields.iter().map(field).collect())
            }
        }
    }

    /// The shape of values that have either shape.
    #[must_use]
    pub fn or(self, other: Shape) -> Shape {
        match (self, other) {
            (Shape::Unknown, shape) | (shape, Shape::Unknown) => shape,
            (left, right) if left == right => left,
            (Shape::Array(left), Shape::Array(right)) => Shape::Array(Box::new(left.or(*right))),
            (Shape::Dictionary(left), Shape::Dictionary(right)) => Shape::Dictionary(Box::new(left.or(*right))),
            (Shape::Object(left), Shape::Object(right)) => Shape::Object(merge_fields(left, right)),
            (Shape::Either(shapes), other) | (other, Shape::Either(shapes)) => either(shapes, other),
            (left, right) => Shape::Either(vec![left, right]),
        }
    }

    /// Every place where `actual` does not have this shape, as `path: what`; indices are left out of paths.
    #[must_use]
    pub fn differences(&self, actual: &Value) -> Vec<String> {
        let mut found = Vec::new();
        self.check("", actual, &mut found);
        found.sort();
        found.dedup();
        found
    }

    fn check(&self, path: &str, actual: &Value, found: &mut Vec<String>) {
        match (self, actual) {
            (Shape::Unknown, _) | (Shape::Null, Value::Null) | (Shape::Bool, Value::Bool(_)) => {}
            (Shape::Number, Value::Number(_)) | (Shape::Text, Value::String(_)) => {}
            (Shape::Array(shape), Value::Array(items)) => {
                if items.is_empty() && **shape != Shape::Unknown {
                    found.push(format!("{path}[]: empty, nothing to compare"));
                }
                items.iter().for_each(|item| shape.check(&format!("{path}[]"), item, found));
            }
            (Shape::Dictionary(shape), Value::Object(fields)) => {
                fields.values().for_each(|value| shape.check(&join(path, "*"), value, found))
            }
            (Shape::Object(expected), Value::Object(fields)) => {
                for (name, (shape, always)) in expected {
                    match fields.get(name) {
                        Some(value) => shape.check(&join(path, name), value, found),
                        None if *always => found.push(format!("{}: missing", join(path, name))),
                        None => {}
                    }
                }
                let surplus = fields.keys().filter(|name| !expected.contains_key(*name));
                found.extend(surplus.map(|name| format!("{}: not expected", join(path, name))));
            }
            (Shape::Either(shapes), _) => {
                let fits = |shape: &Shape| {
                    let mut found = Vec::new();
                    shape.check(path, actual, &mut found);
                    found.is_empty()
                };
                if !shapes.iter().any(fits) {
                    found.push(format!("{path}: none of the expected types, got {}", kind(actual)));
                }
            }
            (expected, _) => found.push(format!("{path}: expected {}, got {}", expected.kind(), kind(actual))),
        }
    }

    fn kind(&self) -> &'static str {
        match self {
            Shape::Unknown => "anything",
            Shape::Null => "null",
            Shape::Bool => "a bool",
            Shape::Number => "a number",
            Shape::Text => "a text",
            Shape::Array(_) => "an array",
            Shape::Object(_) | Shape::Dictionary(_) => "an object",
            Shape::Either(_) => "one of several types",
        }
    }
}

fn merged<'a>(values: impl Iterator<Item = &'a Value>, dictionaries: &[&str]) -> Shape {
    values.map(|value| Shape::with_dictionaries(value, dictionaries)).fold(Shape::Unknown, Shape::or)
}

fn merge_fields(
    mut left: BTreeMap<String, (Shape, bool)>,
    right: BTreeMap<String, (Shape, bool)>,
) -> BTreeMap<String, (Shape, bool)> {
    for (name, (_, always)) in &mut left {
        *always &= right.contains_key(name);
    }
    for (name, (shape, always)) in right {
        match left.remove(&name) {
            Some((other, both)) => left.insert(name, (other.or(shape), both && always)),
            None => left.insert(name, (shape, false)),
        };
    }
    left
}

fn either(mut shapes: Vec<Shape>, other: Shape) -> Shape {
    if !shapes.contains(&other) {
        shapes.push(other);
    }
    Shape::Either(shapes)
}

fn kind(value: &Value) -> &'static str {
    Shape::of(value).kind()
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_of_the_same_shape_do_not_differ() {
        let shape = Shape::of(&json!({"a": 1, "b": [{"c": "x"}, {"c": "y", "d": true}], "e": []}));
        assert!(shape.differences(&json!({"a": 2.5, "b": [{"c": ""}], "e": [1, 2]})).is_empty());
        assert!(shape.differences(&json!({"a": 0, "b": [{"c": "", "d": false}, {"c": ""}], "e": []})).is_empty());
    }

    #[test]
    fn every_kind_of_difference_is_found() {
        let shape = Shape::of(&json!({"a": 1, "b": [{"c": "x"}, {"c": "y", "d": true}], "e": {"f": null}, "g": [1]}));
        let found = shape.differences(&json!({"a": "1", "b": [{"d": 1}, {"c": "", "h": 0}], "e": [], "g": []}));
        let expected = [
            "a: expected a number, got a text",
            "b[].c: missing",
            "b[].d: expected a bool, got a number",
            "b[].h: not expected",
            "e: expected an object, got an array",
            "g[]: empty, nothing to compare",
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn names_in_a_dictionary_are_data() {
        let shape = Shape::with_dictionaries(&json!({"flags": {"port": "5050"}}), &["flags"]);
        assert!(shape.differences(&json!({"flags": {"other": "x"}})).is_empty());
        assert_eq!(shape.differences(&json!({"flags": {"other": 1}})), ["flags.*: expected a text, got a number"]);
    }

    #[test]
    fn different_types_at_one_place_are_all_allowed() {
        let shape = Shape::of(&json!([1, "a"]));
        assert!(shape.differences(&json!(["b", 2])).is_empty());
        assert_eq!(shape.differences(&json!([true])), ["[]: none of the expected types, got a bool"]);
    }
}
