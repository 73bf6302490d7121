use std::os::unix::fs::{PermissionsExt, symlink};

use http_body_util::BodyExt;
use serde_json::json;
use tower::ServiceExt;

use super::*;

/// A work directory with two runs of an executor, and a file outside.
struct World {
    directory: tempfile::TempDir,
    files: Files,
}

struct Got {
    status: u16,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Got {
    fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    fn json(&self) -> Value {
        assert_eq!(self.status, 200, "{}", self.text());
        assert_eq!(self.headers["content-type"], "application/json");
        serde_json::from_slice(&self.body).unwrap()
    }
}

impl World {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let world = Self { directory, files: Files::default() };
        for run in ["one", "two"] {
            std::fs::create_dir_all(world.run(run).join("sub")).unwrap();
            std::fs::write(world.run(run).join("stdout"), "hi\n").unwrap();
            std::fs::write(world.run(run).join("stderr"), "").unwrap();
        }
        symlink(world.run("two"), world.run("latest")).unwrap();
        std::fs::write(world.root().join("secret"), "secret").unwrap();
        std::fs::write(world.root().join("workother"), "other").unwrap();
        world.files.attach(world.work().to_str().unwrap(), world.work());
        world.files.attach("/frameworks/", world.work());
        world.files.attach("/slave/log", world.root().join("workother"));
        world
    }

    fn root(&self) -> &Path {
        self.directory.path()
    }

    fn work(&self) -> PathBuf {
        self.root().join("work")
    }

    fn run(&self, run: &str) -> PathBuf {
        self.work().join("f/executors/e/runs").join(run)
    }

    async fn get(&self, uri: &str) -> Got {
        let request = Request::get(uri).body(Body::empty()).unwrap();
        let response = router(self.files.clone()).oneshot(request).await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Got { status, headers, body: response.into_body().collect().await.unwrap().to_bytes().to_vec() }
    }

    async fn read(&self, path: &str, more: &str) -> Got {
        self.get(&format!("/files/read?path={path}{more}")).await
    }
}

const RUN: &str = "/frameworks/f/executors/e/runs";

#[tokio::test]
async fn browse_lists_what_a_directory_holds() {
    let world = World::new();
    for base in [RUN.to_owned() + "/one", RUN.to_owned() + "/latest", world.run("one").display().to_string()] {
        let listing = world.get(&format!("/files/browse?path={base}/")).await.json();
        let entries = listing.as_array().unwrap();
        let paths: Vec<&str> = entries.iter().map(|entry| entry["path"].as_str().unwrap()).collect();
        assert_eq!(paths, ["stderr", "stdout", "sub"].map(|name| format!("{base}/{name}")));
        let keys: Vec<&String> = entries[1].as_object().unwrap().keys().collect();
        assert_eq!(keys, ["gid", "mode", "mtime", "nlink", "path", "size", "uid"]);
        assert_eq!((&entries[1]["size"], &entries[1]["mode"]), (&json!(3), &json!("-rw-r--r--")));
        assert_eq!((&entries[1]["nlink"], &entries[2]["mode"]), (&json!(1), &json!("drwxr-xr-x")));
        assert!(entries[1]["mtime"].is_f64() && entries[1]["mtime"].as_f64().unwrap().fract() == 0.0);
        if nix::unistd::geteuid().is_root() {
            assert_eq!((&entries[1]["uid"], &entries[1]["gid"]), (&json!("root"), &json!("root")));
        }
    }
    assert_eq!(world.get(&format!("/files/browse?path={RUN}/one/stdout")).await.json(), json!([]));
    assert_eq!(world.get("/files/browse?path=/slave/log").await.json(), json!([]));
    let none = world.get("/files/browse?path=/nowhere").await;
    assert_eq!((none.status, &*none.text()), (404, ""));
    assert_eq!(none.headers["content-type"], "text/plain; charset=utf-8");
    let missing = world.get("/files/browse").await;
    assert_eq!((missing.status, &*missing.text()), (400, "Expecting 'path=value' in query.\n"));
    let jsonp = world.get(&format!("/files/browse?path={RUN}/one/sub&jsonp=f")).await;
    assert_eq!(
        (&*jsonp.text(), &jsonp.headers["content-type"]),
        ("f([])", &HeaderValue::from_static("text/javascript"))
    );
}

