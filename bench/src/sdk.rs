//! The SDK's driver by itself: a thread plays the master, sends statuses as fast as they are taken and counts the
//! acknowledgements; the driver has one thread. Its own processor time is what counts: "on one core".

use std::{
    io::{BufRead, BufReader, BufWriter, Write},
    net::{TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use mezzo_api::{codec, recordio};
use mezzo_sdk::{
    Encoding, Event, SchedulerDriver,
    v1::{
        self, TaskState,
        scheduler::{Event as MasterEvent, event},
    },
};
use nix::sys::resource::{UsageWho, getrusage};

use crate::{
    cluster::{self, Cluster},
    figure::Figure,
    process,
};

const KIB_PER_MB: f64 = 1024.0;
/// How long hello is given to subscribe and come to rest.
const SETTLED_AFTER: Duration = Duration::from_secs(1);
/// Statuses in one write.
const AT_ONCE: usize = 64;

pub(crate) fn measure(updates: usize, json: bool) -> Result<()> {
    for (case, encoding) in [("updates_protobuf", Encoding::Protobuf), ("updates_json", Encoding::Json)] {
        let taken = drive(updates, encoding)?;
        Figure::new("sdk", case, updates as f64 / taken.cpu.as_secs_f64(), "updates/s of one core")
            .with("updates", updates)
            .with("wall_updates_per_s", (updates as f64 / taken.wall.as_secs_f64()).round())
            .print(json);
    }
    hello(json)
}

struct Taken {
    wall: Duration,
    /// Of the driver's thread.
    cpu: Duration,
}

/// The thread of the driver, its runtime and its framework, which does nothing but read.
fn drive(updates: usize, encoding: Encoding) -> Result<Taken> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?.to_string();
    let (done, acknowledged) = mpsc::channel();
    let master = thread::spawn(move || play_master(&listener, updates, encoding, &done));
    let driver = thread::spawn(move || -> Result<Taken> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (start, used) = (Instant::now(), cpu()?);
        runtime.block_on(async {
            let info = v1::FrameworkInfo { user: "root".into(), name: "bench".into(), ..Default::default() };
            let (_handle, mut events) = SchedulerDriver::builder(info).master(address).encoding(encoding).build()?;
            let mut seen = 0;
            while seen < updates {
                let event = events.recv().await.context("the driver has ended")?;
                seen += usize::from(matches!(event, Event::Update(_)));
            }
            let _ = events.try_recv(); // the last one was dealt with: acknowledged
            while acknowledged.try_recv().is_err() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            anyhow::Ok(())
        })?;
        Ok(Taken { wall: start.elapsed(), cpu: cpu()? - used })
    });
    let taken = driver.join().map_err(|_| anyhow::anyhow!("the driver's thread has panicked"))??;
    master.join().map_err(|_| anyhow::anyhow!("the master's thread has panicked"))??;
    Ok(taken)
}

/// Processor time of this thread.
fn cpu() -> Result<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_THREAD)?;
    let time = |value: nix::sys::time::TimeVal| {
        Duration::from_micros(u64::try_from(value.tv_sec() * 1_000_000 + value.tv_usec()).unwrap_or_default())
    };
    Ok(time(usage.user_time()) + time(usage.system_time()))
}

/// Takes the subscription, sends all statuses, answers every acknowledgement, and says when the last one came.
fn play_master(listener: &TcpListener, updates: usize, encoding: Encoding, done: &mpsc::Sender<()>) -> Result<()> {
    let (stream, _) = listener.accept()?;
    read_request(&mut BufReader::new(&stream))?.context("no SUBSCRIBE came")?;
    let sender = stream.try_clone()?;
    let sending = thread::spawn(move || send_updates(sender, updates, encoding));
    let (calls, _) = listener.accept()?;
    answer_calls(&calls, updates)?;
    let _ = done.send(());
    sending.join().map_err(|_| anyhow::anyhow!("the sender has panicked"))??;
    Ok(())
}

