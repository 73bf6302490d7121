//! `--registry=embedded`: a transactional store in the work directory, synced before it answers.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use mezzo_api::{
    ids::{AgentId, FrameworkId},
    v1::{self, quota::QuotaConfig},
};
use mezzo_master_core::registry::{Machine, Recovered, RegistryOp, Standing};
use prost::Message;
use redb::{Database, DatabaseError, ReadableDatabase, ReadableTable, ReadableTableMetadata, TableDefinition};

use super::{MAX_COMPLETED, Opened, Registry, RegistryFailure};

/// The file's name in the work directory.
pub(crate) const FILE: &str = "registry.redb";

const FORMAT: u64 = 1;
const CACHE_BYTES: usize = 512 * 1024;

/// `format` and `term`.
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
/// Agent id to encoded `AgentInfo`.
const AGENTS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("agents");
/// Agent id to the time in nanoseconds since the epoch.
const UNREACHABLE: TableDefinition<'_, &str, i64> = TableDefinition::new("unreachable");
/// Agent id to the time in nanoseconds since the epoch.
const GONE: TableDefinition<'_, &str, i64> = TableDefinition::new("gone");
/// Agent id to what its operator wants of it: one byte, 1 if it is deactivated, and an encoded `DrainInfo` if it has one.
const STANDINGS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("standings");
/// Completed frameworks in their order.
const COMPLETED: TableDefinition<'_, u64, &str> = TableDefinition::new("completed");
/// The same by id.
const COMPLETED_IDS: TableDefinition<'_, &str, u64> = TableDefinition::new("completed_ids");
/// Role to encoded `QuotaConfig`.
const QUOTAS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("quotas");
/// Role to weight.
const WEIGHTS: TableDefinition<'_, &str, f64> = TableDefinition::new("weights");
/// [`Machine::key`] to encoded [`Machine`].
const MACHINES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("machines");

/// The store.
pub(crate) struct Embedded {
    database: Database,
    path: PathBuf,
}

impl Embedded {
    /// Opens or creates the store in `work_dir`, begins a new term, and reads everything.
    pub(crate) fn open(work_dir: &Path) -> Result<Opened, RegistryFailure> {
        let start = Instant::now();
        fs::create_dir_all(work_dir)
            .map_err(|error| RegistryFailure::Io { path: work_dir.to_owned(), detail: error.to_string() })?;
        let path = work_dir.join(FILE);
        // A file that is no registry makes the store's own checks panic in rare cases: that is a corrupt file too.
        let opened = std::panic::catch_unwind(|| Database::builder().set_cache_size(CACHE_BYTES).create(&path));
        let database = match opened {
            Ok(database) => database.map_err(|error| cannot_open(&path, error))?,
            Err(_) => return Err(RegistryFailure::Corrupt { path, detail: "it is damaged".into() }),
        };
        let store = Self { database, path };
        let term = store.begin_term()?;
        let recovered = store.recover()?;
        Ok(Opened { registry: Box::new(store), recovered, term, took: start.elapsed(), damaged: Vec::new() })
    }

    /// Checks the format and counts the term. A term is never less than the time in seconds: an agent that has seen
    /// the terms of a registry that was lost takes this master for the newer leader all the same.
    fn begin_term(&self) -> Result<u64, RegistryFailure> {
        let write = self.database.begin_write().map_err(|error| self.broken(error))?;
        let term = {
            let mut meta = write.open_table(META).map_err(|error| self.broken(error))?;
            let found = meta.get("format").map_err(|error| self.broken(error))?.map_or(FORMAT, |value| value.value());
            if found > FORMAT {
                return Err(RegistryFailure::NewerFormat { path: self.path.clone(), found, known: FORMAT });
            }
            let last = meta.get("term").map_err(|error| self.broken(error))?.map_or(0, |value| value.value());
            let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
            let term = last.saturating_add(1).max(seconds);
            meta.insert("format", FORMAT).map_err(|error| self.broken(error))?;
            meta.insert("term", term).map_err(|error| self.broken(error))?;
            term
        };
        for table in [UNREACHABLE, GONE] {
            write.open_table(table).map_err(|error| self.broken(error))?;
        }
        for table in [AGENTS, STANDINGS, QUOTAS, MACHINES] {
            write.open_table(table).map_err(|error| self.broken(error))?;
        }
        write.open_table(WEIGHTS).map_err(|error| self.broken(error))?;
        write.open_table(COMPLETED).map_err(|error| self.broken(error))?;
        write.open_table(COMPLETED_IDS).map_err(|error| self.broken(error))?;
        write.commit().map_err(|error| self.broken(error))?;
        Ok(term)
    }

