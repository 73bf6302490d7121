//! What each cloud's metadata service tells of a machine.
//!
//! Amazon EC2: IMDSv2, with a session token. OpenStack: `/openstack/latest/meta_data.json` and what stands beside it, addresses
//! by its copy of EC2's paths. Google: `/computeMetadata/v1/`, which answers whoever sends and expects the header
//! Metadata-Flavor. Azure: `/metadata/instance`, which wants the header Metadata and a version.

use std::net::IpAddr;

use serde_json::Value;

use super::{
    args::CloudName,
    metadata::{Service, Unanswered},
};

/// For how many seconds EC2's token is good.
const TOKEN_SECONDS: &str = "60";
const GOOGLE: (&str, &str) = ("Metadata-Flavor", "Google");
const AZURE: (&str, &str) = ("Metadata", "true");

/// What is known of a machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Found {
    /// Whose service said so.
    pub(crate) cloud: Option<&'static str>,
    pub(crate) private_ip: Option<IpAddr>,
    pub(crate) public_ip: Option<IpAddr>,
    /// The name that belongs to the private address.
    pub(crate) hostname: Option<String>,
    pub(crate) region: Option<String>,
    pub(crate) zone: Option<String>,
}

/// Asks the service of that cloud; with `Auto` the first that answers as one of them does.
///
/// # Errors
/// What the last one that was asked did instead of answering.
pub(crate) async fn ask(service: &Service, cloud: CloudName) -> Result<Found, Unanswered> {
    match cloud {
        CloudName::None => Ok(Found::default()),
        CloudName::Ec2 => ec2(service).await,
        CloudName::Openstack => openstack(service).await,
        CloudName::Gce => gce(service).await,
        CloudName::Azure => azure(service).await,
        CloudName::Auto => {
            // OpenStack answers at EC2's paths too.
            if let Ok(found) = openstack(service).await {
                return Ok(found);
            }
            if let Ok(found) = gce(service).await {
                return Ok(found);
            }
            match azure(service).await {
                Ok(found) => Ok(found),
                Err(_) => ec2(service).await,
            }
        }
    }
}

async fn ec2(service: &Service) -> Result<Found, Unanswered> {
    let ttl = ("X-aws-ec2-metadata-token-ttl-seconds", TOKEN_SECONDS);
    let token = text(service, "PUT", "/latest/api/token", &[ttl]).await?.unwrap_or_default();
    let headers = [("X-aws-ec2-metadata-token", token.as_str())];
    let get = |path: &'static str| text(service, "GET", path, &headers);
    Ok(Found {
        cloud: Some("ec2"),
        private_ip: address(get("/latest/meta-data/local-ipv4").await?),
        public_ip: address(get("/latest/meta-data/public-ipv4").await?),
        hostname: name(get("/latest/meta-data/local-hostname").await?),
        region: name(get("/latest/meta-data/placement/region").await?),
        zone: name(get("/latest/meta-data/placement/availability-zone").await?),
    })
}

/// Nova tells no region of its own: it is taken from what the provider adds (`vendor_data.json`), or from a property of the
/// server (`openstack server create --property region=…`), which stands in `meta`.
async fn openstack(service: &Service) -> Result<Found, Unanswered> {
    const PATH: &str = "/openstack/latest/meta_data.json";
    let about = document(service, PATH, &[]).await?;
    if !about.is_object() {
        return Err(service.wrong(PATH, "no document of OpenStack"));
    }
    let vendor = document(service, "/openstack/latest/vendor_data.json", &[]).await.unwrap_or_default();
    let network = document(service, "/openstack/latest/network_data.json", &[]).await.unwrap_or_default();
    let networks = network["networks"].as_array().map_or(&[][..], Vec::as_slice);
    // With DHCP the document has no address; EC2's paths have.
    let fixed = networks.iter().find_map(|network| address(at(network, "/ip_address")));
    let get = |path: &'static str| text(service, "GET", path, &[]);
    Ok(Found {
        cloud: Some("openstack"),
        private_ip: address(get("/latest/meta-data/local-ipv4").await.ok().flatten()).or(fixed),
        public_ip: address(get("/latest/meta-data/public-ipv4").await.ok().flatten()),
        hostname: None, // its name is seldom in any DNS
        region: name(at(&about, "/meta/region")).or_else(|| name(at(&vendor, "/region"))),
        zone: name(at(&about, "/availability_zone")),
    })
}

