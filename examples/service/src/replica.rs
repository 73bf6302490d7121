//! What a task runs when no other command is given: a web server that says who it is.

use anyhow::{Context, Result};
use axum::{Router, routing::get};

pub(crate) async fn serve() -> Result<()> {
    let port: u16 = std::env::var("PORT").context("PORT is not set: this is run as a task")?.parse()?;
    let name = std::env::var("MESOS_EXECUTOR_ID").unwrap_or_else(|_| std::process::id().to_string());
    let listener = tokio::net::TcpListener::bind(("0.0.0.0", port)).await?;
    let answer = move || async move { format!("hello from {name}\n") };
    axum::serve(listener, Router::new().route("/", get(answer))).await?;
    Ok(())
}
