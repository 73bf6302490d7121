use super::*;
use crate::jail::{
    Capabilities, Cgroup, MemoryLimit, Mount, Namespace, Part, Plug, Rlimit, Root, Source, Target, Version,
};
use crate::process::Identity;

fn launch<'a>(arguments: &'a [String], environment: &'a [(String, String)]) -> Launch<'a> {
    Launch {
        number: 7,
        slot: 5,
        container: "c-1",
        sandbox: Path::new("/sandbox/s"),
        credentials: None,
        command: Command::Exec("echo", arguments),
        environment,
        rotation: None,
        patience: None,
        jail: None,
        io: None,
        enter: None,
    }
}

fn jail() -> Jail {
    Jail {
        namespaces: vec![Namespace::Mount, Namespace::Net],
        root: Some(Root { lower: vec!["/l".into()], upper: "/u".into(), work: "/w".into(), read_only: true }),
        network: Some(Plug {
            bridge: 3,
            link: "mz".into(),
            address: [10, 0, 0, 2].into(),
            prefix: 16,
            gateway: [10, 0, 0, 1].into(),
        }),
        hostname: Some("box".into()),
        mounts: vec![
            Mount {
                source: Source::Bind { base: "/b".into(), below: "c".into() },
                target: Target::Sandbox("d".into()),
                read_only: true,
            },
            Mount { source: Source::Tmpfs { bytes: 5 }, target: Target::Root("/t".into()), read_only: false },
        ],
        sandbox: Some("/mnt/mesos/sandbox".into()),
        directory: Some("/home".into()),
        cgroups: vec![Cgroup {
            version: Version::Two,
            path: "/g".into(),
            files: vec![("cpu.shares".into(), "2".into())],
            part: Part::Above,
        }],
        memory: Some(MemoryLimit { path: "/g".into(), bytes: 1 << 40 }),
        oom_score: Some(-7),
        rlimits: vec![Rlimit { resource: 7, soft: 1, hard: u64::MAX }],
        capabilities: Some(Capabilities { effective: 1, bounding: u64::MAX }),
        no_new_privileges: true,
        filters: vec![vec![0; 8], Vec::new()],
    }
}

#[test]
fn what_is_encoded_is_decoded() {
    let credentials = Credentials { uid: 1, gid: 2, groups: vec![2, 3] };
    let arguments = ["echo".to_owned(), String::new(), "ä b".to_owned()];
    let environment = [("A".to_owned(), "1=2".to_owned()), ("B".to_owned(), String::new())];
    let rotation = Some(Rotation { stdout_bytes: 1 << 40, stderr_bytes: 2, files: 3 });
    let jail = jail();
    let terminal = Some(Window { rows: 24, columns: 80 });
    let io = Some(Io { socket: Path::new("/run/io/c-1"), terminal, unread: Unread::Held });
    let enter = Some(Enter { process: Identity { pid: 9, start: 10 }, scope: Scope::Inside(Path::new("/in")) });
    let launch = Launch {
        credentials: Some(&credentials),
        rotation,
        patience: Some(Duration::from_millis(1500)),
        jail: Some(&jail),
        io,
        enter,
        ..launch(&arguments, &environment)
    };
    let mut bytes = Vec::new();
    encode(&mut bytes, &launch).unwrap();
    assert_eq!(length(&bytes), Ok(Some(bytes.len())));
    let received = decode(&bytes[4..]).unwrap();
    assert_eq!(received.number, 7);
    assert_eq!((received.slot, received.container), (5, c"c-1"));
    assert_eq!(received.sandbox, c"/sandbox/s");
    assert_eq!(received.credentials, Some(credentials));
    assert_eq!(received.command, c"echo");
    assert_eq!(received.arguments, Some(vec![c"echo", c"", c"ä b"]));
    assert_eq!(received.environment, [c"A=1=2", c"B="]);
    assert_eq!((received.rotation, received.patience), (rotation, Some(Duration::from_millis(1500))));
    assert_eq!(received.jail, Some(jail));
    assert_eq!(
        received.io.map(|io| (io.socket, io.terminal, io.unread)),
        Some((c"/run/io/c-1", Some(Window { rows: 24, columns: 80 }), Unread::Held))
    );
    assert_eq!(received.enter, Some(ReceivedEnter { process: Identity { pid: 9, start: 10 }, inside: Some(c"/in") }));
}

#[test]
fn every_truncation_and_every_changed_byte_is_survived() {
    let arguments = ["a".to_owned()];
    let environment = [("A".to_owned(), "1".to_owned())];
    let mut bytes = Vec::new();
    let jail = jail();
    let io = Some(Io { socket: Path::new("/s"), terminal: None, unread: Unread::Filed });
    let enter = Some(Enter { process: Identity { pid: 9, start: 10 }, scope: Scope::Beside });
    let launch = Launch { jail: Some(&jail), io, enter, ..launch(&arguments, &environment) };
    encode(&mut bytes, &launch).unwrap();
    let frame = &bytes[4..];
    for end in 0..frame.len() {
        assert!(decode(&frame[..end]).is_err(), "decoded after {end} bytes");
    }
    for at in 0..frame.len() {
        let mut changed = frame.to_vec();
        changed[at] ^= 0xff;
        let _ = decode(&changed); // must not panic
    }
    assert_eq!(decode(&[9; 20]).unwrap_err(), FrameError::Version(9));
}

#[test]
fn what_execve_cannot_take_is_refused_and_leaves_the_buffer() {
    let mut bytes = b"before".to_vec();
    let arguments = ["a\0b".to_owned()];
    assert_eq!(encode(&mut bytes, &launch(&arguments, &[])), Err(FrameError::Nul("argument list")));
    let environment = [("A".to_owned(), "x".repeat(MAX_FRAME))];
    assert!(matches!(encode(&mut bytes, &launch(&[], &environment)), Err(FrameError::TooLong(_))));
    let broken = Launch { sandbox: Path::new("/a\nb"), ..launch(&[], &[]) };
    assert_eq!(encode(&mut bytes, &broken), Err(FrameError::LineBreak("sandbox's path")));
    assert_eq!(bytes, b"before");
    assert_eq!(length(&u32::MAX.to_le_bytes()), Err(FrameError::TooLong(u32::MAX as usize)));
}
