//! Which realm an endpoint belongs to: whether it asks who is there (src/master/constants.hpp, and where src/master/master.cpp
//! adds the routes).

use http::Method;

use super::{
    is_read,
    operator::Endpoint,
    route::{self, Route},
};
use crate::flags::{AGENTS, READ_ONLY, READ_WRITE, SCHEDULER};

/// The realm; `None` is open to everybody.
pub(super) fn of(path: &str, method: &Method) -> Option<&'static str> {
    match route::find(path) {
        Route::Home
        | Route::Asset(_)
        // What a page needs to ask who is there, and to find the leader.
        | Route::Ui("session" | "login" | "logout" | "masters")
        | Route::Health
        | Route::Version
        | Route::Redirect
        | Route::Constant(_)
        | Route::SystemStats
        | Route::Help
        | Route::NotFound => None,
        Route::Scheduler => Some(SCHEDULER),
        Route::Link => Some(AGENTS),
        Route::Ui(_)
        | Route::Flags
        | Route::State
        | Route::StateSummary
        | Route::Agents
        | Route::Frameworks
        | Route::Tasks
        | Route::Roles
        | Route::Change(Endpoint::Status)
        | Route::Explain
        | Route::Metrics
        | Route::Prometheus
        | Route::Files(_)
        | Route::Registry
        | Route::OfferConstraints => Some(READ_ONLY),
        Route::Operator | Route::Change(_) | Route::LoggingToggle | Route::Profiler => Some(READ_WRITE),
        // What the agent asks for itself is its own matter: it is passed on.
        Route::Agent { .. } => Some(if is_read(method) { READ_ONLY } else { READ_WRITE }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn realms_are_those_of_mesos() {
        let get = &Method::GET;
        for (realm, paths) in [
            (
                None,
                [
                    "/",
                    "/health",
                    "/version",
                    "/redirect",
                    "/system/stats.json",
                    "/help",
                    "/ui/session",
                    "/assets/app.js",
                    "/ui/masters",
                ],
            ),
            (
                Some("mesos-master-readonly"),
                [
                    "/state",
                    "/master/state-summary",
                    "/slaves",
                    "/maintenance/status",
                    "/metrics/snapshot",
                    "/files/read",
                    "/registrar(1)/registry",
                    "/allocator/offer_constraints_debug",
                    "/ui/tasks",
                ],
            ),
            (
                Some("mesos-master-readwrite"),
                [
                    "/api/v1",
                    "/reserve",
                    "/teardown",
                    "/weights",
                    "/quota/a/b",
                    "/maintenance/schedule",
                    "/machine/up",
                    "/logging/toggle",
                    "/profiler/start",
                ],
            ),
        ] {
            for path in paths {
                assert_eq!(of(path, get), realm, "{path}");
            }
        }
        assert_eq!(of("/api/v1/scheduler", get), Some("mesos-master-scheduler"));
        assert_eq!(of("/agent/S0/files/read", get), Some("mesos-master-readonly"));
        assert_eq!(of("/agent/S0/api/v1", &Method::POST), Some("mesos-master-readwrite"));
        assert_eq!(of("//master//state/x", get), Some("mesos-master-readonly"), "spelled otherwise");
    }
}
