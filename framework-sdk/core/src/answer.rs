//! What a master or an agent answers to a call, as far as a driver decides by it.

use crate::address::{Address, AddressError, MASTER_PORT};

/// The head of an HTTP response, and its body where it is no event stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Header `Mesos-Stream-Id`.
    pub mesos_stream_id: Option<String>,
    /// Header `Location`.
    pub location: Option<String>,
    /// The body as text, cut at a few kilobytes; empty for an event stream.
    pub message: String,
}

impl Answer {
    /// An answer with a plain body.
    pub fn new(status: u16, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), ..Self::default() }
    }

    /// For people: `503: No leader elected`.
    pub fn text(&self) -> String {
        match self.message.trim() {
            "" => format!("HTTP status {}", self.status),
            message => format!("HTTP status {}: {message}", self.status),
        }
    }

    /// Whom a redirect names; Mesos' Location begins with `//` (src/master/http.cpp).
    pub(crate) fn redirect(&self) -> Option<Result<Address, AddressError>> {
        if !matches!(self.status, 302 | 307 | 308) {
            return None;
        }
        Some(Address::parse(self.location.as_deref().unwrap_or_default(), MASTER_PORT))
    }
}
