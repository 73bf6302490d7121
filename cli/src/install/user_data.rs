//! `mezzo install user-data`: a `#cloud-config` that makes a machine an agent or a master.

use std::fmt::Write;

use anyhow::{Result, bail, ensure};

use super::{
    args::{Server, UserData},
    config,
};

/// What the machine runs; it stays there, for upgrades.
const INSTALLER: &str = include_str!("../../../deploy/cloud-init/mezzo-install");
const INSTALLER_PATH: &str = "/usr/local/sbin/mezzo-install";
/// Holds the text of `--master`, which may have a password, for the server alone.
const MASTERS_PATH: &str = "/etc/mezzo/masters";

/// Prints it.
pub(super) fn run(options: &UserData) -> Result<()> {
    print!("{}", document(options)?);
    Ok(())
}

fn document(options: &UserData) -> Result<String> {
    let url = &options.package_url;
    ensure!(
        url.starts_with("https://") || url.starts_with("http://"),
        "--package-url={url}: expected http:// or https://, which the new machine can reach"
    );
    let path = url.split('?').next().unwrap_or_default();
    ensure!(
        path.ends_with(".deb") || path.ends_with(".tar.gz"),
        "--package-url={url}: expected a .deb or a .tar.gz, as cargo xtask package makes them"
    );
    let sha256 = options.sha256.to_ascii_lowercase();
    ensure!(
        sha256.len() == 64 && sha256.bytes().all(|byte| byte.is_ascii_hexdigit()),
        "--sha256={}: expected 64 hexadecimal digits, as in SHA256SUMS",
        options.sha256
    );
    let flags = flags(options)?;
    let role = options.role.name();
    let mut out = String::from("#cloud-config\n");
    let _ = writeln!(out, "# A Mezzo {role}, by: mezzo install user-data --role={role}"); // a String takes everything
    out.push_str("write_files:\n");
    if let Some(master) = &options.master {
        file(&mut out, MASTERS_PATH, "0600", &format!("{master}\n"));
    }
    file(&mut out, &format!("/etc/mezzo/{role}.toml"), "0644", &toml(&flags));
    file(&mut out, "/etc/default/mezzo-discover", "0644", &discovery(options));
    file(&mut out, INSTALLER_PATH, "0755", INSTALLER);
    let words = [INSTALLER_PATH, role, url, &sha256].map(quoted);
    let _ = writeln!(out, "runcmd:\n  - [{}]", words.join(", "));
    Ok(out)
}

/// Name and value of each flag, checked as the server will check them.
fn flags(options: &UserData) -> Result<Vec<(String, String)>> {
    let (masters, work_dir) = match options.role {
        Server::Agent => ("master", "/var/lib/mezzo-agent"),
        Server::Master => ("zk", "/var/lib/mezzo-master"),
    };
    let mut flags = Vec::new();
    let mut read = vec!["mezzo".into()];
    if let Some(master) = &options.master {
        flags.push((masters.to_owned(), format!("file://{MASTERS_PATH}")));
        read.push(format!("--{masters}={master}").into());
    }
    let mut others = vec![("work_dir".to_owned(), work_dir.to_owned())];
    for flag in &options.flags {
        let Some((name, value)) = flag.split_once('=') else { bail!("--flag={flag}: expected NAME=VALUE") };
        let name = name.trim_start_matches("--").to_owned();
        others.retain(|(known, _)| *known != name);
        others.push((name, value.to_owned()));
    }
    read.extend(others.iter().map(|(name, value)| format!("--{name}={value}").into()));
    config::readable(options.role, read)?;
    flags.extend(others);
    Ok(flags)
}

fn toml(flags: &[(String, String)]) -> String {
    let mut text = "# What the command line or the environment (/etc/default) says goes before.\n".to_owned();
    for (name, value) in flags {
        let _ = writeln!(text, "{name} = {}", quoted(value));
    }
    text
}

