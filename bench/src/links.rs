//! Many agents in one process: each with a link of its own over a real socket, speaking what a real agent speaks.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::{Result, bail};
use bytes::{Bytes, BytesMut};
use futures_util::stream;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Empty, StreamBody};
use hyper::{body::Frame, body::Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo};
use mezzo_api::{
    MESOS_VERSION,
    frame::{Decoder, encode_frame},
    link::{self, FromAgent, ToAgent, from_agent, to_agent},
    resources::Resources,
    v1::{self, agent_info::capability::Type as Capability},
};
use prost::Message;
use tokio::{
    net::TcpStream,
    sync::{mpsc, oneshot, watch},
};

/// How long an agent waits at most before it dials again.
const BACKOFF: Duration = Duration::from_millis(100);

/// One that is played.
pub(crate) struct Agent {
    number: usize,
    /// What it reports once it has an id: tasks of one framework.
    tasks: usize,
    /// What it has.
    resources: Arc<str>,
    id: Option<v1::AgentId>,
    registered: Registered,
}

/// How many are registered with the present master.
type Registered = Arc<AtomicUsize>;

/// Agents that are played; they end with this.
pub(crate) struct Agents {
    /// How many there are.
    pub(crate) count: usize,
    registered: Registered,
    _end: oneshot::Sender<()>,
}

impl Agents {
    /// How many are registered with the present master.
    pub(crate) fn registered(&self) -> usize {
        self.registered.load(Ordering::Relaxed)
    }
}

/// Who leads, `host:port`, as far as known.
pub(crate) type Leader = watch::Receiver<Option<String>>;

/// What updates of a played task are known by.
const RUNNING: &[u8] = b"\x11\x11\x11\x11\x11\x11\x41\x11\x81\x11\x11\x11\x11\x11\x11\x11";
const FINISHED: &[u8] = b"\x22\x22\x22\x22\x22\x22\x42\x22\x82\x22\x22\x22\x22\x22\x22\x22";

/// Resources of an agent that has room for more.
pub(crate) const LARGE: &str = "cpus:32;mem:131072;disk:1000000;ports:[31000-32000]";

/// Plays agents on a thread of their own: a framework that is measured beside them does not wait for them. Tasks that are
/// launched there run at once, and end when that is known.
pub(crate) fn play(leader: &Leader, count: usize, tasks: usize, resources: &str) -> Result<Agents> {
    let resources: Arc<str> = resources.into();
    let (end, ended) = oneshot::channel();
    let registered = Registered::default();
    let (leader, all) = (leader.clone(), registered.clone());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new().name("agents".into()).spawn(move || {
        for number in 0..count {
            let agent = Agent { number, tasks, resources: resources.clone(), id: None, registered: all.clone() };
            runtime.spawn(agent.live(leader.clone()));
        }
        let _ = runtime.block_on(ended);
    })?;
    Ok(Agents { count, registered, _end: end })
}

impl Agent {
    /// One link after the other, with whoever leads.
    async fn live(mut self, mut leader: Leader) {
        let pause = BACKOFF.mul_f64(f64::from(u32::try_from(self.number % 100).unwrap_or(0)) / 100.0);
        loop {
            let master = leader.borrow_and_update().clone();
            if let Some(master) = master {
                let mut counted = false;
                tokio::select! {
                    // Whatever ended it, the agent dials again, as a real one does.
                    _ = self.link(&master, &mut counted) => {}
                    () = changed(&mut leader) => {}
                }
                if counted {
                    self.registered.fetch_sub(1, Ordering::Relaxed);
                }
            } else {
                changed(&mut leader).await;
            }
            tokio::time::sleep(pause).await;
        }
    }

