//! `mezzo config check`: what a server would be told, without starting it.

use std::{collections::BTreeMap, ffi::OsString, fs, net::ToSocketAddrs, path::Path};

use anyhow::{Context, Result, anyhow};
use mezzo_agent::flags::Flags as AgentFlags;
use mezzo_election::Source;
use mezzo_master::flags::{Flags as MasterFlags, Registry};
use mezzo_server::flags::Origin;

use super::args::Server;

/// What the installed services read, in the order of their units.
const DISCOVERED: &str = "/run/mezzo/discovered.env";

/// What came of the flags.
pub(super) struct Checked {
    listed: BTreeMap<String, String>,
    origins: BTreeMap<String, Origin>,
    /// What an operator should know.
    warnings: Vec<String>,
    /// Why the server would not start.
    errors: Vec<String>,
}

/// Prints what comes of the flags; whether the server would start.
pub(super) fn check(server: Server, flags: &[OsString]) -> Result<bool> {
    let as_service = flags.is_empty();
    let (flags, environment) = if as_service { installed(server)? } else { (flags.to_vec(), BTreeMap::new()) };
    let arguments = std::iter::once(format!("mezzo-{}", server.name()).into()).chain(flags);
    let variable = |name: &str| {
        let own = if as_service { None } else { std::env::var_os(name) };
        environment.get(name).map(OsString::from).or(own)
    };
    let checked = checked(server, arguments, variable)?;
    print(server, &checked);
    Ok(checked.errors.is_empty())
}

/// Reads flags and looks at what they say.
pub(super) fn checked(
    server: Server,
    arguments: impl Iterator<Item = OsString>,
    variable: impl Fn(&str) -> Option<OsString>,
) -> Result<Checked> {
    let wrong = |error: clap::Error| {
        let text = error.to_string();
        anyhow!("{}", text.strip_prefix("error: ").unwrap_or(&text).trim_end().to_owned())
    };
    match server {
        Server::Agent => AgentFlags::read(arguments, variable).map(|flags| agent(&flags)).map_err(wrong),
        Server::Master => MasterFlags::read(arguments, variable).map(|flags| master(&flags)).map_err(wrong),
    }
}

/// Whether the server can read these flags (the program's name first); nothing else is looked at.
pub(super) fn readable(server: Server, arguments: Vec<OsString>) -> Result<()> {
    checked(server, arguments.into_iter(), |_| None).map(|_| ())
}

/// The flags and variables that the installed service starts with.
fn installed(server: Server) -> Result<(Vec<OsString>, BTreeMap<String, String>)> {
    let mut environment = BTreeMap::new();
    for path in [DISCOVERED.to_owned(), format!("/etc/default/mezzo-{}", server.name())] {
        match fs::read_to_string(&path) {
            Ok(text) => environment.extend(variables(&text)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).context(path),
        }
    }
    let file = format!("/etc/mezzo/{}.toml", server.name());
    let flags = if Path::new(&file).exists() { vec![format!("--config_file={file}").into()] } else { Vec::new() };
    Ok((flags, environment))
}

/// As systemd reads an EnvironmentFile: a line for each variable, quoted or not.
fn variables(text: &str) -> impl Iterator<Item = (String, String)> + '_ {
    let lines = text.lines().map(str::trim).filter(|line| !line.starts_with(['#', ';']));
    lines.filter_map(|line| {
        let (name, value) = line.split_once('=')?;
        let value = value.trim();
        let quoted = ['"', '\''].iter().find_map(|quote| value.strip_prefix(*quote)?.strip_suffix(*quote));
        Some((name.trim().to_owned(), quoted.unwrap_or(value).to_owned()))
    })
}

fn agent(flags: &AgentFlags) -> Checked {
    let mut errors = Vec::new();
    let work_dir = existing(&flags.work_dir);
    if let Err(error) = mezzo_agent::detect::resources(flags.resources.as_deref(), &flags.default_role, work_dir) {
        errors.push(format!("--resources: {error}"));
    }
    if let Some(Err(error)) = flags.attributes.as_deref().map(mezzo_agent::detect::attributes) {
        errors.push(format!("--attributes: {error}"));
    }
    if let Err(error) =
        mezzo_server::flags::fault_domain(flags.domain.as_ref(), flags.region.as_deref(), flags.zone.as_deref())
    {
        errors.push(error.to_string());
    }
    if let Err(error) = mezzo_agent::containerizer::find_executor(flags.launcher_dir.as_deref()) {
        errors.push(error.to_string());
    }
    let mut warnings = flags.warnings.clone();
    warnings.extend(unknown_hosts(&flags.masters()));
    Checked { listed: flags.listed.clone(), origins: flags.origins.clone(), warnings, errors }
}

