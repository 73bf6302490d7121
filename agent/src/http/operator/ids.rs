//! What the ids and the parts of container calls must be like (src/slave/validation.cpp, container::validateContainerId
//! and agent::call::validate; src/common/validation.cpp).

use mezzo_api::{
    resources,
    v1::{
        self,
        agent::{Call, call, call::attach_container_input},
        container_info, environment, volume,
    },
};

/// Longest value of an id (src/slave/constants.hpp, MAX_CONTAINER_ID_LENGTH).
const MAX_ID_BYTES: usize = 242;

/// Looks at the parts of a container call; what is wrong with it.
#[allow(deprecated)] // nested container calls are calls like others
pub(super) fn validate(call: &Call) -> Result<(), String> {
    if let Some(launch) = &call.launch_nested_container {
        return Launch {
            name: "launch_nested_container",
            id: &launch.container_id,
            command: launch.command.as_ref(),
            container: launch.container.as_ref(),
        }
        .nested();
    }
    if let Some(launch) = &call.launch_nested_container_session {
        return Launch {
            name: "launch_nested_container_session",
            id: &launch.container_id,
            command: launch.command.as_ref(),
            container: launch.container.as_ref(),
        }
        .session();
    }
    if let Some(launch) = &call.launch_container {
        return launch_container(launch);
    }
    let nested = [
        ("wait_nested_container", call.wait_nested_container.as_ref().map(|call| &call.container_id)),
        ("kill_nested_container", call.kill_nested_container.as_ref().map(|call| &call.container_id)),
        ("remove_nested_container", call.remove_nested_container.as_ref().map(|call| &call.container_id)),
    ];
    for (name, id) in nested.into_iter().filter_map(|(name, id)| Some((name, id?))) {
        named(name, id)?;
        has_parent(name, id)?;
    }
    let others = [
        ("wait_container", call.wait_container.as_ref().map(|call| &call.container_id)),
        ("kill_container", call.kill_container.as_ref().map(|call| &call.container_id)),
        ("remove_container", call.remove_container.as_ref().map(|call| &call.container_id)),
        ("attach_container_output", call.attach_container_output.as_ref().map(|call| &call.container_id)),
    ];
    for (name, id) in others.into_iter().filter_map(|(name, id)| Some((name, id?))) {
        named(name, id)?;
    }
    call.attach_container_input.as_ref().map_or(Ok(()), attach_input)
}

fn attach_input(input: &call::AttachContainerInput) -> Result<(), String> {
    use attach_container_input::Type;
    match input.r#type.map(Type::try_from) {
        None => Err("Expecting 'attach_container_input.type' to be present".into()),
        Some(Ok(Type::Unknown) | Err(_)) => Err("'attach_container_input.type' is unknown".into()),
        Some(Ok(Type::ContainerId)) => {
            named("attach_container_input", input.container_id.as_ref().unwrap_or(&v1::ContainerId::default()))
        }
        Some(Ok(Type::ProcessIo)) => Ok(()),
    }
}

fn named(call: &str, id: &v1::ContainerId) -> Result<(), String> {
    container_id(id).map_err(|error| format!("'{call}.container_id' is invalid: {error}"))
}

fn has_parent(call: &str, id: &v1::ContainerId) -> Result<(), String> {
    match id.parent {
        Some(_) => Ok(()),
        None => Err(format!("Expecting '{call}.container_id.parent' to be present")),
    }
}

fn container_id(id: &v1::ContainerId) -> Result<(), String> {
    let value = &id.value;
    if value.is_empty() {
        return Err("ID must not be empty".into());
    }
    if value.len() > 255 {
        return Err("ID must not be greater than 255 characters".into());
    }
    if value == "." || value == ".." {
        return Err(format!("'{value}' is disallowed"));
    }
    if value.bytes().any(|byte| byte.is_ascii_control() || byte == b'/' || byte == b'\\') {
        return Err(format!("'{value}' contains invalid characters"));
    }
    if value.len() > MAX_ID_BYTES {
        return Err(format!("'ContainerID.value' '{value}' exceeds the maximum length ({MAX_ID_BYTES})"));
    }
    if value.contains(['.', ' ']) {
        return Err(format!("'ContainerID.value' '{value}' contains invalid characters"));
    }
    match &id.parent {
        Some(parent) => container_id(parent).map_err(|error| format!("'ContainerID.parent' is invalid: {error}")),
        None => Ok(()),
    }
}

fn is_twice_nested(id: &v1::ContainerId) -> bool {
    id.parent.as_ref().is_some_and(|parent| parent.parent.is_some())
}

fn share_cgroups(container: Option<&v1::ContainerInfo>) -> Option<bool> {
    container?.linux_info.as_ref()?.share_cgroups
}

