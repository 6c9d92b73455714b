// SPDX-License-Identifier: MIT OR Apache-2.0
//! The array's decisions: who may do what to which LUN, and in which order it becomes true.
//!
//! **Order.** Every change goes first to the disk (store or catalogue), then to the state in RAM, then to the iSCSI
//! views; a LUN that is deleted leaves the views first. So after a crash the state is one that a call was about to reach,
//! and the caller's repetition ends it.
//!
//! **Locks.** One lock for the state, held over the store's short transactions. `commit`, `arm` and `resync` do their long
//! part without it, with the set or the LUNs marked meanwhile, so that an abort passes a commit and questions are
//! always answered.

mod admin;
mod copies;
mod hold;
mod refusal;
mod resync;
mod sets;
mod space;
#[cfg(test)]
mod tests;

use crate::catalogue::{Catalogue, CatalogueError};
use crate::config::Config;
use crate::exports::{Exports, controller_identity, scsi_identity};
use crate::numbers::Numbers;
use crate::record::{Record, RecordError};
use crate::sets::{Phase, SnapshotSet};
use array_api::{
    ArrayError, ArrayErrorKind, LunId, LunIdentity, LunState, ResyncId, SetId, SpaceLevel, Token,
};
use block::{Disk, WriteFence};
use lun_store::{NewLun, Store, StoreError};
use refusal::{refuse, store_error};
use scsi::LogicalUnit;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Most distinct source LUNs of one set.
pub const LUNS_PER_SET_MAX: usize = 256;

/// The array, from the catalogue down to the store. Methods block and may be called from many threads.
pub struct Service {
    config: Config,
    store: Store,
    exports: Arc<Exports>,
    target: Mutex<Option<iscsi::Target>>,
    endpoints: OnceLock<Endpoints>,
    state: Mutex<State>,
    /// Some set left the phase COMMITTING, or some resync ended.
    settled: Condvar,
    /// No copy is made with less free space.
    free_floor_bytes: u64,
    /// With less free space hosts are warned.
    warn_free_bytes: u64,
    /// What the log was told last.
    space_told: Mutex<SpaceLevel>,
}

/// Where the daemon can be reached, known once it listens.
#[derive(Clone, Debug)]
pub struct Endpoints {
    /// The management interface.
    pub api_address: std::net::SocketAddr,
    /// Pin of its key.
    pub key_pin: array_api::KeyPin,
}

struct State {
    catalogue: Catalogue,
    luns: BTreeMap<LunId, Lun>,
    sets: BTreeMap<SetId, SnapshotSet>,
    numbers: HashMap<String, Numbers>,
    /// LUNs whose content a resync under way replaces or reads.
    busy: BTreeSet<LunId>,
    /// Resyncs under way, by host.
    resyncing: BTreeSet<(String, ResyncId)>,
    /// Resyncs that are over.
    resyncs: Vec<resync::Finished>,
}

struct Lun {
    size_bytes: u64,
    record: Record,
    /// One fence per LUN, shared by all paths: a second one would let writes past a capture.
    fence: Arc<WriteFence>,
    unit: Arc<LogicalUnit>,
}

/// Why the array cannot start.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The catalogue.
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
    /// The store.
    #[error("{0} (look at the disks of the array)")]
    Store(#[from] StoreError),
    /// A LUN's record.
    #[error(
        "LUN {lun} cannot be used: {source} (use the version that wrote it, or restore a backup)"
    )]
    Record {
        /// The LUN.
        lun: LunId,
        /// What does not fit.
        source: RecordError,
    },
}

impl Service {
    /// Takes over the store, and discards what a crash left in the states RESERVED and CAPTURED.
    pub fn open(config: Config, store: Store) -> Result<Self, OpenError> {
        let catalogue = Catalogue::load_or_create(&config.state_dir)?;
        let identity = controller_identity(catalogue.array_id, config.oui, revision());
        let exports = Exports::new(&identity);
        exports.set_hosts(&catalogue);
        let luns = load_luns(&store, &catalogue)?;
        let sets = rebuild_sets(&luns);
        let mut numbers = HashMap::new();
        for host in catalogue.hosts.keys() {
            let used = luns.values().filter_map(|lun| lun.record.map.get(host));
            numbers.insert(host.clone(), Numbers::new(used.copied()));
        }
        let state = State {
            catalogue,
            luns,
            sets,
            numbers,
            busy: BTreeSet::new(),
            resyncing: BTreeSet::new(),
            resyncs: Vec::new(),
        };
        for host in state.catalogue.hosts.keys() {
            state.show(&exports, host);
        }
        let capacity_bytes = store.usage().capacity_bytes;
        let free_floor_bytes = config.free_floor_bytes;
        let free_floor_bytes = free_floor_bytes.unwrap_or((capacity_bytes / 20).min(1 << 30));
        let warn_free_bytes = config.warn_free_bytes.unwrap_or(capacity_bytes / 10);
        Ok(Self {
            free_floor_bytes,
            warn_free_bytes,
            space_told: Mutex::new(SpaceLevel::Ample),
            config,
            store,
            exports,
            target: Mutex::default(),
            endpoints: OnceLock::new(),
            state: Mutex::new(state),
            settled: Condvar::new(),
        })
    }

