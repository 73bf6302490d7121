//! Flags on images of containers.

use std::{collections::BTreeMap, path::PathBuf, str::FromStr, time::Duration};

use clap::Args;
use mezzo_agent_core::image;
use mezzo_images::{DockerConfig, Endpoint, Keep, Origin};
use mezzo_server::flags::boolean;
use serde::Deserialize;

/// How often the disk is looked at when `--image_gc_config` does not say.
const WATCH_INTERVAL: Duration = Duration::from_secs(3600);

/// What `mezzo-agent` is told of images.
#[derive(Clone, Debug, Args)]
#[command(rename_all = "snake_case")]
pub struct Images {
    /// Kinds of ContainerInfo that are taken, with commas between: mesos, and docker, which needs no Docker here
    #[arg(long, help_heading = "Images", default_value = "mesos", value_parser = containerizers, value_name = "NAMES")]
    pub containerizers: Containerizers,
    /// Images that containers of kind mesos can have: docker, which is for OCI images too; none if it is not given
    #[arg(long, help_heading = "Images", value_parser = providers, value_name = "NAMES")]
    pub image_providers: Option<Providers>,
    /// Where images come from that name no registry: https://HOST or http://HOST, or file:///DIR with OCI layouts and
    /// archives of docker save
    #[arg(long, help_heading = "Images", default_value = "https://registry-1.docker.io", value_name = "URL")]
    pub docker_registry: Origin,
    /// Who is asked before a registry, as a JSON object, e.g. {"docker.io": ["https://mirror.example.com"]}
    #[arg(long, help_heading = "Images", value_name = "JSON")]
    pub docker_registry_mirrors: Option<Mirrors>,
    /// Directory that keeps images, of one agent alone; the directory store/docker in --work_dir if it is not given
    #[arg(long, help_heading = "Images", value_name = "DIR")]
    pub docker_store_dir: Option<PathBuf>,
    /// Credentials of registries, as docker login writes them: JSON, or the absolute path of a file
    #[arg(long, help_heading = "Images", value_name = "JSON")]
    pub docker_config: Option<DockerConfigText>,
    /// Leave out what images say of environment, program, working directory and user
    #[arg(long, help_heading = "Images", default_value = "false", value_parser = boolean, num_args = 0..=1,
          require_equals = true, default_missing_value = "true", action = clap::ArgAction::Set, value_name = "BOOL")]
    pub docker_ignore_runtime: bool,
    /// How much is kept of images that no container uses, as a JSON ImageGcConfig; all of it if it is not given
    #[arg(long, help_heading = "Images", value_name = "JSON")]
    pub image_gc_config: Option<GcConfig>,
}

impl Images {
    /// Whose images the agent runs containers of.
    pub(crate) fn kinds(&self) -> image::Images {
        image::Images { mesos: self.image_providers.is_some(), docker: self.containerizers.docker }
    }

    /// Of the registries. Whoever has [`Flags`](super::Flags) finds them sound.
    pub(crate) fn credentials(&self) -> Option<DockerConfig> {
        self.docker_config.as_ref()?.0.clone().ok()
    }

    /// What is wrong with them: checked when all is read, as clap would show the passwords with what it refuses.
    pub(super) fn wrong_credentials(&self) -> Option<String> {
        self.docker_config.as_ref()?.0.clone().err()
    }
}

/// `--containerizers`; the one of kind mesos is always there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Containerizers {
    /// `ContainerInfo` of type DOCKER is taken.
    pub docker: bool,
}

/// `--image_providers`: there is only one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Providers;

fn containerizers(text: &str) -> Result<Containerizers, String> {
    let names: Vec<&str> = text.split(',').map(str::trim).collect();
    match names.iter().find(|name| !matches!(**name, "mesos" | "docker")) {
        Some(name) => Err(format!("'{name}' is neither mesos nor docker")),
        None if !names.contains(&"mesos") => {
            Err("it must contain mesos, which runs the containers of docker too".into())
        }
        None => Ok(Containerizers { docker: names.contains(&"docker") }),
    }
}

fn providers(text: &str) -> Result<Providers, String> {
    match text.split(',').map(str::trim).find(|name| *name != "docker") {
        Some("appc") => Err("appc is not supported, which nobody makes any more: use docker".into()),
        Some(name) => Err(format!("'{name}' is not docker")),
        None => Ok(Providers),
    }
}

/// `--docker_config`: a path or the text itself (src/slave/flags.cpp).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DockerConfigText(Result<DockerConfig, String>);

impl FromStr for DockerConfigText {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let read = match text.starts_with('/') {
            true => std::fs::read_to_string(text).map_err(|error| format!("the file '{text}' cannot be read: {error}")),
            false => Ok(text.to_owned()),
        };
        let parse = |text: String| text.parse().map_err(|error: mezzo_images::ConfigError| error.to_string());
        Ok(Self(read.and_then(parse)))
    }
}

