//! `mezzo-sim`: runs seeds, repeats one, shrinks what fails, shows that bugs are found.
#![forbid(unsafe_code)]

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use clap::Parser;
use mezzo_sim::{
    batch::Batch,
    election,
    fault::Mix,
    mutants::{BUDGET, MUTANTS, OF_THE_ALLOCATOR, ORACLE_BUDGET, Simulation},
    oracle,
    plan::{Plan, Wishes},
    run::{self, Failure, keep_panics},
    scale, shrink,
};

#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
#[command(name = "mezzo-sim", about = "Simulates whole clusters from seeds")]
struct Arguments {
    /// How many seeds are run.
    #[arg(long, default_value_t = 200)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    from: u64,
    /// Go on with further seeds, `--seeds` at a time, for so long or until one fails.
    #[arg(long, conflicts_with_all = ["reproduce", "mutants", "scale"])]
    minutes: Option<u64>,
    /// Agents; drawn from the seed if not given.
    #[arg(long)]
    agents: Option<u16>,
    /// Frameworks that keep tasks running; drawn from the seed, like hostile ones, if not given.
    #[arg(long)]
    frameworks: Option<u16>,
    /// Kinds of faults: all, none, or some of crashes,network,registry,takeovers,operators.
    #[arg(long, default_value = "all")]
    faults: String,
    /// Threads.
    #[arg(long, default_value_t = std::thread::available_parallelism().map_or(1, usize::from))]
    jobs: usize,
    /// Run this seed alone and print its trace.
    #[arg(long)]
    reproduce: Option<u64>,
    /// With --reproduce: leave all faults out but these (numbers from 0, separated by commas; empty for none).
    #[arg(long, value_delimiter = ',', num_args = 0.., requires = "reproduce")]
    only: Option<Vec<String>>,
    /// Print how often each input came in each state.
    #[arg(long)]
    coverage: bool,
    /// Put realistic bugs back, one at a time (all, or the named ones), and see that each is found.
    #[arg(long, num_args = 0..)]
    mutants: Option<Vec<String>>,
    /// Simulate elections alone: masters' contenders on a model of ZooKeeper.
    #[arg(long, conflicts_with_all = ["mutants", "minutes", "only", "coverage"])]
    election: bool,
    /// Walk so many steps with the allocator alone, beside its oracle.
    #[arg(long, value_name = "STEPS", conflicts_with_all = ["mutants", "reproduce"])]
    oracle: Option<u64>,
    /// Measure large clusters (all cases, or the named ones): one JSON object a line.
    #[arg(long, num_args = 0.., conflicts_with = "mutants")]
    scale: Option<Vec<String>>,
}

fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    let mix = Mix::parse(&arguments.faults)?;
    let wishes = Wishes { agents: arguments.agents, frameworks: arguments.frameworks, mix };
    if let Some(cases) = &arguments.scale {
        scale::run(cases, &mut |line| println!("{line}"))?;
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(steps) = arguments.oracle {
        return Ok(beside_the_oracle(&arguments, steps));
    }
    if let Some(names) = &arguments.mutants {
        return mutants(&arguments, names, wishes);
    }
    if arguments.election {
        return Ok(code(elections(&arguments)));
    }
    match arguments.reproduce {
        Some(seed) => reproduce(&arguments, seed, wishes),
        None => Ok(soak(arguments, wishes)),
    }
}

/// One batch of seeds; with `--minutes` as many as fit.
fn soak(mut arguments: Arguments, wishes: Wishes) -> ExitCode {
    let end = arguments.minutes.map(|minutes| Instant::now() + Duration::from_secs(minutes.saturating_mul(60)));
    loop {
        let well = seeds(&arguments, wishes);
        if !well || end.is_none_or(|end| Instant::now() >= end) {
            return code(well);
        }
        arguments.from = arguments.from.saturating_add(arguments.seeds);
    }
}

