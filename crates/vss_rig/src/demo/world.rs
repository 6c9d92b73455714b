// SPDX-License-Identifier: MIT OR Apache-2.0
//! The first steps: the array, the NTFS on its first LUN, the two writers.

use super::files::{self, FileWriter, Manifest};
use super::ntfs::{Export, Mount, Partition, Tools};
use super::numbers::{NumberWriter, Range, Ranges};
use super::steps::Steps;
use crate::array::{Binaries, CREATOR, Daemon, Usage};
use crate::description::{SeenDisk, disks};
use crate::initiator::{Initiator, Portal};
use crate::interrupt::Interrupt;
use crate::relay::Relay;
use crate::vss_writes::{PARTITION_OFFSET, write_mbr};
use anyhow::{Context as _, ensure};
use array_api::Enrolment;
use std::path::{Path, PathBuf};
use std::time::Duration;

const GIB: u64 = 1 << 30;
const INITIATOR: &str = "iqn.1991-05.com.microsoft:winhost";
const COMMAND_TIMEOUT: Duration = Duration::from_secs(30);
/// How long the writers may take to fill their ranges.
const WARM_UP_LIMIT: Duration = Duration::from_secs(60);
/// Records after which both ranges are full, so that the writer allocates nothing more.
const WARM_UP_RECORDS: u64 = 2 * super::numbers::SLOT_COUNT + 2;
const WARM_UP_FILES: u64 = 40;

/// The first LUN, "system": an NTFS partition, then the first range of numbers.
pub(super) const SYSTEM_BYTES: u64 = 64 * GIB;
pub(super) const SYSTEM_PARTITION_BYTES: u64 = 60 * GIB;
pub(super) const SYSTEM_DISK_ID: u32 = 0x5348_4144;
/// The second LUN, "data": a partition without a file system, the second range, and the bulk.
pub(super) const DATA_BYTES: u64 = 1024 * GIB;
const DATA_PARTITION_BYTES: u64 = 512 * GIB;
pub(super) const DATA_DISK_ID: u32 = 0x4F57_4C4E;
/// A range on "data" that is overwritten after the capture, so that the copy holds that much of its own.
const BULK_OFFSET: u64 = 800 * GIB;
pub(super) const BULK_BYTES: u64 = 64 << 20;
/// The file that `--sabotage=flip` spoils.
pub(super) const VICTIM: &str = "ledger.dat";

/// The two originals, in the order system, data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Which {
    System,
    Data,
}

impl Which {
    pub(super) const BOTH: [Self; 2] = [Self::System, Self::Data];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::Data => "data",
        }
    }

    /// Where this LUN's numbers are; the copy has them at the same place.
    pub(super) fn numbers_on(self, lun: u8) -> Range {
        match self {
            Self::System => Range {
                lun,
                offset: 62 * GIB,
            },
            Self::Data => Range {
                lun,
                offset: 768 * GIB,
            },
        }
    }

    pub(super) fn size_bytes(self) -> u64 {
        match self {
            Self::System => SYSTEM_BYTES,
            Self::Data => DATA_BYTES,
        }
    }
}

/// Everything that runs on this side of the provider. Fields are dropped in their order: writers, mounts, sessions, array,
/// folder.
pub(super) struct World {
    pub(super) files: FileWriter,
    pub(super) numbers: NumberWriter,
    pub(super) mount: Mount,
    pub(super) export: Export,
    pub(super) session: Initiator,
    pub(super) originals: [SeenDisk; 2],
    pub(super) portal: Portal,
    /// What the provider is enrolled with: by way of the relay.
    pub(super) enrolment: Enrolment,
    pub(super) relay: Relay,
    pub(super) daemon: Daemon,
    pub(super) tools: Tools,
    /// Marks the numbered records of this run.
    pub(super) run: u64,
    pub(super) interrupt: Interrupt,
    pub(super) folder: tempfile::TempDir,
}

