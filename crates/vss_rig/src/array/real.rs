// SPDX-License-Identifier: MIT OR Apache-2.0
use super::{
    ArrayUnderTest, Binaries, CREATOR, Daemon, Fault, Host, IMPORTER, ORIGINAL_COUNT, Windows,
};
use crate::description::{SeenDisk, disks};
use crate::host::ProviderHost;
use crate::in_process::InProcess;
use crate::initiator::Initiator;
use crate::interrupt::Interrupt;
use crate::relay::Relay;
use crate::wine::WindowsParts;
use anyhow::{Context as _, ensure};
use array_api::{Enrolment, HttpsArray, LunId};
use std::sync::Arc;
use std::time::{Duration, Instant};
use vss_provider::LunDescription;
use vss_provider::budget::END_PREPARE_SLICE;

const COMMAND_TIMEOUT: Duration = Duration::from_secs(30);
/// Where [`ArrayUnderTest::write_and_read_back`] writes.
const SCRATCH_OFFSET: u64 = 512 << 20;
const SCRATCH_BYTES: usize = 64 << 10;

/// Where the providers of a [`RealArray`] run.
#[derive(Clone, Debug)]
pub enum HostKind {
    /// The provider's core in the rig's own process.
    InProcess,
    /// The provider's executable behind COM, on Windows hosts made of these parts.
    Com(WindowsParts),
}

/// `shadowlund` with a store in a scratch folder: management over HTTPS through a relay, disks over iSCSI.
pub struct RealArray {
    // Dropped in this order: the providers' hosts, the daemon, then its folder.
    windows: Option<Windows>,
    daemon: Daemon,
    relay: Relay,
    hosts: [Host; 2],
    originals: Vec<LunDescription>,
    _folder: tempfile::TempDir,
}

impl RealArray {
    /// Starts the daemon, creates hosts and LUNs, and readies the hosts for providers.
    pub fn start(
        binaries: &Binaries,
        kind: &HostKind,
        interrupt: &Interrupt,
    ) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix("shadowlun-rig-")
            .tempdir()?;
        let daemon = Daemon::start(binaries, folder.path(), "8GiB", interrupt)?;
        let relay = Relay::start(daemon.api_address())?;
        let hosts = [
            daemon.add_resync_host(CREATOR, "iqn.1991-05.com.microsoft:winhost")?,
            daemon.add_resync_host(IMPORTER, "iqn.1991-05.com.microsoft:backuphost")?,
        ];
        daemon.cli(&["host", "group", "create", "test"])?;
        for host in &hosts {
            daemon.cli(&["host", "group", "add", "test", &host.name])?;
        }
        for index in 0..ORIGINAL_COUNT {
            daemon.create_lun(&format!("original-{index}"), "1GiB", CREATOR)?;
        }
        let mut array = Self {
            windows: None,
            daemon,
            relay,
            hosts,
            originals: Vec::new(),
            _folder: folder,
        };
        array.originals = array.disks(CREATOR)?;
        ensure!(
            array.originals.len() == ORIGINAL_COUNT,
            "{CREATOR} sees {} of {ORIGINAL_COUNT} LUNs",
            array.originals.len()
        );
        if let HostKind::Com(parts) = kind {
            let enrolments = [array.enrolment(CREATOR)?, array.enrolment(IMPORTER)?];
            array.windows = Some(Windows::start(parts, enrolments, interrupt)?);
        }
        Ok(array)
    }

    /// What a provider on `host` needs to reach the array, through the relay.
    fn enrolment(&self, host: &str) -> anyhow::Result<Enrolment> {
        self.relay.enrolment(&self.host(host)?.enrolment)
    }

    /// The array itself.
    pub fn daemon(&self) -> &Daemon {
        &self.daemon
    }

    /// Ends the Windows hosts, and looks that nothing is left of them.
    pub fn end(mut self) -> anyhow::Result<()> {
        self.windows.take().map_or(Ok(()), Windows::end)
    }

    fn host(&self, name: &str) -> anyhow::Result<&Host> {
        self.hosts
            .iter()
            .find(|host| host.name == name)
            .with_context(|| format!("no host {name}"))
    }

    fn log_in(&self, host: &str) -> anyhow::Result<Initiator> {
        let portal = self.daemon.portal(self.host(host)?)?;
        Ok(Initiator::connect(&portal, COMMAND_TIMEOUT)?)
    }

    fn seen(&self, host: &str) -> anyhow::Result<Vec<SeenDisk>> {
        Ok(disks(&mut self.log_in(host)?)?)
    }
}

