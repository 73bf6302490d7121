//! `CommandInfo`: its environment.

use mezzo_api::v1::{CommandInfo, Secret, environment::Variable, environment::variable, secret};

use super::Invalid;

/// src/common/validation.cpp, validateCommandInfo: only the environment is looked at.
pub(super) fn validate_command(command: &CommandInfo) -> Result<(), Invalid> {
    command.environment.iter().flat_map(|environment| &environment.variables).try_for_each(validate_variable)
}

/// A command of a check needs something to run.
pub(super) fn validate_check_command(kind: &str, context: &str, command: &CommandInfo) -> Result<(), Invalid> {
    if command.value.is_none() {
        let what = if command.shell() { "'shell command'" } else { "'executable path'" };
        return Err(Invalid(format!("{kind} must contain {what}")));
    }
    validate_command(command).map_err(|invalid| invalid.within(context))
}

fn validate_variable(variable: &Variable) -> Result<(), Invalid> {
    let name = &variable.name;
    let wrong =
        |kind: &str, what: &str| Err(Invalid(format!("Environment variable '{name}' of type '{kind}' must {what}")));
    match variable.r#type() {
        variable::Type::Unknown => Err(Invalid::new("Environment variable of type 'UNKNOWN' is not allowed")),
        variable::Type::Value if variable.value.is_none() => wrong("VALUE", "have a value set"),
        variable::Type::Value if variable.secret.is_some() => wrong("VALUE", "not have a secret set"),
        variable::Type::Value => Ok(()),
        variable::Type::Secret => match &variable.secret {
            None => wrong("SECRET", "have a secret set"),
            Some(_) if variable.value.is_some() => wrong("SECRET", "not have a value set"),
            Some(secret) => validate_variable_secret(name, secret),
        },
    }
}

fn validate_variable_secret(name: &str, secret: &Secret) -> Result<(), Invalid> {
    validate_secret(secret)
        .map_err(|invalid| Invalid(format!("Environment variable '{name}' specifies an invalid secret: {invalid}")))?;
    if secret.value.as_ref().is_some_and(|value| value.data.contains(&0)) {
        return Err(Invalid(format!(
            "Environment variable '{name}' specifies a secret containing null bytes, which is not allowed in the environment"
        )));
    }
    Ok(())
}

fn validate_secret(secret: &Secret) -> Result<(), Invalid> {
    match secret.r#type() {
        secret::Type::Unknown => Ok(()),
        secret::Type::Reference => match &secret.reference {
            None => Err(Invalid::new("Secret of type REFERENCE must have the 'reference' field set")),
            Some(reference) if secret.value.is_some() => Err(Invalid(format!(
                "Secret '{}' of type REFERENCE must not have the 'value' field set",
                reference.name
            ))),
            Some(_) => Ok(()),
        },
        secret::Type::Value if secret.value.is_none() => {
            Err(Invalid::new("Secret of type VALUE must have the 'value' field set"))
        }
        secret::Type::Value if secret.reference.is_some() => {
            Err(Invalid::new("Secret of type VALUE must not have the 'reference' field set"))
        }
        secret::Type::Value => Ok(()),
    }
}
