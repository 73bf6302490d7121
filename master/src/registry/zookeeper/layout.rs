//! Where records stand below `<path>_registry`: one directory for each kind, in buckets where there may be many, since the
//! list of a znode's children must stay below the 1 MB of one answer.

use std::fmt::Write;

/// What a record is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// Agents: admitted, unreachable or gone.
    Agent,
    /// Frameworks that were torn down.
    Framework,
    /// What operators want of agents.
    Standing,
    /// Quota of roles.
    Quota,
    /// Weights of roles.
    Weight,
    /// Machines of the maintenance schedule.
    Machine,
}

/// As many buckets has a kind of which there may be many.
const BUCKETS: u32 = 256;

impl Kind {
    /// All of them.
    pub(crate) const ALL: [Self; 6] =
        [Self::Agent, Self::Framework, Self::Standing, Self::Quota, Self::Weight, Self::Machine];

    /// The directory's name.
    pub(crate) fn directory(self) -> &'static str {
        match self {
            Self::Agent => "agents",
            Self::Framework => "frameworks",
            Self::Standing => "standings",
            Self::Quota => "quotas",
            Self::Weight => "weights",
            Self::Machine => "machines",
        }
    }

    /// Whether its records stand in buckets.
    fn in_buckets(self) -> bool {
        match self {
            Self::Agent | Self::Framework | Self::Machine => true,
            // Few agents are drained or deactivated at a time.
            Self::Standing | Self::Quota | Self::Weight => false,
        }
    }

    /// The znodes that hold its records, below the root.
    pub(crate) fn parents(self) -> Vec<String> {
        let directory = self.directory();
        if self.in_buckets() {
            (0..BUCKETS).map(|bucket| format!("{directory}/{bucket:02x}")).collect()
        } else {
            vec![directory.to_owned()]
        }
    }
}

/// A record's place below the root.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Place(String);

impl Place {
    /// Of the entity with this id.
    pub(crate) fn of(kind: Kind, id: &str) -> Self {
        let (directory, name) = (kind.directory(), escaped(id));
        Self(if kind.in_buckets() {
            format!("{directory}/{:02x}/{name}", crc32fast::hash(id.as_bytes()) % BUCKETS)
        } else {
            format!("{directory}/{name}")
        })
    }

    /// As found: a child of one of [`Kind::parents`].
    pub(crate) fn found(parent: &str, name: &str) -> Self {
        Self(format!("{parent}/{name}"))
    }

    /// The path below the root.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// The id of which it is the place; `None` if no id stands here.
    pub(crate) fn id(&self, kind: Kind) -> Option<String> {
        let id = unescaped(self.0.rsplit('/').next()?)?;
        (Self::of(kind, &id) == *self).then_some(id)
    }
}

/// Ids as names of znodes: what a name may not have, and `%` itself, is written as `%` and two digits for each byte.
fn escaped(id: &str) -> String {
    let mut name = String::with_capacity(id.len());
    for byte in id.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_:@+=,~".contains(&byte) {
            name.push(char::from(byte));
        } else if byte == b'.' && !id.starts_with('.') {
            name.push('.');
        } else {
            let _ = write!(name, "%{byte:02x}"); // into memory
        }
    }
    name
}

fn unescaped(name: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(name.len());
    let mut rest = name.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        if *first == b'%' {
            let digits = std::str::from_utf8(after.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = after.get(2..)?;
        } else {
            bytes.push(*first);
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_id_has_a_place_of_its_own_and_is_found_again() {
        let ids = ["b1-S0", "a/b", ".", "..", "x.y", ".x", "100%", "%41", "A", "ü \n\u{0}\u{f8ff}", "zookeeper", "dev"];
        for kind in Kind::ALL {
            let places: std::collections::BTreeSet<Place> = ids.iter().map(|id| Place::of(kind, id)).collect();
            assert_eq!(places.len(), ids.len());
            for id in ids {
                let place = Place::of(kind, id);
                assert_eq!(place.id(kind).as_deref(), Some(id));
                let (parent, name) = place.as_str().rsplit_once('/').unwrap();
                assert!(kind.parents().iter().any(|known| known == parent), "{parent}");
                assert!(!name.is_empty() && !matches!(name, "." | ".."), "{name}");
                assert_eq!(Place::found(parent, name), place);
            }
        }
    }

    #[test]
    fn what_is_no_place_of_ours_names_no_id() {
        for (parent, name) in [("agents/00", "%4"), ("agents/00", "%zz"), ("agents/00", "%ff"), ("agents/zz", "a")] {
            assert_eq!(Place::found(parent, name).id(Kind::Agent), None, "{parent}/{name}");
        }
        let other = (0..BUCKETS).map(|bucket| Place::found(&format!("agents/{bucket:02x}"), "a"));
        assert_eq!(other.filter(|place| place.id(Kind::Agent).is_some()).count(), 1);
    }
}
