use std::io::Write;

use serde_json::json;

use super::*;

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn index(entries: &[(&str, Option<&str>)]) -> String {
    let manifests: Vec<_> = entries
        .iter()
        .map(|(content, name)| {
            let digest = Digest::of(content.as_bytes()).to_string();
            let mut manifest =
                json!({"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest, "size": 1});
            if let Some(name) = name {
                manifest["annotations"] = json!({"org.opencontainers.image.ref.name": name});
            }
            manifest
        })
        .collect();
    json!({"schemaVersion": 2, "manifests": manifests}).to_string()
}

#[test]
fn layouts_are_searched_by_name_tag_and_digest() {
    let home = tempfile::tempdir().unwrap();
    let all = home.path();
    std::fs::write(all.join("index.json"), index(&[("one", Some("app:1")), ("two", Some("team/app:2"))])).unwrap();
    std::fs::create_dir_all(all.join("team/own")).unwrap();
    std::fs::write(all.join("team/own/index.json"), index(&[("three", Some("3")), ("four", None)])).unwrap();
    std::fs::create_dir_all(all.join("single")).unwrap();
    std::fs::write(all.join("single/index.json"), index(&[("five", None)])).unwrap();
    let found = |text: &str| match find(all, &name(text)) {
        Ok(Found::Layout(layout)) => Some(layout.root.digest),
        _ => None,
    };
    assert_eq!(found("app:1"), Some(Digest::of(b"one")));
    assert_eq!(found("team/app:2"), Some(Digest::of(b"two")));
    assert_eq!(found("team/own:3"), Some(Digest::of(b"three")));
    assert_eq!(found(&format!("team/own@{}", Digest::of(b"four"))), Some(Digest::of(b"four")));
    assert_eq!(found("single"), Some(Digest::of(b"five")));
    assert_eq!(found("app:2"), None);
    let error = find(all, &name("app:2")).unwrap_err().to_string();
    assert!(error.contains("app:2.tar") && error.contains("app/index.json"), "{error}");
}

#[test]
fn archives_of_docker_save_are_read_links_included() {
    let home = tempfile::tempdir().unwrap();
    let mut archive = tar::Builder::new(Vec::new());
    let mut add = |name: &str, content: &[u8], link: Option<&str>| {
        let mut header = tar::Header::new_gnu();
        header.set_size(if link.is_some() { 0 } else { content.len() as u64 });
        header.set_mode(0o644);
        header.set_entry_type(if link.is_some() { tar::EntryType::Symlink } else { tar::EntryType::Regular });
        match link {
            Some(link) => archive.append_link(&mut header, name, link).unwrap(),
            None => archive.append_data(&mut header, name, content).unwrap(),
        }
    };
    add("aa/layer.tar", b"first layer", None);
    add("bb/layer.tar", b"", Some("../aa/layer.tar"));
    add("config.json", b"{}", None);
    let manifest =
        json!([{"Config": "config.json", "RepoTags": ["host/app:1"], "Layers": ["aa/layer.tar", "bb/layer.tar"]}]);
    add("manifest.json", manifest.to_string().as_bytes(), None);
    let path = home.path().join("app:1.tar");
    std::fs::write(&path, archive.into_inner().unwrap()).unwrap();
    let Ok(Found::Archive(archive)) = find(home.path(), &name("app:1")) else { panic!() };
    assert_eq!((archive.config.as_slice(), archive.layers()), (&b"{}"[..], 2));
    for number in 0..2 {
        let mut text = String::new();
        archive.layer(number).unwrap().read().unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "first layer");
    }
    std::fs::File::create(home.path().join("broken.tar")).unwrap().write_all(b"no tar at all").unwrap();
    assert!(find(home.path(), &name("broken")).is_err());
}
