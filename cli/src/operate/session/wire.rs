//! The agent's calls, through the master, in protobuf (include/mesos/v1/agent/agent.proto).

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, combinators::BoxBody};
use hyper::body::Incoming;
use hyper::{Request, Response};
use mezzo_api::codec::{DecodeError, Encoding, decode, encode};
use mezzo_api::recordio::{Decoder, RecordIoError};
use mezzo_api::v1;
use mezzo_api::v1::agent::call::{self, attach_container_input};
use mezzo_api::v1::agent::process_io::{self, Control, control, data};
use mezzo_api::v1::agent::{Call, ProcessIo};
use mezzo_api::v1::tty_info::WindowSize;
use mezzo_sdk::Address;
use tokio::sync::mpsc;

use crate::http::{HttpError, Streamed, begin};

const PROTOBUF: &str = "application/x-protobuf";
const RECORDIO: &str = "application/recordio";
const MAX_RECORD_BYTES: usize = 8 << 20;

/// What went wrong on the way.
#[derive(Debug, thiserror::Error)]
pub(in crate::operate) enum WireError {
    #[error(transparent)]
    Http(#[from] HttpError),
    #[error("the stream broke: {0}")]
    Broken(#[from] hyper::Error),
    #[error("the stream cannot be read: {0}")]
    Records(#[from] RecordIoError),
    #[error("the stream cannot be read: {0}")]
    Message(#[from] DecodeError),
}

/// An agent, reached through its master.
#[derive(Clone, Debug)]
pub(super) struct Agent {
    master: Address,
    path: String,
}

/// What WAIT_CONTAINER is answered.
#[derive(Debug)]
pub(super) enum Answered {
    Status(Option<i32>),
    Refused { status: u16, text: String },
}

/// How giving input ended.
#[derive(Debug)]
pub(super) enum Given {
    Answered(u16, #[expect(dead_code, reason = "shown by Debug")] String),
    Broken,
}

impl Agent {
    pub(super) fn new(master: Address, path: String) -> Self {
        Self { master, path }
    }

    async fn post(
        &self,
        headers: &[(&str, &str)],
        body: BoxBody<Bytes, Infallible>,
    ) -> Result<Response<Incoming>, WireError> {
        let mut request = Request::post(&self.path).header("host", self.master.to_string());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(body).map_err(|source| HttpError::Path { path: self.path.clone(), source })?;
        Ok(begin(&self.master, request).await?)
    }

    fn whole(call: &Call) -> BoxBody<Bytes, Infallible> {
        Full::new(encode(Encoding::Protobuf, call)).boxed()
    }

    /// A call whose answer is a stream.
    pub(super) async fn output(&self, call: &Call) -> Result<Output, WireError> {
        let headers = [("content-type", PROTOBUF), ("accept", RECORDIO), ("message-accept", PROTOBUF)];
        let response = self.post(&headers, Self::whole(call)).await?;
        Ok(Output { response, decoder: Decoder::new(MAX_RECORD_BYTES) })
    }

    /// Waits for the end of a container.
    pub(super) async fn wait(&self, id: &v1::ContainerId) -> Result<Answered, WireError> {
        let call = Call {
            r#type: Some(call::Type::WaitContainer as i32),
            wait_container: Some(call::WaitContainer { container_id: id.clone() }),
            ..Call::default()
        };
        let response = self.post(&[("content-type", PROTOBUF), ("accept", PROTOBUF)], Self::whole(&call)).await?;
        let status = response.status().as_u16();
        let body = response.into_body().collect().await?.to_bytes();
        if status != 200 {
            return Ok(Answered::Refused { status, text: String::from_utf8_lossy(&body).into_owned() });
        }
        let answer: v1::agent::Response = decode(Encoding::Protobuf, &body)?;
        Ok(Answered::Status(answer.wait_container.unwrap_or_default().exit_status))
    }

    /// Gives records as input, until the container takes no more.
    pub(super) async fn give(&self, records: mpsc::Receiver<Bytes>) -> Given {
        let headers = [("content-type", RECORDIO), ("message-content-type", PROTOBUF), ("accept", PROTOBUF)];
        match self.post(&headers, Streamed(records).boxed()).await {
            Ok(response) => {
                let status = response.status().as_u16();
                let body = response.into_body().collect().await.map(http_body_util::Collected::to_bytes);
                Given::Answered(status, String::from_utf8_lossy(&body.unwrap_or_default()).into_owned())
            }
            Err(_) => Given::Broken,
        }
    }
}

/// A stream of output.
pub(super) struct Output {
    response: Response<Incoming>,
    decoder: Decoder,
}

impl Output {
    pub(super) fn status(&self) -> u16 {
        self.response.status().as_u16()
    }

    /// All of it, as text.
    pub(super) async fn rest(self) -> String {
        let body = self.response.into_body().collect().await.map(http_body_util::Collected::to_bytes);
        String::from_utf8_lossy(&body.unwrap_or_default()).trim().to_owned()
    }

    /// The next piece; `None` at the end. Cancel-safe.
    pub(super) async fn next(&mut self) -> Result<Option<(data::Type, Bytes)>, WireError> {
        loop {
            while let Some(record) = self.decoder.next()? {
                let message: ProcessIo = decode(Encoding::Protobuf, &record)?;
                if let Some(data) = message.data {
                    return Ok(Some((data.r#type(), data.data.unwrap_or_default())));
                }
            }
            match self.response.body_mut().frame().await {
                None => return Ok(None),
                Some(frame) => {
                    if let Ok(piece) = frame?.into_data() {
                        self.decoder.feed(&piece);
                    }
                }
            }
        }
    }
}

/// LAUNCH_NESTED_CONTAINER_SESSION
pub(super) fn launch(id: &v1::ContainerId, command: v1::CommandInfo, container: Option<v1::ContainerInfo>) -> Call {
    let part = call::LaunchNestedContainerSession { container_id: id.clone(), command: Some(command), container };
    Call {
        r#type: Some(call::Type::LaunchNestedContainerSession as i32),
        launch_nested_container_session: Some(part),
        ..Call::default()
    }
}

/// ATTACH_CONTAINER_OUTPUT
pub(super) fn attach_output(id: &v1::ContainerId) -> Call {
    Call {
        r#type: Some(call::Type::AttachContainerOutput as i32),
        attach_container_output: Some(call::AttachContainerOutput { container_id: id.clone() }),
        ..Call::default()
    }
}

/// ATTACH_CONTAINER_INPUT, the first record.
pub(super) fn attach_input(id: &v1::ContainerId) -> Call {
    input(call::AttachContainerInput {
        r#type: Some(attach_container_input::Type::ContainerId as i32),
        container_id: Some(id.clone()),
        process_io: None,
    })
}

/// Further records.
pub(super) fn process_io(message: ProcessIo) -> Call {
    input(call::AttachContainerInput {
        r#type: Some(attach_container_input::Type::ProcessIo as i32),
        container_id: None,
        process_io: Some(message),
    })
}

fn input(part: call::AttachContainerInput) -> Call {
    Call {
        r#type: Some(call::Type::AttachContainerInput as i32),
        attach_container_input: Some(part),
        ..Call::default()
    }
}

/// For the standard input; nothing is its end.
pub(super) fn stdin(bytes: Bytes) -> ProcessIo {
    let data = process_io::Data { r#type: Some(data::Type::Stdin as i32), data: Some(bytes) };
    ProcessIo { r#type: Some(process_io::Type::Data as i32), data: Some(data), control: None }
}

/// The terminal has another size.
pub(super) fn resize(size: WindowSize) -> ProcessIo {
    let tty_info = Some(v1::TtyInfo { window_size: Some(size) });
    control(Control { r#type: Some(control::Type::TtyInfo as i32), tty_info, heartbeat: None })
}

/// A sign of life.
pub(super) fn heartbeat(interval: Duration) -> ProcessIo {
    let nanoseconds = i64::try_from(interval.as_nanos()).unwrap_or(i64::MAX);
    let heartbeat = Some(control::Heartbeat { interval: Some(v1::DurationInfo { nanoseconds }) });
    control(Control { r#type: Some(control::Type::Heartbeat as i32), tty_info: None, heartbeat })
}

fn control(control: Control) -> ProcessIo {
    ProcessIo { r#type: Some(process_io::Type::Control as i32), data: None, control: Some(control) }
}
