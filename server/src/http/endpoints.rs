//! Small endpoints that say the same on every server.

use bytes::Bytes;
use http::{Response, StatusCode};
use mezzo_api::{MESOS_VERSION, MEZZO_VERSION, time::parse_duration};
use serde_json::json;

use super::{answer, query::Query};
use crate::{build, level};

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

/// `/logging/toggle`: tells the level, or sets it for a while (3rdparty/libprocess/src/logging.cpp).
pub fn logging_toggle<B: From<Bytes>>(query: &Query) -> Response<B> {
    let bad = |text: String| answer::text(StatusCode::BAD_REQUEST, text);
    let (level, duration) = match (query.get("level"), query.get("duration")) {
        (None, None) => return answer::text(StatusCode::OK, format!("{}\n", level::verbosity())),
        (None, Some(_)) => return bad("Expecting 'level=value' in query.\n".to_owned()),
        (Some(_), None) => return bad("Expecting 'duration=value' in query.\n".to_owned()),
        (Some(level), Some(duration)) => (level, duration),
    };
    let verbosity = match level.parse::<i32>().map(u32::try_from) {
        Err(_) => return bad(format!("Failed to convert '{level}' to number.\n")),
        Ok(Err(_)) => return bad(format!("Invalid level '{level}'.\n")),
        Ok(Ok(verbosity)) => verbosity,
    };
    match parse_duration(duration) {
        Ok(duration) => {
            level::raise(verbosity, duration);
            answer::empty(StatusCode::OK)
        }
        Err(error) => bad(format!("{error}.\n")),
    }
}
