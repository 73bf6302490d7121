//! Containers that are made of images, as the core asks for them.

mod support;

use mezzo_agent_core::{
    config::Config,
    container::{Command, ContainerEvent},
    image::{Images, User},
    isolation::Abilities,
    network,
};
use mezzo_api::{
    link::{self, to_agent},
    v1::{
        self, TaskState,
        container_info::{self, docker_info::Network},
        image,
        task_status::Reason,
    },
};
use support::*;

const ALL: Images = Images { mesos: true, docker: true };

/// An agent whose containers have mounts, and images as said.
fn agent(images: Images) -> Agent {
    let abilities = Abilities { mounts: true, ..Abilities::default() };
    let mut agent = Agent::recover_with(Config { images, abilities, ..config() }, Vec::new(), 1);
    agent.link_up();
    agent.say(to_agent::Message::Registered(link::Registered {
        agent_id: v1::AgentId { value: AGENT.into() },
        total_ping_timeout_ms: 75_000,
    }));
    agent.effects.clear();
    agent
}

fn of_image(command: v1::CommandInfo) -> v1::TaskInfo {
    let docker = v1::image::Docker { name: "app".into(), ..Default::default() };
    let image = v1::Image { r#type: image::Type::Docker as i32, docker: Some(docker), ..Default::default() };
    let container = v1::ContainerInfo {
        r#type: container_info::Type::Mesos as i32,
        mesos: Some(container_info::MesosInfo { image: Some(image) }),
        ..Default::default()
    };
    v1::TaskInfo { command: Some(command), container: Some(Box::new(container)), ..command_task("t", "") }
}

fn of_docker(command: v1::CommandInfo, network: Network) -> v1::TaskInfo {
    let docker = container_info::DockerInfo {
        image: "app".into(),
        network: Some(network as i32),
        force_pull_image: Some(true),
        ..Default::default()
    };
    let container =
        v1::ContainerInfo { r#type: container_info::Type::Docker as i32, docker: Some(docker), ..Default::default() };
    v1::TaskInfo { container: Some(Box::new(container)), ..of_image(command) }
}

fn argv(value: Option<&str>, arguments: &[&str]) -> v1::CommandInfo {
    v1::CommandInfo {
        shell: Some(false),
        value: value.map(str::to_owned),
        arguments: arguments.iter().map(|argument| (*argument).to_owned()).collect(),
        ..Default::default()
    }
}

fn image_command(arguments: &[&str]) -> Command {
    Command::Image(arguments.iter().map(|argument| (*argument).to_owned()).collect())
}

#[test]
fn a_task_without_a_program_runs_that_of_its_image() {
    let mut agent = agent(ALL);
    agent.say(run_task(&modern(), &of_image(argv(None, &["a"])), true));
    let launch = agent.take_launch();
    assert_eq!(launch.command, image_command(&["a"]));
    let image = launch.image.unwrap();
    assert_eq!((image.name.as_str(), image.cached, image.user), ("app", true, User::OfImage));
    assert!(launch.isolation.unwrap().info.is_some());
}

#[test]
fn a_docker_container_becomes_one_of_mesos_with_an_image() {
    let mut agent = agent(ALL);
    agent.say(run_task(&modern(), &of_docker(argv(Some("v"), &["a"]), Network::Host), true));
    let launch = agent.take_launch();
    assert_eq!(launch.command, image_command(&["v", "a"]), "the value is an argument of the entrypoint");
    assert!(!launch.image.unwrap().cached);
    let info = launch.isolation.unwrap().info.unwrap();
    assert_eq!((info.r#type(), info.docker), (container_info::Type::Mesos, None));
}

#[test]
fn what_cannot_be_had_fails_the_task_by_name() {
    for (images, task, word) in [
        (Images::default(), of_image(argv(None, &[])), "--image_providers"),
        (Images { docker: false, ..ALL }, of_docker(argv(None, &[]), Network::Host), "unknown container"),
        (ALL, of_docker(argv(None, &[]), Network::User), "User-defined"),
    ] {
        let mut agent = agent(images);
        agent.say(run_task(&modern(), &task, true));
        let status = agent.take_update();
        assert_eq!(status.state(), TaskState::TaskFailed);
        assert!(status.message().contains(word), "{word}: {}", status.message());
        let expected =
            if word == "unknown container" { Reason::ExecutorTerminated } else { Reason::ContainerLaunchFailed };
        assert_eq!(status.reason(), expected);
        assert!(agent.take_launches().is_empty());
    }
}

#[test]
fn a_shell_command_and_an_own_user_stand_above_the_image() {
    let mut agent = agent(ALL);
    let command = v1::CommandInfo { value: Some("echo".into()), user: Some("alice".into()), ..Default::default() };
    agent.say(run_task(&modern(), &of_image(command), true));
    let launch = agent.take_launch();
    assert_eq!(launch.command, Command::Shell("echo".into()));
    assert_eq!((launch.user.as_deref(), launch.image.unwrap().user), (Some("alice"), User::OfTask));
}

#[test]
fn tasks_of_a_pod_have_images_and_its_executor_has_none() {
    let mut agent = agent(ALL);
    let task = of_image(argv(None, &[]));
    agent.say(run_group(&modern(), &pod("p"), std::slice::from_ref(&task), true));
    assert!(agent.take_launch().image.is_some());

    let mut agent = self::agent(ALL);
    let executor = v1::ExecutorInfo { container: task.container.clone(), ..pod("p") };
    agent.say(run_group(&modern(), &executor, &[command_task("t", "true")], true));
    let status = agent.take_update();
    assert!(status.message().contains("give the image to its tasks"), "{}", status.message());
}

#[test]
fn a_network_of_its_own_is_launched_with_and_told_with_its_address() {
    let mut agent = agent(ALL);
    agent.say(run_task(&modern(), &of_docker(argv(None, &[]), Network::Bridge), true));
    let launch = agent.take_launch();
    assert_eq!(launch.network, Some(network::Network::Bridge(Vec::new())));
    let libprocess = launch.environment.iter().find(|(name, _)| name == "LIBPROCESS_IP");
    assert_eq!(libprocess.map(|(_, value)| value.as_str()), Some("0.0.0.0"), "the agent's address is not its own");
    let running = ContainerEvent::Running { pid: 7, address: Some([10, 213, 0, 2].into()) };
    agent.container(&launch.container_id, running);
    let starting = agent.take_update();
    let networks = starting.container_status.unwrap().network_infos;
    assert_eq!(networks[0].ip_addresses[0].ip_address(), "10.213.0.2");
}
