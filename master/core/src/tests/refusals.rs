//! The texts of refusals, as a real Mesos gave them.

use mezzo_api::v1::{
    self, TaskState,
    scheduler::{
        AttributeConstraint, Call, OfferConstraints, attribute_constraint as constraint, call, offer_constraints,
    },
    task_status::Reason,
};

use super::*;
use crate::validate::scheduler_call;

fn refusal(subscribe: call::Subscribe) -> String {
    let mut world = World::new();
    let stream = world.try_subscribe(subscribe);
    let events = world.events(stream);
    let [event] = &events[..] else { panic!("one ERROR is expected: {events:?}") };
    assert!(world.closed_streams.contains(&stream));
    assert!(world.view.frameworks.is_empty());
    event.error.clone().expect("ERROR").message
}

fn of_info(info: FrameworkInfo) -> String {
    refusal(call::Subscribe { framework_info: info, ..Default::default() })
}

#[test]
fn roles() {
    let cases = [
        ("", "Role names cannot be the empty string"),
        ("/", "Role '/' cannot start with a slash"),
        ("a/", "Role 'a/' cannot end with a slash"),
        ("/a", "Role '/a' cannot start with a slash"),
        ("a//b", "Role 'a//b' cannot contain two adjacent slashes"),
        (".", "Role '.' cannot include '.' as a component"),
        ("a/..", "Role 'a/..' cannot include '..' as a component"),
        ("a/*", "Role 'a/*' cannot include '*' as a component"),
        ("a/-b", "Role component '-b' is invalid because it starts with a dash"),
        ("a b", "Role component 'a b' is invalid because it contains backspace or whitespace"),
    ];
    for (role, text) in cases {
        assert_eq!(of_info(modern(role)), format!("'FrameworkInfo.roles' contains invalid role: {text}"));
    }
    assert_eq!(of_info(framework(&["dev", "dev"], &[])), "'FrameworkInfo.roles' contains duplicate items: { dev }");
    #[allow(deprecated)]
    let both = FrameworkInfo { role: Some("dev".into()), ..modern("dev") };
    assert_eq!(of_info(both), "'FrameworkInfo.role' must not be set when the framework is MULTI_ROLE capable");
    let neither = FrameworkInfo { roles: vec!["dev".into()], capabilities: Vec::new(), ..modern("dev") };
    assert_eq!(of_info(neither), "'FrameworkInfo.roles' must not be set when the framework is not MULTI_ROLE capable");
    assert_eq!(
        of_info(plain("a b")),
        "'FrameworkInfo.role' is not a valid role: Role component 'a b' is invalid because it contains backspace or whitespace"
    );
    let long = "x".repeat(300);
    for good in ["*", "ünï", "A.b_c", &long] {
        World::new().subscribe(modern(good));
    }
    World::new().subscribe(framework(&[], &[]));
}

#[test]
fn framework_infos() {
    let id = |id: &str| FrameworkInfo { id: Some(v1::FrameworkId { value: id.into() }), ..modern("dev") };
    assert_eq!(of_info(id("a/b")), "'a/b' contains invalid characters");
    assert_eq!(of_info(id("a\\b")), "'a\\b' contains invalid characters");
    assert_eq!(of_info(id("a\nb")), "'a\nb' contains invalid characters");
    assert_eq!(of_info(id("..")), "'..' is disallowed");
    assert_eq!(of_info(id(&"x".repeat(256))), "ID must not be greater than 255 characters");
    World::new().subscribe(id("a b"));
    let timeout = |seconds| FrameworkInfo { failover_timeout: Some(seconds), ..modern("dev") };
    assert_eq!(of_info(timeout(1e30)), "The framework failover_timeout (1e+30) is invalid");
    assert_eq!(of_info(timeout(f64::INFINITY)), "The framework failover_timeout (inf) is invalid");
    World::new().subscribe(timeout(-1.0));
    let minimum = |quantities: &[(&str, f64)]| {
        let quantities =
            quantities.iter().map(|(name, value)| ((*name).to_owned(), v1::value::Scalar { value: *value }));
        let quantities = vec![v1::offer_filters::ResourceQuantities { quantities: quantities.collect() }];
        let min = v1::offer_filters::MinAllocatableResources { quantities };
        let filters = v1::OfferFilters { min_allocatable_resources: Some(min) };
        FrameworkInfo { offer_filters: [("dev".to_owned(), filters)].into(), ..modern("dev") }
    };
    assert_eq!(of_info(minimum(&[])), "Resource quantities must contain at least one quantity");
    assert_eq!(
        of_info(minimum(&[("cpus", -1.0)])),
        "Invalid resource quantity for 'cpus': Negative values not supported"
    );
}

