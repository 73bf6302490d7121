//! Where tasks of a group may run.

use std::collections::{BTreeMap, BTreeSet};

use mezzo_api::v1;
use regex::Regex;
use serde::{Deserialize, Serialize};

/// A property of an agent.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Field {
    /// Its host name.
    Hostname,
    /// The region of its fault domain.
    Region,
    /// The zone of its fault domain.
    Zone,
    /// One of its attributes.
    Attribute(String),
}

/// A rule. An agent that does not have the property satisfies [`Unlike`](Constraint::Unlike) alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Constraint {
    /// No two tasks where the property has the same value.
    Unique(Field),
    /// At most so many tasks where the property has the same value.
    MaxPer(Field, u32),
    /// Evenly over the values of the property that agents are known to have.
    GroupBy(Field),
    /// Only where the whole value matches this regular expression.
    Like(Field, String),
    /// Only where it does not.
    Unlike(Field, String),
}

/// Why a constraint cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConstraintError {
    /// The pattern is no regular expression.
    #[error("'{pattern}' is no regular expression: {problem}")]
    Pattern {
        /// As it was given.
        pattern: String,
        /// What is wrong with it.
        problem: String,
    },
    /// Nothing could run anywhere.
    #[error("at most 0 tasks for each value leaves no place at all")]
    NoPlace,
}

/// Where a task is, or could be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The agent's id.
    pub agent_id: String,
    /// Its host name.
    pub hostname: String,
    /// The region of its fault domain.
    pub region: Option<String>,
    /// The zone of its fault domain.
    pub zone: Option<String>,
    /// Its attributes, as text.
    pub attributes: BTreeMap<String, String>,
}

impl Place {
    /// The place of an offer.
    pub(super) fn of(offer: &v1::Offer) -> Self {
        let domain = offer.domain.as_ref().and_then(|domain| domain.fault_domain.as_ref());
        Self {
            agent_id: offer.agent_id.value.clone(),
            hostname: offer.hostname.clone(),
            region: domain.map(|domain| domain.region.name.clone()),
            zone: domain.map(|domain| domain.zone.name.clone()),
            attributes: offer.attributes.iter().map(|attribute| (attribute.name.clone(), text(attribute))).collect(),
        }
    }

    fn value(&self, field: &Field) -> Option<&str> {
        match field {
            Field::Hostname => Some(&self.hostname),
            Field::Region => self.region.as_deref(),
            Field::Zone => self.zone.as_deref(),
            Field::Attribute(name) => self.attributes.get(name).map(String::as_str),
        }
    }
}

fn text(attribute: &v1::Attribute) -> String {
    if let Some(text) = &attribute.text {
        return text.value.clone();
    }
    if let Some(scalar) = &attribute.scalar {
        return scalar.value.to_string();
    }
    if let Some(set) = &attribute.set {
        return set.item.join(",");
    }
    let ranges = attribute.ranges.iter().flat_map(|ranges| &ranges.range);
    ranges.map(|range| format!("{}-{}", range.begin, range.end)).collect::<Vec<_>>().join(",")
}

/// A constraint that was checked.
#[derive(Clone, Debug)]
pub(super) enum Rule {
    AtMost(Field, usize),
    Evenly(Field),
    Matches(Field, Regex),
    MatchesNot(Field, Regex),
}

impl Rule {
    pub(super) fn new(constraint: &Constraint) -> Result<Self, ConstraintError> {
        Ok(match constraint {
            Constraint::Unique(field) => Self::AtMost(field.clone(), 1),
            Constraint::MaxPer(_, 0) => return Err(ConstraintError::NoPlace),
            Constraint::MaxPer(field, most) => {
                Self::AtMost(field.clone(), usize::try_from(*most).unwrap_or(usize::MAX))
            }
            Constraint::GroupBy(field) => Self::Evenly(field.clone()),
            Constraint::Like(field, pattern) => Self::Matches(field.clone(), whole(pattern)?),
            Constraint::Unlike(field, pattern) => Self::MatchesNot(field.clone(), whole(pattern)?),
        })
    }

