//! This side's terminal.

use std::io;

use mezzo_api::v1::tty_info::WindowSize;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Every key goes to the other side as it is, until this is dropped.
pub(super) struct Raw {
    before: Termios,
}

impl Raw {
    /// Makes standard input raw.
    pub(super) fn enter() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(io::stdin(), OptionalActions::Now, &raw)?;
        Ok(Self { before })
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
