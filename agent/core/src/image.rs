//! The image that a container's file system is made of, and what the task has to say beside it.

use std::{collections::BTreeSet, fmt};

use mezzo_api::v1::{self, container_info, image, secret};

use crate::{
    docker,
    launch::Unlaunchable,
    network::{self, Network},
};

/// Whose images the agent can run containers of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Images {
    /// `ContainerInfo` of type MESOS: `--image_providers=docker`.
    pub mesos: bool,
    /// `ContainerInfo` of type DOCKER: `--containerizers=…,docker`.
    pub docker: bool,
}

impl Images {
    /// Whether any container has one.
    pub fn any(self) -> bool {
        self.mesos || self.docker
    }
}

/// What comes of arguments without a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// src/slave/containerizer/mesos/isolators/docker/runtime.cpp, getLaunchCommand.
    Mesos,
    /// As of `docker run`.
    Docker,
}

/// The image of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Like `alpine:3.20` or `host:5000/team/app@sha256:…`.
    pub name: String,
    /// Whether one that is there already will do, however old it is.
    pub cached: bool,
    /// Who we are to the registry, for this image alone.
    pub credentials: Option<Credentials>,
    /// Names of variables that the task sets itself, above those of the image.
    pub own_variables: BTreeSet<String>,
    /// Whom to run as.
    pub user: User,
    /// How its program is found if the task names none.
    pub rule: Rule,
    /// What is to be otherwise than the image says.
    pub changes: Changes,
}

/// The text of a Docker configuration; it is not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials(pub String);

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Whom a container with an image runs as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum User {
    /// Whom the task's command names, a user of the host.
    OfTask,
    /// The image's, unless that would give the framework more than its own user has.
    OfImage,
    /// This one of the image, under the same condition.
    Named(String),
}

/// What is to be otherwise than the image says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// In the place of the image's entrypoint; its command is then left out too.
    pub entrypoint: Option<String>,
    /// In the place of the image's working directory.
    pub working_dir: Option<String>,
    /// The name of its host.
    pub hostname: Option<String>,
    /// Its root cannot be written.
    pub read_only: bool,
    /// Limits of its processes: number of `RLIMIT_…`, soft and hard, `u64::MAX` for none.
    pub rlimits: Vec<(u32, u64, u64)>,
    /// What its processes may do beyond their files, as bits of capabilities(7).
    pub capabilities: Option<u64>,
    /// Further variables.
    pub variables: Vec<(String, String)>,
}

/// A container's description, understood.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Described {
    /// In Mesos' terms: what isolators go by.
    pub(crate) info: Option<v1::ContainerInfo>,
    pub(crate) image: Option<Image>,
    pub(crate) network: Option<Network>,
}

impl Described {
    /// Of an executor that has no process of its own: only its tasks can have images.
    pub(crate) fn without_image(self) -> Result<Option<v1::ContainerInfo>, Unlaunchable> {
        let refuse = |text: &str| Err(Unlaunchable::Container(text.into()));
        if self.image.is_some() {
            return refuse("The default executor has no file system of its own: give the image to its tasks");
        }
        if self.network.is_some() {
            return refuse("The default executor has no network of its own: give the network to its tasks");
        }
        Ok(self.info)
    }
}

/// Reads what a framework says of a container.
pub(crate) fn describe(
    images: Images,
    info: Option<&v1::ContainerInfo>,
    command: Option<&v1::CommandInfo>,
) -> Result<Described, Unlaunchable> {
    let Some(info) = info else { return Ok(Described::default()) };
    let refuse = |text: String| Err(Unlaunchable::Container(text));
    let (info, mut image, network) = match info.r#type() {
        container_info::Type::Docker if !images.docker => return Err(Unlaunchable::Unknown),
        container_info::Type::Docker => {
            let (info, image, network) = docker::translate(info).map_err(Unlaunchable::Container)?;
            (info, Some(image), network)
        }
        container_info::Type::Mesos => {
            let image = info.mesos.as_ref().and_then(|mesos| mesos.image.as_ref());
            if image.is_some() && !images.mesos {
                return refuse("Container images are not supported without --image_providers=docker".into());
            }
            let image = image.map(of_mesos).transpose().map_err(Unlaunchable::Container)?;
            (info.clone(), image, network::of_mesos(info).map_err(Unlaunchable::Container)?)
        }
    };
    if let (Some(image), Some(command)) = (&mut image, command) {
        let variables = command.environment.iter().flat_map(|environment| &environment.variables);
        image.own_variables.extend(variables.map(|variable| variable.name.clone()));
        if command.user.is_some() && image.user == User::OfImage {
            image.user = User::OfTask;
        }
        if image.changes.entrypoint.is_some() && command.shell.unwrap_or(true) {
            return refuse("The parameter 'entrypoint' needs a command without a shell".into());
        }
    }
    Ok(Described { info: Some(info), image, network })
}