fn send_updates(stream: TcpStream, updates: usize, encoding: Encoding) -> Result<()> {
    let mut out = BufWriter::with_capacity(256 * 1024, stream);
    write!(
        out,
        "HTTP/1.1 200 OK\r\nContent-Type: {}\r\nMesos-Stream-Id: s\r\nTransfer-Encoding: chunked\r\n\r\n",
        encoding.media_type()
    )?;
    let framework_id = v1::FrameworkId { value: "F".into() };
    let subscribed = event::Subscribed { framework_id, heartbeat_interval_seconds: Some(15.0), master_info: None };
    let kind = Some(event::Type::Subscribed as i32);
    write_chunk(
        &mut out,
        &[MasterEvent { r#type: kind, subscribed: Some(Box::new(subscribed)), ..Default::default() }],
        encoding,
    )?;
    out.flush()?;
    let mut batch = Vec::with_capacity(AT_ONCE);
    for number in 0..updates {
        batch.push(update(number));
        if batch.len() == AT_ONCE || number + 1 == updates {
            write_chunk(&mut out, &batch, encoding)?;
            batch.clear();
        }
    }
    out.flush()?;
    Ok(())
}

/// As an agent's command executor reports it.
fn update(number: usize) -> MasterEvent {
    let mut uuid = vec![0; 16];
    uuid[..8].copy_from_slice(&(number as u64).to_le_bytes());
    let status = v1::TaskStatus {
        task_id: v1::TaskId { value: format!("task-{}", number % 10_000) },
        state: TaskState::TaskRunning as i32,
        agent_id: Some(v1::AgentId { value: "8a9c2d3e-5b1f-4c7a-9e0d-1f2a3b4c5d6e-S17".into() }),
        executor_id: Some(v1::ExecutorId { value: format!("task-{}", number % 10_000) }),
        source: Some(v1::task_status::Source::Executor as i32),
        timestamp: Some(1_700_000_000.25),
        uuid: Some(uuid.into()),
        ..Default::default()
    };
    MasterEvent {
        r#type: Some(event::Type::Update as i32),
        update: Some(event::Update { status }),
        ..Default::default()
    }
}

fn write_chunk(out: &mut impl Write, events: &[MasterEvent], encoding: Encoding) -> Result<()> {
    let mut records = bytes::BytesMut::new();
    for event in events {
        recordio::encode_record(&mut records, &codec::encode(encoding, event));
    }
    write!(out, "{:x}\r\n", records.len())?;
    out.write_all(&records)?;
    out.write_all(b"\r\n")?;
    Ok(())
}

fn answer_calls(stream: &TcpStream, count: usize) -> Result<()> {
    let mut input = BufReader::with_capacity(256 * 1024, stream);
    let mut out = BufWriter::new(stream);
    for _ in 0..count {
        let body = read_request(&mut input)?.context("the calls ended early")?;
        ensure!(!body.is_empty(), "a call without a body");
        out.write_all(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n")?;
        if input.buffer().is_empty() {
            out.flush()?;
        }
    }
    out.flush()?;
    Ok(())
}

/// The body of the next request.
fn read_request(input: &mut impl BufRead) -> Result<Option<Vec<u8>>> {
    let (mut line, mut length) = (String::new(), 0);
    loop {
        line.clear();
        if input.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        if let Some(value) = line.strip_prefix("Content-Length: ") {
            length = value.trim().parse()?;
        }
        if line == "\r\n" {
            let mut body = vec![0; length];
            input.read_exact(&mut body)?;
            return Ok(Some(body));
        }
    }
}

/// `hello`, subscribed with a master that has nothing to offer.
fn hello(json: bool) -> Result<()> {
    let cluster = Cluster::start(0, "")?;
    let child = Command::new(cluster::binary("hello")?).arg(&cluster.address).stdout(Stdio::piped()).spawn()?;
    let mut child = Ended(child);
    let mut line = String::new();
    let output = child.0.stdout.take().context("hello has no output")?;
    BufReader::new(output).read_line(&mut line)?;
    ensure!(line.starts_with("subscribed as"), "hello says: {line}");
    thread::sleep(SETTLED_AFTER);
    let memory = process::memory(child.0.id())?;
    Figure::new("sdk", "hello_memory", memory.rss as f64 / KIB_PER_MB, "MB")
        .with("pss_mb", (memory.pss as f64 / KIB_PER_MB * 1000.0).round() / 1000.0)
        .print(json);
    Ok(())
}

/// Killed when dropped.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
