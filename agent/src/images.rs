//! Images for containers: the store that the flags describe, and what a launch makes of an image.

use std::{path::Path, path::PathBuf, sync::Arc, time::Duration};

use mezzo_agent_core::{
    container::{Command, Launch},
    image::{self, Changes, Rule, User},
};
use mezzo_executor::{
    frame::Credentials,
    jail::{Capabilities, Jail, Namespace, Rlimit, Root},
};
use mezzo_images::{Figures, Keep, Pruned, RunConfig, Store, StoreError, Wanted, run, users};
use tokio_util::sync::CancellationToken;

use crate::{failpoint, flags::Flags};

/// The images of an agent; clones share them.
#[derive(Clone, Debug)]
pub struct Images {
    store: Store,
    /// What images say of running them does not count.
    ignore_runtime: bool,
    /// Where containers see their sandbox.
    sandbox_directory: PathBuf,
    /// Names of images that are never pruned.
    excluded: Arc<[String]>,
}

/// What a container gets of its image.
#[derive(Debug)]
pub(crate) struct Furnished {
    root: Root,
    /// Where it starts; `None`: in its sandbox.
    directory: Option<PathBuf>,
    changes: Changes,
    /// It runs as root.
    is_root: bool,
}

impl Images {
    /// As the flags say; `None` when containers have no images. Blocks, within a runtime.
    ///
    /// # Errors
    /// When the store cannot be used.
    pub(crate) fn open(flags: &Flags) -> Result<Option<Self>, StoreError> {
        if !flags.images.kinds().any() {
            return Ok(None);
        }
        let config = mezzo_images::Config {
            directory: directory(flags),
            origin: flags.images.docker_registry.clone(),
            mirrors: flags.images.docker_registry_mirrors.clone().map(|mirrors| mirrors.0).unwrap_or_default(),
            credentials: flags.images.credentials().unwrap_or_default(),
            stall: flags.fetcher_stall_timeout,
            passed: failpoint::pass,
        };
        let excluded = flags.images.image_gc_config.iter().flat_map(|config| config.keep.excluded.clone());
        let images = Self {
            store: Store::open(config)?,
            ignore_runtime: flags.images.docker_ignore_runtime,
            sandbox_directory: flags.containers.sandbox_directory.clone(),
            excluded: excluded.collect(),
        };
        if let Some(gc) = &flags.images.image_gc_config {
            images.keep_trim(gc.keep.clone(), gc.interval);
        }
        Ok(Some(images))
    }

    /// Gets the image of a launch, and lets it have its say in what is launched and as whom.
    pub(crate) async fn furnish(
        &self,
        launch: &mut Launch,
        credentials: Option<Credentials>,
        runtime_dir: &Path,
        cancel: &CancellationToken,
    ) -> Result<(Option<Credentials>, Option<Box<Furnished>>), String> {
        let Some(wanted) = launch.image.take() else { return Ok((credentials, None)) };
        let id = launch.container_id.clone();
        let asked = Wanted {
            name: wanted.name.clone(),
            cached: wanted.cached,
            credentials: wanted.credentials.as_ref().map(|credentials| credentials.0.clone()),
        };
        let failed = |error: &dyn std::fmt::Display| format!("Failed to provision image '{}': {error}", wanted.name);
        let image = self.store.get(&asked, id.as_str(), cancel).await.map_err(|error| failed(&error))?;
        let config = if self.ignore_runtime { RunConfig::default() } else { (*image.config).clone() };
        let layers = image.layers.clone();
        let user = wanted.user.clone();
        let of_image = config.user.clone();
        let looked_up = tokio::task::spawn_blocking(move || run_as(&user, of_image.as_deref(), credentials, &layers));
        let credentials = looked_up.await.map_err(|error| error.to_string())?.map_err(|error| failed(&error))?;
        let directory = wanted.changes.working_dir.clone().or(config.working_dir.clone()).map(PathBuf::from);
        let config = changed(config, &wanted.changes);
        self.rewrite(launch, &wanted, &config, directory.as_deref()).map_err(|error| failed(&error))?;
        let place = runtime_dir.join("roots").join(id.as_str());
        let root = Root {
            lower: image.layers,
            upper: place.join("upper"),
            work: place.join("work"),
            read_only: wanted.changes.read_only,
        };
        let is_root = credentials.as_ref().is_none_or(|credentials| credentials.uid == 0);
        Ok((credentials, Some(Box::new(Furnished { root, directory, changes: wanted.changes, is_root }))))
    }

