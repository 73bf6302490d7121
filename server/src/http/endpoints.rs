//! Small endpoints that say the same on every server.

use bytes::Bytes;
use http::{Response, StatusCode};
use mezzo_api::{MESOS_VERSION, MEZZO_VERSION};
use serde_json::json;

use super::{answer, query::Query};
use crate::build;

/// `/version`: the protocol that is spoken, and what speaks it.
pub fn version() -> String {
    json!({
        "build_date": *build::DATE,
        "build_time": *build::TIME,
        "build_user": build::USER,
        "mezzo_version": MEZZO_VERSION,
        "version": MESOS_VERSION,
    })
    .to_string()
}

/// `/logging/toggle`: tells the level; it cannot be changed while the server runs.
pub fn logging_toggle<B: From<Bytes>>(query: &Query) -> Response<B> {
    match (query.get("level"), query.get("duration")) {
        (None, None) => answer::text(StatusCode::OK, "0\n"),
        (None, Some(_)) => answer::text(StatusCode::BAD_REQUEST, "Expecting 'level=value' in query.\n"),
        (Some(_), None) => answer::text(StatusCode::BAD_REQUEST, "Expecting 'duration=value' in query.\n"),
        (Some(_), Some(_)) => {
            let text = "This version of Mezzo takes its logging level at its start only (--logging_level).\n";
            answer::text(StatusCode::NOT_IMPLEMENTED, text)
        }
    }
}
