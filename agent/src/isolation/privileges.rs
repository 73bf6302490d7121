//! `posix/rlimits`, `linux/capabilities`, `linux/nnp`: what the processes of a container may.

use std::str::FromStr;

use mezzo_api::v1::{self, capability_info::Capability, r_limit_info::r_limit::Type};
use mezzo_executor::jail::{self, Jail, Rlimit};
use nix::libc;

use super::{HostError, Isolator, Launch, Wanted};

/// What the first capability has for a number in the protocol.
const FIRST: i32 = Capability::Chown as i32;

/// Capabilities, as bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CapabilitySet(u64);

impl FromStr for CapabilitySet {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |why: String| {
            format!("'{text}' is no JSON CapabilityInfo, e.g. {{\"capabilities\": [\"NET_RAW\", \"KILL\"]}}: {why}")
        };
        let json: serde_json::Value = serde_json::from_str(text).map_err(|error| wrong(error.to_string()))?;
        let names = json["capabilities"].as_array().ok_or_else(|| wrong("'capabilities' is no list".into()))?;
        // Read by hand: the protocol's own reader passes over names that it does not know.
        let number = |name: &serde_json::Value| {
            let known = name.as_str().and_then(Capability::from_str_name).filter(|one| *one != Capability::Unknown);
            known.map(|one| one as i32).ok_or_else(|| wrong(format!("{name} is not known")))
        };
        let capabilities = names.iter().map(number).collect::<Result<_, String>>()?;
        Ok(Self::of(&v1::CapabilityInfo { capabilities }))
    }
}

impl CapabilitySet {
    fn of(info: &v1::CapabilityInfo) -> Self {
        let bit = |number: i32| u32::try_from(number - FIRST).ok().filter(|bit| *bit < 64);
        let known = info.capabilities.iter().copied().filter_map(bit);
        Self(known.fold(0, |bits, bit| bits | 1 << bit))
    }

    fn without(self, others: Self) -> Self {
        Self(self.0 & !others.0)
    }

    fn names(self) -> String {
        let bits = (0..64).filter(|bit| self.0 >> bit & 1 == 1);
        let names = bits.map(|bit| match Capability::try_from(bit + FIRST) {
            Ok(capability) => capability.as_str_name().to_owned(),
            Err(_) => bit.to_string(),
        });
        names.collect::<Vec<_>>().join(", ")
    }
}

/// `linux/capabilities` (src/slave/containerizer/mesos/isolators/linux/capabilities.cpp).
#[derive(Debug)]
pub(super) struct Capabilities {
    effective: Option<CapabilitySet>,
    bounding: Option<CapabilitySet>,
}

impl Capabilities {
    pub(super) fn new(effective: Option<CapabilitySet>, bounding: Option<CapabilitySet>) -> Result<Self, HostError> {
        if let (Some(effective), Some(bounding)) = (effective, bounding) {
            let more = effective.without(bounding);
            if more.0 != 0 {
                return Err(HostError::Capabilities(more.names()));
            }
        }
        Ok(Self { effective, bounding })
    }

    #[allow(deprecated)] // `capability_info` is what frameworks of old have
    fn of(&self, linux: Option<&v1::LinuxInfo>) -> Result<Option<jail::Capabilities>, String> {
        let asked = |info: Option<&v1::CapabilityInfo>| info.map(CapabilitySet::of);
        let effective =
            linux.and_then(|linux| linux.effective_capabilities.as_ref().or(linux.capability_info.as_ref()));
        let (effective, bounding) =
            (asked(effective), asked(linux.and_then(|linux| linux.bounding_capabilities.as_ref())));
        if let Some(most) = self.bounding {
            for asked in [effective, bounding].into_iter().flatten() {
                let more = asked.without(most);
                if more.0 != 0 {
                    return Err(format!(
                        "Requested capabilities {} are more than --bounding_capabilities has",
                        more.names()
                    ));
                }
            }
        }
        // A set that is not said follows the other one; an operator's is behind both.
        let has = effective.or(bounding).or(self.effective).or(self.bounding);
        let Some(has) = has else { return Ok(None) };
        let most = bounding.or(self.bounding).or(effective).unwrap_or(has);
        let more = has.without(most);
        if more.0 != 0 {
            return Err(format!("Effective capabilities {} are not among the bounding ones", more.names()));
        }
        Ok(Some(jail::Capabilities { effective: has.0, bounding: most.0 }))
    }
}

impl Isolator for Capabilities {
    fn suits(&self, _launch: &Launch, _jail: &Jail) -> bool {
        true // it limits processes, wherever they are
    }

    fn prepare(&self, wanted: Wanted<'_>, jail: &mut Jail) -> Result<(), String> {
        jail.capabilities = self.of(wanted.isolation.info.as_ref().and_then(|info| info.linux_info.as_ref()))?;
        Ok(())
    }
}

