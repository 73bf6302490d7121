//! Writing: batches go together into one `multi` as far as its size allows, each batch whole in one of them.

use std::collections::HashSet;

use futures_util::{StreamExt, TryStreamExt, stream};
use mezzo_master_core::registry::RegistryOp;
use zookeeper_client::{CheckWriteError, CheckWriter, Error, MultiWriter};

use super::{
    ZooKeeper, check_failure, failure,
    layout::{Kind, Place},
    record::{Change, change, encode, torn_down},
};
use crate::registry::RegistryFailure;

/// A request may have 1 MB (`jute.maxbuffer`); paths, rights and frames are counted roughly.
const MAX_MULTI_BYTES: usize = 512 * 1024;
/// Beside the path and the data.
const OVERHEAD_BYTES: usize = 96;
/// The largest record, and the largest batch.
const MAX_BATCH_BYTES: usize = 900 * 1024;
const MAX_MULTI_STEPS: usize = 2000;

/// What is done to one znode.
struct Step {
    place: Place,
    /// Its new data; `None` removes it.
    data: Option<Vec<u8>>,
}

impl Step {
    fn bytes(&self, root: &str) -> usize {
        root.len() + self.place.as_str().len() + self.data.as_ref().map_or(0, Vec::len) + OVERHEAD_BYTES
    }
}

/// The fenced request.
pub(super) enum Multi<'a> {
    Fenced(CheckWriter<'a>),
    Free(MultiWriter<'a>),
}

impl ZooKeeper {
    pub(super) fn multi(&self) -> Result<Multi<'_>, RegistryFailure> {
        match &self.fence.znode {
            Some(znode) if !mezzo_api::mutant!("registry-unfenced") => {
                let writer = self.client.new_check_writer(znode, Some(0)).map_err(|error| failure(znode, error))?;
                Ok(Multi::Fenced(writer))
            }
            _ => Ok(Multi::Free(self.client.new_multi_writer())),
        }
    }

    /// Makes all batches durable, in order.
    pub(super) async fn write(&mut self, batches: &[Vec<RegistryOp>]) -> Result<(), RegistryFailure> {
        self.look_at_uncertain().await?;
        let (mut steps, mut bytes) = (Vec::new(), 0);
        for batch in batches {
            let batch: Vec<Step> = batch.iter().flat_map(|operation| self.steps(operation)).collect();
            let size: usize = batch.iter().map(|step| step.bytes(&self.root)).sum();
            if size > MAX_BATCH_BYTES {
                let znode = batch.first().map_or_else(String::new, |step| self.path(&step.place));
                return Err(RegistryFailure::TooLarge { znode, bytes: size });
            }
            if bytes + size > MAX_MULTI_BYTES || steps.len() + batch.len() > MAX_MULTI_STEPS {
                self.commit(std::mem::take(&mut steps)).await?;
                bytes = 0;
            }
            bytes += size;
            steps.extend(batch);
        }
        self.commit(steps).await
    }

    fn steps(&mut self, operation: &RegistryOp) -> Vec<Step> {
        match change(operation) {
            Change::Put(place, entry) => vec![Step { place, data: Some(encode(entry)) }],
            Change::Delete(place) => vec![Step { place, data: None }],
            Change::TearDown(id) => {
                let place = Place::of(Kind::Framework, id.as_str());
                let (number, forgotten) = match self.torn_down.add(&id) {
                    Some(added) => added,
                    // It is written already, or was asked for and may not have been written.
                    None if self.present.contains(&place) => return Vec::new(),
                    None => (self.torn_down.number(&id).unwrap_or_default(), Vec::new()),
                };
                let forget = forgotten.iter().map(|id| Place::of(Kind::Framework, id.as_str()));
                let forget = forget.map(|place| Step { place, data: None });
                std::iter::once(Step { place, data: Some(encode(torn_down(number))) }).chain(forget).collect()
            }
        }
    }

    /// One `multi`. What it touched is uncertain until it is known to have been done, or not.
    async fn commit(&mut self, steps: Vec<Step>) -> Result<(), RegistryFailure> {
        let mut present = self.present.clone_touched(&steps);
        let mut multi = self.multi()?;
        let mut last = None;
        for step in &steps {
            let path = self.path(&step.place);
            let there = present.contains(&step.place);
            let added = match &step.data {
                Some(data) if there => multi.add_set_data(&path, data, None),
                Some(data) => multi.add_create(&path, data, &self.persistent()),
                None if there => multi.add_delete(&path, None),
                None => continue,
            };
            added.map_err(|error| failure(&path, error))?;
            if step.data.is_some() {
                present.insert(step.place.clone());
            } else {
                present.remove(&step.place);
            }
            last = Some(path);
        }
        let Some(last) = last else { return Ok(()) };
        match multi.commit().await {
            Ok(()) => {
                for step in steps {
                    if present.contains(&step.place) {
                        self.present.insert(step.place);
                    } else {
                        self.present.remove(&step.place);
                    }
                }
                Ok(())
            }
            // An earlier write of unknown outcome came to an end after we had looked.
            Err(CheckWriteError::OperationFailed { source: source @ (Error::NodeExists | Error::NoNode), .. }) => {
                self.uncertain.extend(steps.into_iter().map(|step| step.place));
                Err(RegistryFailure::Unknown { detail: source.to_string() })
            }
            Err(error) => {
                let error = check_failure(&last, error);
                if matches!(error, RegistryFailure::Unknown { .. }) {
                    self.uncertain.extend(steps.into_iter().map(|step| step.place));
                }
                Err(error)
            }
        }
    }

    /// Which of the records with an unknown outcome are there?
    async fn look_at_uncertain(&mut self) -> Result<(), RegistryFailure> {
        if self.uncertain.is_empty() {
            return Ok(());
        }
        self.client.sync("/").await.map_err(|error| failure(&self.root, error))?;
        let this = &*self;
        let looks = stream::iter(this.uncertain.iter().cloned().collect::<Vec<_>>()).map(|place| {
            let path = this.path(&place);
            async move {
                let stat = this.client.check_stat(&path).await.map_err(|error| failure(&path, error))?;
                Ok::<_, RegistryFailure>((place, stat.is_some()))
            }
        });
        let seen: Vec<(Place, bool)> = looks.buffer_unordered(256).try_collect().await?;
        for (place, there) in seen {
            self.uncertain.remove(&place);
            if there {
                self.present.insert(place);
            } else {
                self.present.remove(&place);
            }
        }
        Ok(())
    }

    fn path(&self, place: &Place) -> String {
        format!("{}/{}", self.root, place.as_str())
    }
}

