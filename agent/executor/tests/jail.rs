//! Containers in jails, made by a real zygote. All of it needs root; the layers are the host's own /usr.

use std::{
    fs::{self, File},
    io::Write,
    os::{fd::OwnedFd, unix::net::UnixStream},
    path::{Path, PathBuf},
    process::{Child, Command as Process, Stdio},
    time::{Duration, Instant},
};

use mezzo_executor::{
    event::{self, Event},
    frame::{self, Command, Launch},
    jail::{Jail, Mount, Namespace, Plug, Root, Source, Target},
    netlink::{Netlink, index_of},
    record::Records,
};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

const PATIENCE: Duration = Duration::from_secs(30);

struct World {
    zygote: Child,
    frames: UnixStream,
    events: OwnedFd,
    directory: tempfile::TempDir,
}

/// How a container ended, and what it wrote.
struct Ended {
    status: Result<i32, String>,
    stdout: String,
    stderr: String,
}

impl World {
    /// `None` where this cannot be.
    fn start() -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            let ci = std::env::var("CI").is_ok_and(|value| !value.is_empty() && value != "false" && value != "0");
            assert!(!ci, "this test needs root, and under CI none may be skipped");
            eprintln!("\n!!! SKIPPED: jails are made by root only\n");
            return None;
        }
        let directory = tempfile::tempdir().unwrap();
        let records = directory.path().join("records");
        Records::open(&records).unwrap().recover().unwrap();
        let (near, far) = UnixStream::pair().unwrap();
        let (events, far_events) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
        let zygote = Process::new(env!("CARGO_BIN_EXE_mezzo-executor"))
            .args(["zygote", "--records"])
            .arg(&records)
            .stdin(Stdio::from(OwnedFd::from(far)))
            .stdout(Stdio::from(far_events))
            .spawn()
            .unwrap();
        Some(Self { zygote, frames: near, events, directory })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A root of the host's programs.
    fn root(&self, name: &str) -> Root {
        let base = self.path("roots").join(name);
        Root { lower: vec!["/usr".into()], upper: base.join("upper"), work: base.join("work"), read_only: false }
    }

    fn run(&mut self, number: u64, script: &str, jail: &Jail) -> Ended {
        let sandbox = self.path(&format!("work/{number}"));
        let environment = [("PATH".to_owned(), "/bin:/usr/bin".to_owned())];
        let launch = Launch {
            number,
            slot: u32::try_from(number).unwrap(),
            container: &format!("c-{number}"),
            sandbox: &sandbox,
            credentials: None,
            command: Command::Shell(script),
            environment: &environment,
            rotation: None,
            patience: None,
            jail: Some(jail),
            io: None,
            enter: None,
        };
        let mut bytes = Vec::new();
        frame::encode(&mut bytes, &launch).unwrap();
        self.frames.write_all(&bytes).unwrap();
        let status = loop {
            match self.event() {
                Event::Running { .. } => {}
                Event::Failed { message } => break Err(message),
                Event::Exited { status, .. } => break Ok(status),
                Event::Lost => panic!("the supervisor died"),
            }
        };
        let read = |name: &str| fs::read_to_string(sandbox.join(name)).unwrap_or_default();
        Ended { status, stdout: read("stdout"), stderr: read("stderr") }
    }

    fn event(&self) -> Event {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match event::receive(&self.events) {
                Ok(Some(packet)) => return packet.event,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                other => panic!("no event: {other:?}"),
            }
            assert!(Instant::now() < deadline, "waited in vain for an event");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// No mount of any container is seen from here.
    fn check_mounts(&self) {
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
        assert!(!mounts.contains(&self.directory.path().display().to_string()), "{mounts}");
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = self.zygote.kill();
        let _ = self.zygote.wait();
    }
}

fn bind(base: &Path, below: &str, target: Target, read_only: bool) -> Mount {
    Mount { source: Source::Bind { base: base.into(), below: below.into() }, target, read_only }
}

