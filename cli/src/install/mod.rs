//! `mezzo install` and `mezzo config`: machines that become part of a cluster, and what their servers are told.

pub(crate) mod args;
mod clouds;
mod config;
mod discover;
mod metadata;
mod user_data;

use std::process::ExitCode;

use args::{Config, Install};

/// `mezzo install`
pub(crate) async fn main(command: &Install) -> ExitCode {
    let result = match command {
        Install::Discover(options) => discover::run(options).await,
        Install::UserData(options) => user_data::run(options),
    };
    code(result.map(|()| true))
}

/// `mezzo config`
pub(crate) fn config(command: &Config) -> ExitCode {
    match command {
        Config::Check { server, flags } => code(config::check(*server, flags)),
    }
}

fn code(result: anyhow::Result<bool>) -> ExitCode {
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("mezzo: {error:#}");
            ExitCode::FAILURE
        }
    }
}
