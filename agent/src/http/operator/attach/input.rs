//! ATTACH_CONTAINER_INPUT: records as they come, handed on as the container takes them.

use std::sync::Arc;

use http::{Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use mezzo_agent_core::view::View;
use mezzo_api::{
    codec::{Encoding, decode},
    recordio::Decoder,
    v1::agent::{
        Call, ProcessIo,
        call::{self, attach_container_input},
        process_io::{self, control, data},
    },
};
use mezzo_executor::{
    frame::Window,
    io::wire::{MAX_PAYLOAD, Message},
};
use mezzo_server::http::answer;

use super::{
    super::{
        super::{Body, Door},
        calls::Refused,
    },
    NotHeld, Socket, find,
    socket::gone,
};
use crate::called::ContainerPath;

/// The rest of a request whose first record was read.
pub(in super::super) struct Given {
    pub(in super::super) body: Incoming,
    pub(in super::super) decoder: Decoder,
    pub(in super::super) encoding: Encoding,
}

/// What one step of the client's stream brought.
enum Step {
    Messages(Vec<Message>),
    /// It is over.
    End,
    /// The client broke off.
    Gone,
}

/// Answers when the stream or the container ends.
pub(in super::super) async fn input(door: &Arc<Door>, view: &View, call: &Call, given: Given) -> Response<Body> {
    match attach(door, view, call, given).await {
        Ok(()) => answer::empty(StatusCode::OK),
        Err((status, text)) => answer::text(status, text),
    }
}

async fn attach(door: &Arc<Door>, view: &View, call: &Call, mut given: Given) -> Result<(), Refused> {
    let internal = |error: std::io::Error| (StatusCode::INTERNAL_SERVER_ERROR, error.to_string());
    let part = call.attach_container_input.clone().unwrap_or_default();
    if part.r#type() != attach_container_input::Type::ContainerId {
        let text = "Expecting 'attach_container_input.type' to be CONTAINER_ID";
        return Err((StatusCode::BAD_REQUEST, text.to_owned()));
    }
    let path = ContainerPath::from(&part.container_id.unwrap_or_default());
    let found = find(door, view, path).await?;
    let socket = Socket::open(&door.io_directory, &found.id).await;
    let mut socket = socket.map_err(|NotHeld| {
        let text = "I/O switchboard server was disabled for this container";
        (StatusCode::INTERNAL_SERVER_ERROR, text.to_owned())
    })?;
    socket.send(&Message::Input).await.map_err(internal)?;
    if said(socket.granted().await.map_err(internal)?)? {
        return Ok(());
    }
    loop {
        let step = tokio::select! {
            answer = socket.next() => {
                if said(answer.map_err(internal)?.ok_or_else(gone).map_err(internal)?)? {
                    return Ok(());
                }
                continue;
            }
            step = given.step() => step.map_err(|text| (StatusCode::BAD_REQUEST, text))?,
        };
        let messages = match step {
            Step::Messages(messages) => messages,
            Step::End => vec![Message::Finish],
            Step::Gone => return Ok(()),
        };
        let last = messages.last() == Some(&Message::Finish);
        for message in &messages {
            // An end or a refusal comes while the container takes nothing any more.
            let sent = socket.send(message).await;
            if sent.is_err() {
                break;
            }
        }
        if last {
            loop {
                match socket.next().await {
                    Ok(Some(message)) if said(message.clone())? => return Ok(()),
                    Ok(Some(_)) => {}
                    Ok(None) | Err(_) => return Ok(()),
                }
            }
        }
    }
}

/// What the supervisor says: `true` when all is over.
fn said(message: Message) -> Result<bool, Refused> {
    match message {
        Message::Done | Message::End => Ok(true),
        Message::Busy => Err((StatusCode::CONFLICT, "Multiple input connections are not allowed".to_owned())),
        Message::NotResized(text) => Err((StatusCode::BAD_REQUEST, text)),
        Message::NotWritten(text) => Err((StatusCode::INTERNAL_SERVER_ERROR, text)),
        _ => Ok(false),
    }
}

impl Given {
    /// Cancel-safe: a piece of the body is taken whole, or not at all.
    async fn step(&mut self) -> Result<Step, String> {
        loop {
            let mut messages = Vec::new();
            while let Some(record) = self.decoder.next().map_err(|error| error.to_string())? {
                let call: Call = decode(self.encoding, &record).map_err(|error| error.to_string())?;
                messages.extend(translate(&call.attach_container_input.unwrap_or_default())?);
            }
            if !messages.is_empty() {
                return Ok(Step::Messages(messages));
            }
            match self.body.frame().await {
                None => return Ok(Step::End),
                Some(Err(_)) => return Ok(Step::Gone),
                Some(Ok(frame)) => {
                    if let Ok(piece) = frame.into_data() {
                        self.decoder.feed(&piece);
                    }
                }
            }
        }
    }
}