#[test]
fn the_masters_own_rules() {
    let refused = |config: Config, info: FrameworkInfo| {
        let mut world = World::with(config, Recovered::default());
        let stream = world.try_subscribe(call::Subscribe { framework_info: info, ..Default::default() });
        world.events(stream).remove(0).error.unwrap().message
    };
    let whitelist = Config { roles: Some(vec!["ops".into()]), ..config() };
    assert_eq!(refused(whitelist, modern("dev")), "Roles { dev } are not present in the master's --roles");
    let no_root = Config { root_submissions: false, ..config() };
    assert_eq!(
        refused(no_root, modern("dev")),
        "User 'root' is not allowed to run frameworks without --root_submissions set"
    );
}

#[test]
fn suppressed_roles_and_constraints() {
    let suppressed = |role: &str| {
        let suppressed_roles = vec![role.to_owned()];
        refusal(call::Subscribe { framework_info: modern("dev"), suppressed_roles, ..Default::default() })
    };
    assert_eq!(suppressed("zzz"), "Suppressed roles { zzz } are not contained in the set of roles");
    let constrained = |role: &str, groups: Vec<Vec<AttributeConstraint>>| {
        let group = |attribute_constraints| offer_constraints::role_constraints::Group { attribute_constraints };
        let role_constraints = offer_constraints::RoleConstraints { groups: groups.into_iter().map(group).collect() };
        let constraints = OfferConstraints { role_constraints: [(role.to_owned(), role_constraints)].into() };
        refusal(call::Subscribe {
            framework_info: modern("dev"),
            offer_constraints: Some(constraints),
            ..Default::default()
        })
    };
    let name = Some(constraint::selector::Selector::AttributeName("x".into()));
    let exists = Some(constraint::predicate::Predicate::Exists(constraint::predicate::Exists {}));
    let matches = |regex: &str| {
        Some(constraint::predicate::Predicate::TextMatches(constraint::predicate::TextMatches { regex: regex.into() }))
    };
    let one = |selector, predicate| AttributeConstraint {
        selector: constraint::Selector { selector },
        predicate: constraint::Predicate { predicate },
    };
    assert_eq!(
        constrained("zzz", vec![vec![one(name.clone(), exists.clone())]]),
        "Offer constraints specify `role_constraints` for a role 'zzz'not contained in the set of roles"
    );
    assert_eq!(
        constrained("dev", vec![]),
        "Offer constraints are not valid: 'OfferConstraints::role_constraints' has an empty 'RoleConstraints::groups' for role dev"
    );
    assert_eq!(
        constrained("dev", vec![vec![]]),
        "Offer constraints are not valid: 'OfferConstraints::RoleConstraints::groups' for role devcontains an empty RoleConstraints::Group"
    );
    let invalid = |detail: &str| {
        format!("Offer constraints are not valid: A role dev has an invalid 'AttributeConstraint': {detail}")
    };
    assert_eq!(
        constrained("dev", vec![vec![one(None, exists)]]),
        invalid(
            "Exactly one of 'AttributeConstraint::Selector::name' or 'AttributeConstraint::Selector::pseudoattribute_type' must be set"
        )
    );
    assert_eq!(constrained("dev", vec![vec![one(name.clone(), None)]]), invalid("Unknown predicate type"));
    assert_eq!(
        constrained("dev", vec![vec![one(name.clone(), matches("("))]]),
        invalid("Failed to construct regex from pattern '(': missing ): (")
    );
    assert_eq!(
        constrained("dev", vec![vec![one(name, matches("(a{1000}){100}"))]]),
        invalid("Failed to construct regex from pattern '(a{1000}){100}': invalid repetition size: {100}")
    );
}

