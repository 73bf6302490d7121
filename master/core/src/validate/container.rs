//! `ContainerInfo`: its volumes and, for Docker, its image.

use mezzo_api::v1::{ContainerInfo, Volume, container_info, volume};

use super::Invalid;

/// src/common/validation.cpp, validateContainerInfo.
pub(super) fn validate_container(container: &ContainerInfo) -> Result<(), Invalid> {
    for volume in &container.volumes {
        validate_volume(volume).map_err(|invalid| invalid.within("Invalid volume"))?;
    }
    if container.r#type() != container_info::Type::Docker {
        return Ok(());
    }
    let Some(docker) = &container.docker else {
        return Err(Invalid::new("DockerInfo 'docker' is not set for DOCKER typed ContainerInfo"));
    };
    if docker.parameters.iter().any(|parameter| parameter.key == "name") {
        return Err(Invalid::new("Parameter in DockerInfo must not be 'name'"));
    }
    Ok(())
}

fn validate_volume(volume: &Volume) -> Result<(), Invalid> {
    let sources = [volume.host_path.is_some(), volume.image.is_some(), volume.source.is_some()];
    if sources.into_iter().filter(|set| *set).count() != 1 {
        return Err(Invalid::new("Only one of them should be set: 'host_path', 'image' and 'source'"));
    }
    volume.source.as_ref().map_or(Ok(()), validate_source)
}

fn validate_source(source: &volume::Source) -> Result<(), Invalid> {
    let (set, field, kind) = match source.r#type() {
        volume::source::Type::Unknown => return Err(Invalid::new("'source.type' is unknown")),
        volume::source::Type::DockerVolume => (source.docker_volume.is_some(), "docker_volume", "DOCKER_VOLUME"),
        volume::source::Type::HostPath => (source.host_path.is_some(), "host_path", "HOST_PATH"),
        volume::source::Type::SandboxPath => (source.sandbox_path.is_some(), "sandbox_path", "SANDBOX_PATH"),
        volume::source::Type::Secret => (source.secret.is_some(), "secret", "SECRET"),
        volume::source::Type::CsiVolume => match &source.csi_volume {
            None => (false, "csi_volume", "CSI"),
            Some(csi) => (csi.static_provisioning.is_some(), "csi_volume.static_provisioning", "CSI"),
        },
    };
    if set { Ok(()) } else { Err(Invalid(format!("'source.{field}' is not set for {kind} volume"))) }
}
