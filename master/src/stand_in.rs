//! A master without a core, for load on the page's doors: as many agents and tasks as wanted, made up, and changing. Everything
//! between the published picture and the browser is the real thing. `mezzo-bench page` starts it; nothing else does.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use mezzo_api::{resources::Resources, v1};
use mezzo_election::Lease;
use mezzo_master_core::{
    description::Description,
    effect::Change,
    model::{Agent, Framework, FrameworkState, Task, TaskList},
    registry::Recovered,
};
use mezzo_server::files::Files;
use prost::Message;
use tokio::{net::TcpListener, sync::watch};

use crate::{
    flags::Flags,
    http::{self, App, Node, Role},
    identity::{Identity, seconds_since_epoch},
    link::Links,
    server::CoreHandle,
    view::Published,
};

/// Tasks of one framework.
const TASKS_PER_FRAMEWORK: usize = 1000;
/// Changes are published this often.
const STEP: Duration = Duration::from_millis(50);

/// What is made up.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Registered agents.
    pub agents: usize,
    /// Tasks, most of them running.
    pub tasks: usize,
    /// Tasks that change their state in each second.
    pub changes_per_second: usize,
}

/// Serves until the process ends.
///
/// # Errors
/// When the address cannot be listened on.
pub async fn serve(address: SocketAddr, load: Load) -> std::io::Result<()> {
    let flags = Flags::default();
    let identity = Identity::new(&flags, address, None);
    let published = Arc::new(Published::new(&Recovered::default()));
    let agents = (0..load.agents).map(|number| Change::Agent(Arc::new(agent(number))));
    let frameworks =
        (0..load.tasks.div_ceil(TASKS_PER_FRAMEWORK)).map(|number| Change::Framework(Arc::new(framework(number))));
    published.apply(agents.chain(frameworks).collect());
    published.apply((0..load.tasks).map(|number| Change::Task(Arc::new(task(&load, number, 0)))).collect());
    // Whoever connects finds all of it: what is measured is reading.
    let listener = TcpListener::bind(address).await?;
    let app = app(flags, identity, Arc::clone(&published));
    let node = Node::new(app.flags.clone(), app.identity.start_time, app.files.clone());
    node.set(Role::Leading(Arc::new(app)));
    tokio::spawn(change(published, load));
    let (_never, stop) = watch::channel(false);
    http::serve(Arc::new(node), listener, stop).await;
    Ok(())
}

/// What serves a picture without a core.
pub(crate) fn app(flags: Flags, identity: Identity, published: Arc<Published>) -> App {
    let files = Files::default();
    App {
        core: CoreHandle::of_nobody(),
        published,
        links: Arc::new(Links::new(1)),
        identity,
        file_router: mezzo_server::files::router(files.clone()),
        files,
        flags,
        rendered: Default::default(),
        joining: Default::default(),
        page: Default::default(),
        lease: Lease::standing(),
    }
}

async fn change(published: Arc<Published>, load: Load) {
    let mut ticks = tokio::time::interval(STEP);
    let each = load.changes_per_second / 20;
    for round in 1.. {
        ticks.tick().await;
        let changed = (0..each).map(|index| (round * each + index) * 7919 % load.tasks.max(1));
        published.apply(changed.map(|number| Change::Task(Arc::new(task(&load, number, round)))).collect());
    }
}

fn resources(text: &str) -> Resources {
    let mut resources = Resources::parse(text, "*").unwrap_or_default();
    resources.allocate("load");
    resources
}

fn agent(number: usize) -> Agent {
    let text = |name: &str, value: String| v1::Attribute {
        name: name.into(),
        r#type: v1::value::Type::Text as i32,
        text: Some(v1::value::Text { value }),
        ..Default::default()
    };
    let info = v1::AgentInfo {
        hostname: format!("host-{number:05}.example"),
        attributes: vec![
            text("region", format!("region-{}", number % 3)),
            text("zone", format!("zone-{}", number % 12)),
            text("rack", format!("rack-{}", number % 400)),
        ],
        ..Default::default()
    };
    Agent {
        id: format!("11111111-2222-3333-4444-555555555555-S{number}").into(),
        info: Description::new(&info),
        advertised: (IpAddr::V4(Ipv4Addr::LOCALHOST), 5051),
        peer: IpAddr::V4(Ipv4Addr::LOCALHOST),
        version: "1.11.0".into(),
        mezzo_version: None,
        capabilities: Vec::new(),
        registered_time: seconds_since_epoch(),
        reregistered_time: None,
        connected: !number.is_multiple_of(97),
        active: !number.is_multiple_of(97),
        total: Arc::new(
            Resources::parse("cpus:32;mem:131072;disk:900000;ports:[31000-32000]", "*").unwrap_or_default(),
        ),
        used: resources(&format!("cpus:{};mem:{}", number % 30 + 1, (number % 100 + 1) * 1024)),
        offered: resources("cpus:1;mem:1024"),
        warning: None,
        standing: Default::default(),
        drain_began: None,
    }
}

fn framework(number: usize) -> Framework {
    let capability =
        v1::framework_info::Capability { r#type: Some(v1::framework_info::capability::Type::MultiRole as i32) };
    let info = v1::FrameworkInfo {
        user: "root".into(),
        name: format!("framework-{number}"),
        roles: vec![format!("load/{}", number % 10)],
        capabilities: vec![capability],
        ..Default::default()
    };
    Framework {
        id: format!("11111111-2222-3333-4444-555555555555-{number:04}").into(),
        info: Arc::new(info),
        state: FrameworkState::Active,
        registered_time: seconds_since_epoch(),
        reregistered_time: seconds_since_epoch(),
        unregistered_time: 0.0,
        used: resources("cpus:100;mem:204800"),
        offered: Resources::new(),
        suppressed_roles: Vec::new(),
        offer_constraints: None,
    }
}

fn task(load: &Load, number: usize, round: usize) -> Task {
    let framework = format!("11111111-2222-3333-4444-555555555555-{:04}", number / TASKS_PER_FRAMEWORK);
    let agent = format!("11111111-2222-3333-4444-555555555555-S{}", number % load.agents.max(1));
    let id = format!("service-{}.instance-{number:06}", number % 500);
    let label = |key: &str, value: String| v1::Label { key: key.into(), value: Some(value) };
    let fixed = v1::Task {
        name: format!("service-{}", number % 500),
        task_id: v1::TaskId { value: id.clone() },
        framework_id: v1::FrameworkId { value: framework.clone() },
        agent_id: v1::AgentId { value: agent.clone() },
        resources: resources("cpus:0.5;mem:512").to_protos(),
        labels: Some(v1::Labels {
            labels: vec![label("team", format!("team-{}", number % 40)), label("version", "2026.11.24".to_owned())],
        }),
        ..Default::default()
    };
    let ended = (number + round).is_multiple_of(11);
    let state = if ended { v1::TaskState::TaskFailed } else { v1::TaskState::TaskRunning };
    let status = |state: v1::TaskState| v1::TaskStatus {
        state: state as i32,
        timestamp: Some(seconds_since_epoch()),
        message: ended.then(|| "Command exited with status 1".to_owned()),
        ..Default::default()
    };
    Task {
        framework_id: framework.into(),
        id: id.into(),
        agent_id: agent.into(),
        list: if ended { TaskList::Completed } else { TaskList::Active },
        state,
        status_update: None,
        statuses: [status(v1::TaskState::TaskStarting), status(state)].into_iter().collect(),
        fixed: fixed.encode_to_vec().into(),
    }
}
