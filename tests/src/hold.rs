//! A wire before a server that can be held: what is under way then arrives when it is let go, in its order.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Condvar, Mutex, PoisonError},
    thread::JoinHandle,
};

/// Whoever is to reach the server by this wire connects to [`Hold::address`]; connections end with it.
#[derive(Debug)]
pub struct Hold {
    address: SocketAddr,
    gate: Arc<Gate>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Gate {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    held: bool,
    ended: bool,
}

impl Hold {
    /// A wire to `server`, which is not held.
    ///
    /// # Panics
    /// When this machine has no free port.
    #[must_use]
    pub fn before(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
        let address = listener.local_addr().expect("a listener has an address");
        let gate = Arc::new(Gate::default());
        let thread = std::thread::spawn({
            let gate = Arc::clone(&gate);
            move || accept(&listener, server, &gate)
        });
        Self { address, gate, thread: Some(thread) }
    }

    /// Where it begins.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Nothing arrives any more, in either direction; connections stand.
    pub fn hold(&self) {
        self.gate.set(|state| state.held = true);
    }

    /// Everything arrives.
    pub fn let_go(&self) {
        self.gate.set(|state| state.held = false);
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.gate.set(|state| state.ended = true);
        // Wakes the one who accepts.
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Gate {
    fn set(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_all();
    }

    /// Waits while it is held; whether the wire is there still.
    fn pass(&self) -> bool {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let held = |state: &mut State| state.held && !state.ended;
        let state = self.changed.wait_while(state, held).unwrap_or_else(PoisonError::into_inner);
        !state.ended
    }
}

fn accept(listener: &TcpListener, server: SocketAddr, gate: &Arc<Gate>) {
    for near in listener.incoming() {
        if gate.state.lock().unwrap_or_else(PoisonError::into_inner).ended {
            return;
        }
        let (Ok(near), Ok(far)) = (near, TcpStream::connect(server)) else { continue };
        let (Ok(near_again), Ok(far_again)) = (near.try_clone(), far.try_clone()) else { continue };
        for (from, to) in [(near, far), (far_again, near_again)] {
            let gate = Arc::clone(gate);
            std::thread::spawn(move || carry(from, to, &gate));
        }
    }
}

/// One direction, until either end closes.
fn carry(mut from: TcpStream, mut to: TcpStream, gate: &Gate) {
    let mut bytes = vec![0; 65_536];
    while let Ok(count @ 1..) = from.read(&mut bytes)
        && gate.pass()
        && to.write_all(&bytes[..count]).is_ok()
    {}
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}
