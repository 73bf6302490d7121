//! `mezzo config check`: what a server would be told, without starting it.

use std::{collections::BTreeMap, ffi::OsString, fs, net::ToSocketAddrs, path::Path};

use anyhow::{Context, Result, bail};
use mezzo_agent::flags::Flags as AgentFlags;
use mezzo_election::Source;
use mezzo_master::flags::{Flags as MasterFlags, Registry};
use mezzo_server::flags::{Origin, Reading};

use super::args::Server;

/// What the installed services read, in the order of their units.
const DISCOVERED: &str = "/run/mezzo/discovered.env";

/// What came of the flags.
#[derive(Default)]
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

/// Reads flags and looks at what they say: everything that is wrong, not only the first of it.
pub(super) fn checked(
    server: Server,
    arguments: impl Iterator<Item = OsString>,
    variable: impl Fn(&str) -> Option<OsString>,
) -> Result<Checked> {
    match server {
        Server::Agent => looked_at(AgentFlags::read_all(arguments, variable), agent),
        Server::Master => looked_at(MasterFlags::read_all(arguments, variable), master),
    }
}

fn looked_at<F>(reading: Reading<F>, look: impl Fn(F) -> Checked) -> Result<Checked> {
    if reading.is_question() {
        bail!("{}", reading.sentences().collect::<String>());
    }
    let mut errors: Vec<String> = reading.sentences().collect();
    let checked = reading.flags.map(look).unwrap_or_default();
    errors.extend(checked.errors);
    Ok(Checked { errors, ..checked })
}

/// Whether the server can read these flags (the program's name first); nothing else is looked at.
pub(super) fn readable(server: Server, arguments: Vec<OsString>) -> Result<()> {
    let sentences: Vec<String> = match server {
        Server::Agent => AgentFlags::read_all(arguments, |_| None).sentences().collect(),
        Server::Master => MasterFlags::read_all(arguments, |_| None).sentences().collect(),
    };
    if sentences.is_empty() { Ok(()) } else { bail!("{}", sentences.join("\n")) }
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

fn agent(flags: AgentFlags) -> Checked {
    let errors = mezzo_agent::check::problems(&flags);
    let mut warnings = flags.warnings.clone();
    warnings.extend(unknown_hosts(&flags.masters()));
    Checked { listed: flags.listed, origins: flags.origins, warnings, errors }
}

fn master(flags: MasterFlags) -> Checked {
    let errors = mezzo_master::check::problems(&flags);
    let mut warnings = flags.warnings.clone();
    if let Some(url) = flags.ensemble() {
        warnings.extend(unknown_hosts(&Source::ZooKeeper(url.clone())));
    }
    if flags.registry() == Registry::Embedded && flags.ensemble().is_some() {
        warnings.push("--registry=embedded with --zk gives each master a memory of its own".to_owned());
    }
    Checked { listed: flags.listed, origins: flags.origins, warnings, errors }
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
        assert!(with("--mastre=x").unwrap().contains("did you mean --master?"));
        let all =
            error(Server::Agent, &["--master=127.0.0.1", "--work_dir=/x", "--port=x", "--resources=cpus", "--no"]);
        let all = all.unwrap();
        assert!(["--port", "--resources", "--no is no flag"].iter().all(|flag| all.contains(flag)), "{all}");
        assert!(of(Server::Agent, &["--help"]).is_err());
    }

    #[test]
    fn reads_variables_as_systemd_does() {
        let text = "# no\n; no\nA=1\n B = 'two words' \nC=\"3\"\nnothing\n";
        let read: Vec<_> = variables(text).collect();
        let expected = [("A", "1"), ("B", "two words"), ("C", "3")].map(|(a, b)| (a.to_owned(), b.to_owned()));
        assert_eq!(read, expected);
    }
}
