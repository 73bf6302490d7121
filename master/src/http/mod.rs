//! The doors that speak HTTP.

mod body;
mod events;
mod explain;
mod forward;
mod login;
mod masters;
mod metrics;
mod node;
mod operator;
mod owed;
mod plain;
mod readers;
mod reads;
mod realm;
mod route;
mod scheduler;
mod standby;
mod ui;
mod webui;

use std::{net::SocketAddr, panic::AssertUnwindSafe, pin::pin, sync::Arc, time::Duration};

use futures_util::FutureExt;
use http::{Request, Response, StatusCode};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use mezzo_election::Lease;
use mezzo_server::{files::Files, http::answer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
};

pub(crate) use body::{Body, BoxError};
pub(crate) use node::{Node, Role};
use owed::{Owed, PATIENCE};
pub(crate) use readers::Readers;
use route::Route;
pub(crate) use ui::Page;

use crate::{
    flags::Flags,
    identity::Identity,
    link::{self, Links},
    server::{CoreHandle, Cut},
    view::{Master, Published},
};

/// What all doors of a leader share.
#[derive(Debug)]
pub(crate) struct App {
    /// The way to the core.
    pub(crate) core: CoreHandle,
    /// What readers see.
    pub(crate) published: Arc<Published>,
    /// Agents' links.
    pub(crate) links: Arc<Links>,
    /// Who we are.
    pub(crate) identity: Identity,
    /// What we were told.
    pub(crate) flags: Flags,
    /// What `/files/…` shows.
    pub(crate) files: Files,
    /// `/files/…`
    pub(crate) file_router: axum::Router,
    /// What readers were given of the latest version.
    pub(crate) rendered: reads::Rendered,
    /// Who subscribes to events and waits for the first one.
    pub(crate) joining: events::Joining,
    /// What the web page's doors keep.
    pub(crate) page: ui::Page,
    /// How long it leads.
    pub(crate) lease: Lease,
}

impl App {
    fn master(&self) -> Master<'_> {
        Master { identity: &self.identity, flags: &self.flags }
    }
}

