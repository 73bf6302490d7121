//! Reading everything: many requests under way at a time, over one session.

use std::collections::HashSet;

use futures_util::{StreamExt, TryStreamExt, stream};
use zookeeper_client::{Client, Error};

use super::{
    failure,
    layout::{Kind, Place},
    record::{Findings, RecordError, decode},
};
use crate::registry::RegistryFailure;

/// As many requests are under way.
const UNDER_WAY: usize = 512;

/// What is there.
#[derive(Default)]
pub(super) struct Found {
    pub(super) findings: Findings,
    pub(super) present: HashSet<Place>,
    /// Paths of records that are of no use.
    pub(super) damaged: Vec<String>,
}

/// Reads all records below `root`.
pub(super) async fn read(client: &Client, root: &str) -> Result<Found, RegistryFailure> {
    let mut found = Found::default();
    for kind in Kind::ALL {
        let places = list(client, root, kind).await?;
        // As they come: the order is the findings' affair.
        let mut records = stream::iter(places)
            .map(|place| async {
                let path = format!("{root}/{}", place.as_str());
                match client.get_data(&path).await {
                    Ok((data, _)) => Ok(Some((place, data))),
                    Err(Error::NoNode) => Ok(None),
                    Err(error) => Err(failure(&path, error)),
                }
            })
            .buffer_unordered(UNDER_WAY);
        while let Some(record) = records.try_next().await? {
            if let Some((place, data)) = record {
                take(&mut found, root, kind, place, &data)?;
            }
        }
    }
    Ok(found)
}

async fn list(client: &Client, root: &str, kind: Kind) -> Result<Vec<Place>, RegistryFailure> {
    let lists = stream::iter(kind.parents()).map(|parent| async move {
        let path = format!("{root}/{parent}");
        match client.list_children(&path).await {
            Ok(names) => Ok(names.iter().map(|name| Place::found(&parent, name)).collect::<Vec<_>>()),
            Err(Error::NoNode) => Ok(Vec::new()),
            Err(error) => Err(failure(&path, error)),
        }
    });
    lists.buffer_unordered(UNDER_WAY).try_concat().await
}

/// One damaged record costs no other: it is named, left as it is, and counts as not there.
fn take(found: &mut Found, root: &str, kind: Kind, place: Place, data: &[u8]) -> Result<(), RegistryFailure> {
    let znode = format!("{root}/{}", place.as_str());
    let read = match place.id(kind) {
        Some(id) => decode(data).and_then(|entry| found.findings.add(kind, id, entry)),
        None => Err(RecordError::Damaged("no id has this place".to_owned())),
    };
    found.present.insert(place);
    match read {
        Ok(()) => {}
        Err(error @ RecordError::Newer(_)) => {
            return Err(RegistryFailure::NewerZnode { znode, detail: error.to_string() });
        }
        Err(error) => {
            tracing::error!(
                znode,
                %error,
                "a record of the registry is damaged and left out: what it stood for is not known (an agent registers again); \
                 everything else is there"
            );
            found.damaged.push(znode);
        }
    }
    Ok(())
}