/// Elections: many seeds, or one with its faults.
fn elections(arguments: &Arguments) -> bool {
    let begun = Instant::now();
    let (from, seeds) = arguments.reproduce.map_or((arguments.from, arguments.seeds), |seed| (seed, 1));
    let total = election::seeds(from, seeds, arguments.jobs, None);
    for (seed, failure) in total.failures.iter().take(3) {
        println!("seed {seed}: {failure}");
        for planned in election::shrink(*seed, &failure.invariant) {
            println!(
                "  from {:.3} to {:.3} s  {:?}",
                planned.at.as_secs_f64(),
                planned.until.as_secs_f64(),
                planned.fault
            );
        }
        println!("to see it: cargo xtask sim --election --reproduce {seed}\n");
    }
    println!(
        "{} of {} elections from {from} failed; {} leaders, {} of them removed by a challenge, {} acts in {:.1} s",
        total.failures.len(),
        total.runs,
        total.sums.leaders,
        total.sums.challenges,
        total.sums.acts,
        begun.elapsed().as_secs_f64()
    );
    total.failures.is_empty()
}

fn code(well: bool) -> ExitCode {
    if well { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn seeds(arguments: &Arguments, wishes: Wishes) -> bool {
    let begun = Instant::now();
    let batch = Batch {
        from: arguments.from,
        seeds: arguments.seeds,
        wishes,
        jobs: arguments.jobs,
        stop_at_first: false,
        mutant: None,
    };
    let outcome = batch.run(&|seed, failure| eprintln!("seed {seed}: {failure}"));
    for (seed, failure) in outcome.failures.iter().take(3) {
        explain(arguments, *seed, failure, wishes);
    }
    if arguments.coverage {
        outcome.coverage.table().iter().for_each(|line| println!("{line}"));
    }
    let took = begun.elapsed().as_secs_f64();
    println!(
        "{} of {} seeds from {} failed; {} steps, {:.0} simulated seconds in {took:.1} s: {:.0} a second",
        outcome.failures.len(),
        outcome.runs,
        arguments.from,
        outcome.steps,
        outcome.simulated_s,
        outcome.simulated_s / took
    );
    outcome.failures.is_empty()
}

/// What is needed for a failure, and how to see it again.
fn explain(arguments: &Arguments, seed: u64, failure: &Failure, wishes: Wishes) {
    let plan = Plan::new(seed, wishes);
    let (kept, small) = shrink::shrink(&plan, failure);
    println!("\nseed {seed}: {failure}");
    println!("{} of its {} faults are enough: {small}", kept.len(), plan.faults.len());
    for place in &kept {
        let planned = &plan.faults[*place];
        println!("  {place:3}  {} s  {}", planned.at, planned.fault);
    }
    let places: Vec<String> = kept.iter().map(ToString::to_string).collect();
    println!("to see it: cargo xtask sim --reproduce {seed} --only {}{}\n", places.join(","), chosen(arguments));
}

/// The options that change what a seed means.
fn chosen(arguments: &Arguments) -> String {
    let mut text = String::new();
    if let Some(agents) = arguments.agents {
        text += &format!(" --agents {agents}");
    }
    if let Some(frameworks) = arguments.frameworks {
        text += &format!(" --frameworks {frameworks}");
    }
    if arguments.faults != "all" {
        text += &format!(" --faults {}", arguments.faults);
    }
    text
}

fn reproduce(arguments: &Arguments, seed: u64, wishes: Wishes) -> anyhow::Result<ExitCode> {
    let mut plan = Plan::new(seed, wishes);
    if let Some(only) = &arguments.only {
        let places = only.iter().filter(|place| !place.is_empty()).map(|place| place.parse());
        plan = shrink::only(&plan, &places.collect::<Result<Vec<usize>, _>>()?);
    }
    println!(
        "seed {seed}: {} agents, {} keepers and {} supervised of {} tasks, {} hostile, {} faults in {:?}",
        plan.agents,
        plan.keepers,
        plan.supervised,
        plan.tasks,
        plan.hostile,
        plan.faults.len(),
        plan.troubled
    );
    let report = run::run(&plan, Some(&mut |line| println!("{line}")));
    match &report.result {
        Ok(()) => println!("all was well for {} s, {} steps", report.simulated.to_string().trim(), report.steps),
        Err(failure) => println!("{failure}"),
    }
    Ok(code(report.result.is_ok()))
}

fn beside_the_oracle(arguments: &Arguments, steps: u64) -> ExitCode {
    let begun = Instant::now();
    let result = oracle::run(arguments.from, steps, arguments.jobs, None);
    match &result {
        Ok(()) => println!("{steps} steps from seed {}: the oracle agrees ({:.1?})", arguments.from, begun.elapsed()),
        Err((seed, how)) => {
            println!("seed {seed}: {how}\nrepeat with `cargo xtask sim --oracle {} --from {seed}`", oracle::WALK);
        }
    }
    code(result.is_ok())
}

fn mutants(arguments: &Arguments, names: &[String], wishes: Wishes) -> anyhow::Result<ExitCode> {
    anyhow::ensure!(cfg!(feature = "mutants"), "this build has no mutants: run `cargo xtask sim --mutants`");
    let all = || MUTANTS.iter().chain(OF_THE_ALLOCATOR);
    let unknown = names.iter().find(|name| !all().any(|mutant| mutant.name == **name));
    anyhow::ensure!(unknown.is_none(), "there is no mutant {unknown:?}");
    let wanted = |name: &str| names.is_empty() || names.iter().any(|chosen| chosen == name);
    let chosen: Vec<_> = MUTANTS.iter().filter(|mutant| wanted(mutant.name)).collect();
    keep_panics();
    let of_the_allocator: Vec<_> = OF_THE_ALLOCATOR.iter().filter(|mutant| wanted(mutant.name)).collect();
    let mut found = 0;
    for mutant in &of_the_allocator {
        let begun = Instant::now();
        match oracle::run(arguments.from, ORACLE_BUDGET, arguments.jobs, Some(mutant.name)) {
            Ok(()) => println!("{} ({}): NOT FOUND with {ORACLE_BUDGET} steps", mutant.name, mutant.about),
            Err((seed, _)) => {
                found += 1;
                let took = begun.elapsed();
                println!("{} ({}): found by the oracle with seed {seed} in {took:.1?}", mutant.name, mutant.about);
            }
        }
    }
    for mutant in &chosen {
        let begun = Instant::now();
        let batch = |from, seeds| {
            let (jobs, mutant) = (arguments.jobs, Some(mutant.name));
            Batch { from, seeds, wishes, jobs, stop_at_first: true, mutant }.run(&|_, _| {})
        };
        let (failures, runs) = match mutant.simulation {
            Simulation::Cluster => {
                let first = mutant.first.map(|seed| batch(seed, 1)).filter(|outcome| !outcome.failures.is_empty());
                let outcome = first.unwrap_or_else(|| batch(arguments.from, BUDGET));
                (outcome.failures, outcome.runs)
            }
            Simulation::Election => {
                let total = election::seeds(arguments.from, BUDGET, arguments.jobs, Some(mutant.name));
                (total.failures, total.runs)
            }
        };
        let took = begun.elapsed();
        match failures.first() {
            Some((seed, failure)) => {
                found += 1;
                println!(
                    "{} ({}): found by {} with seed {seed} in {took:.1?}",
                    mutant.name, mutant.about, failure.invariant
                );
            }
            None => println!("{} ({}): NOT FOUND with {} seeds in {took:.1?}", mutant.name, mutant.about, runs),
        }
    }
    let all = chosen.len() + of_the_allocator.len();
    println!("found {found} of {all} mutants");
    Ok(code(found == all))
}