/// Accepts connections until `stop` says so. Readers' connections end with what is given back, whatever they still had to say.
pub(crate) async fn serve(node: Arc<Node>, listener: TcpListener, mut stop: watch::Receiver<bool>) -> Option<Readers> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    // Mesos writes `Mesos-Stream-Id`, and there may be clients that read it to the letter.
    builder.http1().title_case_headers(true).half_close(false);
    builder.http2().initial_stream_window_size(1024 * 1024).initial_connection_window_size(4 * 1024 * 1024);
    let builder = Arc::new(builder);
    let readers = match Readers::start() {
        Ok(readers) => readers,
        Err(error) => {
            tracing::error!(%error, "no thread for readers can be started: nothing is served");
            return None;
        }
    };
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.wait_for(|stop| *stop) => return Some(readers),
        };
        match accepted {
            Ok((stream, peer)) => {
                let _ = stream.set_nodelay(true);
                let door = Door { node: Arc::clone(&node), builder: Arc::clone(&builder), peer, stop: stop.clone() };
                readers.sort(stream, stop.clone(), |stream| door.serve(stream));
            }
            Err(error) => {
                // Most likely there are no more file descriptors: some come back when connections end.
                tracing::warn!(%error, "a connection cannot be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// What serves one connection.
struct Door {
    node: Arc<Node>,
    builder: Arc<auto::Builder<TokioExecutor>>,
    peer: SocketAddr,
    stop: watch::Receiver<bool>,
}

impl Door {
    async fn serve(self, stream: TcpStream) {
        let Self { node, builder, peer, mut stop } = self;
        let (cut, owed) = (Cut::default(), Owed::default());
        let service = {
            let (cut, owed) = (cut.clone(), owed.clone());
            service_fn(move |request| {
                let (node, cut, owed) = (Arc::clone(&node), cut.clone(), owed.clone());
                async move {
                    let response = guarded(&node, peer, &cut, request).await;
                    Ok::<_, std::convert::Infallible>(owed.note(response))
                }
            })
        };
        let stream = TokioIo::new(owed.counted(stream));
        let mut served = pin!(builder.serve_connection_with_upgrades(stream, service));
        let mut stuck = pin!(owed.is_stuck(PATIENCE));
        tokio::select! {
            // A client that goes away is no event of interest.
            _ = served.as_mut() => return,
            () = cut.wanted() => return,
            () = stuck.as_mut() => {
                tracing::info!(%peer, "a reader that takes nothing of its answer is cut off");
                return;
            }
            _ = stop.wait_for(|stop| *stop) => {}
        }
        // The streams have their ends already: they are written before the connection is closed.
        served.as_mut().graceful_shutdown();
        tokio::select! {
            _ = served => {}
            () = cut.wanted() => {}
            () = stuck => {}
        }
    }
}

/// A defect in one door is one failed request.
async fn guarded(node: &Arc<Node>, peer: SocketAddr, cut: &Cut, request: Request<Incoming>) -> Response<Body> {
    let what = format!("{} {}", request.method(), request.uri().path());
    match AssertUnwindSafe(dispatch(node, peer, cut, request)).catch_unwind().await {
        Ok(response) => response,
        Err(_) => {
            tracing::error!(request = what, "a request failed by a defect");
            answer::bare(StatusCode::INTERNAL_SERVER_ERROR)
        }
    }
}

async fn dispatch(node: &Arc<Node>, peer: SocketAddr, cut: &Cut, request: Request<Incoming>) -> Response<Body> {
    let Some(origins) = &node.flags.cors_allowed_origins else {
        return if is_forged(&request) { forged() } else { by_role(node, peer, cut, request).await };
    };
    if let Some(answer) = origins.preflight(request.method(), request.headers()) {
        return answer;
    }
    let headers = request.headers().clone();
    let forged = is_forged(&request) && !origins.trusts(&headers);
    let mut response = if forged { self::forged() } else { by_role(node, peer, cut, request).await };
    origins.mark(&headers, &mut response);
    response
}

async fn by_role(node: &Arc<Node>, peer: SocketAddr, cut: &Cut, mut request: Request<Incoming>) -> Response<Body> {
    let path = request.uri().path().to_owned();
    let route = route::find(&path);
    if let Route::Ui(name @ ("session" | "login" | "logout")) = route {
        return login::serve(node, name, request).await;
    }
    let role = node.role().await;
    // A master that does not lead only says who does, to agents and pages that look for the leader.
    if matches!(role, Role::Leading(_)) || !matches!(route, Route::Ui(_) | Route::Link) {
        let realm = realm::of(&path, request.method());
        if let Err(refusal) = node.gate.pass(realm, &mut request) {
            return *refusal;
        }
    }
    match role {
        Role::Leading(app) => lead(node, &app, peer, cut, request).await,
        role => standby::serve(node, &role, request).await,
    }
}

/// The doors of a leader.
async fn lead(node: &Node, app: &Arc<App>, peer: SocketAddr, cut: &Cut, request: Request<Incoming>) -> Response<Body> {
    let path = request.uri().path().to_owned();
    match route::find(&path) {
        Route::Scheduler => scheduler::serve(app, cut, request).await,
        Route::Operator => operator::serve(app, cut, request).await,
        Route::Link => link::accept(app, peer, request),
        Route::Agent { id, path } => {
            let (id, path) = (id.to_owned(), path.to_owned());
            forward::serve(app, &id, &path, request).await
        }
        Route::Home => webui::home(node, request.headers()).await,
        Route::Asset(file) => webui::asset(file, request.headers()).await,
        Route::Ui("masters") => masters::serve(node, &request).await,
        Route::Ui(name) => ui::serve(app, name, &request).await,
        Route::Change(endpoint) => operator::endpoint(app, endpoint, request).await,
        Route::Explain => explain::serve(app, &request).await,
        Route::Files(operation) => {
            let operation = operation.to_owned();
            mezzo_server::files::serve(&app.file_router, request, &operation).await.map(Body::File)
        }
        Route::Health => standby::health(app.identity.id()),
        Route::Redirect => answer::redirect(&format!("//{}", app.identity.authority())),
        Route::NotFound => answer::bare(StatusCode::NOT_FOUND),
        read => reads::serve(app, &read, &request).await,
    }
}

/// A browser sends this at the wish of another site's page. Clients that are no browsers do not say where they stand.
fn is_forged<B>(request: &Request<B>) -> bool {
    let site = request.headers().get("sec-fetch-site");
    !is_read(request.method()) && site.is_some_and(|site| site.as_bytes() == b"cross-site")
}

fn forged() -> Response<Body> {
    answer::text(StatusCode::FORBIDDEN, "A page of another site may not change this cluster.")
}

fn is_read(method: &http::Method) -> bool {
    matches!(*method, http::Method::GET | http::Method::HEAD | http::Method::OPTIONS)
}
