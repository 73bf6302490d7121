use clap::Parser;

use super::*;

const ELSEWHERE: Elsewhere = Elsewhere {
    server: "server",
    old_names: &[("user_sorter", "role_sorter"), ("authenticate_slaves", "authenticate_agents")],
    no_effect: &[("quorum", None), ("log_auto_initialize", Some("true"))],
    only_default: &[("role_sorter", "drf"), ("authenticate_agents", "false"), ("strict", "true")],
    not_known: &["zk"],
};

/// Takes objects only.
fn refuse(text: &str) -> Result<String, String> {
    if text.starts_with('{') { Ok(text.to_owned()) } else { Err(format!("'{text}' is no object")) }
}

#[derive(Debug, Parser)]
#[command(rename_all = "snake_case")]
struct Flags {
    #[arg(long, default_value_t = 5050)]
    port: u16,
    #[arg(long)]
    cluster: Option<String>,
    #[arg(long)]
    region: Option<String>,
    #[arg(long, value_name = "JSON")]
    domain: Option<String>,
    #[arg(long, value_name = "JSON", value_parser = refuse)]
    executor_environment_variables: Option<String>,
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

fn report(arguments: &[&str], environment: &[(&str, &str)]) -> Result<(Flags, Report), String> {
    let arguments = std::iter::once("server").chain(arguments.iter().copied()).map(OsString::from);
    super::read(&ELSEWHERE, arguments, |name| {
        environment.iter().find(|(known, _)| *known == name).map(|(_, value)| OsString::from(value))
    })
    .map_err(|error| error.to_string())
}

fn read_with(arguments: &[&str], environment: &[(&str, &str)]) -> Result<(Flags, BTreeMap<String, String>), String> {
    report(arguments, environment).map(|(flags, report)| (flags, report.listed))
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

fn file(text: &str) -> (tempfile::NamedTempFile, String) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    let flag = format!("--config_file={}", file.path().display());
    (file, flag)
}

#[test]
fn each_place_stands_back_behind_the_one_before() {
    let (path, flag) = file("port = 3\ncluster = 'file'\nroles = ['a', 'b']\nquiet = true\nregion = 'file'");
    let environment =
        [("MEZZO_PORT", "2"), ("MEZZO_DISCOVERED_CLUSTER", "found"), ("MEZZO_DISCOVERED_REGION", "found")];
    let (flags, report) = report(&[&flag], &environment).unwrap();
    assert_eq!((flags.port, flags.cluster.as_deref(), flags.quiet), (2, Some("file"), true));
    assert_eq!((flags.roles.unwrap().len(), flags.region.as_deref()), (2, Some("file")));
    assert_eq!(report.origins["port"], Origin::Variable("MEZZO_PORT".to_owned()));
    assert_eq!(report.origins["cluster"], Origin::File(path.path().to_path_buf()));
    assert!(!report.origins.contains_key("root_submissions"));
    let (flags, _) = super::tests::report(&["--port", "1", &flag], &environment).unwrap();
    assert_eq!(flags.port, 1);
    let named = [("MESOS_CONFIG_FILE", flag.strip_prefix("--config_file=").unwrap())];
    assert_eq!(read_with(&[], &named).unwrap().0.port, 3);
    assert_eq!(read_with(&[], &environment).unwrap().0.region.as_deref(), Some("found"));
}

#[test]
fn what_was_discovered_stands_back_behind_other_ways_to_say_it() {
    let domain = r#"--domain={"fault_domain":{}}"#;
    let (flags, _) = report(&[domain], &[("MEZZO_DISCOVERED_REGION", "found")]).unwrap();
    assert_eq!(flags.region, None);
}

#[test]
fn a_file_that_is_wrong_says_where() {
    for (text, said) in [
        ("clutser = 'x'", "'clutser' is no flag; did you mean cluster?"),
        ("port = 1\ncluster = secret", "line 2 is no TOML"),
        ("port = 70000", "70000"),
        ("cluster = 1979-05-27", "a date"),
        ("config_file = 'x'", "'config_file' is no flag"),
    ] {
        let (_file, flag) = file(text);
        let error = read(&[&flag]).unwrap_err();
        assert!(error.contains(said) && !error.contains("secret"), "{text}: {error}");
    }
    assert!(read(&["--config_file=/no/such/file"]).unwrap_err().contains("/no/such/file"));
}

#[test]
fn tables_of_a_file_are_json() {
    let (_file, flag) = file("[domain.fault_domain.region]\nname = 'eu'");
    assert_eq!(read(&[&flag]).unwrap().domain.as_deref(), Some(r#"{"fault_domain":{"region":{"name":"eu"}}}"#));
}

#[test]
fn an_unknown_flag_is_told_what_was_meant() {
    assert!(read(&["--agent_ping_timeuot=1secs"]).unwrap_err().contains("did you mean --agent_ping_timeout?"));
    assert!(read(&["--no-qiuet"]).unwrap_err().contains("--no_qiuet is no flag"));
    assert!(read(&["--xyz"]).unwrap_err().contains("--help"));
}

#[test]
fn old_names_are_taken_with_a_word() {
    let (flags, report) = report(&["--slave_ping_timeout=2secs", "--user_sorter=drf"], &[]).unwrap();
    assert_eq!(flags.agent_ping_timeout.as_secs(), 2);
    assert!(report.warnings[0].starts_with("slave_ping_timeout is an old name of --agent_ping_timeout"));
    assert_eq!(report.listed.get("slave_ping_timeout").map(String::as_str), Some("2secs"));
    assert!(!report.listed.contains_key("agent_ping_timeout"));
    let (flags, report) = super::tests::report(&[], &[("MESOS_SLAVE_PING_TIMEOUT", "3secs")]).unwrap();
    assert_eq!((flags.agent_ping_timeout.as_secs(), report.warnings.len()), (3, 1));
    assert!(read(&["--slave_ping_timeout=2secs", "--agent_ping_timeout=2secs"]).is_err());
    assert!(read(&["--authenticate_slaves"]).unwrap_err().contains("--authenticate_agents"));
}

#[test]
fn secrets_are_not_shown() {
    let given = r#"--executor_environment_variables={"TOKEN":"hidden"}"#;
    let (_, report) = report(&[given], &[]).unwrap();
    assert_eq!(report.listed["executor_environment_variables"], r#"{"TOKEN":"***"}"#);
    let (file, _) = file("hidden");
    let named = format!("file://{}", file.path().display());
    let (flags, listed) = read_with(&[&format!("--cluster={named}")], &[]).unwrap();
    assert_eq!((flags.cluster.as_deref(), listed["cluster"].as_str()), (Some("hidden"), named.as_str()));
    for flag in ["port", "executor_environment_variables", "agent_ping_timeout"] {
        let error = read(&[&format!("--{flag}={named}")]).unwrap_err();
        assert!(error.contains(&named) && !error.contains("hidden"), "{error}");
    }
    let error = read(&["--executor_environment_variables=hidden"]).unwrap_err();
    assert!(error.contains("executor_environment_variables") && !error.contains("hidden"), "{error}");
}

#[test]
fn json_may_stand_in_a_file_named_by_its_path() {
    let (file, _) = file("{\"fault_domain\":{}}");
    let (flags, report) = report(&[&format!("--domain={}", file.path().display())], &[]).unwrap();
    assert_eq!(flags.domain.as_deref(), Some("{\"fault_domain\":{}}"));
    assert!(report.warnings[0].contains("file://"), "{:?}", report.warnings);
}

#[test]
fn everything_that_is_wrong_is_told_at_once() {
    let (path, file) = file("prot = 1\ncluster = 1979-05-27\nquiet = 'perhaps'\nregion = 'r'");
    let arguments = [
        "server",
        &file,
        "--nonsense",
        "1",
        "--port=x",
        "--authenticate_agents",
        "--zk=x",
        "--roles=file:///no/file",
        "word",
    ];
    let arguments = arguments.into_iter().map(OsString::from);
    let reading: Reading<(Flags, Report)> =
        super::read_all(&ELSEWHERE, arguments, |name| (name == "MESOS_AGENT_PING_TIMEOUT").then(|| "soon".into()));
    let told: Vec<String> = reading.sentences().collect();
    let wrong = [
        "--nonsense is no flag",
        "--roles=file:///no/file: the file /no/file cannot be read",
        "'prot' is no flag; did you mean port?",
        "cluster: a date is no value",
        "'x' for '--port",
        "'perhaps' for '--quiet",
        "'soon' for '--agent_ping_timeout",
        "'word'",
        "--authenticate_agents=true is not supported",
        "--zk is a flag of Apache Mesos",
    ];
    for words in wrong {
        assert_eq!(told.iter().filter(|sentence| sentence.contains(words)).count(), 1, "{words}: {told:#?}");
    }
    assert_eq!(told.len(), wrong.len(), "{told:#?}");
    // What is right is read all the same.
    let (flags, report) = reading.flags.as_ref().expect("the rest can be read");
    assert_eq!((flags.region.as_deref(), flags.port), (Some("r"), 5050));
    assert_eq!(report.origins["region"], Origin::File(path.path().to_path_buf()));
    let text = reading.whole(&Flags::command()).unwrap_err().to_string();
    assert!(text.starts_with("error: 10 things are wrong with the flags:\n  "), "{text}");
    assert!(wrong.iter().all(|words| text.contains(words)), "{text}");
}

#[test]
fn a_question_is_answered_and_nothing_else() {
    let arguments = ["server", "--port=x", "--help"].map(OsString::from);
    let reading: Reading<(Flags, Report)> = super::read_all(&ELSEWHERE, arguments, |_| None);
    assert!(reading.problems.len() == 1 && reading.flags.is_none());
}