/// Zones are numbers within their region, and named with it, as Kubernetes does; where a machine is in none, the fault domain
/// stands for it. The address that a standard load balancer or a public address of its own kind lends is told by another path.
async fn azure(service: &Service) -> Result<Found, Unanswered> {
    const PATH: &str = "/metadata/instance?api-version=2021-02-01";
    const OUTSIDE: &str = "/metadata/loadbalancer?api-version=2020-10-01";
    let instance = document(service, PATH, &[AZURE]).await?;
    let region = name(at(&instance, "/compute/location"));
    if region.is_none() {
        return Err(service.wrong(PATH, "no document of Azure"));
    }
    let own = "/network/interface/0/ipv4/ipAddress/0";
    let mut public_ip = address(at(&instance, &format!("{own}/publicIpAddress")));
    if public_ip.is_none() {
        let outside = document(service, OUTSIDE, &[AZURE]).await.unwrap_or_default();
        public_ip = address(at(&outside, "/loadbalancer/publicIpAddresses/0/frontendIpAddress"));
    }
    let numbered = name(at(&instance, "/compute/zone")).zip(region.as_ref());
    Ok(Found {
        cloud: Some("azure"),
        private_ip: address(at(&instance, &format!("{own}/privateIpAddress"))),
        public_ip,
        hostname: None, // its service does not tell in which DNS it is
        zone: numbered
            .map(|(zone, region)| format!("{region}-{zone}"))
            .or_else(|| name(at(&instance, "/compute/platformFaultDomain"))),
        region,
    })
}

async fn gce(service: &Service) -> Result<Found, Unanswered> {
    const PATH: &str = "/computeMetadata/v1/instance/zone";
    let answer = service.ask("GET", PATH, &[GOOGLE]).await?;
    if answer.flavour.as_deref() != Some(GOOGLE.1) || answer.status != 200 {
        return Err(service.wrong(PATH, "not Google's metadata service"));
    }
    let get = |path: &'static str| text(service, "GET", path, &[GOOGLE]);
    let interface = "/computeMetadata/v1/instance/network-interfaces/0/ip";
    let outside = "/computeMetadata/v1/instance/network-interfaces/0/access-configs/0/external-ip";
    // projects/123/zones/europe-west1-b
    let zone = name(answer.body.rsplit('/').next().map(str::to_owned));
    Ok(Found {
        cloud: Some("gce"),
        private_ip: address(get(interface).await?),
        public_ip: address(get(outside).await?),
        hostname: name(get("/computeMetadata/v1/instance/hostname").await?),
        region: zone.as_ref().and_then(|zone| Some(zone.rsplit_once('-')?.0.to_owned())),
        zone,
    })
}

/// A document of JSON.
async fn document(service: &Service, path: &'static str, headers: &[(&str, &str)]) -> Result<Value, Unanswered> {
    let text = text(service, "GET", path, headers).await?.unwrap_or_default();
    serde_json::from_str(&text).map_err(|error| service.wrong(path, &error.to_string()))
}

/// The text at a place of a document (RFC 6901).
fn at(document: &Value, pointer: &str) -> Option<String> {
    document.pointer(pointer)?.as_str().map(str::to_owned)
}

/// The body of a good answer; nothing where the service knows nothing of it.
async fn text(
    service: &Service,
    method: &str,
    path: &'static str,
    headers: &[(&str, &str)],
) -> Result<Option<String>, Unanswered> {
    let answer = service.ask(method, path, headers).await?;
    match answer.status {
        200 => Ok(Some(answer.body)),
        404 if method == "GET" && path.starts_with("/latest/meta-data/") => Ok(None),
        404 if path.starts_with("/computeMetadata/") => Ok(None),
        status => Err(service.wrong(path, &format!("answers {status}"))),
    }
}

fn address(text: Option<String>) -> Option<IpAddr> {
    text?.parse().ok()
}

/// A name as clouds give them; anything else is not taken, for it goes into a file that systemd reads.
fn name(text: Option<String>) -> Option<String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    text.filter(|text| !text.is_empty() && text.len() <= 255 && text.chars().all(allowed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_names_only() {
        assert_eq!(name(Some("eu-west-1a".to_owned())).as_deref(), Some("eu-west-1a"));
        for bad in ["", "a b", "a\nMEZZO_MASTER=evil:1", "$(x)", "a;b"] {
            assert_eq!(name(Some(bad.to_owned())), None, "{bad:?}");
        }
        assert_eq!(address(Some("10.0.0.1\n".trim().to_owned())), "10.0.0.1".parse().ok());
        assert_eq!(address(Some("<html>".to_owned())), None);
    }
}
