//! `mezzo registry`: copies of what masters remember.

use std::{
    fs,
    io::{Read, Write},
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context, anyhow};
use mezzo_master::registry::{self, Source};

use crate::args::{Registry, RegistryPlace};

/// How long ZooKeeper may take to answer.
const SESSION_TIMEOUT: Duration = Duration::from_secs(10);

/// Does it; says what went wrong.
pub(crate) async fn main(command: &Registry) -> ExitCode {
    match run(command).await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("mezzo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(command: &Registry) -> anyhow::Result<ExitCode> {
    match command {
        Registry::Dump { place, output } => {
            let (document, damaged) = registry::dump(&source(place)?).await?;
            let mut text = serde_json::to_string_pretty(&document)?;
            text.push('\n');
            match output {
                Some(path) => fs::write(path, text).with_context(|| path.display().to_string())?,
                None => std::io::stdout().write_all(text.as_bytes())?,
            }
            for znode in &damaged {
                eprintln!("mezzo: {znode} is damaged and not in the copy");
            }
            Ok(if damaged.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        Registry::Restore { place, input } => {
            let text = read(input)?;
            let document = serde_json::from_str(&text).with_context(|| format!("{} is no JSON", input.display()))?;
            let entries = registry::restore(&source(place)?, &document).await?;
            eprintln!("{entries} entries are restored");
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn read(input: &PathBuf) -> anyhow::Result<String> {
    if input.as_os_str() == "-" {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).context("standard input")?;
        return Ok(text);
    }
    fs::read_to_string(input).with_context(|| input.display().to_string())
}

fn source(place: &RegistryPlace) -> anyhow::Result<Source> {
    match (&place.work_dir, &place.zk) {
        (Some(work_dir), _) => Ok(Source::Embedded(work_dir.clone())),
        (None, Some(url)) => {
            let url = match url.strip_prefix("file://") {
                Some(path) => fs::read_to_string(path).with_context(|| path.to_owned())?,
                None => url.clone(),
            };
            Ok(Source::ZooKeeper(url.parse()?, SESSION_TIMEOUT))
        }
        (None, None) => Err(anyhow!("which registry? give --work_dir=DIR or --zk=URL")),
    }
}