/// One launch on a fresh offer of role `dev`; the answer is the master's refusal, if it is one.
fn launched(change: impl FnOnce(&mut TaskInfo)) -> Option<String> {
    let mut world = World::new();
    let agent = world.agent(AGENT_RESOURCES);
    let scheduler = world.subscribe(modern("dev"));
    let offer = world.offer(&scheduler);
    let mut info = task("t", &offer);
    change(&mut info);
    let agent_id = info.agent_id.clone();
    world.launch(&scheduler, &offer, vec![info], 3600.0);
    let mut updates = world.updates(&scheduler);
    if updates.is_empty() {
        assert_eq!(world.messages(agent.link).len(), 1);
        return None;
    }
    let status = updates.remove(0);
    assert_eq!((status.state(), status.reason()), (TaskState::TaskError, Reason::TaskInvalid));
    assert_eq!((status.source(), status.uuid.clone(), status.executor_id.clone()), (Source::Master, None, None));
    assert_eq!(status.agent_id, Some(agent_id));
    assert!(world.view.agents[agent.id.as_str()].used.is_empty());
    world.quiet();
    Some(status.message().to_owned())
}

#[track_caller]
fn refused(expected: &str, change: impl FnOnce(&mut TaskInfo)) {
    assert_eq!(launched(change).as_deref(), Some(expected));
}

const FREE: &str =
    "ports(allocated: dev):[31000-32000]; cpus(allocated: dev):4; mem(allocated: dev):4096; disk(allocated: dev):10000";

#[test]
fn resources_of_tasks() {
    let scalar = |name: &str, value: f64| v1::Resource {
        name: name.into(),
        r#type: v1::value::Type::Scalar.into(),
        scalar: Some(v1::value::Scalar { value }),
        ..Default::default()
    };
    let cases = [
        (scalar("cpus", -1.0), "Resource 'cpus:-1' is invalid: Invalid scalar resource: value <= 0"),
        (scalar("cpus", 0.0001), "Resource 'cpus:0' is invalid: Invalid scalar resource: value <= 0"),
        (scalar("", 1.0), "Resource ':1' is invalid: Empty resource name"),
        (v1::Resource { scalar: None, ..scalar("cpus", 1.0) }, "Resource 'cpus:0' is invalid: Invalid scalar resource"),
        (
            scalar("gpus", 0.5),
            "Task uses invalid resources: Invalid 'gpus' resource: The 'gpus' resource must be an unsigned integer",
        ),
    ];
    for (resource, text) in cases {
        refused(text, |task| task.resources.push(resource));
    }
    assert_eq!(launched(|task| task.resources[0] = scalar("cpus", 0.0)), None, "an explicit nothing is accepted");
    refused("Task uses no resources", |task| task.resources.clear());
    let total = |asked: &str| {
        format!("Total resources {asked} required by task and its executor is more than available {FREE}")
    };
    refused(&total("cpus(allocated: dev):100; mem(allocated: dev):32"), |task| {
        task.resources = resources("cpus:100;mem:32")
    });
    refused(&total("cpus(allocated: dev):0.1; widgets(allocated: dev):1"), |task| {
        task.resources = resources("cpus:0.1;widgets:1");
    });
    refused(&total("ports(allocated: dev):[1-10]"), |task| task.resources = resources("ports:[1-10]"));
    refused(&total("cpus(allocated: dev)(reservations: [(STATIC,dev)]):1"), |task| {
        task.resources = resources("cpus(dev):1")
    });
    refused(&total("cpus(allocated: zzz):1"), |task| {
        task.resources = resources("cpus:1");
        task.resources[0].allocation_info = Some(v1::resource::AllocationInfo { role: Some("zzz".into()) });
    });
    refused(&total("cpus(allocated: dev){REV}:1"), |task| {
        task.resources = resources("cpus:1");
        task.resources[0].revocable = Some(v1::resource::RevocableInfo {});
    });
    refused(
        "Task mixes revocable and non-revocable resources: Cannot use both revocable and non-revocable 'cpus' at the same time",
        |task| {
            let mut revocable = resources("cpus:1");
            revocable[0].revocable = Some(v1::resource::RevocableInfo {});
            task.resources.extend(revocable);
        },
    );
}

