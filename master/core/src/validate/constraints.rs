//! Offer constraints: which agents a framework wants offers of (src/master/allocator/mesos/offer_constraints_filter.cpp).

use std::{collections::BTreeMap, fmt};

use mezzo_api::v1::{
    Attribute,
    scheduler::{
        AttributeConstraint, OfferConstraints,
        attribute_constraint::{predicate::Predicate, selector::PseudoattributeType, selector::Selector},
    },
    value,
};
use regex::Regex;

use super::Invalid;
use crate::{description::Description, model::Framework};

/// The largest count in a repetition, as in RE2.
const MAX_REPETITION: u64 = 1000;

/// Compiled program size that stands for `--offer_constraints_re2_max_mem` and `…_max_program_size`.
const MAX_PROGRAM_BYTES: usize = 64 * 1024;

/// Compiled constraints: per role, any group of which all constraints hold.
pub struct ConstraintFilter {
    roles: BTreeMap<String, Vec<Vec<Constraint>>>,
}

struct Constraint {
    selector: Selector,
    test: Test,
}

enum Test {
    Exists,
    NotExists,
    Equals(String),
    NotEquals(String),
    Matches(Regex),
    NotMatches(Regex),
}

/// What a selector finds on an agent.
enum Found<'a> {
    Nothing,
    Text(&'a str),
    /// An attribute that is no text: text predicates hold for it whatever they say.
    Other,
}

impl fmt::Debug for ConstraintFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ConstraintFilter").field(&self.roles.keys()).finish()
    }
}

impl ConstraintFilter {
    /// Those of a framework that subscribed with them.
    pub fn of(framework: &Framework) -> Option<Self> {
        Self::new(framework.offer_constraints.as_deref()?).ok()
    }

    /// Compiles what a framework asked for.
    pub(crate) fn new(constraints: &OfferConstraints) -> Result<Self, Invalid> {
        let mut roles = BTreeMap::new();
        for (role, wanted) in &constraints.role_constraints {
            if wanted.groups.is_empty() {
                return Err(Invalid(format!(
                    "'OfferConstraints::role_constraints' has an empty 'RoleConstraints::groups' for role {role}"
                )));
            }
            let mut groups = Vec::with_capacity(wanted.groups.len());
            for group in &wanted.groups {
                if group.attribute_constraints.is_empty() {
                    return Err(Invalid(format!(
                        // Mesos has no blank there.
                        "'OfferConstraints::RoleConstraints::groups' for role {role}contains an empty RoleConstraints::Group"
                    )));
                }
                let compiled: Result<Vec<_>, _> = group.attribute_constraints.iter().map(Constraint::new).collect();
                groups.push(compiled.map_err(|invalid| {
                    Invalid(format!("A role {role} has an invalid 'AttributeConstraint': {invalid}"))
                })?);
            }
            roles.insert(role.clone(), groups);
        }
        Ok(Self { roles })
    }

    /// Whether it says anything of the role.
    pub(crate) fn is_about(&self, role: &str) -> bool {
        self.roles.contains_key(role)
    }

    /// Whether offers of the agent are wanted for the role.
    pub fn allows(&self, role: &str, agent: &Description) -> bool {
        let Some(groups) = self.roles.get(role) else { return true };
        groups.iter().any(|group| group.iter().all(|constraint| constraint.holds(agent)))
    }
}

impl Constraint {
    fn new(constraint: &AttributeConstraint) -> Result<Self, Invalid> {
        let selector = match &constraint.selector.selector {
            None => {
                return Err(Invalid::new(
                    "Exactly one of 'AttributeConstraint::Selector::name' or 'AttributeConstraint::Selector::pseudoattribute_type' must be set",
                ));
            }
            Some(Selector::PseudoattributeType(kind))
                if matches!(PseudoattributeType::try_from(*kind), Err(_) | Ok(PseudoattributeType::Unknown)) =>
            {
                return Err(Invalid::new("Unknown pseudoattribute type"));
            }
            Some(selector) => selector.clone(),
        };
        let test = match &constraint.predicate.predicate {
            None => return Err(Invalid::new("Unknown predicate type")),
            Some(Predicate::Exists(_)) => Test::Exists,
            Some(Predicate::NotExists(_)) => Test::NotExists,
            Some(Predicate::TextEquals(wanted)) => Test::Equals(wanted.value.clone()),
            Some(Predicate::TextNotEquals(wanted)) => Test::NotEquals(wanted.value.clone()),
            Some(Predicate::TextMatches(wanted)) => Test::Matches(compile(&wanted.regex)?),
            Some(Predicate::TextNotMatches(wanted)) => Test::NotMatches(compile(&wanted.regex)?),
        };
        Ok(Self { selector, test })
    }

