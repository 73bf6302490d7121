//! `FrameworkInfo` as SUBSCRIBE and UPDATE_FRAMEWORK bring it (src/master/validation.cpp, namespace framework;
//! src/master/master.cpp, validateFramework).

use std::{collections::BTreeSet, num::FpCategory};

use mezzo_api::{
    roles,
    v1::{FrameworkInfo, OfferFilters, framework_info::capability, scheduler::OfferConstraints},
};

use super::{Invalid, validate_id};
use crate::input::Config;

/// Whether the framework has said that it can do this.
pub(crate) fn has_capability(info: &FrameworkInfo, capability: capability::Type) -> bool {
    info.capabilities.iter().any(|held| held.r#type() == capability)
}

/// The roles that the framework subscribes to.
#[allow(deprecated)] // `role` is how frameworks without MULTI_ROLE subscribe
pub(crate) fn roles_of(info: &FrameworkInfo) -> BTreeSet<String> {
    if has_capability(info, capability::Type::MultiRole) {
        info.roles.iter().cloned().collect()
    } else {
        BTreeSet::from([info.role().to_owned()])
    }
}

/// Everything that a `FrameworkInfo` is checked for on its own and against the master's settings.
pub(crate) fn validate(info: &FrameworkInfo, config: &Config) -> Result<(), Invalid> {
    validate_roles(info)?;
    if let Some(id) = info.id.as_ref().filter(|id| !id.value.is_empty()) {
        validate_id(&id.value)?;
    }
    info.offer_filters.values().try_for_each(validate_offer_filters)?;
    let timeout = info.failover_timeout();
    if duration_from_secs(timeout).is_none() {
        return Err(Invalid(format!("The framework failover_timeout ({}) is invalid", general(timeout))));
    }
    if let Some(whitelist) = &config.roles {
        let unknown: BTreeSet<_> = roles_of(info).into_iter().filter(|role| !whitelisted(role, whitelist)).collect();
        if !unknown.is_empty() {
            return Err(Invalid(format!("Roles {} are not present in the master's --roles", braced(&unknown))));
        }
    }
    if info.user == "root" && !config.root_submissions {
        return Err(Invalid::new("User 'root' is not allowed to run frameworks without --root_submissions set"));
    }
    Ok(())
}

fn whitelisted(role: &str, whitelist: &[String]) -> bool {
    role == "*" || whitelist.iter().any(|allowed| allowed == role)
}

#[allow(deprecated)] // `role` is how frameworks without MULTI_ROLE subscribe
fn validate_roles(info: &FrameworkInfo) -> Result<(), Invalid> {
    if !has_capability(info, capability::Type::MultiRole) {
        if !info.roles.is_empty() {
            return Err(Invalid::new(
                "'FrameworkInfo.roles' must not be set when the framework is not MULTI_ROLE capable",
            ));
        }
        return roles::validate(info.role())
            .map_err(|error| Invalid(format!("'FrameworkInfo.role' is not a valid role: {error}")));
    }
    if info.role.is_some() {
        return Err(Invalid::new("'FrameworkInfo.role' must not be set when the framework is MULTI_ROLE capable"));
    }
    let mut seen = BTreeSet::new();
    let duplicates: BTreeSet<_> = info.roles.iter().filter(|role| !seen.insert(role.as_str())).cloned().collect();
    if !duplicates.is_empty() {
        return Err(Invalid(format!("'FrameworkInfo.roles' contains duplicate items: {}", braced(&duplicates))));
    }
    info.roles.iter().try_for_each(|role| {
        roles::validate(role).map_err(|error| Invalid(format!("'FrameworkInfo.roles' contains invalid role: {error}")))
    })
}

fn validate_offer_filters(filters: &OfferFilters) -> Result<(), Invalid> {
    for alternative in filters.min_allocatable_resources.iter().flat_map(|min| &min.quantities) {
        if alternative.quantities.is_empty() {
            return Err(Invalid::new("Resource quantities must contain at least one quantity"));
        }
        for (name, quantity) in &alternative.quantities {
            let wrong = match quantity.value.classify() {
                FpCategory::Infinite => "Infinite values not supported",
                FpCategory::Nan => "NaN not supported",
                FpCategory::Subnormal => "Subnormal values not supported",
                FpCategory::Normal if quantity.value < 0.0 => "Negative values not supported",
                FpCategory::Normal | FpCategory::Zero => continue,
            };
            return Err(Invalid(format!("Invalid resource quantity for '{name}': {wrong}")));
        }
    }
    Ok(())
}

/// Suppressed roles are roles of the framework.
pub(crate) fn validate_suppressed(roles: &BTreeSet<String>, suppressed: &BTreeSet<String>) -> Result<(), Invalid> {
    let foreign: BTreeSet<_> = suppressed.difference(roles).cloned().collect();
    if foreign.is_empty() {
        return Ok(());
    }
    Err(Invalid(format!("Suppressed roles {} are not contained in the set of roles", braced(&foreign))))
}

/// Constraints are for roles of the framework.
pub(crate) fn validate_constraint_roles(
    roles: &BTreeSet<String>,
    constraints: &OfferConstraints,
) -> Result<(), Invalid> {
    match constraints.role_constraints.keys().find(|role| !roles.contains(*role)) {
        Some(role) => Err(Invalid(format!(
            // Mesos has no blank there.
            "Offer constraints specify `role_constraints` for a role '{role}'not contained in the set of roles"
        ))),
        None => Ok(()),
    }
}

/// What may not change by UPDATE_FRAMEWORK; a resubscription keeps the old user and checkpoint silently.
pub(crate) fn validate_update(old: &FrameworkInfo, new: &FrameworkInfo) -> Result<(), Invalid> {
    if old.principal != new.principal {
        return Err(Invalid::new("Changing framework's principal is not allowed."));
    }
    if old.user != new.user {
        return Err(Invalid(format!(
            "Updating 'FrameworkInfo.user' is unsupported; attempted to update from '{}' to '{}'",
            old.user, new.user
        )));
    }
    if old.checkpoint() != new.checkpoint() {
        return Err(Invalid(format!(
            "Updating 'FrameworkInfo.checkpoint' is unsupported; attempted to update from '{}' to '{}'",
            old.checkpoint(),
            new.checkpoint()
        )));
    }
    Ok(())
}

/// Seconds as nanoseconds in 64 bits, if they fit (stout's `Duration::create`).
pub(crate) fn duration_from_secs(seconds: f64) -> Option<i64> {
    let nanos = seconds * 1e9;
    #[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss)] // the range is checked
    (nanos.abs() < i64::MAX as f64).then_some(nanos as i64)
}

/// A set as Mesos prints it: `{ a, b }`.
fn braced(items: &BTreeSet<String>) -> String {
    format!("{{ {} }}", items.iter().map(String::as_str).collect::<Vec<_>>().join(", "))
}

/// A large number as C++ streams print it: `1e+30`, `inf`.
fn general(value: f64) -> String {
    if !value.is_finite() {
        return value.to_string().to_ascii_lowercase();
    }
    let text = format!("{value:.5e}");
    let Some((mantissa, exponent)) = text.split_once('e') else { return text };
    let mantissa = if mantissa.contains('.') { mantissa.trim_end_matches('0').trim_end_matches('.') } else { mantissa };
    let (sign, digits) = exponent.strip_prefix('-').map_or(('+', exponent), |digits| ('-', digits));
    format!("{mantissa}e{sign}{digits:0>2}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_as_in_mesos() {
        assert_eq!(general(1e30), "1e+30");
        assert_eq!(general(-1.25e12), "-1.25e+12");
        assert_eq!(general(f64::INFINITY), "inf");
        assert_eq!(duration_from_secs(1.5), Some(1_500_000_000));
        assert_eq!(duration_from_secs(1e10), None);
        assert_eq!(duration_from_secs(f64::NAN), None);
    }
}
