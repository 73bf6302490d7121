//! How many containers a second zygote, supervisors and exec manage: `launch_rate <mezzo-executor> [count] [in flight]`.
//! Prints one JSON object.

use std::{
    io::Write,
    os::{fd::OwnedFd, unix::net::UnixStream},
    path::PathBuf,
    time::Instant,
};

use mezzo_executor::{
    event::{self, Event},
    frame::{self, Command, Launch},
    record::Records,
};
use rustix::{
    event::{PollFd, PollFlags, poll},
    net::{AddressFamily, SocketFlags, SocketType, socketpair},
};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let executor = PathBuf::from(args.next().ok_or("which mezzo-executor?")?);
    let count: u64 = args.next().map_or(Ok(5000), |count| count.parse())?;
    let in_flight: u64 = args.next().map_or(Ok(64), |count| count.parse())?;

    let directory = tempfile::tempdir()?;
    let records = directory.path().join("containers");
    Records::open(&records)?.recover()?;
    let (mut frames, far_frames) = UnixStream::pair()?;
    let (events, far_events) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    let mut zygote = std::process::Command::new(executor)
        .args(["zygote", "--records"])
        .arg(records)
        .stdin(OwnedFd::from(far_frames))
        .stdout(far_events)
        .spawn()?;

    let environment = [("PATH".to_owned(), "/usr/bin:/bin".to_owned())];
    let start = Instant::now();
    let (mut launched, mut exited, mut failed) = (0, 0, 0);
    while exited + failed < count {
        let mut bytes = Vec::new();
        while launched < count && launched - exited < in_flight {
            let launch = Launch {
                number: launched,
                slot: u32::try_from(launched % (2 * in_flight))? + 1,
                container: "c",
                sandbox: &directory.path().join(format!("work/runs/{launched}")),
                credentials: None,
                command: Command::Exec("/bin/true", &["true".to_owned()]),
                environment: &environment,
                rotation: None,
                patience: None,
                jail: None,
                io: None,
                enter: None,
            };
            frame::encode(&mut bytes, &launch)?;
            launched += 1;
        }
        frames.write_all(&bytes)?;
        poll(&mut [PollFd::new(&events, PollFlags::IN)], None)?;
        loop {
            match event::receive(&events) {
                Ok(Some(packet)) => match packet.event {
                    Event::Exited { status: 0, .. } => exited += 1,
                    Event::Running { .. } => {}
                    _ => failed += 1,
                },
                Ok(None) => return Err("the zygote ended".into()),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.into()),
            }
        }
    }
    #[expect(clippy::cast_precision_loss, reason = "a small number")]
    let rate = count as f64 / start.elapsed().as_secs_f64();
    println!(
        r#"{{"bench":"launch_rate","case":"true","value":{rate:.0},"unit":"1/s","count":{count},"in_flight":{in_flight},"failed":{failed}}}"#
    );
    drop(frames);
    zygote.wait()?;
    Ok(())
}
