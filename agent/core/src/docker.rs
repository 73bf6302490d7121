//! `ContainerInfo` of type DOCKER, as Marathon's apps have it, in Mesos' terms (src/docker/docker.cpp,
//! Docker::RunOptions::create). There is no daemon: what can be had without one is, what cannot is refused by its name.

use mezzo_api::v1::{
    self, Volume,
    capability_info::Capability,
    container_info::{self, MesosInfo},
    volume,
};

use crate::{
    image::{Changes, Image, Rule, User},
    network::{self, Network},
};

/// What Docker leaves to a container (docs.docker.com/engine/security, default capabilities).
const DEFAULT_CAPABILITIES: [Capability; 14] = [
    Capability::AuditWrite,
    Capability::Chown,
    Capability::DacOverride,
    Capability::Fowner,
    Capability::Fsetid,
    Capability::Kill,
    Capability::Mknod,
    Capability::NetBindService,
    Capability::NetRaw,
    Capability::Setfcap,
    Capability::Setgid,
    Capability::Setpcap,
    Capability::Setuid,
    Capability::SysChroot,
];

/// Number of the first capability in Mesos' enumeration: they are in the kernel's order.
const FIRST_CAPABILITY: i32 = Capability::Chown as i32;

/// Names of `--ulimit`, and the numbers of `RLIMIT_…` (asm-generic/resource.h).
const ULIMITS: [(&str, u32); 16] = [
    ("cpu", 0),
    ("fsize", 1),
    ("data", 2),
    ("stack", 3),
    ("core", 4),
    ("rss", 5),
    ("nproc", 6),
    ("nofile", 7),
    ("memlock", 8),
    ("as", 9),
    ("locks", 10),
    ("sigpending", 11),
    ("msgqueue", 12),
    ("nice", 13),
    ("rtprio", 14),
    ("rttime", 15),
];

/// The same container of type MESOS, its image, and the network of its own.
pub(crate) fn translate(info: &v1::ContainerInfo) -> Result<(v1::ContainerInfo, Image, Option<Network>), String> {
    let docker = info.docker.as_ref().ok_or("No docker info found in container info")?;
    let mut wanted = Parameters {
        changes: Changes { hostname: info.hostname.clone(), ..Changes::default() },
        volumes: info.volumes.clone(),
        user: User::OfImage,
        added: Vec::new(),
        dropped: Vec::new(),
    };
    if docker.privileged() {
        return Err("Privileged containers are not supported: name what it needs with the parameter 'cap-add'".into());
    }
    for parameter in &docker.parameters {
        wanted.take(&parameter.key, &parameter.value)?;
    }
    let network = network::of_docker(info, docker)?;
    for volume in &wanted.volumes {
        check_volume(volume)?;
    }
    wanted.changes.capabilities = Some(capabilities(&wanted.added, &wanted.dropped)?);
    let image = Image {
        user: wanted.user,
        changes: wanted.changes,
        ..Image::new(&docker.image, !docker.force_pull_image(), Rule::Docker)
    };
    let info = v1::ContainerInfo {
        r#type: container_info::Type::Mesos as i32,
        mesos: Some(MesosInfo::default()),
        docker: None,
        volumes: wanted.volumes,
        hostname: None,
        network_infos: Vec::new(),
        ..info.clone()
    };
    Ok((info, image, network))
}

