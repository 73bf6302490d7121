//! What `/proc` tells of containers.

use std::{collections::HashMap, fs};

use nix::unistd::{SysconfVar, sysconf};

/// What the processes of a session use together.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Usage {
    pub(super) user_secs: f64,
    pub(super) system_secs: f64,
    pub(super) rss_bytes: u64,
}

/// By session: the first process of a container leads one.
pub(super) fn usage_by_session() -> HashMap<i32, Usage> {
    let mut sessions: HashMap<i32, Usage> = HashMap::new();
    let setting = |name, usual: i64| sysconf(name).ok().flatten().unwrap_or(usual);
    let page = setting(SysconfVar::PAGE_SIZE, 4096).unsigned_abs();
    #[allow(clippy::cast_precision_loss)]
    let tick = setting(SysconfVar::CLK_TCK, 100) as f64;
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let name = entry.file_name();
        if !name.to_string_lossy().bytes().all(|byte| byte.is_ascii_digit()) {
            continue;
        }
        let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else { continue };
        let Some((session, user, system, pages)) = parse(&stat) else { continue };
        let usage = sessions.entry(session).or_default();
        usage.user_secs += user / tick;
        usage.system_secs += system / tick;
        usage.rss_bytes += pages * page;
    }
    sessions
}

/// Session, ticks as user and system, pages, of a line of proc(5) `stat`. The name in parentheses may hold anything.
fn parse(stat: &str) -> Option<(i32, f64, f64, u64)> {
    let rest = stat.rsplit_once(')')?.1;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    Some((
        fields.get(3)?.parse().ok()?,
        fields.get(11)?.parse().ok()?,
        fields.get(12)?.parse().ok()?,
        fields.get(21)?.parse().ok()?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_line_with_a_nasty_name() {
        let line = "12 (a ) b) S 1 12 10 0 -1 4194304 99 0 0 0 7 3 0 0 20 0 1 0 100 1000000 250 18446744073709551615";
        assert_eq!(parse(line), Some((10, 7.0, 3.0, 250)));
        assert_eq!(parse("nonsense"), None);
    }

    /// As `/proc` numbers it: a session that was begun outside of this PID namespace is 0 here, which getsid(2) wrappers take for an error.
    #[test]
    fn finds_this_process() {
        let (session, ..) = parse(&fs::read_to_string("/proc/self/stat").unwrap()).unwrap();
        assert!(usage_by_session()[&session].rss_bytes > 0);
    }
}
