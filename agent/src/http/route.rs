//! Which door a path leads to: libprocess' rules (3rdparty/libprocess/src/process.cpp). The first component names an
//! actor; without one of that name the path is the agent's. Within an actor the longest registered prefix wins, component
//! by component, and what follows it is ignored. Empty components do not count.

use crate::flags::{READ_ONLY, READ_WRITE};

/// A door.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Route<'a> {
    /// `/api/v1/executor`
    Executor,
    /// `/api/v1`
    Operator,
    /// `/health`
    Health,
    /// `/version`
    Version,
    /// `/flags`
    Flags,
    /// `/state`
    State,
    /// `/containers`
    Containers,
    /// `/monitor/statistics`
    Statistics,
    /// `/metrics/snapshot`
    Metrics,
    /// `/metrics`, for Prometheus.
    Prometheus,
    /// `/system/stats.json`
    SystemStats,
    /// `/logging/toggle`
    LoggingToggle,
    /// `/files/<operation>`
    Files(&'a str),
    /// An endpoint that has only one answer.
    Constant(&'static str),
    /// `/help/…`
    Help,
    /// `/profiler/…` and `/memory-profiler/…`
    Profiler,
    /// The link's control stream.
    Control,
    /// Nothing.
    NotFound,
}

impl Route<'_> {
    /// The realm that asks who is there (src/slave/slave.cpp, where the routes are added); `None` is open to everybody.
    pub(crate) fn realm(&self) -> Option<&'static str> {
        match self {
            Route::Operator | Route::LoggingToggle | Route::Profiler => Some(READ_WRITE),
            Route::Flags
            | Route::State
            | Route::Containers
            | Route::Statistics
            | Route::Metrics
            | Route::Prometheus
            | Route::Files(_) => Some(READ_ONLY),
            // Executors are known by their ids; whoever is at the link's other end was dialled.
            Route::Executor
            | Route::Control
            | Route::Health
            | Route::Version
            | Route::SystemStats
            | Route::Constant(_)
            | Route::Help
            | Route::NotFound => None,
        }
    }
}

/// Finds the door.
pub(crate) fn find(path: &str) -> Route<'_> {
    if path.contains("/..") {
        return Route::NotFound;
    }
    let components: Vec<&str> = path.split('/').filter(|component| !component.is_empty()).collect();
    match components.as_slice() {
        ["slave(1)" | "slave%281%29", rest @ ..] => of_agent(rest),
        ["link", "control"] => Route::Control,
        ["version", ..] => Route::Version,
        ["metrics"] => Route::Prometheus,
        ["metrics", "snapshot", ..] => Route::Metrics,
        ["system", "stats.json", ..] => Route::SystemStats,
        ["logging", "toggle", ..] => Route::LoggingToggle,
        ["files", operation @ ("browse" | "read" | "download" | "debug"), ..] => Route::Files(operation),
        ["__processes__", ..] => Route::Constant("[]"),
        ["help", ..] => Route::Help,
        ["profiler" | "memory-profiler", _, ..] => Route::Profiler,
        ["files" | "metrics" | "system" | "logging", ..] => Route::NotFound,
        rest => of_agent(rest),
    }
}

fn of_agent<'a>(components: &[&'a str]) -> Route<'a> {
    match components {
        ["api", "v1", "executor", ..] => Route::Executor,
        ["api", "v1", ..] => Route::Operator,
        ["health", ..] => Route::Health,
        ["flags", ..] => Route::Flags,
        ["state", ..] => Route::State,
        ["containers", ..] => Route::Containers,
        ["monitor", "statistics", ..] => Route::Statistics,
        ["containerizer", "debug", ..] => Route::Constant("{\"pending\":[]}"),
        _ => Route::NotFound,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_libprocess_finds() {
        for (path, route) in [
            ("/api/v1/executor", Route::Executor),
            ("/slave(1)/api/v1/executor", Route::Executor),
            ("/slave%281%29/api/v1/executor/", Route::Executor),
            ("/api/v1/executor/x", Route::Executor),
            ("/slave(2)/api/v1/executor", Route::NotFound),
            ("/api/v1", Route::Operator),
            ("/api/v1/executors", Route::Operator),
            ("//state/", Route::State),
            ("/slave(1)/state", Route::State),
            ("/state.json", Route::NotFound),
            ("/monitor/statistics", Route::Statistics),
            ("/monitor", Route::NotFound),
            ("/files/browse", Route::Files("browse")),
            ("/files/read/foo", Route::Files("read")),
            ("/slave(1)/files/read", Route::NotFound),
            ("/files/../state", Route::NotFound),
            ("/link/control", Route::Control),
            ("/", Route::NotFound),
        ] {
            assert_eq!(find(path), route, "{path}");
        }
    }
}
