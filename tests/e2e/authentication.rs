//! Servers that ask who is there, and clients that say it.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
    time::Duration,
};

use mezzo_tests::{
    cluster::{Builder, Cluster},
    environment,
    http::{Request, Response, send},
    wait,
};

/// What masters and agents know, and who `ops` is.
const KNOWN: &str = r#"{"credentials":[{"principal":"ops","secret":"open sesame"},{"principal":"node","secret":"n"}]}"#;
const OPS: &str = r#"{"principal":"ops","secret":"open sesame"}"#;
const NODE: &str = r#"{"principal":"node","secret":"n"}"#;
const STRANGER: &str = r#"{"principal":"ops","secret":"guessed"}"#;
/// `ops:open sesame`
const BASIC: &str = "Basic b3BzOm9wZW4gc2VzYW1l";

/// Everything but frameworks is guarded; agents say that they are `node`.
pub(crate) fn guarded() -> Builder {
    with_agents_that_say(NODE)
}

fn with_agents_that_say(credential: &str) -> Builder {
    Cluster::builder()
        .master_flag(&format!("--credentials={KNOWN}"))
        .master_flag("--authenticate_http_readonly")
        .master_flag("--authenticate_http_readwrite")
        .master_flag("--authenticate_agents")
        .agent_flag(&format!("--credential={credential}"))
        .agent_flag(&format!("--http_credentials={KNOWN}"))
        .agent_flag("--authenticate_http_readonly")
        .agent_flag("--authenticate_http_readwrite")
        .known_as(BASIC)
}

fn file(cluster: &Cluster, name: &str, content: &str) -> PathBuf {
    let path = cluster.dir().join(name);
    std::fs::write(&path, content).unwrap();
    path
}

fn mezzo(cluster: &Cluster, credential: Option<&Path>, arguments: &[&str]) -> Output {
    let mut command = Command::new(environment::binary("mezzo"));
    if let Some(path) = credential {
        command.arg("--credential").arg(path);
    }
    command.args(arguments).env("MEZZO_MASTER", cluster.master_address.to_string()).env_remove("MEZZO_CREDENTIAL");
    command.output().unwrap()
}

#[test]
fn every_endpoint_asks_as_its_realm_does() {
    let cluster = guarded().start();
    let servers = [("mesos-master", cluster.master_address), ("mesos-agent", cluster.agents[0].address)];
    let json = "application/json";
    let version = r#"{"type":"GET_VERSION"}"#;
    for (name, address) in servers {
        for (realm, request) in [
            ("readonly", Request::get("/state")),
            ("readonly", Request::get("/metrics/snapshot")),
            ("readonly", Request::get("/flags")),
            ("readonly", Request::get("/files/debug")),
            ("readwrite", Request::get("/logging/toggle")),
            ("readwrite", Request::post("/api/v1", json, version).header("Accept", json)),
        ] {
            let refused = send(address, &request).unwrap();
            let challenge = format!("Basic realm=\"{name}-{realm}\"");
            assert_eq!(refused.head.header("www-authenticate"), Some(challenge.as_str()), "{request:?}");
            assert_eq!((refused.status(), refused.text().as_str()), (401, "401 Unauthorized."), "{request:?}");
            let wrong = request.clone().header("Authorization", "Basic b3BzOm5v");
            assert_eq!(send(address, &wrong).unwrap().status(), 401, "{request:?}");
            let known = request.header("Authorization", BASIC);
            assert_eq!(send(address, &known).unwrap().status(), 200, "{known:?}");
        }
        for path in ["/health", "/version", "/help", "/system/stats.json"] {
            assert_eq!(send(address, &Request::get(path)).unwrap().status(), 200, "{path} of {name} is open");
        }
        let flags = send(address, &Request::get("/flags").header("Authorization", BASIC)).unwrap().text();
        assert!(!flags.contains("sesame") && flags.contains("***"), "{flags}");
    }
    // Through the master, both have their say.
    let agent = cluster.agent_ids().remove(0);
    let through = Request::get(&format!("/agent/{agent}/state"));
    assert_eq!(cluster_status(&cluster, &through), 401);
    assert_eq!(cluster_status(&cluster, &through.header("Authorization", BASIC)), 200);
}

