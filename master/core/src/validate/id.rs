//! The rule that ids of frameworks, tasks, executors, agents and volumes share.

use super::Invalid;

const NAME_MAX: usize = 255;

/// Ids become names of directories (src/common/validation.cpp, validateID).
pub(crate) fn validate_id(id: &str) -> Result<(), Invalid> {
    if id.is_empty() {
        return Err(Invalid::new("ID must not be empty"));
    }
    if id.len() > NAME_MAX {
        return Err(Invalid(format!("ID must not be greater than {NAME_MAX} characters")));
    }
    if matches!(id, "." | "..") {
        return Err(Invalid(format!("'{id}' is disallowed")));
    }
    if id.bytes().any(|byte| byte.is_ascii_control() || matches!(byte, b'/' | b'\\')) {
        return Err(Invalid(format!("'{id}' contains invalid characters")));
    }
    Ok(())
}
