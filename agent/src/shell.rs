//! The shell around the core: one thread that takes whatever inputs wait, hands them over with one moment, makes the
//! records durable, and carries the effects out in order.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use bytes::{Bytes, BytesMut};
use mezzo_agent_core::{
    Core,
    container::{ContainerEvent, Outcome},
    effect::{Answer, Effect, Effects, LinkId, RequestId, StreamId},
    view::View,
    volumes::VolumeAction,
};
use mezzo_api::{codec, codec::Encoding, frame, ids::ContainerId, link, time::Now, v1};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::{
    checkpoint::{Checkpoint, CheckpointError, LOOK_EVERY, LOOK_IDLE},
    containerizer::Containerizer,
    failpoint,
    files::Files,
    gc,
    link::Dialer,
    outbox::Outbox,
    probes::Probes,
    volumes,
};
use mezzo_server::threads;

/// Inputs that are handed over with one moment.
const BATCH: usize = 1024;

/// What the shell is told.
pub(crate) enum Input {
    /// A control stream stands.
    LinkUp(LinkId, Outbox, CancellationToken),
    /// It ended.
    LinkDown(LinkId),
    /// The master spoke.
    Master(LinkId, Vec<link::ToAgent>),
    /// An executor's call.
    Call(Box<v1::executor::Call>, oneshot::Sender<Answer>),
    /// An executor's SUBSCRIBE with the stream that it gets.
    Subscribe(Box<v1::executor::Call>, EventStream, oneshot::Sender<Answer>),
    /// An executor's stream is not read any more.
    StreamClosed(StreamId),
    /// Somebody wants to see the agent.
    View(oneshot::Sender<Arc<View>>),
    /// What was seen of a task.
    Probed(ContainerId, Outcome),
    /// The operator wants the agent out of the cluster.
    Unregister,
    /// The process ends, containers go on.
    Exit,
}

/// An executor's stream.
pub(crate) struct EventStream {
    pub(crate) id: StreamId,
    pub(crate) encoding: Encoding,
    pub(crate) outbox: Outbox,
}

/// The way to the core's thread, for doors.
#[derive(Clone, Debug)]
pub(crate) struct Handle {
    inputs: mpsc::UnboundedSender<Input>,
    numbers: Arc<AtomicU64>,
}

impl Handle {
    /// A way to a thread that does not run yet, and the inputs for it.
    pub(crate) fn new() -> (Self, mpsc::UnboundedReceiver<Input>) {
        let (inputs, receiver) = mpsc::unbounded_channel();
        (Self { inputs, numbers: Arc::new(AtomicU64::new(1)) }, receiver)
    }

    /// Tells the core's thread; when it has ended, so does the process.
    pub(crate) fn tell(&self, input: Input) {
        let _ = self.inputs.send(input);
    }

    /// A number that is never given twice.
    pub(crate) fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// The agent as it is after everything that was told before.
    pub(crate) async fn view(&self) -> Option<Arc<View>> {
        let (sender, receiver) = oneshot::channel();
        self.tell(Input::View(sender));
        receiver.await.ok()
    }
}

/// What the core decides over.
pub(crate) struct Shell {
    pub(crate) core: Core,
    pub(crate) clock: Clock,
    pub(crate) checkpoint: Checkpoint,
    pub(crate) containers: Containerizer,
    pub(crate) files: Files,
    pub(crate) garbage: gc::Journal,
    pub(crate) dialer: Dialer,
    pub(crate) probes: Probes,
    pub(crate) doors: Doors,
}

/// Who waits, and who listens.
#[derive(Default)]
pub(crate) struct Doors {
    link: Option<(LinkId, Outbox, CancellationToken)>,
    /// Frames for the present link that are on their way out in this batch.
    frames: BytesMut,
    requests: HashMap<RequestId, oneshot::Sender<Answer>>,
    streams: HashMap<StreamId, EventStream>,
    next_request: u64,
    closed: Vec<StreamId>,
    view: Option<Arc<View>>,
}

/// The moments that the core is given.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock(Instant);

impl Clock {
    pub(crate) fn new() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn now(self) -> Now {
        Now { mono: self.0.elapsed(), wall: SystemTime::now() }
    }

    fn instant(self, mono: Duration) -> Instant {
        self.0 + mono
    }
}

/// Why the thread ended.
#[derive(Debug)]
pub(crate) enum End {
    /// The process was asked to end.
    Asked,
    /// The core says so.
    Core(String),
    /// Nothing can be recorded any more.
    Checkpoint(CheckpointError),
}