    /// The configuration that this was opened with.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Who sees what, for the iSCSI target.
    pub fn exports(&self) -> Arc<Exports> {
        Arc::clone(&self.exports)
    }

    /// Hands over the running target, for sessions and their end.
    pub fn set_target(&self, target: iscsi::Target) {
        *self.lock_target() = Some(target);
    }

    /// Ends all iSCSI sessions.
    pub fn stop_target(&self) {
        if let Some(target) = self.lock_target().take() {
            target.shutdown();
        }
    }

    /// States where the daemon listens. Once.
    pub fn set_endpoints(&self, endpoints: Endpoints) {
        let first = self.endpoints.set(endpoints).is_ok();
        assert!(first, "the endpoints are stated once");
    }

    /// The host whose token this is.
    ///
    /// # Errors
    /// `Unauthenticated`.
    pub fn authenticate(&self, token: &Token) -> Result<String, ArrayError> {
        match self.lock().catalogue.host_of_token(token) {
            Some(host) => Ok(host.to_owned()),
            None => refuse(
                ArrayErrorKind::Unauthenticated,
                "the array does not know this token",
                "enrol the host with the line that `shadowlun host add` prints",
            ),
        }
    }

    /// Writes everything back and closes the store.
    pub fn close(self) -> Result<(), StoreError> {
        self.store.close()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic under this lock is a broken invariant: going on could map one LUN as another.
        self.state
            .lock()
            .expect("the state is consistent only if no call panicked")
    }

