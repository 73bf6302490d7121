//! `HealthCheck` and `CheckInfo`.

use mezzo_api::v1::{CheckInfo, HealthCheck, check_info, health_check};

use super::{Invalid, command::validate_check_command};

/// src/common/validation.cpp, validateHealthCheck.
pub(super) fn validate_health_check(check: &HealthCheck) -> Result<(), Invalid> {
    if check.r#type.is_none() {
        return Err(Invalid::new("HealthCheck must specify 'type'"));
    }
    match check.r#type() {
        health_check::Type::Unknown => return Err(Invalid::new("'UNKNOWN' is not a valid health check type")),
        health_check::Type::Command => match &check.command {
            None => return Err(expecting("command", "COMMAND health check")),
            Some(command) => {
                validate_check_command("Command health check", "Health check's `CommandInfo` is invalid", command)?;
            }
        },
        health_check::Type::Http => match &check.http {
            None => return Err(expecting("http", "HTTP health check")),
            Some(http) => {
                if let Some(scheme) = http.scheme.as_deref()
                    && !matches!(scheme, "http" | "https")
                {
                    return Err(Invalid(format!("Unsupported HTTP health check scheme: '{scheme}'")));
                }
                validate_path(http.path.as_deref(), "HTTP health check")?;
            }
        },
        health_check::Type::Tcp if check.tcp.is_none() => return Err(expecting("tcp", "TCP health check")),
        health_check::Type::Tcp => {}
    }
    non_negative(&[
        ("delay_seconds", check.delay_seconds),
        ("grace_period_seconds", check.grace_period_seconds),
        ("interval_seconds", check.interval_seconds),
        ("timeout_seconds", check.timeout_seconds),
    ])
}

/// src/common/validation.cpp, validateCheckInfo.
pub(super) fn validate_check(check: &CheckInfo) -> Result<(), Invalid> {
    if check.r#type.is_none() {
        return Err(Invalid::new("CheckInfo must specify 'type'"));
    }
    match check.r#type() {
        check_info::Type::Unknown => return Err(Invalid::new("'UNKNOWN' is not a valid check type")),
        check_info::Type::Command => match &check.command {
            None => return Err(expecting("command", "COMMAND check")),
            Some(command) => {
                validate_check_command("Command check", "Check's `CommandInfo` is invalid", &command.command)?;
            }
        },
        check_info::Type::Http => match &check.http {
            None => return Err(expecting("http", "HTTP check")),
            Some(http) => validate_path(http.path.as_deref(), "HTTP check")?,
        },
        check_info::Type::Tcp if check.tcp.is_none() => return Err(expecting("tcp", "TCP check")),
        check_info::Type::Tcp => {}
    }
    non_negative(&[
        ("delay_seconds", check.delay_seconds),
        ("interval_seconds", check.interval_seconds),
        ("timeout_seconds", check.timeout_seconds),
    ])
}

fn expecting(field: &str, kind: &str) -> Invalid {
    Invalid(format!("Expecting '{field}' to be set for {kind}"))
}

fn validate_path(path: Option<&str>, kind: &str) -> Result<(), Invalid> {
    match path {
        Some(path) if !path.starts_with('/') => {
            Err(Invalid(format!("The path '{path}' of {kind} must start with '/'")))
        }
        _ => Ok(()),
    }
}

fn non_negative(fields: &[(&str, Option<f64>)]) -> Result<(), Invalid> {
    match fields.iter().find(|(_, value)| value.is_some_and(|value| value < 0.0)) {
        Some((field, _)) => Err(Invalid(format!("Expecting '{field}' to be non-negative"))),
        None => Ok(()),
    }
}