    /// Whether one more task may run at `place`, beside those of its group at `taken`; `known` are all agents that are
    /// known to be there.
    pub(super) fn allows<'a>(
        &self,
        place: &Place,
        taken: impl Iterator<Item = &'a Place>,
        known: impl Iterator<Item = &'a Place>,
    ) -> bool {
        match self {
            Self::AtMost(field, most) => {
                let Some(value) = place.value(field) else { return false };
                taken.filter(|other| other.value(field) == Some(value)).count() < *most
            }
            Self::Evenly(field) => {
                let Some(value) = place.value(field) else { return false };
                let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
                let values: BTreeSet<&str> = known.filter_map(|other| other.value(field)).collect();
                counts.extend(values.into_iter().map(|value| (value, 0)));
                taken.filter_map(|other| other.value(field)).for_each(|value| *counts.entry(value).or_default() += 1);
                let here = counts.get(value).copied().unwrap_or_default();
                counts.values().all(|there| here <= *there)
            }
            Self::Matches(field, pattern) => place.value(field).is_some_and(|value| pattern.is_match(value)),
            Self::MatchesNot(field, pattern) => place.value(field).is_none_or(|value| !pattern.is_match(value)),
        }
    }
}

fn whole(pattern: &str) -> Result<Regex, ConstraintError> {
    Regex::new(&format!("^(?:{pattern})$"))
        .map_err(|error| ConstraintError::Pattern { pattern: pattern.to_owned(), problem: error.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(host: &str, zone: &str) -> Place {
        let attributes = [("rack".to_owned(), format!("r-{host}"))].into();
        let zone = (!zone.is_empty()).then(|| zone.to_owned());
        Place { agent_id: host.into(), hostname: host.into(), zone, attributes, ..Place::default() }
    }

    fn allows(constraint: Constraint, at: &Place, taken: &[Place], known: &[Place]) -> bool {
        Rule::new(&constraint).unwrap().allows(at, taken.iter(), known.iter())
    }

    #[test]
    fn counts_what_is_there() {
        let (a, b) = (place("a", "z1"), place("b", "z1"));
        let taken = [a.clone()];
        assert!(!allows(Constraint::Unique(Field::Hostname), &a, &taken, &[]));
        assert!(allows(Constraint::Unique(Field::Hostname), &b, &taken, &[]));
        assert!(!allows(Constraint::Unique(Field::Zone), &b, &taken, &[]));
        assert!(allows(Constraint::MaxPer(Field::Zone, 2), &b, &taken, &[]));
        assert!(!allows(Constraint::MaxPer(Field::Zone, 2), &b, &[a.clone(), a.clone()], &[]));
        assert!(!allows(Constraint::Unique(Field::Region), &a, &[], &[]), "it has none");
    }

    #[test]
    fn spreads_evenly_over_what_is_known() {
        let (a, b, c) = (place("a", "z1"), place("b", "z2"), place("c", ""));
        let known = [a.clone(), b.clone(), c.clone()];
        let rule = Constraint::GroupBy(Field::Zone);
        assert!(allows(rule.clone(), &a, &[], &known));
        assert!(!allows(rule.clone(), &a, std::slice::from_ref(&a), &known));
        assert!(allows(rule.clone(), &b, std::slice::from_ref(&a), &known));
        assert!(allows(rule.clone(), &a, &[a.clone(), b.clone()], &known));
        assert!(!allows(rule.clone(), &c, &[], &known));
        assert!(allows(rule, &a, std::slice::from_ref(&a), &[]), "no other zone is known");
    }

    #[test]
    fn matches_whole_values() {
        let a = place("a", "z1");
        let like = |pattern: &str| Constraint::Like(Field::Attribute("rack".into()), pattern.into());
        assert!(allows(like("r-.*"), &a, &[], &[]));
        assert!(!allows(like("r"), &a, &[], &[]));
        assert!(!allows(Constraint::Like(Field::Region, ".*".into()), &a, &[], &[]));
        assert!(allows(Constraint::Unlike(Field::Region, ".*".into()), &a, &[], &[]));
        assert!(!allows(Constraint::Unlike(Field::Zone, "z1|z2".into()), &a, &[], &[]));
        assert!(matches!(Rule::new(&like("(")), Err(ConstraintError::Pattern { .. })));
        assert!(matches!(Rule::new(&Constraint::MaxPer(Field::Zone, 0)), Err(ConstraintError::NoPlace)));
    }

    #[test]
    fn reads_every_kind_of_attribute() {
        let mut attribute = v1::Attribute { name: "x".into(), ..Default::default() };
        attribute.scalar = Some(v1::value::Scalar { value: 4.0 });
        assert_eq!(text(&attribute), "4");
        attribute.text = Some(v1::value::Text { value: "ssd".into() });
        assert_eq!(text(&attribute), "ssd");
    }
}