#[test]
fn a_root_of_its_own_hides_the_host_and_is_thrown_away() {
    let Some(mut world) = World::start() else { return };
    let root = world.root("one");
    let jail = Jail {
        namespaces: vec![Namespace::Mount, Namespace::Pid, Namespace::Ipc, Namespace::Uts],
        root: Some(root.clone()),
        hostname: Some("box".into()),
        sandbox: Some("/mnt/mesos/sandbox".into()),
        ..Jail::default()
    };
    let script = "set -e; [ $(pwd) = /mnt/mesos/sandbox ]; echo here > file; echo kept > /written; \
                  [ ! -e /usr/bin ]; [ ! -e /root ]; [ -c /dev/null ]; echo x > /dev/null; head -c 4 /dev/urandom >/dev/null; \
                  [ -e /dev/pts/ptmx ]; [ -d /dev/shm ]; [ \"$(cat /proc/sys/kernel/hostname)\" = box ]; \
                  [ $(ls -d /proc/[0-9]* | wc -l) -le 5 ]; \
                  if echo 1 > /proc/sys/kernel/panic; then exit 3; fi 2>/dev/null; \
                  if mkdir /sys/x 2>/dev/null; then exit 4; fi; grep -q nameserver /etc/resolv.conf || true; \
                  ls /; echo done";
    let ended = world.run(1, script, &jail);
    assert_eq!(ended.status, Ok(0), "{}{}", ended.stdout, ended.stderr);
    assert_eq!(fs::read_to_string(world.path("work/1/file")).unwrap(), "here\n");
    assert_eq!(fs::read_to_string(root.upper.join("written")).unwrap(), "kept\n");
    assert!(!Path::new("/usr/written").exists());
    world.check_mounts();
}

#[test]
fn a_read_only_root_stays_read_only() {
    let Some(mut world) = World::start() else { return };
    let root = Root { read_only: true, ..world.root("two") };
    let jail = Jail {
        namespaces: vec![Namespace::Mount, Namespace::Pid],
        root: Some(root.clone()),
        sandbox: Some("/mnt/mesos/sandbox".into()),
        ..Jail::default()
    };
    let script = "if echo x > /bin/new; then exit 3; fi; if rm /bin/ls; then exit 4; fi; if mkdir /made; then exit 5; fi; \
                  echo fine > file && echo x > /dev/null && echo x > /dev/shm/x && exit 0; exit 6";
    let ended = world.run(1, script, &jail);
    assert_eq!(ended.status, Ok(0), "{}{}", ended.stdout, ended.stderr);
    assert!(!root.upper.join("made").exists() && !root.upper.join("bin/new").exists());
    world.check_mounts();
}

/// What a layer or a sandbox holds in the place of a mount leads nowhere else.
#[test]
fn planted_links_do_not_lead_mounts_astray() {
    let Some(mut world) = World::start() else { return };
    let (host, outside) = (world.path("host"), world.path("outside"));
    fs::create_dir_all(&host).unwrap();
    fs::create_dir_all(outside.join("deep")).unwrap();
    File::create(host.join("file")).unwrap();
    // In a layer: an absolute link is one of the container's own root.
    let layer = world.path("layer");
    fs::create_dir_all(&layer).unwrap();
    std::os::unix::fs::symlink(outside.join("deep"), layer.join("data")).unwrap();
    let root = Root { lower: vec!["/usr".into(), layer], ..world.root("three") };
    let jail = Jail {
        namespaces: vec![Namespace::Mount],
        root: Some(root.clone()),
        sandbox: Some("/mnt/mesos/sandbox".into()),
        mounts: vec![bind(&host, "", Target::Root("/data".into()), true)],
        ..Jail::default()
    };
    // The link's target is not there in the container, and is not made through the link.
    let ended = world.run(1, "true", &jail);
    assert!(ended.status.is_err_and(|message| message.contains("'/data'")), "{}", ended.stderr);
    assert_eq!(fs::read_dir(outside.join("deep")).unwrap().count(), 0);
    // In a sandbox: a link that leads out is refused, one that climbs too.
    for (number, target) in [(2, outside.clone()), (3, PathBuf::from("../../outside"))] {
        let sandbox = world.path(&format!("work/{number}"));
        fs::create_dir_all(&sandbox).unwrap();
        std::os::unix::fs::symlink(&target, sandbox.join("link")).unwrap();
        let jail = Jail {
            namespaces: vec![Namespace::Mount],
            mounts: vec![bind(&host, "", Target::Sandbox("link/v".into()), false)],
            ..Jail::default()
        };
        let ended = world.run(number, "true", &jail);
        assert!(ended.status.is_err_and(|message| message.contains("link/v")), "{number}");
        assert!(!outside.join("v").exists());
    }
    // A source that leads out of where it belongs.
    std::os::unix::fs::symlink("/etc", host.join("etc")).unwrap();
    let jail = Jail {
        namespaces: vec![Namespace::Mount],
        mounts: vec![bind(&host, "etc", Target::Sandbox("v".into()), false)],
        ..Jail::default()
    };
    let ended = world.run(4, "true", &jail);
    assert!(ended.status.is_err_and(|message| message.contains("host/etc")));
    world.check_mounts();
}

