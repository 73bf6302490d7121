//! Streams from and to a container: ATTACH_CONTAINER_OUTPUT, ATTACH_CONTAINER_INPUT, LAUNCH_NESTED_CONTAINER_SESSION
//! (src/slave/http.cpp; src/slave/containerizer/mesos/io/switchboard.cpp).

mod follow;
mod input;
mod output;
mod socket;

use std::sync::Arc;

use http::{HeaderValue, Response, StatusCode, header::CONTENT_TYPE};
use mezzo_agent_core::view::View;
use mezzo_api::{
    codec::Encoding,
    v1::agent::{Call, call},
};
use mezzo_server::http::answer;

use super::{
    super::{Body, Door},
    calls::{self, Refused, Wanted},
    media::{Form, MESSAGE_CONTENT_TYPE, RECORDIO},
    places,
};
use crate::called::{ContainerPath, Kind, Launched, Subject};

pub(super) use input::{Given, input};

use output::Guards;
use socket::{NotHeld, Socket};

/// What is attached to.
struct Attachable {
    path: ContainerPath,
    /// What the containerizer calls it.
    id: String,
    sandbox: std::path::PathBuf,
    kind: Option<Kind>,
    subject: Subject,
}

fn unknown(path: &ContainerPath) -> Refused {
    (StatusCode::NOT_FOUND, format!("Container {path} cannot be found"))
}

async fn find(door: &Door, view: &View, path: ContainerPath) -> Result<Attachable, Refused> {
    if let Some(own) = places::own(view, &path) {
        let (id, sandbox) = (own.id(), own.sandbox());
        return Ok(Attachable { path, id: id.to_string(), sandbox, kind: None, subject: Subject::Own(id) });
    }
    match door.calls.find(&path).await {
        Some(found) if !found.ended => Ok(Attachable {
            id: path.to_string(),
            sandbox: found.meta.sandbox,
            kind: Some(found.meta.kind),
            subject: Subject::Called(path.clone()),
            path,
        }),
        // Its executor is there, and it is not (any more).
        _ if places::root(view, &path).is_some() => {
            Err((StatusCode::INTERNAL_SERVER_ERROR, format!("Unknown container {path}")))
        }
        _ => Err(unknown(&path)),
    }
}

/// Answers the calls whose answer is a stream.
pub(super) async fn streamed(door: &Arc<Door>, view: &View, call: &Call, form: Form) -> Option<Response<Body>> {
    let result = match call.r#type() {
        call::Type::AttachContainerOutput => {
            let id = call.attach_container_output.clone().unwrap_or_default().container_id;
            attached(door, view, ContainerPath::from(&id), form).await
        }
        call::Type::LaunchNestedContainerSession => session(door, view, call, form).await,
        _ => return None,
    };
    Some(result.unwrap_or_else(|(status, text)| answer::text(status, text)))
}

async fn attached(door: &Arc<Door>, view: &View, path: ContainerPath, form: Form) -> Result<Response<Body>, Refused> {
    let found = find(door, view, path).await?;
    let reader = found.kind.filter(|kind| *kind == Kind::Session).map(|_| door.calls.read(found.path.clone()));
    let guards = Guards { _owner: None, _reader: reader };
    match Socket::open(&door.io_directory, &found.id).await {
        Ok(mut socket) => {
            socket.attach_output().await.map_err(internal)?;
            Ok(response(form, output::body(socket, encoding(form), door.flags.http_heartbeat_interval, guards)))
        }
        Err(NotHeld) if found.kind == Some(Kind::Session) => {
            Err((StatusCode::INTERNAL_SERVER_ERROR, "I/O switchboard has shutdown".to_owned()))
        }
        Err(NotHeld) => {
            let ended = door.calls.clone();
            let end = tokio::spawn(async move { ended.wait(found.subject).await });
            Ok(response(form, follow::body(found.sandbox, end, encoding(form), door.flags.http_heartbeat_interval)))
        }
    }
}

async fn session(door: &Arc<Door>, view: &View, call: &Call, form: Form) -> Result<Response<Body>, Refused> {
    let part = call.launch_nested_container_session.clone().unwrap_or_default();
    let path = ContainerPath::from(&part.container_id);
    let wanted = Wanted {
        path: path.clone(),
        kind: Kind::Session,
        command: part.command.unwrap_or_default(),
        container: part.container,
        allotment: None,
    };
    // From here on it ends with its connection.
    let owner = match calls::launch(door, view, wanted).await? {
        Launched::Already => return Ok(answer::empty(StatusCode::ACCEPTED)),
        Launched::New(owner) => owner,
    };
    let guards = Guards { _owner: owner, _reader: Some(door.calls.read(path.clone())) };
    let socket = Socket::open(&door.io_directory, &path.to_string()).await;
    let mut socket = socket.map_err(|NotHeld| internal(std::io::Error::other("I/O switchboard has shutdown")))?;
    socket.attach_output().await.map_err(internal)?;
    Ok(response(form, output::body(socket, encoding(form), door.flags.http_heartbeat_interval, guards)))
}

fn internal(error: std::io::Error) -> Refused {
    (StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
}

fn encoding(form: Form) -> Encoding {
    match form {
        Form::Plain(encoding) | Form::Records(encoding) => encoding,
    }
}

fn response(form: Form, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    match form {
        Form::Plain(encoding) => {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(encoding.media_type()));
        }
        Form::Records(encoding) => {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(RECORDIO));
            headers.insert(MESSAGE_CONTENT_TYPE, HeaderValue::from_static(encoding.media_type()));
        }
    }
    response
}