impl World {
    /// Starts the array, puts NTFS on its first LUN, starts the two writers.
    pub(super) fn build(
        tools: Tools,
        binaries: &Binaries,
        interrupt: &Interrupt,
        steps: &Steps<'_>,
    ) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix("shadowlun-demo-")
            .tempdir()?;
        steps.next(&format!(
            "array: shadowlund with an embedded store in {}",
            folder.path().display()
        ));
        let daemon = Daemon::start(binaries, folder.path(), "16GiB", interrupt)?;
        let host = daemon.add_host(CREATOR, INITIATOR)?;
        daemon.create_lun("system", "64GiB", CREATOR)?;
        daemon.create_lun("data", "1TiB", CREATOR)?;
        let relay = Relay::start(daemon.api_address())?;
        let enrolment = relay.enrolment(&host.enrolment)?;
        let portal = daemon.portal(&host)?;
        let mut session = Initiator::connect(&portal, COMMAND_TIMEOUT)?;
        let originals = find_originals(&mut session)?;
        steps.detail(&format!(
            "portal {}, host {CREATOR}, thin LUNs system (64 GiB) and data (1 TiB)",
            portal.address
        ));
        steps.next("NTFS on system, over iSCSI and a FUSE export");
        write_disks(&mut session, &originals)?;
        let at = folder.path();
        let (export, mount, manifest) =
            make_ntfs(&tools, interrupt, &daemon, &portal, &originals, at)?;
        steps.detail(&format!("{} files copied in", manifest.len()));
        steps.next(
            "writers: one on the NTFS, one never held that numbers its writes across both LUNs",
        );
        let run = uuid::Uuid::new_v4().as_u64_pair().0;
        let ranges: Ranges = [0, 1].map(|i| Which::BOTH[i].numbers_on(originals[i].lun));
        let numbers = NumberWriter::start(&portal, ranges, run)?;
        let files = FileWriter::start(mount.folder(), manifest);
        let mut world = Self {
            files,
            numbers,
            mount,
            export,
            session,
            originals,
            portal,
            enrolment,
            relay,
            daemon,
            tools,
            run,
            interrupt: interrupt.clone(),
            folder,
        };
        world.warm_up()?;
        steps.detail(&format!(
            "{} numbered records and {} files so far",
            world.numbers.acknowledged(),
            world.files.written()
        ));
        // The disk ids are part of what Windows tells about a disk, and were written only now.
        world.originals = find_originals(&mut world.session)?;
        Ok(world)
    }

    fn warm_up(&self) -> anyhow::Result<()> {
        self.wait_for_numbers(WARM_UP_RECORDS)?;
        let enough = self.files.wait_for(WARM_UP_FILES, &self.interrupt)?;
        let failure = self.files.failure();
        ensure!(enough && failure.is_none(), "file writer: {failure:?}");
        Ok(())
    }

    /// Waits until the record `number` was acknowledged.
    pub(super) fn wait_for_numbers(&self, number: u64) -> anyhow::Result<()> {
        let numbers = &self.numbers;
        let enough = self.interrupt.wait_until(WARM_UP_LIMIT, || {
            numbers.acknowledged() >= number || numbers.failure().is_some()
        })?;
        let failure = numbers.failure();
        ensure!(
            enough && failure.is_none(),
            "number writer: {failure:?}, {} records",
            numbers.acknowledged()
        );
        Ok(())
    }

    /// The NTFS partition of LUN `lun` as a file, for as long as the export lives.
    pub(super) fn export_copy(&self, lun: u8, name: &str) -> anyhow::Result<Export> {
        let partition = Partition {
            portal: &self.portal,
            array_pid: self.daemon.pid(),
            lun,
            offset: PARTITION_OFFSET,
            length_bytes: SYSTEM_PARTITION_BYTES,
        };
        Export::start(
            &self.tools,
            &self.interrupt,
            &partition,
            self.folder.path(),
            name,
        )
    }

    /// Mounts an export at a folder of the given name.
    pub(super) fn mount_copy(
        &self,
        export: &Export,
        name: &str,
        read_only: bool,
    ) -> anyhow::Result<Mount> {
        let folder = self.folder.path().join(name);
        Mount::start(
            &self.tools,
            &self.interrupt,
            export.file(),
            &folder,
            read_only,
        )
    }

    /// Overwrites the bulk on "data".
    pub(super) fn write_bulk(&mut self, seed: u64) -> anyhow::Result<()> {
        let bytes = files::contents(seed, BULK_BYTES);
        Ok(self
            .session
            .write(self.originals[1].lun, BULK_OFFSET, &bytes)?)
    }

    /// Counts on the array.
    pub(super) fn usage(&self) -> anyhow::Result<Usage> {
        self.daemon.usage()
    }

    /// Leaves array, export and mount running, writes a script that stops them, and says how to look. `ended` is what does
    /// not run any more.
    pub(super) fn keep(self, ended: &str) -> anyhow::Result<String> {
        let Self {
            files,
            numbers,
            mount,
            export,
            session,
            daemon,
            folder,
            ..
        } = self;
        drop((files, numbers, session));
        let root = folder.keep();
        let script = root.join("stop.sh");
        std::fs::write(
            &script,
            format!(
                "#!/bin/sh\n\
                 # Ends what `shadowlun-rig demo --keep` left running. The export first: without its array it would not end.\n\
                 end() {{\n    kill \"$1\"\n    for _ in $(seq 100); do\n        \
                 kill -0 \"$1\" 2>/dev/null || return\n        sleep 0.1\n    done\n    kill -9 \"$1\"\n}}\n\
                 umount '{}'\nend {}\nend {}\nrm -rf '{}'\n",
                mount.folder().display(),
                export.pid(),
                daemon.pid(),
                root.display()
            ),
        )?;
        let cli = format!(
            "{} --socket {}",
            daemon.binaries().cli.display(),
            daemon.socket().display()
        );
        let words = format!(
            "Left running ({ended} have ended):\n  \
             files of the NTFS on LUN system   ls {}\n  \
             the array                         {cli} status\n  \
             its LUNs and the shadow copies    {cli} lun list\n  \
             its sets                          {cli} set list\n  \
             configuration, log, store         {}\nStop it and remove everything:\n  sh {}",
            mount.folder().display(),
            root.display(),
            script.display()
        );
        mount.release();
        export.release();
        daemon.release();
        Ok(words)
    }
}

