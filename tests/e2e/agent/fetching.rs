//! Downloads over https from a server that breaks connections off, and what is told of those that fail.

use mezzo_tests::{
    cluster::Cluster,
    https::{Https, Served},
    tasks, wait,
};
use serde_json::{Value, json};

use super::framework;

const CUT: usize = 200_000;

/// A megabyte that is nowhere the same.
fn content() -> Vec<u8> {
    (0..250_000_u32).flat_map(|number| number.wrapping_mul(2_654_435_761).to_le_bytes()).collect()
}

/// A cluster whose agent trusts the authorities of that file alone.
fn trusting(server: &Https) -> Cluster {
    let mut cluster = Cluster::builder().start();
    let part = &mut cluster.agents[0].part;
    part.kill();
    part.set_variable("SSL_CERT_FILE", &server.authority.display().to_string());
    part.set_variable("SSL_CERT_DIR", "/nonexistent");
    part.start();
    cluster.wait_until_registered(1);
    cluster
}

fn with_uri(id: &str, agent: &str, command: &str, uri: &Value) -> Value {
    let mut task = tasks::command(id, agent, command);
    task["command"]["uris"] = json!([uri]);
    task
}

#[test]
fn a_download_over_https_is_resumed_until_it_is_whole() {
    let dir = tempfile::tempdir().unwrap();
    let server = Https::start(dir.path(), "trusted");
    let whole = content();
    std::fs::write(dir.path().join("whole"), &whole).unwrap();
    server.put("/program", Served { content: whole.clone(), tag: Some("first".into()), cut_after: Some(CUT) });
    server.put("/plain", Served { content: whole.clone(), ..Served::default() });
    let cluster = trusting(&server);
    let mut framework = framework(&cluster, "fetching");
    let offer = framework.wait_any_offer();
    let agent = tasks::agent_of(&offer).to_owned();
    let compared = |name: &str| format!("cmp {name} {}/whole", dir.path().display());
    let list = [
        with_uri(
            "cut",
            &agent,
            &format!("{} && test -x program", compared("program")),
            &json!({"value": server.uri("/program"), "executable": true}),
        ),
        with_uri(
            "cached",
            &agent,
            &compared("kept"),
            &json!({"value": server.uri("/plain"), "cache": true, "output_file": "kept"}),
        ),
    ];
    framework.launch(&offer, &list);
    for task in ["cut", "cached"] {
        framework.wait_status(task, "TASK_FINISHED");
    }
    let pieces = whole.len().div_ceil(CUT);
    let expected: Vec<Option<String>> =
        (0..pieces).map(|piece| (piece > 0).then(|| format!("bytes={}-", piece * CUT))).collect();
    assert_eq!(server.asked("/program"), expected);
    assert_eq!(server.asked("/plain"), [None]);
}

#[test]
fn a_download_that_fails_is_told_with_its_uri_and_the_reason() {
    let dir = tempfile::tempdir().unwrap();
    let server = Https::start(dir.path(), "trusted");
    let stranger = Https::start(dir.path(), "stranger");
    let file = Served { content: content(), ..Served::default() };
    stranger.put("/file", file.clone());
    server.put("/file", file.clone());
    // Without a tag nobody knows whether the rest is of the same file.
    server.put("/untagged", Served { cut_after: Some(CUT), ..file });
    let cluster = trusting(&server);
    let mut framework = framework(&cluster, "failing");
    let other_name = format!("https://127.0.0.1:{}/file", server.address.port());
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let cases = [
        (server.uri("/missing"), "404 Not Found"),
        (server.uri("/untagged"), "after 200000"),
        (stranger.uri("/file"), "invalid peer certificate: UnknownIssuer"),
        (other_name, "certificate not valid for name"),
        (format!("https://localhost:{}/file", nobody.port()), "Connection refused"),
        ("https://host.invalid/file".to_owned(), "host.invalid"),
    ];
    let offer = framework.wait_any_offer();
    let agent = tasks::agent_of(&offer).to_owned();
    let list: Vec<Value> = cases
        .iter()
        .enumerate()
        .map(|(number, (uri, _))| with_uri(&format!("task-{number}"), &agent, "true", &json!({"value": uri})))
        .collect();
    framework.launch(&offer, &list);
    for (number, (uri, reason)) in cases.iter().enumerate() {
        let failed = framework.wait_status(&format!("task-{number}"), "TASK_FAILED");
        let message = failed["message"].as_str().unwrap();
        assert!(message.contains(&format!("{uri}: ")) && message.contains(reason), "{message}");
        assert_eq!(failed["reason"], "REASON_CONTAINER_LAUNCH_FAILED", "{failed}");
    }
    // What the stranger has is asked for by nobody who does not trust it.
    assert_eq!(stranger.asked("/file"), []);
    wait::until_true("all is free", || cluster.state()["slaves"][0]["used_resources"]["cpus"] == 0.0);
}
