//! A registry of many agents in ZooKeeper: how soon a new leader has read it.

use std::{
    net::TcpListener,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use mezzo_election::{Client, Leadership, ZkUrl, connect};
use mezzo_master::registry::{Source, ZooKeeper, restore};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::figure::Figure;

const JARS: &str = "/usr/share/java/zookeeper.jar:/usr/share/java/slf4j-simple.jar";
const SESSION: Duration = Duration::from_secs(10);

/// One server, as a plain process.
struct Server {
    process: Child,
    _dir: TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Reads a registry of so many agents.
pub(crate) async fn measure(agents: usize, as_json: bool) -> Result<()> {
    let (_server, url) = start()?;
    let client = wait(&url).await?;
    let document = document(agents);
    let begun = Instant::now();
    restore(&Source::ZooKeeper(url.clone(), SESSION), &document).await?;
    let written = begun.elapsed().as_secs_f64();
    let leadership = lead(&client, &url).await?;
    let begun = Instant::now();
    let opened = ZooKeeper::lead(&leadership, &url).await?;
    let read = begun.elapsed().as_secs_f64();
    ensure!(opened.recovered.agents.len() == agents, "{} agents were read", opened.recovered.agents.len());
    let figure = |case: &str, value| Figure::new("registry", case, value, "s").with("agents", agents);
    figure("written to ZooKeeper, fenced batches", written).print(as_json);
    figure("read from ZooKeeper by a new leader", read).print(as_json);
    Ok(())
}

fn start() -> Result<(Server, ZkUrl)> {
    ensure!(
        Path::new("/usr/share/java/zookeeper.jar").exists(),
        "package zookeeper is missing: run `cargo xtask setup`"
    );
    let dir = tempfile::tempdir()?;
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let settings = format!(
        "tickTime=500\ninitLimit=10\nsyncLimit=5\ndataDir={}\nclientPort={port}\nclientPortAddress=127.0.0.1\n\
         admin.enableServer=false\n",
        dir.path().join("data").display()
    );
    std::fs::write(dir.path().join("zoo.cfg"), settings)?;
    let process = Command::new("java")
        .args(["-Xms64m", "-Xmx1g", "-XX:+UseSerialGC", "-cp", JARS])
        .arg("org.apache.zookeeper.server.quorum.QuorumPeerMain")
        .arg(dir.path().join("zoo.cfg"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("java does not start")?;
    Ok((Server { process, _dir: dir }, format!("zk://127.0.0.1:{port}/mezzo").parse()?))
}

async fn wait(url: &ZkUrl) -> Result<Client> {
    for _ in 0..300 {
        if let Ok(client) = connect(url, SESSION).await {
            return Ok(client);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    bail!("ZooKeeper does not answer");
}

/// What the election gives a leader.
async fn lead(client: &Client, url: &ZkUrl) -> Result<Leadership> {
    use zookeeper_client::{Acls, CreateMode};
    client.mkdir(url.path(), &CreateMode::Persistent.with_acls(Acls::anyone_all())).await?;
    let options = CreateMode::EphemeralSequential.with_acls(Acls::anyone_all());
    let prefix = format!("{}/json.info_", url.path());
    let (stat, number) = client.create(&prefix, b"{}", &options).await?;
    Ok(Leadership { client: client.clone(), znode: format!("{prefix}{number}"), term: u64::try_from(stat.czxid)? })
}

/// Agents as they are: four resources, two attributes, a region and a zone.
fn document(agents: usize) -> Value {
    let scalar = |name: &str, value: f64| json!({"name": name, "type": "SCALAR", "scalar": {"value": value}});
    let text = |name: &str, value: &str| json!({"name": name, "type": "TEXT", "text": {"value": value}});
    let agent = |number: usize| {
        json!({
            "id": {"value": format!("4fd30d19-0d4c-4a2b-9d0a-7a6f0f2a4b11-S{number}")},
            "hostname": format!("agent-{number:05}.eu.example.net"),
            "port": 5051,
            "resources": [
                scalar("cpus", 32.0), scalar("mem", 131_072.0), scalar("disk", 1_000_000.0),
                {"name": "ports", "type": "RANGES", "ranges": {"range": [{"begin": 31_000, "end": 32_000}]}},
            ],
            "attributes": [text("rack", "r17"), text("os", "debian12")],
            "domain": {"fault_domain": {"region": {"name": "eu"}, "zone": {"name": "a"}}},
        })
    };
    json!({"format": 1, "agents": (0..agents).map(agent).collect::<Vec<_>>()})
}
