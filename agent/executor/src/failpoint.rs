//! Places at which a test kills: `MEZZO_EXECUTOR_FAILPOINT=agent:<name>` the agent, after which all goes on here, `self:<name>`
//! the process that comes to the place. `:<file>` after it is made before, so that the test knows. Programs that are built for use (without debug assertions) have none of this.

/// Kills if this is the place.
#[cfg(debug_assertions)]
pub(crate) fn pass(name: &str) {
    use rustix::process::{Pid, Signal, getpid, kill_process};
    let Ok(chosen) = std::env::var("MEZZO_EXECUTOR_FAILPOINT") else { return };
    let mut parts = chosen.splitn(3, ':');
    let (who, place, file) = (parts.next(), parts.next(), parts.next());
    if place != Some(name) {
        return;
    }
    if let Some(file) = file {
        let _ = std::fs::write(file, name);
    }
    match who {
        Some("self") => {
            let _ = kill_process(getpid(), Signal::KILL);
            crate::sys::exit(1) // the first process of a PID namespace does not die by itself otherwise
        }
        Some("agent") => {
            if let Some(agent) = agent().and_then(Pid::from_raw) {
                let _ = kill_process(agent, Signal::KILL);
            }
        }
        _ => {}
    }
}

/// The process above the zygote, which has its own name.
#[cfg(debug_assertions)]
fn agent() -> Option<i32> {
    let parent = |path: &str| -> Option<(String, i32)> {
        let text = std::fs::read_to_string(path).ok()?;
        let (name, rest) = text.split_once('(')?.1.rsplit_once(')')?;
        Some((name.to_owned(), rest.split_whitespace().nth(1)?.parse().ok()?))
    };
    let (mut name, mut above) = parent("/proc/self/stat")?;
    while name.starts_with("mezzo-") && name != "mezzo-executor" {
        (name, above) = parent(&format!("/proc/{above}/stat"))?;
    }
    (name == "mezzo-executor").then_some(above)
}

/// Nothing.
#[cfg(not(debug_assertions))]
#[inline(always)]
pub(crate) fn pass(_name: &str) {}
