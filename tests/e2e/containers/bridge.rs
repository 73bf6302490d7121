//! Containers with a network of their own: who reaches them, whom they reach, and what is left of them. The agent's host is
//! a network namespace, so that its bridge and its rules are its own.

use std::{
    fs,
    io::{Read, Write},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    os::unix::fs::PermissionsExt,
    process::Command,
    time::Duration,
};

use mezzo_tests::{
    cluster::Cluster,
    environment,
    framework::Framework,
    hosts::{self, Host, Network},
    tasks, wait,
};
use serde_json::{Value, json};

use super::images::{Bench, in_docker, in_image, shell};

/// Two hosts on one segment. This thread works on the first, where the cluster is to be.
struct Place {
    host: Host,
    outside: Host,
    _network: Network,
}

impl Place {
    fn make() -> Option<Self> {
        let mut network = Network::new()?;
        let segment = network.segment();
        let (host, outside) = (network.host("agent", &segment), network.host("outside", &segment));
        host.enter();
        Some(Self { host, outside, _network: network })
    }

    /// What `port` of the agent's host answers to the other one.
    fn fetch_from_outside(&self, port: u16) -> Option<String> {
        let (name, address) = (self.outside.name(), self.host.address());
        let thread = std::thread::spawn(move || {
            hosts::enter(&name);
            fetch(address, port)
        });
        thread.join().unwrap()
    }

    /// A server on the other host that answers with the address of who asks.
    fn serve_outside(&self) -> u16 {
        let name = self.outside.name();
        let (sender, port) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            hosts::enter(&name);
            let listener = TcpListener::bind("0.0.0.0:0").unwrap();
            sender.send(listener.local_addr().unwrap().port()).unwrap();
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let _ = stream.read(&mut [0; 1024]);
                let body = stream.peer_addr().unwrap().ip().to_string();
                let _ = write!(stream, "HTTP/1.0 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
            }
        });
        port.recv().unwrap()
    }
}

/// The body of a GET.
fn fetch(address: Ipv4Addr, port: u16) -> Option<String> {
    let address = SocketAddr::new(IpAddr::V4(address), port);
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(2)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    Some(text.split_once("\r\n\r\n")?.1.trim().to_owned())
}

/// What stands of containers' networks on this thread's host: cables and forwarded ports.
fn remains() -> Vec<String> {
    let lines = |program: &str, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).output().unwrap();
        String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let cables = lines("ip", &["-o", "link"]).into_iter().filter(|line| line.contains(": mz"));
    let rules = lines("iptables", &["-w", "-t", "nat", "-S"]).into_iter().filter(|line| line.contains("DNAT"));
    cables.chain(rules.filter(|line| line.contains("--to-destination"))).collect()
}

/// A server of its own name on port 80, which is `port` of the host.
fn server(id: &str, port: u16) -> Value {
    let serve = format!("mkdir /tmp/www; echo {id} > /tmp/www/index.html; exec httpd -f -p 80 -h /tmp/www");
    let mut task = bridged(id, &serve);
    task["container"]["docker"]["port_mappings"] = json!([{"host_port": port, "container_port": 80}]);
    task["resources"].as_array_mut().unwrap().push(tasks::port(port.into()));
    task
}

fn bridged(id: &str, command: &str) -> Value {
    let mut task = in_docker(id, "app", shell(command), &[]);
    task["container"]["docker"]["network"] = json!("BRIDGE");
    task
}

fn address_in(status: &Value) -> &str {
    status["container_status"]["network_infos"][0]["ip_addresses"][0]["ip_address"].as_str().unwrap_or_default()
}

fn end(framework: &mut Framework, task: &str) {
    framework.call("KILL", json!({"task_id": {"value": task}}));
    framework.wait_status(task, "TASK_KILLED");
}

/// Offers from before may be without the port.
fn launch_on(bench: &mut Bench, mut task: Value, port: u64) {
    let has = |offer: &Value| tasks::ports(offer).contains(&port);
    let offer = bench.framework.wait_offer("the port is offered", has);
    task["agent_id"] = json!({"value": tasks::agent_of(&offer)});
    bench.framework.launch(&offer, &[task]);
}