/// What launches have in common.
struct Launch<'a> {
    name: &'static str,
    id: &'a v1::ContainerId,
    command: Option<&'a v1::CommandInfo>,
    container: Option<&'a v1::ContainerInfo>,
}

impl Launch<'_> {
    fn parts(&self) -> Result<(), String> {
        let name = self.name;
        if let Some(command) = self.command {
            command_info(command).map_err(|error| format!("'{name}.command' is invalid: {error}"))?;
        }
        match self.container {
            Some(info) => container_info(info).map_err(|error| format!("'{name}.container' is invalid: {error}")),
            None => Ok(()),
        }
    }

    fn nested(&self) -> Result<(), String> {
        let name = self.name;
        named(name, self.id)?;
        has_parent(name, self.id)?;
        self.parts()?;
        if share_cgroups(self.container) == Some(false) && is_twice_nested(self.id) {
            return Err(format!(
                "'{name}' is invalid: containers nested at the second level or greater cannot set 'share_cgroups' to \
                 'false'"
            ));
        }
        Ok(())
    }

    fn session(&self) -> Result<(), String> {
        named(self.name, self.id)?;
        has_parent(self.name, self.id)?;
        self.parts()?;
        if share_cgroups(self.container) == Some(false) {
            return Err(format!(
                "'{}.container.linux_info' is invalid: 'share_cgroups' cannot be set to 'false' for nested container \
                 sessions",
                self.name
            ));
        }
        Ok(())
    }
}

fn launch_container(launch: &call::LaunchContainer) -> Result<(), String> {
    let parts = Launch {
        name: "launch_container",
        id: &launch.container_id,
        command: launch.command.as_ref(),
        container: launch.container.as_ref(),
    };
    named(parts.name, parts.id)?;
    for resource in &launch.resources {
        resources::validate(resource).map_err(|error| format!("Invalid resources: {error}"))?;
    }
    let gpus: f64 = launch
        .resources
        .iter()
        .filter(|resource| resource.name == "gpus")
        .filter_map(|resource| Some(resource.scalar.as_ref()?.value))
        .sum();
    if (gpus * 1000.0) % 1000.0 != 0.0 {
        return Err("Invalid GPU resources: The 'gpus' resource must be an unsigned integer".into());
    }
    let alone = launch.container_id.parent.is_none();
    if alone {
        launch.resources.iter().try_for_each(unreserved)?;
    }
    parts.parts()?;
    let share = share_cgroups(launch.container.as_ref());
    let refuse = |text: &str| Err(format!("'launch_container' is invalid: containers {text}"));
    if is_twice_nested(&launch.container_id) {
        if !launch.resources.is_empty() {
            return refuse("nested at the second level or greater cannot specify resources");
        }
        if !launch.limits.is_empty() {
            return refuse("nested at the second level or greater cannot specify resource limits");
        }
        if share == Some(false) {
            return refuse("nested at the second level or greater cannot set 'share_cgroups' to 'false'");
        }
    }
    if alone && share == Some(true) {
        return refuse("without a parent cannot set 'share_cgroups' to 'true'");
    }
    Ok(())
}

#[allow(deprecated)] // the old form of reservations is a reservation too
fn unreserved(resource: &v1::Resource) -> Result<(), String> {
    let refuse = |text: &str| Err(format!("'launch_container.resources' {text}"));
    let old = resource.role.as_deref().is_some_and(|role| role != "*") || resource.reservation.is_some();
    if old || !resource.reservations.is_empty() {
        return refuse("must be unreserved");
    }
    if resource.disk.as_ref().is_some_and(|disk| disk.persistence.is_some()) {
        return refuse("may not use persistent volumes");
    }
    if resource.revocable.is_some() {
        return refuse("must be non-revocable");
    }
    Ok(())
}

fn command_info(command: &v1::CommandInfo) -> Result<(), String> {
    use environment::variable::Type;
    for variable in command.environment.iter().flat_map(|environment| &environment.variables) {
        let name = &variable.name;
        match variable.r#type() {
            Type::Secret if variable.secret.is_none() => {
                return Err(format!("Environment variable '{name}' of type 'SECRET' must have a secret set"));
            }
            Type::Secret if variable.value.is_some() => {
                return Err(format!("Environment variable '{name}' of type 'SECRET' must not have a value set"));
            }
            Type::Value if variable.value.is_none() => {
                return Err(format!("Environment variable '{name}' of type 'VALUE' must have a value set"));
            }
            Type::Value if variable.secret.is_some() => {
                return Err(format!("Environment variable '{name}' of type 'VALUE' must not have a secret set"));
            }
            Type::Unknown => return Err("Environment variable of type 'UNKNOWN' is not allowed".into()),
            Type::Secret | Type::Value => {}
        }
    }
    Ok(())
}

