//! `docs/flags.md` says what becomes of each flag of Mesos: the servers themselves are asked whether it is true.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Output};

use mezzo_tests::environment;
use regex::Regex;

fn run(program: &str, arguments: &[&str]) -> Output {
    Command::new(environment::binary(program)).args(arguments).env_clear().output().unwrap()
}

/// Flags and their states under the heading of a program.
fn table(program: &str) -> Vec<(String, String)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("docs/flags.md");
    let text = std::fs::read_to_string(path).unwrap();
    let section = text.split("## ").find(|section| section.starts_with(program)).unwrap();
    let row = Regex::new(r"(?m)^\| `--([a-z0-9_]+)` \| ([^|]+) \|$").unwrap();
    row.captures_iter(section).map(|found| (found[1].to_owned(), found[2].to_owned())).collect()
}

fn holds(program: &str, needed: &[&str]) {
    let table = table(program);
    assert!(table.len() > 60, "{program}: {} rows", table.len());
    let help = run(program, &["--help"]);
    let help = String::from_utf8(help.stdout).unwrap();
    let told: BTreeSet<String> = Regex::new(r"(?m)^\s+(?:-\w, )?--([a-z0-9_]+)")
        .unwrap()
        .captures_iter(&help)
        .map(|found| found[1].to_owned())
        .filter(|name| name != "help" && name != "version")
        .collect();
    let ours: BTreeSet<String> = table
        .iter()
        .filter(|(_, state)| state == "same" || state == "Mezzo's own")
        .map(|(name, _)| name.clone())
        .collect();
    assert_eq!(told, ours, "{program}: what --help tells, and what docs/flags.md says");
    for (name, state) in &table {
        let flag = format!("--{name}=no-such-value");
        match state.as_str() {
            "same" | "Mezzo's own" | "taken, changes nothing" => {}
            "default only" | "refused" | "unknown" => {
                let output = run(program, &[needed, &[&flag]].concat());
                let error = String::from_utf8_lossy(&output.stderr);
                assert!(!output.status.success(), "{program} {flag} is taken, although it is '{state}'");
                assert!(error.contains(name.as_str()), "{program} {flag}: {error}");
            }
            other => panic!("{program} --{name}: no state of the table: {other}"),
        }
    }
}

#[test]
fn the_table_of_the_masters_flags_is_true() {
    holds("mezzo-master", &["--registry=in_memory", "--port=0", "--ip=127.0.0.1"]);
}

#[test]
fn the_table_of_the_agents_flags_is_true() {
    holds("mezzo-agent", &["--master=127.0.0.1:1", "--work_dir=/nonexistent/mezzo"]);
}
