//! Tasks in images: what they see and run as, what is kept of images, and what is not left of them.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use base64::{Engine, engine::general_purpose};
use mezzo_tests::{
    cluster::{Builder, Cluster},
    environment,
    framework::Framework,
    http,
    images::{Image, Layer, busybox},
    operator,
    ports::Ports,
    registry::{Guard, Registry},
    tasks, wait,
};
use serde_json::{Value, json};

/// A directory of images, and a cluster whose agent takes its images from there.
pub(super) struct Bench {
    images: tempfile::TempDir,
    pub(super) cluster: Cluster,
    pub(super) framework: Framework,
    _groups: super::Groups,
}

fn can_run() -> bool {
    if !environment::is_root() {
        environment::skip("images need root");
        return false;
    }
    true
}

impl Bench {
    pub(super) fn start(flags: &[&str]) -> Option<Self> {
        Self::start_with(flags, |_| {})
    }

    fn start_with(flags: &[&str], lay_out: impl FnOnce(&Path)) -> Option<Self> {
        if !can_run() {
            return None;
        }
        let images = tempfile::tempdir().unwrap();
        plain().lay_out(images.path(), "app:latest");
        lay_out(images.path());
        let name = format!("mezzo-test-images-{}-{}", std::process::id(), super::unique());
        let builder = builder(images.path()).agent_flag(&format!("--cgroups_root={name}"));
        let cluster = flags.iter().fold(builder, |builder, flag| builder.agent_flag(flag)).start();
        let framework = Framework::subscribe(cluster.master_address, tasks::framework_info("images", "images"));
        Some(Self { images, cluster, framework, _groups: super::Groups(name) })
    }

    /// Starts the agent anew, to be killed at this point; a new framework has no offers from before.
    pub(super) fn restart_with_failpoint(&mut self, point: &str) {
        self.cluster.agents[0].part.kill();
        self.cluster.agents[0].part.set_variable("MEZZO_FAILPOINT", point);
        self.cluster.agents[0].part.start();
        let agent = self.cluster.agents[0].address;
        wait::until("the agent is registered", || {
            let response = http::send(agent, &http::Request::get("/metrics/snapshot")).ok()?;
            (response.status() == 200 && response.json()["slave/registered"] == 1.0).then_some(())
        });
        self.framework = Framework::subscribe(self.cluster.master_address, tasks::framework_info("images", "images"));
    }

    /// Launches a task and waits for its end.
    pub(super) fn run(&mut self, task: Value, end: &str) -> Value {
        let id = task["task_id"]["value"].as_str().unwrap().to_owned();
        self.launch(task);
        self.framework.wait_status(&id, end)
    }

    pub(super) fn launch(&mut self, mut task: Value) {
        let offer = self.framework.wait_any_offer();
        task["agent_id"] = json!({"value": tasks::agent_of(&offer)});
        self.framework.launch(&offer, &[task]);
    }

    /// A file of a task's sandbox.
    pub(super) fn output(&self, task: &str, name: &str) -> String {
        let runs = sandboxes(&self.cluster.agents[0].work_dir, task);
        std::fs::read_to_string(runs.last().unwrap().join(name)).unwrap()
    }

    fn store(&self) -> PathBuf {
        self.cluster.agents[0].work_dir.join("store/docker")
    }

    fn count(&self, part: &str) -> usize {
        std::fs::read_dir(self.store().join(part)).unwrap().count()
    }

    fn roots(&self) -> PathBuf {
        self.cluster.agents[0].work_dir.with_file_name("run").join("roots")
    }

    fn metric(&self, name: &str) -> f64 {
        http::get_json(self.cluster.agents[0].address, "/metrics/snapshot")[name].as_f64().unwrap_or(-1.0)
    }

    /// Nothing is left of containers: no root of one, no pin, nothing half made, no mount.
    pub(super) fn wait_until_nothing_is_left(&self) {
        let place = self.roots().display().to_string();
        wait::until_true("nothing is left of containers", || {
            let roots = std::fs::read_dir(self.roots()).map_or(0, Iterator::count);
            let mounts = std::fs::read_to_string("/proc/mounts").unwrap();
            roots == 0 && self.count("pins") == 0 && self.count("staging") == 0 && !mounts.contains(&place)
        });
    }
}

