// SPDX-License-Identifier: MIT OR Apache-2.0
//! The rig as VSS, from AreLunsSupported to PostFinalCommitSnapshots.

use super::Sabotage;
use super::files::{self, FileSum, Manifest};
use super::numbers::write_slots_as_after;
use super::report::Windows;
use super::world::{Which, World};
use crate::array::{Usage, lun_id};
use crate::description::{SeenDisk, disks};
use crate::host::{ProviderHost as _, Recorded};
use crate::initiator::ASC_REPORTED_LUNS_CHANGED;
use crate::sequence::{Point, ShadowSet};
use crate::vss_writes::{
    FLAGS_OF_A_COPY, PARTITION_OFFSET, VolumeFlags, write_disk_id, write_flags,
};
use anyhow::{Context as _, ensure};
use std::path::PathBuf;
use std::time::{Duration, Instant};
use vss_provider::{Hresult, LunDescription};

/// VSS_CTX_BACKUP with VSS_VOLSNAP_ATTR_AUTORECOVER: writers repair the copy between PreFinal and PostFinal.
const CONTEXT: i32 = 0x0040_0000;
/// How long VSS waits for the disks after LocateLuns; Windows' own time is not documented (TIME-11).
const ARRIVAL_LIMIT: Duration = Duration::from_secs(20);
/// How many records later `--sabotage=late` has the second LUN captured.
const LATE_RECORDS: u64 = 300;
/// Records of the never-held writer that have to pass while the NTFS writer is frozen, before CommitSnapshots.
const NEVER_HELD_RECORDS: u64 = 4;
/// Disk ids that VSS gives to the copies.
pub(super) const COPY_DISK_IDS: [u32; 2] = [0xC0B1_0001, 0xC0B1_0002];
const RECOVERY_FILE: &str = "Documents/recovered by the writer.txt";

/// What the creation leaves for the checks.
pub(super) struct Created {
    pub(super) set: ShadowSet,
    /// What GetTargetLuns said, system first; spoilt by `--sabotage=identity`.
    pub(super) told: [LunDescription; 2],
    /// The copies as disks of the host, in the same order.
    pub(super) copies: [SeenDisk; 2],
    /// What FillInLunInfo made of them.
    pub(super) filled: [LunDescription; 2],
    /// Whether the session was told by a unit attention.
    pub(super) attention: bool,
    /// Numbers acknowledged before CommitSnapshots, and issued after it.
    pub(super) numbers: (u64, u64),
    pub(super) while_frozen: WhileFrozen,
    /// The files at the freeze.
    pub(super) frozen: Manifest,
    /// The same with the recovery write.
    pub(super) recovered: Manifest,
    /// `ntfsfix -n` on the copy before anything was written to it.
    pub(super) untouched_ntfs: Result<String, String>,
    pub(super) windows: Windows,
    /// Before AreLunsSupported.
    pub(super) usage_before: Usage,
    pub(super) disk_count_before: usize,
}

/// What the two writers did between freeze and thaw.
#[derive(Clone, Copy, Debug)]
pub(super) struct WhileFrozen {
    /// The NTFS writer stood still until the thaw.
    pub(super) held: bool,
    /// Files that it wrote.
    pub(super) file_count: u64,
    /// Records that the other writer had acknowledged.
    pub(super) record_count: u64,
}

/// What is known before GetTargetLuns.
struct Captured {
    set: ShadowSet,
    numbers: (u64, u64),
    while_frozen: WhileFrozen,
    frozen: Manifest,
    windows: Windows,
}

impl World {
    /// Makes a set of both LUNs. When a call fails, the set is given up as VSS would.
    pub(super) fn create_set(
        &mut self,
        provider: &Recorded,
        sabotage: Option<Sabotage>,
    ) -> anyhow::Result<Created> {
        let volumes = self
            .originals
            .each_ref()
            .map(|disk| vec![disk.description.clone()]);
        let set = ShadowSet::new(CONTEXT, &[&volumes[0], &volumes[1]]);
        let id = set.id;
        let result = self.create(provider, set, sabotage);
        if result.is_err() {
            self.files.thaw();
            let _ = provider.abort_snapshots(id);
        }
        result
    }

