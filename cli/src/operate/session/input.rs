//! What is typed here, on its way to the container.

use std::io::Read;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use mezzo_api::v1;
use tokio::signal::unix::Signal;
use tokio::sync::mpsc;

use super::terminal;
use super::wire::{self, Agent, Given};

/// What is read at a time.
const CHUNK_BYTES: usize = 16 * 1024;
/// Signs of life (src/slave/constants.hpp).
const HEARTBEAT: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(200);

/// Ctrl-P and Ctrl-Q leave a terminal, as in Mesos and Docker.
const DETACH: [u8; 2] = [0x10, 0x11];

/// How keys are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keys {
    /// As bytes.
    Plain,
    /// Some of them are for us.
    Terminal,
}

/// What comes from this side.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said {
    Bytes(Bytes),
    /// There is no more.
    End,
    /// The detach keys.
    Detach,
}

/// The detach keys were typed.
#[derive(Debug)]
pub(super) struct Detached;

/// Reads standard input on a thread of its own, which ends with the process; without `interactive` there is none.
pub(super) fn listen(interactive: bool, keys: Keys) -> mpsc::Receiver<Said> {
    let (sender, receiver) = mpsc::channel(4);
    if !interactive {
        // At once, so that nothing on the other side waits for more.
        let _ = sender.try_send(Said::End);
        return receiver;
    }
    std::thread::spawn(move || {
        let (mut chunk, mut typed) = ([0; CHUNK_BYTES], Typed::default());
        loop {
            let count = std::io::stdin().lock().read(&mut chunk).unwrap_or(0);
            let all = match (count, keys) {
                (0, _) => vec![Said::End],
                (count, Keys::Plain) => vec![Said::Bytes(Bytes::copy_from_slice(&chunk[..count]))],
                (count, Keys::Terminal) => typed.take(&chunk[..count]),
            };
            for said in all {
                let last = said == Said::End;
                if sender.blocking_send(said).is_err() || last {
                    return;
                }
            }
        }
    });
    receiver
}

/// Nobody says anything.
pub(super) fn silence() -> mpsc::Receiver<Said> {
    mpsc::channel(1).1
}

/// Finds the detach keys.
#[derive(Debug, Default)]
struct Typed {
    /// The first of them was typed, and is held back.
    held: bool,
}

impl Typed {
    fn take(&mut self, bytes: &[u8]) -> Vec<Said> {
        let mut passed = Vec::with_capacity(bytes.len() + 1);
        for &byte in bytes {
            if self.held && byte == DETACH[1] {
                let mut said = vec![Said::Detach];
                if !passed.is_empty() {
                    said.insert(0, Said::Bytes(passed.into()));
                }
                return said;
            }
            if std::mem::take(&mut self.held) {
                passed.push(DETACH[0]);
            }
            if byte == DETACH[0] {
                self.held = true;
            } else {
                passed.push(byte);
            }
        }
        if passed.is_empty() { Vec::new() } else { vec![Said::Bytes(passed.into())] }
    }
}

/// Gives it all to the container, over as many connections as it takes; `None` when there is nothing more to give.
pub(super) async fn give(
    agent: Agent,
    id: v1::ContainerId,
    mut said: mpsc::Receiver<Said>,
    mut resizes: Option<Signal>,
) -> Option<Detached> {
    // Nothing is attached before there is something to say.
    let mut waiting = first(&mut said).await?;
    if resizes.is_some()
        && let Some(size) = terminal::size()
    {
        waiting.insert(0, wire::resize(size));
    }
    loop {
        match connection(&agent, &id, &mut said, &mut resizes, &mut waiting).await {
            Outcome::Detached => return Some(Detached),
            Outcome::Over => return None,
            Outcome::Broken => tokio::time::sleep(PAUSE).await,
        }
    }
}

/// The first word.
async fn first(said: &mut mpsc::Receiver<Said>) -> Option<Vec<v1::agent::ProcessIo>> {
    match said.recv().await? {
        Said::Bytes(bytes) => Some(vec![wire::stdin(bytes)]),
        Said::End => Some(vec![wire::stdin(Bytes::new())]),
        Said::Detach => None,
    }
}

enum Outcome {
    Detached,
    /// The container takes no more.
    Over,
    /// It may take it over another connection.
    Broken,
}

async fn connection(
    agent: &Agent,
    id: &v1::ContainerId,
    said: &mut mpsc::Receiver<Said>,
    resizes: &mut Option<Signal>,
    waiting: &mut Vec<v1::agent::ProcessIo>,
) -> Outcome {
    let (sender, body) = mpsc::channel(4);
    let mut answer = std::pin::pin!(agent.give(body));
    let record = |call: &v1::agent::Call| {
        let mut record = BytesMut::new();
        mezzo_api::codec::encode_record(mezzo_api::codec::Encoding::Protobuf, call, &mut record);
        record.freeze()
    };
    if sender.send(record(&wire::attach_input(id))).await.is_err() {
        return Outcome::Broken;
    }
    let mut heartbeat = tokio::time::interval_at(tokio::time::Instant::now() + HEARTBEAT, HEARTBEAT);
    let mut ended = false;
    loop {
        while let Some(message) = waiting.first().cloned() {
            let permit = tokio::select! {
                permit = sender.reserve() => permit,
                answer = &mut answer => return outcome(&answer),
            };
            let Ok(permit) = permit else { return outcome(&answer.await) };
            permit.send(record(&wire::process_io(message)));
            waiting.remove(0);
        }
        let resized = async {
            match resizes.as_mut() {
                Some(resizes) => resizes.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            answer = &mut answer => return outcome(&answer),
            next = said.recv(), if !ended => match next {
                Some(Said::Bytes(bytes)) => waiting.push(wire::stdin(bytes)),
                Some(Said::End) => waiting.push(wire::stdin(Bytes::new())),
                Some(Said::Detach) => return Outcome::Detached,
                None => ended = true,
            },
            _ = resized => waiting.extend(terminal::size().map(wire::resize)),
            _ = heartbeat.tick() => waiting.push(wire::heartbeat(HEARTBEAT)),
        }
    }
}

fn outcome(answer: &Given) -> Outcome {
    match answer {
        // Another one gives input for now, or its agent is being restarted.
        Given::Answered(409 | 502..=504, _) | Given::Broken => Outcome::Broken,
        Given::Answered(..) => Outcome::Over,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn detach_keys_are_found_in_any_pieces_and_nothing_is_lost() {
        let bytes = |text: &'static [u8]| Said::Bytes(Bytes::from_static(text));
        let mut typed = Typed::default();
        assert_eq!(typed.take(b"ab"), [bytes(b"ab")]);
        assert_eq!(typed.take(b"c\x10"), [bytes(b"c")]);
        assert_eq!(typed.take(b"d"), [bytes(b"\x10d")]);
        assert_eq!(typed.take(b"\x11"), [bytes(b"\x11")]);
        assert_eq!(typed.take(b"\x10"), []);
        assert_eq!(typed.take(b"\x10"), [bytes(b"\x10")]);
        assert_eq!(typed.take(b"\x11x"), [Said::Detach]);
        assert_eq!(Typed::default().take(b"e\x10\x11"), [bytes(b"e"), Said::Detach]);
    }
}