#[tokio::test]
async fn read_gives_ranges() {
    let world = World::new();
    let path = format!("{RUN}/one/stdout");
    let of = async |more: &str| world.read(&path, more).await;
    for tail in ["", "&offset=-1", "&offset=-1&length=-1", "&length=2"] {
        assert_eq!(of(tail).await.json(), json!({"data": "", "offset": 3}), "{tail}");
    }
    for (range, data, offset) in [
        ("&offset=0", "hi\n", 0),
        ("&offset=0&length=-1", "hi\n", 0),
        ("&offset=1&length=1", "i", 1),
        ("&offset=0&length=0", "", 0),
        ("&offset=3", "", 3),
        ("&offset=100&length=5", "", 100),
    ] {
        assert_eq!(of(range).await.json(), json!({"data": data, "offset": offset}), "{range}");
    }
    for (bad, reason) in [
        ("&offset=-2", "Negative offset provided: -2.\n"),
        ("&offset=0&length=-2", "Negative length provided: -2.\n"),
        ("&offset=x", "Failed to parse offset: Failed to convert 'x' to number.\n"),
        ("&offset=0&length=", "Failed to parse length: Failed to convert '' to number.\n"),
    ] {
        let got = of(bad).await;
        assert_eq!((got.status, &*got.text()), (400, reason));
    }
    let directory = world.read(&format!("{RUN}/one/sub"), "&offset=0").await;
    assert_eq!((directory.status, &*directory.text()), (400, "Cannot read a directory.\n"));
    assert_eq!(world.read(&format!("{RUN}/one/none"), "").await.status, 404);
    assert_eq!(world.read("/slave/log", "&offset=0").await.json()["data"], "other");
    assert_eq!(world.read("/slave/log/x", "&offset=0").await.status, 404);
    world.files.detach("/slave/log");
    assert_eq!(world.read("/slave/log", "").await.status, 404);
}

#[tokio::test]
async fn read_is_capped_and_gives_every_byte() {
    let world = World::new();
    std::fs::write(world.run("one").join("large"), vec![b'x'; 200_000]).unwrap();
    std::fs::write(world.run("one").join("binary"), b"a\xff\xfe\0\"\\\n\xc3").unwrap();
    let large = world.read(&format!("{RUN}/one/large"), "&offset=10&length=199999").await.json();
    assert_eq!(large["data"].as_str().unwrap().len(), 65536);
    let binary = world.read(&format!("{RUN}/one/binary"), "&offset=0").await;
    assert_eq!(binary.body, b"{\"data\":\"a\xff\xfe\\u0000\\\"\\\\\\n\xc3\",\"offset\":0}".as_slice());
    let fifo = world.run("one").join("fifo");
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, 0o666.into(), 0).unwrap();
    assert_eq!(world.read(&format!("{RUN}/one/fifo"), "&offset=0").await.status, 400);
}

#[tokio::test]
async fn download_streams_the_file() {
    let world = World::new();
    let got = world.get(&format!("/files/download?path={RUN}/one/stdout")).await;
    assert_eq!((got.status, &*got.text()), (200, "hi\n"));
    assert_eq!(got.headers["content-disposition"], "attachment; filename=stdout");
    assert_eq!(got.headers["content-type"], "application/octet-stream");
    assert_eq!(got.headers["content-length"], "3");
    std::fs::write(world.run("one").join("ä\n.txt"), vec![b'x'; 1_000_000]).unwrap();
    let got = world.get(&format!("/files/download?path={RUN}/one/%C3%A4%0A.txt")).await;
    assert_eq!((got.body.len(), &got.headers["content-type"]), (1_000_000, &HeaderValue::from_static("text/plain")));
    let directory = world.get(&format!("/files/download?path={RUN}/one")).await;
    assert_eq!((directory.status, &*directory.text()), (400, "Cannot download a directory.\n"));
    let none = world.get("/files/download?path=/nowhere").await;
    assert_eq!((none.status, &*none.text()), (404, "404 Not Found."));
}

#[tokio::test]
async fn debug_tells_what_is_attached() {
    let world = World::new();
    let work = world.work().display().to_string();
    let log = world.root().join("workother").display().to_string();
    let expected = json!({ "/frameworks": work, "/slave/log": log, work.clone(): work });
    assert_eq!(world.get("/files/debug").await.json(), expected);
}

