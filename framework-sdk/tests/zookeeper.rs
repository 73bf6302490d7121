//! The store in ZooKeeper, with a real one: Debian's package, as a plain process on loopback.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use bytes::Bytes;
use mezzo_sdk::store::{Change, Store, StoreError, ZooKeeperStore};

const JAR: &str = "/usr/share/java/zookeeper.jar";

/// A server that is killed when it is dropped.
struct ZooKeeper {
    child: Child,
    address: SocketAddr,
    dir: tempfile::TempDir,
}

impl ZooKeeper {
    /// `None` where it is not installed, which is an error under CI.
    fn start() -> Option<Self> {
        if !Path::new(JAR).exists() {
            let ci = std::env::var("CI").is_ok_and(|value| !value.is_empty() && value != "false" && value != "0");
            assert!(!ci, "{JAR} is missing, and under CI no test may be skipped");
            eprintln!("\n!!! SKIPPED: {JAR} is missing\n");
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let address = free_address();
        let child = Self::spawn(&dir, address);
        Some(Self { child, address, dir })
    }

    fn spawn(dir: &tempfile::TempDir, address: SocketAddr) -> Child {
        let config = dir.path().join("zoo.cfg");
        let text = format!(
            "tickTime=500\ninitLimit=10\nsyncLimit=5\ndataDir={}\nclientPort={}\nclientPortAddress=127.0.0.1\n\
             admin.enableServer=false\n4lw.commands.whitelist=*\nforceSync=no\n",
            dir.path().join("data").display(),
            address.port()
        );
        std::fs::write(&config, text).unwrap();
        let child = Command::new("java")
            .args(["-Xms32m", "-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp"])
            .arg(format!("{JAR}:/usr/share/java/slf4j-simple.jar"))
            .arg("org.apache.zookeeper.server.quorum.QuorumPeerMain")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("java starts");
        let start = Instant::now();
        while !serves(address) {
            assert!(start.elapsed() < Duration::from_secs(60), "ZooKeeper does not come up");
            std::thread::sleep(Duration::from_millis(50));
        }
        child
    }

    fn url(&self) -> String {
        format!("zk://{}/frameworks/shop", self.address)
    }

    fn restart(mut self) -> Self {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.child = Self::spawn(&self.dir, self.address);
        self
    }
}

impl Drop for ZooKeeper {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Below the range of outgoing connections: one to a port of that range, where nobody listens, may meet itself.
fn free_address() -> SocketAddr {
    let first = 10_000 + u16::try_from(std::process::id() % 8_000).unwrap_or_default();
    let free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    SocketAddr::from(([127, 0, 0, 1], (first..20_000).find(free).expect("a free port")))
}

/// `srvr` tells its mode once it serves.
fn serves(address: SocketAddr) -> bool {
    let ask = || {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        stream.write_all(b"srvr")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        std::io::Result::Ok(answer)
    };
    ask().is_ok_and(|answer| answer.contains("Mode:"))
}

fn put(key: &str, value: &'static str) -> Change {
    Change::Put(key.to_owned(), Bytes::from_static(value.as_bytes()))
}

#[tokio::test]
async fn what_was_stored_is_there_for_the_next_owner() {
    let Some(server) = ZooKeeper::start() else { return };
    let mut store = ZooKeeperStore::open(&server.url()).await.unwrap();
    assert!(store.load().await.unwrap().is_empty());
    store.apply(vec![put("framework-id", "F"), put("slot/web/0", "1"), put("slot/web/1", "2")]).await.unwrap();
    store
        .apply(vec![put("slot/web/0", "3"), Change::Remove("slot/web/1".into()), Change::Remove("x".into())])
        .await
        .unwrap();
    assert!(matches!(store.apply(vec![put("a//b", "1")]).await, Err(StoreError::Key(_))));
    let large: Bytes = vec![7; 300_000].into();
    let many = (0..4).map(|number| Change::Put(format!("large/{number}"), large.clone())).collect();
    store.apply(many).await.unwrap();

    let server = tokio::task::spawn_blocking(move || server.restart()).await.unwrap(); // sessions go on meanwhile
    store.apply(vec![put("after", "restart")]).await.expect("a restart of ZooKeeper is survived");

    drop(store); // the session ends with it
    let mut next = ZooKeeperStore::open(&server.url()).await.unwrap();
    let mut entries = next.load().await.unwrap();
    entries.retain(|key, value| !key.starts_with("large/") || *value != large);
    let expected = [("after", "restart"), ("framework-id", "F"), ("slot/web/0", "3")];
    let expected = expected.map(|(key, value)| (key.to_owned(), Bytes::from_static(value.as_bytes())));
    assert_eq!(entries, expected.into());
}

#[tokio::test]
async fn says_what_is_wrong() {
    let error = ZooKeeperStore::open("zk://127.0.0.1:1").await.unwrap_err();
    assert!(matches!(error, StoreError::ZooKeeper(_)), "{error}");
    assert!(matches!(ZooKeeperStore::open("somewhere").await, Err(StoreError::ZooKeeper(_))));
}
