//! `linux/seccomp`: filters of system calls from profiles in Docker's format
//! (src/linux/seccomp/seccomp_parser.cpp).
//!
//! A profile may have several actions, a compiled filter has two: so a profile becomes a filter that lets through what any
//! rule treats better than the default does, and one more for each action besides; the kernel takes the strictest answer,
//! and of equally strict ones that of the filter that was installed last.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use mezzo_executor::jail::Jail;
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};
use serde_json::Value;
use syscalls::Sysno;

use super::{Isolator, Launch, Wanted};

/// Why a profile cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// There is nowhere to look.
    #[error("linux/seccomp needs --seccomp_config_dir, the directory of its profiles")]
    NoDirectory,
    /// The name leads elsewhere.
    #[error("the seccomp profile '{0}' must be the name of a file in --seccomp_config_dir")]
    Name(String),
    /// The file cannot be read.
    #[error("cannot read the seccomp profile '{}': {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It says what makes no sense.
    #[error("the seccomp profile '{}' is not in Docker's format: {reason}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

#[derive(Debug)]
pub(super) struct Seccomp {
    directory: PathBuf,
    default: Option<String>,
}

impl Seccomp {
    pub(super) fn new(directory: Option<&Path>, default: Option<&str>) -> Result<Self, ProfileError> {
        let directory = directory.ok_or(ProfileError::NoDirectory)?.to_path_buf();
        let made = Self { directory, default: default.map(ToOwned::to_owned) };
        if let Some(name) = default {
            made.filters(name, !0)?;
        }
        Ok(made)
    }

    /// The programs of a profile for a task with these capabilities.
    fn filters(&self, name: &str, capabilities: u64) -> Result<Vec<Vec<u8>>, ProfileError> {
        let named = Path::new(name).file_name() == Some(name.as_ref());
        let path = if named { self.directory.join(name) } else { return Err(ProfileError::Name(name.into())) };
        let text = fs::read_to_string(&path).map_err(|source| ProfileError::Read { path: path.clone(), source })?;
        let wrong = |reason: String| ProfileError::Format { path: path.clone(), reason };
        let json = serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
        let programs = Profile::read(&json, capabilities).and_then(|profile| profile.compile()).map_err(wrong)?;
        Ok(programs.iter().map(bytes).collect())
    }
}

impl Isolator for Seccomp {
    fn suits(&self, _launch: &Launch, _jail: &Jail) -> bool {
        true // it limits processes, wherever they are
    }

    fn prepare(&self, wanted: Wanted<'_>, jail: &mut Jail) -> Result<(), String> {
        let linux = wanted.isolation.info.as_ref().and_then(|info| info.linux_info.as_ref());
        let asked = linux.and_then(|linux| linux.seccomp.as_ref());
        if asked.is_some_and(|asked| asked.unconfined()) {
            if asked.is_some_and(|asked| asked.profile_name.is_some()) {
                return Err("A container cannot be unconfined and have a seccomp profile".into());
            }
            return Ok(());
        }
        let Some(name) = asked.and_then(|asked| asked.profile_name.as_ref()).or(self.default.as_ref()) else {
            return Ok(());
        };
        let capabilities = jail.capabilities.map_or(!0, |capabilities| capabilities.effective);
        jail.filters = self.filters(name, capabilities).map_err(|error| error.to_string())?;
        Ok(())
    }
}

/// Programs as the kernel reads them.
fn bytes(program: &BpfProgram) -> Vec<u8> {
    let instruction = |one: &seccompiler::sock_filter| {
        let code = one.code.to_ne_bytes();
        let k = one.k.to_ne_bytes();
        [code[0], code[1], one.jt, one.jf, k[0], k[1], k[2], k[3]]
    };
    program.iter().flat_map(instruction).collect()
}

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// A profile for one task.
struct Profile {
    default: SeccompAction,
    /// By action, in the order of the profile.
    rules: Vec<(SeccompAction, Rules)>,
}

impl Profile {
    fn read(json: &Value, capabilities: u64) -> Result<Self, String> {
        let default = action(json, "defaultAction", "defaultErrnoRet")?;
        let mut profile = Self { default, rules: Vec::new() };
        for rule in json["syscalls"].as_array().ok_or("'syscalls' is no list")? {
            if applies(&rule["includes"], capabilities, true) && applies(&rule["excludes"], capabilities, false) {
                profile.add(rule)?;
            }
        }
        Ok(profile)
    }