/// The two LUNs by their sizes, system first.
fn find_originals(session: &mut Initiator) -> anyhow::Result<[SeenDisk; 2]> {
    let seen = disks(session)?;
    let mut find = |which: Which| -> anyhow::Result<SeenDisk> {
        for disk in &seen {
            let capacity = session.capacity(disk.lun)?;
            if capacity.blocks * u64::from(capacity.block_bytes) == which.size_bytes() {
                return Ok(disk.clone());
            }
        }
        Err(anyhow::anyhow!("no LUN has the size of {}", which.name()))
    };
    let found = [find(Which::System)?, find(Which::Data)?];
    ensure!(seen.len() == 2, "the host sees {} disks, not 2", seen.len());
    Ok(found)
}

fn write_disks(session: &mut Initiator, originals: &[SeenDisk; 2]) -> anyhow::Result<()> {
    let [system, data] = originals;
    write_mbr(session, system.lun, SYSTEM_DISK_ID, SYSTEM_PARTITION_BYTES)?;
    write_mbr(session, data.lun, DATA_DISK_ID, DATA_PARTITION_BYTES)?;
    session.write(data.lun, BULK_OFFSET, &files::contents(1, BULK_BYTES))?;
    Ok(())
}

fn make_ntfs(
    tools: &Tools,
    interrupt: &Interrupt,
    daemon: &Daemon,
    portal: &Portal,
    originals: &[SeenDisk; 2],
    folder: &Path,
) -> anyhow::Result<(Export, Mount, Manifest)> {
    let partition = Partition {
        portal,
        array_pid: daemon.pid(),
        lun: originals[0].lun,
        offset: PARTITION_OFFSET,
        length_bytes: SYSTEM_PARTITION_BYTES,
    };
    let export = Export::start(tools, interrupt, &partition, folder, "system")?;
    tools.format(interrupt, export.file(), PARTITION_OFFSET)?;
    let mount = Mount::start(tools, interrupt, export.file(), &folder.join("ntfs"), false)?;
    let manifest = copy_files_in(mount.folder()).context("copying files in")?;
    Ok((export, mount, manifest))
}

/// A small tree: text, a few sizes around cluster and resident limits, one larger file.
fn copy_files_in(root: &Path) -> anyhow::Result<Manifest> {
    let mut manifest = Manifest::new();
    let mut add = |name: &str, bytes: &[u8]| -> std::io::Result<()> {
        let name = PathBuf::from(name);
        let sum = files::write_file(root, &name, bytes)?;
        manifest.insert(name, sum);
        Ok(())
    };
    add(
        "readme.txt",
        b"Files of the demo: whatever the shadow copy shows must equal these.\r\n",
    )?;
    add(VICTIM, &files::contents(2, 300_000))?;
    let lengths = [
        0, 1, 511, 512, 700, 4095, 4096, 4097, 65_535, 65_536, 1_000_003,
    ];
    for (index, length) in lengths.into_iter().enumerate() {
        add(
            &format!("Documents/{index:02} - {length} bytes.bin"),
            &files::contents(index as u64 + 10, length),
        )?;
    }
    for index in 0..16 {
        add(
            &format!("Documents/Reports/2026/report {index}.txt"),
            format!("Report {index}\r\n").repeat(200).as_bytes(),
        )?;
    }
    Ok(manifest)
}
