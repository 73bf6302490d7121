//! The text format of Prometheus, from metrics with Mesos' names, and histograms beside them
//! (prometheus.io/docs/instrumenting/exposition_formats).
//!
//! `master/tasks_running` becomes `mezzo_master_tasks_running`. What is data in Mesos' names, as frameworks, roles and
//! reasons are, becomes labels, so that there is a fixed number of families.

use std::{collections::BTreeMap, fmt::Write, time::Duration};

/// Upper bounds of a histogram's buckets, in seconds.
const BOUNDS: [f64; 16] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0, 120.0];

/// How often something took how long.
#[derive(Clone, Debug)]
pub struct Histogram {
    name: &'static str,
    help: &'static str,
    counts: [u64; BOUNDS.len()],
    count: u64,
    sum: f64,
}

impl Histogram {
    /// An empty one; the name ends in `_seconds`.
    pub fn new(name: &'static str, help: &'static str) -> Self {
        Self { name, help, counts: [0; BOUNDS.len()], count: 0, sum: 0.0 }
    }

    /// Something took so long.
    pub fn record(&mut self, duration: Duration) {
        let seconds = duration.as_secs_f64();
        if let Some(bucket) = BOUNDS.iter().position(|bound| seconds <= *bound) {
            self.counts[bucket] += 1;
        }
        self.count += 1;
        self.sum += seconds;
    }

    /// How often something was recorded.
    pub fn count(&self) -> u64 {
        self.count
    }

    fn write(&self, out: &mut String) {
        let Self { name, help, .. } = self;
        // A String takes everything.
        let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} histogram");
        let mut below = 0;
        for (bound, count) in BOUNDS.iter().zip(self.counts) {
            below += count;
            let _ = writeln!(out, "{name}_bucket{{le=\"{bound}\"}} {below}");
        }
        let _ =
            writeln!(out, "{name}_bucket{{le=\"+Inf\"}} {0}\n{name}_sum {1}\n{name}_count {0}", self.count, self.sum);
    }
}

/// The media type of [`render`]'s text.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// All of it, family by family.
pub fn render(metrics: &BTreeMap<String, f64>, histograms: &[Histogram]) -> String {
    let mut families: BTreeMap<String, Vec<(String, f64, bool)>> = BTreeMap::new();
    for (name, value) in metrics {
        let Some(sample) = sample(name) else { continue };
        families.entry(sample.family).or_default().push((sample.labels, *value, sample.counter));
    }
    let mut out = String::with_capacity(64 * metrics.len());
    for (family, samples) in families {
        let kind = if samples.iter().all(|(.., counter)| *counter) { "counter" } else { "gauge" };
        let _ = writeln!(out, "# TYPE {family} {kind}");
        for (labels, value, _) in samples {
            let _ = writeln!(out, "{family}{labels} {value}");
        }
    }
    histograms.iter().for_each(|histogram| histogram.write(&mut out));
    out
}

struct Sample {
    family: String,
    labels: String,
    counter: bool,
}

/// Where a metric of Mesos' goes; percentiles go nowhere, histograms tell more.
fn sample(name: &str) -> Option<Sample> {
    let parts: Vec<&str> = name.split('/').collect();
    let of = |family: &str, labels: &[(&str, &str)], counter: bool| {
        let mut family = format!("mezzo_{}", plain(family));
        if counter && !family.ends_with("_total") {
            family.push_str("_total");
        }
        Some(Sample { family, labels: braces(labels), counter })
    };
    match parts.as_slice() {
        [.., "count" | "max" | "min" | "p50" | "p90" | "p95" | "p99" | "p999" | "p9999"] => None,
        ["master", "frameworks", framework, id, rest @ ..] => {
            let base = [("framework", *framework), ("framework_id", *id)];
            let with = |key: &'static str, value| [base[0], base[1], (key, value)];
            match rest {
                ["subscribed"] => of("master_framework_subscribed", &base, false),
                ["tasks", "active", state] => of("master_framework_tasks_active", &with("state", state), false),
                ["tasks", "terminal", state] => of("master_framework_tasks_terminal", &with("state", state), true),
                ["roles", role @ .., "suppressed"] => {
                    of("master_framework_suppressed", &with("role", &role.join("/")), false)
                }
                // The sum of what stands below it.
                ["calls" | "events" | "operations"] => None,
                [what, kind] => of(&format!("master_framework_{what}"), &with("kind", kind), true),
                _ => None,
            }
        }
        ["master", state, source, reason] if state.starts_with("task_") => {
            let labels =
                [("state", *state), ("source", strip(source, "source_")), ("reason", strip(reason, "reason_"))];
            of("master_task_ends", &labels, true)
        }
        ["master", "operations", kind, state] => of("master_operations", &[("kind", kind), ("state", state)], false),
        ["master", "operations", _] => None,
        ["frameworks", principal, what] => of(&format!("framework_{what}"), &[("principal", principal)], true),
        ["master", "slave_removals", reason] => {
            of("master_slave_removals_by_reason", &[("reason", strip(reason, "reason_"))], true)
        }
        ["allocator", "mesos", "roles", role @ .., "shares", "dominant"] => {
            of("allocator_role_dominant_share", &[("role", &role.join("/"))], false)
        }
        ["allocator", "mesos", "offer_filters", "roles", role @ .., "active"] => {
            of("allocator_role_offer_filters", &[("role", &role.join("/"))], false)
        }
        ["allocator", "mesos", "quota", "roles", role @ .., "resources", resource, what] => {
            let labels = [("role", &*role.join("/")), ("resource", *resource)];
            of(&format!("allocator_role_quota_{what}"), &labels, false)
        }
        ["allocator", "event_queue_dispatches"] => None,
        ["allocator", "mesos", rest @ ..] => of(&format!("allocator_{}", rest.join("_")), &[], is_counter(name)),
        _ => of(&parts.join("_"), &[], is_counter(name)),
    }
}