/// What a record means, or what is wrong with it (IOSwitchboardServerProcess::validate).
fn translate(input: &call::AttachContainerInput) -> Result<Vec<Message>, String> {
    if input.r#type() != attach_container_input::Type::ProcessIo {
        let given = input.r#type().as_str_name();
        return Err(format!("Expecting 'attach_container_input.type' to be 'PROCESS_IO' instead of: '{given}'"));
    }
    let message = input.process_io.as_ref().ok_or("Expecting 'attach_container_input.process_io' to be present")?;
    match message.r#type.map(process_io::Type::try_from) {
        None => Err("Expecting 'process_io.type' to be present".into()),
        Some(Ok(process_io::Type::Control)) => control(message),
        Some(Ok(process_io::Type::Data)) => stdin(message),
        Some(Ok(process_io::Type::Unknown) | Err(_)) => Err("'process_io.type' is unknown".into()),
    }
}

fn control(message: &ProcessIo) -> Result<Vec<Message>, String> {
    let control = message.control.as_ref().ok_or("Expecting 'process_io.control' to be present")?;
    match control.r#type.map(control::Type::try_from) {
        None => Err("Expecting 'process_io.control.type' to be present".into()),
        Some(Ok(control::Type::TtyInfo)) => {
            let info = control.tty_info.as_ref().ok_or("Expecting 'process_io.control.tty_info' to be present")?;
            let size = info.window_size.as_ref().ok_or("Expecting 'tty_info.window_size' to be present")?;
            let bounded = |number: u32| u16::try_from(number).unwrap_or(u16::MAX);
            Ok(vec![Message::Resize(Window { rows: bounded(size.rows), columns: bounded(size.columns) })])
        }
        Some(Ok(control::Type::Heartbeat)) if control.heartbeat.is_none() => {
            Err("Expecting 'process_io.control.heartbeat' to be present".into())
        }
        Some(Ok(control::Type::Heartbeat)) => Ok(Vec::new()),
        Some(Ok(control::Type::Unknown) | Err(_)) => Err("'process_io.control.type' is unknown".into()),
    }
}

fn stdin(message: &ProcessIo) -> Result<Vec<Message>, String> {
    let data = message.data.as_ref().ok_or("Expecting 'process_io.data' to be present")?;
    match data.r#type.map(data::Type::try_from) {
        None => return Err("Expecting 'process_io.data.type' to be present".into()),
        Some(Ok(data::Type::Stdin)) => {}
        Some(_) => return Err("Expecting 'process_io.data.type' to be 'STDIN'".into()),
    }
    let bytes = data.data.as_ref().ok_or("Expecting 'process_io.data.data' to be present")?;
    if bytes.is_empty() {
        return Ok(vec![Message::Eof]);
    }
    Ok(bytes.chunks(MAX_PAYLOAD / 4).map(|chunk| Message::Stdin(chunk.to_vec())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meaning(json: &str) -> Result<Vec<Message>, String> {
        let json = format!(r#"{{"type":"ATTACH_CONTAINER_INPUT","attach_container_input":{json}}}"#);
        let call: Call = decode(Encoding::Json, json.as_bytes()).unwrap();
        translate(&call.attach_container_input.unwrap())
    }

    #[test]
    fn records_mean_what_mesos_says() {
        let io = |io: &str| meaning(&format!(r#"{{"type":"PROCESS_IO","process_io":{io}}}"#));
        let data = |data: &str| io(&format!(r#"{{"type":"DATA","data":{data}}}"#));
        assert_eq!(data(r#"{"type":"STDIN","data":"YWI="}"#), Ok(vec![Message::Stdin(b"ab".to_vec())]));
        assert_eq!(data(r#"{"type":"STDIN","data":""}"#), Ok(vec![Message::Eof]));
        assert_eq!(
            data(r#"{"type":"STDOUT","data":"YWI="}"#),
            Err("Expecting 'process_io.data.type' to be 'STDIN'".into())
        );
        assert_eq!(data(r#"{"type":"STDIN"}"#), Err("Expecting 'process_io.data.data' to be present".into()));
        let control = |control: &str| io(&format!(r#"{{"type":"CONTROL","control":{control}}}"#));
        let resized = control(r#"{"type":"TTY_INFO","tty_info":{"window_size":{"rows":5,"columns":70000}}}"#);
        assert_eq!(resized, Ok(vec![Message::Resize(Window { rows: 5, columns: u16::MAX })]));
        assert_eq!(
            control(r#"{"type":"TTY_INFO","tty_info":{}}"#),
            Err("Expecting 'tty_info.window_size' to be present".into())
        );
        assert_eq!(control(r#"{"type":"HEARTBEAT","heartbeat":{}}"#), Ok(Vec::new()));
        assert_eq!(io("{}"), Err("Expecting 'process_io.type' to be present".into()));
        let again = meaning(r#"{"type":"CONTAINER_ID","container_id":{"value":"a"}}"#);
        assert_eq!(
            again,
            Err("Expecting 'attach_container_input.type' to be 'PROCESS_IO' instead of: 'CONTAINER_ID'".into())
        );
    }
}
