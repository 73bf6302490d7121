//! The allocator as frameworks, operators and people meet it: fair shares, refusals, roles, constraints, and why somebody
//! is not offered what it waits for.

use std::process::Command;
use std::time::Duration;

use mezzo_tests::cluster::Cluster;
use mezzo_tests::framework::Framework;
use mezzo_tests::http::{self, Request};
use mezzo_tests::{environment, tasks, wait};
use serde_json::{Value, json};

const HOUR: f64 = 3600.0;

fn subscribe(cluster: &Cluster, name: &str, role: &str) -> Framework {
    Framework::subscribe(cluster.master_address, tasks::framework_info(name, role))
}

fn explain(cluster: &Cluster, framework: &Framework, query: &str) -> Value {
    let answer = cluster.get(&format!("/explain?framework_id={}{query}", framework.id)).unwrap();
    assert_eq!(answer.status(), 200, "{}", answer.text());
    answer.json()
}

fn reasons(explanation: &Value) -> Vec<String> {
    let reasons = explanation["reasons"].as_array().unwrap().iter();
    reasons.map(|reason| reason["reason"].as_str().unwrap().to_owned()).collect()
}

fn metric(cluster: &Cluster, name: &str) -> Option<f64> {
    cluster.get("/metrics/snapshot").unwrap().json()[name].as_f64()
}

#[test]
fn explain_tells_why_there_is_no_offer() {
    let cluster = Cluster::builder().resources("cpus:4;mem:1024;ports:[31000-31009]").start();
    let mut first = subscribe(&cluster, "first", "dev");
    let offer = first.wait_any_offer();
    let mut second = subscribe(&cluster, "second", "ops");

    // An outstanding offer.
    let explanation = explain(&cluster, &second, "&role=ops&resources=cpus:2;mem:256");
    assert_eq!(reasons(&explanation), ["offered"], "{explanation:#}");
    assert_eq!(explanation["reasons"][0]["framework_id"], first.id.as_str());
    assert_eq!(explanation["nearest"]["lacks"], json!({"cpus": 2.0, "mem": 256.0}));
    let order = &explanation["order"]["roles"][0];
    assert_eq!((&order["role"], &order["share"], &order["place"]), (&json!("ops"), &json!(0.0), &json!(1)));

    // A refusal, and then the other's offer.
    first.decline(&offer, HOUR);
    second.wait_any_offer();
    let explanation = explain(&cluster, &first, "");
    assert_eq!(reasons(&explanation), ["offered"]);
    let given = second.wait_any_offer();
    second.decline(&given, HOUR);
    wait::until_true("both have refused", || {
        let explanation = explain(&cluster, &second, "&resources=cpus:1");
        let ends = explanation["reasons"][0]["first_ends_in_secs"].as_f64().unwrap_or_default();
        reasons(&explanation) == ["filter"] && (HOUR - 300.0..HOUR + 1.0).contains(&ends)
    });
    assert_eq!(metric(&cluster, "allocator/mesos/offer_filters/roles/dev/active"), Some(1.0));

    // Size, and agents that the question is not about.
    let explanation = explain(&cluster, &first, "&resources=cpus:5.5");
    assert!(reasons(&explanation).contains(&"too_small".to_owned()), "{explanation:#}");
    assert_eq!(explanation["nearest"]["lacks"], json!({"cpus": 1.5}));
    let constraints =
        r#"{"groups":[{"attribute_constraints":[{"selector":{"attribute_name":"gpu"},"predicate":{"exists":{}}}]}]}"#;
    let escaped: String = constraints.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let explanation = explain(&cluster, &first, &format!("&constraints={escaped}"));
    assert!(reasons(&explanation).contains(&"asked_constraint".to_owned()), "{explanation:#}");

    // Asked for again, it is offered again at once.
    first.call("REVIVE", Value::Null);
    first.wait_any_offer();
    assert_eq!(explain(&cluster, &first, "")["outstanding_offers"], 1);
    first.call("SUPPRESS", Value::Null);
    let obstacles = explain(&cluster, &first, "")["obstacles"].to_string();
    assert!(obstacles.contains("suppressed"), "{obstacles}");
}

/// `--whitelist` is a file that is looked at again and again.
#[test]
fn only_hosts_of_the_whitelist_are_offered() {
    let dir = tempfile::tempdir().unwrap();
    let list = dir.path().join("hosts");
    std::fs::write(&list, "elsewhere\n").unwrap();
    let cluster = Cluster::builder().master_flag(&format!("--whitelist=file://{}", list.display())).start();
    let mut framework = subscribe(&cluster, "listed", "dev");
    framework.listen(Duration::from_millis(300));
    assert!(framework.offers.is_empty(), "{:?}", framework.offers);
    assert_eq!(reasons(&explain(&cluster, &framework, "")), ["whitelist"]);
    std::fs::write(&list, "elsewhere\n127.0.0.1\n").unwrap();
    framework.wait_any_offer();
    framework.teardown();
}

