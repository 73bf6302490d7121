//! What a contender asks of ZooKeeper, within one session.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mezzo_api::v1::MasterInfo;
use mezzo_election_core::{
    Candidate, Ended, Joined, candidates,
    challenge::{COOLDOWN, Deposed, Made, Verdict},
    decode, encode,
};
use tokio::sync::mpsc;
use zookeeper_client::{Client, CreateMode, Error, EventType, MultiWriteError, SessionState, Stat};

use crate::{connect::Acl, lease::now};

/// After a question that ZooKeeper did not answer.
const AGAIN: Duration = Duration::from_millis(250);

/// What a session tells its contender.
#[derive(Debug)]
pub(crate) enum Told {
    Connection(bool),
    Ended(Ended),
    Joined(Option<Joined>),
    Begun(Option<u64>),
    Children(Vec<String>),
    Masters(Vec<MasterInfo>),
    Read(String, Option<Vec<u8>>),
    Confirmed { asked: Duration, present: bool },
    Probed(String, Verdict),
    Challenged(Made),
    Deposed(Deposed),
    ChallengeSeen(String),
}

/// One session.
#[derive(Clone)]
pub(crate) struct Session {
    pub(crate) client: Client,
    acl: Acl,
    /// The masters' path.
    path: String,
    /// Beside it, what only masters of Mezzo know of.
    beside: String,
    tell: mpsc::UnboundedSender<Told>,
}

impl Session {
    pub(crate) fn new(client: Client, acl: Acl, path: &str, beside: String, tell: mpsc::UnboundedSender<Told>) -> Self {
        Self { client, acl, path: path.to_owned(), beside, tell }
    }

    /// The absolute path of a candidate's znode.
    pub(crate) fn znode(&self, name: &str) -> String {
        format!("{}/{name}", self.path)
    }

    fn challenge_path(&self) -> String {
        format!("{}/challenge", self.beside)
    }

    fn term_path(&self) -> String {
        format!("{}/term", self.beside)
    }

    fn cooldown_path(&self) -> String {
        format!("{}/cooldown", self.beside)
    }

    pub(crate) fn tell(&self, told: Told) {
        // The contender may have given up this session.
        let _ = self.tell.send(told);
    }

    /// Tells of the session's state until its end.
    pub(crate) async fn watch_state(self) {
        let mut states = self.client.state_watcher();
        loop {
            let told = match states.changed().await {
                SessionState::Disconnected => Told::Connection(false),
                SessionState::SyncConnected | SessionState::ConnectedReadOnly => Told::Connection(true),
                SessionState::AuthFailed => Told::Ended(Ended::Refused),
                SessionState::Expired | SessionState::Closed => Told::Ended(Ended::Expired),
            };
            let end = matches!(told, Told::Ended(_));
            self.tell(told);
            if end {
                return;
            }
        }
    }

    pub(crate) async fn join(self, info: MasterInfo) {
        let joined = match self.make_znode(&info).await {
            Ok(joined) => Some(joined),
            Err(Error::NoAuth) => {
                tracing::error!(
                    path = self.path,
                    beside = self.beside,
                    "ZooKeeper does not let this master create its znodes: check user and password of --zk, and the ACL of \
                     the path and of the one above it"
                );
                None
            }
            Err(error) => {
                tracing::warn!(path = self.path, "this master cannot stand for election: {error}");
                None
            }
        };
        self.tell(Told::Joined(joined));
    }

    async fn make_znode(&self, info: &MasterInfo) -> Result<Joined, Error> {
        for path in [&self.path, &self.beside, &self.cooldown_path(), &self.term_path()] {
            self.ensure(path).await?;
        }
        let options = CreateMode::EphemeralSequential.with_acls(self.acl.acls());
        let prefix = self.znode(Candidate::PREFIX);
        let (stat, sequence) = self.client.create(&prefix, &encode(info), &options).await?;
        let name = format!("{}{sequence}", Candidate::PREFIX);
        let stat = self.told(stat, &self.znode(&name)).await?;
        Ok(Joined { name, czxid: stat.czxid })
    }

    pub(crate) async fn begin(self, own: Joined) {
        let begun = self.begin_term(&own).await;
        if let Err(error) = &begun {
            tracing::warn!("elected, but no term could be begun: {error}");
        }
        self.tell(Told::Begun(begun.ok()));
    }

