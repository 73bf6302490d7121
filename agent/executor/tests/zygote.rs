//! The real binary, driven as the agent drives it.

mod support;

use std::{
    os::{
        fd::AsFd,
        unix::{
            fs::{MetadataExt, PermissionsExt},
            process::ExitStatusExt,
        },
    },
    path::PathBuf,
    process::{Command as Process, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use mezzo_executor::{
    event::{self, Event, Packet},
    frame::{Command, Credentials, Rotation},
    record::Stage,
    sys,
    tree::{self, Watched},
};
use support::*;

#[test]
fn exit_codes_and_signals_are_told_raw() {
    let zygote = Zygote::start();
    assert!(zygote.run(1, Command::Shell("true")).success());
    assert_eq!(zygote.run(2, Command::Shell("exit 42")).code(), Some(42));
    assert_eq!(zygote.run(3, Command::Shell("kill -KILL $$")).signal(), Some(9));
    assert_eq!(zygote.run(4, Command::Shell("no-such-program")).code(), Some(127));
    assert_eq!(zygote.run(5, Command::Exec("no-such-program", &[])).code(), Some(1));
    assert_eq!(zygote.output(5, "stderr"), "Failed to execute 'no-such-program': No such file or directory\n");
    assert_eq!(zygote.run(6, Command::Exec("/etc/passwd", &["x".into()])).code(), Some(1));
    assert!(zygote.output(6, "stderr").contains("Permission denied"));
}

#[test]
fn argv_environment_and_descriptors_are_exact() {
    let zygote = Zygote::start();
    // Descriptors and signals are those of the shell's children: its own change while it starts one.
    let show = "tr '\\0' '|' </proc/$$/cmdline; echo; tr '\\0' '|' </proc/$$/environ; echo; pwd; umask; readlink /proc/self/fd/0 /proc/self/fd/1 /proc/self/fd/2; ls /proc/self/fd; grep Sig[BI] /proc/self/status; ulimit -c";
    let environment = [("A".to_owned(), "b c".to_owned()), ("PATH".to_owned(), "/usr/bin:/bin".to_owned())];
    zygote.launch_as(1, Command::Shell(show), &environment, None);
    zygote.running();
    assert!(zygote.exited().success());
    let output = zygote.output(1, "stdout");
    let mut lines = output.lines();
    assert_eq!(lines.next(), Some(&*format!("sh|-c|{show}|")));
    assert_eq!(lines.next(), Some("A=b c|PATH=/usr/bin:/bin|"));
    let sandbox = zygote.sandbox(1).display().to_string();
    assert_eq!(lines.next(), Some(&*sandbox));
    assert_eq!(lines.next(), Some("0022"));
    assert_eq!(lines.next(), Some("/dev/null"));
    assert_eq!(lines.next(), Some(&*format!("{sandbox}/stdout")));
    assert_eq!(lines.next(), Some(&*format!("{sandbox}/stderr")));
    let rest: Vec<&str> = lines.collect();
    let (descriptors, rest) = rest.split_at(4);
    assert_eq!(descriptors, ["0", "1", "2", "3"], "the last is the directory that ls reads");
    assert_eq!(rest[0], "SigBlk:\t0000000000000000");
    assert_eq!(rest[1], "SigIgn:\t0000000000000000");

    let arguments = ["zero".to_owned(), "a b".to_owned(), String::new(), "$HOME".to_owned()];
    let program = zygote.directory.path().join("show");
    std::fs::write(&program, "#!/bin/sh\nprintf '<%s>' \"$@\"").unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    assert!(zygote.run(2, Command::Exec(program.to_str().unwrap(), &arguments)).success());
    assert_eq!(zygote.output(2, "stdout"), "<a b><><$HOME>");

    // A script without `#!`, found in the sandbox, is run as execvp does.
    std::fs::create_dir_all(zygote.sandbox(3)).unwrap();
    let script = zygote.sandbox(3).join("script");
    std::fs::write(&script, "echo \"$0 $*\"").unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    assert!(zygote.run(3, Command::Exec("script", &arguments[..2])).success());
    assert_eq!(zygote.output(3, "stdout"), format!("{} a b\n", script.display()));
}

#[test]
fn sandbox_and_output_have_mesos_modes() {
    let zygote = Zygote::start();
    assert!(zygote.run(1, Command::Shell("echo out; echo err >&2")).success());
    let mode = |path: PathBuf| std::fs::metadata(path).unwrap().mode() & 0o7777;
    assert_eq!(mode(zygote.sandbox(1)), 0o750);
    assert_eq!(mode(zygote.sandbox(1).join("stdout")), 0o644);
    assert_eq!(mode(zygote.sandbox(1).parent().unwrap().into()), 0o755);
    assert_eq!(std::fs::read_link(zygote.sandbox(1).with_file_name("latest")).unwrap(), zygote.sandbox(1));
    assert_eq!((zygote.output(1, "stdout"), zygote.output(1, "stderr")), ("out\n".into(), "err\n".into()));
}

#[test]
fn what_cannot_start_says_why() {
    let zygote = Zygote::start();
    let file = zygote.directory.path().join("work");
    std::fs::write(file, "").unwrap();
    zygote.launch(1, Command::Shell("true"));
    let Event::Failed { message } = zygote.event().event else { panic!("did not fail") };
    assert!(message.contains("Failed to create sandbox '/") && message.contains("Not a directory"), "{message}");
    assert_eq!(zygote.stage(1), Some(Stage::Failed { message }));
}

#[test]
fn the_whole_tree_goes_with_its_first_process() {
    let zygote = Zygote::start();
    // One in the group, one in a session of its own whose parent is gone, one that minds no SIGTERM.
    let script = "sleep 1000 & echo $! >>pids; \
        (setsid sh -c 'echo $$ >>pids; exec sleep 1000' & ) ; \
        sh -c 'trap \"\" TERM; echo $$ >>pids; while :; do sleep 1000; done' & \
        while [ $(wc -l <pids) -lt 3 ]; do sleep 0.01; done; exit 7";
    zygote.launch(1, Command::Shell(script));
    zygote.running();
    assert_eq!(zygote.exited().code(), Some(7));
    let pids = lines(&zygote.sandbox(1).join("pids"));
    assert_eq!(pids.len(), 3);
    assert!(!pids.into_iter().any(alive));
}

#[test]
fn a_stop_is_heard_by_the_tree_and_enforced_after_its_grace() {
    let zygote = Zygote::start();
    let polite = "trap 'echo bye; exit 3' TERM; sh -c 'trap \"echo child; exit\" TERM; echo up; while :; do sleep 0.01; done' & wait; wait";
    zygote.launch(1, Command::Shell(polite));
    let (pidfd, _) = zygote.running();
    wait_for("the child", || zygote.output(1, "stdout").contains("up").then_some(()));
    sys::queue_stop(pidfd.as_fd(), Duration::from_secs(1000)).unwrap();
    assert_eq!(zygote.exited().code(), Some(3));
    assert!(zygote.output(1, "stdout").contains("bye"));

    zygote.launch(2, Command::Shell("trap '' TERM; echo up; while :; do sleep 0.01; done"));
    let (pidfd, _) = zygote.running();
    wait_for("the trap", || zygote.output(2, "stdout").contains("up").then_some(()));
    let start = Instant::now();
    let grace = Duration::from_millis(300);
    sys::queue_stop(pidfd.as_fd(), grace).unwrap();
    sys::queue_stop(pidfd.as_fd(), Duration::from_secs(1000)).unwrap(); // never lengthens
    assert_eq!(zygote.exited().signal(), Some(9));
    assert!(start.elapsed() >= grace);

    zygote.launch(3, Command::Shell("trap '' TERM; echo up; while :; do sleep 0.01; done"));
    let (pidfd, _) = zygote.running();
    wait_for("the trap", || zygote.output(3, "stdout").contains("up").then_some(()));
    sys::queue_stop(pidfd.as_fd(), Duration::from_secs(1000)).unwrap();
    sys::queue_stop(pidfd.as_fd(), Duration::from_millis(1)).unwrap(); // shortens
    assert_eq!(zygote.exited().signal(), Some(9));

    zygote.launch(4, Command::Shell("trap 'exit 0' TERM; while :; do sleep 1; done"));
    let (pidfd, _) = zygote.running();
    sys::queue_stop(pidfd.as_fd(), Duration::ZERO).unwrap();
    assert_eq!(zygote.exited().signal(), Some(9), "a kill without grace was announced by SIGTERM");
}

#[test]
fn tasks_outlive_the_agent_and_their_end_is_on_record() {
    let mut zygote = Zygote::start();
    zygote.launch(1, Command::Shell("while [ ! -e go ]; do sleep 0.01; done; exit 5"));
    let (pidfd, task) = zygote.running();
    zygote.frames.take(); // as when the agent dies
    assert!(zygote.process.wait().unwrap().success());
    let processes = zygote.processes(1);
    assert_eq!(processes.task.pid, task);
    assert!(processes.supervisor.open().is_some());
    // The lock is free: nothing more can come from this zygote.
    rustix::fs::flock(zygote.records.file(), rustix::fs::FlockOperation::NonBlockingLockExclusive).unwrap();
    std::fs::write(zygote.sandbox(1).join("go"), "").unwrap();
    let mut poll = [rustix::event::PollFd::new(&pidfd, rustix::event::PollFlags::IN)];
    rustix::event::poll(&mut poll, None).unwrap();
    assert_eq!(zygote.stage(1), Some(Stage::Started { processes, exited: Some(5 << 8) }));
}

#[test]
fn a_stop_holds_when_the_agent_is_away() {
    let mut zygote = Zygote::start();
    zygote.launch(1, Command::Shell("trap '' TERM; echo up; while :; do sleep 0.01; done"));
    let (pidfd, _) = zygote.running();
    wait_for("the trap", || zygote.output(1, "stdout").contains("up").then_some(()));
    sys::queue_stop(pidfd.as_fd(), Duration::from_millis(200)).unwrap();
    zygote.frames.take();
    wait_for("the end on record", || {
        matches!(zygote.stage(1), Some(Stage::Started { exited: Some(9), .. })).then_some(())
    });
}

#[test]
fn a_killed_supervisor_is_noticed_and_its_tree_can_be_ended() {
    let zygote = Zygote::start();
    let sandbox = zygote.sandbox(1).display().to_string();
    let environment = [("MESOS_SANDBOX".to_owned(), sandbox), ("PATH".to_owned(), std::env::var("PATH").unwrap())];
    let script = "sleep 1000 & echo $! >>pids; \
        (setsid sh -c 'echo $$ >>pids; exec sleep 1000 >/dev/null 2>&1' & ); \
        while [ $(wc -l <pids) -lt 2 ]; do sleep 0.01; done; echo $$ >>pids; wait; sleep 1000";
    zygote.launch_as(1, Command::Shell(script), &environment, None);
    zygote.running();
    let pids =
        wait_for("all processes", || Some(lines(&zygote.sandbox(1).join("pids"))).filter(|pids| pids.len() == 3));
    let bystander = Process::new("sleep").arg("1000").stdout(Stdio::null()).spawn().unwrap();
    let processes = zygote.processes(1);
    processes.supervisor.signal(rustix::process::Signal::KILL).unwrap();
    let packet = zygote.event();
    assert_eq!((packet.number, packet.event), (1, Event::Lost));
    assert!(tree::sweep(&processes, Watched::No) >= 1);
    assert!(!pids.into_iter().any(alive));
    let mut bystander = bystander;
    assert!(bystander.try_wait().unwrap().is_none());
    bystander.kill().unwrap();
    bystander.wait().unwrap();
}

#[test]
fn another_user_gets_its_own_rights_and_nothing_more() {
    if !is_root() {
        eprintln!("skipped: only root can switch users");
        return;
    }
    let zygote = Zygote::start();
    let credentials = Credentials { uid: 12345, gid: 23456, groups: vec![23456, 34567] };
    let environment = [("PATH".to_owned(), "/usr/bin:/bin".to_owned())];
    let script =
        "id -u; id -g; id -G; touch made; grep Cap /proc/self/status | grep -cv 'Bnd' ; grep CapEff /proc/self/status";
    zygote.launch_as(1, Command::Shell(script), &environment, Some(&credentials));
    zygote.running();
    assert!(zygote.exited().success());
    let output = zygote.output(1, "stdout");
    let lines: Vec<&str> = output.lines().collect();
    assert_eq!(lines[..3], ["12345", "23456", "23456 34567"]);
    assert_eq!(lines[4], "CapEff:\t0000000000000000");
    for name in ["", "stdout", "stderr", "made"] {
        let metadata = std::fs::metadata(zygote.sandbox(1).join(name)).unwrap();
        assert_eq!((metadata.uid(), metadata.gid()), (12345, 23456), "{name}");
    }
    // PDEATHSIG holds for another user too.
    zygote.launch_as(2, Command::Exec("sleep", &["sleep".into(), "1000".into()]), &environment, Some(&credentials));
    let (_, task) = zygote.running();
    zygote.processes(2).supervisor.signal(rustix::process::Signal::KILL).unwrap();
    wait_for("the task's end", || (!alive(task)).then_some(()));
}

#[test]
fn three_hundred_at_once_all_end_well() {
    let zygote = Zygote::start();
    for number in 0..300 {
        zygote.launch(number, Command::Shell("exit $(( $(basename $PWD) % 100 ))"));
    }
    // Events of ends may be dropped while nobody reads them; those who were told of the start then see the pidfd.
    let mut ended = std::collections::BTreeMap::new();
    let mut pidfds = Vec::new();
    while ended.len() < 300 {
        let status = |number| match zygote.stage(number) {
            Some(Stage::Started { exited: Some(status), .. }) => Some((number, status)),
            _ => None,
        };
        match event::receive(&zygote.events) {
            Ok(Some(Packet { number, event: Event::Running { .. }, pidfd })) => pidfds.push((number, pidfd.unwrap())),
            Ok(Some(Packet { number, event: Event::Exited { status, .. }, .. })) => drop(ended.insert(number, status)),
            Ok(packet) => panic!("unexpected: {packet:?}"),
            Err(_) => match pidfds.pop() {
                Some((number, pidfd)) => {
                    let mut poll = [rustix::event::PollFd::new(&pidfd, rustix::event::PollFlags::IN)];
                    rustix::event::poll(&mut poll, None).unwrap();
                    ended.extend(status(number));
                }
                None => {
                    let mut poll = [rustix::event::PollFd::new(&zygote.events, rustix::event::PollFlags::IN)];
                    rustix::event::poll(&mut poll, None).unwrap();
                }
            },
        }
    }
    for (number, status) in ended {
        assert_eq!(ExitStatus::from_raw(status).code(), i32::try_from(number % 100).ok());
    }
}

#[test]
fn a_supervisor_is_small() {
    let zygote = Zygote::start_in_place();
    let environment: Vec<_> = (0..30).map(|n| (format!("MESOS_VARIABLE_{n}"), "x".repeat(60))).collect();
    zygote.launch_as(1, Command::Exec("/bin/sleep", &["sleep".into(), "1000".into()]), &environment, None);
    zygote.running();
    let kilobytes = |pid: i32, file: &str, name: &str| -> u64 {
        let text = std::fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap();
        let line = text.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_ascii_whitespace().nth(1).unwrap().parse().unwrap()
    };
    let zygote_pid = zygote.process.id().try_into().unwrap();
    for (what, pid) in [("zygote", zygote_pid), ("supervisor", zygote.processes(1).supervisor.pid)] {
        let (rss, pss) = (kilobytes(pid, "status", "VmRSS:"), kilobytes(pid, "smaps_rollup", "Pss:"));
        let private = kilobytes(pid, "smaps_rollup", "Private_Dirty:");
        println!("{what}: VmRSS {rss} kB, PSS {pss} kB, private dirty {private} kB");
    }
    let supervisor = zygote.processes(1).supervisor.pid;
    let (rss, private) =
        (kilobytes(supervisor, "status", "VmRSS:"), kilobytes(supervisor, "smaps_rollup", "Private_Dirty:"));
    assert!(rss <= 1536, "a supervisor takes {rss} kB");
    assert!(private <= 384, "a supervisor has {private} kB of its own");
}

#[test]
fn output_is_rotated_by_size_and_nothing_of_it_is_lost() {
    let mut zygote = Zygote::start();
    zygote.rotation = Some(Rotation { stdout_bytes: 20_000, stderr_bytes: 0, files: 100 });
    let script = "i=0; while [ $i -lt 20000 ]; do echo line-$i; i=$((i+1)); done; echo done >&2";
    assert!(zygote.run(1, Command::Shell(script)).success());
    let mut text = String::new();
    let mut files = 0;
    for number in (1..=100).rev() {
        if let Ok(part) = std::fs::read_to_string(zygote.sandbox(1).join(format!("stdout.{number}"))) {
            assert!(part.len() <= 20_000, "stdout.{number} has {} bytes", part.len());
            text.push_str(&part);
            files += 1;
        }
    }
    text.push_str(&zygote.output(1, "stdout"));
    assert!(files > 5, "{files} files");
    let expected: String = (0..20_000).map(|number| format!("line-{number}\n")).collect();
    assert!(text == expected, "{} bytes of {}", text.len(), expected.len());
    assert_eq!(zygote.output(1, "stderr"), "done\n");
    // A background process that outlives the shell ends with it, and what it wrote is there.
    zygote.rotation = Some(Rotation { stdout_bytes: 100, stderr_bytes: 100, files: 0 });
    assert!(zygote.run(2, Command::Shell("(echo child; exec sleep 1000) & sleep 0.2; echo shell")).success());
    assert_eq!(zygote.output(2, "stdout"), "child\nshell\n");
}

/// Nobody is left who would end it: no agent, and none that comes.
#[test]
fn a_task_ends_when_its_agent_stays_away() {
    let mut zygote = Zygote::start();
    zygote.patience = Some(Duration::from_millis(600));
    zygote.launch(1, Command::Shell("exec sleep 1000"));
    zygote.running();
    zygote.patience = None;
    zygote.launch(2, Command::Shell("exec sleep 1000"));
    let (other, _) = zygote.running();
    let elsewhere = std::fs::File::open("/dev/null").unwrap().into();
    (zygote.frames, zygote.events) = (None, elsewhere);
    let ended = || match zygote.stage(1) {
        Some(Stage::Started { exited, .. }) => exited,
        stage => panic!("{stage:?}"),
    };
    let status = wait_for("the end of the task", ended);
    assert_eq!(status, 15, "by SIGTERM");
    assert!(zygote.output(1, "stderr").contains("no agent for 0.6 s"), "{}", zygote.output(1, "stderr"));
    assert!(matches!(zygote.stage(2), Some(Stage::Started { exited: None, .. })), "it was given no such time");
    sys::queue_stop(other.as_fd(), Duration::ZERO).unwrap();
}
