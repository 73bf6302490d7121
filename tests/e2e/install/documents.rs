//! Documents are held to what they say.

use std::path::{Path, PathBuf};

use regex::Regex;

/// Commands of a document, and where they are to be run.
#[derive(Clone, Debug)]
pub(super) struct Block {
    /// `at the desk`, `on the agent's machine`.
    pub(super) place: String,
    pub(super) commands: String,
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the repository").to_path_buf()
}

fn read(path: &str) -> String {
    let path = repository().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The blocks of a section, in order: ```sh, a line `# <place>: what for`, commands.
pub(super) fn blocks(document: &str, section: &str) -> Vec<Block> {
    let text = read(document);
    let start = text.find(&format!("\n## {section}\n")).unwrap_or_else(|| panic!("{document} has no '{section}'"));
    let text = &text[start + 1..];
    let text = text[3..].find("\n## ").map_or(text, |end| &text[..end + 3]);
    let block = Regex::new(r"(?ms)^```sh\n# ([^:\n]+):[^\n]*\n(.*?)^```").expect("a pattern");
    block.captures_iter(text).map(|found| Block { place: found[1].to_owned(), commands: found[2].to_owned() }).collect()
}

/// Every Rust file that is not a test, as one text without line breaks within strings.
fn sources() -> String {
    fn walk(dir: &Path, text: &mut String) {
        for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
            let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
            if path.is_dir() {
                if !matches!(name.as_str(), "tests" | "target" | "golden") {
                    walk(&path, text);
                }
            } else if name.ends_with(".rs") && name != "tests.rs" {
                text.push_str(&std::fs::read_to_string(&path).unwrap_or_default());
            }
        }
    }
    let mut text = String::new();
    for part in ["server", "master", "agent", "election", "cli", "api"] {
        walk(&repository().join(part), &mut text);
    }
    for script in ["deploy/cloud-init/mezzo-install", "deploy/debian/postinst", "deploy/debian/prerm"] {
        text.push_str(&read(script));
    }
    // A string that goes on in the next line, and quotes within strings.
    Regex::new(r"\\\n\s*").expect("a pattern").replace_all(&text, "").replace("\\\"", "\"")
}

/// Each message of the troubleshooting page stands in the source: where it has an ellipsis, all its parts do, in order and near.
#[test]
fn every_message_of_the_troubleshooting_page_is_one_that_is_printed() {
    let page = read("docs/troubleshooting.md");
    let row = Regex::new(r"(?m)^\| `([^`]+)` \|").expect("a pattern");
    let messages: Vec<String> = row.captures_iter(&page).map(|found| found[1].to_owned()).collect();
    assert!(messages.len() >= 25, "{} messages", messages.len());
    let sources = sources();
    let missing: Vec<&String> = messages.iter().filter(|message| !stands_in(message, &sources)).collect();
    assert!(missing.is_empty(), "no program says: {missing:#?}");
    // The check itself can fail.
    assert!(!stands_in("no program of ours … says this", &sources));
}

fn stands_in(message: &str, sources: &str) -> bool {
    const NEAR: usize = 200;
    let mut parts = message.split('…').map(str::trim).filter(|part| !part.is_empty());
    let Some(first) = parts.next() else { return false };
    let rest: Vec<&str> = parts.collect();
    sources.match_indices(first).any(|(at, _)| {
        let mut from = at + first.len();
        rest.iter().all(|part| {
            let window: String = sources[from..].chars().take(NEAR).collect();
            let found = window.find(part);
            from += found.map_or(0, |found| found + part.len());
            found.is_some()
        })
    })
}
