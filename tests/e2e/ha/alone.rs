//! A master without ZooKeeper that is told to stop.

use std::time::{Duration, Instant};

use mezzo_api::codec::Encoding;
use mezzo_tests::cluster::Cluster;
use mezzo_tests::framework::Framework;
use mezzo_tests::stream::{Arrival, Closing};
use mezzo_tests::{http, operator, tasks, wait};
use nix::sys::signal::Signal;
use serde_json::json;

/// It ends with success and at once, whoever is connected; what it answered it remembers; streams end in order, and say so.
#[test]
fn a_planned_stop_is_a_clean_end() {
    let mut cluster = Cluster::builder().agents(1).start();
    let master = cluster.master_address;
    let mut framework = Framework::subscribe(master, tasks::framework_info("steady", "*"));
    framework.run("task", "sleep 1000");
    framework.wait_status("task", "TASK_RUNNING");
    let agents = cluster.agent_ids();
    let stream = operator::subscribe(master, Encoding::Json).unwrap();
    // A connection that nobody uses does not keep it.
    let _idle = http::Connection::open(master).unwrap();
    let weights = json!({"type": "UPDATE_WEIGHTS", "update_weights": {"weight_infos": [{"role": "r", "weight": 3.0}]}});
    assert_eq!(operator::call(master, &weights).status(), 200);

    let since = Instant::now();
    cluster.master.signal(Signal::SIGTERM);
    let ended = cluster.master.wait(Duration::from_secs(10));
    let took = since.elapsed();
    assert!(ended.is_some_and(|status| status.success()), "{ended:?}: {}", cluster.master.last_lines(20));
    assert!(took < Duration::from_secs(5), "{took:?}");
    framework.listen(Duration::from_secs(5));
    assert_eq!(framework.closed, Some(Closing::TerminatingChunk), "the framework's stream breaks");
    let closing = wait::until("the operator's stream ends", || match stream.next(Duration::from_secs(1))? {
        (_, Arrival::Closed(closing)) => Some(closing),
        _ => None,
    });
    assert_eq!(closing, Closing::TerminatingChunk, "the operator's stream breaks");
    let log = cluster.master.log();
    assert!(log.contains("SIGTERM: the master stops") && !log.contains("ERROR"), "{log}");

    cluster.master.start();
    cluster.wait_until_master_is_healthy();
    cluster.wait_until_registered(1);
    assert_eq!(cluster.agent_ids(), agents, "the agent has its id still");
    assert!(operator::ask(master, "GET_WEIGHTS").to_string().contains("3.0"));
    let mark = framework.mark();
    wait::until("the framework is back", || framework.resubscribe().ok());
    framework.call("RECONCILE", json!({"reconcile": {"tasks": []}}));
    framework.wait_since(mark, "the task runs", |event| event["update"]["status"]["state"] == "TASK_RUNNING");
}