    fn create(
        &mut self,
        provider: &Recorded,
        set: ShadowSet,
        sabotage: Option<Sabotage>,
    ) -> anyhow::Result<Created> {
        let usage_before = self.usage()?;
        let disk_count_before = disks(&mut self.session)?.len();
        let mut captured = self.capture(provider, set)?;
        let set = &mut captured.set;
        set.step(provider, Point::Reported)?;
        let mut told = [0, 1].map(|volume: usize| set.volumes[volume].targets[0].clone());
        let attention = self.surface(provider, set)?;
        let copies = self.find_copies(&told)?;
        let filled = self.fill_in(provider, &copies)?;
        for (copy, disk_id) in copies.iter().zip(COPY_DISK_IDS) {
            write_disk_id(&mut self.session, copy.lun, disk_id)?;
        }
        let untouched_ntfs = self.check_untouched(copies[0].lun)?;
        set.step(provider, Point::Prefinal)?;
        let mut recovered = captured.frozen.clone();
        let (name, sum) = self.recover(copies[0].lun)?;
        recovered.insert(name, sum);
        captured.set.step(provider, Point::Created)?;
        if sabotage == Some(Sabotage::Identity) {
            spoil_identity(&mut told[0])?;
        }
        Ok(Created {
            set: captured.set,
            told,
            copies,
            filled,
            attention,
            numbers: captured.numbers,
            while_frozen: captured.while_frozen,
            frozen: captured.frozen,
            recovered,
            untouched_ntfs,
            windows: captured.windows,
            usage_before,
            disk_count_before,
        })
    }

    /// From AreLunsSupported to PostCommitSnapshots.
    fn capture(&mut self, provider: &Recorded, mut set: ShadowSet) -> anyhow::Result<Captured> {
        set.step(provider, Point::Preparing)?;
        set.step(provider, Point::Prepared)?;
        self.flag_sources(&set, FLAGS_OF_A_COPY)?;
        set.step(provider, Point::Precommitted)?;
        let freeze = Instant::now();
        let frozen = self
            .files
            .freeze(self.export.file(), &self.interrupt)
            .context("freeze")?;
        let (files_before, records_before) = (self.files.written(), self.numbers.acknowledged());
        // A numbered writer that stands still at this moment would make its check worthless.
        self.wait_for_numbers(records_before + NEVER_HELD_RECORDS)?;
        let hold = Instant::now();
        let acknowledged = self.numbers.acknowledged();
        let commit = Instant::now();
        set.step(provider, Point::Committed)?;
        let commit = commit.elapsed();
        let issued = self.numbers.issued();
        let hold = hold.elapsed();
        let while_frozen = WhileFrozen {
            held: self.files.is_held(),
            file_count: self.files.written() - files_before,
            record_count: self.numbers.acknowledged() - records_before,
        };
        self.files.thaw();
        let windows = Windows {
            freeze: freeze.elapsed(),
            hold,
            commit,
        };
        self.flag_sources(&set, 0)?;
        set.step(provider, Point::Postcommitted)?;
        Ok(Captured {
            set,
            numbers: (acknowledged, issued),
            while_frozen,
            frozen,
            windows,
        })
    }

    fn flag_sources(&mut self, set: &ShadowSet, bits: u32) -> anyhow::Result<()> {
        for original in &self.originals {
            let flags = VolumeFlags { bits, set: set.id };
            write_flags(&mut self.session, original.lun, flags)?;
        }
        Ok(())
    }

    /// LocateLuns and FillInLunInfo of what was told, then the wait for the session to hear of new LUNs.
    fn surface(&mut self, provider: &Recorded, set: &mut ShadowSet) -> anyhow::Result<bool> {
        let _ = self.session.take_attentions();
        set.step(provider, Point::Surfaced)?;
        self.await_lun_change()
    }

