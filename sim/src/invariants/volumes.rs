//! The data of a persistent volume are not removed while a process uses them (docs/persistent-volume.md of apache/mesos:
//! a volume that is in use cannot be destroyed). What the executors of a framework have that was ended counts as free as
//! soon as it is (src/master/master.cpp, removeFramework): a process that was told to end may see its volume go.

use super::{Books, Invariant};
use crate::{fact::Fact, world::World};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Volumes;

impl Invariant for Volumes {
    fn name(&self) -> &'static str {
        "volumes"
    }

    #[inline]
    fn see(&mut self, fact: &Fact, _books: &Books, _world: &World) -> Result<(), String> {
        match fact {
            Fact::VolumeRemoved(agent, volume, Some(user)) => {
                Err(format!("agent{agent} removes {}, which container {user} uses", volume.display()))
            }
            _ => Ok(()),
        }
    }
}