/// `--docker_registry_mirrors`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirrors(pub BTreeMap<String, Vec<Endpoint>>);

impl FromStr for Mirrors {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let read: BTreeMap<String, Vec<String>> = serde_json::from_str(text)
            .map_err(|error| format!("it is no JSON object of registries with lists of mirrors: {error}"))?;
        let mut all = BTreeMap::new();
        for (registry, mirrors) in read {
            let mirrors = mirrors.iter().map(|mirror| mirror.parse()).collect::<Result<_, _>>();
            all.insert(registry, mirrors.map_err(|error: mezzo_images::EndpointError| error.to_string())?);
        }
        Ok(Self(all))
    }
}

/// `--image_gc_config` (src/messages/flags.proto, ImageGcConfig; `max_unused_time` and `max_store_bytes` are ours).
#[derive(Clone, Debug, PartialEq)]
pub struct GcConfig {
    /// What is kept.
    pub keep: Keep,
    /// How often it is looked at.
    pub interval: Duration,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GcFile {
    #[serde(default)]
    image_disk_headroom: f64,
    image_disk_watch_interval: Option<Nanoseconds>,
    #[serde(default)]
    excluded_images: Vec<Excluded>,
    max_unused_time: Option<Nanoseconds>,
    max_store_bytes: Option<u64>,
}

/// `DurationInfo`.
#[derive(Deserialize)]
struct Nanoseconds {
    nanoseconds: u64,
}

/// As much of an `Image` as counts here.
#[derive(Deserialize)]
struct Excluded {
    docker: ExcludedDocker,
}

#[derive(Deserialize)]
struct ExcludedDocker {
    name: String,
}

impl FromStr for GcConfig {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let file: GcFile =
            serde_json::from_str(text).map_err(|error| format!("it is no JSON ImageGcConfig: {error}"))?;
        if !(0.0..=1.0).contains(&file.image_disk_headroom) {
            return Err(format!("image_disk_headroom {} is no number from 0 to 1", file.image_disk_headroom));
        }
        let duration = |time: Nanoseconds| Duration::from_nanos(time.nanoseconds);
        let interval = file.image_disk_watch_interval.map_or(WATCH_INTERVAL, duration);
        if interval < Duration::from_secs(1) {
            return Err("image_disk_watch_interval is less than a second".into());
        }
        Ok(Self {
            keep: Keep {
                excluded: file.excluded_images.into_iter().map(|image| image.docker.name).collect(),
                headroom: file.image_disk_headroom,
                max_unused: file.max_unused_time.map(duration),
                max_bytes: file.max_store_bytes,
            },
            interval,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_of_containers_and_images() {
        assert_eq!(containerizers("docker,mesos"), Ok(Containerizers { docker: true }));
        assert_eq!(containerizers("mesos"), Ok(Containerizers { docker: false }));
        assert!(containerizers("docker").is_err() && containerizers("mesos,rkt").unwrap_err().contains("rkt"));
        assert!(providers("docker").is_ok() && providers("docker,appc").unwrap_err().contains("appc"));
    }

    #[test]
    fn what_is_kept_is_read() {
        let text = r#"{"image_disk_headroom": 0.2, "image_disk_watch_interval": {"nanoseconds": 60000000000},
            "excluded_images": [{"type": "DOCKER", "docker": {"name": "base"}}], "max_store_bytes": 7}"#;
        let config: GcConfig = text.parse().unwrap();
        assert_eq!(config.interval, Duration::from_secs(60));
        assert_eq!((config.keep.headroom, config.keep.max_bytes, config.keep.max_unused), (0.2, Some(7), None));
        assert_eq!(config.keep.excluded, ["base"]);
        for wrong in ["", "[]", r#"{"image_disk_headroom": 2}"#, r#"{"what": 1}"#] {
            assert!(wrong.parse::<GcConfig>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn mirrors_are_read() {
        let Mirrors(all) = r#"{"docker.io": ["https://m", "10.0.0.1:80"]}"#.parse().unwrap();
        assert_eq!(all["docker.io"].len(), 2);
        assert!(r#"{"docker.io": ["ftp://m"]}"#.parse::<Mirrors>().unwrap_err().contains("ftp://m"));
        assert!("x".parse::<Mirrors>().is_err());
    }

    #[test]
    fn credentials_are_a_text_or_a_file() {
        let read = |text: &str| text.parse::<DockerConfigText>().unwrap().0;
        assert!(read(r#"{"auths": {}}"#).is_ok());
        assert!(read("/nowhere/at/all").unwrap_err().contains("'/nowhere/at/all'"));
        assert!(read("secret").is_err_and(|error| !error.contains("secret")));
    }
}
