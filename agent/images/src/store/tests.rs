//! The store with images that the tests lay out themselves. As root, as an agent that has images must be.

use std::{
    fs,
    path::Path,
    process::Command,
    sync::{
        Mutex as StdMutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use oci_spec::image::Arch;
use serde_json::json;

use super::*;
use crate::{
    UnpackError,
    unpack::tests::{DIR, FILE, layer},
};

/// A directory with a layout for images, and a store.
struct Bench {
    home: tempfile::TempDir,
}

/// Steps that were passed, by name; and what is to be kept of the store at each of them.
static STEPS: StdMutex<Vec<String>> = StdMutex::new(Vec::new());

impl Bench {
    fn new() -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            assert!(std::env::var_os("CI").is_none(), "images are kept as root");
            eprintln!("SKIPPED: images are kept as root");
            return None;
        }
        let bench = Self { home: tempfile::tempdir().unwrap() };
        fs::create_dir_all(bench.blobs()).unwrap();
        Some(bench)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn blobs(&self) -> PathBuf {
        self.path("images/blobs/sha256")
    }

    fn blob(&self, bytes: &[u8]) -> serde_json::Value {
        let digest = Digest::of(bytes).to_string();
        fs::write(self.blobs().join(digest.trim_start_matches("sha256:")), bytes).unwrap();
        json!({"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": digest, "size": bytes.len()})
    }

    /// Puts an image into the layout; `diff_ids` are those of the layers if none are given.
    fn image(&self, name: &str, layers: &[Vec<u8>], diff_ids: Option<Vec<String>>) {
        let own = layers.iter().map(|layer| Digest::of(layer).to_string()).collect();
        let config = json!({
            "architecture": Arch::default().to_string(), "os": "linux",
            "config": {"Env": ["A=1"], "Entrypoint": ["/e"]},
            "rootfs": {"type": "layers", "diff_ids": diff_ids.unwrap_or(own)},
        });
        let layers: Vec<_> = layers.iter().map(|layer| self.blob(layer)).collect();
        let config = self.blob(config.to_string().as_bytes());
        let manifest = json!({"schemaVersion": 2, "config": config, "layers": layers});
        let mut manifest = self.blob(manifest.to_string().as_bytes());
        manifest["annotations"] = json!({"org.opencontainers.image.ref.name": name});
        let path = self.path("images/index.json");
        let mut manifests: Vec<serde_json::Value> = fs::read(&path)
            .map(|bytes| {
                serde_json::from_slice::<serde_json::Value>(&bytes).unwrap()["manifests"].as_array().unwrap().clone()
            })
            .unwrap_or_default();
        manifests.retain(|known| known["annotations"] != manifest["annotations"]);
        manifests.push(manifest);
        fs::write(path, json!({"schemaVersion": 2, "manifests": manifests}).to_string()).unwrap();
    }

    fn config(&self, store: &str) -> Config {
        Config {
            directory: self.path(store),
            origin: Origin::Directory(self.path("images")),
            mirrors: BTreeMap::new(),
            credentials: DockerConfig::default(),
            stall: Duration::from_secs(5),
            passed: |_| {},
        }
    }

    fn store(&self) -> Store {
        Store::open(self.config("store")).unwrap()
    }

    fn count(&self, part: &str) -> usize {
        fs::read_dir(self.path("store").join(part)).unwrap().count()
    }
}

fn wanted(name: &str) -> Wanted {
    Wanted { name: name.into(), cached: true, credentials: None }
}

async fn get(store: &Store, name: &str, container: &str) -> Result<Image, ImageError> {
    store.get(&wanted(name), container, &CancellationToken::new()).await
}

fn base() -> Vec<u8> {
    layer(&[(DIR, "etc/", "", 0o755), (FILE, "etc/name", "base", 0o644)])
}

fn top(text: &str) -> Vec<u8> {
    layer(&[(FILE, "top", text, 0o644)])
}

#[tokio::test]
async fn an_image_is_unpacked_once_and_its_layers_are_shared() {
    let Some(bench) = Bench::new() else { return };
    bench.image("a:latest", &[base(), top("a")], None);
    bench.image("b:1", &[base(), top("b")], None);
    let store = bench.store();
    let all = (0..8).map(|number| {
        let store = store.clone();
        tokio::spawn(async move { get(&store, "a", &format!("c{number}")).await.unwrap() })
    });
    let mut images = Vec::new();
    for image in all.collect::<Vec<_>>() {
        images.push(image.await.unwrap());
    }
    assert!(images.windows(2).all(|pair| pair[0] == pair[1]), "all have the same layers");
    assert_eq!(store.figures().pulled.load(Ordering::Relaxed), 1, "eight at once pull it once");
    assert_eq!(fs::read_to_string(images[0].layers[0].join("etc/name")).unwrap(), "base");
    assert_eq!(fs::read_to_string(images[0].layers[1].join("top")).unwrap(), "a");
    assert_eq!(images[0].config.entrypoint, ["/e"]);
    let other = get(&store, "b:1", "d").await.unwrap();
    assert_eq!(other.layers[0], images[0].layers[0], "one copy of what both have");
    assert_eq!((bench.count("layers"), bench.count("staging")), (6, 0), "three layers, each with its record");

    // What is there is found by the next process, without asking where it came from.
    drop(store);
    fs::remove_dir_all(bench.path("images")).unwrap();
    let store = bench.store();
    assert_eq!(get(&store, "a", "c0").await.unwrap(), images[0]);
    let asked = store.get(&Wanted { cached: false, ..wanted("a") }, "c0", &CancellationToken::new()).await;
    assert!(matches!(asked, Err(ImageError::Local(_))), "{asked:?}");
}

#[tokio::test]
async fn what_is_not_what_it_says_is_refused_and_leaves_nothing() {
    let Some(bench) = Bench::new() else { return };
    let (good, bad) = (base(), top("bad"));
    bench.image("changed", &[good.clone(), bad.clone()], None);
    let blob = bench.blobs().join(Digest::of(&bad).to_string().trim_start_matches("sha256:"));
    let mut bytes = fs::read(&blob).unwrap();
    bytes[600] ^= 1;
    fs::write(&blob, bytes).unwrap();
    bench.image("lies:latest", std::slice::from_ref(&good), Some(vec![Digest::of(b"other").to_string()]));
    bench.image("count:latest", &[good], Some(Vec::new()));
    bench.image("hostile:latest", &[layer(&[(FILE, "../x", "evil", 0o644)])], None);
    let store = bench.store();
    bench.image("changed:latest", &[base(), bad], None);
    fs::write(&blob, vec![0; 1024]).unwrap();
    for (name, word) in [
        ("changed", "the layer hashes to"),
        ("lies", "the unpacked layer hashes to"),
        ("count", "1 layers, the configuration 0"),
        ("hostile", "goes up with '..'"),
        ("absent", "there is no image 'absent:latest'"),
        ("UPPER", "is no name of an image"),
    ] {
        let error = get(&store, name, "c").await.unwrap_err().to_string();
        assert!(error.contains(word), "{name}: {error}");
    }
    assert_eq!((bench.count("staging"), bench.count("images"), bench.count("pins")), (0, 0, 0));
    assert_eq!(store.prune(&[]), Pruned::default());
    let error = get(&store, "absent", "../escape").await.unwrap_err().to_string();
    assert!(error.contains("'../escape'"), "{error}");
}

#[tokio::test]
async fn one_store_is_one_agents() {
    let Some(bench) = Bench::new() else { return };
    let _store = bench.store();
    let error = Store::open(bench.config("store")).unwrap_err();
    assert!(matches!(error, StoreError::InUse(_)), "{error}");
}

#[tokio::test]
async fn what_nobody_uses_is_pruned_and_what_is_used_stays() {
    let Some(bench) = Bench::new() else { return };
    for name in ["a", "b", "c"] {
        bench.image(&format!("{name}:latest"), &[base(), top(name)], None);
    }
    let store = bench.store();
    for name in ["a", "b", "c"] {
        get(&store, name, name).await.unwrap();
    }
    assert_eq!(store.prune(&[]).images, 0, "all are used");
    store.release("a");
    store.release("c");
    let pruned = store.prune(&["c".into()]);
    assert_eq!((pruned.images, pruned.layers), (1, 1), "c is excluded, b is used, the base is theirs too");
    // What runs keeps its layers over a restart, until it is known that it does not run.
    drop(store);
    let store = bench.store();
    assert_eq!(store.prune(&[]).images, 1);
    assert_eq!((bench.count("images"), bench.count("layers")), (1, 4));
    store.release_others(&["x"]);
    assert_eq!(bench.count("pins"), 0);
    let pruned = store.prune(&[]);
    assert_eq!((pruned.images, pruned.layers), (1, 2));
    assert_eq!((bench.count("images"), bench.count("layers"), bench.count("staging")), (0, 0, 0));
}

#[tokio::test]
async fn a_name_that_moves_leaves_its_old_layers_to_those_who_use_them() {
    let Some(bench) = Bench::new() else { return };
    bench.image("a:latest", &[top("old")], None);
    let store = bench.store();
    let old = get(&store, "a", "c1").await.unwrap();
    bench.image("a:latest", &[top("new")], None);
    assert_eq!(get(&store, "a", "c2").await.unwrap(), old, "the one that is there is taken");
    let new = store.get(&Wanted { cached: false, ..wanted("a") }, "c3", &CancellationToken::new()).await.unwrap();
    assert_eq!(fs::read_to_string(new.layers[0].join("top")).unwrap(), "new");
    store.release("c1");
    assert!(old.layers[0].exists(), "c2 still has it");
    store.release("c2");
    assert!(!old.layers[0].exists() && new.layers[0].exists());
}

#[tokio::test]
async fn images_go_by_age_and_size() {
    let Some(bench) = Bench::new() else { return };
    for (age, name) in [(300, "a"), (200, "b"), (100, "c")] {
        bench.image(&format!("{name}:latest"), &[top(name)], None);
        let store = bench.store();
        get(&store, name, name).await.unwrap();
        store.release(name);
        store.0.state().images.get_mut(&format!("{name}:latest")).unwrap().used =
            SystemTime::now() - Duration::from_secs(age);
        let record = fs::read_dir(bench.path("store/images")).unwrap().map(|entry| entry.unwrap().path());
        for path in record.filter(|path| fs::read_to_string(path).unwrap().contains(&format!("{name}:latest"))) {
            fs::File::open(path).unwrap().set_modified(SystemTime::now() - Duration::from_secs(age)).unwrap();
        }
    }
    let store = bench.store();
    let keep = Keep { max_unused: Some(Duration::from_secs(250)), ..Keep::default() };
    assert_eq!(store.trim(&keep).images, 1);
    assert_eq!(store.trim(&keep).images, 0);
    let size = store.figures().bytes.load(Ordering::Relaxed);
    assert_eq!(store.trim(&Keep { max_bytes: Some(size), ..Keep::default() }).images, 0);
    assert_eq!(store.trim(&Keep { max_bytes: Some(size - 1), ..Keep::default() }).images, 1, "the older one goes");
    assert!(store.0.state().images.contains_key("c:latest"));
    assert_eq!(store.trim(&Keep { headroom: 1.0, ..Keep::default() }).images, 1, "a full disk takes them all");
}

#[tokio::test]
async fn who_is_stopped_waits_no_longer() {
    let Some(bench) = Bench::new() else { return };
    bench.image("a:latest", &[base()], None);
    let cancel = CancellationToken::new();
    cancel.cancel();
    let store = bench.store();
    let result = store.get(&wanted("a"), "c", &cancel).await;
    assert!(matches!(result, Err(ImageError::Cancelled | ImageError::Unpack(UnpackError::Cancelled))), "{result:?}");
    assert_eq!(bench.count("pins"), 0);
    get(&store, "a", "c").await.unwrap();
}

/// What a process leaves that is killed at a step is what is on the disk at that step. Each is copied, and opened as the
/// next process would.
#[tokio::test]
async fn killed_at_any_step_nothing_is_left_and_all_can_be_got() {
    static COPIED: AtomicUsize = AtomicUsize::new(0);
    static FROM: StdMutex<PathBuf> = StdMutex::new(PathBuf::new());
    let Some(bench) = Bench::new() else { return };
    bench.image("a:latest", &[base(), top("a")], None);
    FROM.lock().unwrap().clone_from(&bench.path("store"));
    let passed = |step: &str| {
        STEPS.lock().unwrap().push(step.to_owned());
        let from = FROM.lock().unwrap().clone();
        let number = COPIED.fetch_add(1, Ordering::Relaxed);
        let to = from.with_file_name(format!("killed-{number}"));
        // Another layer may be on its way meanwhile: what is gone when it is copied would be gone after a kill too.
        let _ = Command::new("cp").arg("-a").args([&from, &to]).stderr(std::process::Stdio::null()).status();
    };
    let store = Store::open(Config { passed, ..bench.config("store") }).unwrap();
    get(&store, "a", "c").await.unwrap();
    store.release("c");
    store.prune(&[]);
    drop(store);
    let steps = STEPS.lock().unwrap().clone();
    for step in [
        "image-resolved",
        "layer-staged",
        "layer-fetched",
        "layer-checked",
        "layer-unpacked",
        "layer-installed",
        "image-unpacked",
        "image-recorded",
        "layers-uninstalled",
    ] {
        assert!(steps.iter().any(|passed| passed == step), "{step} was not passed: {steps:?}");
    }
    for (number, step) in steps.iter().enumerate() {
        let name = format!("killed-{number}");
        let store = Store::open(bench.config(&name)).unwrap();
        let count = |part: &str| fs::read_dir(bench.path(&name).join(part)).unwrap().count();
        assert_eq!(count("staging"), 0, "at {step}");
        assert_eq!(count("layers"), 2 * store.0.state().layers.len(), "at {step}");
        let needed = store.0.state().images.values().map(|image| image.layers.len()).sum::<usize>();
        assert_eq!(store.0.state().layers.len(), needed, "a layer that no image has is gone, at {step}");
        let image = get(&store, "a", "c").await.unwrap();
        assert_eq!(fs::read_to_string(image.layers[1].join("top")).unwrap(), "a");
        store.release("c");
        assert_eq!(store.prune(&[]).images, 1);
        assert_eq!((count("layers"), count("images"), count("pins"), count("staging")), (0, 0, 0, 0));
    }
}

#[test]
fn what_would_fill_the_disk_is_not_even_begun() {
    let here = std::env::temp_dir();
    assert!(disk::check_room(&here, 0).is_ok());
    assert!(matches!(disk::check_room(&here, u64::MAX), Err(UnpackError::DiskFull)));
}

#[test]
fn places_are_read() {
    assert_eq!("file:///images".parse(), Ok(Origin::Directory("/images".into())));
    assert_eq!("/images".parse(), Ok(Origin::Directory("/images".into())));
    let Ok(Origin::Registry(endpoint)) = "https://registry-1.docker.io".parse() else { panic!() };
    assert_eq!(endpoint.to_string(), "https://registry-1.docker.io");
    assert!("ftp://x".parse::<Origin>().is_err());
    assert!(Path::new("/").exists());
}
