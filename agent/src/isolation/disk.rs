//! `disk/du`: how much of the disk the sandboxes and volumes of containers take
//! (src/slave/containerizer/mesos/isolators/posix/disk.cpp).

use std::{
    collections::HashSet,
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use mezzo_agent_core::isolation::Limitation;
use mezzo_api::{
    ids::ContainerId,
    v1::{self, task_status::Reason},
};
use mezzo_executor::jail::Jail;

use super::{
    DiskSettings, Isolator, Standing, Wanted,
    usage::{Accounts, Disk},
};

const MEGABYTE: f64 = 1_048_576.0;

#[derive(Debug)]
pub(super) struct Du {
    settings: DiskSettings,
    accounts: Arc<Accounts>,
}

impl Du {
    pub(super) fn new(settings: DiskSettings, accounts: Arc<Accounts>) -> Self {
        Self { settings, accounts }
    }
}

impl Isolator for Du {
    fn prepare(&self, _wanted: Wanted<'_>, _jail: &mut Jail) -> Result<(), String> {
        Ok(())
    }

    fn interval(&self) -> Option<Duration> {
        Some(self.settings.interval)
    }

    fn look(&self, running: &[Standing]) -> Vec<(ContainerId, Limitation)> {
        let mut over = Vec::new();
        for container in running {
            let Some(quota) = container.allotment.disk_mb else { continue };
            let used = used_bytes(&container.sandbox, &container.volumes);
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // megabytes of a disk
            let limit_bytes = (quota * MEGABYTE).max(0.0) as u64;
            self.accounts.enter_disk(&container.id, Disk { used_bytes: used, limit_bytes });
            #[allow(clippy::cast_precision_loss)] // for comparison
            let used_mb = used as f64 / MEGABYTE;
            if used_mb > quota && self.settings.enforce {
                over.push((container.id.clone(), limitation(used_mb, quota)));
            }
        }
        self.accounts.forget_disks_but(running);
        over
    }
}

fn limitation(used_mb: f64, quota_mb: f64) -> Limitation {
    let disk = v1::Resource {
        name: "disk".into(),
        r#type: v1::value::Type::Scalar as i32,
        scalar: Some(v1::value::Scalar { value: quota_mb }),
        ..v1::Resource::default()
    };
    Limitation {
        reason: Reason::ContainerLimitationDisk,
        message: format!("Disk usage ({used_mb:.1}MB) exceeds quota ({quota_mb}MB)"),
        resources: vec![disk],
    }
}

/// What a directory takes of the disk, as du(1) counts it: blocks, a file with several names once, no link followed, no
/// other file system entered; without what is in `others`.
fn used_bytes(directory: &Path, others: &[PathBuf]) -> u64 {
    let Ok(top) = fs::symlink_metadata(directory) else { return 0 };
    let device = top.dev();
    let mut counted = HashSet::new();
    let mut bytes = top.blocks() * 512;
    let mut open = vec![directory.to_path_buf()];
    while let Some(path) = open.pop() {
        for entry in fs::read_dir(path).into_iter().flatten().flatten() {
            let Ok(metadata) = entry.metadata() else { continue };
            if metadata.dev() != device || metadata.nlink() > 1 && !metadata.is_dir() && !counted.insert(metadata.ino())
            {
                continue;
            }
            if metadata.is_dir() {
                let path = entry.path();
                if others.contains(&path) {
                    continue;
                }
                open.push(path);
            }
            bytes += metadata.blocks() * 512;
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isolation::host::Host;
    use mezzo_agent_core::isolation::Allotment;

    #[test]
    fn disks_are_measured_and_quotas_kept() {
        let directory = tempfile::tempdir().unwrap();
        let sandbox = directory.path().join("s");
        fs::create_dir_all(sandbox.join("a/b")).unwrap();
        fs::write(sandbox.join("a/b/file"), vec![1; 3 << 20]).unwrap();
        fs::hard_link(sandbox.join("a/b/file"), sandbox.join("again")).unwrap();
        std::os::unix::fs::symlink("/", sandbox.join("host")).unwrap();
        let used = used_bytes(&sandbox, &[]);
        assert!((3 << 20..4 << 20).contains(&used), "{used}");
        assert!(used_bytes(&sandbox, &[sandbox.join("a")]) >= 3 << 20, "its other name counts");
        let standing = Standing {
            id: "c".into(),
            pid: 1,
            sandbox,
            allotment: Allotment { disk_mb: Some(2.0), ..Allotment::default() },
            volumes: Vec::new(),
        };
        let accounts = || Arc::new(Accounts::new(Host::look(Path::new("/none")), "mesos"));
        let du = |enforce| Du::new(DiskSettings { interval: Duration::from_secs(1), enforce }, accounts());
        assert_eq!(du(false).look(std::slice::from_ref(&standing)), []);
        let found = du(true).look(std::slice::from_ref(&standing));
        assert_eq!(found.len(), 1);
        assert!(found[0].1.message.contains("exceeds quota (2MB)"), "{}", found[0].1.message);
        let unlimited = Standing { allotment: Allotment::default(), ..standing };
        assert_eq!(du(true).look(&[unlimited]), []);
    }
}
