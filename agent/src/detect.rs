//! What this machine has, and what the operator says it has.

use std::path::Path;

use mezzo_api::{
    resources::{Resources, ResourcesError},
    v1::{self, value},
};

const MEGABYTE: u64 = 1024 * 1024;
const GIGABYTE: u64 = 1024 * MEGABYTE;

/// Where a machine does not tell (src/slave/constants.hpp).
const DEFAULT_CPUS: u64 = 1;
const DEFAULT_MEM_BYTES: u64 = GIGABYTE;
const DEFAULT_DISK_BYTES: u64 = 10 * GIGABYTE;
const DEFAULT_PORTS: &str = "[31000-32000]";

/// The resources of an agent: `text` (`--resources`, text or JSON), and what it does not name of cpus, mem, disk and
/// ports as detected, for `default_role` (src/slave/containerizer/containerizer.cpp). An amount of 0 counts as named.
///
/// # Errors
/// What is wrong with `text`.
pub fn resources(text: Option<&str>, default_role: &str, work_dir: &Path) -> Result<Resources, ResourcesError> {
    let text = text.unwrap_or_default();
    let mut resources = Resources::parse(text, default_role)?;
    let named = Resources::parse_all(text, default_role)?;
    for (name, value) in detected(work_dir) {
        if !named.iter().any(|resource| resource.name() == name) {
            resources += &Resources::parse(&format!("{name}:{value}"), default_role)?;
        }
    }
    Ok(resources)
}

fn detected(work_dir: &Path) -> [(&'static str, String); 4] {
    [
        ("cpus", cpus().to_string()),
        ("mem", (usable_memory(total_memory()) / MEGABYTE).to_string()),
        ("disk", (usable_disk(total_disk(work_dir)) / MEGABYTE).to_string()),
        ("ports", DEFAULT_PORTS.to_owned()),
    ]
}

/// All but 1 GB; half of it when that is little.
fn usable_memory(total: Option<u64>) -> u64 {
    match total {
        None => DEFAULT_MEM_BYTES,
        Some(total) if total >= 2 * GIGABYTE => total - GIGABYTE,
        Some(total) => total / 2,
    }
}

/// All but 5 GB; half of it when that is little.
fn usable_disk(total: Option<u64>) -> u64 {
    match total {
        None => DEFAULT_DISK_BYTES,
        Some(total) if total >= 10 * GIGABYTE => total - 5 * GIGABYTE,
        Some(total) => total / 2,
    }
}

/// Those that are online, whatever the agent itself may use.
fn cpus() -> u64 {
    let online = nix::unistd::sysconf(nix::unistd::SysconfVar::_NPROCESSORS_ONLN).ok().flatten();
    let cpus = online.and_then(|count| u64::try_from(count).ok()).filter(|count| *count > 0);
    cpus.unwrap_or_else(|| {
        tracing::warn!("cannot detect the number of cpus; assuming {DEFAULT_CPUS}");
        DEFAULT_CPUS
    })
}

fn total_memory() -> Option<u64> {
    let meminfo = std::fs::read_to_string("/proc/meminfo").ok();
    let kilobytes = meminfo.as_deref().and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
        line.split_ascii_whitespace().next()?.parse::<u64>().ok()
    });
    if kilobytes.is_none() {
        tracing::warn!("cannot detect the size of the memory; assuming {DEFAULT_MEM_BYTES} bytes");
    }
    kilobytes.map(|kilobytes| kilobytes * 1024)
}

/// Of the file system that holds the work directory.
fn total_disk(work_dir: &Path) -> Option<u64> {
    match rustix::fs::statvfs(work_dir) {
        Ok(system) => Some(system.f_frsize.saturating_mul(system.f_blocks)),
        Err(error) => {
            let path = work_dir.display();
            tracing::warn!(%path, "cannot detect the size of the disk, assuming {DEFAULT_DISK_BYTES} bytes: {error}");
            None
        }
    }
}

/// Why `--attributes` is of no use.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum AttributesError {
    /// No name, no colon or no value.
    #[error("'{0}' is no attribute: expected name:value")]
    Pair(String),
    /// The brackets do not match, or a range is none.
    #[error("the value of attribute '{name}' is invalid: {reason}")]
    Value {
        /// The attribute.
        name: String,
        /// What is wrong.
        reason: String,
    },
}

/// Reads `--attributes`, `name:value;…` with values that are scalars, ranges or text (src/common/attributes.cpp;
/// src/common/values.cpp). Sets are refused, as there.
///
/// # Errors
/// The first that cannot be read.
pub fn attributes(text: &str) -> Result<Vec<v1::Attribute>, AttributesError> {
    text.split([';', '\n']).filter(|pair| !pair.is_empty()).map(attribute).collect()
}

