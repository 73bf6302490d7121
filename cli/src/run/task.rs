//! The framework and the task that `mezzo run` submits, and the offer that suffices for it.

use mezzo_sdk::{
    resources::{Resources, ResourcesError},
    v1,
};

use crate::args::Run;

/// Tasks survive a short loss of the connection, and end soon after `mezzo run` itself was killed.
const FAILOVER_TIMEOUT_SECONDS: f64 = 15.0;

/// What is to be run, ready to be placed.
#[derive(Clone, Debug)]
pub(super) struct Task {
    pub(super) id: String,
    name: String,
    command: v1::CommandInfo,
    role: String,
    user: String,
    /// The same needs, in each form in which they may be offered: unreserved, and reserved for the role.
    needs: Vec<Resources>,
}

impl Task {
    pub(super) fn new(options: &Run) -> Result<Self, ResourcesError> {
        let mut needs = vec![Resources::parse(&options.resources, "*")?];
        if options.role != "*" {
            needs.push(Resources::parse(&options.resources, &options.role)?);
        }
        let unique = uuid::Uuid::new_v4().simple().to_string();
        let first = options.command.first().map(String::as_str).unwrap_or_default();
        let name = options.name.clone().unwrap_or_else(|| options.command.join(" ").chars().take(60).collect());
        Ok(Self {
            id: format!("run-{}", &unique[..8]),
            name,
            command: command(options, first),
            role: options.role.clone(),
            user: options.user.clone().unwrap_or_else(current_user),
            needs,
        })
    }

    /// For people.
    pub(super) fn needs(&self) -> String {
        self.needs.first().map(ToString::to_string).unwrap_or_default()
    }

    pub(super) fn framework(&self) -> v1::FrameworkInfo {
        use v1::framework_info::{Capability, capability::Type};
        let capabilities = [
            Type::MultiRole,
            Type::PartitionAware,
            Type::RegionAware, // any agent will do, also one of another region than the master's
            Type::ReservationRefinement,
            Type::TaskKillingState,
        ];
        v1::FrameworkInfo {
            user: self.user.clone(),
            name: format!("mezzo run: {}", self.name),
            roles: vec![self.role.clone()],
            failover_timeout: Some(FAILOVER_TIMEOUT_SECONDS),
            hostname: nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok()),
            capabilities: capabilities.map(|kind| Capability { r#type: Some(kind as i32) }).to_vec(),
            ..Default::default()
        }
    }

    /// The task as it fits into this offer, if it does.
    pub(super) fn fit(&self, offer: &v1::Offer) -> Option<v1::TaskInfo> {
        let mut offered = Resources::from_protos(&offer.resources).ok()?.non_revocable();
        offered.unallocate();
        let fits = self.needs.iter().find(|needs| offered.contains(needs))?;
        Some(v1::TaskInfo {
            name: self.name.clone(),
            task_id: v1::TaskId { value: self.id.clone() },
            agent_id: offer.agent_id.clone(),
            resources: fits.to_protos(),
            command: Some(self.command.clone()),
            ..Default::default()
        })
    }
}

fn command(options: &Run, first: &str) -> v1::CommandInfo {
    let variables: Vec<_> = options
        .env
        .iter()
        .map(|(name, value)| v1::environment::Variable {
            name: name.clone(),
            value: Some(value.clone()),
            ..Default::default()
        })
        .collect();
    let (value, arguments) = match options.shell {
        true => (options.command.join(" "), Vec::new()),
        false => (first.to_owned(), options.command.clone()),
    };
    v1::CommandInfo {
        shell: Some(options.shell),
        value: Some(value),
        arguments,
        environment: (!variables.is_empty()).then_some(v1::Environment { variables }),
        user: options.user.clone(),
        ..Default::default()
    }
}

fn current_user() -> String {
    let uid = nix::unistd::geteuid();
    nix::unistd::User::from_uid(uid).ok().flatten().map_or_else(|| uid.to_string(), |user| user.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> Run {
        Run {
            master: None,
            role: "*".into(),
            timeout: 1.0,
            resources: "cpus:0.5;mem:64".into(),
            name: None,
            env: vec![("A".into(), "1".into())],
            user: None,
            shell: false,
            quiet: false,
            command: vec!["ls".into(), "-l x".into()],
        }
    }

    fn offer(resources: &str, role: &str) -> v1::Offer {
        let mut resources = Resources::parse(resources, "*").unwrap();
        resources.allocate(role);
        v1::Offer {
            agent_id: v1::AgentId { value: "S0".into() },
            resources: resources.to_protos(),
            ..Default::default()
        }
    }

    #[test]
    fn words_are_passed_as_they_are() {
        let task = Task::new(&options()).unwrap();
        let task = task.fit(&offer("cpus:4;mem:1024;ports:[1-2]", "*")).unwrap();
        let command = task.command.unwrap();
        assert_eq!((command.shell, command.value.as_deref()), (Some(false), Some("ls")));
        assert_eq!(command.arguments, ["ls", "-l x"]);
        assert_eq!(command.environment.unwrap().variables[0].name, "A");
        assert_eq!(task.agent_id.value, "S0");
        let shell = Task::new(&Run { shell: true, ..options() }).unwrap();
        assert_eq!((shell.command.shell, shell.command.value.as_deref()), (Some(true), Some("ls -l x")));
    }

    #[test]
    fn takes_only_what_suffices() {
        let task = Task::new(&options()).unwrap();
        assert!(task.fit(&offer("cpus:0.5;mem:64", "*")).is_some());
        assert!(task.fit(&offer("cpus:0.4;mem:64", "*")).is_none());
        assert!(task.fit(&offer("cpus:8", "*")).is_none());
    }

    #[test]
    fn resources_that_cannot_be_read_are_named() {
        assert!(Task::new(&Run { resources: "cpus:lots".into(), ..options() }).is_err());
    }
}
