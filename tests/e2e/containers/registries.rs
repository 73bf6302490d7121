//! Pulling from a real registry: open, with passwords, with tokens, broken, and through mirrors.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use mezzo_images::{Config, DockerConfig, ImageError, Origin, Store, Wanted};
use mezzo_tests::{
    environment,
    images::{Image, Layer, busybox},
    ports::Ports,
    registry::{Guard, Registry},
};
use serde_json::json;
use tokio_util::sync::CancellationToken;

/// What every test here needs; `None`, loudly, where something is missing.
fn bench() -> Option<(tempfile::TempDir, Ports)> {
    if !environment::is_root() {
        environment::skip("images need root");
        return None;
    }
    if !Registry::is_installed() {
        environment::skip("docker-registry is not installed: run `cargo xtask setup`");
        return None;
    }
    Some((tempfile::tempdir().unwrap(), Ports::reserve()))
}

fn image() -> Image {
    let upper = Layer::default().file("etc/.wh.group", 0, "").file("etc/motd", 0o644, "hello");
    Image::new(vec![busybox(), upper], &json!({"Env": ["PATH=/bin"], "Cmd": ["sh"], "User": "web"}))
}

fn store(directory: &Path, change: impl FnOnce(&mut Config)) -> Store {
    let mut config = Config {
        directory: directory.to_path_buf(),
        origin: Origin::Directory("/nowhere".into()),
        mirrors: BTreeMap::new(),
        credentials: DockerConfig::default(),
        stall: Duration::from_secs(20),
        passed: |_| {},
    };
    change(&mut config);
    Store::open(config).unwrap()
}

fn wanted(name: &str) -> Wanted {
    Wanted { name: name.to_owned(), cached: false, credentials: None }
}

/// Gets an image, with a runtime of its own as the harness has none.
fn get(store: &Store, wanted: &Wanted) -> Result<mezzo_images::Image, ImageError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(store.get(wanted, "container", &CancellationToken::new()))
}

fn assert_whole(image: &mezzo_images::Image) {
    assert_eq!(image.layers.len(), 2);
    assert_eq!(std::fs::read_to_string(image.layers[1].join("etc/motd")).unwrap(), "hello");
    assert!(image.layers[0].join("bin/busybox").exists());
    assert_eq!(image.config.user.as_deref(), Some("web"));
}

#[test]
fn an_image_is_pulled_by_tag_and_by_digest() {
    let Some((dir, mut ports)) = bench() else { return };
    let registry = Registry::start(dir.path(), ports.take(), Guard::Open);
    let image = image();
    registry.push(&image, "team/app", "1.0");
    let store = store(&dir.path().join("store"), |_| {});
    assert_whole(&get(&store, &wanted(&registry.name("team/app:1.0"))).unwrap());
    let by_digest = registry.name(&format!("team/app@{}", image.digest()));
    assert_whole(&get(&store, &wanted(&by_digest)).unwrap());
    let missing = get(&store, &wanted(&registry.name("team/app:2.0"))).unwrap_err().to_string();
    assert!(missing.contains("404") && missing.contains("there is no such image"), "{missing}");
    let other = registry.name(&format!("team/app@{}", mezzo_images::Digest::of(b"other")));
    assert!(get(&store, &wanted(&other)).is_err());
    // With the registry gone, what is cached is still there.
    drop(registry);
    assert_whole(&get(&store, &Wanted { cached: true, ..wanted(&by_digest) }).unwrap());
    let gone = get(&store, &wanted(&by_digest)).unwrap_err().to_string();
    assert!(gone.contains("cannot connect"), "{gone}");
}