fn attribute(pair: &str) -> Result<v1::Attribute, AttributesError> {
    let (name, text) = pair
        .split_once(':')
        .filter(|(name, text)| !name.is_empty() && !text.is_empty())
        .ok_or_else(|| AttributesError::Pair(pair.to_owned()))?;
    let invalid = |reason: &str| AttributesError::Value { name: name.to_owned(), reason: reason.to_owned() };
    let mut attribute = v1::Attribute { name: name.to_owned(), ..Default::default() };
    let compact = text.replace(' ', "");
    let balanced =
        [('{', '}'), ('[', ']'), ('(', ')')].into_iter().all(|(open, close)| is_balanced(&compact, open, close));
    if compact.is_empty() {
        return Err(invalid("it is empty"));
    }
    if !balanced {
        return Err(invalid("the brackets do not match"));
    }
    if compact.starts_with('[') {
        attribute.set_type(value::Type::Ranges);
        attribute.ranges = Some(ranges(&compact).ok_or_else(|| invalid("expected one or more ranges [begin-end]"))?);
    } else if compact.starts_with('{') {
        return Err(invalid("attributes cannot be sets"));
    } else if let Some(number) = scalar(&compact) {
        attribute.set_type(value::Type::Scalar);
        attribute.scalar = Some(value::Scalar { value: number });
    } else {
        attribute.set_type(value::Type::Text);
        attribute.text = Some(value::Text { value: compact });
    }
    Ok(attribute)
}

/// Each closing bracket has its opening one before it, and none is left open.
fn is_balanced(text: &str, open: char, close: char) -> bool {
    let mut depth = 0_usize;
    for character in text.chars() {
        if character == open {
            depth += 1;
        } else if character == close {
            let Some(less) = depth.checked_sub(1) else { return false };
            depth = less;
        }
    }
    depth == 0
}

/// A number that resources could hold; anything else is text.
fn scalar(text: &str) -> Option<f64> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte));
    text.parse::<f64>().ok().filter(|number| plain && number.is_finite() && *number >= 0.0)
}

/// Begins and ends in turn, coalesced.
fn ranges(text: &str) -> Option<value::Ranges> {
    let tokens: Vec<&str> = text.split(['[', ']', '-', ',', '\n']).filter(|token| !token.is_empty()).collect();
    let mut pairs = Vec::new();
    for pair in tokens.chunks(2) {
        let [begin, end] = pair else { return None };
        pairs.push((begin.parse::<u64>().ok()?, end.parse::<u64>().ok()?));
    }
    pairs.sort_unstable();
    let mut merged: Vec<value::Range> = Vec::new();
    for (begin, end) in pairs {
        match merged.last_mut() {
            Some(last) if begin <= last.end.saturating_add(1) => last.end = last.end.max(end),
            _ => merged.push(value::Range { begin, end }),
        }
    }
    Some(value::Ranges { range: merged })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(resources: &Resources) -> String {
        resources.to_string()
    }

    #[test]
    fn what_is_named_is_not_detected() {
        let work_dir = Path::new("/");
        let all = resources(None, "*", work_dir).unwrap();
        assert_eq!(all.cpus().as_f64(), cpus() as f64);
        assert!(all.mem().as_f64() > 0.0 && all.disk().as_f64() > 0.0);
        assert!(names(&all).contains("[31000-32000]"), "{all}");

        let given = resources(Some("cpus:2;mem:64;disk:0;ports:[1-2]"), "*", work_dir).unwrap();
        assert_eq!((given.cpus().as_f64(), given.disk().as_f64()), (2.0, 0.0));
        assert!(names(&given).contains("[1-2]") && !names(&given).contains("31000"), "{given}");

        let json = r#"[{"name":"cpus","type":"SCALAR","scalar":{"value":3}}]"#;
        let json = resources(Some(json), "web", work_dir).unwrap();
        assert_eq!(json.cpus().as_f64(), 3.0);
        assert_eq!(json.mem().as_f64(), all.mem().as_f64());
        assert!(json.reserved_to("web").mem().as_f64() > 0.0);
        assert!(resources(Some("cpus"), "*", work_dir).is_err());
    }

    #[test]
    fn little_is_halved_and_much_keeps_a_rest() {
        assert_eq!(usable_memory(Some(2 * GIGABYTE)), GIGABYTE);
        assert_eq!(usable_memory(Some(2 * GIGABYTE - 2)), GIGABYTE - 1);
        assert_eq!(usable_disk(Some(10 * GIGABYTE)), 5 * GIGABYTE);
        assert_eq!(usable_disk(Some(8 * GIGABYTE)), 4 * GIGABYTE);
        assert_eq!((usable_memory(None), usable_disk(None)), (GIGABYTE, 10 * GIGABYTE));
        assert_eq!(total_disk(Path::new("/no/such/path")), None);
    }

    #[test]
    fn attributes_have_the_type_that_they_look_like() {
        let found = attributes("rack:r 2;level:10.5;zone:a:b;ports:[3-4, 1-2,8-9];\nneg:-1;inf:inf;v:1.2.3").unwrap();
        let types: Vec<value::Type> = found.iter().map(v1::Attribute::r#type).collect();
        use value::Type::{Ranges, Scalar, Text};
        assert_eq!(types, [Text, Scalar, Text, Ranges, Text, Text, Text]);
        assert_eq!(found[0].text.as_ref().unwrap().value, "r2");
        assert_eq!(found[1].scalar.as_ref().unwrap().value, 10.5);
        assert_eq!(found[2].text.as_ref().unwrap().value, "a:b");
        let ranges = &found[3].ranges.as_ref().unwrap().range;
        assert_eq!(ranges.iter().map(|range| (range.begin, range.end)).collect::<Vec<_>>(), [(1, 4), (8, 9)]);
        assert_eq!(attributes("").unwrap(), []);
        for bad in ["rack", ":x", "rack:", "a:[1-2", "a:[1-x]", "a:[1]", "a:{b,c}", "a: ", "a:)("] {
            assert!(attributes(bad).is_err(), "{bad}");
        }
    }
}
