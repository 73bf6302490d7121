//! `--whitelist`: the hosts whose agents are offered, one on each line of a file that is looked at every five seconds
//! (src/watcher/whitelist_watcher.cpp). What cannot be read changes nothing.

use std::{
    collections::BTreeSet,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use crate::server::{CoreHandle, Input};

/// Between two looks (src/master/constants.hpp, WHITELIST_WATCH_INTERVAL).
const INTERVAL: Duration = Duration::from_secs(5);

/// The file, and what it held when it was last read.
#[derive(Debug)]
pub(crate) struct Whitelist {
    path: PathBuf,
    last: Mutex<BTreeSet<String>>,
}

impl Whitelist {
    /// Reads it for the first time. A real master that cannot do that offers everything until it can; here it does not start.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), last: Mutex::new(read(path)?) })
    }

    /// Tells a core, before it hears of anything else, and from then on what changes, for as long as it lives.
    pub(crate) fn follow(self: Arc<Self>, core: CoreHandle) {
        let mut known = self.last();
        tell(&known);
        core.send_later(Input::Whitelist(known.clone()));
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(INTERVAL).await;
                self.look();
                let now = self.last();
                if now != known {
                    tell(&now);
                    known = now;
                    if core.send(Input::Whitelist(known.clone())).await.is_err() {
                        return;
                    }
                } else if core.has_stopped() {
                    return;
                }
            }
        });
    }

    fn look(&self) {
        match read(&self.path) {
            Ok(hosts) => *self.last.lock().unwrap_or_else(PoisonError::into_inner) = hosts,
            Err(error) => {
                let path = self.path.display();
                tracing::error!(%path, %error, "the whitelist cannot be read: what was last read holds");
            }
        }
    }

    fn last(&self) -> BTreeSet<String> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn tell(hosts: &BTreeSet<String>) {
    if hosts.is_empty() {
        tracing::warn!("the whitelist is empty: nothing will be offered");
    } else {
        tracing::info!(hosts = hosts.len(), "only agents of the whitelist are offered");
    }
}

fn read(path: &Path) -> io::Result<BTreeSet<String>> {
    let text = std::fs::read_to_string(path)?;
    Ok(text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_host_on_each_line_and_the_last_that_could_be_read_holds() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("hosts");
        assert!(Whitelist::open(&path).is_err(), "it is not there");
        std::fs::write(&path, "a.example\r\n\n b.example\n").unwrap();
        let whitelist = Whitelist::open(&path).unwrap();
        let two: BTreeSet<String> = ["a.example", "b.example"].map(str::to_owned).into();
        assert_eq!(whitelist.last(), two);
        std::fs::remove_file(&path).unwrap();
        whitelist.look();
        assert_eq!(whitelist.last(), two);
        std::fs::write(&path, "").unwrap();
        whitelist.look();
        assert_eq!(whitelist.last(), BTreeSet::new(), "nobody");
    }
}