    async fn begin_term(&self, own: &Joined) -> Result<u64, Error> {
        let path = self.term_path();
        self.client.sync(&path).await?;
        let (data, stat) = self.client.get_data(&path).await?;
        let last = std::str::from_utf8(&data).ok().and_then(|text| text.parse::<u64>().ok()).unwrap_or_default();
        let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let term = last.saturating_add(1).max(seconds);
        let mut writer = self.client.new_check_writer(&self.znode(&own.name), Some(0))?;
        writer.add_set_data(&path, term.to_string().as_bytes(), Some(stat.version))?;
        writer.commit().await?;
        Ok(term)
    }

    /// Servers before 3.5 do not tell of a znode when they make it.
    async fn told(&self, stat: Stat, path: &str) -> Result<Stat, Error> {
        if stat.is_invalid() { self.client.check_stat(path).await?.ok_or(Error::NoNode) } else { Ok(stat) }
    }

    /// Makes a persistent znode and those above it. One that is there may stand where this user may not create.
    async fn ensure(&self, path: &str) -> Result<(), Error> {
        if self.client.check_stat(path).await?.is_some() {
            return Ok(());
        }
        self.client.mkdir(path, &CreateMode::Persistent.with_acls(self.acl.acls())).await
    }

    /// Tells the children now and after each change.
    pub(crate) async fn watch_children(self) {
        loop {
            match self.client.list_and_watch_children(&self.path).await {
                Ok((children, watcher)) => {
                    self.tell(Told::Children(children.clone()));
                    self.tell(Told::Masters(self.masters(&children).await));
                    let event = watcher.changed().await;
                    if event.event_type == EventType::Session && event.session_state.is_terminated() {
                        return;
                    }
                }
                Err(Error::SessionExpired | Error::ClientClosed | Error::AuthFailed) => return,
                Err(error) => {
                    tracing::warn!(path = self.path, "ZooKeeper does not tell who stands for election: {error}");
                    tokio::time::sleep(AGAIN).await;
                }
            }
        }
    }

    /// What the znodes of all candidates say, the leader's first; what cannot be read is left out.
    async fn masters(&self, children: &[String]) -> Vec<MasterInfo> {
        let mut masters = Vec::new();
        for candidate in candidates(children.iter().map(String::as_str)) {
            if let Ok((data, _)) = self.client.get_data(&self.znode(&candidate.name)).await {
                masters.extend(decode(&candidate, &data).ok());
            }
        }
        masters
    }

    /// Tells each challenge that is not answered.
    pub(crate) async fn watch_challenges(self) {
        let path = self.challenge_path();
        loop {
            match self.client.check_and_watch_stat(&path).await {
                Ok((stat, watcher)) => {
                    if stat.is_some_and(|stat| stat.version == 0)
                        && let Ok((data, _)) = self.client.get_data(&path).await
                    {
                        self.tell(Told::ChallengeSeen(String::from_utf8_lossy(&data).into_owned()));
                    }
                    let event = watcher.changed().await;
                    if event.event_type == EventType::Session && event.session_state.is_terminated() {
                        return;
                    }
                }
                Err(Error::SessionExpired | Error::ClientClosed | Error::AuthFailed) => return,
                Err(error) => {
                    tracing::warn!(path, "ZooKeeper does not tell of challenges: {error}");
                    tokio::time::sleep(AGAIN).await;
                }
            }
        }
    }

    pub(crate) async fn read(self, name: String) {
        match self.client.get_data(&self.znode(&name)).await {
            Ok((data, _)) => self.tell(Told::Read(name, Some(data))),
            Err(Error::NoNode) => self.tell(Told::Read(name, None)),
            Err(error) => tracing::warn!(znode = name, "the leading master's znode cannot be read: {error}"),
        }
    }

    pub(crate) async fn remove(self, name: String) {
        match self.client.delete(&self.znode(&name), None).await {
            Ok(()) => tracing::info!(znode = name, "removed the znode of this master's earlier life"),
            Err(Error::NoNode) => {}
            Err(error) => tracing::warn!(znode = name, "this master's earlier znode cannot be removed: {error}"),
        }
    }

    /// Not behind anything that ZooKeeper has done when it is asked.
    pub(crate) async fn confirm(self, own: Joined) {
        let asked = now();
        let znode = self.znode(&own.name);
        let (synced, stat) = tokio::join!(self.client.sync(&self.path), self.client.check_stat(&znode));
        match (synced, stat) {
            (Ok(()), Ok(stat)) => {
                let present = stat.is_some_and(|stat| stat.czxid == own.czxid);
                self.tell(Told::Confirmed { asked, present });
            }
            (Err(error), _) | (_, Err(error)) => tracing::debug!("ZooKeeper did not answer: {error}"),
        }
    }

