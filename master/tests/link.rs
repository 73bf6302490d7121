//! The agents' end of the link, played over real sockets: an agent registers, and its endpoints are reached through the master.

use std::{convert::Infallible, net::SocketAddr, pin::Pin, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use http::{Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use mezzo_api::{
    frame::{Decoder, encode_frame},
    link::{FromAgent, Pong, Register, ToAgent, from_agent, to_agent},
    v1,
};
use mezzo_master::{Master, flags::Flags};
use prost::Message;
use serde_json::Value;
use tokio::{net::TcpStream, sync::mpsc};

async fn master(more: &[&str]) -> Master {
    let arguments = ["mezzo-master", "--ip=127.0.0.1", "--port=0", "--registry=in_memory"].iter().chain(more);
    let flags = Flags::read(arguments.map(|argument| argument.into()), |_| None).unwrap();
    Master::start(flags).await.unwrap()
}

type AnyBody = UnsyncBoxBody<Bytes, Infallible>;

fn text(status: StatusCode, text: String) -> Response<AnyBody> {
    let mut response = Response::new(Full::from(text).boxed_unsync());
    *response.status_mut() = status;
    response
}

/// An agent that says what it is told to, and answers to every path with what it was asked.
#[derive(Clone)]
struct Agent {
    master: SocketAddr,
    heard: mpsc::UnboundedSender<ToAgent>,
    says: Arc<tokio::sync::Mutex<Option<mpsc::UnboundedReceiver<FromAgent>>>>,
}

struct Ends {
    heard: mpsc::UnboundedReceiver<ToAgent>,
    says: mpsc::UnboundedSender<FromAgent>,
}

impl Agent {
    fn new(master: SocketAddr) -> (Self, Ends) {
        let (heard_sender, heard) = mpsc::unbounded_channel();
        let (says, says_receiver) = mpsc::unbounded_channel();
        let says_receiver = Arc::new(tokio::sync::Mutex::new(Some(says_receiver)));
        (Self { master, heard: heard_sender, says: says_receiver }, Ends { heard, says })
    }

    /// Dials, upgrades, and serves until the connection ends.
    async fn dial(self, headers: &[(&str, &str)]) -> Result<(), StatusCode> {
        let stream = TcpStream::connect(self.master).await.unwrap();
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection.with_upgrades());
        let mut request = Request::get("/link").header("Connection", "Upgrade").header("Upgrade", "mezzo-link");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = sender.send_request(request.body(Full::<Bytes>::default()).unwrap()).await.unwrap();
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Err(response.status());
        }
        assert_eq!(response.headers()["mezzo-link-version"], "1");
        let upgraded = hyper::upgrade::on(response).await.unwrap();
        let service = service_fn(move |request| {
            let agent = self.clone();
            async move { Ok::<_, Infallible>(agent.serve(request).await) }
        });
        let _ =
            hyper::server::conn::http2::Builder::new(TokioExecutor::new()).serve_connection(upgraded, service).await;
        Ok(())
    }

    fn dial_bulk(self, token: String) -> Pin<Box<dyn Future<Output = Result<(), StatusCode>> + Send>> {
        Box::pin(async move { self.dial(&[("Mezzo-Link-Version", "1"), ("Mezzo-Link-Bulk", &token)]).await })
    }

    async fn serve(self, request: Request<Incoming>) -> Response<AnyBody> {
        if request.uri().path() == "/link/control" {
            return self.control(request).await;
        }
        let (parts, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let answer =
            format!("{} {} {}", parts.method, parts.uri.path_and_query().unwrap(), String::from_utf8_lossy(&body));
        assert!(!parts.headers.contains_key("connection"));
        text(StatusCode::ACCEPTED, answer)
    }

    async fn control(self, request: Request<Incoming>) -> Response<AnyBody> {
        let says = self.says.lock().await.take().unwrap();
        tokio::spawn(async move {
            let mut body = request.into_body();
            let mut decoder = Decoder::new();
            while let Some(Ok(frame)) = body.frame().await {
                decoder.feed(&frame.into_data().unwrap_or_default());
                while let Some(bytes) = decoder.next().unwrap() {
                    let message = ToAgent::decode(bytes).unwrap();
                    if let Some(to_agent::Message::OpenBulk(open)) = &message.message {
                        let (agent, token) = (self.clone(), open.token.clone());
                        tokio::spawn(agent.dial_bulk(token));
                    }
                    let _ = self.heard.send(message);
                }
            }
        });
        let frames = futures_util::stream::unfold(says, |mut says| async {
            let message = says.recv().await?;
            let mut out = BytesMut::new();
            encode_frame(&mut out, &message);
            Some((Ok(Frame::data(out.freeze())), says))
        });
        Response::new(StreamBody::new(frames).boxed_unsync())
    }
}

fn register() -> FromAgent {
    let scalar = |name: &str, value| v1::Resource {
        name: name.into(),
        r#type: v1::value::Type::Scalar as i32,
        scalar: Some(v1::value::Scalar { value }),
        ..Default::default()
    };
    let agent = v1::AgentInfo {
        hostname: "here".into(),
        port: Some(5051),
        resources: vec![scalar("cpus", 2.0), scalar("mem", 1024.0)],
        ..Default::default()
    };
    let capability = |kind: v1::agent_info::capability::Type| v1::agent_info::Capability { r#type: Some(kind as i32) };
    use v1::agent_info::capability::Type;
    FromAgent {
        message: Some(from_agent::Message::Register(Register {
            agent,
            version: "1.11.0".into(),
            capabilities: [Type::MultiRole, Type::HierarchicalRole, Type::ReservationRefinement].map(capability).into(),
            ..Default::default()
        })),
    }
}

async fn ask(master: &Master, method: &str, path: &str, body: &'static str) -> (StatusCode, String) {
    let stream = TcpStream::connect(master.address()).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let request =
        Request::builder().method(method).uri(path).header("Host", "m").body(Full::<Bytes>::from(body)).unwrap();
    let response = sender.send_request(request).await.unwrap();
    let status = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

async fn agents(master: &Master) -> Value {
    serde_json::from_str::<Value>(&ask(master, "GET", "/slaves", "").await.1).unwrap()["slaves"].take()
}

async fn eventually<T>(what: &str, mut check: impl AsyncFnMut() -> Option<T>) -> T {
    let found = async {
        loop {
            if let Some(found) = check().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), found).await.unwrap_or_else(|_| panic!("{what}"))
}

async fn registered(ends: &mut Ends) -> (u64, String) {
    loop {
        let message = ends.heard.recv().await.expect("the link ended");
        if let Some(to_agent::Message::Registered(registered)) = message.message {
            return (message.term, registered.agent_id.value);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_registers_is_seen_and_reached() {
    let master = master(&["--agent_ping_timeout=50ms", "--max_agent_ping_timeouts=100"]).await;
    let (agent, mut ends) = Agent::new(master.address());
    let dialled = tokio::spawn(agent.dial(&[("Mezzo-Link-Version", "1")]));
    ends.says.send(register()).unwrap();
    let (term, id) = registered(&mut ends).await;
    assert!(term > 0);

    let seen = eventually("the agent is not seen", async || agents(&master).await.get(0).cloned()).await;
    assert_eq!(seen["id"], id.as_str());
    assert_eq!(seen["hostname"], "here");
    assert_eq!(seen["resources"]["cpus"], 2.0);
    assert_eq!(seen["active"], true);

    let ping = eventually("no ping came", async || match ends.heard.recv().await?.message {
        Some(to_agent::Message::Ping(ping)) => Some(ping),
        _ => None,
    });
    let sequence = ping.await.sequence;
    ends.says.send(FromAgent { message: Some(from_agent::Message::Pong(Pong { sequence })) }).unwrap();

    let path = format!("/agent/{id}/files/read?path=/x%20y&offset=0");
    let (status, body) = ask(&master, "GET", &path, "").await;
    assert_eq!((status, body.as_str()), (StatusCode::ACCEPTED, "GET /files/read?path=/x%20y&offset=0 "));
    let (status, body) = ask(&master, "POST", &format!("/agent/{id}/api/v1"), "{}").await;
    assert_eq!((status, body.as_str()), (StatusCode::ACCEPTED, "POST /api/v1 {}"));
    let mut opened = 0;
    while let Ok(message) = ends.heard.try_recv() {
        opened += usize::from(matches!(message.message, Some(to_agent::Message::OpenBulk(_))));
    }
    assert_eq!(opened, 1, "one bulk connection serves all requests");

    dialled.abort();
    eventually("the lost link is not seen", async || (agents(&master).await[0]["active"] == false).then_some(())).await;
    let (status, body) = ask(&master, "GET", &path, "").await;
    assert_eq!(status, StatusCode::NOT_FOUND, "{body}");
    master.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_of_another_version_or_with_a_made_up_token_is_refused() {
    let master = master(&[]).await;
    let (agent, _ends) = Agent::new(master.address());
    assert_eq!(agent.clone().dial(&[]).await, Err(StatusCode::UPGRADE_REQUIRED));
    assert_eq!(agent.clone().dial(&[("Mezzo-Link-Version", "2")]).await, Err(StatusCode::UPGRADE_REQUIRED));
    let made_up = [("Mezzo-Link-Version", "1"), ("Mezzo-Link-Bulk", "made up")];
    assert_eq!(agent.dial(&made_up).await, Err(StatusCode::NOT_FOUND));
    master.stop().await;
}

/// Frames that an agent of the first packaged version sent (`agent/core/tests/link_formats.rs` tells in which conversation).
fn said_by_the_first_version() -> Vec<FromAgent> {
    let path = format!("{}/../agent/core/tests/data/from-agent-1.frames", env!("CARGO_MANIFEST_DIR"));
    let mut decoder = Decoder::new();
    decoder.feed(&std::fs::read(path).unwrap());
    std::iter::from_fn(|| decoder.next().unwrap()).map(|bytes| FromAgent::decode(bytes).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_agent_of_the_first_version_says_is_understood() {
    use from_agent::Message as From;
    let master = master(&[]).await;
    let said = said_by_the_first_version();
    let (registers, rest): (Vec<FromAgent>, _) =
        said.into_iter().partition(|said| matches!(said.message, Some(From::Register(_))));
    let (reports, rest): (Vec<FromAgent>, Vec<FromAgent>) =
        rest.into_iter().partition(|said| matches!(said.message, Some(From::Reregister(_))));
    let (goodbye, news): (Vec<FromAgent>, Vec<FromAgent>) =
        rest.into_iter().partition(|said| matches!(said.message, Some(From::Unregister(_))));
    assert!(!registers.is_empty() && !reports.is_empty() && news.len() > 5 && goodbye.len() == 1);

    let (agent, mut ends) = Agent::new(master.address());
    let dialled = tokio::spawn(agent.dial(&[("Mezzo-Link-Version", "1")]));
    registers.into_iter().for_each(|message| ends.says.send(message).unwrap());
    registered(&mut ends).await;
    dialled.abort();

    // The same agent with a past.
    let (agent, mut ends) = Agent::new(master.address());
    let dialled = tokio::spawn(agent.dial(&[("Mezzo-Link-Version", "1")]));
    reports.into_iter().for_each(|message| ends.says.send(message).unwrap());
    eventually("the master knows the agent by the id that it brings", async || {
        match ends.heard.recv().await?.message {
            Some(to_agent::Message::Reregistered(back)) => (back.agent_id.value == "m-S0").then_some(()),
            _ => None,
        }
    })
    .await;
    let state = async || serde_json::from_str::<Value>(&ask(&master, "GET", "/state", "").await.1).unwrap();
    let tasks = eventually("its tasks are seen", async || {
        let framework = state().await["frameworks"].as_array()?.iter().find(|one| one["id"] == "m-0000")?.clone();
        let tasks = framework["tasks"].as_array()?.clone();
        (!tasks.is_empty()).then_some(tasks)
    });
    let named: Vec<String> = tasks.await.iter().map(|task| task["name"].to_string()).collect();
    assert!(named.contains(&"\"custom\"".to_owned()), "{named:?}");
    news.into_iter().for_each(|message| ends.says.send(message).unwrap());
    goodbye.into_iter().for_each(|message| ends.says.send(message).unwrap());
    eventually("the agent said goodbye", async || {
        let agents = agents(&master).await;
        agents.as_array()?.iter().all(|agent| agent["id"] != "m-S0").then_some(())
    })
    .await;
    dialled.abort();
    master.stop().await;
}
