//! The jail as a part of the Launch frame.

use std::{
    ffi::OsStr,
    net::Ipv4Addr,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use super::{
    Capabilities, Cgroup, Jail, MemoryLimit, Mount, Namespace, Part, Plug, Rlimit, Root, Source, Target, Version,
};
use crate::frame::{Decoder, Encoder, FrameError};

const NAMESPACES: [Namespace; 5] = [Namespace::Mount, Namespace::Pid, Namespace::Ipc, Namespace::Net, Namespace::Uts];
const PARTS: [Part; 3] = [Part::Own, Part::Shared, Part::Above];
const VERSIONS: [Version; 2] = [Version::One, Version::Two];
const BIND: u8 = 0;
const TMPFS: u8 = 1;
const IN_ROOT: u8 = 0;
const IN_SANDBOX: u8 = 1;

impl Jail {
    pub(crate) fn encode(&self, out: &mut Encoder<'_>) -> Result<(), FrameError> {
        out.byte(
            NAMESPACES
                .iter()
                .enumerate()
                .fold(0, |bits, (bit, namespace)| bits | u8::from(self.namespaces.contains(namespace)) << bit),
        );
        out.option(self.root.as_ref(), |out, root| {
            out.list(&root.lower, |out, path| out.path(path))?;
            out.path(&root.upper)?;
            out.path(&root.work)?;
            out.flag(root.read_only);
            Ok(())
        })?;
        out.option(self.hostname.as_ref(), |out, name| out.text("host's name", name.as_bytes(), &[]))?;
        out.option(self.network.as_ref(), |out, plug| {
            out.number(plug.bridge);
            out.text("network device", plug.link.as_bytes(), &[])?;
            out.number(plug.address.to_bits());
            out.byte(plug.prefix);
            out.number(plug.gateway.to_bits());
            Ok(())
        })?;
        out.list(&self.mounts, encode_mount)?;
        out.option(self.sandbox.as_ref(), |out, path| out.path(path))?;
        out.option(self.directory.as_ref(), |out, path| out.path(path))?;
        out.list(&self.cgroups, |out, cgroup| {
            out.byte(place(&VERSIONS, &cgroup.version));
            out.line("cgroup's path", cgroup.path.as_os_str().as_bytes())?;
            out.list(&cgroup.files, |out, (name, value)| {
                out.text("cgroup's file", name.as_bytes(), &[])?;
                out.text("cgroup's value", value.as_bytes(), &[])
            })?;
            out.byte(place(&PARTS, &cgroup.part));
            Ok(())
        })?;
        out.option(self.memory.as_ref(), |out, limit| {
            out.path(&limit.path)?;
            out.long(limit.bytes);
            Ok(())
        })?;
        out.option(self.oom_score.as_ref(), |out, score| {
            out.number(score.cast_unsigned());
            Ok(())
        })?;
        out.list(&self.rlimits, |out, limit| {
            out.number(limit.resource);
            out.long(limit.soft);
            out.long(limit.hard);
            Ok(())
        })?;
        out.option(self.capabilities.as_ref(), |out, capabilities| {
            out.long(capabilities.effective);
            out.long(capabilities.bounding);
            Ok(())
        })?;
        out.flag(self.no_new_privileges);
        out.list(&self.filters, |out, filter| out.bytes(filter))
    }

    pub(crate) fn decode(from: &mut Decoder<'_>) -> Result<Self, FrameError> {
        let bits = from.byte()?;
        let set = |(bit, namespace): (usize, &Namespace)| (bits >> bit & 1 == 1).then_some(*namespace);
        Ok(Self {
            namespaces: NAMESPACES.iter().enumerate().filter_map(set).collect(),
            root: from.option(|from| {
                Ok(Root { lower: from.list(5, path)?, upper: path(from)?, work: path(from)?, read_only: from.flag()? })
            })?,
            hostname: from.option(text)?,
            network: from.option(|from| {
                Ok(Plug {
                    bridge: from.number()?,
                    link: text(from)?,
                    address: Ipv4Addr::from_bits(from.number()?),
                    prefix: from.byte()?,
                    gateway: Ipv4Addr::from_bits(from.number()?),
                })
            })?,
            mounts: from.list(4, decode_mount)?,
            sandbox: from.option(path)?,
            directory: from.option(path)?,
            cgroups: from.list(10, |from| {
                Ok(Cgroup {
                    version: pick(&VERSIONS, from.byte()?)?,
                    path: path(from)?,
                    files: from.list(10, |from| Ok((text(from)?, text(from)?)))?,
                    part: pick(&PARTS, from.byte()?)?,
                })
            })?,
            memory: from.option(|from| Ok(MemoryLimit { path: path(from)?, bytes: from.long()? }))?,
            oom_score: from.option(|from| Ok(from.number()?.cast_signed()))?,
            rlimits: from
                .list(20, |from| Ok(Rlimit { resource: from.number()?, soft: from.long()?, hard: from.long()? }))?,
            capabilities: from.option(|from| Ok(Capabilities { effective: from.long()?, bounding: from.long()? }))?,
            no_new_privileges: from.flag()?,
            filters: from.list(4, |from| Ok(from.bytes()?.to_vec()))?,
        })
    }
}

fn encode_mount(out: &mut Encoder<'_>, mount: &Mount) -> Result<(), FrameError> {
    match &mount.source {
        Source::Bind { base, below } => {
            out.byte(BIND);
            out.path(base)?;
            out.path(below)?;
        }
        Source::Tmpfs { bytes } => {
            out.byte(TMPFS);
            out.long(*bytes);
        }
    }
    match &mount.target {
        Target::Root(path) => {
            out.byte(IN_ROOT);
            out.path(path)?;
        }
        Target::Sandbox(path) => {
            out.byte(IN_SANDBOX);
            out.path(path)?;
        }
    }
    out.flag(mount.read_only);
    Ok(())
}

fn decode_mount(from: &mut Decoder<'_>) -> Result<Mount, FrameError> {
    let source = match from.byte()? {
        BIND => Source::Bind { base: path(from)?, below: path(from)? },
        TMPFS => Source::Tmpfs { bytes: from.long()? },
        _ => return Err(FrameError::Malformed),
    };
    let target = match from.byte()? {
        IN_ROOT => Target::Root(path(from)?),
        IN_SANDBOX => Target::Sandbox(path(from)?),
        _ => return Err(FrameError::Malformed),
    };
    Ok(Mount { source, target, read_only: from.flag()? })
}

fn place<T: PartialEq>(all: &[T], one: &T) -> u8 {
    all.iter().position(|each| each == one).and_then(|place| u8::try_from(place).ok()).unwrap_or_default()
}

fn pick<T: Copy>(all: &[T], place: u8) -> Result<T, FrameError> {
    all.get(usize::from(place)).copied().ok_or(FrameError::Malformed)
}

fn path(from: &mut Decoder<'_>) -> Result<PathBuf, FrameError> {
    Ok(Path::new(OsStr::from_bytes(from.text()?.to_bytes())).to_path_buf())
}

fn text(from: &mut Decoder<'_>) -> Result<String, FrameError> {
    from.text()?.to_str().map(ToOwned::to_owned).map_err(|_| FrameError::Malformed)
}