    fn add(&mut self, rule: &Value) -> Result<(), String> {
        let action = action(rule, "action", "errnoRet")?;
        let names = rule["names"].as_array().map(Vec::as_slice).unwrap_or_default();
        let names: Vec<&str> = names.iter().chain([&rule["name"]]).filter_map(Value::as_str).collect();
        if names.is_empty() {
            return Err(format!("a rule names no system call: {rule}"));
        }
        let conditions = rule["args"].as_array().map(Vec::as_slice).unwrap_or_default();
        let conditions = conditions.iter().map(condition).collect::<Result<Vec<_>, String>>()?;
        let place = match self.rules.iter().position(|(known, _)| *known == action) {
            Some(place) => place,
            None => {
                self.rules.push((action, Rules::new()));
                self.rules.len() - 1
            }
        };
        for name in names {
            // Names of other architectures mean nothing here.
            let Ok(number) = name.parse::<Sysno>() else { continue };
            let number = i64::from(number.id());
            if conditions.is_empty() {
                self.rules[place].1.insert(number, Vec::new()); // whatever the arguments
                continue;
            }
            let rule = SeccompRule::new(conditions.clone()).map_err(|error| error.to_string())?;
            match self.rules[place].1.get_mut(&number) {
                Some(rules) if rules.is_empty() => {}
                Some(rules) => rules.push(rule),
                None => drop(self.rules[place].1.insert(number, vec![rule])),
            }
        }
        Ok(())
    }

    fn compile(self) -> Result<Vec<BpfProgram>, String> {
        let mut programs = Vec::new();
        if self.default != SeccompAction::Allow {
            let mut through = Rules::new();
            let better = |action: &SeccompAction| strictness(action) < strictness(&self.default);
            for (_, rules) in self.rules.iter().filter(|(action, _)| better(action)) {
                for (number, conditions) in rules {
                    match through.get_mut(number) {
                        Some(known) if known.is_empty() || conditions.is_empty() => known.clear(),
                        Some(known) => known.extend(conditions.iter().cloned()),
                        None => drop(through.insert(*number, conditions.clone())),
                    }
                }
            }
            programs.push(compiled(through, self.default.clone(), SeccompAction::Allow)?);
        }
        for (action, rules) in self.rules {
            if action != SeccompAction::Allow && action != self.default && !rules.is_empty() {
                programs.push(compiled(rules, SeccompAction::Allow, action)?);
            }
        }
        Ok(programs)
    }
}

fn compiled(rules: Rules, otherwise: SeccompAction, action: SeccompAction) -> Result<BpfProgram, String> {
    let architecture = TargetArch::try_from(std::env::consts::ARCH).map_err(|error| error.to_string())?;
    let filter = SeccompFilter::new(rules, otherwise, action, architecture).map_err(|error| error.to_string())?;
    BpfProgram::try_from(filter).map_err(|error: BackendError| error.to_string())
}

/// The kernel's order of answers.
fn strictness(action: &SeccompAction) -> u8 {
    match action {
        SeccompAction::Allow => 0,
        SeccompAction::Log => 1,
        SeccompAction::Trace(_) => 2,
        SeccompAction::Errno(_) => 3,
        SeccompAction::Trap => 4,
        SeccompAction::KillThread => 5,
        SeccompAction::KillProcess => 6,
    }
}

fn action(json: &Value, name: &str, errno: &str) -> Result<SeccompAction, String> {
    let number = json[errno].as_u64().and_then(|number| u32::try_from(number).ok());
    let text = json[name].as_str().ok_or_else(|| format!("'{name}' is missing"))?;
    Ok(match text {
        "SCMP_ACT_ALLOW" => SeccompAction::Allow,
        "SCMP_ACT_ERRNO" => SeccompAction::Errno(number.unwrap_or(nix::libc::EPERM.unsigned_abs())),
        "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => SeccompAction::KillThread,
        "SCMP_ACT_KILL_PROCESS" => SeccompAction::KillProcess,
        "SCMP_ACT_LOG" => SeccompAction::Log,
        "SCMP_ACT_TRACE" => SeccompAction::Trace(number.unwrap_or(nix::libc::EPERM.unsigned_abs())),
        "SCMP_ACT_TRAP" => SeccompAction::Trap,
        _ => return Err(format!("there is no action '{text}'")),
    })
}

