//! `mezzo install discover` against each cloud's metadata service.

use std::net::Ipv4Addr;
use std::process::{Command, Output};
use std::time::Instant;

use mezzo_tests::environment;
use mezzo_tests::hosts::{Host, Network};
use mezzo_tests::metadata::{self, Cloud, Instance};

fn discover(host: &Host, arguments: &[&str]) -> Output {
    let mut nsenter = Command::new("nsenter");
    nsenter.arg(format!("--net=/run/netns/{}", host.name())).arg(environment::binary("mezzo"));
    nsenter.args(["install", "discover"]).args(arguments).output().expect("nsenter starts")
}

fn said(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

fn instance(public_ip: Option<Ipv4Addr>) -> Instance {
    Instance {
        id: "i-1".to_owned(),
        private_ip: Ipv4Addr::new(10, 0, 0, 7),
        public_ip,
        region: "eu-test1".to_owned(),
        user_data: String::new(),
    }
}

/// Each cloud is known by its answers, and tells what it can.
#[test]
fn every_cloud_tells_addresses_region_and_zone() {
    let Some(mut network) = Network::new() else { return };
    let segment = network.segment();
    let public = Some(Ipv4Addr::new(203, 0, 113, 7));
    for (cloud, arguments, expected) in [
        (
            Cloud::Ec2,
            vec![],
            "ADVERTISE_IP=10.0.0.7 HOSTNAME=ip-10-0-0-7.eu-test1.compute.internal REGION=eu-test1 ZONE=eu-test1a",
        ),
        (
            Cloud::Gce,
            vec![],
            "ADVERTISE_IP=10.0.0.7 HOSTNAME=vm.eu-test1-a.c.project.internal REGION=eu-test1 ZONE=eu-test1-a",
        ),
        // Its service tells no region, unless the provider or the machine's owner does.
        (Cloud::OpenStack, vec![], "ADVERTISE_IP=10.0.0.7"),
        (Cloud::OpenStackWithVendor, vec![], "ADVERTISE_IP=10.0.0.7 REGION=eu-test1 ZONE=nova"),
        (Cloud::OpenStackWithProperty, vec![], "ADVERTISE_IP=10.0.0.7 REGION=eu-test1 ZONE=nova"),
        (Cloud::OpenStack, vec!["--region=here"], "ADVERTISE_IP=10.0.0.7 REGION=here ZONE=nova"),
        (Cloud::Ec2, vec!["--advertise=public", "--zone=z"], "ADVERTISE_IP=203.0.113.7 REGION=eu-test1 ZONE=z"),
        (Cloud::Gce, vec!["--cloud=gce", "--advertise=none"], "REGION=eu-test1 ZONE=eu-test1-a"),
        (Cloud::Azure, vec![], "ADVERTISE_IP=10.0.0.7 REGION=eu-test1 ZONE=eu-test1-1"),
        (Cloud::Azure, vec!["--advertise=public"], "ADVERTISE_IP=203.0.113.7 REGION=eu-test1 ZONE=eu-test1-1"),
        (
            Cloud::AzureBehindBalancer,
            vec!["--cloud=azure", "--advertise=public"],
            "ADVERTISE_IP=203.0.113.7 REGION=eu-test1 ZONE=2",
        ),
    ] {
        let host = network.host(&format!("h{}{}", cloud as u8, arguments.len()), &segment);
        metadata::serve(&host, "lo", cloud, instance(public));
        let output = discover(&host, &arguments);
        let (out, errors) = said(&output);
        assert!(output.status.success(), "{cloud:?}: {errors}");
        let found: Vec<&str> = out.lines().filter_map(|line| line.strip_prefix("MEZZO_DISCOVERED_")).collect();
        assert_eq!(found.join(" "), expected, "{cloud:?} {arguments:?}");
    }
}

/// No cloud is no reason not to start; a cloud that was named and does not answer is told.
#[test]
fn without_a_cloud_flags_are_used() {
    let Some(mut network) = Network::new() else { return };
    let segment = network.segment();
    let host = network.host("bare", &segment);
    let dir = tempfile::tempdir().expect("a temporary directory");
    let file = dir.path().join("run/discovered.env");
    let start = Instant::now();
    let output = discover(&host, &["--patience=1", "--region=r", "--zone=z", &format!("--output={}", file.display())]);
    let (out, errors) = said(&output);
    assert!(output.status.success() && errors.contains("no cloud's metadata service answers"), "{errors}");
    assert!(out.starts_with("cloud: none, address: -, host name: -, region: r, zone: z"), "{out}");
    let written = std::fs::read_to_string(&file).expect("the file");
    assert!(written.ends_with("MEZZO_DISCOVERED_REGION=r\nMEZZO_DISCOVERED_ZONE=z\n"), "{written}");
    let output = discover(&host, &["--patience=1", "--cloud=ec2"]);
    let (_, errors) = said(&output);
    assert!(!output.status.success() && errors.contains("the metadata service of ec2 does not answer"), "{errors}");
    assert!(start.elapsed().as_secs() < 30);

    // A public address that the cloud does not know is not made up.
    let hidden = network.host("hidden", &segment);
    metadata::serve(&hidden, "lo", Cloud::Ec2, instance(None));
    let output = discover(&hidden, &["--advertise=public", &format!("--output={}", file.display())]);
    assert!(said(&output).0.contains("forward a port"), "{:?}", said(&output));
    assert!(!std::fs::read_to_string(&file).unwrap().contains("ADVERTISE_IP"));
}
