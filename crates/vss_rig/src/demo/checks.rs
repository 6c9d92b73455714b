// SPDX-License-Identifier: MIT OR Apache-2.0
//! What had to hold, looked at as the host and on the array.

use super::creation::{COPY_DISK_IDS, Created, WhileFrozen};
use super::files;
use super::numbers::{newest, one_instant, read_slots};
use super::report::{Check, Windows};
use super::world::{BULK_BYTES, DATA_DISK_ID, SYSTEM_DISK_ID, Which, World};
use crate::array::Usage;
use crate::description::{SeenDisk, describe_disk};
use crate::initiator::ASC_LUN_NOT_SUPPORTED;
use crate::vss_writes::{FLAGS_OF_A_COPY, read_disk_id, read_flags};
use anyhow::Context as _;
use std::fmt::Debug;
use std::time::Duration;
use vss_provider::LunDescription;

/// How long the array may take to give space back, which it does in the background.
const SPACE_LIMIT: Duration = Duration::from_secs(20);
/// How much more than before may be in use afterwards: metadata, and what NTFS keeps on the original.
const SPACE_SLACK_BYTES: u64 = 16 << 20;

/// Names of the checks that catch the sabotages.
pub(super) const FILES: &str = "NTFS of the copy holds the files of the instant";
pub(super) const ONE_INSTANT: &str = "numbered writes show one instant on both LUNs";
pub(super) const PAGES: &str = "pages 80 and 83 equal GetTargetLuns";
pub(super) const LUN_COUNT: &str = "the array has as many LUNs as before";

/// The result of one check: found, or found instead.
pub(super) type Found = Result<String, String>;

/// A list of checks under way. What fails to be looked at has not held.
pub(super) struct Checks<'a>(pub(super) &'a mut Vec<Check>);

impl Checks<'_> {
    pub(super) fn add(&mut self, name: &'static str, look: impl FnOnce() -> anyhow::Result<Found>) {
        let result = look().unwrap_or_else(|error| Err(format!("{error:#}")));
        self.0.push(Check { name, result });
    }
}

fn equal<T: PartialEq + Debug>(what: &str, found: &T, wanted: &T) -> Result<(), String> {
    match found == wanted {
        true => Ok(()),
        false => Err(format!("{what} is {found:?}, not {wanted:?}")),
    }
}

impl World {
    /// While the copies are there.
    pub(super) fn check_copies(&mut self, created: &Created, checks: &mut Checks<'_>) {
        checks.add("windows within Windows' limits", || {
            Ok(check_windows(created.windows))
        });
        checks.add("only the NTFS writer was held", || {
            Ok(check_held(created.while_frozen))
        });
        checks.add("copies came up in the session (06/3F/0E)", || {
            let [system, data] = created.copies.each_ref().map(|copy| copy.lun);
            Ok(match created.attention {
                true => Ok(format!("as LUN {system} and {data}")),
                false => Err("the session got no unit attention".to_owned()),
            })
        });
        checks.add(PAGES, || self.check_pages(created));
        checks.add("FillInLunInfo equals GetTargetLuns", || {
            Ok(check_filled(created))
        });
        checks.add("sizes equal the originals'", || self.check_sizes(created));
        checks.add("NTFS of the copy is clean as captured", || {
            Ok(created
                .untouched_ntfs
                .clone()
                .map(|_| "ntfsfix -n".to_owned()))
        });
        checks.add(FILES, || self.check_files(created));
        checks.add(ONE_INSTANT, || self.check_numbers(created));
        checks.add(
            "VSS's flags are in the copies, not in the originals",
            || self.check_flags(created),
        );
        checks.add("copies have disk ids of their own", || {
            self.check_disk_ids(created)
        });
        checks.add("the originals have moved on", || {
            self.check_moved_on(created)
        });
    }

    /// From fresh INQUIRY data, field by field.
    fn check_pages(&mut self, created: &Created) -> anyhow::Result<Found> {
        for (copy, told) in created.copies.iter().zip(&created.told) {
            let seen = describe_disk(&mut self.session, copy.lun)?;
            if let Err(difference) = same_pages(&seen, told) {
                return Ok(Err(format!("LUN {}: {difference}", copy.lun)));
            }
        }
        let count = created.told[0].identifiers.len();
        Ok(Ok(format!("serial and {count} designators each")))
    }

