//! Every verb of `mezzo` with arguments that are of no use, things that are not there and a master that does not answer: each
//! says what is wrong and ends with the exit status that its help names.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::process::{Command, Output, Stdio};

use mezzo_tests::cluster::Cluster;
use mezzo_tests::environment;
use mezzo_tests::framework::Framework;
use mezzo_tests::tasks;

/// Verbs that are whole programs: their flags have tests of their own.
const PROGRAMS: [&str; 2] = ["master", "help"];

/// Verbs that never ask a master.
const LOCAL: [&str; 9] = [
    "local",
    "completions",
    "man",
    "registry dump",
    "registry restore",
    "config check",
    "install user-data",
    "install discover",
    "doctor",
];

/// The verbs with arguments that are right: nothing is lacking but what they are about.
const RIGHT: &str = "
run -- true
explain --framework=nope
agent list
agent show nope
agent drain nope --yes
agent deactivate nope
agent reactivate nope
agent gone nope --yes
framework list
framework show nope
framework teardown nope --yes
task list
task show nope
task logs nope
task exec nope ls
task attach nope
task kill nope
role list
quota list
quota set r --limit=cpus:1
quota remove r
weight list
weight set r 2
reserve nope cpus:1 --role=r
unreserve nope cpus:1 --role=r
volume list
volume create nope --id=v --path=data --size=10 --role=r
volume destroy nope v --yes
maintenance status
maintenance plan h
maintenance schedule -
maintenance start h
maintenance stop h
top --once
events
local --agents=0
completions bash
man /dev/null/x
registry dump --work_dir=/nope
registry restore --work_dir=/nope -
config check master
install user-data --role=agent --package-url=http://x/y --sha256=00
install discover --cloud=none
doctor
";