#[test]
fn a_status_comes_through_the_first_process() {
    let Some(mut world) = World::start() else { return };
    let jail = Jail { namespaces: vec![Namespace::Mount, Namespace::Pid], ..Jail::default() };
    for (number, script, status) in [(1, "exit 7", 7 << 8), (2, "kill -SEGV $$", 11), (3, "kill -9 $$", 9)] {
        assert_eq!(world.run(number, script, &jail).status, Ok(status), "{script}");
    }
    // The first process itself is killed: so is all of the container.
    assert_eq!(
        world.run(4, "kill -9 1; sleep 0.1; kill -9 $PPID; exit 3", &jail).status,
        Ok(3 << 8),
        "it is protected"
    );
    let missing = Jail { directory: Some("/no/such/directory".into()), ..jail };
    let ended = world.run(5, "true", &missing);
    assert!(ended.status.is_err_and(|message| message.contains("change into")));
}

/// A network of its own, whose cable goes with it.
#[test]
fn a_container_is_plugged_into_a_bridge_and_leaves_no_cable() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    // This thread's network, and so the zygote's: nothing of it is the host's.
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
    let Some(mut world) = World::start() else { return };
    let netlink = Netlink::open().unwrap();
    netlink.make_bridge("mezzo-test", [2, 0, 0, 0, 0, 1]).unwrap();
    assert_eq!(netlink.make_bridge("mezzo-test", [2; 6]).unwrap_err().kind(), std::io::ErrorKind::AlreadyExists);
    let bridge = index_of("mezzo-test").unwrap();
    netlink.give_address(bridge, [10, 1, 0, 1].into(), 24).unwrap();
    netlink.raise(bridge).unwrap();
    let plug = |bridge| Plug {
        bridge,
        link: "mz-test".into(),
        address: [10, 1, 0, 2].into(),
        prefix: 24,
        gateway: [10, 1, 0, 1].into(),
    };
    let jail = |plug| Jail { namespaces: vec![Namespace::Net], network: plug, ..Jail::default() };
    let look = "cat /proc/net/route | cut -f 1,2,3; cat /proc/net/fib_trie; ls /proc/net/dev_snmp6 2>/dev/null; \
                cut -d : -f 1 /proc/net/dev";
    for number in 1..3 {
        let ended = world.run(number, look, &jail(Some(plug(bridge))));
        assert_eq!(ended.status, Ok(0), "{}", ended.stderr);
        assert!(ended.stdout.contains("eth0\t00000000\t0100010A"), "{}", ended.stdout);
        assert!(ended.stdout.contains("10.1.0.2"), "{}", ended.stdout);
    }
    let alone = world.run(3, "cut -d : -f 1 /proc/net/dev | tail -n +3", &jail(None));
    assert_eq!((alone.status, alone.stdout.contains("lo"), alone.stdout.contains("eth0")), (Ok(0), true, false));
    let refused = world.run(4, "true", &jail(Some(plug(bridge + 1000))));
    assert!(refused.status.unwrap_err().contains("network"));
    let deadline = Instant::now() + PATIENCE;
    while index_of("mz-test").is_some() {
        assert!(Instant::now() < deadline, "a cable is left");
        std::thread::sleep(Duration::from_millis(10));
    }
}
