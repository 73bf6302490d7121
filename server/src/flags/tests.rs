use clap::Parser;

use super::*;

const ELSEWHERE: Elsewhere = Elsewhere {
    server: "server",
    no_effect: &[("quorum", None), ("log_auto_initialize", Some("true"))],
    only_default: &[("role_sorter", "drf"), ("authenticate_agents", "false"), ("strict", "true")],
    not_known: &["zk"],
};

#[derive(Debug, Parser)]
#[command(rename_all = "snake_case")]
struct Flags {
    #[arg(long, default_value_t = 5050)]
    port: u16,
    #[arg(long)]
    cluster: Option<String>,
    #[arg(long, value_delimiter = ',')]
    roles: Option<Vec<String>>,
    #[arg(long, default_value = "15secs", value_parser = duration, alias = "slave_ping_timeout")]
    agent_ping_timeout: std::time::Duration,
    #[arg(long, default_value = "true", value_parser = boolean, num_args = 0..=1, require_equals = true,
          default_missing_value = "true", action = clap::ArgAction::Set)]
    root_submissions: bool,
    #[arg(long, default_value = "false", value_parser = boolean, num_args = 0..=1, require_equals = true,
          default_missing_value = "true", action = clap::ArgAction::Set)]
    quiet: bool,
}

fn read_with(arguments: &[&str], environment: &[(&str, &str)]) -> Result<(Flags, BTreeMap<String, String>), String> {
    let arguments = std::iter::once("server").chain(arguments.iter().copied()).map(OsString::from);
    super::read(&ELSEWHERE, arguments, |name| {
        environment.iter().find(|(known, _)| *known == name).map(|(_, value)| OsString::from(value))
    })
    .map_err(|error| error.to_string())
}

fn read(arguments: &[&str]) -> Result<Flags, String> {
    read_with(arguments, &[]).map(|(flags, _)| flags)
}

#[test]
fn takes_both_spellings_and_mesos_booleans() {
    let flags = read(&["--AGENT-PING_TIMEOUT=1.5secs", "--no-root_submissions", "--quiet"]).unwrap();
    assert_eq!(flags.agent_ping_timeout.as_millis(), 1500);
    assert!(!flags.root_submissions && flags.quiet);
    assert!(!read(&["--root_submissions=0"]).unwrap().root_submissions);
    assert!(read(&["--root_submissions=maybe"]).unwrap_err().contains("maybe"));
    assert_eq!(read(&["--slave_ping_timeout=2secs"]).unwrap().agent_ping_timeout.as_secs(), 2);
}

#[test]
fn the_environment_stands_back_behind_the_command_line() {
    let environment =
        [("MESOS_PORT", "1"), ("MEZZO_CLUSTER", "mine"), ("MESOS_CLUSTER", "theirs"), ("MESOS_quiet", "1")];
    let (flags, _) = read_with(&["--port=2"], &environment).unwrap();
    assert_eq!((flags.port, flags.cluster.as_deref(), flags.quiet), (2, Some("mine"), true));
    assert_eq!(read_with(&[], &environment).unwrap().0.port, 1);
    assert_eq!(read_with(&[], &[("LIBPROCESS_PORT", "3")]).unwrap().0.port, 3);
    assert!(read_with(&[], &[("MESOS_PORT", "x")]).is_err());
}

#[test]
fn refuses_unknown_and_repeated_flags() {
    assert!(read(&["--nonsense=1"]).unwrap_err().contains("--nonsense"));
    assert!(read(&["--port=1", "--port=2"]).is_err());
    assert!(read(&["--port=70000"]).is_err());
    assert!(read(&["--agent_ping_timeout=15"]).unwrap_err().contains("15secs"));
}

#[test]
fn takes_flags_of_mesos_that_change_nothing_and_refuses_those_that_would() {
    assert!(read(&["--log_auto_initialize=false", "--quorum=1"]).is_ok());
    assert!(read(&["--role_sorter=drf", "--no-authenticate_agents", "--strict=1"]).is_ok());
    assert!(read(&["--authenticate_agents=0"]).is_ok());
    assert!(read(&["--role_sorter=random"]).unwrap_err().contains("this server knows only --role_sorter=drf"));
    assert!(read(&["--authenticate_agents"]).unwrap_err().contains("--authenticate_agents"));
    assert!(read(&["--no-strict"]).unwrap_err().contains("--strict"));
    assert!(read(&["--zk=zk://a:1/mesos"]).unwrap_err().contains("--zk"));
}

#[test]
fn lists_flags_as_mesos_does() {
    let (flags, listed) = read_with(&["--roles=a,b"], &[]).unwrap();
    assert_eq!(flags.roles, Some(vec!["a".to_owned(), "b".to_owned()]));
    let shown = |name: &str| listed.get(name).map(String::as_str);
    assert_eq!(shown("agent_ping_timeout"), Some("15secs"));
    assert_eq!(shown("roles"), Some("a,b"));
    assert_eq!(shown("root_submissions"), Some("true"));
    assert_eq!(shown("authenticate_agents"), Some("false"));
    assert_eq!(shown("help"), Some("false"));
    assert_eq!(shown("zk"), None);
    assert_eq!(shown("cluster"), None);
}

#[test]
fn a_value_may_stand_in_a_file() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "from a file").unwrap();
    let flags = read(&[&format!("--cluster=file://{}", file.path().display())]).unwrap();
    assert_eq!(flags.cluster.as_deref(), Some("from a file"));
    assert!(read(&["--cluster=file:///no/such/file"]).unwrap_err().contains("/no/such/file"));
}
