use std::{
    collections::BTreeMap,
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    sync::Arc,
};

use axum::{Router, http::StatusCode, response::Redirect, routing::get};
use tokio::net::TcpListener;

use super::*;

struct World {
    directory: tempfile::TempDir,
    fetcher: Arc<Fetcher>,
}

impl World {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        std::fs::create_dir(directory.path().join("sandbox")).unwrap();
        std::fs::write(directory.path().join("outside"), "untouched").unwrap();
        let config = Config {
            stall_timeout: Duration::from_millis(300),
            cache_dir: Some(directory.path().join("cache")),
            cache_bytes: 1000,
            ..Config::default()
        };
        Self { directory, fetcher: Arc::new(Fetcher::new(config)) }
    }

    fn sandbox(&self) -> PathBuf {
        self.directory.path().join("sandbox")
    }

    fn source(&self, name: &str, bytes: impl AsRef<[u8]>) -> Uri {
        let path = self.directory.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        uri(&path.display().to_string())
    }

    async fn fetch(&self, uris: &[Uri]) -> Result<(), String> {
        let cancel = CancellationToken::new();
        let container = ContainerId::from("c-1");
        let result = self.fetcher.fetch(&container, uris, &self.sandbox(), None, &cancel).await;
        assert_eq!(std::fs::read_to_string(self.directory.path().join("outside")).unwrap(), "untouched");
        result.map_err(|error| error.to_string())
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.sandbox().join(name)).unwrap()
    }

    fn mode(&self, name: &str) -> u32 {
        std::fs::metadata(self.sandbox().join(name)).unwrap().mode() & 0o7777
    }
}

fn uri(value: &str) -> Uri {
    Uri { value: value.to_owned(), ..Uri::default() }
}

