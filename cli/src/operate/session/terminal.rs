//! This side's terminal.

use std::{io, task::Poll};

use mezzo_api::v1::tty_info::WindowSize;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// What ends a program that does nothing about it.
const ENDS: [SignalKind; 4] =
    [SignalKind::hangup(), SignalKind::interrupt(), SignalKind::quit(), SignalKind::terminate()];

/// Every key goes to the other side as it is, until this is dropped.
pub(super) struct Raw {
    before: Termios,
    ends: Vec<(SignalKind, Signal)>,
}

impl Raw {
    /// Makes standard input raw.
    pub(super) fn enter() -> io::Result<Self> {
        // First: from the next step on, none may end this process as it is.
        let ends = ENDS.into_iter().map(|kind| Ok((kind, signal(kind)?))).collect::<io::Result<_>>()?;
        let before = tcgetattr(io::stdin())?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(io::stdin(), OptionalActions::Now, &raw)?;
        Ok(Self { before, ends })
    }

    /// Waits for a signal that is to end this program: what it exits with, as a shell has it.
    pub(super) async fn signalled(&mut self) -> u8 {
        std::future::poll_fn(|context| {
            for (kind, signal) in &mut self.ends {
                if signal.poll_recv(context).is_ready() {
                    return Poll::Ready(u8::try_from(128 + kind.as_raw_value()).unwrap_or(u8::MAX));
                }
            }
            Poll::Pending
        })
        .await
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.before);
    }
}

/// The present size, if there is a terminal.
pub(super) fn size() -> Option<WindowSize> {
    let size = tcgetwinsize(io::stdin()).ok()?;
    Some(WindowSize { rows: size.ws_row.into(), columns: size.ws_col.into() })
}

/// Tells when it changes.
pub(super) fn resizes() -> Option<Signal> {
    signal(SignalKind::window_change()).ok()
}
