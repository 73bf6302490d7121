//! Which door a path leads to: libprocess' rules (3rdparty/libprocess/src/process.cpp). The first component names an
//! actor; without one of that name the path is the master's. Within an actor the longest registered prefix wins, component
//! by component, and what follows it is ignored. Empty components do not count.

use super::operator::Endpoint;

/// A door.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Route<'a> {
    /// The web page.
    Home,
    /// A file of the web page.
    Asset(&'a str),
    /// What the web page reads.
    Ui(&'a str),
    /// `/api/v1/scheduler`
    Scheduler,
    /// `/api/v1`
    Operator,
    /// `/health`
    Health,
    /// `/version`
    Version,
    /// `/flags`
    Flags,
    /// `/redirect`
    Redirect,
    /// `/state`
    State,
    /// `/state-summary`
    StateSummary,
    /// `/slaves`
    Agents,
    /// `/frameworks`
    Frameworks,
    /// `/tasks`
    Tasks,
    /// `/roles`
    Roles,
    /// An endpoint of operators.
    Change(Endpoint<'a>),
    /// `/explain`
    Explain,
    /// An endpoint that always says the same.
    Constant(&'static str),
    /// `/metrics/snapshot`
    Metrics,
    /// `/metrics`: the same and more, for Prometheus.
    Prometheus,
    /// `/system/stats.json`
    SystemStats,
    /// `/logging/toggle`
    LoggingToggle,
    /// `/files/<operation>`
    Files(&'a str),
    /// `/help/…`
    Help,
    /// `/profiler/…` and `/memory-profiler/…`
    Profiler,
    /// `/registrar(1)/registry`
    Registry,
    /// `/allocator/offer_constraints_debug`
    OfferConstraints,
    /// Where agents open their links.
    Link,
    /// An agent's own endpoints, through its link.
    Agent {
        /// Its id.
        id: &'a str,
        /// The path on the agent, with its slash.
        path: &'a str,
    },
    /// Nothing.
    NotFound,
}

/// Finds the door.
pub(crate) fn find(path: &str) -> Route<'_> {
    if path.contains("/..") {
        return Route::NotFound;
    }
    let components: Vec<&str> = path.split('/').filter(|component| !component.is_empty()).collect();
    match components.as_slice() {
        ["agent", id, ..] => Route::Agent { id, path: after(path, id) },
        ["master", rest @ ..] => of_master(path, rest),
        ["link"] => Route::Link,
        ["assets", ..] => Route::Asset(after_assets(path)),
        ["ui", name] => Route::Ui(name),
        ["version", ..] => Route::Version,
        ["metrics"] => Route::Prometheus,
        ["metrics", "snapshot", ..] => Route::Metrics,
        ["system", "stats.json", ..] => Route::SystemStats,
        ["logging", "toggle", ..] => Route::LoggingToggle,
        ["files", operation @ ("browse" | "read" | "download" | "debug"), ..] => Route::Files(operation),
        ["__processes__", ..] => Route::Constant("[]"),
        ["help", ..] => Route::Help,
        ["profiler" | "memory-profiler", _, ..] => Route::Profiler,
        ["registrar(1)" | "registrar%281%29", "registry", ..] => Route::Registry,
        ["allocator", "offer_constraints_debug", ..] => Route::OfferConstraints,
        ["allocator" | "files" | "metrics" | "system" | "logging", ..] => Route::NotFound,
        rest => of_master(path, rest),
    }
}

fn of_master<'a>(path: &'a str, components: &[&'a str]) -> Route<'a> {
    match components {
        [] => Route::Home,
        ["api", "v1", "scheduler", ..] => Route::Scheduler,
        ["api", "v1", ..] => Route::Operator,
        ["health", ..] => Route::Health,
        ["flags", ..] => Route::Flags,
        ["redirect"] => Route::Redirect,
        ["state", ..] => Route::State,
        ["state-summary", ..] => Route::StateSummary,
        ["slaves", ..] => Route::Agents,
        ["frameworks", ..] => Route::Frameworks,
        ["tasks", ..] => Route::Tasks,
        ["roles", ..] => Route::Roles,
        ["teardown", ..] => Route::Change(Endpoint::Teardown),
        ["kill-task"] => Route::Change(Endpoint::KillTask),
        ["quota"] => Route::Change(Endpoint::Quota(None)),
        ["quota", role, ..] => Route::Change(Endpoint::Quota(Some(from(path, role)))),
        ["weights", ..] => Route::Change(Endpoint::Weights),
        ["reserve", ..] => Route::Change(Endpoint::Reserve),
        ["unreserve", ..] => Route::Change(Endpoint::Unreserve),
        ["create-volumes", ..] => Route::Change(Endpoint::CreateVolumes),
        ["destroy-volumes", ..] => Route::Change(Endpoint::DestroyVolumes),
        ["maintenance", "schedule", ..] => Route::Change(Endpoint::Schedule),
        ["maintenance", "status", ..] => Route::Change(Endpoint::Status),
        ["machine", "down", ..] => Route::Change(Endpoint::MachineDown),
        ["machine", "up", ..] => Route::Change(Endpoint::MachineUp),
        ["explain", ..] => Route::Explain,
        _ => Route::NotFound,
    }
}

/// A file's name below `/assets/`.
fn after_assets(path: &str) -> &str {
    path.trim_start_matches('/').strip_prefix("assets").unwrap_or_default().trim_start_matches('/')
}

/// The path from one of its components on, without slashes at its end: roles have slashes.
fn from<'a>(path: &'a str, component: &'a str) -> &'a str {
    let start = (component.as_ptr() as usize).saturating_sub(path.as_ptr() as usize);
    path.get(start..).unwrap_or(component).trim_end_matches('/')
}

/// What follows the agent's id, as it was written.
fn after<'a>(path: &'a str, id: &str) -> &'a str {
    let Some(start) = path.trim_start_matches('/').strip_prefix("agent") else { return "/" };
    let rest = start.trim_start_matches('/').strip_prefix(id).unwrap_or_default();
    if rest.is_empty() { "/" } else { rest }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_prefix_wins_and_the_rest_is_ignored() {
        for (path, route) in [
            ("/", Route::Home),
            ("/master", Route::Home),
            ("/master/", Route::Home),
            ("/state", Route::State),
            ("/state/", Route::State),
            ("/state/x", Route::State),
            ("//state", Route::State),
            ("/master//state", Route::State),
            ("/master/state", Route::State),
            ("/state.json", Route::NotFound),
            ("/State", Route::NotFound),
            ("/state-summary", Route::StateSummary),
            ("/api/v1", Route::Operator),
            ("/api/v1/", Route::Operator),
            ("/api/v1/operator", Route::Operator),
            ("/api/v1/schedulers", Route::Operator),
            ("/api/v1/sched%75ler", Route::Operator),
            ("/api/v1/scheduler", Route::Scheduler),
            ("/api/v1/scheduler/x", Route::Scheduler),
            ("/master/api/v1/scheduler", Route::Scheduler),
            ("/API/V1/SCHEDULER", Route::NotFound),
            ("/api/v2", Route::NotFound),
            ("/api", Route::NotFound),
            ("/redirect", Route::Redirect),
            ("/master/redirect/", Route::Redirect),
            ("/redirect/x", Route::NotFound),
            ("/metrics/snapshot", Route::Metrics),
            ("/master/metrics/snapshot", Route::NotFound),
            ("/metrics/snapshot.json", Route::NotFound),
            ("/metrics/", Route::Prometheus),
            ("/system/stats.json", Route::SystemStats),
            ("/tasks/", Route::Tasks),
            ("/tasks.json", Route::NotFound),
            ("/files/read", Route::Files("read")),
            ("/files/nosuch", Route::NotFound),
            ("/slave(1)/state", Route::NotFound),
            ("/index.html", Route::NotFound),
            ("/favicon.ico", Route::NotFound),
            ("/assets/app.js", Route::Asset("app.js")),
            ("/assets/pages/tasks.js", Route::Asset("pages/tasks.js")),
            ("/ui/tasks", Route::Ui("tasks")),
            ("/ui/tasks/x", Route::NotFound),
            ("/kill-task", Route::Change(Endpoint::KillTask)),
            ("/state/../flags", Route::NotFound),
            ("/../etc/passwd", Route::NotFound),
            ("/link", Route::Link),
            ("/help/master/state", Route::Help),
            ("/profiler/start", Route::Profiler),
            ("/profiler", Route::NotFound),
            ("/registrar(1)/registry", Route::Registry),
            ("/allocator/offer_constraints_debug", Route::OfferConstraints),
            ("/allocator", Route::NotFound),
            ("/allocator/state", Route::NotFound),
            ("/quota", Route::Change(Endpoint::Quota(None))),
            ("/quota/a", Route::Change(Endpoint::Quota(Some("a")))),
            ("/master/quota/quota/b/", Route::Change(Endpoint::Quota(Some("quota/b")))),
            ("/weights/x", Route::Change(Endpoint::Weights)),
            ("/machine/up", Route::Change(Endpoint::MachineUp)),
            ("/machine", Route::NotFound),
        ] {
            assert_eq!(find(path), route, "{path}");
        }
    }

    #[test]
    fn what_follows_an_agents_id_is_passed_on_as_written() {
        let agent = |id, path| Route::Agent { id, path };
        assert_eq!(find("/agent/u-S1/slave(1)/state"), agent("u-S1", "/slave(1)/state"));
        assert_eq!(find("/agent/u-S1/files/read/"), agent("u-S1", "/files/read/"));
        assert_eq!(find("/agent/u-S1"), agent("u-S1", "/"));
        assert_eq!(find("//agent//u-S1//x"), agent("u-S1", "//x"));
        assert_eq!(find("/agent"), Route::NotFound);
        assert_eq!(find("/agent/agent/x"), agent("agent", "/x"));
    }
}
