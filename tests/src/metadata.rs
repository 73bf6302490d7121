//! Stand-ins for the metadata services of clouds, as strict as these are: EC2 wants a session's token (IMDSv2), Google and
//! Azure their headers, Azure a version too. Their documents have the shapes of the real ones. cloud-init and Mezzo ask them
//! what they would ask the real ones.

use std::{collections::BTreeMap, net::Ipv4Addr};

use serde_json::json;

use crate::{
    hosts::Host,
    web::{self, Answer, Asked},
};

/// Where all of them are.
pub const ADDRESS: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);
const TOKEN: &str = "a-token-of-this-test";
/// Versions of EC2's tree that clients ask for by their date.
const LATEST: &str = "latest";

/// Whose service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cloud {
    /// Amazon's.
    Ec2,
    /// OpenStack's.
    OpenStack,
    /// The same, of a provider that tells the region in its own document.
    OpenStackWithVendor,
    /// The same, where the machine's owner has set a property `region`.
    OpenStackWithProperty,
    /// Google's.
    Gce,
    /// Microsoft's, of a machine in a zone, with an address of its own.
    Azure,
    /// The same, of a machine in no zone, behind a load balancer.
    AzureBehindBalancer,
}

/// What it tells of a machine.
#[derive(Clone, Debug)]
pub struct Instance {
    /// Another one for each machine.
    pub id: String,
    /// Within the cloud.
    pub private_ip: Ipv4Addr,
    /// As the world sees it, if it does.
    pub public_ip: Option<Ipv4Addr>,
    /// Its zone is the region's `a`.
    pub region: String,
    /// What the machine is told to become.
    pub user_data: String,
}

/// Answers for this machine, on the device of the host that leads to it.
pub fn serve(host: &Host, device: &str, cloud: Cloud, instance: Instance) {
    host.add_address(ADDRESS, device);
    web::serve(host, (ADDRESS, 80), move |asked| match cloud {
        Cloud::Ec2 => ec2(asked, &instance),
        Cloud::OpenStack | Cloud::OpenStackWithVendor | Cloud::OpenStackWithProperty => {
            openstack(asked, cloud, &instance)
        }
        Cloud::Gce => gce(asked, &instance),
        Cloud::Azure | Cloud::AzureBehindBalancer => azure(asked, cloud == Cloud::Azure, &instance),
    });
}

fn ec2(asked: &Asked, instance: &Instance) -> Answer {
    if asked.path == "/latest/api/token" {
        let lifetime = asked.headers.contains_key("x-aws-ec2-metadata-token-ttl-seconds");
        return if asked.method == "PUT" && lifetime { Answer::text(TOKEN) } else { Answer::status(400) };
    }
    if asked.headers.get("x-aws-ec2-metadata-token").map(String::as_str) != Some(TOKEN) {
        return Answer::status(401);
    }
    let path = asked.path.trim_start_matches('/');
    let (version, rest) = path.split_once('/').unwrap_or((path, ""));
    let dated = version.starts_with("20") && version.len() == 10;
    if version != LATEST && !dated {
        return Answer::status(404);
    }
    tree(&ec2_tree(instance), rest)
}

fn ec2_tree(instance: &Instance) -> BTreeMap<String, String> {
    let dashed = instance.private_ip.to_string().replace('.', "-");
    let name = format!("ip-{dashed}.{}.compute.internal", instance.region);
    let mut tree = BTreeMap::from(
        [
            ("user-data", instance.user_data.as_str()),
            ("meta-data/ami-id", "ami-0"),
            ("meta-data/instance-id", instance.id.as_str()),
            ("meta-data/instance-type", "t3.medium"),
            ("meta-data/hostname", name.as_str()),
            ("meta-data/local-hostname", name.as_str()),
            ("meta-data/placement/region", instance.region.as_str()),
        ]
        .map(|(path, text)| (path.to_owned(), text.to_owned())),
    );
    tree.insert("meta-data/placement/availability-zone".to_owned(), format!("{}a", instance.region));
    let identity = json!({"instanceId": instance.id, "region": instance.region, "privateIp": instance.private_ip});
    tree.insert("dynamic/instance-identity/document".to_owned(), identity.to_string());
    tree.insert("meta-data/local-ipv4".to_owned(), instance.private_ip.to_string());
    if let Some(ip) = instance.public_ip {
        tree.insert("meta-data/public-ipv4".to_owned(), ip.to_string());
    }
    tree
}

/// A leaf's text, or what stands below a directory, line by line, as EC2 lists it.
fn tree(tree: &BTreeMap<String, String>, path: &str) -> Answer {
    let path = path.trim_end_matches('/');
    if let Some(text) = tree.get(path) {
        return Answer::text(text);
    }
    let below = format!("{path}/");
    let mut names: Vec<String> = tree
        .keys()
        .filter_map(|key| key.strip_prefix(&below))
        .map(|rest| rest.split_once('/').map_or(rest.to_owned(), |(directory, _)| format!("{directory}/")))
        .collect();
    names.dedup();
    if names.is_empty() { Answer::status(404) } else { Answer::text(&names.join("\n")) }
}

