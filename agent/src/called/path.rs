//! Where a container stands: its root first, each within the one before.

use std::fmt;

use mezzo_api::{ids::ContainerId, v1};

/// A container's whole id.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ContainerPath(Vec<String>);

impl ContainerPath {
    /// As it was written down.
    pub(super) fn of_parts(parts: Vec<String>) -> Option<Self> {
        (!parts.is_empty()).then_some(Self(parts))
    }

    /// The values, the root's first.
    pub(crate) fn parts(&self) -> &[String] {
        &self.0
    }

    /// The value of the outermost one.
    pub(crate) fn root(&self) -> &str {
        &self.0[0]
    }

    /// The one around it.
    pub(crate) fn parent(&self) -> Option<Self> {
        Self::of_parts(self.0[..self.0.len() - 1].to_vec())
    }

    /// Whether it lies within `other`, however deep.
    pub(crate) fn is_within(&self, other: &Self) -> bool {
        self.0.len() > other.0.len() && self.0.starts_with(&other.0)
    }

    /// What the containerizer calls it, if a call was for it.
    pub(crate) fn id(&self) -> ContainerId {
        ContainerId::from(self.to_string())
    }

    /// As a message.
    pub(crate) fn proto(&self) -> v1::ContainerId {
        let mut message: Option<v1::ContainerId> = None;
        for value in &self.0 {
            message = Some(v1::ContainerId { value: value.clone(), parent: message.map(Box::new) });
        }
        message.unwrap_or_default()
    }
}

impl From<&v1::ContainerId> for ContainerPath {
    fn from(message: &v1::ContainerId) -> Self {
        let mut parts = vec![message.value.clone()];
        let mut at = message;
        while let Some(parent) = &at.parent {
            parts.push(parent.value.clone());
            at = parent;
        }
        parts.reverse();
        Self(parts)
    }
}

/// `<root>.<child>.<grandchild>` (include/mesos/type_utils.hpp).
impl fmt::Display for ContainerPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("."))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_and_paths_are_the_same() {
        let root = v1::ContainerId { value: "a".into(), parent: None };
        let child = v1::ContainerId { value: "b".into(), parent: Some(Box::new(root.clone())) };
        let path = ContainerPath::from(&child);
        assert_eq!((path.to_string().as_str(), path.root()), ("a.b", "a"));
        assert_eq!(path.proto(), child);
        assert_eq!(path.parent(), Some(ContainerPath::from(&root)));
        assert!(path.is_within(&ContainerPath::from(&root)) && !path.is_within(&path));
        assert_eq!(ContainerPath::from(&root).parent(), None);
    }
}
