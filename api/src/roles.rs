//! The rules of role names (src/common/roles.cpp). Roles form a tree by their `/`.

/// Why a text is no role.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RoleError {
    /// It is empty.
    #[error("Role names cannot be the empty string")]
    Empty,
    /// It begins with `/`.
    #[error("Role '{0}' cannot start with a slash")]
    LeadingSlash(String),
    /// It ends with `/`.
    #[error("Role '{0}' cannot end with a slash")]
    TrailingSlash(String),
    /// It has `//` in it.
    #[error("Role '{0}' cannot contain two adjacent slashes")]
    AdjacentSlashes(String),
    /// A component is `.`, `..` or `*`.
    #[error("Role '{role}' cannot include '{component}' as a component")]
    ForbiddenComponent {
        /// The role.
        role: String,
        /// The component.
        component: String,
    },
    /// A component begins with `-`.
    #[error("Role component '{0}' is invalid because it starts with a dash")]
    LeadingDash(String),
    /// A component has white space or DEL in it.
    #[error("Role component '{0}' is invalid because it contains backspace or whitespace")]
    ForbiddenCharacter(String),
}

/// Whether `role` may be a role's name. `*` is the default role.
pub fn validate(role: &str) -> Result<(), RoleError> {
    if role == "*" {
        return Ok(());
    }
    if role.is_empty() {
        return Err(RoleError::Empty);
    }
    if role.starts_with('/') {
        return Err(RoleError::LeadingSlash(role.into()));
    }
    if role.ends_with('/') {
        return Err(RoleError::TrailingSlash(role.into()));
    }
    if role.contains("//") {
        return Err(RoleError::AdjacentSlashes(role.into()));
    }
    role.split('/').try_for_each(|component| validate_component(role, component))
}

fn validate_component(role: &str, component: &str) -> Result<(), RoleError> {
    if matches!(component, "." | ".." | "*") {
        return Err(RoleError::ForbiddenComponent { role: role.into(), component: component.into() });
    }
    if component.starts_with('-') {
        return Err(RoleError::LeadingDash(component.into()));
    }
    if component.bytes().any(|byte| matches!(byte, 0x09..=0x0d | b' ' | 0x7f)) {
        return Err(RoleError::ForbiddenCharacter(component.into()));
    }
    Ok(())
}

/// Whether `role` lies below `ancestor` in the tree of roles.
pub fn is_strict_subrole(role: &str, ancestor: &str) -> bool {
    role.strip_prefix(ancestor).is_some_and(|rest| rest.starts_with('/'))
}

/// The roles above `role`, the nearest first.
pub fn ancestors(role: &str) -> impl Iterator<Item = &str> {
    role.rmatch_indices('/').map(|(at, _)| &role[..at])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for good in ["*", "dev", "dev/web", "a.b", "dév", "a-b", "..."] {
            assert_eq!(validate(good), Ok(()), "{good}");
        }
        for bad in ["", "/", "/dev", "dev/", "a//b", ".", "a/..", "a/*", "-a", "a/-b", "a b", "a\tb", "a\u{7f}"] {
            assert!(validate(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn tree() {
        assert!(is_strict_subrole("a/b", "a"));
        assert!(!is_strict_subrole("a", "a"));
        assert!(!is_strict_subrole("ab", "a"));
        assert_eq!(ancestors("a/b/c").collect::<Vec<_>>(), ["a/b", "a"]);
    }
}
