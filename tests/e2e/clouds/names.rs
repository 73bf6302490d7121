//! `--hostname_lookup`: host names come from the PTR records of a name server.

use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use mezzo_tests::hosts::{Host, Network};
use mezzo_tests::part::Part;
use mezzo_tests::{environment, http, leftovers, wait};
use serde_json::Value;

/// Which names the name server tells; others it does not know.
type Names = Arc<Mutex<Vec<(Ipv4Addr, &'static str)>>>;

/// Answers questions for PTR records of IPv4 addresses (RFC 1035), from this thread's network, until the process ends.
fn serve(names: &Names) {
    let socket = UdpSocket::bind("0.0.0.0:53").unwrap();
    let names = Arc::clone(names);
    std::thread::spawn(move || {
        let mut packet = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut packet) {
            let _ = socket.send_to(&answer(&packet[..length], &names.lock().unwrap()), from);
        }
    });
}

fn answer(question: &[u8], names: &[(Ipv4Addr, &str)]) -> Vec<u8> {
    let mut labels = Vec::new();
    let mut at = 12;
    while let Some(length @ 1..) = question.get(at).copied() {
        labels.push(String::from_utf8_lossy(&question[at + 1..at + 1 + usize::from(length)]).into_owned());
        at += 1 + usize::from(length);
    }
    let end = at + 5; // the name's end, type and class
    let pointer = question[at + 2] == 12;
    let name = names.iter().find(|(ip, _)| {
        let [a, b, c, d] = ip.octets();
        pointer
            && labels
                == [d, c, b, a]
                    .map(|byte| byte.to_string())
                    .into_iter()
                    .chain(["in-addr".into(), "arpa".into()])
                    .collect::<Vec<_>>()
    });
    // The question again, as an answer: NXDOMAIN where there is no such name.
    let mut said = question[..end].to_vec();
    said[2..4].copy_from_slice(&[0x85, if name.is_some() { 0x80 } else { 0x83 }]);
    said[6..12].copy_from_slice(&[0, u8::from(name.is_some()), 0, 0, 0, 0]);
    if let Some((_, name)) = name {
        let encoded =
            name.split('.').flat_map(|label| [&[u8::try_from(label.len()).unwrap()], label.as_bytes()].concat());
        let data: Vec<u8> = encoded.chain([0]).collect();
        said.extend([0xc0, 12, 0, 12, 0, 1, 0, 0, 0, 60, 0, u8::try_from(data.len()).unwrap()]);
        said.extend(data);
    }
    said
}

/// A server on a host whose resolver asks the desk.
fn server(host: &Host, program: &str, name: &str, dir: &Path, flags: &[String]) -> Part {
    let script = "mount --bind \"$1\" /etc/resolv.conf && shift && exec \"$@\"";
    let fixed = ["--mount", "--propagation=private", "sh", "-c", script, "sh"].map(OsString::from);
    let program = [dir.join("resolv.conf").into(), environment::binary(program).into()];
    let flags = flags.iter().map(OsString::from);
    let mut part =
        host.part(name, PathBuf::from("unshare"), fixed.into_iter().chain(program).chain(flags).collect(), dir);
    part.start();
    part
}

#[test]
fn host_names_are_those_of_the_name_server() {
    let Some(mut network) = Network::new() else { return };
    let segment = network.segment();
    let [desk, first, second] = ["desk", "m1", "a1"].map(|name| network.host(name, &segment));
    desk.enter();
    let names = Names::default();
    names.lock().unwrap().extend([(first.address(), "m1.example"), (second.address(), "a1.eu.example")]);
    serve(&names);
    let dir = tempfile::Builder::new().prefix("mezzo-test-").tempdir().unwrap();
    std::fs::write(dir.path().join("resolv.conf"), format!("nameserver {}\n", desk.address())).unwrap();
    let master = SocketAddr::from((first.address(), 5050));
    let work_dir = |name: &str| format!("--work_dir={}", dir.path().join(name).display());
    let flags = [format!("--ip={}", first.address()), work_dir("master")];
    let _master = server(&first, "mezzo-master", "master", dir.path(), &flags);
    let runtime = format!("--runtime_dir={}", dir.path().join("run").display());
    let resources = "--resources=cpus:1;mem:128;disk:100".to_owned();
    let flags =
        [format!("--master={master}"), format!("--ip={}", second.address()), work_dir("agent"), runtime, resources];
    let mut agent = server(&second, "mezzo-agent", "agent", dir.path(), &flags);
    let hostname = || {
        let answer = http::send(master, &http::Request::get("/slaves")).ok()?;
        let slaves: Value = serde_json::from_str(&answer.text()).ok()?;
        let slave = slaves["slaves"].as_array()?.iter().find(|slave| slave["active"] == true)?.clone();
        Some(slave["hostname"].as_str()?.to_owned())
    };
    assert_eq!(wait::until("the agent is registered", hostname), "a1.eu.example");
    assert_eq!(http::get_json(master, "/state")["hostname"], "m1.example");
    let location =
        http::send(master, &http::Request::get("/redirect")).unwrap().head.header("Location").map(str::to_owned);
    assert_eq!(location.as_deref(), Some("//m1.example:5050"));

    // An agent keeps its name, whatever becomes of its record.
    names.lock().unwrap().pop();
    agent.kill();
    wait::until_true("the agent is gone", || hostname().is_none());
    agent.start();
    assert_eq!(wait::until("the agent is registered again", hostname), "a1.eu.example");
    assert!(agent.log().contains("this agent keeps the one that it registered with"), "{}", agent.log());
    agent.kill();
    leftovers::end(dir.path());
}
