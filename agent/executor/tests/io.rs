//! Input and output that a supervisor holds, through its socket.

mod support;

use std::{
    io::{Read, Write},
    os::unix::{net::UnixStream, process::ExitStatusExt},
    path::PathBuf,
    process::{Child, Command as Process, Stdio},
    time::Duration,
};

use mezzo_executor::{
    frame::{Command, Unread, Window},
    io::wire::{self, Message},
    process::{Identity, Stat},
    tree,
};
use support::*;

/// One end of a container's socket.
struct Attached {
    socket: UnixStream,
    received: Vec<u8>,
}

impl Attached {
    fn new(path: &PathBuf, role: Message) -> Self {
        let socket = wait_for("the socket", || UnixStream::connect(path).ok());
        let mut attached = Self { socket, received: Vec::new() };
        attached.say(&role);
        attached
    }

    fn say(&mut self, message: &Message) {
        let mut bytes = Vec::new();
        wire::encode(&mut bytes, message);
        self.socket.write_all(&bytes).unwrap();
    }

    fn hear(&mut self) -> Option<Message> {
        loop {
            if let Some(message) = wire::decode(&mut self.received).unwrap() {
                return Some(message);
            }
            let mut chunk = [0; 65536];
            match self.socket.read(&mut chunk).unwrap_or(0) {
                0 => return None,
                count => self.received.extend(&chunk[..count]),
            }
        }
    }

    /// What comes until `text` is in it.
    fn until(&mut self, text: &str) -> String {
        let mut all = String::new();
        while !all.contains(text) {
            match self.hear() {
                Some(Message::Stdout(bytes)) => all.push_str(&String::from_utf8_lossy(&bytes)),
                Some(Message::Ready) => {}
                other => panic!("no {text:?} in {all:?}, then {other:?}"),
            }
        }
        all
    }

    /// Output and error until the end.
    fn rest(&mut self) -> (Vec<u8>, Vec<u8>) {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        loop {
            match self.hear() {
                Some(Message::Stdout(bytes)) => out.extend(bytes),
                Some(Message::Stderr(bytes)) => err.extend(bytes),
                Some(Message::Ready) => {}
                Some(Message::End) => return (out, err),
                other => panic!("{other:?} after {} bytes", out.len()),
            }
        }
    }
}

fn zygote(terminal: Option<Window>, unread: Unread) -> (Zygote, PathBuf) {
    let mut zygote = Zygote::start();
    let socket = zygote.directory.path().join("socket");
    std::fs::create_dir(zygote.directory.path().join("work")).unwrap();
    zygote.io = Some((socket.clone(), terminal, unread));
    (zygote, socket)
}

#[test]
fn a_session_loses_nothing_however_late_and_slow_its_reader() {
    let (zygote, socket) = zygote(None, Unread::Held);
    zygote.launch(1, Command::Shell("echo first; echo second >&2; head -c 10000000 /dev/zero; exit 7"));
    zygote.running();
    std::thread::sleep(Duration::from_millis(300));
    let mut reader = Attached::new(&socket, Message::Output);
    std::thread::sleep(Duration::from_millis(300));
    let (out, err) = reader.rest();
    assert_eq!((out.len(), &out[..6], &*err), (10_000_006, &b"first\n"[..], &b"second\n"[..]));
    assert_eq!(zygote.exited().code(), Some(7));
    assert!(!zygote.sandbox(1).exists(), "a session has no sandbox");
    wait_for("the socket's end", || (!socket.exists()).then_some(()));
    // One that ends before anybody could attach.
    zygote.launch(2, Command::Exec("no-such-program", &[]));
    zygote.running();
    assert_eq!(zygote.exited().code(), Some(1));
    let (out, err) = Attached::new(&socket, Message::Output).rest();
    let said = String::from_utf8(err).unwrap();
    assert_eq!((&*out, &*said), (&b""[..], "Failed to execute 'no-such-program': No such file or directory\n"));
}

#[test]
fn input_goes_in_as_it_is_and_one_gives_it_at_a_time() {
    let (zygote, socket) = zygote(None, Unread::Held);
    zygote.launch(1, Command::Shell("cat; sleep 1000"));
    zygote.running();
    let mut reader = Attached::new(&socket, Message::Output);
    let mut writer = Attached::new(&socket, Message::Input);
    assert_eq!(writer.hear(), Some(Message::Ready));
    assert_eq!(Attached::new(&socket, Message::Input).hear(), Some(Message::Busy));
    let all: Vec<u8> = (0..2_000_000_u32).map(|number| number.to_le_bytes()[0] ^ number.to_le_bytes()[1]).collect();
    let pieces = all.clone();
    let writing = std::thread::spawn(move || {
        for piece in pieces.chunks(30_000) {
            writer.say(&Message::Stdin(piece.to_vec()));
        }
        writer.say(&Message::Resize(Window { rows: 1, columns: 1 }));
        assert_eq!(
            writer.hear(),
            Some(Message::NotResized("Unable to set the window size: Inappropriate ioctl for device".into()))
        );
    });
    let mut received = Vec::new();
    while received.len() < all.len() {
        if let Some(Message::Stdout(bytes)) = reader.hear() {
            received.extend(bytes);
        }
    }
    assert!(received == all, "it arrived changed");
    writing.join().unwrap();
    // Another one, now that the first is gone; the end of input ends `cat`.
    let mut writer = Attached::new(&socket, Message::Input);
    writer.say(&Message::Stdin(b"last".to_vec()));
    writer.say(&Message::Eof);
    writer.say(&Message::Finish);
    assert_eq!((writer.hear(), writer.hear()), (Some(Message::Ready), Some(Message::Done)));
    assert_eq!(reader.until("last"), "last");
    wait_for("the end of cat", || {
        let shell = zygote.processes(1).task.pid;
        tree::descendants(shell).iter().all(|stat| command(stat).contains("sleep")).then_some(())
    });
    let (pidfd, _) = (zygote.processes(1).supervisor.open().unwrap(), ());
    mezzo_executor::sys::queue_stop(std::os::fd::AsFd::as_fd(&pidfd), Duration::ZERO).unwrap();
    reader.rest();
    assert_eq!(zygote.exited().signal(), Some(9));
}

