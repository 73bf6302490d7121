//! Small endpoints that always say the same.

use http::{Response, StatusCode};
use mezzo_server::http::{answer, query::Query};

use super::body::Body;

/// `/files/…`: the master has no files to show.
pub(super) fn files(query: &Query) -> Response<Body> {
    match query.get("path") {
        None => answer::text(StatusCode::BAD_REQUEST, "Expecting 'path=value' in query.\n"),
        Some(_) => answer::bare(StatusCode::NOT_FOUND),
    }
}

/// `/help`
pub(super) fn help() -> Response<Body> {
    const HELP: &str = "## HELP\n\
        > /  (the web page)\n> /api/v1\n> /api/v1/scheduler\n> /explain\n> /flags\n> /frameworks\n> /health\n> /metrics/snapshot\n\
        > /redirect\n> /roles\n> /slaves\n> /state\n> /state-summary\n> /system/stats.json\n> /tasks\n> /teardown\n\
        > /version\n> /agent/AGENT_ID/PATH  (an agent's own endpoints, through its link)\n";
    answer::help(HELP)
}
