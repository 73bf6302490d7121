//! Resources as operators write them, e.g. `cpus:4;mem(prod):1024;ports:[31000-32000]`
//! (src/common/resources.cpp and values.cpp).

use super::{
    InvalidResource, Range, Ranges, Resource, Resources, ResourcesError, Scalar, Value, resource::Details, validate,
};
use crate::v1::{self, resource::ReservationInfo, resource::reservation_info::Type as ReservationType};

/// Why a text is no list of resources.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)] // each variant is its text
pub enum ParseError {
    #[error("Bad value for resources, missing or extra ':' in {0}")]
    Colon(String),
    #[error("Bad value for resources, mismatched parentheses in {0}")]
    Parentheses(String),
    #[error("Failed to parse resource {name} value {value} error {reason}")]
    Value { name: String, value: String, reason: ValueError },
    #[error("Bad type for resource {name} value {value} type TEXT")]
    Text { name: String, value: String },
    #[error("{0}")]
    Invalid(#[from] InvalidResource),
    #[error("Some JSON resources were not formatted properly: {0}")]
    Json(String),
    #[error("Persistent volumes cannot be specified at the command line")]
    PersistentVolume,
    #[error(
        "Revocable resources cannot be specified at the command line; do not include a 'revocable' key in the resources JSON"
    )]
    Revocable,
    #[error(
        "Dynamic reservations cannot be specified at the command line; do not include a reservation with DYNAMIC type in the resources JSON"
    )]
    DynamicReservation,
    #[error("Resources with the same name ('{0}') but different types are not allowed")]
    MixedTypes(String),
}

/// Why a text is no value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum ValueError {
    #[error("Expecting non-empty string")]
    Empty,
    #[error("Mismatched brackets")]
    Brackets,
    #[error("Unexpected '{0}' found")]
    Unexpected(char),
    #[error("Expecting one or more \"ranges\"")]
    OddRanges,
    #[error("Expecting non-negative integers in '{0}'")]
    NoInteger(String),
    #[error("Subnormal values not supported")]
    Subnormal,
}

impl Resources {
    /// From text: items of the form `name(role):value`, separated by `;`, or a JSON array of resources. Without a
    /// role an item gets `default_role` (`*` is none). Amounts of zero are left out.
    ///
    /// # Errors
    /// If the text has another form, a resource is not valid, or has no place on a command line.
    pub fn parse(text: &str, default_role: &str) -> Result<Self, ResourcesError> {
        let all = Self::parse_all(text, default_role)?;
        check_for_command_line(&all)?;
        Ok(all.into_iter().collect())
    }

    /// Like [`Resources::parse`], but with amounts of zero and empty ranges and sets, one entry per item: they tell
    /// the agent what not to detect.
    ///
    /// # Errors
    /// As [`Resources::parse`].
    pub fn parse_all(text: &str, default_role: &str) -> Result<Vec<Resource>, ResourcesError> {
        if text.trim_start().starts_with('[') {
            parse_json(text, default_role)
        } else {
            text.split(';')
                .filter(|item| !item.is_empty())
                .map(|item| parse_item(item, default_role).map_err(Into::into))
                .collect()
        }
    }
}

fn parse_json(text: &str, default_role: &str) -> Result<Vec<Resource>, ResourcesError> {
    let protos: Vec<v1::Resource> =
        crate::codec::decode_json_array(text.as_bytes()).map_err(|error| ParseError::Json(error.detail().into()))?;
    protos.into_iter().map(|proto| with_default_role(proto, default_role)).collect()
}

#[allow(deprecated)]
fn with_default_role(mut proto: v1::Resource, default_role: &str) -> Result<Resource, ResourcesError> {
    if proto.role.is_none() && proto.reservations.is_empty() {
        proto.role = Some(default_role.into());
    }
    validate(&proto).map_err(ParseError::from)?;
    Resource::from_proto(&proto)
}

fn parse_item(item: &str, default_role: &str) -> Result<Resource, ParseError> {
    let mut parts = item.split(':').filter(|part| !part.is_empty());
    let (Some(left), Some(value), None) = (parts.next(), parts.next(), parts.next()) else {
        return Err(ParseError::Colon(item.into()));
    };
    let (name, role) = match left.find('(') {
        None => (left.trim(), default_role),
        Some(open) => match left.find(')') {
            Some(close) if close > open => (left[..open].trim(), left[open + 1..close].trim()),
            _ => return Err(ParseError::Parentheses(item.into())),
        },
    };
    let resource = Resource::with(name, None, details(role), parse_resource_value(name, value)?);
    validate(&resource.to_proto())?;
    Ok(resource)
}