#[test]
fn explain_as_an_operator_call_and_as_a_command() {
    let cluster = Cluster::builder().start();
    let mut framework = subscribe(&cluster, "asker", "dev");
    framework.wait_any_offer();
    let ask = |body: Value| {
        let request =
            Request::post("/api/v1", "application/json", body.to_string()).header("Accept", "application/json");
        http::send(cluster.master_address, &request).unwrap()
    };
    let asked = json!({"framework_id": {"value": framework.id}, "role": "dev", "resources": "cpus:1000"});
    let answer = ask(json!({"type": "EXPLAIN", "explain": asked}));
    assert_eq!(answer.status(), 200, "{}", answer.text());
    let answer = answer.json();
    assert_eq!(answer["type"], "EXPLAIN");
    assert_eq!(reasons(&answer["explain"]), ["too_small"]);

    for (body, status, text) in [
        (json!({"type": "EXPLAIN"}), 400, "Expecting 'explain' to be present"),
        (json!({"type": "EXPLAIN", "explain": {"framework_id": {"value": "nobody"}}}), 404, "No framework found"),
        (
            json!({"type": "EXPLAIN", "explain": {"framework_id": {"value": framework.id}, "resources": "cpus:lots"}}),
            400,
            "Invalid 'resources'",
        ),
        (
            json!({"type": "EXPLAIN", "explain": {"framework_id": {"value": framework.id}, "role": "ops"}}),
            400,
            "does not have the role 'ops'",
        ),
    ] {
        let answer = ask(body);
        assert_eq!(answer.status(), status, "{}", answer.text());
        assert!(answer.text().contains(text), "{}", answer.text());
    }
    assert_eq!(cluster.get("/explain").unwrap().status(), 400);

    let mut command = Command::new(environment::binary("mezzo"));
    command.arg("explain").arg(format!("--master={}", cluster.master_address));
    let output = command.args(["--framework", &framework.id, "--resources=cpus:1000"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{output:?}");
    assert!(said.contains("the agent does not have as much"), "{said}");
    assert!(said.contains("role dev: number 1 of 1"), "{said}");
}

#[test]
fn roles_share_by_tree_and_not_by_number() {
    let mut cluster = Cluster::builder().agents(4).resources("cpus:1;mem:256;disk:100").start();
    cluster.wait_until_registered(4);
    // Nobody is offered anything before all are there.
    let mut frameworks: Vec<Framework> = Vec::new();
    for (name, role) in [("a", "eng/a"), ("b", "eng/b"), ("c", "ops")] {
        let mut framework = subscribe(&cluster, name, role);
        framework.call("SUPPRESS", Value::Null);
        framework.listen(Duration::from_millis(50));
        let offers: Vec<Value> = framework.offers.values().cloned().collect();
        offers.iter().for_each(|offer| framework.decline(offer, 0.0));
        frameworks.push(framework);
    }
    frameworks.iter_mut().for_each(|framework| framework.offers.clear());
    let [a, b, c] = &mut frameworks[..] else { unreachable!() };
    let held = |framework: &mut Framework| {
        framework.listen(Duration::from_millis(20));
        framework.offers.len()
    };
    for framework in [&mut *a, &mut *b, &mut *c] {
        framework.call("REVIVE", Value::Null);
    }
    // Whoever was first has too much: it gives back until everybody has its part.
    wait::until_true("ops has half, and the two of eng a quarter each", || {
        let counts = [held(a), held(b), held(c)];
        if counts == [1, 1, 2] {
            return true;
        }
        for (framework, part) in [(&mut *a, 1), (&mut *b, 1), (&mut *c, 2)] {
            let over: Vec<Value> = framework.offers.values().skip(part).cloned().collect();
            over.iter().for_each(|offer| framework.decline(offer, 1.0));
        }
        false
    });
    let share = |role: &str| metric(&cluster, &format!("allocator/mesos/roles/{role}/shares/dominant"));
    wait::until_true("shares are shown", || {
        (share("eng"), share("eng/a"), share("ops")) == (Some(0.5), Some(0.25), Some(0.5))
    });
}

#[test]
fn the_random_sorter_serves_everybody() {
    let cluster =
        Cluster::builder().master_flag("--role_sorter=random").master_flag("--framework_sorter=random").start();
    let mut first = subscribe(&cluster, "first", "a");
    let mut second = subscribe(&cluster, "second", "b");
    for framework in [&mut first, &mut second] {
        let offer = framework.wait_any_offer();
        framework.decline(&offer, HOUR);
    }
    assert_eq!(metric(&cluster, "allocator/mesos/roles/a/shares/dominant"), None, "there are no shares");
}