impl Shell {
    /// Runs until the end, on a thread of its own. `first` are the effects of recovery, whose records are in the
    /// checkpoint already.
    pub(crate) fn run(
        mut self,
        first: Effects,
        inputs: mpsc::UnboundedReceiver<Input>,
        events: mpsc::UnboundedReceiver<(ContainerId, ContainerEvent)>,
    ) -> End {
        threads::prompt();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        let runtime = match runtime {
            Ok(runtime) => runtime,
            Err(error) => return End::Core(format!("cannot start the core's thread: {error}")),
        };
        match runtime.block_on(self.serve(first, inputs, events)) {
            Ok(end) | Err(end) => end,
        }
    }

    async fn serve(
        &mut self,
        first: Effects,
        mut inputs: mpsc::UnboundedReceiver<Input>,
        mut events: mpsc::UnboundedReceiver<(ContainerId, ContainerEvent)>,
    ) -> Result<End, End> {
        let recovered = first.into_iter().filter(|effect| !matches!(effect, Effect::Record { .. })).collect();
        self.carry_out(recovered)?;
        let (mut batch, mut ends) = (Vec::with_capacity(BATCH), Vec::with_capacity(BATCH));
        let mut effects = Effects::new();
        loop {
            let deadline = self.core.deadline().map(|mono| self.clock.instant(mono));
            tokio::select! {
                _ = inputs.recv_many(&mut batch, BATCH) => {}
                _ = events.recv_many(&mut ends, BATCH) => {}
                () = until(deadline) => {}
                // Whoever fills the disk, or makes room, does not tell.
                () = tokio::time::sleep(if self.checkpoint.is_short() { LOOK_EVERY } else { LOOK_IDLE }) => {}
            }
            // Whatever else waits already comes into the same batch.
            while ends.len() < BATCH
                && let Ok(event) = events.try_recv()
            {
                ends.push(event);
            }
            while batch.len() < BATCH
                && let Ok(input) = inputs.try_recv()
            {
                batch.push(input);
            }
            let now = self.clock.now();
            self.core.disk_full(self.checkpoint.is_short());
            for (container, event) in ends.drain(..) {
                self.doors.view = None;
                self.core.container(now, container, event, &mut effects);
            }
            for input in batch.drain(..) {
                if matches!(input, Input::LinkUp(..) | Input::Exit) {
                    // What was said so far belongs to the link there was.
                    self.carry_out(std::mem::take(&mut effects))?;
                }
                if let Some(end) = self.hand_over(now, input, &mut effects) {
                    return Ok(end);
                }
            }
            if self.core.deadline().is_some_and(|deadline| deadline <= now.mono) {
                self.doors.view = None;
                self.core.tick(now, &mut effects);
            }
            self.carry_out(std::mem::take(&mut effects))?;
            for stream in std::mem::take(&mut self.doors.closed) {
                self.core.stream_closed(now, stream, &mut effects);
            }
            self.carry_out(std::mem::take(&mut effects))?;
        }
    }

    fn hand_over(&mut self, now: Now, input: Input, effects: &mut Effects) -> Option<End> {
        if let Input::View(answer) = input {
            let view = self.doors.view.get_or_insert_with(|| Arc::new(self.core.view()));
            let _ = answer.send(view.clone());
            return None;
        }
        self.doors.view = None;
        match input {
            Input::LinkUp(link, outbox, token) => {
                self.doors.link = Some((link, outbox, token));
                self.core.link_up(now, link, effects);
            }
            Input::LinkDown(link) => self.core.link_down(now, link, effects),
            Input::Master(link, messages) => {
                for message in messages {
                    failpoint::pass(heard(&message));
                    self.core.master(now, link, message, effects);
                }
            }
            Input::Call(call, answer) => {
                let request = self.doors.request(answer);
                self.core.executor_call(now, request, *call, effects);
            }
            Input::Subscribe(call, stream, answer) => {
                let (request, id) = (self.doors.request(answer), stream.id);
                self.doors.streams.insert(id, stream);
                self.core.executor_subscribe(now, request, id, *call, effects);
            }
            Input::StreamClosed(stream) => {
                self.doors.streams.remove(&stream);
                self.core.stream_closed(now, stream, effects);
            }
            Input::Probed(probe, outcome) => self.core.probed(now, &probe, &outcome, effects),
            Input::Unregister => self.core.unregister(now, effects),
            Input::Exit => return Some(End::Asked),
            Input::View(_) => {}
        }
        None
    }

    /// Records first, everything at once; then the rest in order.
    fn carry_out(&mut self, effects: Effects) -> Result<(), End> {
        let mut durable = false;
        for effect in &effects {
            match effect {
                Effect::Record { record, sync } => {
                    self.checkpoint.add(record);
                    durable |= sync;
                }
                // A sandbox that is collected twice does no harm, one that is forgotten does.
                Effect::Collect(path) => self.garbage.add(path),
                _ => {}
            }
        }
        failpoint::pass("record");
        self.checkpoint.commit(durable).map_err(End::Checkpoint)?;
        failpoint::pass("recorded");
        for effect in effects {
            self.carry_out_one(effect)?;
        }
        self.send_frames();
        if self.checkpoint.is_long() {
            self.checkpoint.compact(&self.core.snapshot()).map_err(End::Checkpoint)?;
        }
        Ok(())
    }

