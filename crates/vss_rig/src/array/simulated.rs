// SPDX-License-Identifier: MIT OR Apache-2.0
use super::{ArrayUnderTest, CREATOR, Fault, IMPORTER, ORIGINAL_BYTES, ORIGINAL_COUNT, lun_id};
use crate::host::ProviderHost;
use crate::in_process::InProcess;
use anyhow::{Context as _, bail, ensure};
use array_api::simulated::{self, Gate, Op, SimulatedArray, VirtualClock};
use array_api::{LunId, LunIdentity, LunInfo, LunRole};
use std::sync::{Arc, Mutex, MutexGuard};
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
    /// What holds EndPrepareSnapshots; in real time, for another thread has to overtake it.
    preparing: Mutex<Option<Gate>>,
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
            preparing: Mutex::default(),
        };
        simulated.originals = simulated.disks(CREATOR)?;
        Ok(simulated)
    }

    fn gate(&self) -> MutexGuard<'_, Option<Gate>> {
        self.preparing
            .lock()
            .expect("nothing panics under this lock")
    }

    fn info(&self, lun: LunId) -> anyhow::Result<LunInfo> {
        let mut infos = self.array.host(CREATOR).query(WITHIN, &[lun])?;
        infos.pop().flatten().context("a LUN is unknown")
    }

    fn description(&self, lun: LunId) -> anyhow::Result<LunDescription> {
        Ok(describe(&self.info(lun)?.identity))
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

    fn keep_preparing(&self) {
        let gate = Gate::closed();
        self.array
            .fault(Op::Ready, simulated::Fault::Gate(gate.clone()));
        *self.gate() = Some(gate);
    }

    fn heal(&self) {
        self.array.heal();
        if let Some(gate) = self.gate().take() {
            gate.open();
        }
    }

    fn simulated_time(&self) -> Option<Duration> {
        Some(self.clock.now())
    }

    fn remove_lun(&self, disk: &LunDescription) -> anyhow::Result<()> {
        let lun = lun_id(disk).context("not a disk of this array")?;
        ensure!(self.array.remove_lun(lun), "there is no LUN {lun}");
        Ok(())
    }

    fn importing_host(&self, copy: &LunDescription) -> anyhow::Result<Option<String>> {
        let lun = lun_id(copy).context("not a disk of this array")?;
        match self.info(lun)?.role {
            LunRole::Copy(tag) => Ok(Some(tag.importing_host.unwrap_or_default())),
            LunRole::Original => bail!("{lun} is no copy"),
        }
    }

    fn traffic(&self) -> u64 {
        self.array.calls().len() as u64
    }
}