fn cluster_status(cluster: &Cluster, request: &Request) -> u16 {
    send(cluster.master_address, request).map(|response: Response| response.status()).unwrap()
}

#[test]
fn the_command_line_says_who_it_is() {
    let cluster = guarded().master_flag("--authenticate_http_frameworks").start();
    let (ops, stranger) = (file(&cluster, "ops", OPS), file(&cluster, "stranger", STRANGER));
    let text = |output: &Output| {
        [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned()).concat()
    };
    let listed = mezzo(&cluster, Some(&ops), &["agent", "list", "--json"]);
    assert!(listed.status.success() && text(&listed).contains(&cluster.agent_ids()[0]), "{}", text(&listed));
    for credential in [None, Some(stranger.as_path())] {
        let refused = mezzo(&cluster, credential, &["agent", "list"]);
        assert_eq!(refused.status.code(), Some(1), "{}", text(&refused));
        assert!(text(&refused).contains("--credential"), "{}", text(&refused));
        let refused = mezzo(&cluster, credential, &["run", "--timeout=20", "--", "true"]);
        assert!(!refused.status.success() && text(&refused).contains("401"), "{}", text(&refused));
    }
    let ran = mezzo(&cluster, Some(&ops), &["run", "--", "echo", "known"]);
    assert!(ran.status.success() && text(&ran).contains("known"), "{}", text(&ran));
    let frameworks = cluster.get("/frameworks").unwrap().json();
    assert_eq!(frameworks["completed_frameworks"][0]["principal"], "ops", "it is filled in: {frameworks}");
    let absent = mezzo(&cluster, Some(Path::new("/nonexistent/file")), &["agent", "list"]);
    assert_eq!(absent.status.code(), Some(2), "{}", text(&absent));
    // As a file of Mesos' form, by its path in the configuration.
    let config = file(&cluster, "config.toml", &format!("credential = \"{}\"", ops.display()));
    let output = Command::new(environment::binary("mezzo"))
        .args(["task", "list"])
        .env("MEZZO_MASTER", cluster.master_address.to_string())
        .env("MEZZO_CONFIG", config)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output));
}

#[test]
fn an_agent_that_cannot_say_who_it_is_stays_outside_and_says_why() {
    let mut cluster = with_agents_that_say(STRANGER).agents(0).start();
    cluster.add_agent();
    let log = |cluster: &Cluster| cluster.agents[0].part.last_lines(50);
    wait::until_true("it says why", || log(&cluster).contains("does not take the credential of principal ops"));
    assert!(!log(&cluster).contains("guessed"), "{}", log(&cluster));
    assert!(cluster.agent_ids().is_empty());
}

#[test]
fn guards_that_know_nobody_do_not_start() {
    for (program, flags, needed) in [
        ("mezzo-master", &["--registry=in_memory", "--authenticate_agents"][..], "--credentials"),
        (
            "mezzo-agent",
            &["--master=127.0.0.1:1", "--work_dir=/nonexistent", "--authenticate_http_readonly"],
            "--http_credentials",
        ),
        ("mezzo-master", &["--registry=in_memory", "--credentials={\"credentials\":[{\"secret\":\"s3\"}]}"], "entry 1"),
    ] {
        let output = Command::new(environment::binary(program)).args(flags).env_clear().output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains(needed) && !said.contains("s3"), "{program}: {said}");
    }
}

#[test]
fn pymesos_says_who_it_is() {
    let Some(python) = environment::python() else {
        return environment::skip("there is no Python with pymesos: run `cargo xtask setup`");
    };
    let cluster = guarded().master_flag("--authenticate_http_frameworks").start();
    let mut client = Command::new(python)
        .arg(environment::data("python").join("pymesos_scheduler.py"))
        .args([&cluster.master_address.to_string(), "authenticate"])
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env(mezzo_tests::part::MARK, cluster.dir())
        .spawn()
        .unwrap();
    let status = wait::until_within(Duration::from_secs(90), "pymesos ends", || client.try_wait().unwrap());
    assert!(status.success());
}
