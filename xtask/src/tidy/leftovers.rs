//! What must not be left behind: work not done, and traces of one machine.

use super::{Findings, Source};

/// Marks of unfinished work, written in two halves so that this file does not carry them itself.
const UNFINISHED: [(&str, &str); 5] =
    [("TO", "DO"), ("FIX", "ME"), ("XX", "X:"), ("to", "do!("), ("unimple", "mented!(")];
/// Paths of the machine that something was written on.
const MACHINE_PATHS: [(&str, &str); 2] = [("/wo", "rk/"), ("/ro", "ot/")];

pub(super) fn check(source: &Source, findings: &mut Findings) {
    let path = source.path.to_string_lossy();
    // Answers of a real Mesos, kept libraries, other people's locks and licences are not ours to edit.
    if path.starts_with("tests/golden/") || path.contains("/vendor/") || path.ends_with(".lock") || path == "LICENSE" {
        return;
    }
    for (index, line) in source.text.lines().enumerate() {
        for mark in joined(&UNFINISHED).filter(|mark| has_word(line, mark)) {
            findings.errors.push(format!("{path}:{} `{mark}`: do it, or leave it out", index + 1));
        }
        for place in joined(&MACHINE_PATHS).filter(|place| has_path(line, place)) {
            findings.errors.push(format!("{path}:{} `{place}` is a path of one machine", index + 1));
        }
    }
}

fn joined(halves: &'static [(&str, &str)]) -> impl Iterator<Item = String> {
    halves.iter().map(|(first, second)| format!("{first}{second}"))
}

/// Whether a path in `line` begins with `place`.
fn has_path(line: &str, place: &str) -> bool {
    let goes_on = |c: char| c.is_alphanumeric() || matches!(c, '}' | ')' | '>' | '.' | '_' | '-' | '*');
    line.match_indices(place).any(|(at, _)| !line[..at].chars().next_back().is_some_and(goes_on))
}

/// Whether `mark` stands in `line` with no letter before it.
fn has_word(line: &str, mark: &str) -> bool {
    line.match_indices(mark).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + mark.len()..].chars().next();
        let open = mark.ends_with('(') || mark.ends_with(':');
        !before.is_some_and(|c| c.is_alphanumeric() || c == '_') && (open || !after.is_some_and(char::is_alphanumeric))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errors(path: &str, text: String) -> usize {
        let mut findings = Findings::default();
        check(&Source { path: path.into(), text }, &mut findings);
        findings.errors.len()
    }

    #[test]
    fn unfinished_work_and_machine_paths_are_found() {
        for mark in joined(&UNFINISHED).chain(joined(&MACHINE_PATHS)) {
            assert_eq!(errors("api/src/lib.rs", format!("    {mark}\n")), 1, "{mark}");
            assert_eq!(errors("tests/golden/a.json", format!("    {mark}\n")), 0, "{mark}");
        }
        assert_eq!(errors("api/src/lib.rs", format!("{{run}}{}\n", joined(&MACHINE_PATHS).nth(1).unwrap())), 0);
        assert_eq!(errors("api/src/lib.rs", "let mastodon = 1; // what must be done\n".to_owned()), 0);
    }
}