/// What is wrong, the exit status, and a word of what is said. `S0` is the one agent, and `runs` a task.
const WRONG: &str = "
explain --framework=nope                                          | 125 | No framework found
explain --framework=nope --master=:                               | 2   | --master: ':' names no host
explain                                                           | 2   | --framework
run                                                               | 2   | COMMAND
run --resources=cpus:x -- true                                    | 2   | --resources='cpus:x'
run --resources=cpus -- true                                      | 2   | --resources='cpus'
run --master=: -- true                                            | 2   | --master: ':' names no host
run --timeout=soon -- true                                        | 2   | number of seconds
run --env=novalue -- true                                         | 2   | NAME=VALUE
agent show nope                                                   | 1   | 'nope' is not known
agent show                                                        | 2   | AGENT
agent list --master=:                                             | 2   | ':' names no host
agent list --master=h:99999                                       | 2   | 1 to 65535
agent list --master=zk://                                         | 2   | zk://host:port
agent drain nope --yes                                            | 1   | 'nope' is not known
agent drain S0 --mark-gone                                        | 2   | --yes
agent gone S0                                                     | 2   | --yes
agent drain S0 --yes --max-grace-period=soon                      | 2   | soon
agent drain S0 --yes --max-grace-period=-1secs                    | 2   | -1secs
agent deactivate nope                                             | 1   | 'nope' is not known
agent reactivate nope                                             | 1   | 'nope' is not known
agent gone nope --yes                                             | 1   | 'nope' is not known
framework show nope                                               | 1   | 'nope' is not known
framework teardown nope --yes                                     | 1   | 'nope' is not known
framework teardown 0000                                           | 2   | --yes
task show nope                                                    | 1   | 'nope' is not known
task show runs --framework=nope                                   | 1   | 'runs' is not known
task logs nope                                                    | 1   | no task 'nope'
task logs --master=: nope                                         | 2   | ':' names no host
task logs runs --file=nothing                                     | 1   | nothing
task exec nope ls                                                 | 125   | 'nope' is not known
task exec runs                                                    | 2   | COMMAND
task exec runs /no/such/program                                   | 1 | /no/such/program
task attach nope                                                  | 125   | 'nope' is not known
task kill nope                                                    | 1   | 'nope' is not known
task kill runs --framework=nope                                   | 1   | 'runs' is not known
quota set a/b --limit=cpus:1                                      | 1   | nested role 'a/b'
quota set .. --limit=cpus:1                                       | 1   | '..'
quota set r --limit=cpus                                          | 2   | 'cpus'
quota set r --limit=cpus:nan                                      | 2   | 'cpus:nan'
quota set r --limit=cpus:-1                                       | 1   | Negative
quota set r --limit=cpus:1 --guarantee=cpus:2                     | 1   | not contained
quota set r --guarantee=cpus:1000000                              | 1   | exceed cluster capacity
quota remove ..                                                   | 1   | '..'
weight set r heavy                                                | 2   | heavy
weight set r nan                                                  | 2   | NaN
weight set r inf                                                  | 2   | inf
weight set r 0                                                    | 1   | weight
weight set .. 2                                                   | 1   | '..'
reserve nope cpus:1 --role=r                                      | 1   | 'nope' is not known
reserve S0 cpus --role=r                                          | 2   | 'cpus'
reserve S0 cpus:0 --role=r                                        | 1   | the master refuses
reserve S0 cpus:1000000 --role=r                                  | 1   | the master refuses
reserve S0 cpus:1 --role=..                                       | 1   | the master refuses
reserve S0 cpus:1                                                 | 2   | --role
unreserve nope cpus:1 --role=r                                    | 1   | 'nope' is not known
unreserve S0 cpus:1 --role=r                                      | 1   | the master refuses
volume create nope --id=v --path=data --size=10 --role=r          | 1   | 'nope' is not known
volume create S0 --id=v --path=data --size=big --role=r           | 2   | big
volume create S0 --id=v --path=data --size=nan --role=r           | 2   | MB above 0
volume create S0 --id=v --path=data --size=-1 --role=r            | 2   | MB above 0
volume create S0 --id=v --path=data --size=0 --role=r             | 2   | MB above 0
volume create S0 --id=v --path=data --size=0.0001 --role=r        | 2   | MB above 0
volume create S0 --id=v --path=data --size=1e300 --role=r         | 2   | disk
volume create S0 --id=v --path=data --size=10 --role=r            | 1   | the master refuses
volume destroy nope v --yes                                       | 1   | 'nope' is not known
volume destroy S0 v --yes                                         | 1   | v
volume destroy S0 v                                               | 2   | --yes
maintenance plan h --in=soon                                      | 2   | soon
maintenance plan h --in=20000000000000.5weeks                     | 2   | too long
maintenance plan h --for=forever                                  | 2   | forever
maintenance schedule /no/such/file                                | 2   | /no/such/file
maintenance start h                                               | 1   | the master refuses
maintenance stop h                                                | 1   | the master refuses
top --interval=often                                              | 2   | 0.1 to 3600
top --interval=0                                                  | 2   | 0.1 to 3600
completions nothing                                               | 2   | nothing
man /dev/null/x                                                   | 1   | /dev/null/x
local --agents=many                                               | 2   | many
local --agents=999                                                | 2   | 0..=200
local --port=70000                                                | 2   | 70000
registry dump                                                     | 2   | --work_dir
registry dump --work_dir=/nope                                    | 1   | /nope
registry dump --zk=nowhere                                        | 1   | nowhere
registry restore --work_dir=/nope /no/such/file                   | 1   | /no/such/file
config check nothing                                              | 2   | nothing
install user-data --role=king --package-url=http://x/y --sha256=00 | 2  | king
install discover --cloud=nine                                     | 2   | nine
--credential=/no/such/file agent list                             | 2   | /no/such/file
";

struct Cli(String);

