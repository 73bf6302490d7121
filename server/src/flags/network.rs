//! Flags that say where a server is: `--domain`, `--region`, `--zone`, `--ip_discovery_command`.

use std::{net::IpAddr, process::Command, str::FromStr};

use mezzo_api::{
    codec::{Encoding, decode},
    v1::{
        DomainInfo,
        domain_info::{
            FaultDomain,
            fault_domain::{RegionInfo, ZoneInfo},
        },
    },
};

/// `--domain`: a JSON `DomainInfo`.
#[derive(Clone, Debug, PartialEq)]
pub struct Domain(pub DomainInfo);

impl FromStr for Domain {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let domain: DomainInfo = decode(Encoding::Json, text.as_bytes()).map_err(|error| {
            format!(
                "'{text}' is no DomainInfo, e.g. {{\"fault_domain\": {{\"region\": {{\"name\": \"eu\"}}, \"zone\": \
                 {{\"name\": \"a\"}}}}}}: {error}"
            )
        })?;
        let named = domain.fault_domain.as_ref();
        if named.is_some_and(|domain| domain.region.name.is_empty() || domain.zone.name.is_empty()) {
            return Err(format!("'{text}': neither region nor zone may be empty"));
        }
        Ok(Self(domain))
    }
}

/// Why flags name no domain.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DomainError {
    /// Half of one.
    #[error("--region={region} needs --zone too: a zone of that region, e.g. --zone=a")]
    NoZone {
        /// As given.
        region: String,
    },
    /// Half of one.
    #[error("--zone={zone} needs --region too: the region that the zone is in, e.g. --region=eu")]
    NoRegion {
        /// As given.
        zone: String,
    },
    /// Two ways of saying it.
    #[error("--domain and --region/--zone say the same: give one of them")]
    Both,
}

/// The fault domain that `--domain`, or in short `--region` and `--zone`, name.
///
/// # Errors
/// If they name half of one, or one twice.
pub fn fault_domain(
    domain: Option<&Domain>,
    region: Option<&str>,
    zone: Option<&str>,
) -> Result<Option<DomainInfo>, DomainError> {
    match (domain, region, zone) {
        (Some(domain), None, None) => Ok(Some(domain.0.clone())),
        (Some(_), ..) => Err(DomainError::Both),
        (None, None, None) => Ok(None),
        (None, Some(region), None) => Err(DomainError::NoZone { region: region.to_owned() }),
        (None, None, Some(zone)) => Err(DomainError::NoRegion { zone: zone.to_owned() }),
        (None, Some(region), Some(zone)) => {
            let region = RegionInfo { name: region.to_owned() };
            let zone = ZoneInfo { name: zone.to_owned() };
            Ok(Some(DomainInfo { fault_domain: Some(FaultDomain { region, zone }) }))
        }
    }
}

/// Why `--ip_discovery_command` gives no address.
#[derive(Debug, thiserror::Error)]
pub enum DiscoveryError {
    /// It does not run.
    #[error("--ip_discovery_command='{command}' cannot be run: {error}")]
    Run {
        /// As given.
        command: String,
        /// What the operating system says.
        error: std::io::Error,
    },
    /// It failed.
    #[error("--ip_discovery_command='{command}' failed ({status}): {said}")]
    Failed {
        /// As given.
        command: String,
        /// How it ended.
        status: std::process::ExitStatus,
        /// Its standard error.
        said: String,
    },
    /// Its output is something else.
    #[error("--ip_discovery_command='{command}' wrote '{said}', which is no IP address")]
    NoAddress {
        /// As given.
        command: String,
        /// Its standard output.
        said: String,
    },
}

/// The address that the command writes (src/master/main.cpp, src/slave/main.cpp: a line for the shell).
///
/// # Errors
/// If it fails, or writes something else.
pub fn discovered_ip(command: &str) -> Result<IpAddr, DiscoveryError> {
    let output = Command::new("/bin/sh")
        .args(["-c", command])
        .stdin(std::process::Stdio::null())
        .output()
        .map_err(|error| DiscoveryError::Run { command: command.to_owned(), error })?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(DiscoveryError::Failed { command: command.to_owned(), status: output.status, said });
    }
    let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    said.parse().map_err(|_| DiscoveryError::NoAddress { command: command.to_owned(), said })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_domain_is_said_in_one_way() {
        let long: Domain =
            r#"{"fault_domain":{"region":{"name":"eu"},"zone":{"name":"a"}}}"#.parse().expect("a DomainInfo");
        let short = fault_domain(None, Some("eu"), Some("a")).unwrap();
        assert_eq!(short, Some(long.0.clone()));
        assert_eq!(fault_domain(Some(&long), None, None), Ok(short));
        assert_eq!(fault_domain(None, None, None), Ok(None));
        assert_eq!(fault_domain(Some(&long), Some("eu"), Some("a")), Err(DomainError::Both));
        assert!(fault_domain(None, Some("eu"), None).unwrap_err().to_string().contains("--zone"));
        assert!(fault_domain(None, None, Some("a")).unwrap_err().to_string().contains("--region"));
        for bad in ["", "{", "[]", r#"{"fault_domain":{"region":{"name":""},"zone":{"name":"a"}}}"#] {
            assert!(bad.parse::<Domain>().is_err(), "{bad}");
        }
    }

    #[test]
    fn an_address_is_what_the_command_writes() {
        assert_eq!(discovered_ip("echo ' 10.0.0.7 '").unwrap(), IpAddr::from([10, 0, 0, 7]));
        assert_eq!(discovered_ip("echo fd00::1").unwrap(), "fd00::1".parse::<IpAddr>().unwrap());
        let said = |command| discovered_ip(command).unwrap_err().to_string();
        assert!(said("echo here").contains("wrote 'here', which is no IP address"));
        assert!(said("echo no route >&2; exit 3").contains("exit status: 3): no route"));
    }
}