impl Bench {
    fn leases(&self) -> usize {
        let directory = self.cluster.agents[0].work_dir.with_file_name("run").join("networks");
        std::fs::read_dir(directory).map_or(0, Iterator::count)
    }

    fn wait_until_networks_are_gone(&self) {
        wait::until_true("no cable, rule or lease is left", || remains().is_empty() && self.leases() == 0);
        self.wait_until_nothing_is_left();
    }
}

#[test]
fn containers_are_reached_through_ports_of_the_host_and_reach_the_world() {
    let Some(place) = Place::make() else { return };
    let Some(mut bench) = Bench::start(&[]) else { return };
    for (id, port, address) in [("a", 31000, "10.213.0.2"), ("b", 31001, "10.213.0.3")] {
        bench.launch(server(id, port));
        let status = bench.framework.wait_status(id, "TASK_RUNNING");
        assert_eq!(address_in(&status), address);
        wait::until_true("it is reached from the host itself", || {
            fetch(Ipv4Addr::LOCALHOST, port).as_deref() == Some(id)
        });
        assert_eq!(fetch(place.host.address(), port).as_deref(), Some(id));
        assert_eq!(place.fetch_from_outside(port).as_deref(), Some(id));
    }
    // Outwards under the host's address; the host's own ports, and so their neighbours, from within.
    let world = format!("wget -q -O $MESOS_SANDBOX/got http://{}:{}/", place.outside.address(), place.serve_outside());
    bench.run(bridged("dials", &world), "TASK_FINISHED");
    assert_eq!(bench.output("dials", "got"), place.host.address().to_string());
    let neighbour = format!("wget -q -O $MESOS_SANDBOX/got http://{}:31001/", place.host.address());
    bench.run(bridged("calls", &neighbour), "TASK_FINISHED");
    assert_eq!(bench.output("calls", "got"), "b\n");
    // Its own name and address, by which nothing of the host's loopback is to be had.
    let look = "grep \"$(hostname)\" /etc/hosts > $MESOS_SANDBOX/hosts; ! wget -q -O /dev/null http://127.0.0.1:31000/";
    bench.run(bridged("looks", look), "TASK_FINISHED");
    assert!(bench.output("looks", "hosts").starts_with("10.213.0."));

    // What it was offered goes with the agent, and it wants no more: another framework goes on.
    bench.framework.call("SUPPRESS", json!({}));
    bench.cluster.agents[0].part.kill();
    assert_eq!(place.fetch_from_outside(31000).as_deref(), Some("a"), "without the agent");
    bench.cluster.agents[0].part.start();
    bench.cluster.wait_until_registered(1);
    assert_eq!(place.fetch_from_outside(31001).as_deref(), Some("b"), "with the next one");
    let next = Framework::subscribe(bench.cluster.master_address, tasks::framework_info("next", "images"));
    let mut first = std::mem::replace(&mut bench.framework, next);
    bench.launch(server("c", 31002));
    let status = bench.framework.wait_status("c", "TASK_RUNNING");
    assert!(!["10.213.0.2", "10.213.0.3"].contains(&address_in(&status)), "{status}");
    wait::until_true("the new one is reached", || place.fetch_from_outside(31002).as_deref() == Some("c"));
    end(&mut first, "a");
    wait::until_true("the port is forwarded no more", || fetch(Ipv4Addr::LOCALHOST, 31000).is_none());
    launch_on(&mut bench, server("d", 31000), 31000);
    bench.framework.wait_status("d", "TASK_RUNNING");
    wait::until_true("the port is the next one's", || place.fetch_from_outside(31000).as_deref() == Some("d"));
    assert_eq!(fetch(Ipv4Addr::LOCALHOST, 31001).as_deref(), Some("b"));
    end(&mut first, "b");
    ["c", "d"].iter().for_each(|id| end(&mut bench.framework, id));
    bench.wait_until_networks_are_gone();
}

