//! `/help`, `/help/<actor>` and `/help/<actor>/<endpoint>` (3rdparty/libprocess/src/help.cpp): what a server answers to.

use http::{HeaderMap, HeaderValue, Response, StatusCode, header::USER_AGENT};
use serde_json::{Value, json};

use super::{answer, query::Query};

/// One endpoint: its actor, its path below it, and what it is for.
#[derive(Clone, Copy, Debug)]
pub struct Entry(pub &'static str, pub &'static str, pub &'static str);

/// Endpoints that every server has.
const COMMON: [Entry; 11] = [
    Entry("files", "/browse", "Lists a directory: path"),
    Entry("files", "/debug", "Which paths lead to which files of the machine"),
    Entry("files", "/download", "A whole file: path"),
    Entry("files", "/read", "A piece of a file: path, offset, length"),
    Entry("help", "", "This"),
    Entry("logging", "/toggle", "Tells how much is logged, or logs more for a while: level, duration"),
    Entry("metrics", "", "Metrics for Prometheus"),
    Entry("metrics", "/snapshot", "Metrics with the names of Apache Mesos: timeout"),
    Entry("system", "/stats.json", "Load, processors and memory of the machine"),
    Entry("version", "", "Versions of the protocol and of this server"),
    Entry("__processes__", "", "An empty list: there are no actors"),
];

/// Answers for `path`, which begins with `/help`.
pub fn serve<B: From<bytes::Bytes>>(own: &[Entry], path: &str, headers: &HeaderMap, query: &Query) -> Response<B> {
    let mut all: Vec<Entry> = COMMON.iter().chain(own).copied().collect();
    all.sort_by_key(|Entry(actor, endpoint, _)| (*actor, *endpoint));
    let wanted: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).skip(1).collect();
    let text = match wanted.as_slice() {
        [] if query.get("format") == Some("json") => {
            let content_type = HeaderValue::from_static("application/json");
            return answer::of_type(StatusCode::OK, content_type, as_json(&all).to_string().into());
        }
        [] => actors(&all),
        [actor] => endpoints(&all, actor),
        [actor, endpoint @ ..] => one(&all, actor, &format!("/{}", endpoint.join("/"))),
    };
    match text {
        text if text.is_empty() => answer::bare(StatusCode::NOT_FOUND),
        text if reads_markdown(headers) => {
            answer::of_type(StatusCode::OK, HeaderValue::from_static("text/x-markdown"), text.into())
        }
        text => {
            let page = format!("<!doctype html><meta charset=utf-8><title>Help</title><pre>{}</pre>\n", escaped(&text));
            answer::of_type(StatusCode::OK, HeaderValue::from_static("text/html; charset=utf-8"), page.into())
        }
    }
}

/// Tools of the command line show text as it is; a browser would offer to save it.
fn reads_markdown(headers: &HeaderMap) -> bool {
    let agent = headers.get(USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    !agent.starts_with("Mozilla")
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn actors(all: &[Entry]) -> String {
    let mut names: Vec<&str> = all.iter().map(|entry| entry.0).collect();
    names.dedup();
    let list: String = names.iter().map(|name| format!("> [/{name}][{name}]\n")).collect();
    let links: String = names.iter().map(|name| format!("[{name}]: help/{name}\n")).collect();
    format!("## HELP\n{list}\n{links}")
}

fn endpoints(all: &[Entry], actor: &str) -> String {
    let of_actor = all.iter().filter(|entry| entry.0 == actor);
    let lines: String =
        of_actor.map(|Entry(actor, endpoint, what)| format!("> /{actor}{endpoint}\n>        {what}\n")).collect();
    if lines.is_empty() { lines } else { format!("# `/{actor}` #\n{lines}") }
}

fn one(all: &[Entry], actor: &str, endpoint: &str) -> String {
    let found = all.iter().find(|entry| entry.0 == actor && entry.1 == endpoint);
    found.map_or(String::new(), |Entry(_, _, what)| {
        format!("### USAGE ###\n>        /{actor}{endpoint}\n\n### TL;DR; ###\n{what}.\n")
    })
}

fn as_json(all: &[Entry]) -> Value {
    let mut names: Vec<&str> = all.iter().map(|entry| entry.0).collect();
    names.dedup();
    let process = |name: &&str| {
        let of_actor = all.iter().filter(|entry| entry.0 == *name);
        let endpoints: Vec<Value> =
            of_actor.map(|Entry(_, endpoint, what)| json!({ "name": endpoint, "text": what })).collect();
        json!({ "id": name, "endpoints": endpoints })
    };
    json!({ "processes": names.iter().map(process).collect::<Vec<_>>() })
}

/// `/profiler/…` and `/memory-profiler/…`: as a Mesos that was built without them answers, they are there and refuse.
pub fn no_profiler<B: From<bytes::Bytes>>() -> Response<B> {
    let text = "There is no profiler in this server: use one of the system, such as perf.\n";
    answer::text(StatusCode::BAD_REQUEST, text)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn ask(path: &str, agent: &'static str) -> (u16, String) {
        let own = [Entry("master", "/state", "All <there> is")];
        let headers = HeaderMap::from_iter([(USER_AGENT, HeaderValue::from_static(agent))]);
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let response: Response<Bytes> = serve(&own, path, &headers, &Query::parse(query).unwrap());
        (response.status().as_u16(), String::from_utf8(response.body().to_vec()).unwrap())
    }

    #[test]
    fn tells_of_actors_endpoints_and_one() {
        let (status, text) = ask("/help", "curl/8");
        assert_eq!(status, 200);
        assert!(
            text.starts_with("## HELP\n> [/__processes__][__processes__]\n")
                && text.contains("[master]: help/master\n")
        );
        assert!(ask("/help/master/", "curl/8").1.contains("> /master/state\n"));
        assert!(ask("/help/master/state", "curl/8").1.contains("All <there> is."));
        assert!(ask("/help/files/read", "Mozilla/5.0").1.contains("<pre>### USAGE ###"));
        assert!(ask("/help/master/state", "Mozilla/5.0").1.contains("All &lt;there&gt; is."));
        assert_eq!((ask("/help/nobody", "curl/8").0, ask("/help/master/x", "curl/8").0), (404, 404));
        let json: Value = serde_json::from_str(&ask("/help?format=json", "curl/8").1).unwrap();
        assert_eq!(json["processes"].as_array().map(Vec::len), Some(8));
    }
}