    fn holds(&self, agent: &Description) -> bool {
        match (&self.test, select(&self.selector, agent)) {
            (Test::Exists, found) => !matches!(found, Found::Nothing),
            (Test::NotExists, found) => matches!(found, Found::Nothing),
            (Test::NotEquals(_) | Test::NotMatches(_), Found::Nothing) => true,
            (Test::Equals(_) | Test::Matches(_), Found::Nothing) => false,
            (_, Found::Other) => true,
            (Test::Equals(wanted), Found::Text(text)) => text == wanted,
            (Test::NotEquals(wanted), Found::Text(text)) => text != wanted,
            (Test::Matches(wanted), Found::Text(text)) => wanted.is_match(text),
            (Test::NotMatches(wanted), Found::Text(text)) => !wanted.is_match(text),
        }
    }
}

fn select<'a>(selector: &Selector, agent: &'a Description) -> Found<'a> {
    let fault_domain = agent.domain().and_then(|domain| domain.fault_domain.as_ref());
    match selector {
        Selector::AttributeName(name) => {
            agent.attributes().iter().find(|attribute| attribute.name == *name).map_or(Found::Nothing, found)
        }
        Selector::PseudoattributeType(kind) => match PseudoattributeType::try_from(*kind) {
            Ok(PseudoattributeType::Hostname) => Found::Text(agent.hostname()),
            Ok(PseudoattributeType::Region) => {
                fault_domain.map_or(Found::Nothing, |domain| Found::Text(&domain.region.name))
            }
            Ok(PseudoattributeType::Zone) => {
                fault_domain.map_or(Found::Nothing, |domain| Found::Text(&domain.zone.name))
            }
            Ok(PseudoattributeType::Unknown) | Err(_) => Found::Nothing,
        },
    }
}

fn found(attribute: &Attribute) -> Found<'_> {
    match (attribute.r#type(), &attribute.text) {
        (value::Type::Text, Some(text)) => Found::Text(&text.value),
        _ => Found::Other,
    }
}

/// Compiles a pattern that must match the whole text.
fn compile(pattern: &str) -> Result<Regex, Invalid> {
    let refuse = |why: String| Invalid(format!("Failed to construct regex from pattern '{pattern}': {why}"));
    if let Some(repetition) = excessive_repetition(pattern) {
        return Err(refuse(format!("invalid repetition size: {repetition}")));
    }
    regex::RegexBuilder::new(&format!(r"\A(?:{pattern})\z"))
        .size_limit(MAX_PROGRAM_BYTES)
        .build()
        .map_err(|error| match error {
            regex::Error::CompiledTooBig(size) => Invalid(format!(
                "Regex '{pattern}' is too complex: program size of more than {size} is larger than maximum of {size} allowed"
            )),
            _ if unclosed_group(pattern) => refuse(format!("missing ): {pattern}")),
            error => refuse(error.to_string().lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned()),
        })
}

/// The first `{…}` that asks for more than RE2 allows, nested repetitions multiplied.
fn excessive_repetition(pattern: &str) -> Option<String> {
    // For each open group the largest product of repetitions inside it so far.
    let mut open: Vec<u64> = vec![1];
    let mut last = 1; // of the expression that a repetition would apply to
    let mut rest = pattern.char_indices();
    while let Some((at, character)) = rest.next() {
        match character {
            '\\' => drop(rest.next()),
            '(' => open.push(1),
            ')' => {
                last = if open.len() > 1 { open.pop().unwrap_or(1) } else { 1 };
                if let Some(outer) = open.last_mut() {
                    *outer = last.max(*outer);
                }
                continue;
            }
            '{' => {
                let text = &pattern[at..];
                let Some(end) = text.find('}') else { continue };
                let counts: Vec<u64> = text[1..end].split(',').filter_map(|count| count.parse().ok()).collect();
                let Some(most) = counts.into_iter().max() else { continue };
                last = last.saturating_mul(most.max(1));
                if last > MAX_REPETITION {
                    return Some(text[..=end].to_owned());
                }
                if let Some(group) = open.last_mut() {
                    *group = last.max(*group);
                }
                continue;
            }
            _ => {}
        }
        last = 1;
    }
    None
}

fn unclosed_group(pattern: &str) -> bool {
    let mut depth = 0_i64;
    let mut escaped = false;
    for character in pattern.chars() {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
    }
    depth > 0
}