#[tokio::test]
async fn nothing_outside_is_reached() {
    let world = World::new();
    let one = world.run("one");
    let secret = world.root().join("secret");
    symlink(&secret, one.join("absolute")).unwrap();
    symlink("../../../../../../secret", one.join("relative")).unwrap();
    symlink("../two", one.join("neighbour")).unwrap();
    symlink("/", one.join("root")).unwrap();
    symlink("loop", one.join("loop")).unwrap();
    symlink("stdout", one.join("inside")).unwrap();
    symlink(one.join("sub"), one.join("inside-absolute")).unwrap();
    let work = world.work().display().to_string();
    for path in [
        format!("{RUN}/one/absolute"),
        format!("{RUN}/one/relative"),
        format!("{RUN}/one/neighbour/stdout"),
        format!("{RUN}/latest/../one/stdout"),
        format!("{RUN}/one/../../../../../../secret"),
        format!("{RUN}/one/root/etc/passwd"),
        format!("{RUN}/one/loop"),
        "/frameworks/../secret".to_owned(),
        format!("{work}/../secret"),
        format!("{work}other"),
        secret.display().to_string(),
        "/etc/passwd".to_owned(),
        "frameworks".to_owned(),
        format!("/frameworks/{}", secret.display()),
    ] {
        for operation in ["read?offset=0&", "download?", "browse?"] {
            let got = world.get(&format!("/files/{operation}path={path}")).await;
            assert!(matches!(got.status, 400 | 404), "{operation} {path}: {} {}", got.status, got.text());
            assert!(!got.text().contains("secret\"") && got.text() != "secret", "{path}: {}", got.text());
        }
    }
    let inaccessible = world.read(&format!("{RUN}/one/absolute"), "&offset=0").await;
    assert!(inaccessible.text().ends_with("/one/absolute' is inaccessible.\n"), "{}", inaccessible.text());
    assert_eq!(world.read(&format!("{RUN}/one/inside"), "&offset=0").await.json()["data"], "hi\n");
    assert_eq!(world.get(&format!("/files/browse?path={RUN}/one/inside-absolute")).await.json(), json!([]));
    // A listing tells nothing of what a link out of bounds leads to.
    std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o600)).unwrap();
    let listing = world.get(&format!("/files/browse?path={RUN}/one")).await.json();
    let entry = listing.as_array().unwrap().iter().find(|entry| entry["path"] == format!("{RUN}/one/absolute"));
    assert!(entry.unwrap()["mode"].as_str().unwrap().starts_with('l'));
}

/// A task that exchanges a directory for a link all the time gets nobody to look through the link.
#[tokio::test]
async fn a_directory_that_becomes_a_link_is_not_followed() {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    let world = World::new();
    let (honest, link) = (world.run("one").join("sub"), world.run("one").join("link"));
    let outside = world.root().join("outside");
    std::fs::create_dir(&outside).unwrap();
    for (directory, content) in [(&honest, "honest"), (&outside, "secret")] {
        std::fs::write(directory.join("file"), content).unwrap();
    }
    std::fs::write(outside.join("hidden"), "").unwrap();
    symlink(&outside, &link).unwrap();
    let done = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let stop = done.clone();
    let task = std::thread::spawn(move || {
        let mut exchanges = 0_u32;
        while !stop.load(std::sync::atomic::Ordering::Relaxed) {
            renameat_with(CWD, &honest, CWD, &link, RenameFlags::EXCHANGE).unwrap();
            exchanges += 1;
        }
        exchanges
    });
    let mut seen = [0; 3];
    for round in 0..3000 {
        let operation = round % 3;
        let uri = match operation {
            0 => format!("/files/read?offset=0&path={RUN}/one/sub/file"),
            1 => format!("/files/download?path={RUN}/one/sub/file"),
            _ => format!("/files/browse?path={RUN}/one/sub"),
        };
        let got = world.get(&uri).await;
        let text = String::from_utf8_lossy(&got.body).into_owned();
        assert!(!text.contains("secret") && !text.contains("hidden"), "{uri}: {text}");
        let served = text.contains("honest") || text.contains("/file\"");
        seen[operation] += u32::from(got.status == 200 && served);
    }
    done.store(true, std::sync::atomic::Ordering::Relaxed);
    assert!(task.join().unwrap() > 100);
    assert!(seen.iter().all(|count| *count > 0), "the directory was never seen as it is: {seen:?}");
}