fn master(flags: &MasterFlags) -> Checked {
    let mut errors = Vec::new();
    if let Err(error) = flags.fault_domain() {
        errors.push(error.to_string());
    }
    if flags.registry() == Registry::Embedded && flags.work_dir.is_none() {
        errors.push(mezzo_master::StartError::NoWorkDir.to_string());
    }
    let mut warnings = flags.warnings.clone();
    if let Some(url) = flags.ensemble() {
        warnings.extend(unknown_hosts(&Source::ZooKeeper(url.clone())));
    }
    if flags.registry() == Registry::Embedded && flags.ensemble().is_some() {
        warnings.push("--registry=embedded with --zk gives each master a memory of its own".to_owned());
    }
    Checked { listed: flags.listed.clone(), origins: flags.origins.clone(), warnings, errors }
}

/// The directory, or the nearest one above it that is there.
fn existing(path: &Path) -> &Path {
    path.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"))
}

fn unknown_hosts(masters: &Source) -> Vec<String> {
    let addresses: Vec<String> = match masters {
        Source::ZooKeeper(url) => url.servers().to_vec(),
        Source::Listed(list) => list.iter().map(|(host, port)| format!("{}:{port}", bracketed(host))).collect(),
    };
    let unknown = addresses.iter().filter_map(|address| match address.to_socket_addrs() {
        Ok(_) => None,
        Err(error) => Some(format!("{address} cannot be resolved here: {error}")),
    });
    unknown.collect()
}

fn bracketed(host: &str) -> String {
    if host.contains(':') { format!("[{host}]") } else { host.to_owned() }
}

fn print(server: Server, checked: &Checked) {
    let width = checked.origins.keys().map(String::len).max().unwrap_or(0);
    for (name, origin) in &checked.origins {
        let value = checked.listed.get(name).map_or("", String::as_str);
        println!("{name:<width$} = {value}    ({origin})");
    }
    for warning in &checked.warnings {
        println!("warning: {warning}");
    }
    for error in &checked.errors {
        println!("wrong: {error}");
    }
    match checked.errors.len() {
        0 => println!("mezzo-{} can start with this; what is not named has its default", server.name()),
        _ => println!("mezzo-{} would not start with this", server.name()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(server: Server, flags: &[&str]) -> Result<Checked> {
        let arguments = std::iter::once("mezzo").chain(flags.iter().copied()).map(OsString::from);
        checked(server, arguments, |_| None)
    }

    #[test]
    fn finds_what_would_keep_a_server_from_starting() {
        let error = |server, flags: &[&str]| of(server, flags).map(|checked| checked.errors.join("; "));
        assert!(error(Server::Master, &[]).unwrap().contains("--work_dir"));
        assert_eq!(error(Server::Master, &["--work_dir=/x"]).unwrap(), "");
        assert!(error(Server::Master, &["--work_dir=/x", "--region=eu"]).unwrap().contains("--zone"));
        let agent = ["--master=127.0.0.1", "--work_dir=/x/y", "--launcher_dir=/"];
        let with = |flag| error(Server::Agent, &[&agent[..], &[flag]].concat());
        assert!(with("--resources=cpus").unwrap().contains("--resources"));
        assert!(with("--attributes=;;:").unwrap().contains("--attributes"));
        assert!(with("--mastre=x").unwrap_err().to_string().contains("did you mean --master?"));
    }

    #[test]
    fn reads_variables_as_systemd_does() {
        let text = "# no\n; no\nA=1\n B = 'two words' \nC=\"3\"\nnothing\n";
        let read: Vec<_> = variables(text).collect();
        let expected = [("A", "1"), ("B", "two words"), ("C", "3")].map(|(a, b)| (a.to_owned(), b.to_owned()));
        assert_eq!(read, expected);
    }
}