impl Cli {
    fn output(&self, arguments: &[&str]) -> Output {
        Command::new(environment::binary("mezzo"))
            .args(arguments)
            .env_remove("MESOS_MASTER")
            .env("MEZZO_MASTER", &self.0)
            .env("HOME", "/nonexistent")
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    /// What is wrong with what this does, if anything.
    fn fault(&self, line: &str, code: i32, word: &str) -> Option<String> {
        let arguments: Vec<&str> = line.split_whitespace().collect();
        let output = self.output(&arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        let told = String::from_utf8_lossy(&output.stdout);
        let is_right = output.status.code() == Some(code) && said.contains(word) && !said.contains("panicked");
        (!is_right).then(|| format!("mezzo {line}: {} instead of {code} with '{word}': {said}{told}", output.status))
    }
}

fn lines(table: &str) -> impl Iterator<Item = &str> {
    table.lines().map(str::trim).filter(|line| !line.is_empty())
}

/// All verbs, as the help tells them.
fn verbs(cli: &Cli, above: &str) -> BTreeSet<String> {
    let arguments: Vec<&str> = above.split_whitespace().chain(["--help"]).collect();
    let help = String::from_utf8(cli.output(&arguments).stdout).unwrap();
    let Some(list) = help.split("\nCommands:\n").nth(1).and_then(|rest| rest.split("\n\n").next()) else {
        return BTreeSet::from([above.to_owned()]);
    };
    let names =
        list.lines().filter_map(|line| line.strip_prefix("  ")?.split(' ').next()).filter(|name| !name.is_empty());
    names
        .filter(|name| !PROGRAMS.contains(name))
        .flat_map(|name| verbs(cli, format!("{above} {name}").trim()))
        .collect()
}

/// The verb of a line.
fn verb_of<'a>(line: &str, verbs: &'a BTreeSet<String>) -> Option<&'a str> {
    verbs.iter().map(String::as_str).find(|verb| line == *verb || line.starts_with(&format!("{verb} ")))
}

#[test]
fn every_verb_says_what_is_wrong_with_its_input() {
    let cluster = Cluster::builder().start();
    let mut framework = Framework::subscribe(cluster.master_address, tasks::framework_info("runs", "dev"));
    framework.run("runs", "sleep 1000");
    framework.wait_status("runs", "TASK_RUNNING");
    let cli = Cli(cluster.master_address.to_string());
    // `agent` alone lists its verbs only as Mezzo's own command: with flags it is the server.
    let mut verbs = verbs(&cli, "");
    verbs.remove("agent");
    verbs.extend(["list", "show", "drain", "deactivate", "reactivate", "gone"].map(|verb| format!("agent {verb}")));
    let seen: BTreeSet<String> = lines(RIGHT).filter_map(|line| verb_of(line, &verbs)).map(str::to_owned).collect();
    assert_eq!(seen, verbs, "each verb has its row");

    let mut faults = Vec::new();
    for row in lines(WRONG) {
        let [line, code, word] = row.split('|').map(str::trim).collect::<Vec<_>>()[..] else { panic!("{row}") };
        faults.extend(cli.fault(line, code.parse().unwrap(), word));
    }
    // What is no flag of it, and what it cannot do without.
    for verb in &verbs {
        if verb != "config check" {
            faults.extend(cli.fault(&format!("{verb} --nonsense"), 2, "--nonsense"));
        }
        let right = lines(RIGHT).find(|line| verb_of(line, &verbs) == Some(verb)).unwrap();
        if right != verb && !["local", "top", "install discover"].contains(&verb.as_str()) {
            faults.extend(cli.fault(verb, 2, "required"));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn every_verb_says_that_no_master_answers() {
    // Nobody listens there any more.
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let cli = Cli(address.clone());
    let asking = lines(RIGHT).filter(|line| !LOCAL.iter().any(|verb| line.starts_with(verb)));
    let faults: Vec<String> = asking
        .filter(|line| *line != "maintenance schedule -")
        .filter_map(|line| cli.fault(line, 125, &address))
        .collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    let doctor = cli.output(&["doctor"]);
    assert_eq!(doctor.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&doctor.stdout).contains(&address));
}