/// A tar of (path, kind, content or target); the names are written raw, since the crate refuses to write bad ones.
fn tar(entries: &[(&str, tar::EntryType, &str)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, kind, content) in entries {
        let mut header = tar::Header::new_gnu();
        header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        header.set_entry_type(*kind);
        header.set_mode(0o4777);
        header.set_mtime(1_000_000_000);
        let data = if kind.is_file() { content.as_bytes() } else { &[] };
        header.set_size(data.len() as u64);
        if !kind.is_file() {
            header.as_old_mut().linkname[..content.len()].copy_from_slice(content.as_bytes());
        }
        header.set_cksum();
        builder.append(&header, data).unwrap();
    }
    builder.into_inner().unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

const FILE: tar::EntryType = tar::EntryType::Regular;
const LINK: tar::EntryType = tar::EntryType::Symlink;

#[tokio::test]
async fn files_are_copied_named_and_made_executable() {
    let world = World::new();
    let plain = world.source("plain", "1");
    let program = Uri { executable: Some(true), ..world.source("program.tar", "2") };
    let named = Uri { output_file: Some("a/b/c".into()), ..world.source("named", "3") };
    let file = Uri { value: format!("file://{}", plain.value), output_file: Some("d".into()), ..Uri::default() };
    world.fetch(&[plain, program, named, file]).await.unwrap();
    assert_eq!((world.read("plain"), world.read("a/b/c"), world.read("d")), ("1".into(), "3".into(), "1".into()));
    assert_eq!((world.mode("program.tar"), world.mode("plain") & 0o111), (0o755, 0));
}

#[tokio::test]
async fn failures_name_container_uri_and_reason() {
    let world = World::new();
    let error = world.fetch(&[uri("/no/such/file")]).await.unwrap_err();
    assert_eq!(
        error,
        "Failed to fetch all URIs for container 'c-1': /no/such/file: \
         cannot read '/no/such/file': No such file or directory (os error 2)"
    );
    for (bad, reason) in [
        (uri("/"), "names no file"),
        (uri("/tmp"), "directory"),
        (uri("/dev/zero"), "not a regular file"),
        (uri("ftp://h/x"), "not supported: ftp"),
        (Uri { output_file: Some("../outside".into()), ..uri("/etc/hostname") }, "within the sandbox"),
        (Uri { output_file: Some("a/../../outside".into()), ..uri("/etc/hostname") }, "within the sandbox"),
    ] {
        let error = world.fetch(&[bad]).await.unwrap_err();
        assert!(error.contains(reason), "{error}");
    }
    // Not through a link that an earlier URI planted either.
    symlink(world.directory.path(), world.sandbox().join("out")).unwrap();
    let escape = Uri { output_file: Some("out/outside".into()), ..world.source("x", "x") };
    world.fetch(&[escape]).await.unwrap_err();
    symlink("../outside", world.sandbox().join("y")).unwrap();
    world.fetch(&[world.source("y", "y")]).await.unwrap_err();
}

#[tokio::test]
async fn archives_are_unpacked() {
    let bytes = tar(&[
        ("dir/", tar::EntryType::Directory, ""),
        ("dir/file", FILE, "content"),
        ("deep/er/file", FILE, "deep"),
        ("link", LINK, "dir/file"),
        ("hard", tar::EntryType::Link, "dir/file"),
    ]);
    let mut bz = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
    bz.write_all(&bytes).unwrap();
    let mut archives = BTreeMap::from([("a.tar", bytes.clone()), ("a.tgz", gzip(&bytes)), ("a.tar.gz", gzip(&bytes))]);
    archives.insert("a.tar.bz2", bz.finish().unwrap());
    for (name, archive) in archives {
        let world = World::new();
        world.fetch(&[world.source(name, archive)]).await.unwrap();
        assert_eq!((world.read("link"), world.read("hard")), ("content".into(), "content".into()), "{name}");
        assert_eq!((world.read("deep/er/file"), world.mode("dir/file")), ("deep".into(), 0o755), "{name}");
        assert_eq!(std::fs::metadata(world.sandbox().join("dir/file")).unwrap().mtime(), 1_000_000_000);
        assert!(world.sandbox().join(name).exists(), "the archive stays");
    }
    let world = World::new();
    let kept = Uri { extract: Some(false), ..world.source("b.tar", &bytes) };
    world.fetch(&[kept, world.source("c.txt.gz", gzip(b"text"))]).await.unwrap();
    assert!(!world.sandbox().join("dir").exists());
    assert_eq!(world.read("c.txt"), "text");
}

#[tokio::test]
async fn xz_archives_are_unpacked() {
    // `printf content >file; tar c file | xz`, made by the system's own tools where they are.
    let world = World::new();
    let script = "cd \"$0\" && printf content >file && tar cf - file | xz >file.tar.xz && rm file";
    let made = std::process::Command::new("sh").args(["-c", script]).arg(world.directory.path()).status().unwrap();
    if !made.success() {
        eprintln!("skipped: no tar or xz here");
        return;
    }
    let archive = world.directory.path().join("file.tar.xz").display().to_string();
    world.fetch(&[uri(&archive)]).await.unwrap();
    assert_eq!(world.read("file"), "content");
}

#[tokio::test]
async fn zip_files_are_unpacked_and_hostile_ones_refused() {
    let zipped = |entries: &[(&str, &str, bool)]| {
        let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
        for (name, content, link) in entries {
            let options = zip::write::SimpleFileOptions::default().unix_permissions(0o777);
            if *link {
                writer.add_symlink(*name, *content, options).unwrap();
            } else {
                writer.start_file(*name, options).unwrap();
                writer.write_all(content.as_bytes()).unwrap();
            }
        }
        writer.finish().unwrap().into_inner()
    };
    let world = World::new();
    let good = world.source("a.zip", zipped(&[("a/b", "content", false), ("c", "a/b", true)]));
    world.fetch(&[good]).await.unwrap();
    assert_eq!((world.read("c"), world.mode("a/b")), ("content".into(), 0o755));
    for entries in [
        &[("../outside", "x", false)][..],
        &[("/outside", "x", false)],
        &[("l", "..", true), ("l/outside", "x", false)],
    ] {
        let world = World::new();
        let error = world.fetch(&[world.source("b.zip", zipped(entries))]).await.unwrap_err();
        assert!(error.contains("b.zip"), "{error}");
    }
    world.fetch(&[world.source("broken.zip", "no zip")]).await.unwrap_err();
}

#[tokio::test]
async fn hostile_tars_get_nothing_out() {
    let outside = tempfile::tempdir().unwrap();
    let absolute = outside.path().join("x").display().to_string();
    let directory = outside.path().display().to_string();
    let cases: Vec<Vec<(&str, tar::EntryType, &str)>> = vec![
        vec![("../outside", FILE, "x")],
        vec![("a/../../outside", FILE, "x")],
        vec![(&absolute, FILE, "x")],
        vec![("l", LINK, ".."), ("l/outside", FILE, "x")],
        vec![("l", LINK, &directory), ("l/x", FILE, "x")],
        vec![("l", LINK, &directory), ("l/x", tar::EntryType::Directory, "")],
        vec![("a", LINK, "b"), ("b", LINK, ".."), ("a/outside", FILE, "x")],
        vec![("h", tar::EntryType::Link, "../outside")],
        vec![("l", LINK, ".."), ("h", tar::EntryType::Link, "l/outside"), ("h", FILE, "x")],
        vec![("d", tar::EntryType::Char, "")],
    ];
    for case in cases {
        let world = World::new();
        let error = world.fetch(&[world.source("bad.tar", tar(&case))]).await.unwrap_err();
        assert!(error.contains("bad.tar"), "{error}");
        assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0, "{case:?}");
    }
    // A link in the way is replaced, not written through.
    let world = World::new();
    world.fetch(&[world.source("l.tar", tar(&[("l", LINK, "../outside"), ("l", FILE, "x")]))]).await.unwrap();
    assert_eq!(world.read("l"), "x");
    let torn = &tar(&[("file", FILE, "content")])[..600];
    world.fetch(&[world.source("torn.tar.gz", &gzip(torn)[..20])]).await.unwrap_err();
}

