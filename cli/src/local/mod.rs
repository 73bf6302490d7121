//! `mezzo local`: a whole cluster on this machine, in one process tree that leaves nothing behind.

mod cluster;
mod home;
mod part;
mod processes;
mod ready;

use std::process::ExitCode;

use tokio::{
    runtime::Runtime,
    signal::unix::{Signal, SignalKind, signal},
};

use crate::{
    args::{Local, Run},
    run,
};
use cluster::Cluster;

/// Keeps a cluster until Ctrl-C. `program` is how the user called this program.
///
/// The children's death signal is tied to the thread that starts them: that is the main one, which is why the runtime
/// has no other.
pub(crate) fn main(runtime: &Runtime, options: &Local, program: &str) -> ExitCode {
    runtime.block_on(async {
        match serve(options, program).await {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("mezzo: {error:#}");
                ExitCode::FAILURE
            }
        }
    })
}

async fn serve(options: &Local, program: &str) -> anyhow::Result<()> {
    let mut stop = Stop::new()?;
    let mut cluster = Cluster::start(options)?;
    let outcome = keep(&mut cluster, &mut stop, options, program).await;
    if outcome.is_ok() {
        eprintln!("\nmezzo: ending the cluster and its tasks …");
    }
    let ended = cluster.end(&mut stop).await;
    outcome.and(ended)
}

/// Returns when the cluster is to end: asked to, or because a part of it failed.
async fn keep(cluster: &mut Cluster, stop: &mut Stop, options: &Local, program: &str) -> anyhow::Result<()> {
    let slaves = tokio::select! {
        slaves = cluster.ready() => slaves?,
        () = stop.asked() => return Ok(()),
    };
    println!("{}", ready::banner(cluster, &slaves, program));
    if options.demo {
        tokio::select! {
            () = demo(cluster.master(), program) => {}
            failure = cluster.failure() => return Err(failure),
            () = stop.asked() => return Ok(()),
        }
    }
    tokio::select! {
        failure = cluster.failure() => Err(failure),
        () = stop.asked() => Ok(()),
    }
}

async fn demo(master: String, program: &str) {
    let line = "echo \"Hello from a task: process $$ in $MESOS_SANDBOX\"";
    println!("\n$ {program} run {}--shell -- '{line}'", ready::master_flag(&master));
    let options = Run {
        master: Some(master),
        role: "*".to_owned(),
        timeout: 30.0,
        resources: "cpus:0.1;mem:32".to_owned(),
        name: Some("demo".to_owned()),
        env: Vec::new(),
        user: None,
        shell: true,
        quiet: false,
        command: vec![line.to_owned()],
    };
    match run::run(&options).await {
        Ok(0) => {}
        Ok(code) => eprintln!("mezzo: the demo's task ended with {code}"),
        Err(error) => eprintln!("mezzo: the demo failed: {error:#}"),
    }
}

/// The wish to end: Ctrl-C, SIGTERM, the terminal's end.
pub(crate) struct Stop {
    signals: [Signal; 3],
}

impl Stop {
    fn new() -> std::io::Result<Self> {
        let signals =
            [signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?, signal(SignalKind::hangup())?];
        Ok(Self { signals })
    }

    /// Waits for it.
    async fn asked(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.signals;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}