fn find<'a>(seen: &'a [SeenDisk], disk: &LunDescription) -> anyhow::Result<&'a SeenDisk> {
    seen.iter()
        .find(|seen| seen.description.identifiers == disk.identifiers)
        .context("the disk is not there")
}

/// The LUN of ours that a description is about, by its T10 vendor designator.
pub fn lun_id(description: &LunDescription) -> Option<LunId> {
    description.identifiers.iter().find_map(|identifier| {
        array_api::LunIdentity::lun_id(&array_api::Designator {
            code_set: u8::try_from(identifier.code_set).ok()?,
            kind: u8::try_from(identifier.kind).ok()?,
            bytes: identifier.bytes.clone(),
        })
    })
}

impl ArrayUnderTest for RealArray {
    fn windows(&self) -> Option<&Windows> {
        self.windows.as_ref()
    }

    fn failure(&self) -> Option<String> {
        self.windows.as_ref()?.failure()
    }

    fn releases_late(&self) -> bool {
        self.windows.is_some()
    }

    fn provider(&self, host: &str) -> anyhow::Result<Box<dyn ProviderHost>> {
        if let Some(windows) = &self.windows {
            return Ok(Box::new(windows.host(host)?.load()?));
        }
        let enrolment = self.enrolment(host)?;
        let zero = Instant::now();
        Ok(Box::new(InProcess::new(
            Arc::new(HttpsArray::new(&enrolment)),
            Arc::new(move || zero.elapsed()),
        )))
    }

    fn originals(&self) -> &[LunDescription] {
        &self.originals
    }

    fn disks(&self, host: &str) -> anyhow::Result<Vec<LunDescription>> {
        let seen = self.seen(host)?;
        Ok(seen.into_iter().map(|disk| disk.description).collect())
    }

    fn lun_count(&self) -> anyhow::Result<usize> {
        Ok(self.daemon.usage()?.lun_count)
    }

    fn write_and_read_back(&self, host: &str, disk: &LunDescription) -> anyhow::Result<()> {
        let mut initiator = self.log_in(host)?;
        let seen = disks(&mut initiator)?;
        let this = find(&seen, disk)?;
        let mut contents = Vec::new();
        for other in &seen {
            contents.push(initiator.read(other.lun, SCRATCH_OFFSET, SCRATCH_BYTES)?);
        }
        let fresh: Vec<u8> = uuid::Uuid::new_v4()
            .as_bytes()
            .iter()
            .copied()
            .cycle()
            .take(SCRATCH_BYTES)
            .collect();
        initiator.write(this.lun, SCRATCH_OFFSET, &fresh)?;
        for (other, before) in seen.iter().zip(&contents) {
            let after = initiator.read(other.lun, SCRATCH_OFFSET, SCRATCH_BYTES)?;
            let wanted = if other.lun == this.lun {
                &fresh
            } else {
                before
            };
            ensure!(
                after == *wanted,
                "after a write to LUN {}, LUN {} has the wrong contents",
                this.lun,
                other.lun
            );
        }
        Ok(())
    }

    fn contents(&self, host: &str, disk: &LunDescription) -> anyhow::Result<Vec<u8>> {
        let mut initiator = self.log_in(host)?;
        let seen = disks(&mut initiator)?;
        let this = find(&seen, disk)?;
        Ok(initiator.read(this.lun, SCRATCH_OFFSET, SCRATCH_BYTES)?)
    }

    fn fault(&self, fault: Fault) {
        self.relay.fault(fault);
    }

    /// Its copies are ready at once, but nobody hears of it: the provider asks in slices that are shorter than this.
    fn keep_preparing(&self) {
        self.relay.fault(Fault::Slow(2 * END_PREPARE_SLICE));
    }

    fn heal(&self) {
        self.relay.heal();
    }

    fn remove_lun(&self, disk: &LunDescription) -> anyhow::Result<()> {
        let lun = lun_id(disk)
            .context("not a disk of this array")?
            .to_string();
        for host in &self.hosts {
            if find(&self.seen(&host.name)?, disk).is_ok() {
                self.daemon.cli(&["lun", "unmap", &lun, &host.name])?;
            }
        }
        self.daemon.cli(&["lun", "delete", &lun])?;
        Ok(())
    }

    fn importing_host(&self, copy: &LunDescription) -> anyhow::Result<Option<String>> {
        let lun = lun_id(copy).context("not a disk of this array")?;
        let shown = self.daemon.cli(&["lun", "show", &lun.to_string()])?;
        let host = &shown["copy"]["importing_host"];
        Ok(Some(host.as_str().unwrap_or_default().to_owned()))
    }

    fn traffic(&self) -> u64 {
        self.relay.bytes_sent()
    }
}