    /// Waits for the unit attention 06/3F/0E on an original; `false` when it does not come.
    pub(super) fn await_lun_change(&mut self) -> anyhow::Result<bool> {
        let (session, lun) = (&mut self.session, self.originals[0].lun);
        Ok(self.interrupt.wait_until(ARRIVAL_LIMIT, || {
            let _ = session.test_unit_ready(lun);
            session
                .take_attentions()
                .iter()
                .any(|attention| attention.asc_ascq == ASC_REPORTED_LUNS_CHANGED)
        })?)
    }

    /// Rescans and matches arriving disks with what was told.
    fn find_copies(&mut self, told: &[LunDescription; 2]) -> anyhow::Result<[SeenDisk; 2]> {
        let seen = disks(&mut self.session)?;
        let find = |told: &LunDescription| {
            let wanted = lun_id(told);
            seen.iter()
                .find(|disk| wanted.is_some() && lun_id(&disk.description) == wanted)
                .cloned()
                .context("a copy did not come up in the session")
        };
        Ok([find(&told[0])?, find(&told[1])?])
    }

    fn fill_in(
        &self,
        provider: &Recorded,
        copies: &[SeenDisk; 2],
    ) -> anyhow::Result<[LunDescription; 2]> {
        let mut filled = copies.each_ref().map(|copy| copy.description.clone());
        for lun in &mut filled {
            let (code, supported) = provider.fill_in_lun_info(lun);
            ensure!(
                code == Hresult::S_OK && supported,
                "FillInLunInfo of an arriving disk gave {code}, {supported}"
            );
        }
        Ok(filled)
    }

    fn check_untouched(&self, lun: u8) -> anyhow::Result<Result<String, String>> {
        let export = self.export_copy(lun, "copy-untouched")?;
        let result = self.tools.check(&self.interrupt, export.file());
        Ok(result.map_err(|error| error.to_string()))
    }

    /// The writers' recovery: a file is added to the copy through its file system.
    fn recover(&self, lun: u8) -> anyhow::Result<(PathBuf, FileSum)> {
        let export = self.export_copy(lun, "copy-recovery")?;
        let mount = self.mount_copy(&export, "recovery", false)?;
        let name = PathBuf::from(RECOVERY_FILE);
        let sum = files::write_file(mount.folder(), &name, &files::contents(99, 50_000))?;
        mount.close()?;
        std::fs::File::options()
            .write(true)
            .open(export.file())?
            .sync_all()?;
        Ok((name, sum))
    }

    /// `--sabotage=late`: the second copy gets the records that its original holds some time later, which is what an array
    /// without a common instant shows.
    pub(super) fn make_late(&mut self, created: &Created) -> anyhow::Result<()> {
        let range = Which::Data.numbers_on(created.copies[1].lun);
        let (_, issued) = created.numbers;
        let last = issued + LATE_RECORDS;
        Ok(write_slots_as_after(
            &mut self.session,
            range,
            Which::Data as u64,
            last,
            self.run,
        )?)
    }

    /// `--sabotage=flip`: one byte of one file of the copy.
    pub(super) fn flip_a_byte(&mut self, lun: u8) -> anyhow::Result<()> {
        let export = self.export_copy(lun, "copy-victim")?;
        let victim = super::world::VICTIM;
        let at = self
            .tools
            .data_offset(&self.interrupt, export.file(), victim)?;
        drop(export);
        let offset = PARTITION_OFFSET + at;
        let mut sector = self.session.read(lun, offset, 512)?;
        sector[100] ^= 0x01;
        Ok(self.session.write(lun, offset, &sector)?)
    }
}

fn spoil_identity(lun: &mut LunDescription) -> anyhow::Result<()> {
    let byte = lun
        .identifiers
        .first_mut()
        .and_then(|identifier| identifier.bytes.last_mut())
        .context("no designator to spoil")?;
    *byte ^= 0x01;
    Ok(())
}
