//! `mezzo registry dump` and `restore`: the content of a registry that no master uses, as a document.

use std::{path::PathBuf, time::Duration};

use mezzo_election::{Acl, ConnectError, ZkUrl, connect};
use mezzo_master_core::registry::{Recovered, RegistryOp};
use serde_json::Value;
use zookeeper_client::{Client, Error};

use super::{
    Embedded, RegistryFailure,
    document::{self, DocumentError},
    zookeeper::{self, ZooKeeper},
};

/// What begins the name of a candidate's znode.
const CANDIDATE: &str = "json.info_";
/// Operations of one batch: below what one request to ZooKeeper may have.
const BATCH: usize = 100;

/// Which registry.
#[derive(Clone, Debug)]
pub enum Source {
    /// The one in a work directory.
    Embedded(PathBuf),
    /// The one beside the masters' election, and how long its servers may take to answer.
    ZooKeeper(ZkUrl, Duration),
}

/// Why a registry was not copied.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// There is none.
    #[error("there is no registry at {0}")]
    Nothing(String),
    /// It would be overwritten.
    #[error(
        "the registry at {place} is not empty ({entries} entries): restore into an empty one, i.e. move {place} away first"
    )]
    NotEmpty {
        /// Where.
        place: String,
        /// How many.
        entries: usize,
    },
    /// Masters stand at the election path.
    #[error("{0} masters are elected at {1}: stop them first, what they know would overwrite the copy")]
    InUse(usize, String),
    /// ZooKeeper is not reached.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The document.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// The registry itself.
    #[error("{0}")]
    Registry(String),
}

impl From<RegistryFailure> for CopyError {
    fn from(failure: RegistryFailure) -> Self {
        Self::Registry(failure.to_string())
    }
}

/// The content as a document, and the paths of records that could not be read and are not in it.
///
/// # Errors
/// If there is no registry, or it cannot be read.
pub async fn dump(source: &Source) -> Result<(Value, Vec<String>), CopyError> {
    match source {
        Source::Embedded(work_dir) => {
            let file = work_dir.join(super::embedded::FILE);
            if !file.is_file() {
                return Err(CopyError::Nothing(file.display().to_string()));
            }
            Ok((document::write(&Embedded::open(work_dir)?.recovered), Vec::new()))
        }
        Source::ZooKeeper(url, timeout) => {
            let client = connect(url, *timeout).await?;
            let (content, damaged) = ZooKeeper::look(&client, url.path()).await?.ok_or_else(|| nothing(url))?;
            Ok((document::write(&content), damaged))
        }
    }
}

/// Puts the content of a document into an empty registry; how many entries it has.
///
/// # Errors
/// If the document is no copy of a registry, the registry is in use or not empty, or it cannot be written.
pub async fn restore(source: &Source, document: &Value) -> Result<usize, CopyError> {
    let operations = document::read(document)?;
    let count = operations.len();
    let batches: Vec<Vec<RegistryOp>> = operations.chunks(BATCH).map(<[_]>::to_vec).collect();
    match source {
        Source::Embedded(work_dir) => {
            let mut opened = Embedded::open(work_dir)?;
            must_be_empty(&work_dir.join(super::embedded::FILE).display().to_string(), &opened.recovered)?;
            opened.registry.apply(&batches)?;
        }
        Source::ZooKeeper(url, timeout) => {
            let client = connect(url, *timeout).await?;
            let candidates = candidates(&client, url).await?;
            if candidates > 0 {
                return Err(CopyError::InUse(candidates, url.to_string()));
            }
            let root = zookeeper::root_of(url.path());
            if let Some((content, _)) = ZooKeeper::look(&client, url.path()).await? {
                must_be_empty(&root, &content)?;
            }
            ZooKeeper::restore(client, url.path(), Acl::of(url).acls(), &batches).await?;
        }
    }
    Ok(count)
}

fn nothing(url: &ZkUrl) -> CopyError {
    CopyError::Nothing(format!("ZooKeeper's {}", zookeeper::root_of(url.path())))
}

fn must_be_empty(place: &str, content: &Recovered) -> Result<(), CopyError> {
    let Recovered { agents, unreachable, gone, completed_frameworks, quotas, weights, machines } = content;
    let of_agents = agents.len() + unreachable.len() + gone.len();
    let entries = of_agents + completed_frameworks.len() + quotas.len() + weights.len() + machines.len();
    if entries == 0 { Ok(()) } else { Err(CopyError::NotEmpty { place: place.to_owned(), entries }) }
}

async fn candidates(client: &Client, url: &ZkUrl) -> Result<usize, CopyError> {
    match client.list_children(url.path()).await {
        Ok(children) => Ok(children.iter().filter(|child| child.starts_with(CANDIDATE)).count()),
        Err(Error::NoNode) => Ok(0),
        Err(error) => Err(CopyError::Registry(format!("ZooKeeper's {}: {error}", url.path()))),
    }
}

#[cfg(test)]
mod tests {
    use mezzo_api::v1;

    use super::*;

    fn agent() -> RegistryOp {
        let id = Some(v1::AgentId { value: "a".into() });
        RegistryOp::PutAgent(Box::new(v1::AgentInfo { id, hostname: "h".into(), ..Default::default() }))
    }

    #[tokio::test]
    async fn an_embedded_registry_is_copied_into_an_empty_one() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (from, to) = (from.path().to_owned(), Source::Embedded(to.path().to_owned()));
        let source = Source::Embedded(from.clone());
        assert!(matches!(dump(&source).await, Err(CopyError::Nothing(_))));
        let mut opened = Embedded::open(&from).unwrap();
        opened.registry.apply(&[vec![agent(), RegistryOp::CompleteFramework("f".into())]]).unwrap();
        assert!(dump(&source).await.unwrap_err().to_string().contains("in use by another master"));
        drop(opened);
        let (document, damaged) = dump(&source).await.unwrap();
        assert!(damaged.is_empty());
        assert_eq!(restore(&to, &document).await.unwrap(), 2);
        assert_eq!(dump(&to).await.unwrap().0, document);
        let again = restore(&to, &document).await.unwrap_err();
        assert!(again.to_string().contains("not empty (2 entries)"), "{again}");
    }
}