fn container_info(info: &v1::ContainerInfo) -> Result<(), String> {
    for volume in &info.volumes {
        volume_source(volume).map_err(|error| format!("Invalid volume: {error}"))?;
    }
    if info.r#type() == container_info::Type::Docker {
        let Some(docker) = &info.docker else {
            return Err("DockerInfo 'docker' is not set for DOCKER typed ContainerInfo".into());
        };
        if docker.parameters.iter().any(|parameter| parameter.key == "name") {
            return Err("Parameter in DockerInfo must not be 'name'".into());
        }
    }
    Ok(())
}

fn volume_source(volume: &v1::Volume) -> Result<(), String> {
    use volume::source::Type;
    let given = [volume.host_path.is_some(), volume.image.is_some(), volume.source.is_some()];
    if given.iter().filter(|given| **given).count() != 1 {
        return Err("Only one of them should be set: 'host_path', 'image' and 'source'".into());
    }
    let Some(source) = &volume.source else { return Ok(()) };
    let (there, text) = match source.r#type() {
        Type::DockerVolume => {
            (source.docker_volume.is_some(), "'source.docker_volume' is not set for DOCKER_VOLUME volume")
        }
        Type::HostPath => (source.host_path.is_some(), "'source.host_path' is not set for HOST_PATH volume"),
        Type::SandboxPath => {
            (source.sandbox_path.is_some(), "'source.sandbox_path' is not set for SANDBOX_PATH volume")
        }
        Type::Secret => (source.secret.is_some(), "'source.secret' is not set for SECRET volume"),
        Type::CsiVolume => (source.csi_volume.is_some(), "'source.csi_volume' is not set for CSI volume"),
        Type::Unknown => (false, "'source.type' is unknown"),
    };
    if there { Ok(()) } else { Err(text.into()) }
}

#[cfg(test)]
mod tests {
    use mezzo_api::codec::{Encoding, decode};

    use super::*;

    fn refusal(json: &str) -> String {
        let call: Call = decode(Encoding::Json, json.as_bytes()).unwrap();
        validate(&call).err().unwrap_or_default()
    }

    #[test]
    fn ids_are_looked_at_as_mesos_does() {
        let wait =
            |id: &str| refusal(&format!(r#"{{"type":"WAIT_CONTAINER","wait_container":{{"container_id":{id}}}}}"#));
        assert_eq!(wait(r#"{"value":"a-b_c"}"#), "");
        assert_eq!(wait(r#"{"value":""}"#), "'wait_container.container_id' is invalid: ID must not be empty");
        assert_eq!(
            wait(r#"{"value":"a/b"}"#),
            "'wait_container.container_id' is invalid: 'a/b' contains invalid characters"
        );
        let dotted = "'wait_container.container_id' is invalid: 'ContainerID.value' 'a.b' contains invalid characters";
        assert_eq!(wait(r#"{"value":"a.b"}"#), dotted);
        let long = "x".repeat(243);
        assert!(wait(&format!(r#"{{"value":"{long}"}}"#)).ends_with("exceeds the maximum length (242)"));
        let parent = wait(r#"{"value":"a","parent":{"value":""}}"#);
        assert!(parent.ends_with("'ContainerID.parent' is invalid: ID must not be empty"), "{parent}");
    }

    #[test]
    fn launches_are_looked_at_as_mesos_does() {
        let nested = |rest: &str| {
            refusal(&format!(r#"{{"type":"LAUNCH_NESTED_CONTAINER","launch_nested_container":{{{rest}}}}}"#))
        };
        assert_eq!(
            nested(r#""container_id":{"value":"a"}"#),
            "Expecting 'launch_nested_container.container_id.parent' to be present"
        );
        let id = r#""container_id":{"value":"a","parent":{"value":"b"}}"#;
        assert_eq!(nested(id), "");
        let variable = nested(&format!(r#"{id},"command":{{"environment":{{"variables":[{{"name":"A"}}]}}}}"#));
        let expected = "'launch_nested_container.command' is invalid: Environment variable 'A' of type 'VALUE' must have a value set";
        assert_eq!(variable, expected);
        let alone = |rest: &str| {
            let id = r#""container_id":{"value":"a"}"#;
            refusal(&format!(r#"{{"type":"LAUNCH_CONTAINER","launch_container":{{{id},{rest}}}}}"#))
        };
        let resource =
            r#"{"name":"cpus","type":"SCALAR","scalar":{"value":1},"reservations":[{"type":"DYNAMIC","role":"r"}]}"#;
        assert_eq!(alone(&format!(r#""resources":[{resource}]"#)), "'launch_container.resources' must be unreserved");
        let shares = alone(r#""container":{"type":"MESOS","linux_info":{"share_cgroups":true}}"#);
        assert!(shares.ends_with("containers without a parent cannot set 'share_cgroups' to 'true'"), "{shares}");
    }
}