    fn lock_target(&self) -> MutexGuard<'_, Option<iscsi::Target>> {
        self.target.lock().expect("no panic under this lock")
    }

    /// Fresh ids whose first 100 bits, which is what the NAA designator holds, no LUN has.
    fn fresh_ids(&self, state: &State, count: usize) -> Result<Vec<LunId>, ArrayError> {
        let mut fresh: Vec<LunId> = Vec::with_capacity(count);
        while fresh.len() < count {
            let id = LunId::random().or_else(|error| {
                refuse(
                    ArrayErrorKind::Internal,
                    format!("the system gives no random numbers: {error}"),
                    "look at the array's system",
                )
            })?;
            let mut known = state.luns.keys().chain(&fresh);
            if known.all(|known| known.0 >> 28 != id.0 >> 28) {
                fresh.push(id);
            }
        }
        Ok(fresh)
    }

    /// Creates empty LUNs and replaces the records of others, all or none: in the store in one transaction, and in the
    /// state.
    fn create(
        &self,
        state: &mut State,
        luns: Vec<(LunId, u64, Record)>,
        changed: Vec<(LunId, Record)>,
    ) -> Result<(), ArrayError> {
        let new = luns.iter().map(|(id, size_bytes, record)| NewLun {
            id: id.0,
            size_bytes: *size_bytes,
            owner: record.encode(),
        });
        let owners = changed.iter().map(|(id, record)| (id.0, record.encode()));
        self.store
            .create_luns(new.collect(), owners.collect())
            .map_err(store_error)?;
        for (id, size_bytes, record) in luns {
            let lun = Lun::new(&self.store, id, size_bytes, record).map_err(store_error)?;
            state.luns.insert(id, lun);
        }
        state.keep_records(changed);
        Ok(())
    }

    /// Takes LUNs out of every view, deletes them in one transaction, and forgets them: all or none.
    fn remove(&self, state: &mut State, ids: &[LunId]) -> Result<(), ArrayError> {
        let mut removed = Vec::with_capacity(ids.len());
        for id in ids {
            removed.extend(state.luns.remove(id).map(|lun| (*id, lun)));
        }
        if removed.is_empty() {
            return Ok(());
        }
        let maps = removed.iter().flat_map(|(_, lun)| &lun.record.map);
        let maps: Vec<(String, u8)> = maps.map(|(host, number)| (host.clone(), *number)).collect();
        let hosts: BTreeSet<&String> = maps.iter().map(|(host, _)| host).collect();
        for host in &hosts {
            state.show(&self.exports, host);
        }
        let gone: Vec<u128> = removed.iter().map(|(id, _)| id.0).collect();
        if let Err(error) = self.store.delete_luns(&gone) {
            state.luns.extend(removed);
            for host in &hosts {
                state.show(&self.exports, host);
            }
            return Err(store_error(error));
        }
        for (host, number) in &maps {
            state.give_back(host, *number);
        }
        let luns = &state.luns;
        state.sets.retain(|_, set| {
            set.targets.is_empty() || set.targets.values().any(|c| luns.contains_key(c))
        });
        Ok(())
    }

    /// Replaces the records of several LUNs, in the store in one transaction and in the state.
    fn set_records(
        &self,
        state: &mut State,
        records: Vec<(LunId, Record)>,
    ) -> Result<(), ArrayError> {
        if records.is_empty() {
            return Ok(());
        }
        let owners: Vec<_> = records
            .iter()
            .map(|(id, record)| (id.0, record.encode()))
            .collect();
        self.store.set_owner(&owners).map_err(store_error)?;
        state.keep_records(records);
        Ok(())
    }

    /// Maps LUNs to a host, all or none; those mapped already stay where they are.
    fn map_luns(
        &self,
        state: &mut State,
        host: &str,
        luns: &BTreeSet<LunId>,
    ) -> Result<(), ArrayError> {
        let unmapped: Vec<LunId> = luns
            .iter()
            .copied()
            .filter(|lun| !state.luns[lun].record.map.contains_key(host))
            .collect();
        let numbers = state.numbers_of(host).peek(unmapped.len());
        let Some(numbers) = numbers else {
            return refuse(
                ArrayErrorKind::LimitReached,
                format!(
                    "host {host} has no LUN number left for {} more LUNs",
                    unmapped.len()
                ),
                "unmap or delete copies of that host: it can have 254 LUNs",
            );
        };
        let mut records = Vec::with_capacity(unmapped.len());
        for (lun, number) in unmapped.iter().zip(&numbers) {
            let mut record = state.luns[lun].record.in_state(LunState::Mapped);
            record.map.insert(host.to_owned(), *number);
            if let Some(copy) = &mut record.copy {
                copy.importing_host = Some(host.to_owned());
            }
            records.push((*lun, record));
        }
        self.set_records(state, records)?;
        for number in numbers {
            self.take_number(state, host, number);
        }
        state.show(&self.exports, host);
        Ok(())
    }

    fn take_number(&self, state: &mut State, host: &str, number: u8) {
        let rested = state.numbers_of(host).take(number, Instant::now());
        if let Some(rested) = rested.filter(|rested| *rested < self.config.number_rest) {
            tracing::warn!(
                host,
                number,
                ?rested,
                "a LUN number is used again early, since the host has no other left; Windows may take the LUN for the old one"
            );
        }
    }

    /// Unmaps LUNs from a host; those not mapped stay so.
    fn unmap_luns(
        &self,
        state: &mut State,
        host: &str,
        luns: &BTreeSet<LunId>,
    ) -> Result<(), ArrayError> {
        let mut records = Vec::new();
        let mut numbers = Vec::new();
        for lun in luns {
            let mut record = state.luns[lun].record.clone();
            if let Some(number) = record.map.remove(host) {
                numbers.push(number);
                records.push((*lun, record));
            }
        }
        self.set_records(state, records)?;
        state.hide(&self.exports, host, numbers);
        Ok(())
    }
}

impl State {
    fn lun(&self, id: LunId) -> Result<&Lun, ArrayError> {
        self.luns.get(&id).ok_or_else(|| {
            ArrayError::new(
                ArrayErrorKind::UnknownLun,
                format!("there is no LUN {id}"),
                "look at `shadowlun lun list`",
            )
        })
    }

    /// Keeps in RAM what the store holds.
    fn keep_records(&mut self, records: Vec<(LunId, Record)>) {
        for (id, record) in records {
            let lun = self.luns.get_mut(&id);
            lun.expect("only known LUNs get records").record = record;
        }
    }

    /// Shows to a host what its map says.
    fn show(&self, exports: &Exports, host: &str) {
        let mapped = self.luns.values().filter_map(|lun| {
            let number = lun.record.map.get(host)?;
            Some((*number, Arc::clone(&lun.unit)))
        });
        exports.show(host, mapped.collect());
    }

    /// Takes from a host's view what its map does not say any more; these numbers are free then.
    fn hide(&mut self, exports: &Exports, host: &str, numbers: Vec<u8>) {
        for number in numbers {
            self.give_back(host, number);
        }
        self.show(exports, host);
    }