    fn carry_out_one(&mut self, effect: Effect) -> Result<(), End> {
        match effect {
            Effect::Record { .. } | Effect::Collect(_) => {}
            Effect::ToMaster(message) => {
                let message = link::FromAgent { message: Some(*message) };
                frame::encode_frame(&mut self.doors.frames, &message);
            }
            Effect::CloseLink(link) => {
                self.send_frames();
                if self.doors.link.as_ref().is_some_and(|(current, ..)| *current == link)
                    && let Some((_, _, token)) = self.doors.link.take()
                {
                    token.cancel();
                }
            }
            Effect::OpenBulk(token) => self.dialer.open_bulk(token),
            Effect::Reply(request, answer) => {
                if let Some(waiting) = self.doors.requests.remove(&request) {
                    let _ = waiting.send(answer);
                }
            }
            Effect::ToExecutor(stream, event) => self.doors.send_event(stream, &event),
            Effect::CloseStream(stream) => {
                self.doors.streams.remove(&stream);
            }
            Effect::Launch(launch) => {
                failpoint::pass("launch");
                self.containers.launch(*launch);
                failpoint::pass("launched");
            }
            Effect::Allot(container, allotment) => self.containers.allot(container, *allotment),
            Effect::Stop(container, how) => {
                failpoint::pass("stop");
                self.containers.stop(container, how);
                failpoint::pass("stopped");
            }
            Effect::Forget(container) => {
                failpoint::pass("forget");
                self.containers.forget(container);
            }
            Effect::Probe { id, probe, inside } => self.probes.begin(id, probe, inside),
            Effect::EndProbe(id) => self.probes.end(&id),
            Effect::Attach { virtual_path, path } => self.attach(&virtual_path, path),
            Effect::Volume { action, settled } => {
                settle(&mut self.checkpoint, &action, &settled).map_err(End::Checkpoint)?;
            }
            Effect::ShowVolumes { container, sandbox, links, present } => {
                if let Err(error) = self.containers.show(container.clone(), sandbox, links, present) {
                    tracing::error!(%container, "{error}");
                }
            }
            Effect::Exit(reason) => {
                self.send_frames();
                return Err(End::Core(reason));
            }
        }
        Ok(())
    }

    fn attach(&self, virtual_path: &str, path: PathBuf) {
        if let Err(error) = std::fs::create_dir_all(&path) {
            tracing::warn!(path = %path.display(), "cannot make the directory of sandboxes: {error}");
        }
        self.files.attach(virtual_path, path);
    }

    /// All frames of the batch in one chunk. A master that does not read its link loses it.
    fn send_frames(&mut self) {
        if self.doors.frames.is_empty() {
            return;
        }
        failpoint::pass("send");
        let frames = self.doors.frames.split().freeze();
        if let Some((_, outbox, token)) = &self.doors.link
            && !outbox.push(frames)
        {
            token.cancel(); // the link's end is told when it has ended
        }
    }
}

impl Doors {
    fn request(&mut self, answer: oneshot::Sender<Answer>) -> RequestId {
        self.next_request += 1;
        let request = RequestId(self.next_request);
        self.requests.insert(request, answer);
        request
    }

    /// An executor that does not read its stream loses it, and subscribes again.
    fn send_event(&mut self, stream: StreamId, event: &v1::executor::Event) {
        let Some(listener) = self.streams.get(&stream) else { return };
        let record: Bytes = codec::encode_to_record(listener.encoding, event);
        if !listener.outbox.push(record) {
            tracing::warn!(stream = stream.0, "an executor does not read its stream; closing it");
            self.streams.remove(&stream);
            self.closed.push(stream);
        }
    }
}

/// Makes or removes a volume's directory, and records that it was done.
pub(crate) fn settle(
    checkpoint: &mut Checkpoint,
    action: &VolumeAction,
    settled: &[u8],
) -> Result<(), CheckpointError> {
    match volumes::carry_out(action) {
        Ok(()) => {
            checkpoint.add(settled);
            checkpoint.commit(true)
        }
        Err(error) => {
            tracing::error!("{error}");
            Ok(())
        }
    }
}

/// What tests call the moment at which a message was heard, and nothing of it is recorded.
fn heard(message: &link::ToAgent) -> &'static str {
    use link::to_agent::Message as To;
    match &message.message {
        Some(To::RunTask(_) | To::RunTaskGroup(_)) => "hear-launch",
        Some(To::KillTask(_)) => "hear-kill",
        Some(To::Acknowledge(_)) => "hear-acknowledge",
        _ => "hear",
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}
