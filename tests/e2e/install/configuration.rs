//! What servers are told, by every way there is, with the real programs.

use std::path::Path;
use std::process::{Command, Output};

use mezzo_tests::environment;

fn run(program: &str, arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(environment::binary(program));
    command.args(arguments).env_clear().envs(variables.iter().copied()).output().expect("it starts")
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn written(dir: &Path, name: &str, text: &str) -> String {
    let path = dir.join(name);
    std::fs::write(&path, text).expect("the test's directory must be writable");
    path.display().to_string()
}

#[test]
fn config_check_tells_each_value_and_where_it_came_from() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let secret = written(dir.path(), "masters", "zk://user:secret@127.0.0.1:2181/mezzo\n");
    let file = format!("master = \"file://{secret}\"\nport = 6000\nattributes = \"rack:a\"\nregion = \"file\"\n");
    let file = written(dir.path(), "agent.toml", &file);
    let variables = [
        ("MESOS_WORK_DIR", "/nonexistent/mezzo"),
        ("MEZZO_PORT", "7000"),
        ("MEZZO_DISCOVERED_REGION", "found"),
        ("MEZZO_DISCOVERED_ZONE", "z"),
        ("MESOS_GC_DELAY", "2days"),
    ];
    let flags = ["config", "check", "agent", &format!("--config_file={file}"), "--gc_delay=1days"];
    let output = run("mezzo", &flags, &variables);
    let text = said(&output);
    assert!(output.status.success(), "{text}{}", errors(&output));
    for (name, value, origin) in [
        ("attributes", "rack:a", file.as_str()),
        ("gc_delay", "1days", "command line"),
        ("master", "zk://user:***@127.0.0.1:2181/mezzo", &file),
        ("port", "7000", "MEZZO_PORT"),
        ("region", "file", &file),
        ("work_dir", "/nonexistent/mezzo", "MESOS_WORK_DIR"),
        ("zone", "z", "discovered (MEZZO_DISCOVERED_ZONE)"),
    ] {
        let line = text.lines().find(|line| line.split('=').next().is_some_and(|found| found.trim() == name));
        let line = line.unwrap_or_else(|| panic!("{name} is not in\n{text}"));
        assert!(line.contains(&format!("= {value} ")) && line.ends_with(&format!("({origin})")), "{line}");
    }
    assert!(!text.contains("secret"), "{text}");
    let output = run("mezzo", &[&flags[..], &["--resources=cpus:many"]].concat(), &variables);
    assert!(!output.status.success() && said(&output).contains("wrong: --resources"), "{}", said(&output));
    let output = run("mezzo", &["config", "check", "master", "--zoo=x"], &[]);
    assert!(!output.status.success() && said(&output).contains("wrong: --zoo is no flag"), "{}", said(&output));
}

/// Of a configuration that is wrong in many ways everything is told: by the check, and by the server that does not start.
#[test]
fn everything_that_is_wrong_is_told_at_once() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let text =
        "mastre = 'x'\nport = 'many'\nauthenticate_http_executors = true\nresources = 'cpus'\nattributes = ';;:'\n";
    let agent = format!("--config_file={}", written(dir.path(), "agent.toml", text));
    let text = "zoo = 'x'\nport = 'many'\nregion = 'r'\nwhitelist = '/no/such/file'\nacls = 'x'\n";
    let master = format!("--config_file={}", written(dir.path(), "master.toml", text));
    let others = ["--master=127.0.0.1:5050", "--work_dir=/nonexistent", "--gc_delay=soon"];
    for (server, flags, read, meant) in [
        (
            "agent",
            [&[agent.as_str()], &others[..]].concat(),
            &["'mastre' is no flag", "'many' for '--port", "'soon' for '--gc_delay", "--authenticate_http_executors"][..],
            &["--resources: ", "--attributes: "][..],
        ),
        (
            "master",
            vec![master.as_str(), "--quorum"],
            &["'zoo' is no flag", "'many' for '--port", "--acls", "'--quorum"],
            &["--zone", "--whitelist=/no/such/file", "--work_dir is needed"],
        ),
    ] {
        let output = run("mezzo", &[&["config", "check", server], &flags[..]].concat(), &[]);
        let told = said(&output);
        let wrong: Vec<&str> = told.lines().filter(|line| line.starts_with("wrong: ")).collect();
        for words in read.iter().chain(meant) {
            assert!(wrong.iter().any(|line| line.contains(words)), "{server}: '{words}' is not in\n{told}");
        }
        assert_eq!(wrong.len(), read.len() + meant.len(), "{server}:\n{told}");
        assert!(!output.status.success());
        // What cannot be read is told by the server at its start; what makes no sense, once all can be read.
        let program = format!("mezzo-{server}");
        let told = errors(&run(&program, &flags, &[]));
        assert!(read.iter().all(|words| told.contains(words)), "{program}:\n{told}");
        let readable: &[&str] = match server {
            "agent" => &["--resources=cpus", "--attributes=;;:", "--master=127.0.0.1", "--work_dir=/nonexistent"],
            _ => &["--region=r", "--whitelist=/no/such/file"],
        };
        let told = errors(&run(&program, readable, &[]));
        assert!(meant.iter().all(|words| told.contains(words)), "{program}:\n{told}");
    }
    assert!(!std::path::Path::new("/nonexistent").exists(), "nothing is made by a server that does not start");
}