    /// Merges the image's program and variables into the launch.
    fn rewrite(
        &self,
        launch: &mut Launch,
        wanted: &image::Image,
        config: &RunConfig,
        directory: Option<&Path>,
    ) -> Result<(), run::NoExecutable> {
        if let Command::Image(arguments) = &launch.command {
            let rule = match wanted.rule {
                Rule::Mesos => run::Rule::Mesos,
                Rule::Docker => run::Rule::Docker,
            };
            let (file, arguments) = run::program(config, arguments, rule)?;
            launch.command = Command::Exec { file, arguments };
        }
        if let (Command::Exec { file, .. }, Some(directory)) = (&mut launch.command, directory)
            && file.contains('/')
            && !file.starts_with('/')
        {
            *file = directory.join(&file).to_string_lossy().into_owned();
        }
        let given = std::mem::take(&mut launch.environment);
        let mut all = run::environment(config, given, |name| wanted.own_variables.contains(name));
        let sandbox = self.sandbox_directory.to_string_lossy().into_owned();
        let last = wanted.changes.variables.iter().cloned().chain([("MESOS_SANDBOX".to_owned(), sandbox)]);
        for (name, value) in last {
            match all.iter_mut().find(|(known, _)| *known == name) {
                Some((_, known)) => *known = value,
                None => all.push((name, value)),
            }
        }
        launch.environment = all;
        Ok(())
    }

    /// The container is forgotten.
    pub(crate) fn release(&self, container: &str) {
        self.store.release(container);
    }

    /// Only these containers are left of an earlier life of the agent.
    pub(crate) fn release_others(&self, containers: &[&str]) {
        self.store.release_others(containers);
    }

    /// Takes away what no container uses, but for these images and those that are never pruned.
    pub(crate) async fn prune(&self, excluded: Vec<String>) -> Pruned {
        let (store, all) = (self.store.clone(), [excluded, self.excluded.to_vec()].concat());
        let pruned = tokio::task::spawn_blocking(move || store.prune(&all)).await.unwrap_or_default();
        tracing::info!(images = pruned.images, layers = pruned.layers, bytes = pruned.bytes, "pruned images as asked");
        pruned
    }

    /// Keeps the store within its bounds for ever.
    fn keep_trim(&self, keep: Keep, interval: Duration) {
        let store = self.store.clone();
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(interval).await;
                let (store, keep) = (store.clone(), keep.clone());
                let _ = tokio::task::spawn_blocking(move || store.trim(&keep)).await;
            }
        });
    }

    /// What was done.
    pub(crate) fn figures(&self) -> Arc<Figures> {
        self.store.figures()
    }
}

/// Where images are kept.
pub(crate) fn directory(flags: &Flags) -> PathBuf {
    flags.images.docker_store_dir.clone().unwrap_or_else(|| flags.work_dir.join("store/docker"))
}

/// What the task changes of the image.
fn changed(config: RunConfig, changes: &Changes) -> RunConfig {
    match &changes.entrypoint {
        None => config,
        Some(program) => RunConfig { entrypoint: vec![program.clone()], cmd: Vec::new(), ..config },
    }
}

