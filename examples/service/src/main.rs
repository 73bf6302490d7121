//! A web service: replicas of a server, kept up whatever happens to agents, master or this program, scaled over HTTP,
//! changed step by step, checked for their health.
//!
//! ```sh
//! mezzo local --agents=3 &
//! cargo run -p example-service -- --count=3            # its own tiny web server; or --command 'python3 -m http.server $PORT'
//! curl localhost:8080                                  # who runs where, on which port
//! curl -X PUT localhost:8080/count/5                   # five of them
//! curl -X PUT localhost:8080/command -d 'other $PORT'  # another server, one replica at a time
//! curl -X DELETE localhost:8080                        # ends it all
//! ```
//!
//! Ctrl-C ends this program alone: started again with the same `--state`, it goes on where it was.

mod door;
mod replica;

use std::{io::IsTerminal, time::Duration};

use anyhow::Result;
use clap::{Parser, Subcommand};
use mezzo_sdk::{
    SchedulerDriver,
    scheduler::{EndReason, Ended},
    store::{FileStore, Store, ZooKeeperStore},
    supervisor::{self, Config, Constraint, Field, Group, Retry, Supervisor},
    tls::Tls,
    v1::{HealthCheck, health_check},
};

/// Keeps replicas of a web server running.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    role: Option<Role>,
    /// Where masters are.
    #[arg(long, default_value = "127.0.0.1:5050", env = "MESOS_MASTER")]
    master: String,
    /// Replicas, when there is no state yet.
    #[arg(long, default_value_t = 3)]
    count: u32,
    /// What a replica runs, in a shell, when there is no state yet; its port is in $PORT. This program's own server if not given.
    #[arg(long)]
    command: Option<String>,
    /// What a replica needs.
    #[arg(long, default_value = "cpus:0.1;mem:32")]
    resources: String,
    /// At most so many replicas on a host.
    #[arg(long)]
    per_host: Option<u32>,
    /// Masters are https://, with a certificate of one of the authorities in this PEM file.
    #[arg(long)]
    authorities: Option<std::path::PathBuf>,
    /// Where what must outlive this program is kept: a file, or zk://[user:password@]host:port[,host:port]/path.
    #[arg(long, default_value = "service.state")]
    state: String,
    /// Where to be scaled, changed and asked.
    #[arg(long, default_value = "127.0.0.1:8080")]
    listen: String,
}

#[derive(Subcommand)]
enum Role {
    /// A replica: what the tasks run.
    Replica,
}

/// The group's name.
const WEB: &str = "web";

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    if matches!(arguments.role, Some(Role::Replica)) {
        return replica::serve().await;
    }
    // who reads a file wants no colours
    tracing_subscriber::fmt()
        .with_target(false)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .init();

    let store: Box<dyn Store> = match arguments.state.starts_with("zk://") {
        true => Box::new(ZooKeeperStore::open(&arguments.state).await?),
        false => Box::new(FileStore::open(&arguments.state)?),
    };
    let mut builder = SchedulerDriver::builder(supervisor::framework_info("service")).master(&arguments.master);
    if let Some(authorities) = &arguments.authorities {
        builder = builder.tls(Tls::authorities(authorities)?);
    }
    let run = builder.scheduler(Supervisor::new(Config::default(), supervisor::seed()), store);
    let control = run.control();
    let group = group(&arguments)?;
    let listener = tokio::net::TcpListener::bind(&arguments.listen).await?;
    let start = control.clone();
    tokio::spawn(async move {
        // what is stored holds: it may have been scaled or changed since
        start.with(|web, context| if web.group(WEB).is_some() { Ok(()) } else { web.set(context, group) }).await??;
        axum::serve(listener, door::router(start)).await?;
        anyhow::Ok(())
    });
    tokio::spawn(async move {
        stop_signal().await;
        control.with(|_, context| context.stop()).await
    });
    match run.run().await? {
        (_, Ended::Stopped | Ended::Driver(EndReason::TornDown)) => Ok(()),
        (_, ended) => anyhow::bail!("{ended:?}"),
    }
}

fn group(arguments: &Arguments) -> Result<Group> {
    let own = || Ok::<_, std::io::Error>(format!("exec {} replica", std::env::current_exe()?.display()));
    let command = arguments.command.clone().map_or_else(own, Ok)?;
    let check = HealthCheck {
        r#type: Some(health_check::Type::Http as i32),
        http: Some(health_check::HttpCheckInfo { path: Some("/".into()), ..Default::default() }), // port 0: the first that is chosen
        interval_seconds: Some(1.0),
        delay_seconds: Some(0.0),
        grace_period_seconds: Some(10.0),
        ..Default::default()
    };
    // A replica that is missed is never waited for longer than a few seconds, however often it has died.
    let retry =
        Retry { first: Duration::from_millis(500), max: Duration::from_secs(4), stable_after: Duration::from_secs(10) };
    let group = Group::new(WEB, command, &arguments.resources)?.count(arguments.count).ports(1);
    let mut group = group.health_check(check).retry(retry);
    if let Some(most) = arguments.per_host {
        group = group.constraint(Constraint::MaxPer(Field::Hostname, most));
    }
    Ok(group)
}

async fn stop_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}