fn discovery(options: &UserData) -> String {
    let place = &options.place;
    let mut text = format!(
        "# Options of mezzo install discover, which mezzo-discover.service runs at each boot.\n\
         MEZZO_DISCOVER_CLOUD={}\nMEZZO_DISCOVER_ADVERTISE={}\n",
        place.cloud.name(),
        place.advertise.name()
    );
    for (name, value) in [("REGION", &place.region), ("ZONE", &place.zone)] {
        if let Some(value) = value {
            let _ = writeln!(text, "MEZZO_DISCOVER_{name}={value}");
        }
    }
    text
}

fn file(out: &mut String, path: &str, permissions: &str, content: &str) {
    let _ = writeln!(out, "  - path: {path}\n    owner: root:root\n    permissions: '{permissions}'\n    content: |");
    for line in content.lines() {
        let _ = if line.is_empty() { writeln!(out) } else { writeln!(out, "      {line}") };
    }
}

/// A text as YAML and TOML both have it: as JSON does.
fn quoted(text: impl AsRef<str>) -> String {
    serde_json::Value::from(text.as_ref()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Command, Mezzo};
    use clap::Parser;

    const SUM: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    const URL: &str = "https://example.org/mezzo_0.1.0-1_amd64.deb";

    fn made(arguments: &[&str]) -> Result<String, String> {
        let (url, sum) = (format!("--package-url={URL}"), format!("--sha256={SUM}"));
        let all = ["mezzo", "install", "user-data", &url, &sum];
        let parsed = Mezzo::try_parse_from(all.iter().chain(arguments)).map_err(|error| error.to_string())?;
        let Command::Install(super::super::args::Install::UserData(options)) = parsed.command else { panic!() };
        document(&options).map_err(|error| format!("{error:#}"))
    }

    /// The examples in deploy/cloud-init are what the generator makes.
    #[test]
    fn the_examples_are_its_own() {
        let zk = "--master=zk://z1.example.org:2181,z2.example.org:2181,z3.example.org:2181/mezzo";
        for (name, arguments) in [
            ("agent", vec!["--role=agent", zk, "--flag=attributes=rack:a1"]),
            ("master", vec!["--role=master", zk, "--advertise=public", "--flag=cluster=example"]),
        ] {
            let path = format!("{}/../deploy/cloud-init/{name}.yaml", env!("CARGO_MANIFEST_DIR"));
            let expected = made(&arguments).unwrap();
            if std::env::var_os("MEZZO_WRITE_EXAMPLES").is_some() {
                std::fs::write(&path, &expected).unwrap();
            }
            assert_eq!(std::fs::read_to_string(&path).unwrap(), expected, "MEZZO_WRITE_EXAMPLES=1 writes {path}");
        }
    }

    #[test]
    fn refuses_what_the_new_machine_would_refuse() {
        let agent = ["--role=agent", "--master=m:5050"];
        let with = |more: &str| made(&[&agent[..], &[more]].concat());
        assert!(with("--flag=resources=cpus:4").unwrap().contains("resources = \"cpus:4\""));
        assert!(with("--flag=resuorces=cpus:4").unwrap_err().contains("did you mean --resources?"));
        assert!(with("--flag=port=many").unwrap_err().contains("many"));
        assert!(with("--flag=port").unwrap_err().contains("NAME=VALUE"));
        assert!(made(&["--role=agent"]).unwrap_err().contains("--master"));
        assert!(made(&["--role=agent", "--master=zk://a:1"]).unwrap_err().contains("no path"));
        assert!(made(&["--role=master", "--sha256=12"]).is_err());
    }

    #[test]
    fn a_password_stands_in_its_own_file_alone() {
        let made = made(&["--role=master", "--master=zk://user:secret@z1:2181/mezzo"]).unwrap();
        let lines: Vec<&str> = made.lines().filter(|line| line.contains("secret")).collect();
        assert_eq!(lines, ["      zk://user:secret@z1:2181/mezzo"]);
        let at = made.find("secret").unwrap();
        assert!(made[..at].ends_with("permissions: '0600'\n    content: |\n      zk://user:"));
    }
}