#[test]
fn checks_look_from_within_the_container() {
    let Some(_place) = Place::make() else { return };
    let Some(mut bench) = Bench::start(&[]) else { return };
    let often = |mut check: Value| {
        for (name, value) in [("delay_seconds", 0.0), ("interval_seconds", 0.1)] {
            check[name] = json!(value);
        }
        check
    };
    let mut task = server("seen", 31000);
    task["health_check"] = often(json!({"type": "HTTP", "http": {"port": 80, "path": "/"}}));
    let command = "test -x /srv/show -a $FROM = image -a $MORE = check -a $(id -u) = 1033 || exit 7; \
                   grep -q $(hostname) /etc/hosts || exit 8; touch here && test -e $MESOS_SANDBOX/here || exit 9";
    let variables = json!({"variables": [{"name": "MORE", "value": "check"}]});
    task["check"] =
        often(json!({"type": "COMMAND", "command": {"command": {"value": command, "environment": variables}}}));
    bench.launch(task);
    let status = |event: &Value| event["update"]["status"].clone();
    bench.framework.wait_since(0, "it is healthy", |event| status(event)["healthy"] == true);
    let told = bench.framework.wait_since(0, "its check has told something", |event| {
        !status(event)["check_status"]["command"]["exit_code"].is_null()
    });
    assert_eq!(status(&told)["check_status"]["command"]["exit_code"], 0);
    end(&mut bench.framework, "seen");
    bench.wait_until_networks_are_gone();
}

#[test]
fn a_network_that_cannot_be_had_is_refused_with_the_way_out() {
    let Some(place) = Place::make() else { return };
    let taken = place.host.address().octets();
    let flag = format!("--bridge_network=10.{}.0.0/16", taken[1]);
    let Some(mut bench) = Bench::start(&[&flag]) else { return };
    let mut foreign = server("foreign", 31001);
    foreign["container"]["docker"]["port_mappings"][0]["host_port"] = json!(31999);
    let mut named = in_image("named", "app", shell("true"));
    named["container"]["network_infos"] = json!([{"name": "calico"}]);
    for (task, word) in [
        (server("taken", 31000), "--bridge_network"),
        (foreign, "Port [31999] not included in resources"),
        (named, "'calico'"),
    ] {
        let id = task["task_id"]["value"].as_str().unwrap().to_owned();
        let status = bench.run(task, "TASK_FAILED");
        assert!(status["message"].as_str().unwrap().contains(word), "{id}: {status}");
    }
    let alone = "test $(ip -o addr | grep -c inet) -ge 1 && ! ip -o link | grep -q eth0";
    let mut none = bridged("none", alone);
    none["container"]["docker"]["network"] = json!("NONE");
    bench.run(none, "TASK_FINISHED");
    bench.wait_until_networks_are_gone();
}