/// <https://docs.openstack.org/nova/latest/user/metadata.html>
fn openstack(asked: &Asked, cloud: Cloud, instance: &Instance) -> Answer {
    let mut properties = json!({"priority": "low"});
    if cloud == Cloud::OpenStackWithProperty {
        properties["region"] = instance.region.as_str().into();
    }
    match asked.path.as_str() {
        "/openstack/latest/meta_data.json" => Answer::json(&json!({
            "random_seed": "yu5ZnkqF2CqnDZVAfZgarGY5bYmYgvlP",
            "uuid": instance.id,
            "availability_zone": "nova",
            "keys": [],
            "hostname": "vm.novalocal",
            "launch_index": 0,
            "devices": [],
            "meta": properties,
            "project_id": "f7ac731cc11f40efbc03a9f9e1d1d21f",
            "name": "vm",
        })),
        "/openstack/latest/network_data.json" => Answer::json(&json!({
            "links": [{"id": "tap1a", "type": "ovs", "ethernet_mac_address": "fa:16:3e:9c:bf:3d", "mtu": 1442,
                       "vif_id": "cd9f6d46-4a3a-43ab-a466-994af9db96fc"}],
            "networks": [{"id": "network0", "type": "ipv4", "link": "tap1a", "ip_address": instance.private_ip,
                          "netmask": "255.255.255.0", "routes": [], "services": [],
                          "network_id": "da5bb487-5193-4a65-a3df-4a0055a8c0d7"}],
            "services": [{"type": "dns", "address": "8.8.8.8"}],
        })),
        "/openstack/latest/vendor_data.json" if cloud == Cloud::OpenStackWithVendor => {
            Answer::json(&json!({"region": instance.region, "provider": "one that tells"}))
        }
        "/openstack/latest/vendor_data.json" => Answer::json(&json!({})),
        // Nova has EC2's tree too, without tokens; a network of its own may not lead there.
        path => match path.strip_prefix("/latest/").filter(|_| cloud != Cloud::OpenStackWithVendor) {
            Some(rest) => tree(&ec2_tree(instance), rest),
            None => Answer::status(404),
        },
    }
}

/// <https://learn.microsoft.com/azure/virtual-machines/instance-metadata-service>
fn azure(asked: &Asked, in_a_zone: bool, instance: &Instance) -> Answer {
    let refused = |why: &str| Answer { status: 400, ..Answer::json(&json!({"error": why})) };
    if asked.headers.get("metadata").map(String::as_str) != Some("true") {
        return refused("Bad request. Required metadata header not specified");
    }
    let (path, query) = asked.path.split_once('?').unwrap_or((&asked.path, ""));
    if !query.split('&').any(|part| part.strip_prefix("api-version=").is_some_and(|version| version.len() == 10)) {
        return refused("Bad request. api-version is invalid or was not specified in the request.");
    }
    let public = instance.public_ip.map(|ip| ip.to_string()).unwrap_or_default();
    match path {
        "/metadata/instance" => Answer::json(&json!({
            "compute": {
                "azEnvironment": "AzurePublicCloud",
                "location": instance.region,
                "name": "vm",
                "offer": "debian-12",
                "osProfile": {"adminUsername": "admin", "computerName": "vm", "disablePasswordAuthentication": "true"},
                "osType": "Linux",
                "platformFaultDomain": "2",
                "platformUpdateDomain": "0",
                "provider": "Microsoft.Compute",
                "resourceGroupName": "group",
                "subscriptionId": "8d10da13-8125-4ba9-a717-bf7490507b3d",
                "tags": "",
                "vmId": instance.id,
                "vmSize": "Standard_D2s_v3",
                "zone": if in_a_zone { "1" } else { "" },
            },
            "network": {"interface": [{
                "ipv4": {
                    "ipAddress": [{
                        "privateIpAddress": instance.private_ip,
                        "publicIpAddress": if in_a_zone { public.as_str() } else { "" },
                    }],
                    "subnet": [{"address": "10.0.0.0", "prefix": "24"}],
                },
                "ipv6": {"ipAddress": []},
                "macAddress": "000D3AF806EC",
            }]},
        })),
        "/metadata/loadbalancer" if !in_a_zone && instance.public_ip.is_some() => {
            Answer::json(&json!({"loadbalancer": {
                "publicIpAddresses": [{"frontendIpAddress": public, "privateIpAddress": instance.private_ip}],
                "inboundRules": [],
                "outboundRules": [],
            }}))
        }
        "/metadata/loadbalancer" => {
            Answer { status: 404, ..Answer::json(&json!({"error": "No load balancer metadata is found."})) }
        }
        _ => Answer::status(404),
    }
}

fn gce(asked: &Asked, instance: &Instance) -> Answer {
    if asked.headers.get("metadata-flavor").map(String::as_str) != Some("Google") {
        return Answer::status(403);
    }
    let text = match asked.path.strip_prefix("/computeMetadata/v1/instance/") {
        Some("zone") => format!("projects/123/zones/{}-a", instance.region),
        Some("hostname") => format!("vm.{}-a.c.project.internal", instance.region),
        Some("network-interfaces/0/ip") => instance.private_ip.to_string(),
        Some("network-interfaces/0/access-configs/0/external-ip") => {
            instance.public_ip.map(|ip| ip.to_string()).unwrap_or_default()
        }
        _ => return Answer::status(404),
    };
    Answer { headers: vec![("Metadata-Flavor", "Google".to_owned())], ..Answer::text(&text) }
}
