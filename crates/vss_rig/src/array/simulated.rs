// SPDX-License-Identifier: MIT OR Apache-2.0
use super::{ArrayUnderTest, CREATOR, Fault, IMPORTER, ORIGINAL_BYTES, ORIGINAL_COUNT, lun_id};
use crate::host::ProviderHost;
use crate::in_process::InProcess;
use anyhow::{Context as _, ensure};
use array_api::simulated::{self, SimulatedArray, VirtualClock};
use array_api::{LunId, LunIdentity};
use std::sync::Arc;
use std::time::Duration;
use vss_provider::{LunDescription, StorageIdentifier};

/// Time for a question; the simulated array answers at once.
const WITHIN: Duration = Duration::from_secs(5);
/// VDSBusTypeiScsi.
const BUS_TYPE_ISCSI: u32 = 9;

/// The simulated array in RAM, without iSCSI: what a host sees of a LUN is built from the LUN's identity.
pub struct Simulated {
    array: SimulatedArray,
    clock: VirtualClock,
    originals: Vec<LunDescription>,
}

impl Simulated {
    /// A fresh array.
    pub fn new() -> anyhow::Result<Self> {
        let clock = VirtualClock::new();
        let array = SimulatedArray::new(clock.clone());
        array.set_group("test", &[CREATOR, IMPORTER]);
        array.set_resync_right(CREATOR, true);
        for _ in 0..ORIGINAL_COUNT {
            array.create_lun(ORIGINAL_BYTES, &[CREATOR]);
        }
        let mut simulated = Self {
            array,
            clock,
            originals: Vec::new(),
        };
        simulated.originals = simulated.disks(CREATOR)?;
        Ok(simulated)
    }

    fn description(&self, lun: LunId) -> anyhow::Result<LunDescription> {
        let mut infos = self.array.host(CREATOR).query(WITHIN, &[lun])?;
        let info = infos.pop().flatten().context("a mapped LUN is unknown")?;
        Ok(describe(&info.identity))
    }
}

/// What a host's INQUIRY, page 80h and page 83h of a LUN with this identity lead to.
fn describe(identity: &LunIdentity) -> LunDescription {
    let text = |text: &str| Some(text.as_bytes().to_vec());
    LunDescription {
        version: 1,
        command_queueing: true,
        bus_type: BUS_TYPE_ISCSI,
        vendor: text(&identity.vendor),
        product: text(&identity.product),
        revision: text(&identity.revision),
        serial: text(&identity.serial),
        device_id_version: 1,
        identifiers: identity
            .designators
            .iter()
            .map(|designator| StorageIdentifier {
                code_set: designator.code_set.into(),
                kind: designator.kind.into(),
                bytes: designator.bytes.clone(),
            })
            .collect(),
        ..LunDescription::default()
    }
}

impl ArrayUnderTest for Simulated {
    fn provider(&self, host: &str) -> anyhow::Result<Box<dyn ProviderHost>> {
        let clock = self.clock.clone();
        Ok(Box::new(InProcess::new(
            self.array.host(host),
            Arc::new(move || clock.now()),
        )))
    }

    fn originals(&self) -> &[LunDescription] {
        &self.originals
    }

    fn disks(&self, host: &str) -> anyhow::Result<Vec<LunDescription>> {
        self.array
            .luns()
            .into_iter()
            .filter(|lun| self.array.mapped_to(*lun).contains(host))
            .map(|lun| self.description(lun))
            .collect()
    }

    fn lun_count(&self) -> anyhow::Result<usize> {
        Ok(self.array.lun_count())
    }

    fn write_and_read_back(&self, host: &str, disk: &LunDescription) -> anyhow::Result<()> {
        let lun = lun_id(disk).context("not a disk of this array")?;
        ensure!(
            self.array.mapped_to(lun).contains(host),
            "{host} has LUN {lun} not mapped"
        );
        let others: Vec<_> = self
            .array
            .luns()
            .into_iter()
            .filter(|l| *l != lun)
            .collect();
        let before: Vec<_> = others.iter().map(|l| self.array.read(*l)).collect();
        let all = self.array.luns();
        let newest = all.iter().filter_map(|l| self.array.read(*l)).max();
        let content = newest.context("no LUN at all")?.wrapping_add(1);
        ensure!(self.array.write(lun, content), "LUN {lun} took no write");
        ensure!(self.array.read(lun) == Some(content), "LUN {lun} lost it");
        let after: Vec<_> = others.iter().map(|l| self.array.read(*l)).collect();
        ensure!(before == after, "a write to LUN {lun} changed another LUN");
        Ok(())
    }

    fn contents(&self, host: &str, disk: &LunDescription) -> anyhow::Result<Vec<u8>> {
        let lun = lun_id(disk).context("not a disk of this array")?;
        ensure!(
            self.array.mapped_to(lun).contains(host),
            "{host} has LUN {lun} not mapped"
        );
        let content = self.array.read(lun).context("gone")?;
        Ok(content.to_le_bytes().to_vec())
    }

    fn fault(&self, fault: Fault) {
        self.array.fault_all(&match fault {
            Fault::Down => simulated::Fault::Down,
            Fault::Hang => simulated::Fault::Hang,
            Fault::Lost => simulated::Fault::Lost,
            Fault::Slow(time) => simulated::Fault::Slow(time),
        });
    }

    fn heal(&self) {
        self.array.heal();
    }

    fn simulated_time(&self) -> Option<Duration> {
        Some(self.clock.now())
    }

    fn remove_lun(&self, disk: &LunDescription) -> anyhow::Result<()> {
        let lun = lun_id(disk).context("not a disk of this array")?;
        ensure!(self.array.remove_lun(lun), "there is no LUN {lun}");
        Ok(())
    }

    fn traffic(&self) -> u64 {
        self.array.calls().len() as u64
    }
}
