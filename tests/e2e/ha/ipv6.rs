//! Everything over IPv6: ZooKeeper, masters, agents, executors, frameworks, tools.

use std::net::Ipv6Addr;
use std::process::Command;
use std::time::Instant;

use mezzo_tests::framework::Framework;
use mezzo_tests::golden::load;
use mezzo_tests::http::{self, Request};
use mezzo_tests::masters::Masters;
use mezzo_tests::{environment, tasks, wait};
use serde_json::{Value, json};

fn mezzo(arguments: &[&str]) -> String {
    let mut command = Command::new(environment::binary("mezzo"));
    let output = command.args(arguments).env_remove("MESOS_MASTER").env_remove("MEZZO_MASTER").output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_cluster_of_ipv6_alone() {
    if std::net::TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_err() {
        environment::skip("this machine has no IPv6");
        return;
    }
    let mut group = Masters::builder().ip(Ipv6Addr::LOCALHOST.into()).agents(1).start();
    let list = group.masters.iter().map(|master| master.address.to_string()).collect::<Vec<_>>().join(",");
    assert!(list.starts_with("[::1]:"), "{list}");
    group.add_agent_with(&list);
    group.wait_for_agents(0, 2);
    let (leader, standby) = (group.masters[0].address, group.masters[1].address);
    let location =
        |path: &str| http::send(standby, &Request::get(path)).unwrap().head.header("Location").map(str::to_owned);
    assert_eq!(location("/redirect"), Some(format!("//{leader}")));
    assert_eq!(location("/master/state?x=1"), Some(format!("//{leader}/master/state?x=1")));

    // What is published: the same shape as ever, addresses in brackets where a port follows.
    let (_, znode, _) = super::events::znodes(&group);
    let info: Value = serde_json::from_slice(&znode).unwrap();
    assert_eq!(info["pid"], format!("master@{leader}"));
    assert_eq!(info["address"], json!({"hostname": "::1", "ip": "::1", "port": leader.port()}));
    let slaves = http::get_json(leader, "/slaves");
    let agent = slaves["slaves"]
        .as_array()
        .unwrap()
        .iter()
        .find(|slave| slave["pid"] == format!("slave(1)@{}", group.agents[0].address));
    let agent = agent.unwrap_or_else(|| panic!("{slaves}"));
    assert_eq!((&agent["hostname"], &agent["port"]), (&json!("::1"), &json!(group.agents[0].address.port())));
    assert_eq!(agent["warning"], Value::Null, "the master reaches the agent");
    let golden = load("master_slaves");
    let expected: Vec<&String> = golden["body"]["slaves"][0].as_object().unwrap().keys().collect();
    let missing: Vec<_> = expected.into_iter().filter(|key| agent.get(key.as_str()).is_none()).collect();
    assert_eq!(missing, [] as [&String; 0], "{agent}");

    // Tools, by ZooKeeper, by a list, and by one address.
    for master in [group.url(), list.clone(), leader.to_string()] {
        assert_eq!(mezzo(&["run", &format!("--master={master}"), "--", "echo", "hello"]), "hello\n", "{master}");
        let agents = mezzo(&["agent", "list", &format!("--master={master}"), "--json"]);
        assert_eq!(serde_json::from_str::<Value>(&agents).unwrap().as_array().unwrap().len(), 2, "{master}");
    }

    // A framework, a command task, a task with an executor of its own, and what they write.
    let mut framework = Framework::subscribe(leader, tasks::framework_info("six", "*"));
    let offer = framework.wait_any_offer();
    let address = &offer["url"]["address"];
    assert_eq!((&address["ip"], &address["hostname"]), (&json!("::1"), &json!("::1")));
    framework.run("t", "echo $MESOS_AGENT_ENDPOINT; sleep 1000");
    let agent = framework.wait_status("t", "TASK_RUNNING")["agent_id"]["value"].as_str().unwrap().to_owned();
    let offer = framework.wait_any_offer();
    let mut custom = tasks::command("custom", tasks::agent_of(&offer), "");
    custom.as_object_mut().unwrap().remove("command");
    custom["executor"] = json!({
        "executor_id": {"value": "custom"},
        "framework_id": {"value": framework.id},
        "command": {"value": format!("{} json", env!("CARGO_BIN_EXE_scripted-executor"))},
        "resources": tasks::small(),
    });
    framework.launch(&offer, &[custom]);
    framework.wait_status("custom", "TASK_RUNNING");
    let path = format!("/frameworks/{}/executors/t/runs/latest/stdout", framework.id);
    let written = wait::until("the sandbox is read through the master", || {
        let answer = http::send(leader, &Request::get(&format!("/agent/{agent}/files/download?path={path}"))).ok()?;
        (answer.status() == 200).then(|| answer.text()).filter(|text| text.contains('\n'))
    });
    let endpoints = group.agents.iter().map(|agent| format!("{}\n", agent.address)).collect::<Vec<_>>();
    assert!(endpoints.contains(&written), "{written}");

    // And the next leader.
    group.masters[0].part.kill();
    group.takeover(Instant::now(), &[1], 2);
    let mark = framework.mark();
    wait::until("the framework is subscribed again", || framework.follow(standby).ok());
    framework.call("RECONCILE", json!({"reconcile": {"tasks": []}}));
    framework.wait_since(mark, "the task runs", |event| event["update"]["status"]["state"] == "TASK_RUNNING");
    framework.teardown();
    assert_eq!(mezzo(&["run", &format!("--master={}", group.url()), "--", "echo", "again"]), "again\n");
}