/// A host without iptables, and an agent that is not root: both as they are, by a program that starts the agent so.
#[test]
fn without_iptables_or_root_there_is_no_bridge_and_the_message_tells_the_way_out() {
    if !environment::is_root() {
        return environment::skip("iptables are hidden, and root's rights given up, by root only");
    }
    let hidden = "exec unshare --mount --propagation private sh -c \
                  'for d in /usr/sbin /sbin; do mount -t tmpfs none $d; done; exec \"$0\" \"$@\"' \"$AGENT\" \"$@\"";
    let nobody = "exec setpriv --reuid=65534 --regid=65534 --clear-groups -- \"$AGENT\" \"$@\"";
    for (script, words) in [
        (hidden, ["'iptables-restore'", "apt-get install iptables", "network HOST"]),
        (nobody, ["runs as root", "network HOST", "ports"]),
    ] {
        let Some(_place) = Place::make() else { return };
        let mut cluster = Cluster::builder().agent_flag("--switch_user=false").start();
        cluster.agents[0].part.kill();
        // Where everybody may start them, wherever they are built.
        for name in ["mezzo-agent", "mezzo-executor"] {
            fs::copy(environment::binary(name), cluster.dir().join(name)).unwrap();
        }
        let starter = cluster.dir().join("starter");
        let script = format!("#!/bin/sh\nAGENT={}\n{script}\n", cluster.dir().join("mezzo-agent").display());
        fs::write(&starter, script).unwrap();
        fs::set_permissions(&starter, fs::Permissions::from_mode(0o755)).unwrap();
        if words[0] == "runs as root" {
            let given = Command::new("chown").args(["-R", "65534:65534"]).arg(cluster.dir()).status().unwrap();
            assert!(given.success());
        }
        cluster.agents[0].part.set_program(starter);
        cluster.agents[0].part.start();
        let registered = |cluster: &Cluster| cluster.agents[0].part.log().matches("registered agent=").count();
        wait::until_true("the agent is back", || registered(&cluster) == 2);
        let mut framework = Framework::subscribe(cluster.master_address, tasks::framework_info("refused", "dev"));
        let offer = framework.wait_any_offer();
        let mut task = tasks::command("m", tasks::agent_of(&offer), "true");
        task["container"] = json!({"type": "MESOS", "network_infos": [{"name": "mesos-bridge"}]});
        framework.launch(&offer, &[task]);
        let status = framework.wait_status("m", "TASK_FAILED");
        assert_eq!(status["reason"], "REASON_CONTAINER_LAUNCH_FAILED", "{status}");
        for word in words {
            assert!(status["message"].as_str().unwrap().contains(word), "{word}: {status}");
        }
        // Whoever wants none of its own goes on.
        framework.run("host", "true");
        framework.wait_status("host", "TASK_FINISHED");
        framework.teardown();
    }
}

#[test]
fn an_agent_that_is_killed_at_a_step_of_a_network_leaves_nothing() {
    for step in ["leased", "rules-written", "launched", "rules-written:2", "forget"] {
        let Some(_place) = Place::make() else { return };
        let Some(mut bench) = Bench::start(&[]) else { return };
        bench.restart_with_failpoint(step);
        let short = |id: &str| {
            let mut task = server(id, 31000);
            task["container"]["docker"]["port_mappings"][0]["container_port"] = json!(81);
            task["command"]["value"] = json!("true");
            task
        };
        bench.launch(short("first"));
        let ended = bench.cluster.agents[0].part.wait(Duration::from_secs(30));
        assert!(ended.is_some(), "the agent did not come to {step}");
        bench.restart_with_failpoint("");
        bench.run(short("second"), "TASK_FINISHED");
        bench.wait_until_networks_are_gone();
    }
}

/// A container of type MESOS is bridged by Marathon's name for it, with the host's files too.
#[test]
fn a_container_of_mesos_names_the_bridge() {
    let Some(place) = Place::make() else { return };
    let Some(mut bench) = Bench::start(&[]) else { return };
    let mut task = tasks::command("m", "", "exec busybox nc -l -p 80 -e /bin/echo from $(hostname -I)");
    task["resources"].as_array_mut().unwrap().push(tasks::port(31000));
    task["container"] = json!({"type": "MESOS", "network_infos": [
        {"name": "mesos-bridge", "port_mappings": [{"host_port": 31000, "container_port": 80, "protocol": "tcp"}]}]});
    bench.launch(task);
    let status = bench.framework.wait_status("m", "TASK_RUNNING");
    assert_eq!(status["container_status"]["network_infos"][0]["name"], "mesos-bridge");
    let address = address_in(&status).to_owned();
    let mut said = String::new();
    wait::until_true("it answers", || {
        let stream = TcpStream::connect((place.host.address(), 31000));
        stream.is_ok_and(|mut stream| stream.read_to_string(&mut said).is_ok_and(|count| count > 0))
    });
    assert_eq!(said.trim(), format!("from {address}"));
    bench.framework.wait_status("m", "TASK_FINISHED");
    bench.wait_until_networks_are_gone();
}
