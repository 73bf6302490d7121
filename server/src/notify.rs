//! What a service tells the manager that started it: `Type=notify` and `WatchdogSec=` of systemd, sd_notify(3). Where no
//! manager listens (no `NOTIFY_SOCKET`) nothing is said.

use std::{
    ffi::OsStr,
    future::Future,
    os::{
        linux::net::SocketAddrExt,
        unix::{
            ffi::OsStrExt,
            net::{SocketAddr, UnixDatagram},
        },
    },
    time::Duration,
};

/// The service is up.
pub fn ready() {
    send("READY=1");
}

/// What it does at present, in a few words.
pub fn status(status: &str) {
    send(&format!("STATUS={}", one_line(status)));
}

/// It ends, of its own will or because it was told to.
pub fn stopping() {
    send("STOPPING=1");
}

/// It lives, and waits for something that is not in its hands.
pub fn alive() {
    send("WATCHDOG=1");
}

/// Tells the manager that the service lives, as often as it wants to hear it, each time that `proof` ends. A proof that does
/// not end is a service that hangs: the manager starts it anew. Returns at once where nobody watches.
pub async fn watchdog<F: Future<Output = ()>>(mut proof: impl FnMut() -> F) {
    let variable = |name: &str| std::env::var(name).ok();
    let Some(interval) = interval(variable("WATCHDOG_USEC").as_deref(), variable("WATCHDOG_PID").as_deref()) else {
        return;
    };
    loop {
        proof().await;
        alive();
        tokio::time::sleep(interval).await;
    }
}

/// A third of what the manager waits, if it watches this process.
fn interval(micros: Option<&str>, pid: Option<&str>) -> Option<Duration> {
    if pid.is_some_and(|pid| pid != std::process::id().to_string()) {
        return None;
    }
    let micros: u64 = micros?.parse().ok().filter(|micros| *micros > 0)?;
    Some(Duration::from_micros(micros) / 3)
}

fn send(message: &str) {
    if let Some(place) = std::env::var_os("NOTIFY_SOCKET") {
        // A manager that does not listen any more is none.
        let _ = send_to(&place, message);
    }
}

fn send_to(place: &OsStr, message: &str) -> std::io::Result<usize> {
    let address = match place.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(place)?,
    };
    UnixDatagram::unbound()?.send_to_addr(message.as_bytes(), &address)
}

fn one_line(text: &str) -> String {
    text.replace(['\n', '\r'], " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speaks_to_both_kinds_of_sockets() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let name = format!("@mezzo-notify-{}", std::process::id());
        let listening = [
            (path.clone().into_os_string(), UnixDatagram::bind(&path).unwrap()),
            (
                name.clone().into(),
                UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name[1..]).unwrap()).unwrap(),
            ),
        ];
        for (place, socket) in listening {
            send_to(&place, "READY=1").unwrap();
            let mut heard = [0; 64];
            let length = socket.recv(&mut heard).unwrap();
            assert_eq!(&heard[..length], b"READY=1");
        }
        assert!(send_to(OsStr::new("/no/such/socket"), "READY=1").is_err());
    }

    #[test]
    fn is_watched_if_the_manager_means_this_process() {
        let own = std::process::id().to_string();
        assert_eq!(interval(Some("30000000"), Some(&own)), Some(Duration::from_secs(10)));
        assert_eq!(interval(Some("30000000"), None), Some(Duration::from_secs(10)));
        assert_eq!(interval(Some("30000000"), Some("1")), None);
        for micros in [None, Some("0"), Some("soon")] {
            assert_eq!(interval(micros, None), None);
        }
    }
}