    fn recover(&self) -> Result<Recovered, RegistryFailure> {
        let read = self.database.begin_read().map_err(|error| self.broken(error))?;
        let mut recovered = Recovered::default();
        let agents = read.open_table(AGENTS).map_err(|error| self.broken(error))?;
        for entry in agents.iter().map_err(|error| self.broken(error))? {
            let (_, info) = entry.map_err(|error| self.broken(error))?;
            recovered.agents.push(&v1::AgentInfo::decode(info.value()).map_err(|error| self.broken(error))?);
        }
        for (table, times) in [(UNREACHABLE, &mut recovered.unreachable), (GONE, &mut recovered.gone)] {
            let table = read.open_table(table).map_err(|error| self.broken(error))?;
            for entry in table.iter().map_err(|error| self.broken(error))? {
                let (id, since) = entry.map_err(|error| self.broken(error))?;
                times.push((AgentId::from(id.value()), since.value()));
            }
        }
        let standings = read.open_table(STANDINGS).map_err(|error| self.broken(error))?;
        for entry in standings.iter().map_err(|error| self.broken(error))? {
            let (id, bytes) = entry.map_err(|error| self.broken(error))?;
            let standing = read_standing(bytes.value()).map_err(|error| self.broken(error))?;
            recovered.standings.push((AgentId::from(id.value()), standing));
        }
        let completed = read.open_table(COMPLETED).map_err(|error| self.broken(error))?;
        for entry in completed.iter().map_err(|error| self.broken(error))? {
            let (_, id) = entry.map_err(|error| self.broken(error))?;
            recovered.completed_frameworks.push(FrameworkId::from(id.value()));
        }
        self.recover_operators(&read, &mut recovered)?;
        Ok(recovered)
    }

    /// What operators have set.
    fn recover_operators(
        &self,
        read: &redb::ReadTransaction,
        recovered: &mut Recovered,
    ) -> Result<(), RegistryFailure> {
        let quotas = read.open_table(QUOTAS).map_err(|error| self.broken(error))?;
        for entry in quotas.iter().map_err(|error| self.broken(error))? {
            let (_, quota) = entry.map_err(|error| self.broken(error))?;
            recovered.quotas.push(QuotaConfig::decode(quota.value()).map_err(|error| self.broken(error))?);
        }
        let weights = read.open_table(WEIGHTS).map_err(|error| self.broken(error))?;
        for entry in weights.iter().map_err(|error| self.broken(error))? {
            let (role, weight) = entry.map_err(|error| self.broken(error))?;
            recovered.weights.push((role.value().to_owned(), weight.value()));
        }
        let machines = read.open_table(MACHINES).map_err(|error| self.broken(error))?;
        for entry in machines.iter().map_err(|error| self.broken(error))? {
            let (_, machine) = entry.map_err(|error| self.broken(error))?;
            recovered.machines.push(Machine::decode(machine.value()).map_err(|error| self.broken(error))?);
        }
        Ok(())
    }

    fn broken(&self, error: impl std::fmt::Display) -> RegistryFailure {
        RegistryFailure::Corrupt { path: self.path.clone(), detail: error.to_string() }
    }

