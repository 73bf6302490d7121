//! Images that tests build themselves: of a static busybox, which needs nothing else.

use std::io::Write;
use std::path::Path;

use flate2::{Compression, write::GzEncoder};
use mezzo_images::Digest;
use serde_json::{Value, json};
use tar::{Builder, EntryType, Header};

/// Where Debian's busybox-static has it.
const BUSYBOX: &str = "/bin/busybox";
/// What tests call, each a link to busybox.
const APPLETS: [&str; 24] = [
    "sh", "cat", "echo", "env", "id", "ls", "mkdir", "pwd", "rm", "sleep", "stat", "test", "touch", "true", "false",
    "printf", "hostname", "httpd", "nc", "wget", "ip", "ulimit", "grep", "head",
];

/// A layer that is written entry by entry, names as they are given: hostile ones too.
pub struct Layer(Builder<Vec<u8>>);

impl Default for Layer {
    fn default() -> Self {
        Self(Builder::new(Vec::new()))
    }
}

impl Layer {
    fn add(mut self, kind: EntryType, name: &str, mode: u32, link: &str, content: &[u8]) -> Self {
        let mut header = Header::new_gnu();
        if let Some(fields) = header.as_gnu_mut() {
            fields.name[..name.len()].copy_from_slice(name.as_bytes());
            fields.linkname[..link.len()].copy_from_slice(link.as_bytes());
        }
        header.set_entry_type(kind);
        header.set_size(content.len() as u64);
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1);
        header.set_cksum();
        self.0.append(&header, content).expect("memory can be written");
        self
    }

    /// A file; names take at most 100 bytes.
    #[must_use]
    pub fn file(self, name: &str, mode: u32, content: impl AsRef<[u8]>) -> Self {
        self.add(EntryType::Regular, name, mode, "", content.as_ref())
    }

    /// A directory.
    #[must_use]
    pub fn directory(self, name: &str, mode: u32) -> Self {
        self.add(EntryType::Directory, name, mode, "", b"")
    }

    /// A symbolic link.
    #[must_use]
    pub fn symlink(self, name: &str, target: &str) -> Self {
        self.add(EntryType::Symlink, name, 0o777, target, b"")
    }

    /// A hard link.
    #[must_use]
    pub fn link(self, name: &str, target: &str) -> Self {
        self.add(EntryType::Link, name, 0o644, target, b"")
    }

    /// The archive.
    ///
    /// # Panics
    /// Never: it is in memory.
    #[must_use]
    pub fn bytes(self) -> Vec<u8> {
        self.0.into_inner().expect("memory can be written")
    }
}

/// Busybox with a shell and the usual commands, users `root` and `web`, and what a mount needs.
///
/// # Panics
/// When there is no busybox: `cargo xtask setup` installs it.
#[must_use]
pub fn busybox() -> Layer {
    let program = std::fs::read(BUSYBOX).expect("busybox-static is installed by `cargo xtask setup`");
    let mut layer = Layer::default().directory("./", 0o755);
    for directory in ["bin/", "dev/", "etc/", "proc/", "sys/", "home/"] {
        layer = layer.directory(directory, 0o755);
    }
    layer = layer.directory("tmp/", 0o1777).file("bin/busybox", 0o755, program);
    for applet in APPLETS {
        layer = layer.symlink(&format!("bin/{applet}"), "busybox");
    }
    layer.file("etc/passwd", 0o644, "root:x:0:0::/:/bin/sh\nweb:x:1033:1034::/home:/bin/sh\n").file(
        "etc/group",
        0o644,
        "root:x:0:\nweb:x:1034:\nlogs:x:1050:web\n",
    )
}

/// A whole image, in memory.
#[derive(Clone, Debug)]
pub struct Image {
    /// Manifest, as it is pushed.
    pub manifest: Vec<u8>,
    /// The configuration first, then the layers, lowest first, packed.
    pub blobs: Vec<Vec<u8>>,
}

impl Image {
    /// Of these layers, with this `config` (`Env`, `Entrypoint`, …).
    ///
    /// # Panics
    /// Never: it is in memory.
    #[must_use]
    pub fn new(layers: Vec<Layer>, config: &Value) -> Self {
        let layers: Vec<Vec<u8>> = layers.into_iter().map(Layer::bytes).collect();
        let diff_ids: Vec<String> = layers.iter().map(|layer| Digest::of(layer).to_string()).collect();
        let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
        let config = json!({"architecture": architecture, "os": "linux", "config": config,
                            "rootfs": {"type": "layers", "diff_ids": diff_ids}});
        let mut blobs = vec![config.to_string().into_bytes()];
        blobs.extend(layers.into_iter().map(|layer| {
            let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
            packed.write_all(&layer).and_then(|()| packed.finish()).expect("memory can be written")
        }));
        let describe = |kind: &str, blob: &[u8]| {
            json!({"mediaType": format!("application/vnd.oci.image.{kind}"),
                                                        "digest": Digest::of(blob).to_string(), "size": blob.len()})
        };
        let layers: Vec<Value> = blobs[1..].iter().map(|blob| describe("layer.v1.tar+gzip", blob)).collect();
        let manifest = json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
                              "config": describe("config.v1+json", &blobs[0]), "layers": layers});
        Self { manifest: manifest.to_string().into_bytes(), blobs }
    }

    /// Busybox and nothing else, with this `config`.
    #[must_use]
    pub fn of_busybox(config: &Value) -> Self {
        Self::new(vec![busybox()], config)
    }

    /// What names the image for good.
    #[must_use]
    pub fn digest(&self) -> String {
        Digest::of(&self.manifest).to_string()
    }

    /// Writes it into the OCI layout of `directory`, beside others, under a name like `app:1`.
    ///
    /// # Panics
    /// When the directory cannot be written.
    pub fn lay_out(&self, directory: &Path, name: &str) {
        let blobs = directory.join("blobs/sha256");
        std::fs::create_dir_all(&blobs).expect("the test's directory must be writable");
        for blob in self.blobs.iter().chain([&self.manifest]) {
            let digest = Digest::of(blob).to_string();
            let path = blobs.join(digest.trim_start_matches("sha256:"));
            std::fs::write(path, blob).expect("the test's directory must be writable");
        }
        let index = directory.join("index.json");
        let known: Value =
            std::fs::read(&index).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
        let annotations = json!({"org.opencontainers.image.ref.name": name});
        let mut manifests = known["manifests"].as_array().cloned().unwrap_or_default();
        manifests.retain(|manifest| manifest["annotations"] != annotations);
        manifests.push(json!({"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": self.digest(),
                              "size": self.manifest.len(), "annotations": annotations}));
        let index_text = json!({"schemaVersion": 2, "manifests": manifests}).to_string();
        std::fs::write(index, index_text).expect("the test's directory must be writable");
        std::fs::write(directory.join("oci-layout"), r#"{"imageLayoutVersion": "1.0.0"}"#)
            .expect("the test's directory must be writable");
    }
}