#[test]
fn ids_of_tasks_and_agents() {
    let id = |text: &str| {
        let value = text.to_owned();
        move |task: &mut TaskInfo| task.task_id.value = value
    };
    refused("ID must not be empty", id(""));
    refused("'a/b' contains invalid characters", id("a/b"));
    refused("'..' is disallowed", id(".."));
    refused("ID must not be greater than 255 characters", id(&"t".repeat(256)));
    refused("'a\nb' contains invalid characters", id("a\nb"));
    assert_eq!(launched(id("a é b")), None);
    assert_eq!(launched(|task| task.name.clear()), None);
    refused("Task uses invalid agent S-none while agent m-S0 is expected", |task| {
        task.agent_id.value = "S-none".into()
    });
}

#[test]
fn an_id_in_use_is_refused_and_a_finished_one_is_not() {
    let mut world = World::new();
    let agent = world.agent(AGENT_RESOURCES);
    let scheduler = world.subscribe(modern("dev"));
    let offer = world.offer(&scheduler);
    world.launch(&scheduler, &offer, vec![task("t", &offer), task("t", &offer)], 0.0);
    assert_eq!(world.updates(&scheduler)[0].message(), "Task has duplicate ID: t");
    let finished = world.update(&agent, &scheduler, "t", TaskState::TaskFinished);
    world.settle();
    let offer = world.events(scheduler.stream).pop().unwrap().offers.unwrap().offers.remove(0);
    world.launch(&scheduler, &offer, vec![task("t", &offer)], 0.0);
    assert_eq!(world.updates(&scheduler)[0].message(), "Task has duplicate ID: t", "its end is not acknowledged");
    world.acknowledge(&scheduler, &finished);
    world.pass(std::time::Duration::from_secs(2));
    let offer = world.events(scheduler.stream).pop().unwrap().offers.unwrap().offers.remove(0);
    world.launch(&scheduler, &offer, vec![task("t", &offer)], 3600.0);
    assert!(world.updates(&scheduler).is_empty());
}

