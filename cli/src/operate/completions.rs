//! Completions for shells, and man pages.

use std::{fs::File, path::Path};

use clap::CommandFactory;
use clap_complete::Shell;

use super::{Failure, OK};
use crate::args::Mezzo;

/// Writes the completions of a shell to standard output.
pub(super) fn completions(shell: Shell) -> Result<u8, Failure> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Mezzo::command(), "mezzo", &mut text);
    std::io::Write::write_all(&mut std::io::stdout(), &text)?;
    Ok(OK)
}

/// Writes `mezzo.1` and a page for each verb.
pub(super) fn man_pages(directory: &Path) -> Result<u8, Failure> {
    let mut command = Mezzo::command();
    command.build();
    let mut count = 0;
    let written = std::fs::create_dir_all(directory).and_then(|()| pages(&command, "", directory, &mut count));
    written.map_err(|source| Failure::Written { path: directory.display().to_string(), source })?;
    println!("{count} pages in {}", directory.display());
    Ok(OK)
}

fn pages(command: &clap::Command, parent: &str, directory: &Path, count: &mut u32) -> std::io::Result<()> {
    let name =
        if parent.is_empty() { command.get_name().to_owned() } else { format!("{parent}-{}", command.get_name()) };
    let mut file = File::create(directory.join(format!("{name}.1")))?;
    clap_mangen::Man::new(command.clone().name(name.clone())).render(&mut file)?;
    *count += 1;
    for verb in command.get_subcommands().filter(|verb| !verb.is_hide_set() && verb.get_name() != "help") {
        pages(verb, &name, directory, count)?;
    }
    Ok(())
}
