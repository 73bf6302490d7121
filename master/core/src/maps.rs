//! Maps by hash, with a hasher that takes a fraction of the standard library's time. Its seed is another one in each
//! process, so that who chooses ids cannot choose them for what they hash to; and nobody goes through a map whose order
//! depends on it.

use foldhash::fast::RandomState;

pub(crate) type HashMap<K, V> = std::collections::HashMap<K, V, RandomState>;
pub(crate) type HashSet<T> = std::collections::HashSet<T, RandomState>;
pub(crate) type IndexMap<K, V> = indexmap::IndexMap<K, V, RandomState>;
pub(crate) type IndexSet<T> = indexmap::IndexSet<T, RandomState>;