fn condition(json: &Value) -> Result<SeccompCondition, String> {
    let number = |name: &str| json[name].as_u64().unwrap_or_default();
    let op = json["op"].as_str().unwrap_or_default();
    let (op, value) = match op {
        "SCMP_CMP_NE" => (SeccompCmpOp::Ne, number("value")),
        "SCMP_CMP_LT" => (SeccompCmpOp::Lt, number("value")),
        "SCMP_CMP_LE" => (SeccompCmpOp::Le, number("value")),
        "SCMP_CMP_EQ" => (SeccompCmpOp::Eq, number("value")),
        "SCMP_CMP_GE" => (SeccompCmpOp::Ge, number("value")),
        "SCMP_CMP_GT" => (SeccompCmpOp::Gt, number("value")),
        "SCMP_CMP_MASKED_EQ" => (SeccompCmpOp::MaskedEq(number("value")), number("valueTwo")),
        _ => return Err(format!("there is no comparison '{op}'")),
    };
    let index = u8::try_from(number("index")).map_err(|_| format!("there is no argument {}", number("index")))?;
    SeccompCondition::new(index, SeccompCmpArgLen::Qword, op, value).map_err(|error| error.to_string())
}

/// Whether a rule applies by its `includes` (all of what is said is so) or `excludes` (none is).
fn applies(condition: &Value, capabilities: u64, wanted: bool) -> bool {
    let list = |name: &str| condition[name].as_array().map(Vec::as_slice).unwrap_or_default();
    let architectures = list("arches");
    let here = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let on_architecture = architectures.iter().any(|one| one.as_str() == Some(here));
    let has = |name: &Value| name.as_str().and_then(capability).is_some_and(|bit| capabilities >> bit & 1 == 1);
    if wanted {
        let new_enough = condition["minKernel"].as_str().is_none_or(kernel_is_at_least);
        (architectures.is_empty() || on_architecture) && list("caps").iter().all(has) && new_enough
    } else {
        let excluded_kernel = condition["minKernel"].as_str().is_some_and(kernel_is_at_least);
        !on_architecture && !list("caps").iter().any(has) && !excluded_kernel
    }
}

/// The bit of `CAP_…`.
fn capability(name: &str) -> Option<u32> {
    use mezzo_api::v1::capability_info::Capability;
    let number = Capability::from_str_name(name.strip_prefix("CAP_")?)? as i32;
    u32::try_from(number - Capability::Chown as i32).ok()
}

fn kernel_is_at_least(version: &str) -> bool {
    let numbers = |text: &str| {
        let mut parts = text.split(|letter: char| !letter.is_ascii_digit()).map(|part| part.parse::<u32>().ok());
        (parts.next().flatten().unwrap_or_default(), parts.next().flatten().unwrap_or_default())
    };
    let running = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    numbers(&running) >= numbers(version)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn seccomp(profile: &Value) -> (tempfile::TempDir, Seccomp) {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("p.json"), profile.to_string()).unwrap();
        let made = Seccomp { directory: directory.path().into(), default: None };
        (directory, made)
    }

    #[test]
    fn a_profile_becomes_a_filter_for_each_action() {
        let (_directory, seccomp) = seccomp(&json!({
            "defaultAction": "SCMP_ACT_ERRNO",
            "archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]}],
            "syscalls": [
                {"names": ["read", "write", "no_such_call"], "action": "SCMP_ACT_ALLOW"},
                {"names": ["clone"], "action": "SCMP_ACT_ALLOW",
                 "args": [{"index": 0, "value": 2114060288u64, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}],
                 "excludes": {"caps": ["CAP_SYS_ADMIN"]}},
                {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38,
                 "excludes": {"caps": ["CAP_SYS_ADMIN"]}},
                {"names": ["mount"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_SYS_ADMIN"]}},
                {"names": ["ptrace"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "4.8"}},
            ],
        }));
        let few = seccomp.filters("p.json", 0).unwrap();
        assert_eq!(few.len(), 2, "one that allows, one that says ENOSYS");
        assert!(few.iter().all(|program| !program.is_empty() && program.len() % 8 == 0));
        let all = seccomp.filters("p.json", !0).unwrap();
        assert_eq!(all.len(), 1);
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_its_place() {
        let (_directory, broken) = seccomp(&json!({"defaultAction": "SCMP_ACT_NOTHING", "syscalls": []}));
        let error = broken.filters("p.json", 0).unwrap_err().to_string();
        assert!(error.contains("p.json") && error.contains("SCMP_ACT_NOTHING"), "{error}");
        assert!(matches!(broken.filters("../p.json", 0), Err(ProfileError::Name(_))));
        assert!(matches!(broken.filters("q.json", 0), Err(ProfileError::Read { .. })));
        assert!(matches!(Seccomp::new(None, None), Err(ProfileError::NoDirectory)));
        let (directory, _) = seccomp(&json!({}));
        assert!(Seccomp::new(Some(directory.path()), Some("p.json")).is_err(), "a default is read at the start");
    }
}
