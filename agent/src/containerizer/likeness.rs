//! What a process runs as, for others to be run as it: the command of a check.

use std::time::Duration;

use mezzo_executor::frame::Credentials;

/// How long an exec may take.
const EXEC: Duration = Duration::from_millis(10);
const EXECS: usize = 10;

/// As /proc tells it.
pub(super) struct Likeness {
    /// Its user; `None`: the agent's own.
    pub(super) credentials: Option<Credentials>,
    /// Its sandbox as it sees it, and its environment; `None` when it has written over that (setproctitle does).
    pub(super) seen: Option<(std::path::PathBuf, Vec<(String, String)>)>,
}

impl Likeness {
    /// Of this process.
    pub(super) async fn of(pid: i32) -> Self {
        let read = tokio::task::spawn_blocking(move || {
            let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            Self { credentials: user(&status), seen: environment_of(pid) }
        });
        read.await.unwrap_or(Self { credentials: None, seen: None })
    }
}

/// In the midst of an exec there is none for a moment.
fn environment_of(pid: i32) -> Option<(std::path::PathBuf, Vec<(String, String)>)> {
    for _ in 0..EXECS {
        let environ = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        if !environ.is_empty() {
            return seen(&environ);
        }
        std::thread::sleep(EXEC);
    }
    None
}

/// The real user and groups of a process, unless they are the agent's.
fn user(status: &str) -> Option<Credentials> {
    let numbers = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().map(|number| number.parse().ok()).collect::<Option<Vec<u32>>>()
    };
    let (uid, gid) = (*numbers("Uid:")?.first()?, *numbers("Gid:")?.first()?);
    let own = uid == nix::unistd::getuid().as_raw() && gid == nix::unistd::getgid().as_raw();
    (!own).then(|| Credentials { uid, gid, groups: numbers("Groups:").unwrap_or_default() })
}

fn seen(environ: &[u8]) -> Option<(std::path::PathBuf, Vec<(String, String)>)> {
    let variables = environ.split(|byte| *byte == 0).filter_map(|variable| {
        let (name, value) = std::str::from_utf8(variable).ok()?.split_once('=')?;
        (!name.is_empty()).then(|| (name.to_owned(), value.to_owned()))
    });
    let all: Vec<_> = variables.collect();
    let sandbox = all.iter().find(|(name, _)| name == "MESOS_SANDBOX").map(|(_, value)| value.into())?;
    Some((sandbox, all))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_read_or_nothing_is_believed() {
        let status = "Name:\tx\nUid:\t7001\t7001\t7001\t7001\nGid:\t7002\t7002\t7002\t7002\nGroups:\t7002 7003 \n";
        let credentials = user(status).unwrap();
        assert_eq!((credentials.uid, credentials.gid, credentials.groups), (7001, 7002, vec![7002, 7003]));
        assert_eq!(user("Uid:\tx"), None);
        let (sandbox, all) = seen(b"A=1\0MESOS_SANDBOX=/s\0\0").unwrap();
        assert_eq!((sandbox.to_str(), all.len()), (Some("/s"), 2));
        assert!(seen(b"nginx: master process").is_none());
    }
}