    fn numbers_of(&mut self, host: &str) -> &mut Numbers {
        self.numbers
            .entry(host.to_owned())
            .or_insert_with(|| Numbers::new([]))
    }

    fn give_back(&mut self, host: &str, number: u8) {
        if let Some(numbers) = self.numbers.get_mut(host) {
            numbers.give_back(number, Instant::now());
        }
    }

    /// Refuses what would pull a LUN from under a set that has still to capture it, or under a resync.
    fn check_idle(&self, id: LunId) -> Result<(), ArrayError> {
        let waits =
            |set: &SnapshotSet| set.phase != Phase::Captured && set.targets.contains_key(&id);
        if let Some((set, _)) = self.sets.iter().find(|(_, set)| waits(set)) {
            return refuse(
                ArrayErrorKind::WrongState,
                format!("LUN {id} is being copied by set {set}"),
                "wait until the set is finished, or abort it",
            );
        }
        if self.busy.contains(&id) {
            return refuse(
                ArrayErrorKind::WrongState,
                format!("LUN {id} takes part in a resync"),
                "try again when it has finished",
            );
        }
        Ok(())
    }
}

impl Lun {
    fn new(store: &Store, id: LunId, size_bytes: u64, record: Record) -> Result<Self, StoreError> {
        let fence = WriteFence::new();
        let disk = Disk::new(store.device(id.0)?);
        let unit = LogicalUnit::disk(disk, Arc::clone(&fence), scsi_identity(&record.identity));
        Ok(Self {
            size_bytes,
            record,
            fence,
            unit,
        })
    }
}

/// All LUNs of the store, without the unreported copies of sets whose daemon died: those are deleted.
fn load_luns(store: &Store, catalogue: &Catalogue) -> Result<BTreeMap<LunId, Lun>, OpenError> {
    let mut luns = BTreeMap::new();
    let mut leftovers = Vec::new();
    let mut changed = Vec::new();
    for stored in store.luns() {
        let id = LunId(stored.id);
        let mut record = Record::decode(&stored.owner)
            .map_err(|source| OpenError::Record { lun: id, source })?;
        if record.untold() {
            leftovers.push((id, record));
            continue;
        }
        let known = |host: &String| catalogue.hosts.contains_key(host);
        if !record.map.keys().all(known) {
            // An older catalogue was put back. For good: a host that is added under such a name later is another one.
            tracing::warn!(lun = %id, "was mapped to hosts that are not in the catalogue: no longer");
            record.map.retain(|host, _| known(host));
            changed.push((stored.id, record.encode()));
        }
        luns.insert(id, Lun::new(store, id, stored.size_bytes, record)?);
    }
    if !changed.is_empty() {
        store.set_owner(&changed)?;
    }
    for (id, record) in &leftovers {
        let set = record.copy.as_ref().map(|copy| copy.set);
        tracing::info!(lun = %id, name = record.name, ?set, "discarded: its set was never reported");
    }
    if !leftovers.is_empty() {
        let ids: Vec<u128> = leftovers.iter().map(|(id, _)| id.0).collect();
        store.delete_luns(&ids)?;
    }
    Ok(luns)
}

/// Reported sets, from the tags of their copies.
fn rebuild_sets(luns: &BTreeMap<LunId, Lun>) -> BTreeMap<SetId, SnapshotSet> {
    let mut sets = BTreeMap::new();
    for (id, lun) in luns {
        let Some(tag) = &lun.record.copy else {
            continue;
        };
        let set = sets.entry(tag.set).or_insert_with(|| {
            let mut set = SnapshotSet::new(&tag.creator_host, None, Instant::now());
            set.phase = Phase::Captured;
            set
        });
        set.targets.insert(tag.source, *id);
        for snapshot in &tag.snapshots {
            set.snapshots.entry(*snapshot).or_default().push(tag.source);
        }
    }
    sets
}

/// The four characters that INQUIRY shows for LUNs created by this version: major and minor number.
fn revision() -> [u8; 4] {
    let part = |text: &str| text.parse::<u32>().unwrap_or(0) % 100;
    let (major, minor) = (
        part(env!("CARGO_PKG_VERSION_MAJOR")),
        part(env!("CARGO_PKG_VERSION_MINOR")),
    );
    let digit = |value: u32| b'0' + u8::try_from(value % 10).expect("one digit");
    [
        digit(major / 10),
        digit(major),
        digit(minor / 10),
        digit(minor),
    ]
}

fn new_identity(id: LunId, config: &Config) -> LunIdentity {
    LunIdentity::new(id, config.oui, revision())
}

fn unix_now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}
