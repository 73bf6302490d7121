//! Against a real server.

use std::{
    net::TcpListener,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use mezzo_api::{ids::AgentId, v1};
use tempfile::TempDir;
use zookeeper_client::Stat;

use super::*;

const JAVA_PATH: &str = "/usr/share/java/zookeeper.jar:/usr/share/java/slf4j-simple.jar";

/// One server, as a plain process.
struct Server {
    process: Child,
    port: u16,
    _dir: TempDir,
}

impl Server {
    fn start() -> Option<Self> {
        if !Path::new("/usr/share/java/zookeeper.jar").exists() {
            let ci = std::env::var("CI").is_ok_and(|value| !value.is_empty() && value != "false" && value != "0");
            assert!(!ci, "package zookeeper is missing: run `cargo xtask setup`");
            eprintln!("\n!!! SKIPPED: package zookeeper is missing: run `cargo xtask setup`\n");
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let settings = format!(
            "tickTime=500\ninitLimit=10\nsyncLimit=5\ndataDir={}\nclientPort={port}\nclientPortAddress=127.0.0.1\n\
             admin.enableServer=false\nforceSync=no\nmaxClientCnxns=0\n",
            dir.path().join("data").display()
        );
        std::fs::write(dir.path().join("zoo.cfg"), settings).unwrap();
        let process = Command::new("java")
            .args(["-Xms32m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", JAVA_PATH])
            .arg("org.apache.zookeeper.server.quorum.QuorumPeerMain")
            .arg(dir.path().join("zoo.cfg"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Some(Self { process, port, _dir: dir })
    }

    async fn client(&self) -> Client {
        for _ in 0..300 {
            let connector = Client::connector().with_session_timeout(Duration::from_secs(4));
            if let Ok(client) = connector.connect(&format!("127.0.0.1:{}", self.port)).await {
                return client;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("ZooKeeper does not answer");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

const PATH: &str = "/some/mezzo";

async fn open_empty() -> CreateOptions<'static> {
    CreateMode::Persistent.with_acls(Acls::anyone_all())
}

/// A master's own election znode.
async fn elected(client: &Client) -> Fence {
    client.mkdir(PATH, &open_empty().await).await.unwrap();
    let options = CreateMode::EphemeralSequential.with_acls(Acls::anyone_all());
    let (stat, number) = client.create(&format!("{PATH}/json.info_"), b"{}", &options).await.unwrap();
    let stat: Stat = stat;
    Fence { znode: Some(format!("{PATH}/json.info_{number}")), term: u64::try_from(stat.czxid).unwrap() }
}

async fn open(client: &Client, fence: &Fence) -> Result<Opened, RegistryFailure> {
    ZooKeeper::open(client.clone(), PATH, fence.clone(), Acls::anyone_all()).await
}

fn agent(id: &str, hostname: &str) -> v1::AgentInfo {
    v1::AgentInfo { id: Some(v1::AgentId { value: id.into() }), hostname: hostname.into(), ..Default::default() }
}

fn put(id: &str, hostname: &str) -> RegistryOp {
    RegistryOp::PutAgent(Box::new(agent(id, hostname)))
}

/// As the writer's thread does it.
async fn apply(opened: &mut Opened, batches: Vec<Vec<RegistryOp>>) -> Result<(), RegistryFailure> {
    tokio::task::block_in_place(|| opened.registry.apply(&batches))
}

fn ids(found: &[(AgentId, i64)]) -> Vec<&str> {
    found.iter().map(|(id, _)| id.as_str()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_next_leader_finds_what_was_written_and_the_former_writes_no_more() {
    let Some(server) = Server::start() else { return };
    let (first, second) = (server.client().await, server.client().await);
    let (fence, next) = (elected(&first).await, elected(&second).await);
    let mut opened = open(&first, &fence).await.unwrap();
    assert_eq!(opened.recovered, Recovered::default());
    let batches = vec![
        vec![put("a", "h"), put("b", "h"), put("c", "h"), put("d", "h")],
        vec![RegistryOp::MarkUnreachable("b".into(), 5), RegistryOp::MarkGone("c".into(), 6)],
        vec![RegistryOp::RemoveAgent("d".into()), RegistryOp::RemoveAgent("never there".into())],
        vec![RegistryOp::CompleteFramework("f2".into()), RegistryOp::CompleteFramework("a/b%".into())],
        vec![RegistryOp::CompleteFramework("f2".into()), put("a", "new")],
    ];
    apply(&mut opened, batches.clone()).await.unwrap();
    // What has an unknown outcome is asked again.
    apply(&mut opened, batches).await.unwrap();

    first.delete(fence.znode.as_deref().unwrap(), None).await.unwrap();
    let refused = apply(&mut opened, vec![vec![RegistryOp::RemoveAgent("a".into())]]).await;
    assert!(matches!(refused, Err(RegistryFailure::Fenced)), "{refused:?}");
    assert!(matches!(open(&first, &fence).await, Err(RegistryFailure::Fenced)));

    let mut opened = open(&second, &next).await.unwrap();
    assert_eq!((opened.term, opened.damaged.len()), (next.term, 0));
    assert_eq!(opened.recovered.agents.messages(), [agent("a", "new")]);
    assert_eq!(ids(&opened.recovered.unreachable), ["b"]);
    assert_eq!(opened.recovered.gone, [("c".into(), 6)]);
    assert_eq!(opened.recovered.completed_frameworks, ["f2".into(), "a/b%".into()]);
    apply(&mut opened, vec![vec![put("b", "back")], vec![RegistryOp::CompleteFramework("f3".into())]]).await.unwrap();
    let opened = open(&second, &next).await.unwrap();
    assert_eq!(opened.recovered.agents.len(), 2);
    assert_eq!(opened.recovered.unreachable, []);
    assert_eq!(opened.recovered.completed_frameworks.len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_record_is_named_and_costs_no_other() {
    let Some(server) = Server::start() else { return };
    let client = server.client().await;
    let fence = elected(&client).await;
    let mut opened = open(&client, &fence).await.unwrap();
    apply(&mut opened, vec![vec![put("a", "h"), put("b", "h"), RegistryOp::CompleteFramework("f".into())]])
        .await
        .unwrap();
    let damaged = format!("{PATH}_registry/{}", Place::of(Kind::Agent, "a").as_str());
    client.set_data(&damaged, b"\xff\xffnothing", None).await.unwrap();
    let mut opened = open(&client, &fence).await.unwrap();
    assert_eq!(opened.damaged, std::slice::from_ref(&damaged));
    assert_eq!(opened.recovered.agents.messages(), [agent("b", "h")]);
    assert_eq!(opened.recovered.completed_frameworks.len(), 1);
    // It is healed by what is written in its place.
    apply(&mut opened, vec![vec![put("a", "again")]]).await.unwrap();
    let opened = open(&client, &fence).await.unwrap();
    assert_eq!((opened.damaged.len(), opened.recovered.agents.len()), (0, 2));

    // What a newer master wrote is not to be lost by an older one.
    client.set_data(&damaged, &[8, 99], None).await.unwrap();
    let Err(failure) = open(&client, &fence).await else { panic!("a newer record was taken") };
    assert!(failure.to_string().contains(&damaged) && failure.to_string().contains("version 99"), "{failure}");
    client.set_data(&damaged, &[8, 1], None).await.unwrap();
    let root = root_of(PATH);
    client.set_data(&root, br#"{"format":2}"#, None).await.unwrap();
    assert!(matches!(open(&client, &fence).await, Err(RegistryFailure::NewerZnode { .. })));
    client.set_data(&root, b"something else", None).await.unwrap();
    let Err(failure) = open(&client, &fence).await else { panic!("a foreign znode was taken") };
    assert!(failure.to_string().contains("/some/mezzo_registry is no registry"), "{failure}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_of_unknown_outcome_is_looked_at_before_it_is_made_again() {
    let Some(server) = Server::start() else { return };
    let client = server.client().await;
    let fence = elected(&client).await;
    let mut opened = open(&client, &fence).await.unwrap();
    // As if an earlier request of ours had been carried out after all.
    let elsewhere = format!("{PATH}_registry/{}", Place::of(Kind::Agent, "late").as_str());
    client.create(&elsewhere, b"old", &open_empty().await).await.unwrap();
    let batches = vec![vec![put("late", "h"), put("other", "h")]];
    let unknown = apply(&mut opened, batches.clone()).await;
    assert!(matches!(unknown, Err(RegistryFailure::Unknown { .. })), "{unknown:?}");
    apply(&mut opened, batches).await.unwrap();
    client.delete(&elsewhere, None).await.unwrap();
    let gone = vec![vec![RegistryOp::RemoveAgent("late".into())]];
    assert!(matches!(apply(&mut opened, gone.clone()).await, Err(RegistryFailure::Unknown { .. })));
    apply(&mut opened, gone).await.unwrap();
    assert_eq!(open(&client, &fence).await.unwrap().recovered.agents.messages(), [agent("other", "h")]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_is_restored_while_nobody_leads() {
    use crate::registry::{CopyError, Source, dump, restore};
    let Some(server) = Server::start() else { return };
    let client = server.client().await;
    let fence = elected(&client).await;
    let mut opened = open(&client, &fence).await.unwrap();
    apply(&mut opened, vec![vec![put("a", "h"), RegistryOp::MarkGone("b".into(), 6)]]).await.unwrap();
    let at = |path: &str| {
        let url = format!("zk://127.0.0.1:{}{path}", server.port).parse().unwrap();
        Source::ZooKeeper(url, Duration::from_secs(4))
    };
    let (document, _) = dump(&at(PATH)).await.unwrap();
    assert!(matches!(dump(&at("/other/path")).await, Err(CopyError::Nothing(_))));
    assert_eq!(restore(&at("/other/path"), &document).await.unwrap(), 2);
    assert_eq!(dump(&at("/other/path")).await.unwrap().0, document);
    assert!(matches!(restore(&at("/other/path"), &document).await, Err(CopyError::NotEmpty { entries: 2, .. })));
    assert!(matches!(restore(&at(PATH), &document).await, Err(CopyError::InUse(1, _))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_agents_fit_and_come_back() {
    let Some(server) = Server::start() else { return };
    let client = server.client().await;
    let fence = elected(&client).await;
    let mut opened = open(&client, &fence).await.unwrap();
    let count = 3000;
    // More than one request may have: attributes make each of them a kilobyte.
    let large = |n: usize| {
        let attribute = v1::Attribute { name: "x".repeat(1000), ..Default::default() };
        let info = v1::AgentInfo { attributes: vec![attribute], ..agent(&format!("agent-{n:05}"), "h") };
        vec![RegistryOp::PutAgent(Box::new(info))]
    };
    apply(&mut opened, (0..count).map(large).collect()).await.unwrap();
    let again = open(&client, &fence).await.unwrap();
    assert_eq!(again.recovered.agents.len(), count);
    let too_large = v1::AgentInfo { hostname: "h".repeat(1_000_000), ..agent("b", "h") };
    let refused = apply(&mut opened, vec![vec![RegistryOp::PutAgent(Box::new(too_large))]]).await;
    assert!(matches!(refused, Err(RegistryFailure::TooLarge { .. })), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_ensemble_that_is_away_leaves_outcomes_unknown() {
    let Some(server) = Server::start() else { return };
    let client = server.client().await;
    let fence = elected(&client).await;
    let mut opened = open(&client, &fence).await.unwrap();
    drop(server);
    let result = apply(&mut opened, vec![vec![put("a", "h")]]).await;
    assert!(matches!(result, Err(RegistryFailure::Unknown { .. } | RegistryFailure::Fenced)), "{result:?}");
}
