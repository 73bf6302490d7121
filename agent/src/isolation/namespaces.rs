//! `namespaces/pid` and `namespaces/ipc` (src/slave/containerizer/mesos/isolators/namespaces/).

use mezzo_api::v1::{self, linux_info::IpcMode};
use mezzo_executor::jail::{Jail, Mount, Namespace, Source, Target};

use super::{Isolator, Launch, NamespaceSettings, Wanted, names::Name};

#[derive(Debug)]
pub(super) struct Namespaces {
    pid: bool,
    ipc: bool,
    settings: NamespaceSettings,
}

impl Namespaces {
    pub(super) fn new(names: &[Name], settings: NamespaceSettings) -> Self {
        Self { pid: names.contains(&Name::NamespacesPid), ipc: names.contains(&Name::NamespacesIpc), settings }
    }

    fn pid(&self, wanted: Wanted<'_>, jail: &mut Jail) -> Result<(), String> {
        let shares = |info: Option<&v1::ContainerInfo>| linux(info).and_then(|linux| linux.share_pid_namespace);
        let own = shares(wanted.isolation.info.as_ref()).unwrap_or(false);
        // The container of a pod has no process: who shares its processes shares the agent's, if the pod does.
        let with_agent = match &wanted.isolation.pod {
            Some(pod) if own && !shares(pod.info.as_ref()).unwrap_or(false) => {
                return Err("The container cannot share the PID namespace of its executor, which has no process: \
                            leave share_pid_namespace out, or set it for the executor too"
                    .into());
            }
            _ => own,
        };
        if !with_agent {
            jail.namespaces.push(Namespace::Pid);
            return Ok(());
        }
        if self.settings.private_pid {
            return Err(
                "Sharing the agent's PID namespace is disallowed (--disallow_sharing_agent_pid_namespace)".into()
            );
        }
        Ok(())
    }

    fn ipc(&self, wanted: Wanted<'_>, jail: &mut Jail) -> Result<(), String> {
        let linux = linux(wanted.isolation.info.as_ref());
        let mode = linux.and_then(|linux| linux.ipc_mode).and_then(|mode| IpcMode::try_from(mode).ok());
        let size = linux.and_then(|linux| linux.shm_size);
        if mode == Some(IpcMode::ShareParent) {
            if size.is_some() {
                return Err("shm_size needs an IPC namespace of the container's own (ipc_mode PRIVATE)".into());
            }
            if wanted.isolation.pod.is_some() {
                return Err("The container cannot share the IPC namespace of its executor, which has no process: \
                            leave ipc_mode out"
                    .into());
            }
            if self.settings.private_ipc {
                return Err(
                    "Sharing the agent's IPC namespace is disallowed (--disallow_sharing_agent_ipc_namespace)".into()
                );
            }
            return Ok(());
        }
        jail.namespaces.push(Namespace::Ipc);
        let bytes = size.map(|megabytes| u64::from(megabytes) << 20).or(self.settings.shm_bytes);
        // Who says nothing keeps the host's /dev/shm, as before there were modes; a root of its own has its own anyway.
        if mode == Some(IpcMode::Private) || bytes.is_some() {
            let source = Source::Tmpfs { bytes: bytes.unwrap_or(DEFAULT_SHM_BYTES) };
            let target = Target::Root("/dev/shm".into());
            jail.mounts.push(Mount { source, target, read_only: false });
        }
        Ok(())
    }
}

/// As the kernel's users expect it: 64 MB.
const DEFAULT_SHM_BYTES: u64 = 64 << 20;

fn linux(info: Option<&v1::ContainerInfo>) -> Option<&v1::LinuxInfo> {
    info.and_then(|info| info.linux_info.as_ref())
}

impl Isolator for Namespaces {
    fn suits(&self, launch: &Launch, jail: &Jail) -> bool {
        launch.enter.is_none() || jail.root.is_some()
    }

    fn prepare(&self, wanted: Wanted<'_>, jail: &mut Jail) -> Result<(), String> {
        if self.pid {
            self.pid(wanted, jail)?;
        }
        // Who enters another container shares its memory.
        if self.ipc && wanted.launch.enter.is_none() {
            self.ipc(wanted, jail)?;
        }
        Ok(())
    }
}
