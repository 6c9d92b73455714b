// SPDX-License-Identifier: MIT OR Apache-2.0
use crate::state::{State, fail};
use array_api::{
    AbortOutcome, Armed, Array, ArrayError, ArrayErrorKind, ArrayInfo, CONTRACT_VERSION,
    Capabilities, CheckAnswer, CheckRequest, CommitReport, CopyReport, DeleteOutcome, LunId,
    LunInfo, OLDEST_CONTRACT_VERSION, Orphan, PrepareOutcome, PrepareRequest, Readiness, ResyncId,
    ResyncPair, ResyncStatus, SetId, SpaceLevel,
};
use std::fs::{self, File, TryLockError};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// What this array says that it holds; a real one knows.
const CAPACITY_BYTES: u64 = 1 << 40;
/// How often a call that finds the folder locked tries again.
const TRY_EVERY: Duration = Duration::from_millis(2);
/// How often a call that waits for copies looks at them again.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// The array as one host sees it. `state.json` is its catalogue; the contents of a LUN are in a file of its name, as far as
/// they were ever written.
pub struct FolderArray {
    folder: PathBuf,
    host: String,
}

impl FolderArray {
    /// The array in `folder`, which must exist once a call comes.
    pub fn new(folder: &Path, host: &str) -> Self {
        Self {
            folder: folder.to_owned(),
            host: host.to_owned(),
        }
    }

    /// The file with a LUN's contents; there is none before the first write.
    pub fn contents(&self, lun: LunId) -> PathBuf {
        self.folder.join(lun.to_string())
    }

    /// Works on the catalogue, alone, and keeps what came of it. An error keeps nothing, so each call did all or nothing.
    pub fn with_state<T>(
        &self,
        within: Duration,
        work: impl FnOnce(&mut State) -> Result<T, ArrayError>,
    ) -> Result<T, ArrayError> {
        let _lock = self.lock(within)?;
        let mut state = self.load().map_err(away)?;
        let result = work(&mut state)?;
        self.save(&state).map_err(away)?;
        // Only when nothing refers to them any more; a file that stays is only waste.
        for lun in state.take_garbage() {
            let _ = fs::remove_file(self.contents(lun));
        }
        Ok(result)
    }

    fn lock(&self, within: Duration) -> Result<File, ArrayError> {
        let start = Instant::now();
        let file = File::create(self.folder.join("lock")).map_err(away)?;
        while !try_lock(&file).map_err(away)? {
            if start.elapsed() >= within {
                return fail(ArrayErrorKind::TimedOut, "the array's folder stays locked");
            }
            std::thread::sleep(TRY_EVERY);
        }
        Ok(file)
    }

    fn load(&self) -> std::io::Result<State> {
        match fs::read(self.folder.join("state.json")) {
            Ok(bytes) => Ok(serde_json::from_slice(&bytes)?),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(State::default()),
            Err(error) => Err(error),
        }
    }

    /// The old catalogue or the new one, whole, and the new one once this returns: what an array said has to hold after a
    /// power cut. The folder's sync makes the names of new copies durable too.
    fn save(&self, state: &State) -> std::io::Result<()> {
        let new = self.folder.join("state.new");
        let mut file = File::create(&new)?;
        file.write_all(&serde_json::to_vec_pretty(state)?)?;
        file.sync_all()?;
        fs::rename(new, self.folder.join("state.json"))?;
        // Windows has no such call for a folder.
        #[cfg(unix)]
        File::open(&self.folder)?.sync_all()?;
        Ok(())
    }

    /// One LUN's contents over another's, durable once the catalogue is saved.
    fn copy(&self, from: LunId, to: LunId) -> Result<(), ArrayError> {
        match fs::copy(self.contents(from), self.contents(to)) {
            Ok(_) => {
                let copy = File::options().write(true).open(self.contents(to));
                copy.and_then(|file| file.sync_all()).map_err(away)
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {
                // Never written: then the copy must read so too.
                match fs::remove_file(self.contents(to)) {
                    Err(error) if error.kind() != ErrorKind::NotFound => Err(away(error)),
                    _ => Ok(()),
                }
            }
            Err(error) => Err(away(error)),
        }
    }
}

/// Whether the file is locked now, by this call.
fn try_lock(file: &File) -> std::io::Result<bool> {
    match file.try_lock() {
        Ok(()) => try_lock_against_wine(file),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// A Windows program under Wine holds a POSIX lock, which is another kind than the standard library's on Linux.
#[cfg(unix)]
fn try_lock_against_wine(file: &File) -> std::io::Result<bool> {
    use rustix::fs::{FlockOperation, fcntl_lock};
    use rustix::io::Errno;
    match fcntl_lock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(Errno::AGAIN | Errno::ACCESS) => file.unlock().map(|()| false),
        Err(error) => Err(error.into()),
    }
}

#[cfg(not(unix))]
fn try_lock_against_wine(_file: &File) -> std::io::Result<bool> {
    Ok(true)
}

fn away(error: std::io::Error) -> ArrayError {
    ArrayError::new(
        ArrayErrorKind::Unreachable,
        format!("the array's folder cannot be used: {error}"),
        "check that it is there and that this host may write to it",
    )
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |time| {
        u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
    })
}

impl Array for FolderArray {
    fn info(&self, within: Duration) -> Result<ArrayInfo, ArrayError> {
        self.with_state(within, |_| {
            Ok(ArrayInfo {
                name: "anvil".to_owned(),
                software: env!("CARGO_PKG_VERSION").to_owned(),
                contract_version: CONTRACT_VERSION,
                oldest_contract_version: OLDEST_CONTRACT_VERSION,
                host: self.host.clone(),
                capabilities: Capabilities {
                    differential: false,
                    plex: true,
                    transportable: true,
                    persistent: true,
                    resync: true,
                    luns_per_set_max: 64,
                },
                capacity_bytes: CAPACITY_BYTES,
                free_bytes: CAPACITY_BYTES,
                space: SpaceLevel::Ample,
                time_unix_ms: now_ms(),
            })
        })
    }