async fn serve(router: Router) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    format!("http://{address}")
}

#[tokio::test]
async fn http_follows_redirects_takes_only_200_and_sees_stalls() {
    let stall = || async {
        let first = futures_util::stream::once(async { Ok::<_, std::io::Error>("some") });
        axum::body::Body::from_stream(futures_util::StreamExt::chain(first, futures_util::stream::pending()))
    };
    let router = Router::new()
        .route("/file", get(|| async { vec![b'x'; 3_000_000] }))
        .route("/to", get(|| async { Redirect::temporary("/file") }))
        .route("/loop", get(|| async { Redirect::temporary("/loop") }))
        .route("/away", get(|| async { Redirect::temporary("file:///etc/passwd") }))
        .route("/partial", get(|| async { (StatusCode::PARTIAL_CONTENT, "x") }))
        .route("/stall", get(stall));
    let server = serve(router).await;
    let world = World::new();
    world.fetch(&[uri(&format!("{server}/file?a=b")), uri(&format!("{server}/to"))]).await.unwrap();
    assert_eq!((world.read("file?a=b").len(), world.read("to").len()), (3_000_000, 3_000_000));
    for (path, reason) in [
        ("none", "404 Not Found"),
        ("partial", "206 Partial Content"),
        ("loop", "redirects"),
        ("away", "file:///etc/passwd"),
        ("stall", "nothing came for 0.3s"),
    ] {
        let error = world.fetch(&[uri(&format!("{server}/{path}"))]).await.unwrap_err();
        assert!(error.contains(reason) && error.contains(&format!("{server}/{path}: ")), "{error}");
    }
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let error = world.fetch(&[uri(&format!("http://{free}/x"))]).await.unwrap_err();
    assert!(error.contains("Connection refused"), "{error}");
}

#[tokio::test]
async fn fetching_ends_when_it_is_cancelled() {
    let server = serve(Router::new().route("/never", get(std::future::pending::<String>))).await;
    let mut world = World::new();
    let config = Config { stall_timeout: Duration::from_secs(3600), ..Config::default() };
    world.fetcher = Arc::new(Fetcher::new(config));
    let cancel = CancellationToken::new();
    let (fetcher, sandbox, token) = (world.fetcher.clone(), world.sandbox(), cancel.clone());
    let fetching = tokio::spawn(async move {
        fetcher.fetch(&ContainerId::from("c"), &[uri(&format!("{server}/never"))], &sandbox, None, &token).await
    });
    cancel.cancel();
    let error = fetching.await.unwrap().unwrap_err().to_string();
    assert!(error.contains("stopped"), "{error}");
}

