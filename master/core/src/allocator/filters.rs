//! Refused resources: not offered again for a while to who refused them, unless there is more.

use std::{collections::BTreeMap, time::Duration};

use mezzo_api::{resources::Resources, v1};
use smallvec::SmallVec;

use super::clients::ClientKey;
use crate::keys::AgentKey;

/// Filters expire together within this.
const BUCKET: Duration = Duration::from_millis(50);

/// Longer ones are cut (src/master/allocator/mesos/hierarchical.cpp).
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

/// How long a framework refuses, by what it sent: the default is 5 seconds; 0 is no filter (`None`).
pub(crate) fn refusal(filters: Option<&v1::Filters>) -> Option<Duration> {
    let default = v1::Filters::default().refuse_seconds();
    let seconds = filters.map_or(default, v1::Filters::refuse_seconds);
    let duration = if seconds >= 0.0 && seconds * 1e9 < i64::MAX as f64 {
        Duration::from_secs_f64(seconds)
    } else if seconds > 0.0 {
        LONGEST
    } else {
        Duration::from_secs_f64(default)
    };
    Some(duration.min(LONGEST)).filter(|duration| !duration.is_zero())
}

/// What a client refused of one agent.
#[derive(Debug, Default)]
pub(super) struct Filters(SmallVec<[(Resources, Duration); 1]>);

impl Filters {
    /// A filter that covers an older one with an earlier end takes its place.
    pub(super) fn add(&mut self, refused: Resources, expires: Duration) {
        self.0.retain(|(older, end)| *end > expires || !refused.contains(older));
        self.0.push((refused, expires));
    }

    pub(super) fn expire(&mut self, now: Duration) -> bool {
        let before = self.0.len();
        self.0.retain(|(_, expires)| *expires > now || mezzo_api::mutant!("filter-never-expires"));
        self.0.len() < before
    }

    pub(super) fn cover(&self, resources: &Resources, now: Duration) -> bool {
        if mezzo_api::mutant!("filter-ignored") {
            return false;
        }
        let lasting = mezzo_api::mutant!("filter-never-expires");
        self.0.iter().any(|(refused, expires)| (*expires > now || lasting) && refused.contains(resources))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// When filters end, in buckets.
#[derive(Debug, Default)]
pub(super) struct Expiries(BTreeMap<Duration, Vec<(ClientKey, AgentKey)>>);

impl Expiries {
    /// The answer is when the filter ends.
    pub(super) fn add(&mut self, at: Duration, client: ClientKey, agent: AgentKey) -> Duration {
        let buckets = at.as_nanos().div_ceil(BUCKET.as_nanos());
        let end = BUCKET * u32::try_from(buckets).unwrap_or(u32::MAX);
        self.0.entry(end).or_default().push((client, agent));
        end
    }

    pub(super) fn next(&self) -> Option<Duration> {
        self.0.first_key_value().map(|(at, _)| *at)
    }

    /// Those that have ended.
    pub(super) fn pop(&mut self, now: Duration) -> Option<Vec<(ClientKey, AgentKey)>> {
        let entry = self.0.first_entry()?;
        if *entry.key() > now { None } else { Some(entry.remove()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_read_as_in_mesos() {
        let refuse = |seconds| refusal(Some(&v1::Filters { refuse_seconds: Some(seconds) }));
        let five = Some(Duration::from_secs(5));
        assert_eq!(refusal(None), five);
        assert_eq!(refusal(Some(&v1::Filters { refuse_seconds: None })), five);
        assert_eq!(refuse(0.0), None);
        assert_eq!(refuse(-1.0), five);
        assert_eq!(refuse(f64::NAN), five);
        assert_eq!(refuse(1.5), Some(Duration::from_millis(1500)));
        assert_eq!(refuse(1e9), Some(LONGEST));
    }
}