    fn query(&self, within: Duration, luns: &[LunId]) -> Result<Vec<Option<LunInfo>>, ArrayError> {
        self.with_state(within, |state| {
            Ok(luns.iter().map(|id| state.info(&self.host, *id)).collect())
        })
    }

    fn check(&self, within: Duration, request: &CheckRequest) -> Result<CheckAnswer, ArrayError> {
        self.with_state(within, |state| {
            let refusal = state.can_copy(&self.host, &request.luns, &request.needs);
            let reason = refusal.err().map(|error| error.message);
            Ok(CheckAnswer {
                supported: reason.is_none(),
                reason,
            })
        })
    }

    fn prepare(
        &self,
        within: Duration,
        set: SetId,
        request: &PrepareRequest,
    ) -> Result<PrepareOutcome, ArrayError> {
        self.with_state(within, |state| state.prepare(&self.host, set, request))
    }

    /// Files are ready at once, unless the administrator holds copies back.
    fn ready(&self, within: Duration, set: SetId) -> Result<Readiness, ArrayError> {
        let start = Instant::now();
        loop {
            let left = within.saturating_sub(start.elapsed());
            let readiness = self.with_state(left, |state| state.ready(&self.host, set))?;
            if readiness == Readiness::Ready || left < LOOK_EVERY {
                return Ok(readiness);
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    fn arm(&self, within: Duration, set: SetId) -> Result<Armed, ArrayError> {
        self.with_state(within, |state| state.arm(&self.host, set, now_ms()))
    }

    fn commit(&self, within: Duration, set: SetId) -> Result<CommitReport, ArrayError> {
        let start = Instant::now();
        self.with_state(within, |state| {
            let pairs = state.commit(&self.host, set, now_ms())?;
            // A real array holds the hosts' writes from here ...
            for (source, copy) in pairs {
                self.copy(source, copy)?;
            }
            // ... to here.
            let micros = u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX);
            Ok(CommitReport {
                held_us: micros,
                total_us: micros,
                luns: state.size_of(set),
            })
        })
    }

    fn report(
        &self,
        within: Duration,
        set: SetId,
        sources: &[LunId],
    ) -> Result<Vec<CopyReport>, ArrayError> {
        self.with_state(within, |state| state.report(&self.host, set, sources))
    }

    fn abort(
        &self,
        within: Duration,
        set: SetId,
        reported_too: bool,
    ) -> Result<AbortOutcome, ArrayError> {
        self.with_state(within, |state| state.abort(&self.host, set, reported_too))
    }

    fn map(&self, within: Duration, copies: &[LunId]) -> Result<(), ArrayError> {
        self.with_state(within, |state| state.map(&self.host, copies))
    }

    fn unmap(&self, within: Duration, copies: &[LunId]) -> Result<(), ArrayError> {
        self.with_state(within, |state| state.unmap(&self.host, copies))
    }

    fn delete(&self, within: Duration, copy: LunId) -> Result<DeleteOutcome, ArrayError> {
        self.with_state(within, |state| state.delete(&self.host, copy))
    }

    fn break_copies(
        &self,
        within: Duration,
        copies: &[LunId],
        unmap_too: bool,
    ) -> Result<(), ArrayError> {
        self.with_state(within, |state| {
            state.break_copies(&self.host, copies, unmap_too)
        })
    }

    fn resync(
        &self,
        within: Duration,
        id: ResyncId,
        pairs: &[ResyncPair],
    ) -> Result<ResyncStatus, ArrayError> {
        self.with_state(within, |state| {
            for pair in state.resync(&self.host, id, pairs)? {
                self.copy(pair.copy, pair.target)?;
            }
            state.resync_status(&self.host, id)
        })
    }

    /// A resync is over when its call returns, so nobody has to wait.
    fn resync_status(
        &self,
        within: Duration,
        id: ResyncId,
        _wait: Duration,
    ) -> Result<ResyncStatus, ArrayError> {
        self.with_state(within, |state| state.resync_status(&self.host, id))
    }

    /// It is over already.
    fn cancel_resync(&self, within: Duration, id: ResyncId) -> Result<ResyncStatus, ArrayError> {
        self.resync_status(within, id, Duration::ZERO)
    }

    fn orphans(&self, within: Duration) -> Result<Vec<Orphan>, ArrayError> {
        self.with_state(within, |state| Ok(state.orphans(&self.host)))
    }
}