#[test]
fn a_blob_that_was_changed_in_the_registry_is_refused() {
    let Some((dir, mut ports)) = bench() else { return };
    let registry = Registry::start(dir.path(), ports.take(), Guard::Open);
    let image = image();
    registry.push(&image, "app", "latest");
    let file = registry.blob_file(&image.blobs[2]);
    let mut bytes = std::fs::read(&file).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 0xff;
    std::fs::write(&file, bytes).unwrap();
    let directory = dir.path().join("store");
    let store = store(&directory, |_| {});
    let error = get(&store, &wanted(&registry.name("app"))).unwrap_err();
    assert!(matches!(error, ImageError::Digest { what: "layer", .. }), "{error}");
    let config = registry.blob_file(&image.blobs[0]);
    let mut text = std::fs::read_to_string(&config).unwrap();
    text = text.replace("\"web\"", "\"bad\"");
    std::fs::write(&config, text).unwrap();
    let error = get(&store, &wanted(&registry.name("app"))).unwrap_err();
    assert!(matches!(error, ImageError::Digest { what: "configuration", .. }), "{error}");
    for part in ["images", "staging", "pins"] {
        assert_eq!(std::fs::read_dir(directory.join(part)).unwrap().count(), 0, "{part}");
    }
}

#[test]
fn passwords_and_tokens_are_shown_where_they_are_wanted() {
    let Some((dir, mut ports)) = bench() else { return };
    for guard in [Guard::Password, Guard::Token] {
        let registry = Registry::start(dir.path(), ports.take(), guard);
        registry.push(&image(), "private/app", "latest");
        let name = registry.name("private/app");
        let known = store(&dir.path().join(format!("known-{guard:?}")), |config| {
            config.credentials = registry.docker_config().parse().unwrap();
        });
        assert_whole(&get(&known, &wanted(&name)).unwrap());
        if guard == Guard::Token {
            assert_eq!(registry.tokens_given(), 1, "one token does for the whole image");
        }
        let unknown = store(&dir.path().join(format!("unknown-{guard:?}")), |_| {});
        let error = get(&unknown, &wanted(&name)).unwrap_err().to_string();
        assert!(error.contains("401") && error.contains("--docker_config"), "{guard:?}: {error}");
        // Credentials can come with the image.
        let own = Wanted { credentials: Some(registry.docker_config()), ..wanted(&name) };
        assert_whole(&get(&unknown, &own).unwrap());
    }
}

#[test]
fn a_mirror_is_asked_first_and_the_registry_when_it_has_nothing() {
    let Some((dir, mut ports)) = bench() else { return };
    let registry = Registry::start(dir.path(), ports.take(), Guard::Open);
    let mirror = Registry::start(dir.path(), ports.take(), Guard::Open);
    mirror.push(&image(), "app", "mirrored");
    registry.push(&image(), "app", "original");
    let mirrored = store(&dir.path().join("store"), |config| {
        config.origin = Origin::Registry(registry.address.to_string().parse().unwrap());
        let nobody = format!("127.0.0.1:{}", ports.take()).parse().unwrap();
        let own = mirror.address.to_string().parse().unwrap();
        config.mirrors = [(registry.address.to_string(), vec![nobody, own])].into();
    });
    assert_whole(&get(&mirrored, &wanted("app:mirrored")).unwrap());
    assert_whole(&get(&mirrored, &wanted("app:original")).unwrap());
    assert!(get(&mirrored, &wanted("app:neither")).is_err());
}

#[test]
fn many_who_want_one_image_pull_it_once() {
    let Some((dir, mut ports)) = bench() else { return };
    let registry = Registry::start(dir.path(), ports.take(), Guard::Open);
    registry.push(&image(), "app", "latest");
    let store = store(&dir.path().join("store"), |_| {});
    let name: Arc<str> = registry.name("app").into();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let all: Vec<_> = (0..50)
            .map(|number| {
                let (store, name) = (store.clone(), name.clone());
                tokio::spawn(async move {
                    let wanted = Wanted { cached: true, ..wanted(&name) };
                    store.get(&wanted, &format!("c{number}"), &CancellationToken::new()).await.unwrap()
                })
            })
            .collect();
        for one in all {
            assert_whole(&one.await.unwrap());
        }
    });
    assert_eq!(store.figures().pulled.load(Ordering::Relaxed), 1);
}