/// Neither what is wrong with a value nor the log nor `/flags` shows one that was given as a secret.
#[test]
fn servers_say_what_is_wrong_and_no_secret() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let secret = written(dir.path(), "secret", "hush");
    for (program, arguments, told) in [
        ("mezzo-agent", vec!["--mastre=x"], "--mastre is no flag; did you mean --master?"),
        ("mezzo-master", vec!["--work-dri=/x"], "--work_dri is no flag; did you mean --work_dir?"),
        ("mezzo-master", vec!["--config_file=/nonexistent.toml"], "/nonexistent.toml: cannot be read"),
        ("mezzo-master", vec!["--port=file://SECRET"], "--port=file://SECRET is no value for it"),
        ("mezzo-agent", vec!["--master=m", "--work_dir=/x", "--executor_environment_variables=hush"], "JSON object"),
    ] {
        let arguments: Vec<String> = arguments.iter().map(|one| one.replace("SECRET", &secret)).collect();
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let output = run(program, &arguments, &[]);
        let errors = errors(&output);
        assert!(!output.status.success() && errors.contains(&told.replace("SECRET", &secret)), "{program}: {errors}");
        assert!(!errors.contains("hush"), "{errors}");
    }
    let help = said(&run("mezzo-agent", &["--help"], &[]));
    for heading in
        ["Cluster:", "Network:", "Directories:", "Resources:", "Executors:", "Disk:", "Logs:", "Configuration:"]
    {
        assert!(help.contains(heading), "{heading} is not in\n{help}");
    }
}

/// What `docs/migrating-from-mesos.md` makes of the files of Mesosphere's packages is what the agent wants.
#[test]
fn the_files_of_a_mesos_agent_become_a_configuration() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    for directory in ["mesos", "mesos-slave", "mezzo"] {
        std::fs::create_dir(dir.path().join(directory)).expect("the test's directory must be writable");
    }
    for (name, text) in [
        ("mesos/zk", "zk://127.0.0.1:2181/mesos\n"),
        ("mesos-slave/work_dir", "/var/lib/mezzo-agent\n"),
        ("mesos-slave/attributes", "rack:a1;os:linux"),
        ("mesos-slave/executor_registration_timeout", "5mins"),
        ("mesos-slave/executor_environment_variables", "{\"PATH\": \"/bin\"}"),
        ("mesos-slave/?no-switch_user", ""),
        ("mesos-slave/?strict", ""),
    ] {
        written(dir.path(), name, text);
    }
    let block = super::documents::blocks("docs/migrating-from-mesos.md", "Configuration").remove(0);
    let commands = block.commands.replace("/etc/", &format!("{}/", dir.path().display()));
    let path = format!("{}:/usr/bin:/bin", environment::bin_dir().display());
    let output = Command::new("sh").args(["-ec", &commands]).env_clear().env("PATH", path).output().expect("sh starts");
    let text = said(&output);
    assert!(output.status.success(), "{text}{}", errors(&output));
    for words in
        ["= zk://127.0.0.1:2181/mesos ", "= rack:a1;os:linux ", "= 5mins ", "{\"PATH\":\"***\"}", "switch_user "]
    {
        assert!(text.contains(words), "'{words}' is not in\n{text}");
    }
}
