//! What replaces dead leaders never touches a living one.

use std::time::{Duration, Instant};

use mezzo_tests::masters::Masters;
use mezzo_tests::wait;

/// The leader publishes an address at which nobody listens. For the other master that is a firewall that rejects with
/// resets, and it challenges; the leader answers through ZooKeeper.
#[test]
fn a_leader_whose_address_resets_connections_goes_on_leading() {
    let mut group = Masters::builder().masters(0).agents(0).start();
    let nobody = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().port()
    };
    group.add_master(&[&format!("--advertise_port={nobody}")]);
    assert_eq!(group.wait_for_leader(&[0]), 0);
    group.add_master(&[]);
    let address = group.masters[0].address;
    group.add_agent_with(&address.to_string());
    group.wait_for_agents(0, 1);
    let id = group.state(0).unwrap()["id"].clone();
    wait::until("a challenge is answered", || {
        let answered = group.masters[0].part.log().contains("challenged it; answered");
        let given_up = group.masters[1].part.log().contains("answers through ZooKeeper, and goes on leading");
        (answered && given_up).then_some(())
    });
    // Some more challenges follow, each later than the one before.
    let since = Instant::now();
    while since.elapsed() < Duration::from_secs(6) {
        assert_eq!(group.state(0).map(|state| state["id"].clone()), Some(id.clone()));
        assert!(!group.leads(1));
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(group.active_agents(0), 1);
}

/// Somebody else listens where the leader was: its process is gone.
#[test]
fn a_leader_whose_port_another_master_has_taken_is_replaced() {
    let mut group = Masters::builder().agents(0).session(Duration::from_secs(20)).start();
    // The next in line is frozen while the leader is killed and comes back without its memory.
    group.masters[1].part.signal(nix::sys::signal::Signal::SIGSTOP);
    group.masters[0].part.kill();
    std::fs::remove_dir_all(&group.masters[0].work_dir).unwrap();
    group.masters[0].part.start();
    wait::until("the master without a memory answers", || group.redirect(0));
    let since = Instant::now();
    group.masters[1].part.signal(nix::sys::signal::Signal::SIGCONT);
    let (_, took) = group.takeover(since, &[1], 0);
    assert!(took < Duration::from_secs(10), "{took:?}");
    group.wait_for_standby(0, 1);
}