    fn write(&mut self, batches: &[Vec<RegistryOp>]) -> Result<(), redb::Error> {
        let write = self.database.begin_write()?;
        {
            let mut tables = Tables {
                agents: write.open_table(AGENTS)?,
                unreachable: write.open_table(UNREACHABLE)?,
                gone: write.open_table(GONE)?,
                standings: write.open_table(STANDINGS)?,
                completed: write.open_table(COMPLETED)?,
                completed_ids: write.open_table(COMPLETED_IDS)?,
                quotas: write.open_table(QUOTAS)?,
                weights: write.open_table(WEIGHTS)?,
                machines: write.open_table(MACHINES)?,
            };
            for operation in batches.iter().flatten() {
                tables.apply(operation)?;
            }
        }
        write.commit()?;
        Ok(())
    }
}

impl Registry for Embedded {
    fn apply(&mut self, batches: &[Vec<RegistryOp>]) -> Result<(), RegistryFailure> {
        self.write(batches).map_err(|error| RegistryFailure::Io { path: self.path.clone(), detail: error.to_string() })
    }
}

fn write_standing(standing: &Standing) -> Vec<u8> {
    let mut bytes = vec![u8::from(standing.deactivated)];
    bytes.extend(standing.drain.iter().flat_map(Message::encode_to_vec));
    bytes
}

fn read_standing(bytes: &[u8]) -> Result<Standing, prost::DecodeError> {
    let (deactivated, drain) = bytes.split_first().map_or((false, bytes), |(first, rest)| (*first == 1, rest));
    let drain = (!drain.is_empty()).then(|| v1::DrainInfo::decode(drain)).transpose()?;
    Ok(Standing { deactivated, drain })
}

struct Tables<'t> {
    agents: redb::Table<'t, &'static str, &'static [u8]>,
    unreachable: redb::Table<'t, &'static str, i64>,
    gone: redb::Table<'t, &'static str, i64>,
    standings: redb::Table<'t, &'static str, &'static [u8]>,
    completed: redb::Table<'t, u64, &'static str>,
    completed_ids: redb::Table<'t, &'static str, u64>,
    quotas: redb::Table<'t, &'static str, &'static [u8]>,
    weights: redb::Table<'t, &'static str, f64>,
    machines: redb::Table<'t, &'static str, &'static [u8]>,
}

impl Tables<'_> {
    fn apply(&mut self, operation: &RegistryOp) -> Result<(), redb::Error> {
        match operation {
            RegistryOp::PutAgent(info) => {
                let id = info.id.as_ref().map_or("", |id| id.value.as_str());
                self.agents.insert(id, info.encode_to_vec().as_slice())?;
                self.unreachable.remove(id)?;
            }
            RegistryOp::RemoveAgent(id) => {
                self.agents.remove(id.as_str())?;
                self.unreachable.remove(id.as_str())?;
                self.standings.remove(id.as_str())?;
            }
            RegistryOp::MarkUnreachable(id, since) => {
                self.agents.remove(id.as_str())?;
                self.unreachable.insert(id.as_str(), since)?;
            }
            RegistryOp::MarkGone(id, since) => {
                self.agents.remove(id.as_str())?;
                self.unreachable.remove(id.as_str())?;
                self.gone.insert(id.as_str(), since)?;
                self.standings.remove(id.as_str())?;
            }
            RegistryOp::PutStanding(id, standing) if *standing == Standing::default() => {
                self.standings.remove(id.as_str())?;
            }
            RegistryOp::PutStanding(id, standing) => {
                self.standings.insert(id.as_str(), write_standing(standing).as_slice())?;
            }
            RegistryOp::PruneAgent(id) => {
                self.unreachable.remove(id.as_str())?;
                self.gone.remove(id.as_str())?;
            }
            RegistryOp::CompleteFramework(id) => self.complete(id.as_str())?,
            RegistryOp::PutQuota(quota) => {
                self.quotas.insert(quota.role.as_str(), quota.encode_to_vec().as_slice())?;
            }
            RegistryOp::RemoveQuota(role) => drop(self.quotas.remove(role.as_str())?),
            RegistryOp::PutWeight(role, weight) => drop(self.weights.insert(role.as_str(), weight)?),
            RegistryOp::PutMachine(machine) => {
                let key = Machine::key(&machine.info.id);
                self.machines.insert(key.as_str(), machine.encode_to_vec().as_slice())?;
            }
            RegistryOp::RemoveMachine(id) => drop(self.machines.remove(Machine::key(id).as_str())?),
        }
        Ok(())
    }

    fn complete(&mut self, id: &str) -> Result<(), redb::Error> {
        if self.completed_ids.get(id)?.is_some() {
            return Ok(());
        }
        let number = self.completed.last()?.map_or(0, |(number, _)| number.value() + 1);
        self.completed.insert(number, id)?;
        self.completed_ids.insert(id, number)?;
        if self.completed.len()? > MAX_COMPLETED as u64 {
            let oldest = self.completed.pop_first()?.map(|(_, id)| id.value().to_owned());
            if let Some(oldest) = oldest {
                self.completed_ids.remove(oldest.as_str())?;
            }
        }
        Ok(())
    }
}

