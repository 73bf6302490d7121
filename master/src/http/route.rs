//! Which door a path leads to: libprocess' rules (3rdparty/libprocess/src/process.cpp). The first component names an
//! actor; without one of that name the path is the master's. Within an actor the longest registered prefix wins, component
//! by component, and what follows it is ignored. Empty components do not count.

/// A door.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Route<'a> {
    /// The web page.
    Home,
    /// A file of the web page.
    Asset(&'a str),
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
    /// `/teardown`
    Teardown,
    /// `/explain`
    Explain,
    /// An endpoint that shows a setting which nobody can change yet: its only answer.
    Constant(&'static str),
    /// An endpoint that changes what cannot be changed yet.
    Unsupported,
    /// `/metrics/snapshot`
    Metrics,
    /// `/system/stats.json`
    SystemStats,
    /// `/logging/toggle`
    LoggingToggle,
    /// `/files/<operation>`
    Files(&'a str),
    /// `/help`
    Help,
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
        ["master", rest @ ..] => of_master(rest),
        ["link"] => Route::Link,
        ["assets", file] => Route::Asset(file),
        ["version", ..] => Route::Version,
        ["metrics", "snapshot", ..] => Route::Metrics,
        ["system", "stats.json", ..] => Route::SystemStats,
        ["logging", "toggle", ..] => Route::LoggingToggle,
        ["files", operation @ ("browse" | "read" | "download" | "debug"), ..] => Route::Files(operation),
        ["__processes__", ..] => Route::Constant("[]"),
        ["help", ..] => Route::Help,
        ["files" | "metrics" | "system" | "logging", ..] => Route::NotFound,
        rest => of_master(rest),
    }
}

fn of_master<'a>(components: &[&'a str]) -> Route<'a> {
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
        ["teardown", ..] => Route::Teardown,
        ["explain", ..] => Route::Explain,
        ["quota", ..] | ["maintenance", "schedule" | "status", ..] => Route::Constant("{}"),
        ["weights", ..] => Route::Constant("[]"),
        ["reserve" | "unreserve" | "create-volumes" | "destroy-volumes", ..] | ["machine", "up" | "down", ..] => {
            Route::Unsupported
        }
        _ => Route::NotFound,
    }
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
            ("/system/stats.json", Route::SystemStats),
            ("/tasks/", Route::Tasks),
            ("/tasks.json", Route::NotFound),
            ("/files/read", Route::Files("read")),
            ("/files/nosuch", Route::NotFound),
            ("/slave(1)/state", Route::NotFound),
            ("/index.html", Route::NotFound),
            ("/favicon.ico", Route::NotFound),
            ("/assets/app.js", Route::Asset("app.js")),
            ("/state/../flags", Route::NotFound),
            ("/../etc/passwd", Route::NotFound),
            ("/link", Route::Link),
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
