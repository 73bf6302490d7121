//! Small endpoints that always say the same.

use http::Response;
use mezzo_server::http::answer;

use super::body::Body;

/// `/help`
pub(super) fn help() -> Response<Body> {
    const HELP: &str = "## HELP\n\
        > /  (the web page)\n> /api/v1\n> /api/v1/scheduler\n> /explain\n> /flags\n> /frameworks\n> /health\n> /metrics/snapshot\n\
        > /redirect\n> /roles\n> /slaves\n> /state\n> /state-summary\n> /system/stats.json\n> /tasks\n> /teardown\n\
        > /version\n> /agent/AGENT_ID/PATH  (an agent's own endpoints, through its link)\n";
    answer::help(HELP)
}
