//! The whole life of a framework as it was recorded: the same events, fields, values and order.

use mezzo_api::codec::Encoding;
use mezzo_tests::cluster::Cluster;
use mezzo_tests::golden::deviations::Findings;
use mezzo_tests::golden::load;

use super::replay::Replay;
use super::subscription;

#[test]
fn a_recorded_life_in_json() {
    replay(Encoding::Json);
}

#[test]
fn a_recorded_life_in_protobuf() {
    replay(Encoding::Protobuf);
}

fn replay(encoding: Encoding) {
    let records = &load("scheduler_stream")["records"];
    let mut findings = Findings::of("scheduler_stream");
    let cluster = Cluster::builder().lost_after(3, "1secs").start();
    Replay::new(cluster, encoding, records).all(records, &mut findings, before);
    findings.check();
}

/// What was done to the cluster before a part.
fn before(replay: &mut Replay, note: &str) {
    if note.starts_with("agent killed (-9)") {
        replay.cluster.agents[0].part.kill();
    } else if note.starts_with("agent restarted") {
        replay.cluster.agents[0].part.start();
    } else if note.starts_with("client closes the stream") {
        let framework = replay.frameworks.get_mut("C").unwrap();
        let id = framework.id.clone();
        // Only the stream goes: the recording calls once more with its id.
        framework.hang_up();
        subscription::wait_until_removed(&replay.cluster, &id);
    }
}
