//! Machines with a system of their own: a fresh Debian (`cargo xtask setup`), booted by its own systemd in namespaces on a
//! host of a test's network. Its power can be cut, and it boots again from the same disk.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use crate::{environment, hosts::Host, part::Part, wait};

static COUNT: AtomicU32 = AtomicU32::new(0);

/// How long a system may take to come up, its cloud-init included, on a busy machine.
pub const BOOT: Duration = Duration::from_secs(120);

/// Whose journals are shown when a test fails.
const UNITS: [&str; 7] =
    ["mezzo-agent", "mezzo-master", "mezzo-discover", "zookeeper", "cloud-final", "cloud-config", "cloud-init"];

/// Makes the namespaces' file systems, and becomes init. `$1` the root, `$2` the file of the boot's id, `$3` the machine's
/// name, `$4` the layers of its disk.
const BOOT_SCRIPT: &str = r#"
set -e
mount -t overlay overlay -o "$4" "$1"
mount -t proc proc "$1/proc"
mount --bind "$2" "$1/proc/sys/kernel/random/boot_id"
mount -t sysfs -o ro sysfs "$1/media"
mount -t tmpfs -o mode=755 tmpfs "$1/sys"
for directory in "$1"/media/*; do
    name=${directory##*/}
    mkdir -p "$1/sys/$name"
    [ "$name" = hypervisor ] || mount --bind "$directory" "$1/sys/$name"
done
umount "$1/media"
# By this cloud-init takes the machine for one of Amazon's.
mkdir -p "$1/sys/hypervisor"
echo ec2e1916-9099-7caf-fd21-012345abcdef > "$1/sys/hypervisor/uuid"
if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
    mount -t cgroup2 cgroup2 "$1/sys/fs/cgroup"
else
    mount -t tmpfs -o mode=755 tmpfs "$1/sys/fs/cgroup"
    mkdir "$1/sys/fs/cgroup/systemd" "$1/sys/fs/cgroup/unified"
    mount -t cgroup -o none,name=systemd cgroup "$1/sys/fs/cgroup/systemd"
    mount -t cgroup2 cgroup2 "$1/sys/fs/cgroup/unified"
fi
mount -t tmpfs -o mode=755 tmpfs "$1/run"
mount -t tmpfs tmpfs "$1/tmp"
mount -t tmpfs -o mode=755 tmpfs "$1/dev"
for name in null zero full random urandom tty; do
    touch "$1/dev/$name"
    mount --bind "/dev/$name" "$1/dev/$name"
done
mkdir "$1/dev/pts" "$1/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666 devpts "$1/dev/pts"
ln -s pts/ptmx "$1/dev/ptmx"
ln -s /proc/self/fd "$1/dev/fd"
hostname "$3"
cd "$1"
pivot_root . mnt
umount -l /mnt
exec env -i container=mezzo-test PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --show-status=0 < /dev/null
"#;

/// A cgroup of its own for the machine, then namespaces. `$1` the group's name, `$2` the other script, and what that wants.
const OUTER_SCRIPT: &str = r#"
set -e
for tree in /sys/fs/cgroup/systemd /sys/fs/cgroup/unified /sys/fs/cgroup; do
    if [ -e "$tree/cgroup.procs" ]; then
        mkdir -p "$tree/$1"
        echo $$ > "$tree/$1/cgroup.procs"
    fi
done
script=$2
shift 2
exec unshare --cgroup --pid --mount --ipc --uts --propagation=private --fork --kill-child sh -c "$script" sh "$@"
"#;

/// A machine.
#[derive(Debug)]
pub struct Machine {
    name: String,
    part: Part,
    /// What its disk has beyond the fresh Debian.
    written: PathBuf,
    boot_id: PathBuf,
    boots: u32,
    group: String,
}

impl Machine {
    /// A machine that is not booted yet, with a disk in `dir`; none, with a loud word, where that cannot be.
    ///
    /// # Panics
    /// Where `CI` is set and it cannot be; when its disk cannot be made.
    #[must_use]
    pub fn new(name: &str, host: &Host, dir: &Path) -> Option<Self> {
        let base = base()?;
        Some(Self::of_layers(name, host, dir, &base.display().to_string()))
    }

    /// One that has ZooKeeper's package installed.
    ///
    /// # Panics
    /// As [`new`](Self::new).
    #[must_use]
    pub fn with_zookeeper(name: &str, host: &Host, dir: &Path) -> Option<Self> {
        let base = base()?;
        let layer = base.parent().map(|dir| dir.join("zookeeperd"))?;
        if !layer.join("complete").exists() {
            environment::skip("there is no Debian with ZooKeeper: run `cargo xtask setup` as root");
            return None;
        }
        Some(Self::of_layers(name, host, dir, &format!("{}:{}", layer.join("files").display(), base.display())))
    }

    /// On these directories, the upper ones first, with colons between.
    fn of_layers(name: &str, host: &Host, dir: &Path, lower: &str) -> Self {
        let disk = dir.join(format!("{name}-disk"));
        let root = disk.join("root");
        for part in ["upper", "work", "root"] {
            fs::create_dir_all(disk.join(part)).expect("the test's directory must be writable");
        }
        let layers = format!(
            "lowerdir={lower},upperdir={},workdir={}",
            disk.join("upper").display(),
            disk.join("work").display()
        );
        let boot_id = disk.join("boot_id");
        let group = format!("mezzo-test-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let arguments: Vec<OsString> = vec![
            "-c".into(),
            OUTER_SCRIPT.into(),
            "sh".into(),
            group.clone().into(),
            BOOT_SCRIPT.into(),
            root.clone().into(),
            boot_id.clone().into(),
            name.into(),
            layers.into(),
        ];
        let part = host.part(name, PathBuf::from("sh"), arguments, dir);
        fs::create_dir_all(disk.join("upper/etc")).expect("the test's directory must be writable");
        fs::write(disk.join("upper/etc/hostname"), format!("{name}\n")).expect("the same");
        Self { name: name.to_owned(), part, written: disk.join("upper"), boot_id, boots: 0, group }
    }

