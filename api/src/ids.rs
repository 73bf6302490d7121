//! Ids as types: an agent's id is never taken for a task's. Cloning is cheap.

use std::{borrow::Borrow, fmt, sync::Arc};

use crate::v1;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $proto:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// The id as its wire message.
            #[allow(clippy::needless_update)] // ContainerID has a parent beside its value
            pub fn proto(&self) -> v1::$proto {
                v1::$proto { value: self.as_str().to_owned(), ..Default::default() }
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.into())
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self(text.into())
            }
        }

        impl From<&v1::$proto> for $name {
            fn from(id: &v1::$proto) -> Self {
                Self(id.value.as_str().into())
            }
        }

        impl From<v1::$proto> for $name {
            fn from(id: v1::$proto) -> Self {
                Self(id.value.into())
            }
        }

        impl From<&$name> for v1::$proto {
            fn from(id: &$name) -> Self {
                id.proto()
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
    };
}

id!(
    /// An agent's id, `<master UUID>-S<n>`: given at its first registration, kept for its life.
    AgentId, AgentId
);
id!(
    /// A framework's id, `<master UUID>-<nnnn>`: given at its first subscription, kept through failovers.
    FrameworkId, FrameworkId
);
id!(
    /// A task's id, chosen by its framework and unique within it.
    TaskId, TaskId
);
id!(
    /// An executor's id, chosen by its framework and unique within it on one agent.
    ExecutorId, ExecutorId
);
id!(
    /// An offer's id, `<master UUID>-O<n>`.
    OfferId, OfferId
);
id!(
    /// A container's id: a UUID made by the agent for each run of an executor.
    ContainerId, ContainerId
);
id!(
    /// An operation's id, chosen by its framework.
    OperationId, OperationId
);
