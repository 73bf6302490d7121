//! A wire with delay and loss, in user space: frames go from one TAP device to the other when their time has come.

use std::{
    collections::VecDeque,
    fs::File,
    io::{Read, Write},
    os::fd::AsFd,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rand::{Rng, SeedableRng, rngs::StdRng};

use super::{NAMESPACES, join, tap};

/// How bad it is.
#[derive(Clone, Copy, Debug)]
pub struct Quality {
    /// How long a frame is under way, in each direction.
    pub delay: Duration,
    /// Which part of all frames is lost, in each direction.
    pub loss: f64,
}

/// A wire; it is cut when this goes.
#[derive(Debug)]
pub struct Wire {
    end: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// Frames under way in one direction.
#[derive(Default)]
struct Direction {
    queue: VecDeque<(Instant, Vec<u8>)>,
}

/// How often the wire looks whether it is to end.
const GLANCE: Duration = Duration::from_millis(100);
/// More frames are not under way: what comes then is lost.
const CAPACITY: usize = 10_000;

impl Wire {
    /// Between device `eth0` of the host and device `port` of the switch.
    pub(super) fn start(host: &str, switch: &str, port: &str, quality: Quality) -> Self {
        let end = Arc::new(AtomicBool::new(false));
        let (ready, made) = mpsc::channel();
        let thread = {
            let (end, port) = (end.clone(), port.to_owned());
            let [host, switch] = [host, switch].map(|name| Path::new(NAMESPACES).join(name));
            std::thread::spawn(move || {
                // A thread of its own, since each device is made in its own namespace.
                join(&host);
                let near = tap::open("eth0").unwrap_or_else(|error| panic!("eth0: {error}"));
                join(&switch);
                let far = tap::open(&port).unwrap_or_else(|error| panic!("{port}: {error}"));
                let _ = ready.send(());
                carry([near, far], quality, &end);
            })
        };
        made.recv().expect("the wire's devices are made");
        Self { end, thread: Some(thread) }
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn carry(mut ends: [File; 2], quality: Quality, end: &AtomicBool) {
    let mut random = StdRng::seed_from_u64(1);
    let mut directions = [Direction::default(), Direction::default()];
    let mut frame = vec![0_u8; 65_536];
    while !end.load(Ordering::Relaxed) {
        let due = directions.iter().filter_map(|direction| direction.queue.front()).map(|(due, _)| *due).min();
        let wait = due.map_or(GLANCE, |due| due.saturating_duration_since(Instant::now()).min(GLANCE));
        let mut polled = ends.each_ref().map(|end| PollFd::new(end.as_fd(), PollFlags::POLLIN));
        let wait = PollTimeout::try_from(wait + Duration::from_micros(999)).unwrap_or(PollTimeout::ZERO);
        let _ = poll(&mut polled, wait);
        for (from, direction) in directions.iter_mut().enumerate() {
            while let Ok(length @ 1..) = ends[from].read(&mut frame) {
                if direction.queue.len() < CAPACITY && !random.random_bool(quality.loss) {
                    direction.queue.push_back((Instant::now() + quality.delay, frame[..length].to_vec()));
                }
            }
            let now = Instant::now();
            while direction.queue.front().is_some_and(|(due, _)| *due <= now) {
                // A device that is down takes nothing: the frame is lost, as on any wire.
                if let Some((_, frame)) = direction.queue.pop_front() {
                    let _ = ends[1 - from].write(&frame);
                }
            }
        }
    }
}