fn strip<'a>(text: &'a str, prefix: &str) -> &'a str {
    text.strip_prefix(prefix).unwrap_or(text)
}

/// Names that only grow (docs/monitoring.md of apache/mesos).
fn is_counter(name: &str) -> bool {
    const STARTS: [&str; 13] = [
        "messages_",
        "valid_",
        "invalid_",
        "dropped_messages",
        "slave_",
        "recovery_slave_removals",
        "recovery_errors",
        "allocation_runs",
        "http_cache_hits",
        "container_launch_errors",
        "executors_terminated",
        "executors_preempted",
        "path_removals_",
    ];
    const ENDS: [&str; 8] = ["finished", "failed", "killed", "lost", "error", "dropped", "gone", "gone_by_operator"];
    let last = name.rsplit('/').next().unwrap_or_default();
    if last == "path_removals_pending" {
        return false;
    }
    let ended = last.strip_prefix("tasks_").is_some_and(|state| ENDS.contains(&state));
    ended
        || last.contains("fetches_")
        || last.ends_with("_errors")
        || STARTS.iter().any(|start| last.starts_with(start))
}

/// Letters, digits and `_`.
fn plain(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect()
}

fn braces(labels: &[(&str, &str)]) -> String {
    if labels.is_empty() {
        return String::new();
    }
    let escape = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    let labels: Vec<_> = labels.iter().map(|(key, value)| format!("{key}=\"{}\"", escape(value))).collect();
    format!("{{{}}}", labels.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_in_names_becomes_labels() {
        let metrics = [
            ("master/tasks_running", 3.0),
            ("master/tasks_lost", 1.0),
            ("master/uptime_secs", 5.5),
            ("master/frameworks/my%20one/u-0001/calls/accept", 7.0),
            ("master/frameworks/my%20one/u-0001/calls", 9.0),
            ("master/task_lost/source_master/reason_slave_removed", 1.0),
            ("allocator/mesos/allocation_run_ms/p99", 1.0),
            ("allocator/mesos/roles/prod/web/shares/dominant", 0.25),
            ("gc/path_removals_pending", 2.0),
        ];
        let metrics = metrics.map(|(name, value)| (name.to_owned(), value)).into();
        let text = render(&metrics, &[]);
        for line in [
            "# TYPE mezzo_master_tasks_running gauge",
            "mezzo_master_tasks_running 3",
            "# TYPE mezzo_master_tasks_lost_total counter",
            "mezzo_master_uptime_secs 5.5",
            "mezzo_master_framework_calls_total{framework=\"my%20one\",framework_id=\"u-0001\",kind=\"accept\"} 7",
            "mezzo_master_task_ends_total{state=\"task_lost\",source=\"master\",reason=\"slave_removed\"} 1",
            "mezzo_allocator_role_dominant_share{role=\"prod/web\"} 0.25",
            "# TYPE mezzo_gc_path_removals_pending gauge",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in:\n{text}");
        }
        assert!(!text.contains("p99"));
    }

    #[test]
    fn buckets_count_what_is_at_most_their_bound() {
        let mut histogram = Histogram::new("x_seconds", "of a test");
        for millis in [1, 2, 600, 500_000] {
            histogram.record(Duration::from_millis(millis));
        }
        let text = render(&BTreeMap::new(), &[histogram]);
        for line in [
            "x_seconds_bucket{le=\"0.001\"} 1",
            "x_seconds_bucket{le=\"0.0025\"} 2",
            "x_seconds_bucket{le=\"1\"} 3",
            "x_seconds_bucket{le=\"+Inf\"} 4",
            "x_seconds_count 4",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in:\n{text}");
        }
    }

    #[test]
    fn labels_are_escaped() {
        assert_eq!(braces(&[("a", "x\"\\\ny")]), "{a=\"x\\\"\\\\\\ny\"}");
    }
}