    fn check_sizes(&mut self, created: &Created) -> anyhow::Result<Found> {
        for (copy, which) in created.copies.iter().zip(Which::BOTH) {
            let capacity = self.session.capacity(copy.lun)?;
            let bytes = capacity.blocks * u64::from(capacity.block_bytes);
            if let Err(difference) = equal(which.name(), &bytes, &which.size_bytes()) {
                return Ok(Err(difference));
            }
        }
        Ok(Ok("64 GiB and 1 TiB".to_owned()))
    }

    fn check_files(&mut self, created: &Created) -> anyhow::Result<Found> {
        let export = self.export_copy(created.copies[0].lun, "copy-check")?;
        self.tools.check(&self.interrupt, export.file())?;
        let mount = self.mount_copy(&export, "copy", true)?;
        let found = files::read_all(mount.folder()).context("reading the copy")?;
        mount.close()?;
        Ok(match files::difference(&created.recovered, &found) {
            None => Ok(format!(
                "ntfsfix -n, {} files, one from the recovery",
                found.len()
            )),
            Some(difference) => Err(difference),
        })
    }

    fn check_numbers(&mut self, created: &Created) -> anyhow::Result<Found> {
        let mut sides = Vec::new();
        for (copy, which) in created.copies.iter().zip(Which::BOTH) {
            let range = which.numbers_on(copy.lun);
            sides.push(read_slots(&mut self.session, range, self.run)?);
        }
        let (acknowledged, issued) = created.numbers;
        Ok(one_instant([&sides[0], &sides[1]]).and_then(|last| {
            match (acknowledged..=issued).contains(&last) {
                true => Ok(format!("both end at record {last}")),
                false => Err(format!(
                    "they end at record {last}; {acknowledged} was acknowledged before CommitSnapshots, {issued} \
                     issued after it"
                )),
            }
        }))
    }

    fn check_flags(&mut self, created: &Created) -> anyhow::Result<Found> {
        let mut wanted = Vec::new();
        for (copy, original) in created.copies.iter().zip(&self.originals) {
            wanted.push((copy.lun, FLAGS_OF_A_COPY));
            wanted.push((original.lun, 0));
        }
        for (lun, bits) in wanted {
            let flags = read_flags(&mut self.session, lun)?.context("no flags at all")?;
            let found = (flags.set, flags.bits);
            if let Err(difference) = equal("set and flags", &found, &(created.set.id, bits)) {
                return Ok(Err(format!("LUN {lun}: {difference}")));
            }
        }
        Ok(Ok("set and cleared".to_owned()))
    }

    fn check_disk_ids(&mut self, created: &Created) -> anyhow::Result<Found> {
        let originals = self.originals.iter().zip([SYSTEM_DISK_ID, DATA_DISK_ID]);
        let copies = created.copies.iter().zip(COPY_DISK_IDS);
        for (disk, wanted) in originals.chain(copies) {
            let found = read_disk_id(&mut self.session, disk.lun)?;
            if let Err(difference) = equal("the disk id", &found, &wanted) {
                return Ok(Err(format!("LUN {}: {difference}", disk.lun)));
            }
        }
        Ok(Ok("copies rewritten, originals as before".to_owned()))
    }

    fn check_moved_on(&mut self, created: &Created) -> anyhow::Result<Found> {
        self.write_bulk(2)?;
        let written = self.files.written();
        self.files.wait_for(written + 5, &self.interrupt)?;
        let now = self.files.freeze(self.export.file(), &self.interrupt)?;
        let mut found = files::read_all(self.mount.folder())?;
        self.files.thaw();
        if let Some(difference) = files::difference(&now, &found) {
            return Ok(Err(format!("the original's files: {difference}")));
        }
        found.retain(|name, sum| created.frozen.get(name) != Some(sum));
        let mut last = 0;
        for (original, which) in self.originals.iter().zip(Which::BOTH) {
            let range = which.numbers_on(original.lun);
            last = last.max(newest(&read_slots(&mut self.session, range, self.run)?));
        }
        let (_, issued) = created.numbers;
        Ok(match !found.is_empty() && last > issued {
            true => Ok(format!("{} files, {} records", found.len(), last - issued)),
            false => Err(format!("{} files differ, record {last}", found.len())),
        })
    }

    /// After OnLunEmpty.
    pub(super) fn check_removed(
        &mut self,
        created: &Created,
        held: Usage,
        attention: bool,
        checks: &mut Checks<'_>,
    ) {
        checks.add("the session lost the copies (06/3F/0E, 05/25/00)", || {
            self.check_gone(created, attention)
        });
        checks.add(LUN_COUNT, || {
            let (before, after) = (created.usage_before.lun_count, self.usage()?.lun_count);
            Ok(equal("the number of LUNs", &after, &before).map(|()| before.to_string()))
        });
        checks.add("space came back", || {
            self.check_space(created.usage_before, held)
        });
        checks.add("both writers went on without an error", || {
            Ok(match (self.files.failure(), self.numbers.failure()) {
                (None, None) => Ok(format!(
                    "{} files, {} records",
                    self.files.written(),
                    self.numbers.acknowledged()
                )),
                failures => Err(format!("{failures:?}")),
            })
        });
    }