fn builder(images: &Path) -> Builder {
    Cluster::builder()
        .agent_flag("--image_providers=docker")
        .agent_flag("--containerizers=mesos,docker")
        .agent_flag("--isolation=filesystem/linux,namespaces/pid")
        .agent_flag(&format!("--docker_registry=file://{}", images.display()))
}

pub(super) fn sandboxes(work_dir: &Path, task: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut below = vec![work_dir.join("slaves")];
    while let Some(directory) = below.pop() {
        for entry in std::fs::read_dir(&directory).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                below.push(entry.path());
            }
        }
        if directory.parent().is_some_and(|runs| runs.ends_with(format!("{task}/runs"))) {
            found.push(directory);
        }
    }
    found
}

/// Busybox with an entrypoint that tells what it sees.
fn plain() -> Image {
    let upper = Layer::default().directory("srv/", 0o755).file(
        "srv/show",
        0o755,
        "#!/bin/sh\necho \"$0 $* in $PWD as $(id -u):$(id -g) with $FROM\" > $MESOS_SANDBOX/shown\n",
    );
    let config = json!({"Env": ["PATH=/bin", "FROM=image"], "Entrypoint": ["./show", "a"], "Cmd": ["b"],
                        "WorkingDir": "/srv", "User": "web"});
    Image::new(vec![busybox(), upper], &config)
}

pub(super) fn in_image(id: &str, image: &str, command: Value) -> Value {
    let container = json!({"type": "MESOS", "mesos": {"image": {"type": "DOCKER", "docker": {"name": image}}}});
    let mut task = tasks::command(id, "", "");
    task["command"] = command;
    task["container"] = container;
    task
}

pub(super) fn in_docker(id: &str, image: &str, command: Value, parameters: &[(&str, &str)]) -> Value {
    let parameters: Vec<Value> = parameters.iter().map(|(key, value)| json!({"key": key, "value": value})).collect();
    let mut task = in_image(id, image, command);
    task["container"] =
        json!({"type": "DOCKER", "docker": {"image": image, "network": "HOST", "parameters": parameters}});
    task
}

fn argv(arguments: &[&str]) -> Value {
    json!({"shell": false, "arguments": arguments})
}

pub(super) fn shell(text: &str) -> Value {
    json!({"value": text})
}

#[test]
fn a_task_runs_what_its_image_says_where_and_as_whom_it_says() {
    let Some(mut bench) = Bench::start(&[]) else { return };
    bench.run(in_image("default", "app", argv(&[])), "TASK_FINISHED");
    assert_eq!(bench.output("default", "shown"), "/srv/./show a b in /srv as 1033:1034 with image\n");
    bench.run(in_image("argued", "app", argv(&["c", "d"])), "TASK_FINISHED");
    assert_eq!(bench.output("argued", "shown"), "/srv/./show a c d in /srv as 1033:1034 with image\n");
    let mut own = in_image(
        "own",
        "app",
        shell("id -un > $MESOS_SANDBOX/who; echo $FROM $MESOS_SANDBOX > $MESOS_SANDBOX/variables"),
    );
    own["command"]["user"] = json!("root");
    own["command"]["environment"] = json!({"variables": [{"name": "FROM", "value": "task"}]});
    bench.run(own, "TASK_FINISHED");
    assert_eq!(bench.output("own", "who"), "root\n");
    assert_eq!(bench.output("own", "variables"), "task /mnt/mesos/sandbox\n");
    // The root is the image's, each task has a copy of its own, and the host's is not to be seen.
    let write = "test ! -e /usr/bin/dpkg && echo x > /tmp/mine && ls / > $MESOS_SANDBOX/root";
    bench.run(in_image("writes", "app", shell(write)), "TASK_FINISHED");
    assert!(bench.output("writes", "root").contains("srv"));
    bench.run(in_image("clean", "app", shell("test ! -e /tmp/mine")), "TASK_FINISHED");
    assert_eq!((bench.metric("mezzo/images/pulled"), bench.metric("mezzo/images/count")), (1.0, 1.0));
    bench.wait_until_nothing_is_left();
}