fn of_mesos(image: &v1::Image) -> Result<Image, String> {
    if image.r#type() != image::Type::Docker {
        return Err("Images of type APPC are not supported: use one of type DOCKER, which is for OCI images too".into());
    }
    let docker = image.docker.as_ref().ok_or("Image of type DOCKER has no 'docker'")?;
    Ok(Image {
        credentials: credentials(docker.config.as_ref())?,
        ..Image::new(&docker.name, image.cached.unwrap_or(true), Rule::Mesos)
    })
}

impl Image {
    pub(crate) fn new(name: &str, cached: bool, rule: Rule) -> Self {
        Self {
            name: name.to_owned(),
            cached,
            credentials: None,
            own_variables: BTreeSet::new(),
            user: User::OfImage,
            rule,
            changes: Changes::default(),
        }
    }
}

fn credentials(config: Option<&v1::Secret>) -> Result<Option<Credentials>, String> {
    let Some(config) = config else { return Ok(None) };
    match &config.value {
        Some(value) if config.r#type() == secret::Type::Value => String::from_utf8(value.data.to_vec())
            .map(|text| Some(Credentials(text)))
            .map_err(|_| "The 'config' of the image is no text".into()),
        _ => Err("The 'config' of the image refers to a secret that this agent cannot resolve".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Images = Images { mesos: true, docker: true };

    fn with_image(kind: image::Type) -> v1::ContainerInfo {
        let docker = v1::image::Docker { name: "app".into(), ..Default::default() };
        let image = v1::Image { r#type: kind as i32, docker: Some(docker), ..Default::default() };
        v1::ContainerInfo {
            r#type: container_info::Type::Mesos as i32,
            mesos: Some(container_info::MesosInfo { image: Some(image) }),
            ..Default::default()
        }
    }

    fn refused(images: Images, info: &v1::ContainerInfo) -> String {
        describe(images, Some(info), None).map(drop).map_err(Unlaunchable::text).unwrap_err()
    }

    #[test]
    fn what_the_agent_is_not_set_up_for_is_refused_by_name() {
        let info = with_image(image::Type::Docker);
        assert!(refused(Images::default(), &info).contains("--image_providers"));
        assert!(refused(ALL, &with_image(image::Type::Appc)).contains("APPC"));
        let docker = v1::ContainerInfo { r#type: container_info::Type::Docker as i32, ..Default::default() };
        assert!(matches!(
            describe(Images { mesos: true, docker: false }, Some(&docker), None),
            Err(Unlaunchable::Unknown)
        ));
        let mut secret = info.clone();
        let config = v1::Secret { r#type: Some(secret::Type::Reference as i32), ..Default::default() };
        let image = secret.mesos.as_mut().unwrap().image.as_mut().unwrap();
        image.docker.as_mut().unwrap().config = Some(config);
        assert!(refused(ALL, &secret).contains("secret"));
    }

    #[test]
    fn what_the_task_says_stands_above_the_image() {
        let variable = v1::environment::Variable { name: "A".into(), ..Default::default() };
        let environment = v1::Environment { variables: vec![variable] };
        let command =
            v1::CommandInfo { environment: Some(environment), user: Some("web".into()), ..Default::default() };
        let info = with_image(image::Type::Docker);
        let image = describe(ALL, Some(&info), Some(&command)).ok().unwrap().image.unwrap();
        assert!(image.cached && image.own_variables.contains("A"));
        assert_eq!((image.user, image.rule), (User::OfTask, Rule::Mesos));
        let image = describe(ALL, Some(&info), None).ok().unwrap().image.unwrap();
        assert_eq!(image.user, User::OfImage);
        assert!(describe(ALL, None, Some(&command)).ok().unwrap().image.is_none());
    }
}