fn details(role: &str) -> Details {
    if role == "*" {
        return Details::default();
    }
    let reservation =
        ReservationInfo { r#type: Some(ReservationType::Static.into()), role: Some(role.into()), ..Default::default() };
    Details { reservations: vec![reservation], ..Default::default() }
}

fn parse_resource_value(name: &str, text: &str) -> Result<Value, ParseError> {
    match parse_value(text) {
        Ok(Some(value)) => {
            check_amount(text, &value)?;
            Ok(value)
        }
        Ok(None) => Err(ParseError::Text { name: name.into(), value: text.into() }),
        Err(reason) => Err(ParseError::Value { name: name.into(), value: text.into(), reason }),
    }
}

/// A tiny amount must not become none.
fn check_amount(text: &str, value: &Value) -> Result<(), InvalidResource> {
    let number: f64 = text.replace(' ', "").parse().unwrap_or(0.0);
    match value {
        Value::Scalar(amount) if amount.is_zero() && number != 0.0 => Err(InvalidResource::NotPositive),
        Value::Scalar(_) if Scalar::checked_from_f64(number).is_none() => Err(InvalidResource::TooLarge),
        _ => Ok(()),
    }
}

/// `None` is TEXT.
fn parse_value(text: &str) -> Result<Option<Value>, ValueError> {
    let text = text.replace(' ', "");
    if text.is_empty() {
        return Err(ValueError::Empty);
    }
    if [('{', '}'), ('[', ']'), ('(', ')')].iter().any(|&(open, close)| !brackets_match(&text, open, close)) {
        return Err(ValueError::Brackets);
    }
    match (text.find('['), text.find('{')) {
        (Some(0), _) => parse_ranges(&text).map(|ranges| Some(Value::Ranges(ranges))),
        (Some(_), _) => Err(ValueError::Unexpected('[')),
        (None, Some(0)) => Ok(Some(Value::Set(parse_set(&text).into()))),
        (None, Some(_)) => Err(ValueError::Unexpected('{')),
        (None, None) => parse_amount(&text),
    }
}

fn parse_amount(text: &str) -> Result<Option<Value>, ValueError> {
    let Ok(number) = text.parse::<f64>() else { return Ok(None) };
    if number.is_subnormal() {
        return Err(ValueError::Subnormal);
    }
    let usable = number.is_finite() && number >= 0.0;
    Ok(usable.then(|| Value::Scalar(Scalar::from_f64(number))))
}

fn parse_ranges(text: &str) -> Result<Ranges, ValueError> {
    let tokens: Vec<&str> = text.split(['[', ']', '-', ',', '\n']).filter(|token| !token.is_empty()).collect();
    if !tokens.len().is_multiple_of(2) {
        return Err(ValueError::OddRanges);
    }
    tokens
        .chunks_exact(2)
        .map(|pair| match (pair[0].parse(), pair[1].parse()) {
            (Ok(begin), Ok(end)) => Ok(Range { begin, end }),
            _ => Err(ValueError::NoInteger(pair[0].into())),
        })
        .collect()
}

/// Repeated items are one.
fn parse_set(text: &str) -> Vec<String> {
    let mut items: Vec<String> = Vec::new();
    for item in text.split(['{', '}', ',', '\n']).filter(|item| !item.is_empty()) {
        if !items.iter().any(|known| known == item) {
            items.push(item.into());
        }
    }
    items
}

fn brackets_match(text: &str, open: char, close: char) -> bool {
    let mut depth = 0i64;
    text.chars().all(|c| {
        depth += i64::from(c == open) - i64::from(c == close);
        depth >= 0
    }) && depth == 0
}

fn check_for_command_line(resources: &[Resource]) -> Result<(), ParseError> {
    for resource in resources {
        if resource.is_persistent_volume() {
            return Err(ParseError::PersistentVolume);
        }
        if resource.is_revocable() {
            return Err(ParseError::Revocable);
        }
        if resource.is_dynamically_reserved() {
            return Err(ParseError::DynamicReservation);
        }
        let same_name = resources.iter().find(|other| other.name() == resource.name());
        if same_name
            .is_some_and(|first| std::mem::discriminant(first.value()) != std::mem::discriminant(resource.value()))
        {
            return Err(ParseError::MixedTypes(resource.name().into()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<String, String> {
        Resources::parse(text, "*").map(|resources| resources.to_string()).map_err(|error| error.to_string())
    }

    #[test]
    fn text_form() {
        for (text, expected) in [
            ("cpus:4;mem:1024", "cpus:4; mem:1024"),
            (" cpus : 4 ; mem (prod) : 1 024;", "cpus:4; mem(reservations: [(STATIC,prod)]):1024"),
            ("ports:[33000-33100, 31000-32000,32001-32002]", "ports:[31000-32002, 33000-33100]"),
            ("names:{a,b,a}", "names:{a, b}"),
            ("cpus:1;cpus:0.5;cpus(*):1e0", "cpus:2.5"),
            ("cpus:0", "{}"),
            ("", "{}"),
        ] {
            assert_eq!(parse(text).as_deref(), Ok(expected), "{text}");
        }
        assert_eq!(Resources::parse("cpus:1", "dev").unwrap().to_string(), "cpus(reservations: [(STATIC,dev)]):1");
    }

    #[test]
    fn text_that_is_none() {
        for (text, expected) in [
            ("cpus", "Bad value for resources, missing or extra ':' in cpus"),
            ("cpus:1:2", "Bad value for resources, missing or extra ':' in cpus:1:2"),
            ("cpus(a:1", "Bad value for resources, mismatched parentheses in cpus(a:1"),
            ("cpus:a", "Bad type for resource cpus value a type TEXT"),
            ("cpus:-1", "Bad type for resource cpus value -1 type TEXT"),
            ("cpus:nan", "Bad type for resource cpus value nan type TEXT"),
            ("cpus:inf", "Bad type for resource cpus value inf type TEXT"),
            ("cpus: ", "Failed to parse resource cpus value   error Expecting non-empty string"),
            ("cpus:1e-310", "Failed to parse resource cpus value 1e-310 error Subnormal values not supported"),
            ("cpus:1e308", "Invalid scalar resource: value is too large"),
            ("cpus:0.0001", "Invalid scalar resource: value <= 0"),
            ("ports:[1-2", "Failed to parse resource ports value [1-2 error Mismatched brackets"),
            ("ports:[1-2,3]", "Failed to parse resource ports value [1-2,3] error Expecting one or more \"ranges\""),
            ("ports:[a-2]", "Failed to parse resource ports value [a-2] error Expecting non-negative integers in 'a'"),
            ("ports:1[1-2]", "Failed to parse resource ports value 1[1-2] error Unexpected '[' found"),
            ("cpus(/):1", "Role '/' cannot start with a slash"),
            (":1;mem:1", "Bad value for resources, missing or extra ':' in :1"),
            ("cpus:1;cpus:{a}", "Resources with the same name ('cpus') but different types are not allowed"),
        ] {
            assert_eq!(parse(text), Err(expected.into()), "{text}");
        }
    }

    #[test]
    fn json_form() {
        let disk = r#"[{"name":"disk","type":"SCALAR","scalar":{"value":5},"disk":{"source":{"type":"MOUNT","mount":{"root":"/d"}}}},
            {"name":"cpus","type":"SCALAR","scalar":{"value":1},"role":"prod"}]"#;
        assert_eq!(parse(disk).unwrap(), "disk[MOUNT:/d]:5; cpus(reservations: [(STATIC,prod)]):1");
        let json =
            |extra: &str| parse(&format!(r#"[{{"name":"disk","type":"SCALAR","scalar":{{"value":5}}{extra}}}]"#));
        for (extra, expected) in [
            (
                r#","revocable":{}"#,
                "Revocable resources cannot be specified at the command line; do not include a 'revocable' key in the resources JSON",
            ),
            (
                r#","role":"a","reservation":{}"#,
                "Dynamic reservations cannot be specified at the command line; do not include a reservation with DYNAMIC type in the resources JSON",
            ),
            (r#","disk":{"persistence":{"id":"v"}}"#, "Persistent volumes cannot be specified at the command line"),
            (r#","role":"/""#, "Role '/' cannot start with a slash"),
            (
                r#","scalar":5"#,
                "Some JSON resources were not formatted properly: Not expecting a JSON number for field 'scalar'",
            ),
            (",", "Some JSON resources were not formatted properly: syntax error at line 1 near: }]"),
        ] {
            assert_eq!(json(extra), Err(expected.into()), "{extra}");
        }
    }

    #[test]
    fn what_is_given_as_none_is_kept_for_detection() {
        let all = Resources::parse_all("cpus:0;ports:[]", "*").unwrap();
        assert_eq!(all.iter().map(Resource::name).collect::<Vec<_>>(), ["cpus", "ports"]);
        assert!(all.iter().all(Resource::is_empty));
    }
}