    pub(crate) async fn challenge(self, against: String) {
        let made = match self.make_challenge(&against).await {
            Ok(true) => {
                tracing::warn!(znode = against, "the leading master's process is gone; challenging it");
                Made::Standing
            }
            Ok(false) => Made::No,
            Err(error) => {
                tracing::warn!(znode = against, "the leading master cannot be challenged: {error}");
                Made::No
            }
        };
        self.tell(Told::Challenged(made));
    }

    async fn make_challenge(&self, against: &str) -> Result<bool, Error> {
        let path = self.challenge_path();
        let options = CreateMode::Ephemeral.with_acls(self.acl.acls());
        let stat = match self.client.create(&path, against.as_bytes(), &options).await {
            Ok((stat, _)) => self.told(stat, &path).await?,
            Err(Error::NodeExists) => {
                self.withdraw_challenge().await;
                return Ok(false);
            }
            Err(error) => return Err(error),
        };
        let cooldown = self.client.check_stat(&self.cooldown_path()).await?.ok_or(Error::NoNode)?;
        let since = Duration::from_millis(u64::try_from(stat.ctime - cooldown.mtime).unwrap_or_default());
        if cooldown.version > 0 && since < COOLDOWN {
            self.withdraw_challenge().await;
            return Ok(false);
        }
        Ok(true)
    }

    /// Removes the challenge, if it is this session's own.
    async fn withdraw_challenge(&self) {
        let path = self.challenge_path();
        if let Ok(Some(stat)) = self.client.check_stat(&path).await
            && stat.ephemeral_owner == self.client.session_id().0
        {
            let _ = self.client.delete(&path, Some(stat.version)).await; // else it goes with the session
        }
    }

    pub(crate) async fn answer(self, own: Joined) {
        match self.client.set_data(&self.challenge_path(), own.name.as_bytes(), Some(0)).await {
            Ok(_) => tracing::warn!("another master cannot reach this one and challenged it; answered"),
            Err(Error::BadVersion | Error::NoNode) => {}
            Err(error) => tracing::warn!("a challenge could not be answered: {error}"),
        }
    }

    pub(crate) async fn depose(self, own: Joined, leader: String) {
        let deposed = match self.try_depose(&own, &leader).await {
            Ok(()) => {
                tracing::warn!(znode = leader, "the leading master did not answer; its znode is removed");
                Deposed::Yes
            }
            Err(MultiWriteError::OperationFailed { .. }) => Deposed::No,
            Err(MultiWriteError::RequestFailed { source }) => {
                tracing::warn!(znode = leader, "whether the leading master's znode is removed is not known: {source}");
                Deposed::Unknown
            }
        };
        if deposed != Deposed::Yes {
            self.withdraw_challenge().await;
        }
        self.tell(Told::Deposed(deposed));
    }

    async fn try_depose(&self, own: &Joined, leader: &str) -> Result<(), MultiWriteError> {
        let (cooldown, challenge) = (self.cooldown_path(), self.challenge_path());
        let known = self.client.check_stat(&cooldown).await?.ok_or(Error::NoNode)?;
        let mut multi = self.client.new_multi_writer();
        multi.add_check_version(&self.znode(&own.name), 0)?;
        multi.add_check_version(&challenge, 0)?;
        multi.add_set_data(&cooldown, leader.as_bytes(), Some(known.version))?;
        multi.add_delete(&self.znode(leader), None)?;
        multi.add_delete(&challenge, None)?;
        multi.commit().await.map(|_| ())
    }

    /// Gives the candidacy back at once, if ZooKeeper can be reached.
    pub(crate) async fn leave(self, own: Option<Joined>, within: Duration) {
        if let Some(own) = own
            && self.client.state() == SessionState::SyncConnected
        {
            let znode = self.znode(&own.name);
            match tokio::time::timeout(within, self.client.delete(&znode, None)).await {
                Ok(Ok(()) | Err(Error::NoNode)) => {}
                Ok(Err(error)) => tracing::warn!(znode, "the own znode stays until the session ends: {error}"),
                Err(_) => tracing::warn!(znode, "the own znode stays until the session ends: no answer"),
            }
        }
    }
}
