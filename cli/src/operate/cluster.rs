//! The leading master, found among those that are named.

use std::time::Duration;

use bytes::Bytes;
use mezzo_election::{Detector, address_of};
use mezzo_sdk::{Address, AddressError};
use serde_json::{Value, json};

use super::{Failure, args::Options, config};
use crate::http::{Answer, Http, HttpError};

/// How long a master may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Of a master that is named without one.
const MASTER_PORT: u16 = 5050;
/// Redirections that are followed.
const HOPS: usize = 4;

/// Why there is no leader to ask.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClusterError {
    /// The file is of no use.
    #[error("the configuration cannot be used: {0}")]
    Config(String),
    /// The address is of no use.
    #[error("the master's address cannot be used: {0}")]
    Address(#[from] AddressError),
    /// Nobody answers.
    #[error("no master can be reached: {0} (name it by --master, MEZZO_MASTER or ~/.config/mezzo/config.toml)")]
    Unreached(String),
    /// They answer, and none leads.
    #[error("the masters answer, and none of them leads at the moment")]
    NoLeader,
}

/// A cluster.
#[derive(Debug)]
pub(crate) struct Cluster {
    masters: Vec<Address>,
    /// Tells who leads, where masters are found through ZooKeeper.
    detector: Option<Detector>,
    leader: Option<Http>,
}

impl Cluster {
    /// The cluster that the options name.
    pub(crate) fn of(options: &Options) -> Result<Self, ClusterError> {
        let text = config::masters(options.master.as_deref())?;
        if !text.trim_start().starts_with("zk://") && !text.trim_start().starts_with("file://") {
            return Ok(Self { masters: Address::parse_list(&text)?, detector: None, leader: None });
        }
        let source = mezzo_election::source(&text).map_err(|error| ClusterError::Config(error.to_string()))?;
        Ok(Self { masters: Vec::new(), detector: Some(Detector::new(source)), leader: None })
    }

    /// All masters that are named.
    pub(crate) fn masters(&self) -> &[Address] {
        &self.masters
    }

    /// Where the leader is.
    pub(crate) async fn leader(&mut self) -> Result<Address, ClusterError> {
        Ok(self.connected().await?.address().clone())
    }

    /// The leader is looked for again.
    pub(crate) fn forget_leader(&mut self) {
        self.leader = None;
    }

    /// GET a path of the leader, as JSON.
    pub(crate) async fn get(&mut self, path: &str) -> Result<Value, Failure> {
        let answer = self.send("GET", path, None, Bytes::new()).await?;
        parsed(&accepted(answer)?)
    }

    /// A call of the operator API; what it answers, `null` without a body.
    pub(crate) async fn call(&mut self, call: Value) -> Result<Value, Failure> {
        let answer = self.send("POST", "/api/v1", Some("application/json"), call.to_string().into()).await?;
        let body = accepted(answer)?;
        if body.is_empty() { Ok(Value::Null) } else { parsed(&body) }
    }

    /// A call that only has a type; its part of the answer.
    pub(crate) async fn ask(&mut self, kind: &str) -> Result<Value, Failure> {
        let answer = self.call(json!({"type": kind})).await?;
        Ok(answer.get(kind.to_ascii_lowercase()).cloned().unwrap_or(Value::Null))
    }

    /// POST a form.
    pub(crate) async fn form(&mut self, path: &str, form: String) -> Result<(), Failure> {
        let kind = Some("application/x-www-form-urlencoded");
        let answer = self.send("POST", path, kind, form.into()).await?;
        accepted(answer).map(|_| ())
    }

    /// Once more from the beginning when the leader has gone meanwhile; what changes something is sent once.
    async fn send(
        &mut self,
        method: &str,
        path: &str,
        content_type: Option<&str>,
        body: Bytes,
    ) -> Result<Answer, Failure> {
        for hop in 0.. {
            let http = self.connected().await?;
            let sent = tokio::time::timeout(PATIENCE * 3, http.send(method, path, content_type, body.clone())).await;
            let address = http.address().to_string();
            match sent {
                Ok(Ok(answer)) if answer.status == 307 && hop < HOPS => {
                    self.leader = leader_of(&answer).map(Http::new);
                }
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(HttpError::Path { path, source })) => {
                    return Err(Failure::Value(format!("cannot ask for {path}: {source}")));
                }
                Ok(Err(_)) if method == "GET" && hop < HOPS => self.leader = None,
                Ok(Err(error)) => return Err(ClusterError::Unreached(error.to_string()).into()),
                Err(_) => return Err(ClusterError::Unreached(format!("{address} does not answer")).into()),
            }
        }
        Err(ClusterError::NoLeader.into())
    }

    async fn connected(&mut self) -> Result<&mut Http, ClusterError> {
        let http = match self.leader.take() {
            Some(http) => http,
            None => self.find().await?,
        };
        Ok(self.leader.insert(http))
    }

    /// Asks each master who leads.
    async fn find(&mut self) -> Result<Http, ClusterError> {
        if let Some(detector) = &mut self.detector {
            let found = match detector.leader() {
                Some(leader) => Some(leader),
                None => tokio::time::timeout(PATIENCE, detector.changed()).await.ok().flatten(),
            };
            let (host, port) = found.as_ref().map(address_of).ok_or_else(|| {
                ClusterError::Unreached("ZooKeeper does not answer, or knows of no leader".to_owned())
            })?;
            return Ok(Http::new(Address { host, port }));
        }
        let (mut answered, mut problems) = (false, Vec::new());
        for address in &self.masters {
            let mut http = Http::new(address.clone());
            match tokio::time::timeout(PATIENCE, http.send("GET", "/redirect", None, Bytes::new())).await {
                Ok(Ok(answer)) => {
                    answered = true;
                    match leader_of(&answer) {
                        // A master that calls itself by a name that cannot be resolved from here is still itself.
                        Some(leader) if leader.port == address.port => return Ok(http),
                        Some(leader) => return Ok(Http::new(leader)),
                        None => {}
                    }
                }
                Ok(Err(error)) => problems.push(error.to_string()),
                Err(_) => problems.push(format!("{address} does not answer within {} s", PATIENCE.as_secs())),
            }
        }
        if answered { Err(ClusterError::NoLeader) } else { Err(ClusterError::Unreached(problems.join("; "))) }
    }
}

fn leader_of(answer: &Answer) -> Option<Address> {
    Address::parse(answer.location.as_deref()?, MASTER_PORT).ok()
}

fn accepted(answer: Answer) -> Result<Bytes, Failure> {
    if (200..300).contains(&answer.status) {
        return Ok(answer.body);
    }
    let text = match answer.status {
        401 => {
            "it asks who you are: name a file with principal and secret by --credential or MEZZO_CREDENTIAL".to_owned()
        }
        _ => String::from_utf8_lossy(&answer.body).trim().to_owned(),
    };
    Err(Failure::Refused { status: answer.status, text })
}

fn parsed(body: &[u8]) -> Result<Value, Failure> {
    serde_json::from_slice(body).map_err(|error| Failure::Answer(error.to_string()))
}