    /// One link, from the dial to its end.
    async fn link(&mut self, master: &str, counted: &mut bool) -> Result<()> {
        let stream = TcpStream::connect(master).await?;
        stream.set_nodelay(true)?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection.with_upgrades());
        let request = Request::get("/link")
            .header(header::HOST, master)
            .header(header::CONNECTION, "Upgrade")
            .header(header::UPGRADE, "mezzo-link")
            .header("mezzo-link-version", "1")
            .body(Empty::<Bytes>::new())?;
        let response = sender.send_request(request).await?;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            bail!("the master answers {}", response.status());
        }
        let upgraded = hyper::upgrade::on(response).await?;
        // What the master says goes to this task, what the agent says to the response's body.
        let (said, mut heard) = mpsc::unbounded_channel::<Bytes>();
        let (say, saying) = mpsc::unbounded_channel::<Bytes>();
        let saying = Arc::new(std::sync::Mutex::new(Some(saying)));
        let service = hyper::service::service_fn(move |request: Request<Incoming>| {
            let saying = saying.lock().ok().and_then(|mut saying| saying.take());
            let said = said.clone();
            async move { Ok::<_, std::convert::Infallible>(control(request, said, saying)) }
        });
        let serving =
            hyper::server::conn::http2::Builder::new(TokioExecutor::new()).serve_connection(upgraded, service);
        let first = self.first_message();
        send(&say, first);
        let talking = async {
            let mut decoder = Decoder::new();
            while let Some(piece) = heard.recv().await {
                decoder.feed(&piece);
                while let Some(frame) = decoder.next()? {
                    let Some(message) = ToAgent::decode(frame)?.message else { continue };
                    self.hear(message, &say, counted);
                }
            }
            Ok(())
        };
        tokio::select! {
            result = serving => Ok(result?),
            result = talking => result,
        }
    }

    fn hear(&mut self, message: to_agent::Message, say: &mpsc::UnboundedSender<Bytes>, counted: &mut bool) {
        match message {
            to_agent::Message::Registered(link::Registered { agent_id, .. })
            | to_agent::Message::Reregistered(link::Reregistered { agent_id, .. }) => {
                self.id = Some(agent_id);
                if !std::mem::replace(counted, true) {
                    self.registered.fetch_add(1, Ordering::Relaxed);
                }
            }
            to_agent::Message::Ping(link::Ping { sequence }) => {
                send(say, from_agent::Message::Pong(link::Pong { sequence }));
            }
            to_agent::Message::RunTask(run) => {
                let framework = run.framework.id.unwrap_or_default();
                self.tell(say, framework, run.task.task_id, v1::TaskState::TaskRunning);
            }
            to_agent::Message::Acknowledge(acknowledge) if acknowledge.uuid == RUNNING => {
                self.tell(say, acknowledge.framework_id, acknowledge.task_id, v1::TaskState::TaskFinished);
            }
            _ => {}
        }
    }

    fn tell(
        &self,
        say: &mpsc::UnboundedSender<Bytes>,
        framework_id: v1::FrameworkId,
        task_id: v1::TaskId,
        state: v1::TaskState,
    ) {
        let uuid = if state == v1::TaskState::TaskRunning { RUNNING } else { FINISHED };
        let status = v1::TaskStatus {
            executor_id: Some(v1::ExecutorId { value: task_id.value.clone() }),
            task_id,
            state: state.into(),
            agent_id: self.id.clone(),
            source: Some(v1::task_status::Source::Executor.into()),
            uuid: Some(Bytes::from_static(uuid)),
            ..Default::default()
        };
        let update = link::StatusUpdate { framework_id, status, latest_state: Some(state.into()) };
        send(say, from_agent::Message::StatusUpdate(update));
    }

    fn first_message(&self) -> from_agent::Message {
        let agent = v1::AgentInfo {
            hostname: format!("agent-{:05}.bench", self.number),
            port: Some(5051),
            resources: Resources::parse(&self.resources, "*").unwrap_or_default().to_protos(),
            id: self.id.clone(),
            ..Default::default()
        };
        let capability = |kind: Capability| v1::agent_info::Capability { r#type: Some(kind.into()) };
        let register = link::Register {
            agent,
            version: MESOS_VERSION.to_owned(),
            capabilities: [Capability::MultiRole, Capability::HierarchicalRole, Capability::ReservationRefinement]
                .map(capability)
                .into(),
            ..Default::default()
        };
        let Some(id) = &self.id else { return from_agent::Message::Register(register) };
        let framework = v1::FrameworkId { value: "bench-framework".to_owned() };
        let info = v1::FrameworkInfo {
            user: "root".to_owned(),
            name: "bench".to_owned(),
            id: Some(framework.clone()),
            roles: vec!["*".to_owned()],
            ..Default::default()
        };
        let task = |number: usize| v1::Task {
            name: "task".to_owned(),
            task_id: v1::TaskId { value: format!("{}-{number}", self.number) },
            framework_id: framework.clone(),
            agent_id: id.clone(),
            state: v1::TaskState::TaskRunning.into(),
            resources: Resources::parse("cpus:0.1;mem:64", "*").unwrap_or_default().to_protos(),
            ..Default::default()
        };
        from_agent::Message::Reregister(link::Reregister {
            register,
            report: 1,
            last: true,
            frameworks: vec![info],
            tasks: (0..self.tasks).map(task).collect(),
            ..Default::default()
        })
    }
}

/// Another one leads, or nobody does; never when the leader is always the same one.
async fn changed(leader: &mut Leader) {
    if leader.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}

fn send(say: &mpsc::UnboundedSender<Bytes>, message: from_agent::Message) {
    let mut bytes = BytesMut::new();
    encode_frame(&mut bytes, &FromAgent { message: Some(message) });
    // A link that has ended is dialled again.
    let _ = say.send(bytes.freeze());
}

type Body = http_body_util::combinators::UnsyncBoxBody<Bytes, std::convert::Infallible>;

/// `POST /link/control`
fn control(
    request: Request<Incoming>,
    said: mpsc::UnboundedSender<Bytes>,
    saying: Option<mpsc::UnboundedReceiver<Bytes>>,
) -> Response<Body> {
    let Some(saying) = saying else {
        let mut response = Response::new(Empty::new().boxed_unsync());
        *response.status_mut() = StatusCode::NOT_FOUND;
        return response;
    };
    tokio::spawn(async move {
        let mut body = request.into_body();
        while let Some(Ok(frame)) = body.frame().await {
            let Ok(piece) = frame.into_data() else { continue };
            if said.send(piece).is_err() {
                return;
            }
        }
    });
    let pieces = stream::unfold(saying, |mut saying| async move {
        let piece = saying.recv().await?;
        Some((Ok(Frame::data(piece)), saying))
    });
    let mut response = Response::new(StreamBody::new(pieces).boxed_unsync());
    let kind = HeaderValue::from_static("application/x-mezzo-link");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}
