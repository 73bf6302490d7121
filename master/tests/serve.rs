//! A master in this process, spoken to over real sockets as any client would.

use std::time::Duration;

use mezzo_master::{Master, flags::Flags};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

async fn master() -> Master {
    master_with(&["--max_request_bytes=64KB"]).await
}

async fn master_with(more: &[&str]) -> Master {
    let arguments = ["mezzo-master", "--ip=127.0.0.1", "--port=0", "--registry=in_memory"].iter().chain(more);
    let flags = Flags::read(arguments.map(|argument| argument.into()), |_| None).unwrap();
    Master::start(flags).await.unwrap()
}

/// One HTTP/1.1 connection, read to the letter.
struct Client {
    stream: TcpStream,
    received: Vec<u8>,
}

struct Head {
    status: u16,
    lines: Vec<String>,
}

impl Head {
    fn header(&self, name: &str) -> Option<&str> {
        self.lines.iter().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }
}

impl Client {
    async fn connect(master: &Master) -> Self {
        Self { stream: TcpStream::connect(master.address()).await.unwrap(), received: Vec::new() }
    }

    async fn send(&mut self, method: &str, path: &str, headers: &[&str], body: &str) {
        let mut request = format!("{method} {path} HTTP/1.1\r\nHost: m\r\nContent-Length: {}\r\n", body.len());
        for header in headers {
            request.push_str(header);
            request.push_str("\r\n");
        }
        request.push_str("\r\n");
        request.push_str(body);
        self.stream.write_all(request.as_bytes()).await.unwrap();
    }

    async fn more(&mut self) -> bool {
        let mut buffer = [0; 8192];
        let read = tokio::time::timeout(Duration::from_secs(20), self.stream.read(&mut buffer)).await;
        let count = read.expect("the master keeps silent").unwrap_or(0);
        self.received.extend_from_slice(&buffer[..count]);
        count > 0
    }

    async fn until(&mut self, end: &[u8]) -> Vec<u8> {
        loop {
            if let Some(at) = self.received.windows(end.len()).position(|window| window == end) {
                let rest = self.received.split_off(at + end.len());
                let mut taken = std::mem::replace(&mut self.received, rest);
                taken.truncate(at);
                return taken;
            }
            assert!(self.more().await, "the connection ended within {:?}", String::from_utf8_lossy(&self.received));
        }
    }

    async fn bytes(&mut self, count: usize) -> Vec<u8> {
        while self.received.len() < count {
            assert!(self.more().await, "the connection ended");
        }
        let rest = self.received.split_off(count);
        std::mem::replace(&mut self.received, rest)
    }

    async fn head(&mut self) -> Head {
        let text = String::from_utf8(self.until(b"\r\n\r\n").await).unwrap();
        let mut lines = text.split("\r\n").map(str::to_owned);
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        Head { status, lines: lines.collect() }
    }

    async fn answer(&mut self) -> (Head, String) {
        let head = self.head().await;
        let length = head.header("Content-Length").map_or(0, |length| length.parse().unwrap());
        let body = self.bytes(length).await;
        (head, String::from_utf8(body).unwrap())
    }

    async fn ask(&mut self, method: &str, path: &str, headers: &[&str], body: &str) -> (Head, String) {
        self.send(method, path, headers, body).await;
        self.answer().await
    }

    async fn chunk(&mut self) -> Vec<u8> {
        let size = String::from_utf8(self.until(b"\r\n").await).unwrap();
        let chunk = self.bytes(usize::from_str_radix(&size, 16).unwrap()).await;
        assert_eq!(self.bytes(2).await, b"\r\n");
        chunk
    }

    /// The event in the next chunk, which holds exactly one record.
    async fn event(&mut self) -> Value {
        let chunk = self.chunk().await;
        let line_end = chunk.iter().position(|byte| *byte == b'\n').unwrap();
        let length: usize = std::str::from_utf8(&chunk[..line_end]).unwrap().parse().unwrap();
        let record = &chunk[line_end + 1..];
        assert_eq!(record.len(), length);
        assert!(!record.contains(&b'\n'));
        serde_json::from_slice(record).unwrap()
    }
}

const JSON: &str = "Content-Type: application/json";