#[tokio::test]
async fn what_is_fetched_for_a_user_is_read_and_owned_by_it() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: only root can switch users");
        return;
    }
    let world = World::new();
    let user = Credentials { uid: 12345, gid: 23456, groups: vec![23456] };
    std::os::unix::fs::chown(world.sandbox(), Some(user.uid), Some(user.gid)).unwrap();
    let archive = world.source("a.tar", tar(&[("dir/file", FILE, "x"), ("l", LINK, "dir")]));
    let secret = world.source("secret", "s");
    std::fs::set_permissions(&secret.value, std::fs::Permissions::from_mode(0o600)).unwrap();
    let cancel = CancellationToken::new();
    let container = ContainerId::from("c");
    let fetch = |uris: Vec<Uri>| {
        let (world, user, cancel, container) = (&world, &user, &cancel, &container);
        async move { world.fetcher.fetch(container, &uris, &world.sandbox(), Some(user), cancel).await }
    };
    let server = serve(Router::new().route("/page", get(|| async { "page" }))).await;
    fetch(vec![archive, Uri { executable: Some(true), ..uri(&format!("{server}/page")) }]).await.unwrap();
    for name in ["a.tar", "dir", "dir/file", "l", "page"] {
        let metadata = std::fs::symlink_metadata(world.sandbox().join(name)).unwrap();
        assert_eq!((metadata.uid(), metadata.gid()), (12345, 23456), "{name}");
    }
    let error = fetch(vec![secret]).await.unwrap_err().to_string();
    assert!(error.contains("Permission denied"), "{error}");
}

/// Answers each connection with the next of these, whole.
async fn scripted(answers: Vec<Vec<u8>>) -> (String, Arc<std::sync::Mutex<Vec<String>>>) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let asked = Arc::new(std::sync::Mutex::new(Vec::new()));
    let log = asked.clone();
    tokio::spawn(async move {
        for answer in answers {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 4096];
            let count = stream.read(&mut request).await.unwrap();
            log.lock().unwrap().push(String::from_utf8_lossy(&request[..count]).to_lowercase());
            stream.write_all(&answer).await.unwrap();
            stream.shutdown().await.unwrap();
        }
    });
    (address, asked)
}

#[tokio::test]
async fn a_broken_download_is_resumed_where_the_server_can() {
    let world = World::new();
    let begin = b"HTTP/1.1 200 OK\r\nETag: \"v1\"\r\nContent-Length: 10\r\n\r\n01234".to_vec();
    let rest = b"HTTP/1.1 206 Partial\r\nETag: \"v1\"\r\nContent-Range: bytes 5-9/10\r\nContent-Length: 5\r\n\r\n56789"
        .to_vec();
    let (address, asked) = scripted(vec![begin.clone(), rest]).await;
    world.fetch(&[uri(&format!("{address}/whole"))]).await.unwrap();
    assert_eq!(world.read("whole"), "0123456789");
    assert!(asked.lock().unwrap()[1].contains("range: bytes=5-"), "{asked:?}");

    let other =
        b"HTTP/1.1 206 Partial\r\nETag: \"v2\"\r\nContent-Range: bytes 5-9/10\r\nContent-Length: 5\r\n\r\n56789"
            .to_vec();
    let (address, _) = scripted(vec![begin, other]).await;
    let error = world.fetch(&[uri(&format!("{address}/torn"))]).await.unwrap_err();
    assert!(error.contains("/torn") && error.contains("after 5"), "{error}");
}

#[tokio::test]
async fn what_is_cached_is_fetched_once() {
    let world = World::new();
    let head = |length: usize| format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n").into_bytes();
    let archive = gzip(&tar(&[("inside", FILE, "content")]));
    let (address, asked) =
        scripted(vec![[head(archive.len()), archive].concat(), [head(2000), vec![b'x'; 2000]].concat()]).await;
    let cached = Uri { cache: Some(true), ..uri(&format!("{address}/a.tgz")) };
    let (first, second) = (cached.clone(), Uri { output_file: Some("b.tgz".into()), ..cached });
    let both = tokio::join!(world.fetch(std::slice::from_ref(&first)), world.fetch(std::slice::from_ref(&second)));
    assert_eq!(both, (Ok(()), Ok(())));
    assert_eq!(asked.lock().unwrap().len(), 1);
    assert_eq!(world.read("inside"), "content");
    assert!(!world.sandbox().join("a.tgz").exists(), "it was unpacked from the cache");
    let large = Uri { cache: Some(true), ..uri(&format!("{address}/large")) };
    world.fetch(&[large]).await.unwrap_err(); // it does not fit, so that it is asked for again, and the script is over
    let local = Uri { cache: Some(true), extract: Some(false), ..world.source("l.tar", "no tar at all") };
    world.fetch(std::slice::from_ref(&local)).await.unwrap();
    std::fs::write(&local.value, "changed").unwrap();
    world.fetch(&[local]).await.unwrap();
    assert_eq!(world.read("l.tar"), "no tar at all", "from the cache");
}