/// The part of the index that some steps touch.
trait Touched {
    fn clone_touched(&self, steps: &[Step]) -> HashSet<Place>;
}

impl Touched for HashSet<Place> {
    fn clone_touched(&self, steps: &[Step]) -> HashSet<Place> {
        steps.iter().filter(|step| self.contains(&step.place)).map(|step| step.place.clone()).collect()
    }
}

impl Multi<'_> {
    pub(super) fn add_create(
        &mut self,
        path: &str,
        data: &[u8],
        options: &zookeeper_client::CreateOptions<'_>,
    ) -> Result<(), Error> {
        match self {
            Self::Fenced(writer) => writer.add_create(path, data, options),
            Self::Free(writer) => writer.add_create(path, data, options),
        }
    }

    pub(super) fn add_set_data(&mut self, path: &str, data: &[u8], version: Option<i32>) -> Result<(), Error> {
        match self {
            Self::Fenced(writer) => writer.add_set_data(path, data, version),
            Self::Free(writer) => writer.add_set_data(path, data, version),
        }
    }

    pub(super) fn add_delete(&mut self, path: &str, version: Option<i32>) -> Result<(), Error> {
        match self {
            Self::Fenced(writer) => writer.add_delete(path, version),
            Self::Free(writer) => writer.add_delete(path, version),
        }
    }

    pub(super) async fn commit(self) -> Result<(), CheckWriteError> {
        match self {
            Self::Fenced(writer) => writer.commit().await.map(|_| ()),
            Self::Free(mut writer) => match writer.commit().await {
                Ok(_) => Ok(()),
                Err(zookeeper_client::MultiWriteError::RequestFailed { source }) => {
                    Err(CheckWriteError::RequestFailed { source })
                }
                Err(zookeeper_client::MultiWriteError::OperationFailed { index, source }) => {
                    Err(CheckWriteError::OperationFailed { index, source })
                }
            },
        }
    }
}