    fn check_gone(&mut self, created: &Created, attention: bool) -> anyhow::Result<Found> {
        let disks = crate::description::disks(&mut self.session)?.len();
        if let Err(difference) = equal("the number of disks", &disks, &created.disk_count_before) {
            return Ok(Err(difference));
        }
        for SeenDisk { lun, .. } in &created.copies {
            let sense = match self.session.read(*lun, 0, 512) {
                Ok(_) => return Ok(Err(format!("LUN {lun} still answers"))),
                Err(error) => error.sense().context(error.to_string())?,
            };
            if sense.asc_ascq != ASC_LUN_NOT_SUPPORTED {
                return Ok(Err(format!("LUN {lun} answers with sense {sense}")));
            }
        }
        Ok(match attention {
            true => Ok(format!("{disks} disks are left")),
            false => Err("the session got no unit attention".to_owned()),
        })
    }

    fn check_space(&mut self, before: Usage, held: Usage) -> anyhow::Result<Found> {
        let extra = |usage: Usage| usage.used_bytes.saturating_sub(before.used_bytes);
        let mut last = Ok(held);
        self.interrupt.wait_until(SPACE_LIMIT, || {
            last = self.daemon.usage();
            !matches!(&last, Ok(usage) if extra(*usage) > SPACE_SLACK_BYTES)
        })?;
        let (held, left) = (extra(held) >> 10, extra(last?) >> 10);
        let words = format!("{held} KiB held with the copies, {left} KiB afterwards");
        // Copies that held nothing would make the comparison worthless: the bulk was overwritten since the capture.
        let worthless = held < (BULK_BYTES / 2) >> 10;
        Ok(match worthless || left > SPACE_SLACK_BYTES >> 10 {
            false => Ok(words),
            true => Err(words),
        })
    }
}

fn check_windows(windows: Windows) -> Found {
    let words = format!(
        "freeze {:?}, hold {:?}, commit {:?}",
        windows.freeze, windows.hold, windows.commit
    );
    match windows.freeze < Duration::from_secs(60) && windows.hold < Duration::from_secs(10) {
        true => Ok(words),
        false => Err(words),
    }
}

/// One writer stands still from freeze to thaw, the other never does.
fn check_held(while_frozen: WhileFrozen) -> Found {
    let WhileFrozen {
        held,
        file_count,
        record_count,
    } = while_frozen;
    match held && file_count == 0 && record_count > 0 {
        true => Ok(format!("{record_count} records from freeze to thaw")),
        false => Err(format!("{while_frozen:?}")),
    }
}

/// Code set, type and bytes of each designator, as text.
fn designators(lun: &LunDescription) -> Vec<String> {
    let hex = |bytes: &[u8]| -> String { bytes.iter().map(|b| format!("{b:02x}")).collect() };
    lun.identifiers
        .iter()
        .map(|i| format!("{}/{} {}", i.code_set, i.kind, hex(&i.bytes)))
        .collect()
}

/// INQUIRY strings, page 80h, and page 83h in number, order, type, code set and bytes (GTL-6, LUN-9).
fn same_pages(seen: &LunDescription, told: &LunDescription) -> Result<(), String> {
    let text = |bytes: &Option<Vec<u8>>| {
        String::from_utf8_lossy(bytes.as_deref().unwrap_or_default()).into_owned()
    };
    equal("page 80", &text(&seen.serial), &text(&told.serial))?;
    equal("page 83", &designators(seen), &designators(told))?;
    equal("the vendor", &text(&seen.vendor), &text(&told.vendor))?;
    equal("the product", &text(&seen.product), &text(&told.product))?;
    equal("the revision", &text(&seen.revision), &text(&told.revision))
}

/// All fields but bus type and signature (FIL-3).
fn check_filled(created: &Created) -> Found {
    for (filled, told) in created.filled.iter().zip(&created.told) {
        same_pages(filled, told)?;
        let mut filled = filled.clone();
        filled.bus_type = told.bus_type;
        filled.disk_signature = told.disk_signature;
        equal("FillInLunInfo's answer", &filled, told)?;
    }
    Ok("both".to_owned())
}