/// Docker mounts what is on the host; Mesos does the rest.
fn check_volume(volume: &Volume) -> Result<(), String> {
    let source = volume.source.as_ref().map(v1::volume::Source::r#type);
    let driven = source == Some(volume::source::Type::DockerVolume);
    if driven {
        return Err(format!("The volume '{}' needs a volume driver, which is not supported", volume.container_path));
    }
    let relative = |path: &str| !path.starts_with('/');
    match &volume.host_path {
        Some(host) if relative(host) && relative(&volume.container_path) => Err(format!(
            "Both host_path '{host}' and container_path '{}' of a volume are relative",
            volume.container_path
        )),
        None if source.is_none() => Err("Host path or volume source is required".into()),
        _ => Ok(()),
    }
}

/// What parameters have said so far.
struct Parameters {
    changes: Changes,
    volumes: Vec<Volume>,
    user: User,
    added: Vec<String>,
    dropped: Vec<String>,
}

impl Parameters {
    /// One option of `docker run`, without its dashes.
    fn take(&mut self, key: &str, value: &str) -> Result<(), String> {
        let refused = |why: &str| Err(format!("The parameter '{key}' with the value '{value}' {why}"));
        match key {
            "env" | "e" => match value.split_once('=') {
                Some((name, value)) if !name.is_empty() => {
                    self.changes.variables.push((name.to_owned(), value.to_owned()));
                }
                _ => return refused("is not of the form NAME=value"),
            },
            "hostname" | "h" => self.changes.hostname = Some(value.to_owned()),
            "user" | "u" => self.user = User::Named(value.to_owned()),
            "workdir" | "w" => {
                if !value.starts_with('/') {
                    return refused("is no absolute path");
                }
                self.changes.working_dir = Some(value.to_owned());
            }
            "entrypoint" => self.changes.entrypoint = Some(value.to_owned()),
            "read-only" => match value {
                "true" | "" => self.changes.read_only = true,
                "false" => self.changes.read_only = false,
                _ => return refused("is neither true nor false"),
            },
            "ulimit" => match ulimit(value) {
                Some(limit) => self.changes.rlimits.push(limit),
                None => return refused("is not of the form name=soft[:hard], e.g. nofile=1024:2048"),
            },
            "cap-add" => self.added.push(value.to_owned()),
            "cap-drop" => self.dropped.push(value.to_owned()),
            "volume" | "v" => match volume_of(value) {
                Some(volume) => self.volumes.push(volume),
                None => return refused("is not of the form /host/path:/container/path[:ro|:rw]"),
            },
            // What is read elsewhere, what only describes, and what is so anyway.
            "net" | "network" | "label" | "l" => {}
            "rm" | "init" if matches!(value, "true" | "") => {}
            "privileged" if value == "false" => {}
            _ => return refused("is not supported"),
        }
        Ok(())
    }
}

fn ulimit(text: &str) -> Option<(u32, u64, u64)> {
    let (name, limits) = text.split_once('=')?;
    let number = ULIMITS.iter().find(|(known, _)| *known == name)?.1;
    let limit = |text: &str| if matches!(text, "-1" | "unlimited") { Some(u64::MAX) } else { text.parse().ok() };
    let (soft, hard) = limits.split_once(':').unwrap_or((limits, limits));
    let (soft, hard) = (limit(soft)?, limit(hard)?);
    (soft <= hard).then_some((number, soft, hard))
}

fn volume_of(text: &str) -> Option<Volume> {
    let mut parts = text.split(':');
    let (host, container, mode) = (parts.next()?, parts.next()?, parts.next().unwrap_or("rw"));
    let mode = match mode {
        "rw" => volume::Mode::Rw,
        "ro" => volume::Mode::Ro,
        _ => return None,
    };
    let sound = host.starts_with('/') && container.starts_with('/') && parts.next().is_none();
    sound.then(|| Volume {
        mode: mode as i32,
        container_path: container.to_owned(),
        host_path: Some(host.to_owned()),
        ..Volume::default()
    })
}

/// Docker's own set, less what is dropped, and what is added; `ALL` is all.
fn capabilities(added: &[String], dropped: &[String]) -> Result<u64, String> {
    let bit = |capability: Capability| 1u64 << (capability as i32 - FIRST_CAPABILITY);
    let named = |names: &[String]| {
        names.iter().try_fold(0u64, |bits, name| {
            let plain = name.to_ascii_uppercase();
            let plain = plain.strip_prefix("CAP_").unwrap_or(&plain);
            if plain == "ALL" {
                return Ok(u64::MAX);
            }
            let known = Capability::from_str_name(plain).filter(|known| *known != Capability::Unknown);
            known.map(|known| bits | bit(known)).ok_or_else(|| format!("There is no capability '{name}'"))
        })
    };
    let (added, dropped) = (named(added)?, named(dropped)?);
    let known = bit(Capability::CheckpointRestore) * 2 - 1;
    let own = DEFAULT_CAPABILITIES.into_iter().fold(0, |bits, capability| bits | bit(capability));
    // Who adds all and drops one means all but that one.
    let added = if added == u64::MAX { added & !dropped } else { added };
    Ok(((own & !dropped) | added) & known)
}

#[cfg(test)]
mod tests {
    use mezzo_api::v1::Parameter;

    use super::*;

    fn docker(parameters: &[(&str, &str)]) -> v1::ContainerInfo {
        let parameter = |(key, value): &(&str, &str)| Parameter { key: (*key).into(), value: (*value).into() };
        v1::ContainerInfo {
            r#type: container_info::Type::Docker as i32,
            docker: Some(container_info::DockerInfo {
                image: "team/app:1".into(),
                parameters: parameters.iter().map(parameter).collect(),
                ..Default::default()
            }),
            ..Default::default()
        }
    }

    fn changes(parameters: &[(&str, &str)]) -> Changes {
        translate(&docker(parameters)).unwrap().1.changes
    }

    #[test]
    fn an_app_of_marathon_is_understood() {
        let mut info = docker(&[
            ("env", "A=1=2"),
            ("hostname", "h"),
            ("user", "web:logs"),
            ("workdir", "/srv"),
            ("ulimit", "nofile=10:20"),
            ("ulimit", "core=-1"),
            ("read-only", "true"),
            ("volume", "/data:/in:ro"),
            ("label", "a=b"),
        ]);
        info.docker.as_mut().unwrap().force_pull_image = Some(true);
        let (translated, image, network) = translate(&info).unwrap();
        assert_eq!(network, None);
        assert_eq!(translated.r#type(), container_info::Type::Mesos);
        assert_eq!((image.name.as_str(), image.cached, image.rule), ("team/app:1", false, Rule::Docker));
        assert_eq!(image.user, User::Named("web:logs".into()));
        let changes = image.changes;
        assert_eq!(changes.variables, [("A".to_owned(), "1=2".to_owned())]);
        assert_eq!((changes.hostname.as_deref(), changes.working_dir.as_deref()), (Some("h"), Some("/srv")));
        assert_eq!(changes.rlimits, [(7, 10, 20), (4, u64::MAX, u64::MAX)]);
        assert!(changes.read_only);
        assert_eq!(translated.volumes[0].host_path.as_deref(), Some("/data"));
        assert_eq!(translated.volumes[0].mode, volume::Mode::Ro as i32);
    }

    #[test]
    fn capabilities_are_dockers_less_and_more() {
        let of = |parameters: &[(&str, &str)]| changes(parameters).capabilities.unwrap();
        const SYS_ADMIN: u64 = 1 << 21;
        const CHOWN: u64 = 1;
        assert_eq!(of(&[]), 0xa80425fb, "as /proc/self/status shows it in a container of Docker");
        assert_eq!(of(&[("cap-add", "SYS_ADMIN")]) & SYS_ADMIN, SYS_ADMIN);
        assert_eq!(of(&[("cap-drop", "cap_chown")]) & CHOWN, 0);
        assert_eq!(of(&[("cap-drop", "ALL"), ("cap-add", "CHOWN")]), CHOWN);
        assert_eq!(of(&[("cap-drop", "CHOWN"), ("cap-add", "ALL")]) & (CHOWN | SYS_ADMIN), SYS_ADMIN);
        assert!(translate(&docker(&[("cap-add", "FLY")])).unwrap_err().contains("'FLY'"));
    }

    #[test]
    fn what_cannot_be_had_is_refused_by_name() {
        for (key, value) in [
            ("privileged", "true"),
            ("device", "/dev/sda"),
            ("memory", "1g"),
            ("env", "A"),
            ("ulimit", "nofile=9:1"),
            ("ulimit", "what=1"),
            ("volume", "relative:/x"),
            ("volume", "/a:/b:z"),
            ("workdir", "relative"),
            ("read-only", "maybe"),
        ] {
            let error = translate(&docker(&[(key, value)])).unwrap_err();
            assert!(error.contains(&format!("'{key}'")) && error.contains(value), "{key}: {error}");
        }
        assert!(translate(&docker(&[("net", "weave")])).unwrap_err().contains("User-defined"));
        assert_eq!(translate(&docker(&[("net", "bridge")])).unwrap().2, Some(Network::Bridge(Vec::new())));
        let mut privileged = docker(&[]);
        privileged.docker.as_mut().unwrap().privileged = Some(true);
        assert!(translate(&privileged).unwrap_err().contains("Privileged"));
        let mut named = docker(&[]);
        named.hostname = Some("h".into());
        assert_eq!(translate(&named).unwrap_err(), "Unable to set hostname with host network mode");
    }
}
