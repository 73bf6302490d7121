//! HTTP/1.1 as a driver needs it: one connection whose response never ends, and one on which calls are pipelined:
//! written in one go, answered in order. The parsing is `httparse`'s.

mod calls;
mod response;
mod socket;
mod stream;

pub(crate) use calls::{Body, Calls, Done};
pub(crate) use socket::{Peer, Requests};
pub(crate) use stream::{EventStream, Item};
