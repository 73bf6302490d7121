//! `cargo xtask fuzz`: the targets in `fuzz/`, guided by coverage, on the toolchain that is there.
//!
//! libFuzzer needs the compiler's coverage instrumentation only, which stable compilers have: no cargo-fuzz, no nightly.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use crate::process::{cargo, command, root, run as run_command, target_dir};

/// What libFuzzer wants of the compiler: counters at each edge, and the operands of comparisons.
const INSTRUMENTATION: [&str; 9] = [
    "--cfg=fuzzing",
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Ccodegen-units=1",
    "-Cdebug-assertions",
    "-Coverflow-checks",
];

/// Seconds of fuzzing from which on an optimised build pays.
const WORTH_OPTIMISING: u64 = 30;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// How long to fuzz each target.
    #[arg(long, default_value_t = 60)]
    pub(crate) seconds: u64,
    /// Only this target.
    pub(crate) target: Option<String>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let targets = targets()?;
    let chosen: Vec<&String> =
        targets.iter().filter(|name| arguments.target.as_ref().is_none_or(|wanted| *name == wanted)).collect();
    if chosen.is_empty() {
        bail!("no such fuzz target; there are: {}", targets.join(", "));
    }
    let binaries = build(arguments.seconds < WORTH_OPTIMISING)?;
    for target in chosen {
        fuzz(&binaries, target, arguments.seconds)?;
    }
    Ok(())
}

fn targets() -> Result<Vec<String>> {
    let dir = root().join("fuzz/fuzz_targets");
    let entries = fs::read_dir(&dir).with_context(|| format!("cannot read {}", dir.display()))?;
    let mut names: Vec<String> = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_string_lossy().strip_suffix(".rs").map(str::to_owned))
        .collect();
    names.sort();
    Ok(names)
}

/// Builds all targets and says where they are. The target triple is named so that build scripts are left without instrumentation.
fn build(quickly: bool) -> Result<PathBuf> {
    let version = command("rustc").arg("-vV").output().context("cannot ask rustc for its version")?;
    let version = String::from_utf8(version.stdout)?;
    let triple =
        version.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc does not name its host")?;
    let target_dir = target_dir().join("fuzz");
    let mut build = cargo();
    build
        .args([
            "build",
            "--release",
            "--bins",
            "--manifest-path",
            "fuzz/Cargo.toml",
            "--target",
            triple,
            "--target-dir",
        ])
        .arg(&target_dir);
    build.env("CARGO_ENCODED_RUSTFLAGS", INSTRUMENTATION.join("\u{1f}"));
    if quickly {
        build.envs([("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1"), ("CARGO_PROFILE_RELEASE_DEBUG", "0")]);
    }
    run_command(&mut build)?;
    Ok(target_dir.join(triple).join("release"))
}

fn fuzz(binaries: &std::path::Path, target: &str, seconds: u64) -> Result<()> {
    let found = target_dir().join("fuzz/corpus").join(target);
    let artifacts = target_dir().join("fuzz/artifacts").join(target);
    let seeds = root().join("fuzz/seeds").join(target);
    for dir in [&found, &artifacts] {
        fs::create_dir_all(dir)?;
    }
    if !seeds.is_dir() {
        bail!("fuzz target {target} has no seeds: expected them in {}", seeds.display());
    }
    let log = target_dir().join("fuzz").join(format!("{target}.log"));
    let mut fuzzer = command(binaries.join(target));
    fuzzer
        .arg(&found)
        .arg(&seeds)
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-artifact_prefix={}/", artifacts.display()));
    fuzzer.args(["-timeout=10", "-rss_limit_mb=2048", "-print_final_stats=1"]).stderr(fs::File::create(&log)?);
    let outcome = run_command(&mut fuzzer);
    let said = String::from_utf8_lossy(&fs::read(&log)?).into_owned();
    if let Err(error) = outcome {
        let lines: Vec<&str> = said.lines().collect();
        let end = lines[lines.len().saturating_sub(60)..].join("\n");
        let again = format!("{} FILE", binaries.join(target).display());
        bail!(
            "{error}\n{end}\n{target} found an input that breaks it, in {}; repeat with: {again}",
            artifacts.display()
        );
    }
    for figure in said.lines().filter_map(|line| line.strip_prefix("stat::")) {
        if let Some((name, value)) =
            figure.split_once(':').filter(|(name, _)| matches!(*name, "number_of_executed_units" | "new_units_added"))
        {
            println!("{target}: {name} {}", value.trim());
        }
    }
    Ok(())
}