    /// Puts a file on its disk.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn write(&self, path: &str, content: &str) {
        if self.init().is_some() {
            let script = "mkdir -p \"${1%/*}\" && printf %s \"$2\" > \"$1\"";
            self.run(&["sh", "-c", script, "sh", path, content]);
            return;
        }
        let path = self.written.join(path.trim_start_matches('/'));
        fs::create_dir_all(path.parent().expect("a file has a directory")).expect("the disk must be writable");
        fs::write(&path, content).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }

    /// Copies a file of this machine onto it.
    ///
    /// # Panics
    /// When that is not possible.
    pub fn copy(&self, from: &Path, to: &str) {
        let file = fs::File::open(from).unwrap_or_else(|error| panic!("{}: {error}", from.display()));
        let mut nsenter = self.command(&["dd", "status=none", &format!("of={to}")]).expect("the machine is up");
        let status = nsenter.stdin(file).status().unwrap_or_else(|error| panic!("nsenter: {error}"));
        assert!(status.success(), "{to} was not written");
    }

    /// Begins to boot.
    ///
    /// # Panics
    /// When that is not possible.
    pub fn power_on(&mut self) {
        self.boots += 1;
        let id = format!("{0:08}-1111-4111-8111-{0:012}\n", self.boots);
        fs::write(&self.boot_id, id).expect("the test's directory must be writable");
        self.part.start();
    }

    /// Boots, and waits until services run.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn boot(&mut self) {
        self.power_on();
        self.wait_until_up();
    }

    /// Waits until services run, after [`power_on`](Self::power_on).
    ///
    /// # Panics
    /// When it does not come up.
    pub fn wait_until_up(&mut self) {
        wait::until_within(BOOT, &format!("{} boots", self.name), || {
            assert!(self.part.is_running(), "{}", self.part.last_lines(40));
            self.try_run(&["systemctl", "is-active", "--quiet", "basic.target"]).filter(|o| o.status.success())
        });
    }

    /// The power fails: every process of it ends at once.
    pub fn cut_power(&mut self) {
        self.part.kill();
        self.clean_groups();
    }

    /// Runs a command on it, as root; what it wrote to standard output.
    ///
    /// # Panics
    /// When it fails.
    pub fn run(&self, command: &[&str]) -> String {
        let output = self.try_run(command).unwrap_or_else(|| panic!("{} is not up", self.name));
        let (said, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{}: {command:?}: {}\n{said}{errors}", self.name, output.status);
        said.trim().to_owned()
    }

    /// Runs a command on it, as root, where it is up.
    #[must_use]
    pub fn try_run(&self, command: &[&str]) -> Option<Output> {
        let mut nsenter = self.command(command)?;
        Some(nsenter.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("nsenter: {error}")))
    }

    fn command(&self, command: &[&str]) -> Option<Command> {
        let init = self.init()?;
        let mut nsenter = Command::new("nsenter");
        nsenter.args(["--target", &init.to_string(), "--mount", "--pid", "--net", "--ipc", "--uts", "--cgroup"]);
        nsenter.args(["--root", "--wd", "--", "env", "-i", "PATH=/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"]);
        nsenter.args(["LC_ALL=C.UTF-8", "HOME=/tmp"]).args(command);
        Some(nsenter)
    }

    /// A property of a unit, as systemd tells it.
    #[must_use]
    pub fn property(&self, unit: &str, name: &str) -> String {
        self.run(&["systemctl", "show", "--value", "--property", name, unit])
    }

    /// The journal of a unit.
    #[must_use]
    pub fn journal(&self, unit: &str) -> String {
        let output = self.try_run(&["journalctl", "--no-pager", "--output=cat", "--unit", unit]);
        output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default()
    }

    /// Its init, as this machine counts: the child of the process that made its namespaces.
    fn init(&self) -> Option<u32> {
        if !self.part.is_started() {
            return None;
        }
        let maker = self.part.pid();
        let children = fs::read_to_string(format!("/proc/{maker}/task/{maker}/children")).ok()?;
        children.split_whitespace().next()?.parse().ok()
    }

    fn clean_groups(&self) {
        for tree in ["/sys/fs/cgroup/systemd", "/sys/fs/cgroup/unified", "/sys/fs/cgroup"] {
            let group = Path::new(tree).join(&self.group);
            if group.exists() {
                wait::until_true("the machine's cgroups are empty", || {
                    let mut find = Command::new("find");
                    find.arg(&group).args(["-depth", "-type", "d", "-exec", "rmdir", "{}", ";"]);
                    let _ = find.stderr(Stdio::null()).stdout(Stdio::null()).status();
                    !group.exists()
                });
            }
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for unit in UNITS {
                eprintln!("---- {}: {unit}\n{}", self.name, self.journal(unit));
            }
            eprintln!("{}", self.part.last_lines(30));
        }
        self.cut_power();
    }
}

/// The fresh Debian; none, with a loud word, where there cannot be machines.
fn base() -> Option<PathBuf> {
    let base = environment::bin_dir().parent().map(|target| target.join("test-env-debian"))?;
    if !environment::is_root() {
        environment::skip("machines with a system of their own need root");
        return None;
    }
    if !base.join("complete").exists() {
        environment::skip("there is no fresh Debian: run `cargo xtask setup` as root");
        return None;
    }
    Some(base.join("root"))
}