#[test]
fn a_docker_app_as_marathon_sends_it_runs_without_docker() {
    let Some(mut bench) = Bench::start(&[]) else { return };
    bench.run(in_docker("default", "app", argv(&[]), &[]), "TASK_FINISHED");
    assert_eq!(bench.output("default", "shown"), "/srv/./show a b in /srv as 1033:1034 with image\n");
    let show = "{ hostname; id -u; pwd; echo $A; ulimit -n; grep CapBnd /proc/self/status; } > $MESOS_SANDBOX/seen";
    let parameters = [
        ("hostname", "boat"),
        ("user", "root"),
        ("workdir", "/home"),
        ("env", "A=1"),
        ("ulimit", "nofile=99"),
        ("cap-drop", "ALL"),
        ("cap-add", "CHOWN"),
        ("label", "x=y"),
    ];
    bench.run(in_docker("changed", "app", shell(show), &parameters), "TASK_FINISHED");
    let seen: Vec<String> = bench.output("changed", "seen").lines().map(str::to_owned).collect();
    assert_eq!(seen[..5], ["boat", "0", "/home", "1", "99"]);
    assert!(seen[5].ends_with("0000000000000001"), "{seen:?}");
    let read_only =
        in_docker("fixed", "app", shell("! touch /tmp/x && touch $MESOS_SANDBOX/y"), &[("read-only", "true")]);
    bench.run(read_only, "TASK_FINISHED");
    for (id, parameter, word) in
        [("device", ("device", "/dev/sda"), "'device'"), ("net", ("net", "weave"), "User-defined")]
    {
        let status = bench.run(in_docker(id, "app", shell("true"), &[parameter]), "TASK_FAILED");
        assert!(status["message"].as_str().unwrap().contains(word), "{status}");
    }
    let entrypoint =
        in_docker("entry", "app", argv(&["-c", "echo $0 > $MESOS_SANDBOX/zero"]), &[("entrypoint", "/bin/sh")]);
    bench.run(entrypoint, "TASK_FINISHED");
    bench.wait_until_nothing_is_left();
}

#[test]
fn tasks_of_a_pod_have_images_of_their_own() {
    let Some(mut bench) = Bench::start(&[]) else { return };
    let offer = bench.framework.wait_any_offer();
    let agent = tasks::agent_of(&offer).to_owned();
    let executor = json!({"type": "DEFAULT", "executor_id": {"value": "pod"}, "framework_id": bench.framework.info()["id"],
                          "resources": [tasks::scalar("cpus", 0.1), tasks::scalar("mem", 32.0), tasks::scalar("disk", 1.0)]});
    let mut inside = in_image("inside", "app", shell("test -x /srv/show"));
    let mut outside = tasks::command("outside", "", "test ! -e /srv/show");
    for task in [&mut inside, &mut outside] {
        task["agent_id"] = json!({"value": agent});
    }
    let group = json!([{"type": "LAUNCH_GROUP", "launch_group": {"executor": executor, "task_group": {"tasks": [inside, outside]}}}]);
    bench.framework.accept(&offer, group);
    bench.framework.wait_status("inside", "TASK_FINISHED");
    bench.framework.wait_status("outside", "TASK_FINISHED");
    bench.wait_until_nothing_is_left();
}

#[test]
fn a_call_launches_containers_with_images() {
    let Some(mut bench) = Bench::start(&[]) else { return };
    bench.launch(in_image("around", "app", shell("sleep 1000")));
    let status = bench.framework.wait_status("around", "TASK_RUNNING");
    let agent = bench.cluster.agents[0].address;
    let image = json!({"type": "MESOS", "mesos": {"image": {"type": "DOCKER", "docker": {"name": "app"}}}});
    let resources = json!([tasks::scalar("cpus", 0.1), tasks::scalar("mem", 32.0)]);
    for (id, resources) in [
        (json!({"value": "within", "parent": status["container_status"]["container_id"]}), json!([])),
        (json!({"value": "alone"}), resources),
    ] {
        let command = json!({"shell": false, "arguments": ["c"]});
        let launch = json!({"type": "LAUNCH_CONTAINER", "launch_container":
                            {"container_id": id, "container": image, "command": command, "resources": resources}});
        let launched = operator::call(agent, &launch);
        assert_eq!((launched.status(), launched.text()), (200, String::new()));
    }
    let shown = |path: &Path| std::fs::read_to_string(path.join("shown")).unwrap_or_default();
    let within = sandboxes(&bench.cluster.agents[0].work_dir, "around").pop().unwrap().join("containers/within");
    let alone = bench.cluster.agents[0].work_dir.join("containers/alone");
    for path in [within, alone] {
        wait::until_true("it ran as its image says", || {
            shown(&path) == "/srv/./show a c in /srv as 1033:1034 with image\n"
        });
    }
    bench.framework.call("KILL", json!({"task_id": {"value": "around"}}));
    bench.framework.wait_status("around", "TASK_KILLED");
    bench.wait_until_nothing_is_left();
}

