//! The allocator's gauges, under Mesos' names (src/master/allocator/mesos/metrics.cpp, sorter/drf/metrics.cpp).

use std::{collections::BTreeMap, time::Duration};

use super::{Allocator, amounts::Amounts, tree::Role};
use crate::input::Sorter;

/// What counts against a quota: reservations, allocated or not, and what is taken without one.
fn consumed(role: &Role) -> Amounts {
    let mut consumed = role.reserved.clone();
    consumed.plus(&role.unreserved);
    consumed
}

impl Allocator {
    /// Names and values; `offered` tells roles that hold offers just now.
    pub(crate) fn metrics(&self, now: Duration, offered: &impl Fn(&str) -> bool) -> Vec<(String, f64)> {
        let mut metrics = Vec::new();
        self.resource_metrics(&mut metrics);
        let mut longest = Duration::ZERO;
        for starving in self.starving(now, offered) {
            longest = longest.max(starving.time);
            metrics.push((format!("roles/{}/starved_secs", starving.role), starving.time.as_secs_f64()));
        }
        metrics.push(("longest_starved_secs".into(), longest.as_secs_f64()));
        let mut filters: BTreeMap<&str, usize> = BTreeMap::new();
        for (_, client) in self.clients.iter() {
            *filters.entry(&*self.tree.get(client.role).name).or_default() += client.filters.len();
        }
        for (role, count) in filters {
            #[allow(clippy::cast_precision_loss)] // counts are told as doubles
            metrics.push((format!("offer_filters/roles/{role}/active"), count as f64));
        }
        self.role_metrics(&mut metrics);
        for (name, _) in &mut metrics {
            name.insert_str(0, "allocator/mesos/");
        }
        metrics
    }

    /// The roles' part: what they consume and are promised, and their dominant shares. The root of all roles has no name.
    fn role_metrics(&self, metrics: &mut Vec<(String, f64)>) {
        let all = consumed(self.tree.root());
        for name in all.names() {
            let metric = format!("quota/roles//resources/{}/consumed", self.names.text(name));
            metrics.push((metric, all.get(name).as_f64()));
        }
        for key in self.tree.all() {
            let role = self.tree.get(key);
            let mut push = |what: &str, amounts: &Amounts| {
                for name in amounts.names() {
                    let resource = self.names.text(name);
                    let metric = format!("quota/roles/{}/resources/{resource}/{what}", role.name);
                    metrics.push((metric, amounts.get(name).as_f64()));
                }
            };
            push("consumed", &consumed(role));
            if let Some(bound) = &role.quota {
                push("guarantee", &bound.guarantees);
                push("offered_or_allocated", &role.unreserved);
                for (name, limit) in &bound.limits {
                    let resource = self.names.text(*name);
                    metrics.push((format!("quota/roles/{}/resources/{resource}/limit", role.name), limit.as_f64()));
                }
            }
            if self.role_sorter == Sorter::Drf {
                metrics.push((format!("roles/{}/shares/dominant", role.name), role.share()));
            }
        }
    }

    /// What there is, and what is taken of it.
    fn resource_metrics(&self, metrics: &mut Vec<(String, f64)>) {
        let taken = &self.tree.root().held.taken;
        for name in ["cpus", "disk", "mem"] {
            let number = self.names.find(name);
            let of = |amounts: &Amounts| number.map_or(0.0, |number| amounts.get(number).as_f64());
            metrics.push((format!("resources/{name}/total"), of(&self.totals.amounts)));
            metrics.push((format!("resources/{name}/offered_or_allocated"), of(taken)));
        }
    }
}