fn cannot_open(path: &Path, error: DatabaseError) -> RegistryFailure {
    let path = path.to_owned();
    match error {
        DatabaseError::DatabaseAlreadyOpen => RegistryFailure::InUse { path },
        DatabaseError::UpgradeRequired(found) => {
            RegistryFailure::Corrupt { path, detail: format!("its store has version {found}") }
        }
        DatabaseError::Storage(redb::StorageError::Io(error)) if error.kind() != std::io::ErrorKind::InvalidData => {
            RegistryFailure::Io { path, detail: error.to_string() }
        }
        other => RegistryFailure::Corrupt { path, detail: other.to_string() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agent(id: &str, hostname: &str) -> v1::AgentInfo {
        v1::AgentInfo { id: Some(v1::AgentId { value: id.into() }), hostname: hostname.into(), ..Default::default() }
    }

    #[test]
    fn what_was_written_is_found_again_and_terms_grow() {
        let dir = tempfile::tempdir().unwrap();
        let mut first = Embedded::open(dir.path()).unwrap();
        assert_eq!(first.recovered, Recovered::default());
        let put = |id: &str| RegistryOp::PutAgent(Box::new(agent(id, "h")));
        first
            .registry
            .apply(&[
                vec![put("a"), put("b"), put("c"), put("d")],
                vec![RegistryOp::MarkUnreachable("b".into(), 5), RegistryOp::MarkGone("c".into(), 6)],
                vec![RegistryOp::RemoveAgent("d".into())],
                vec![RegistryOp::CompleteFramework("f2".into()), RegistryOp::CompleteFramework("f1".into())],
                vec![RegistryOp::CompleteFramework("f2".into()), RegistryOp::PutAgent(Box::new(agent("a", "new")))],
            ])
            .unwrap();
        drop(first.registry);

        let second = Embedded::open(dir.path()).unwrap();
        assert!(second.term > first.term);
        assert_eq!(second.recovered.agents.messages(), [agent("a", "new")]);
        assert_eq!(second.recovered.unreachable, [("b".into(), 5)]);
        assert_eq!(second.recovered.gone, [("c".into(), 6)]);
        assert_eq!(second.recovered.completed_frameworks, ["f2".into(), "f1".into()]);
    }

    #[test]
    fn what_operators_set_is_found_again() {
        let dir = tempfile::tempdir().unwrap();
        let mut first = Embedded::open(dir.path()).unwrap();
        let quota = |role: &str, cpus| {
            let limits = [("cpus".to_owned(), v1::value::Scalar { value: cpus })].into();
            QuotaConfig { role: role.into(), limits, ..Default::default() }
        };
        let machine = |hostname: &str, position| {
            let id = v1::MachineId { hostname: Some(hostname.into()), ip: None };
            Machine { info: v1::MachineInfo { id, ..Default::default() }, window: 0, position }
        };
        let put = |quota| RegistryOp::PutQuota(Box::new(quota));
        first
            .registry
            .apply(&[
                vec![put(quota("a", 1.0)), put(quota("b", 2.0)), RegistryOp::PutWeight("a".into(), 2.5)],
                vec![put(quota("a", 3.0)), RegistryOp::RemoveQuota("b".into())],
                vec![
                    RegistryOp::PutMachine(Box::new(machine("H", 0))),
                    RegistryOp::PutMachine(Box::new(machine("i", 1))),
                    RegistryOp::RemoveMachine(machine("h", 0).info.id),
                ],
            ])
            .unwrap();
        drop(first.registry);
        let recovered = Embedded::open(dir.path()).unwrap().recovered;
        assert_eq!(recovered.quotas, [quota("a", 3.0)]);
        assert_eq!(recovered.weights, [("a".to_owned(), 2.5)]);
        assert_eq!(recovered.machines, [machine("i", 1)]);
    }

    /// What a crash leaves is the file as it is while the store is open.
    #[test]
    fn what_was_answered_survives_a_crash_at_any_point() {
        let (dir, crashed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mut opened = Embedded::open(dir.path()).unwrap();
        for number in 0..20 {
            let put = RegistryOp::PutAgent(Box::new(agent(&format!("a{number:02}"), "h")));
            opened.registry.apply(&[vec![put]]).unwrap();
            fs::copy(dir.path().join(FILE), crashed.path().join(FILE)).unwrap();
            let recovered = Embedded::open(crashed.path()).unwrap();
            assert_eq!(recovered.recovered.agents.len(), number + 1);
            assert!(recovered.term > opened.term);
        }
    }

    #[test]
    fn an_unreachable_agent_comes_back() {
        let dir = tempfile::tempdir().unwrap();
        let mut opened = Embedded::open(dir.path()).unwrap();
        opened.registry.apply(&[vec![RegistryOp::MarkUnreachable("a".into(), 5)]]).unwrap();
        opened.registry.apply(&[vec![RegistryOp::PutAgent(Box::new(agent("a", "h")))]]).unwrap();
        drop(opened);
        let again = Embedded::open(dir.path()).unwrap();
        assert_eq!(again.recovered.agents.len(), 1);
        assert_eq!(again.recovered.unreachable, []);
    }

    #[test]
    fn a_second_master_on_the_same_directory_is_told_so() {
        let dir = tempfile::tempdir().unwrap();
        let _first = Embedded::open(dir.path()).unwrap();
        let Err(failure) = Embedded::open(dir.path()) else { panic!("opened twice") };
        assert!(matches!(failure, RegistryFailure::InUse { .. }), "{failure}");
        assert!(failure.to_string().contains("registry.redb is in use by another master"));
    }

    #[test]
    fn a_damaged_or_foreign_file_is_named() {
        for content in [b"no registry at all".to_vec(), vec![0; 8192], vec![0xff; 100_000]] {
            let dir = tempfile::tempdir().unwrap();
            fs::write(dir.path().join(FILE), &content).unwrap();
            let Err(failure) = Embedded::open(dir.path()) else { panic!("a foreign file was taken") };
            assert!(matches!(failure, RegistryFailure::Corrupt { .. }), "{failure}");
            assert!(failure.to_string().contains(FILE));
        }
    }

    #[test]
    fn a_newer_format_is_refused_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        drop(Embedded::open(dir.path()).unwrap());
        {
            let database = Database::open(dir.path().join(FILE)).unwrap();
            let write = database.begin_write().unwrap();
            write.open_table(META).unwrap().insert("format", FORMAT + 1).unwrap();
            write.commit().unwrap();
        }
        let Err(failure) = Embedded::open(dir.path()) else { panic!("a newer format was taken") };
        assert!(matches!(failure, RegistryFailure::NewerFormat { found: 2, known: 1, .. }), "{failure}");
    }

    #[test]
    fn a_work_dir_that_is_a_file_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        let Err(failure) = Embedded::open(&file) else { panic!("a file was taken for a directory") };
        assert!(matches!(failure, RegistryFailure::Io { .. }), "{failure}");
    }
}