fn subscribe() -> String {
    let info = json!({ "user": "root", "name": "smoke", "roles": ["dev"], "capabilities": [{ "type": "MULTI_ROLE" }] });
    json!({ "type": "SUBSCRIBE", "subscribe": { "framework_info": info } }).to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_framework_subscribes_speaks_and_is_seen() {
    let master = master().await;
    let mut stream = Client::connect(&master).await;
    stream.send("POST", "/api/v1/scheduler", &[JSON, "Accept: application/json"], &subscribe()).await;
    let head = stream.head().await;
    assert_eq!(head.status, 200);
    assert_eq!(head.header("Content-Type"), Some("application/json"));
    assert_eq!(head.header("Transfer-Encoding"), Some("chunked"));
    let stream_id = head.header("Mesos-Stream-Id").unwrap().to_owned();
    let subscribed = stream.event().await;
    assert_eq!(subscribed["type"], "SUBSCRIBED");
    assert_eq!(subscribed["subscribed"]["heartbeat_interval_seconds"].to_string(), "15.0");
    assert_eq!(subscribed["subscribed"]["master_info"]["version"], "1.11.0");
    let id = subscribed["subscribed"]["framework_id"]["value"].as_str().unwrap().to_owned();
    assert_eq!(stream.event().await, json!({ "type": "HEARTBEAT" }));

    let mut calls = Client::connect(&master).await;
    let header = format!("Mesos-Stream-Id: {stream_id}");
    let call = json!({ "type": "REVIVE", "framework_id": { "value": id } }).to_string();
    for path in ["/api/v1/scheduler", "/master/api/v1/scheduler", "//api/v1/scheduler/x"] {
        let (head, body) = calls.ask("POST", path, &[JSON, &header], &call).await;
        assert_eq!((head.status, body.as_str()), (202, ""), "{path}");
        assert_eq!(head.header("Content-Length"), Some("0"));
    }
    let (head, body) = calls.ask("POST", "/api/v1/scheduler", &[JSON], &call).await;
    assert_eq!(
        (head.status, body.as_str()),
        (400, "All non-subscribe calls should include the 'Mesos-Stream-Id' header")
    );
    // Pipelined calls are answered in order.
    calls.send("POST", "/api/v1/scheduler", &[JSON, &header], &call).await;
    calls.send("GET", "/health", &[], "").await;
    assert_eq!(calls.answer().await.0.status, 202);
    assert_eq!(calls.answer().await.0.status, 200);

    let (_, body) = calls.ask("GET", "/frameworks", &[], "").await;
    let frameworks: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(frameworks["frameworks"][0]["id"], id);
    assert_eq!(frameworks["frameworks"][0]["active"], true);

    // Without a failover timeout the end of the stream is the framework's end.
    drop(stream);
    let gone = async {
        loop {
            let (_, body) = calls.ask("GET", "/frameworks", &[], "").await;
            let frameworks: Value = serde_json::from_str(&body).unwrap();
            if frameworks["completed_frameworks"][0]["id"] == id.as_str() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), gone).await.expect("the stream's end was not seen");
    master.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_requests_get_their_codes_and_hurt_nobody() {
    let master = master().await;
    let mut client = Client::connect(&master).await;
    let (head, body) = client.ask("GET", "/api/v1/scheduler", &[], "").await;
    assert_eq!((head.status, head.header("Allow")), (405, Some("POST")));
    assert_eq!(body, "405 Method Not Allowed. Expecting one of { 'POST' }, but received 'GET'.");
    assert_eq!(head.header("Content-Type"), Some("text/plain; charset=utf-8"));
    let (head, body) = client.ask("GET", "/state.json", &[], "").await;
    assert_eq!((head.status, body.as_str()), (404, "404 Not Found."));
    let (head, _) = client.ask("POST", "/api/v1/scheduler", &[JSON, "Content-Encoding: gzip"], "{}").await;
    assert_eq!(head.status, 500);
    let (head, _) = client.ask("GET", "/state?x=%ZZ", &[], "").await;
    assert_eq!(head.status, 400);
    let (head, _) = client.ask("GET", "/link", &[], "").await;
    assert_eq!(head.status, 426);
    let (head, _) = client.ask("GET", "/agent/nobody/state", &[], "").await;
    assert_eq!(head.status, 404);
    let (head, body) = client.ask("POST", "/teardown", &[], "frameworkId=nope").await;
    assert_eq!((head.status, body.as_str()), (400, "No framework found with specified ID"));

    let (head, _) = client.ask("POST", "/teardown", &["Sec-Fetch-Site: cross-site"], "frameworkId=nope").await;
    assert_eq!(head.status, 403);

    let (head, body) = client.ask("POST", "/api/v1/scheduler", &[JSON], &"x".repeat(64 * 1024 + 1)).await;
    assert_eq!(head.status, 413);
    assert!(body.contains("65536 bytes"), "{body}");

    let mut truncated = Client::connect(&master).await;
    let request =
        "POST /api/v1/scheduler HTTP/1.1\r\nHost: m\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{";
    truncated.stream.write_all(request.as_bytes()).await.unwrap();
    truncated.stream.shutdown().await.unwrap();
    while truncated.more().await {}
    assert!(truncated.received.is_empty() || truncated.received.starts_with(b"HTTP/1.1 400"));

    let mut other = Client::connect(&master).await;
    assert_eq!(other.ask("GET", "/health", &[], "").await.0.status, 200);
    master.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_answer_as_mesos_does() {
    let master = master().await;
    let mut client = Client::connect(&master).await;
    let (head, body) = client.ask("GET", "/redirect", &[], "").await;
    assert_eq!((head.status, body.as_str()), (307, ""));
    assert_eq!(head.header("Location"), Some(format!("//localhost:{}", master.address().port()).as_str()));
    let (_, body) = client.ask("GET", "/version", &[], "").await;
    let version: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(version["version"], "1.11.0");
    assert!(version["mezzo_version"].is_string());
    let (_, body) = client.ask("DELETE", "/master/flags/", &[], "").await;
    assert!(serde_json::from_str::<Value>(&body).unwrap()["flags"]["agent_ping_timeout"].is_string());
    let (head, body) = client.ask("GET", "/tasks?jsonp=cb", &[], "").await;
    assert_eq!((head.header("Content-Type"), body.as_str()), (Some("text/javascript"), "cb({\"tasks\":[]})"));
    let (_, body) = client.ask("GET", "/metrics/snapshot", &[], "").await;
    let metrics: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(metrics["master/elected"], 1.0);
    assert!(metrics["master/messages_launch_tasks"].is_number());
    assert!(metrics["system/cpus_total"].as_f64().unwrap() > 0.0);
    let (_, body) = client.ask("POST", "/api/v1", &[JSON], r#"{"type":"GET_HEALTH"}"#).await;
    assert_eq!(body, r#"{"type":"GET_HEALTH","get_health":{"healthy":true}}"#);
    let (head, _) = client.ask("POST", "/api/v1", &[JSON], r#"{"type":"UNKNOWN"}"#).await;
    assert_eq!(head.status, 501);

    let (head, _) = client.ask("GET", "/state", &[], "").await;
    let tag = head.header("Etag").unwrap().to_owned();
    let (head, body) = client.ask("GET", "/state", &[&format!("If-None-Match: {tag}")], "").await;
    assert_eq!((head.status, body.as_str()), (304, ""));
    client.send("GET", "/state", &["Accept-Encoding: gzip"], "").await;
    let head = client.head().await;
    assert_eq!(head.header("Content-Encoding"), Some("gzip"));
    client.bytes(head.header("Content-Length").unwrap().parse().unwrap()).await;

    let (head, body) = client.ask("GET", "/", &[], "").await;
    assert_eq!((head.status, head.header("Content-Type")), (200, Some("text/html")));
    assert!(body.contains("/assets/app.js"));
    let (head, _) = client.ask("GET", "/assets/app.js", &[], "").await;
    assert_eq!(head.header("Content-Type"), Some("text/javascript; charset=utf-8"));
    assert!(head.header("Content-Security-Policy").unwrap().starts_with("default-src 'none'"));
    master.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_framework_that_does_not_read_is_cut_and_has_time_to_come_back() {
    let master = master_with(&[]).await;
    let mut stream = Client::connect(&master).await;
    stream.send("POST", "/api/v1/scheduler", &[JSON], &subscribe()).await;
    let header = format!("Mesos-Stream-Id: {}", stream.head().await.header("Mesos-Stream-Id").unwrap());
    let id = stream.event().await["subscribed"]["framework_id"]["value"].clone();

    // Each call makes as many events as it names tasks; nobody reads them.
    let tasks: Vec<Value> = (0..50_000).map(|number| json!({ "task_id": { "value": format!("t{number}") } })).collect();
    let call =
        json!({ "type": "RECONCILE", "framework_id": { "value": id }, "reconcile": { "tasks": tasks } }).to_string();
    let mut calls = Client::connect(&master).await;
    let mut cut = false;
    for _ in 0..20 {
        let (head, body) = calls.ask("POST", "/api/v1/scheduler", &[JSON, &header], &call).await;
        cut = (head.status, body.as_str()) == (403, "Framework is not subscribed");
        if cut {
            break;
        }
        assert_eq!(head.status, 202, "{body}");
    }
    assert!(cut, "the stream takes events without end");
    let (_, body) = calls.ask("GET", "/frameworks", &[], "").await;
    let frameworks: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(frameworks["frameworks"][0]["id"], id);
    assert_eq!(frameworks["frameworks"][0]["connected"], false);
    // What had been sent may still be read; then the connection is at its end, without a last chunk.
    while stream.more().await {
        stream.received.drain(..stream.received.len().saturating_sub(5));
    }
    assert_ne!(stream.received, b"0\r\n\r\n");
    master.stop().await;
}