/// Why a container cannot run as a user of its image.
#[derive(Debug, thiserror::Error)]
enum RunAsError {
    #[error(transparent)]
    User(#[from] users::UserError),
    #[error("it cannot run as '{0}': only a framework whose own user is root may choose")]
    NotRoot(String),
}

/// Whom the container runs as. The image may choose in the place of root, of nobody else: it would else give the
/// framework rights that its own user has not.
fn run_as(
    user: &User,
    of_image: Option<&str>,
    credentials: Option<Credentials>,
    layers: &[PathBuf],
) -> Result<Option<Credentials>, RunAsError> {
    let is_root = credentials.as_ref().is_none_or(|credentials| credentials.uid == 0);
    let name = match (user, of_image) {
        (User::OfTask, _) | (User::OfImage, None) => return Ok(credentials),
        (User::OfImage, Some(_)) if !is_root => return Ok(credentials),
        (User::Named(name), _) if !is_root => return Err(RunAsError::NotRoot(name.clone())),
        (User::Named(name), _) => name.as_str(),
        (User::OfImage, Some(name)) => name,
    };
    let users::User { uid, gid, groups } = users::find(name, layers)?;
    Ok(Some(Credentials { uid, gid, groups }))
}

impl Furnished {
    /// The root, for the isolators to begin with.
    pub(crate) fn root(&self) -> Root {
        self.root.clone()
    }

    /// What isolators do not know of.
    pub(crate) fn complete(self, jail: &mut Jail) {
        let mut needs = |namespace| {
            if !jail.namespaces.contains(&namespace) {
                jail.namespaces.push(namespace);
            }
        };
        needs(Namespace::Mount);
        if self.changes.hostname.is_some() {
            needs(Namespace::Uts);
            jail.hostname = self.changes.hostname;
        }
        jail.directory = self.directory;
        jail.rlimits.extend(self.changes.rlimits.iter().map(|(resource, soft, hard)| Rlimit {
            resource: *resource,
            soft: *soft,
            hard: *hard,
        }));
        if let Some(bits) = self.changes.capabilities {
            // What the operator allows is the most; who is not root has none, as with Docker.
            let most = jail.capabilities.map_or(u64::MAX, |allowed| allowed.bounding);
            let bounding = bits & most;
            jail.capabilities = Some(Capabilities { effective: if self.is_root { bounding } else { 0 }, bounding });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credentials(uid: u32) -> Option<Credentials> {
        Some(Credentials { uid, gid: uid, groups: vec![uid] })
    }

    #[test]
    fn an_image_chooses_its_user_in_the_place_of_root_only() {
        let uid = |user: &User, of_image: Option<&str>, given: Option<Credentials>| {
            let result = run_as(user, of_image, given, &[]);
            result.map(|credentials| credentials.map(|credentials| credentials.uid)).map_err(|error| error.to_string())
        };
        assert_eq!(uid(&User::OfImage, Some("7"), None), Ok(Some(7)));
        assert_eq!(uid(&User::OfImage, Some("0"), credentials(5)), Ok(Some(5)), "no way up");
        assert_eq!(uid(&User::OfTask, Some("7"), None), Ok(None));
        assert_eq!(uid(&User::OfImage, None, credentials(5)), Ok(Some(5)));
        assert_eq!(uid(&User::Named("8".into()), Some("7"), credentials(0)), Ok(Some(8)));
        assert!(uid(&User::Named("8".into()), None, credentials(5)).unwrap_err().contains("'8'"));
        assert!(uid(&User::OfImage, Some("web"), None).unwrap_err().contains("'web'"));
    }

    #[test]
    fn capabilities_stay_within_what_the_operator_allows() {
        let furnished = |is_root| Furnished {
            root: Root { lower: Vec::new(), upper: "/u".into(), work: "/w".into(), read_only: false },
            directory: Some("/srv".into()),
            changes: Changes { capabilities: Some(0b110), hostname: Some("h".into()), ..Changes::default() },
            is_root,
        };
        let mut jail = Jail { capabilities: Some(Capabilities { effective: 0b1, bounding: 0b11 }), ..Jail::default() };
        furnished(true).complete(&mut jail);
        assert_eq!(jail.capabilities, Some(Capabilities { effective: 0b10, bounding: 0b10 }));
        assert_eq!(jail.namespaces, [Namespace::Mount, Namespace::Uts]);
        assert_eq!(jail.directory, Some("/srv".into()));
        let mut jail = Jail::default();
        furnished(false).complete(&mut jail);
        assert_eq!(jail.capabilities, Some(Capabilities { effective: 0, bounding: 0b110 }));
    }
}