/// `linux/nnp`.
#[derive(Debug)]
pub(super) struct NoNewPrivileges;

impl Isolator for NoNewPrivileges {
    fn suits(&self, _launch: &Launch, _jail: &Jail) -> bool {
        true // it limits processes, wherever they are
    }

    fn prepare(&self, _wanted: Wanted<'_>, jail: &mut Jail) -> Result<(), String> {
        jail.no_new_privileges = true;
        Ok(())
    }
}

/// `posix/rlimits`.
#[derive(Debug)]
pub(super) struct Rlimits;

impl Isolator for Rlimits {
    fn prepare(&self, wanted: Wanted<'_>, jail: &mut Jail) -> Result<(), String> {
        let info = wanted.isolation.info.as_ref().and_then(|info| info.rlimit_info.as_ref());
        for limit in info.map_or(&[][..], |info| &info.rlimits) {
            let resource = resource(limit.r#type())
                .ok_or_else(|| format!("There is no resource limit of type {}", limit.r#type().as_str_name()))?;
            let (soft, hard) = match (limit.soft, limit.hard) {
                (Some(soft), Some(hard)) if soft <= hard => (soft, hard),
                (None, None) => (u64::MAX, u64::MAX),
                (Some(soft), Some(hard)) => {
                    return Err(format!(
                        "The soft limit {soft} of {} is above the hard {hard}",
                        limit.r#type().as_str_name()
                    ));
                }
                _ => {
                    return Err(format!("{} needs both limits, soft and hard, or none", limit.r#type().as_str_name()));
                }
            };
            jail.rlimits.push(Rlimit { resource, soft, hard });
        }
        Ok(())
    }
}

fn resource(kind: Type) -> Option<u32> {
    Some(match kind {
        Type::Unknown => return None,
        Type::RlmtAs => libc::RLIMIT_AS,
        Type::RlmtCore => libc::RLIMIT_CORE,
        Type::RlmtCpu => libc::RLIMIT_CPU,
        Type::RlmtData => libc::RLIMIT_DATA,
        Type::RlmtFsize => libc::RLIMIT_FSIZE,
        Type::RlmtLocks => libc::RLIMIT_LOCKS,
        Type::RlmtMemlock => libc::RLIMIT_MEMLOCK,
        Type::RlmtMsgqueue => libc::RLIMIT_MSGQUEUE,
        Type::RlmtNice => libc::RLIMIT_NICE,
        Type::RlmtNofile => libc::RLIMIT_NOFILE,
        Type::RlmtNproc => libc::RLIMIT_NPROC,
        Type::RlmtRss => libc::RLIMIT_RSS,
        Type::RlmtRtprio => libc::RLIMIT_RTPRIO,
        Type::RlmtRttime => libc::RLIMIT_RTTIME,
        Type::RlmtSigpending => libc::RLIMIT_SIGPENDING,
        Type::RlmtStack => libc::RLIMIT_STACK,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(names: &str) -> CapabilitySet {
        let names: Vec<String> = names.split(' ').map(|name| format!("\"{name}\"")).collect();
        format!("{{\"capabilities\": [{}]}}", names.join(",")).parse().unwrap()
    }

    fn linux(effective: Option<&[Capability]>, bounding: Option<&[Capability]>) -> v1::LinuxInfo {
        let info =
            |list: &[Capability]| v1::CapabilityInfo { capabilities: list.iter().map(|one| *one as i32).collect() };
        v1::LinuxInfo {
            effective_capabilities: effective.map(info),
            bounding_capabilities: bounding.map(info),
            ..v1::LinuxInfo::default()
        }
    }

    #[test]
    fn capabilities_of_operator_and_task_are_put_together() {
        let nothing = Capabilities::new(None, None).unwrap();
        assert_eq!(nothing.of(None), Ok(None));
        let kill = linux(Some(&[Capability::Kill]), None);
        assert_eq!(nothing.of(Some(&kill)), Ok(Some(jail::Capabilities { effective: 1 << 5, bounding: 1 << 5 })));
        let operator = Capabilities::new(Some(set("KILL")), Some(set("KILL NET_RAW"))).unwrap();
        let bounding = 1 << 5 | 1 << 13;
        assert_eq!(operator.of(None), Ok(Some(jail::Capabilities { effective: 1 << 5, bounding })));
        let admin = linux(Some(&[Capability::SysAdmin]), None);
        assert!(operator.of(Some(&admin)).unwrap_err().contains("SYS_ADMIN"));
        let crossed = linux(Some(&[Capability::Kill]), Some(&[Capability::Chown]));
        assert!(nothing.of(Some(&crossed)).unwrap_err().contains("KILL"));
        assert!(Capabilities::new(Some(set("CHOWN")), Some(set("KILL"))).unwrap_err().to_string().contains("CHOWN"));
        assert!("{\"capabilities\": [\"FLY\"]}".parse::<CapabilitySet>().is_err());
    }
}