#[test]
fn commands_and_environments() {
    let variable = |change: fn(&mut v1::environment::Variable)| {
        move |task: &mut TaskInfo| {
            let mut variable = v1::environment::Variable { name: "X".into(), ..Default::default() };
            change(&mut variable);
            task.command.as_mut().unwrap().environment = Some(v1::Environment { variables: vec![variable] });
        }
    };
    let invalid = |detail: &str| format!("Task's `CommandInfo` is invalid: {detail}");
    refused(&invalid("Environment variable 'X' of type 'VALUE' must have a value set"), variable(|_| {}));
    refused(
        &invalid("Environment variable 'X' of type 'SECRET' must have a secret set"),
        variable(|variable| variable.r#type = Some(v1::environment::variable::Type::Secret.into())),
    );
    assert_eq!(launched(variable(|variable| variable.value = Some("1".into()))), None);
    assert_eq!(launched(|task| task.command.as_mut().unwrap().value = None), None, "that is the agent's affair");
    let one = "Task should have at least one (but not both) of CommandInfo or ExecutorInfo present";
    refused(one, |task| task.command = None);
    refused(one, |task| task.executor = Some(Box::new(custom_executor("e"))));
}

#[test]
fn containers_checks_and_limits() {
    let container = |change: fn(&mut v1::ContainerInfo)| {
        move |task: &mut TaskInfo| {
            let mut container =
                v1::ContainerInfo { r#type: v1::container_info::Type::Mesos.into(), ..Default::default() };
            change(&mut container);
            task.container = Some(Box::new(container));
        }
    };
    refused(
        "Task's `ContainerInfo` is invalid: DockerInfo 'docker' is not set for DOCKER typed ContainerInfo",
        container(|container| container.r#type = v1::container_info::Type::Docker.into()),
    );
    refused(
        "Task's `ContainerInfo` is invalid: Invalid volume: Only one of them should be set: 'host_path', 'image' and 'source'",
        container(|container| container.volumes.push(v1::Volume::default())),
    );
    let health = |change: fn(&mut v1::HealthCheck)| {
        move |task: &mut TaskInfo| {
            let mut check = v1::HealthCheck::default();
            change(&mut check);
            task.health_check = Some(Box::new(check));
        }
    };
    let invalid = |detail: &str| format!("Task uses invalid health check: {detail}");
    let http = |check: &mut v1::HealthCheck, path: Option<&str>, scheme: Option<&str>| {
        check.r#type = Some(v1::health_check::Type::Http.into());
        check.http = Some(v1::health_check::HttpCheckInfo {
            port: 80,
            path: path.map(Into::into),
            scheme: scheme.map(Into::into),
            ..Default::default()
        });
    };
    refused(&invalid("HealthCheck must specify 'type'"), health(|_| {}));
    refused(
        &invalid("Expecting 'http' to be set for HTTP health check"),
        health(|check| check.r#type = Some(v1::health_check::Type::Http.into())),
    );
    refused(&invalid("The path 'x' of HTTP health check must start with '/'"), |task| {
        http(task.health_check.insert(Box::new(v1::HealthCheck::default())), Some("x"), None);
    });
    refused(&invalid("Unsupported HTTP health check scheme: 'ftp'"), |task| {
        http(task.health_check.insert(Box::new(v1::HealthCheck::default())), None, Some("ftp"));
    });
    refused(
        &invalid("Expecting 'delay_seconds' to be non-negative"),
        health(|check| {
            check.command = Some(v1::CommandInfo { value: Some("true".into()), ..Default::default() });
            check.delay_seconds = Some(-1.0); // the type is inferred
        }),
    );
    let check = |kind: v1::check_info::Type| v1::CheckInfo { r#type: Some(kind.into()), ..Default::default() };
    refused("Task uses invalid check: 'UNKNOWN' is not a valid check type", |task| {
        task.check = Some(Box::new(check(v1::check_info::Type::Unknown)));
    });
    refused("Task uses invalid check: Expecting 'command' to be set for COMMAND check", |task| {
        task.check = Some(Box::new(check(v1::check_info::Type::Command)));
    });
    refused("Task's `max_completion_time` must be non-negative", |task| {
        task.max_completion_time = Some(v1::DurationInfo { nanoseconds: -1 });
    });
    refused("Task's 'kill_policy.grace_period' must be non-negative", |task| {
        task.kill_policy = Some(v1::KillPolicy { grace_period: Some(v1::DurationInfo { nanoseconds: -1 }) });
    });
    let limit = |name: &str, value: f64| {
        let name = name.to_owned();
        move |task: &mut TaskInfo| {
            task.limits.insert(name, v1::value::Scalar { value });
        }
    };
    refused("The cpu limit must be greater than or equal to the cpu request", limit("cpus", 0.01));
    refused("Only cpus and mem may be included in a task's resource limits", limit("disk", 1.0));
    assert_eq!(launched(limit("mem", f64::INFINITY)), None);
}

#[test]
fn executors_of_tasks() {
    let executor = |change: fn(&mut v1::ExecutorInfo)| {
        move |task: &mut TaskInfo| {
            let mut executor = custom_executor("e");
            change(&mut executor);
            task.command = None;
            task.executor = Some(Box::new(executor));
        }
    };
    refused(
        "ExecutorInfo has an invalid FrameworkID (Actual: zz vs Expected: m-0000)",
        executor(|executor| executor.framework_id = Some(v1::FrameworkId { value: "zz".into() })),
    );
    refused(
        "'ExecutorInfo.type' must be 'CUSTOM'",
        executor(|executor| {
            executor.r#type = Some(v1::executor_info::Type::Default.into());
            executor.command = None;
        }),
    );
    refused("'ExecutorInfo.command' must be set", executor(|executor| executor.command = None));
    refused("ID must not be empty", executor(|executor| executor.executor_id.value.clear()));
    assert_eq!(launched(executor(|_| {})), None);
}

#[test]
fn task_groups() {
    let mut world = World::new();
    world.agent(AGENT_RESOURCES);
    let scheduler = world.subscribe(modern("dev"));
    let offer = world.offer(&scheduler);
    let base = super::accept::group_executor("de", &scheduler.id);
    let no_framework = v1::ExecutorInfo { framework_id: None, ..base.clone() };
    let no_disk = v1::ExecutorInfo { resources: resources("cpus:0.5;mem:64"), ..base.clone() };
    let no_type = v1::ExecutorInfo { r#type: None, ..base.clone() };
    let little = v1::ExecutorInfo { resources: resources("cpus:0.5;mem:1;disk:1"), ..base.clone() };
    let cases = [
        (no_framework, "'ExecutorInfo.framework_id' must be set"),
        (no_disk, "Executor 'de' uses no disk"),
        (no_type, "'ExecutorInfo.type' must be set"),
        (little, "Executor 'de' uses less memory (1MB) than the minimum required (32MB)"),
    ];
    let bare_task = |index: usize| TaskInfo { command: None, ..task(&format!("g{index}"), &offer) };
    let groups = cases.iter().enumerate();
    let operations =
        groups.map(|(index, (executor, _))| super::accept::group(executor.clone(), vec![bare_task(index)])).collect();
    world.accepted(&scheduler, accept(&[&offer], operations, 3600.0));
    let updates = world.updates(&scheduler);
    let told: Vec<_> = updates.iter().map(TaskStatus::message).collect();
    assert_eq!(told, cases.map(|(_, text)| text));
    assert!(updates.iter().all(|update| update.reason() == Reason::TaskGroupInvalid));
    world.quiet();
}

#[test]
fn ids_of_launch_operations_and_unknown_operations() {
    let mut world = World::new();
    world.agent(AGENT_RESOURCES);
    let scheduler = world.subscribe(modern("dev"));
    let offer = world.offer(&scheduler);
    let with_id = Operation { id: Some(v1::OperationId { value: "i".into() }), ..launch(vec![task("t", &offer)]) };
    let without_type = Operation { r#type: None, ..with_id.clone() };
    let unknown = Operation { r#type: Some(99), ..with_id.clone() };
    let without_payload = Operation { launch: None, id: None, ..with_id.clone() };
    let operations = vec![with_id, without_type, unknown, without_payload];
    world.accepted(&scheduler, accept(&[&offer], operations, 3600.0));
    let updates = world.updates(&scheduler);
    assert_eq!(updates.len(), 1);
    assert_eq!(updates[0].message(), "The `id` field cannot be set on LAUNCH operations");
    world.quiet();
}

#[test]
fn malformed_calls() {
    let check = |call: Call| scheduler_call(&call, Some("p")).map_err(|error| error.to_string());
    let fails = |call: Call, detail: &str| {
        assert_eq!(check(call), Err(format!("Failed to validate scheduler::Call: {detail}")));
    };
    let id = Some(v1::FrameworkId { value: "f".into() });
    fails(Call::default(), "Expecting 'type' to be present");
    fails(Call { r#type: Some(99), ..Default::default() }, "Expecting 'type' to be present");
    for kind in 1..=17 {
        let kind = call::Type::try_from(kind).unwrap();
        let call = Call { framework_id: id.clone(), ..bare(kind) };
        let free = [call::Type::Teardown, call::Type::Revive, call::Type::Suppress];
        if free.contains(&kind) {
            assert_eq!(check(call), Ok(()));
        } else {
            fails(call, &format!("Expecting '{}' to be present", kind.as_str_name().to_ascii_lowercase()));
        }
        if kind != call::Type::Subscribe {
            fails(bare(kind), "Expecting 'framework_id' to be present");
        }
    }
    let subscribe = |info: FrameworkInfo, framework_id: Option<v1::FrameworkId>| Call {
        subscribe: Some(Box::new(call::Subscribe { framework_info: info, ..Default::default() })),
        framework_id,
        ..bare(call::Type::Subscribe)
    };
    fails(subscribe(modern("dev"), id.clone()), "'framework_id' differs from 'subscribe.framework_info.id'");
    let named = FrameworkInfo { principal: Some("q".into()), ..modern("dev") };
    fails(subscribe(named, None), "Authenticated principal 'p' does not match principal 'q' set in `FrameworkInfo`");
    assert_eq!(check(subscribe(modern("dev"), None)), Ok(()));
    let acknowledge = |uuid: &[u8]| Call {
        framework_id: id.clone(),
        acknowledge: Some(call::Acknowledge { uuid: uuid.to_vec().into(), ..Default::default() }),
        ..bare(call::Type::Acknowledge)
    };
    for wrong in [&b""[..], b"xxxxxxxxxxxxxxx", b"yyyyyyyyyyyyyyyy", &[0; 16]] {
        fails(acknowledge(wrong), "Not a valid UUID");
    }
    assert_eq!(check(acknowledge(uuid::Uuid::from_u128(0x4000 << 64).as_bytes())), Ok(()));
    let update = Call {
        framework_id: id,
        update_framework: Some(Box::new(call::UpdateFramework { framework_info: modern("dev"), ..Default::default() })),
        ..bare(call::Type::UpdateFramework)
    };
    fails(update, "'framework_id' differs from 'update_framework.framework_info.id'");
}