#[test]
fn what_is_cached_needs_its_source_no_more_and_is_pruned_when_nobody_uses_it() {
    let Some(mut bench) = Bench::start(&[]) else { return };
    bench.launch(in_image("stays", "app", shell("sleep 1000")));
    bench.framework.wait_status("stays", "TASK_RUNNING");
    plain().lay_out(bench.images.path(), "other:1");
    bench.run(in_image("second", "other:1", shell("true")), "TASK_FINISHED");
    std::fs::remove_file(bench.images.path().join("index.json")).unwrap();
    bench.run(in_image("cached", "other:1", shell("true")), "TASK_FINISHED");
    let status = bench.run(in_image("absent", "third", shell("true")), "TASK_FAILED");
    assert_eq!(status["reason"], "REASON_CONTAINER_LAUNCH_FAILED");
    let message = status["message"].as_str().unwrap();
    assert!(
        message.contains("Failed to provision image 'third'") && message.contains("there is no image"),
        "{message}"
    );
    let mut fresh = in_image("fresh", "other:1", shell("true"));
    fresh["container"]["mesos"]["image"]["cached"] = json!(false);
    bench.run(fresh, "TASK_FAILED");

    let agent = bench.cluster.agents[0].address;
    let keep = json!({"type": "PRUNE_IMAGES", "prune_images": {"excluded_images": [{"type": "DOCKER", "docker": {"name": "other:1"}}]}});
    wait::until_true("the second task's container is forgotten", || bench.count("pins") == 1);
    assert_eq!(operator::call(agent, &keep).status(), 200);
    assert_eq!(bench.count("images"), 2, "one is used, the other excluded");
    assert_eq!(operator::call(agent, &json!({"type": "PRUNE_IMAGES"})).status(), 200);
    assert_eq!((bench.count("images"), bench.count("layers")), (1, 4), "its layers are those of the one that is used");
    bench.framework.call("KILL", json!({"task_id": {"value": "stays"}}));
    bench.framework.wait_status("stays", "TASK_KILLED");
    wait::until_true("it is forgotten", || bench.count("pins") == 0);
    assert_eq!(operator::call(agent, &json!({"type": "PRUNE_IMAGES"})).status(), 200);
    assert_eq!((bench.count("images"), bench.count("layers"), bench.count("staging")), (0, 0, 0));
}

#[test]
fn a_hostile_image_fails_its_task_and_touches_nothing() {
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("secret"), "kept").unwrap();
    let reach = outside.path().display().to_string();
    let secret = format!("{reach}/secret");
    let climbing = Layer::default().file("../../../../../../tmp/mezzo-escaped", 0o644, "evil");
    let through = Layer::default().symlink("d", &reach).file("d/evil", 0o644, "evil");
    let linked = Layer::default().symlink("d", &reach).link("stolen", "d/secret");
    let hidden = Layer::default().symlink("d", &reach).file("d/.wh.secret", 0, "");
    let replaced = Layer::default().symlink("s", &secret).file("s", 0o666, "evil");
    let layers =
        [("climbing", climbing), ("through", through), ("linked", linked), ("hidden", hidden), ("replaced", replaced)];
    let lay_out = |images: &Path| {
        for (name, layer) in layers {
            Image::new(vec![busybox(), layer], &json!({})).lay_out(images, &format!("{name}:latest"));
        }
    };
    let Some(mut bench) = Bench::start_with(&[], lay_out) else { return };
    for name in ["climbing", "through", "linked", "hidden"] {
        let status = bench.run(in_image(name, name, shell("true")), "TASK_FAILED");
        assert_eq!(status["reason"], "REASON_CONTAINER_LAUNCH_FAILED", "{name}");
    }
    // This one is harmless by itself: the file takes the place of the link.
    bench.run(in_image("replaced", "replaced", shell("test \"$(cat /s)\" = evil")), "TASK_FINISHED");
    // What a link of the image leads to is the container's, not the host's.
    let look = format!("test ! -e {secret} && test ! -e /proc/1/root{secret}");
    bench.run(in_image("looks", "app", shell(&look)), "TASK_FINISHED");
    assert_eq!(std::fs::read_to_string(&secret).unwrap(), "kept");
    assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 1);
    assert!(!Path::new("/tmp/mezzo-escaped").exists());
    bench.wait_until_nothing_is_left();
}