fn command(stat: &Stat) -> String {
    std::fs::read_to_string(format!("/proc/{}/cmdline", stat.identity.pid)).unwrap_or_default()
}

#[test]
fn a_terminal_is_one() {
    let (zygote, socket) = zygote(Some(Window { rows: 24, columns: 80 }), Unread::Held);
    let script = "trap 'stty size' WINCH; trap 'echo interrupted; exit 3' INT; test -t 0 && test -t 1 && test -t 2 && stty size; echo ready; while :; do sleep 0.1; done";
    zygote.launch(1, Command::Shell(script));
    zygote.running();
    let mut reader = Attached::new(&socket, Message::Output);
    assert!(reader.until("ready").contains("24 80"));
    let mut writer = Attached::new(&socket, Message::Input);
    writer.say(&Message::Resize(Window { rows: 50, columns: 132 }));
    reader.until("50 132");
    writer.say(&Message::Stdin(vec![3]));
    reader.until("interrupted");
    assert_eq!(writer.hear(), Some(Message::Ready));
    assert_eq!(writer.hear(), Some(Message::End));
    assert_eq!(zygote.exited().code(), Some(3));
}

#[test]
fn a_tasks_output_is_in_its_files_too_and_a_stuck_reader_does_not_hold_it_up() {
    let (zygote, socket) = zygote(None, Unread::Filed);
    zygote.launch(1, Command::Shell("read go; head -c 3000000 /dev/zero; echo done >&2"));
    zygote.running();
    let mut stuck = Attached::new(&socket, Message::Output);
    assert_eq!(stuck.hear(), Some(Message::Ready));
    let mut writer = Attached::new(&socket, Message::Input);
    writer.say(&Message::Stdin(b"go\n".to_vec()));
    assert_eq!(zygote.exited().code(), Some(0));
    assert_eq!(zygote.output(1, "stdout").len(), 3_000_000);
    assert_eq!(zygote.output(1, "stderr"), "done\n");
}

/// A container of somebody else; it ends with the test.
struct Other(Child);

impl Drop for Other {
    fn drop(&mut self) {
        tree::signal_descendants(self.0.id().try_into().unwrap(), rustix::process::Signal::KILL, &mut Vec::new());
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_session_runs_where_its_container_runs() {
    if !is_root() {
        return eprintln!("skipped: namespaces need root");
    }
    let mut zygote = Zygote::start();
    let script = "hostname inside; sleep 1000 & ulimit -n 333; exec sleep 1001";
    let mut other = Process::new("unshare")
        .args(["--pid", "--fork", "--mount-proc", "--uts", "--net", "--ipc", "sh", "-c", script])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map(Other)
        .unwrap();
    let outer = other.0.id().try_into().unwrap();
    let inner = wait_for("the container's first process", || {
        let child = tree::descendants(outer).into_iter().next()?;
        (command(&child).contains("sleep\u{0}1001")).then_some(child.identity)
    });
    let socket = zygote.directory.path().join("socket");
    zygote.io = Some((socket.clone(), None, Unread::Held));
    zygote.enter = Some(Identity { start: inner.start, pid: inner.pid });
    let look = "hostname; ps -e -o args= | grep -c '[s]leep 100'; readlink /proc/self/ns/net /proc/self/ns/mnt; ls /proc/self/fd | tr '\\n' ' '; ulimit -n; \
                (setsid sleep 1002 >/dev/null 2>&1 </dev/null &); exit 5";
    zygote.launch(1, Command::Shell(look));
    zygote.running();
    let (out, err) = Attached::new(&socket, Message::Output).rest();
    let said = String::from_utf8(out).unwrap();
    let link = |name: &str| std::fs::read_link(format!("/proc/{}/ns/{name}", inner.pid)).unwrap().display().to_string();
    // The two sleeps, and the shell that looks for them.
    let expected = format!("inside\n3\n{}\n{}\n0 1 2 3 333\n", link("net"), link("mnt"));
    assert_eq!(said, expected, "{}", String::from_utf8_lossy(&err));
    assert_eq!(zygote.exited().code(), Some(5));
    assert!(
        Stat::all().all(|stat| !command(&stat).contains("sleep\u{0}1002")),
        "what the session left behind lives on"
    );
    // Its container's end is its own.
    zygote.launch(2, Command::Shell("sleep 1003"));
    zygote.running();
    inner.signal(rustix::process::Signal::KILL).unwrap();
    other.0.wait().unwrap();
    assert_eq!(zygote.exited().signal(), Some(9));
    // There is nothing left to enter.
    zygote.launch(3, Command::Shell("true"));
    let failed = zygote.event();
    assert!(format!("{failed:?}").contains("has ended"), "{failed:?}");
}
