//! What travels on the simulated network, and what a process hears of it.

use std::{rc::Rc, sync::Arc};

use mezzo_api::{
    link::{self, from_agent},
    v1,
};
use mezzo_master_core::effect;
use mezzo_sdk_core::answer;

/// What travels.
#[derive(Clone, Debug)]
pub enum Packet {
    /// The dialer wants this.
    Open(Opening),
    /// The listener takes the connection (a link; the connection of calls).
    Accepted,
    /// To an agent, under this term.
    ToAgent(u64, Rc<link::to_agent::Message>),
    /// Of an agent.
    FromAgent(Rc<from_agent::Message>),
    /// The answer to a SUBSCRIBE.
    Head(Rc<answer::Answer>),
    /// Of a framework's stream.
    Event(Rc<v1::scheduler::Event>),
    /// A framework's call.
    Call(u64, Option<String>, Arc<v1::scheduler::Call>),
    /// The answer to it.
    Answer(u64, effect::Answer),
    /// An executor's call, numbered by it.
    ExecutorCall(Rc<v1::executor::Call>),
    /// The answer to it, or to its SUBSCRIBE.
    ExecutorAnswer(u16, String),
    /// Of an executor's stream.
    ExecutorEvent(Rc<v1::executor::Event>),
    /// An orderly end.
    Fin,
    /// An end that takes what was on the way with it.
    Reset,
}

/// What a dialer wants.
#[derive(Clone, Debug)]
pub enum Opening {
    /// An agent's link.
    Link,
    /// An event stream of a framework.
    Subscribe(Arc<v1::scheduler::Call>),
    /// A connection for a framework's calls.
    Calls,
    /// An event stream of an executor.
    ExecutorSubscribe(Rc<v1::executor::Call>),
    /// A connection for an executor's calls.
    ExecutorCalls,
}

/// What a process is told about one of its connections.
#[derive(Debug)]
pub enum Incoming {
    /// Somebody dialled it.
    Opened(Opening),
    /// Something came.
    Packet(Packet),
    /// The connection is no more; whether it ever stood.
    Closed {
        /// The other side had taken it.
        stood: bool,
    },
}