#[test]
fn an_agent_that_is_killed_at_a_step_of_a_pull_leaves_nothing_and_goes_on() {
    for step in
        ["layer-staged", "layer-fetched", "layer-unpacked", "layer-installed", "image-unpacked", "image-recorded"]
    {
        let Some(mut bench) = Bench::start(&[]) else { return };
        bench.restart_with_failpoint(step);
        bench.launch(in_image("first", "app", shell("true")));
        let ended = bench.cluster.agents[0].part.wait(Duration::from_secs(30));
        assert!(ended.is_some(), "the agent did not come to {step}");
        bench.restart_with_failpoint("");
        bench.run(in_image("second", "app", shell("true")), "TASK_FINISHED");
        assert_eq!((bench.count("layers"), bench.count("images")), (4, 1), "at {step}");
        bench.wait_until_nothing_is_left();
    }
}

#[test]
fn a_task_goes_on_over_a_restart_of_the_agent_and_its_layers_stay() {
    let Some(mut bench) = Bench::start(&[]) else { return };
    let command = "while test ! -e $MESOS_SANDBOX/go; do sleep 0.05; done; test -x /srv/show";
    bench.launch(in_image("long", "app", shell(command)));
    bench.framework.wait_status("long", "TASK_RUNNING");
    bench.cluster.restart_agent(0);
    bench.cluster.wait_until_registered(1);
    let agent = bench.cluster.agents[0].address;
    wait::until_true("the agent has recovered", || {
        operator::call(agent, &json!({"type": "PRUNE_IMAGES"})).status() == 200
    });
    assert_eq!((bench.count("images"), bench.count("layers"), bench.count("pins")), (1, 4, 1));
    let sandbox = sandboxes(&bench.cluster.agents[0].work_dir, "long").pop().unwrap();
    std::fs::write(sandbox.join("go"), "").unwrap();
    bench.framework.wait_status("long", "TASK_FINISHED");
    bench.wait_until_nothing_is_left();
}

#[test]
fn a_private_registry_is_pulled_from_with_the_agents_credentials_or_the_tasks_own() {
    if !can_run() {
        return;
    }
    if !Registry::is_installed() {
        return environment::skip("docker-registry is not installed: run `cargo xtask setup`");
    }
    let dir = tempfile::tempdir().unwrap();
    let mut ports = Ports::reserve();
    let registry = Registry::start(dir.path(), ports.take(), Guard::Token);
    registry.push(&plain(), "private/app", "1");
    let name = registry.name("private/app:1");
    let Some(mut bench) = Bench::start(&[]) else { return };
    let status = bench.run(in_image("without", &name, shell("true")), "TASK_FAILED");
    assert!(status["message"].as_str().unwrap().contains("--docker_config"), "{status}");
    let mut own = in_image("own", &name, shell("test -x /srv/show"));
    let secret = general_purpose::STANDARD.encode(registry.docker_config());
    own["container"]["mesos"]["image"]["docker"]["config"] = json!({"type": "VALUE", "value": {"data": secret}});
    bench.run(own, "TASK_FINISHED");

    let file = dir.path().join("config.json");
    std::fs::write(&file, registry.docker_config()).unwrap();
    let Some(mut bench) = Bench::start(&[&format!("--docker_config={}", file.display())]) else { return };
    bench.run(in_image("agents", &name, shell("test -x /srv/show")), "TASK_FINISHED");
    bench.wait_until_nothing_is_left();
}
