// SPDX-License-Identifier: MIT OR Apache-2.0
#[cfg(target_os = "linux")]
use crate::array::Windows;
use crate::array::{ArrayUnderTest, CREATOR, is_same_lun};
use crate::host::{LoggedEvent, ProviderHost, Recorded, Story};
use crate::sequence::{Point, ShadowSet};
use anyhow::{Context as _, bail, ensure};
use std::time::{Duration, Instant};
use uuid::Uuid;
use vss_provider::{Hresult, LunDescription, StorageIdentifier};

/// VSS_CTX_BACKUP without attributes.
pub(super) const BACKUP: i32 = 0;

/// What a call may take beyond its limit before its slowness is the provider's: the machine may be busy.
const SLOWNESS: Duration = Duration::from_secs(3);

/// The longest wait in real time that several scenarios may have.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// How long what a Release has to discard may stay.
pub(super) const RELEASE_LIMIT: Duration = Duration::from_secs(10);

/// What a scenario stands on: an array, and a provider freshly loaded on the creating host.
pub struct Stage<'a> {
    array: &'a dyn ArrayUnderTest,
    provider: Recorded,
    story: Story,
}

impl<'a> Stage<'a> {
    /// Loads a provider on the creating host.
    pub fn new(array: &'a dyn ArrayUnderTest) -> anyhow::Result<Self> {
        let story = Story::default();
        let provider = Recorded::new(array.provider(CREATOR)?).with_story(&story, "");
        Ok(Self {
            array,
            provider,
            story,
        })
    }

    /// The array.
    pub fn array(&self) -> &'a dyn ArrayUnderTest {
        self.array
    }

    /// The Windows hosts, for the scenarios of [`super::windows_table`].
    #[cfg(target_os = "linux")]
    pub fn windows(&self) -> anyhow::Result<&'a Windows> {
        self.array.windows().context("there are no Windows hosts")
    }

    /// The provider on the creating host.
    pub fn provider(&self) -> &Recorded {
        &self.provider
    }

    /// Another provider, freshly loaded on `host`.
    pub fn load(&self, host: &str) -> anyhow::Result<Recorded> {
        let provider = Recorded::new(self.array.provider(host)?);
        let name = match host {
            CREATOR => "(another object) ".to_owned(),
            _ => format!("({host}) "),
        };
        Ok(provider.with_story(&self.story, &name))
    }

    /// Makes a call and checks that it keeps within its time (TIME-9). The machine's own slowness is not judged.
    pub fn within<T>(
        &self,
        limit: Duration,
        what: &str,
        call: impl FnOnce() -> T,
    ) -> anyhow::Result<T> {
        let (start, simulated) = (Instant::now(), self.array.simulated_time());
        let value = call();
        let elapsed = match (simulated, self.array.simulated_time()) {
            (Some(before), Some(after)) => after - before,
            _ => start.elapsed().saturating_sub(SLOWNESS),
        };
        ensure!(
            elapsed <= limit,
            "{what} took {elapsed:?}, over its {limit:?}"
        );
        Ok(value)
    }

    /// Whether waiting for so long is worth it here.
    pub fn can_wait(&self, time: Duration) -> bool {
        self.array.simulated_time().is_some() || time <= PATIENCE
    }

    /// Gives up what may be left of a set after a fault, and checks that nothing stays and that the provider is fit for the next.
    pub fn recovers(&self, set: &ShadowSet, lun_count: usize, when: &str) -> anyhow::Result<()> {
        self.array.heal();
        let code = self.provider.abort_snapshots(set.id);
        ensure!(
            matches!(code, Hresult::S_OK | Hresult::VSS_E_OBJECT_NOT_FOUND),
            "{when}: AbortSnapshots gave {code}"
        );
        // What could not be released at once goes at the latest with the next set (SEQ-40).
        self.next_set_works().with_context(|| when.to_owned())?;
        self.expect_lun_count(lun_count, when)
    }

    /// The originals with these indices, as one volume.
    pub fn volume(&self, indices: &[usize]) -> Vec<LunDescription> {
        let originals = self.array.originals();
        indices
            .iter()
            .map(|&index| originals[index].clone())
            .collect()
    }

    /// A set of one volume per entry.
    pub fn set(&self, volumes: &[&[usize]]) -> ShadowSet {
        let volumes: Vec<_> = volumes.iter().map(|indices| self.volume(indices)).collect();
        let volumes: Vec<&[LunDescription]> = volumes.iter().map(Vec::as_slice).collect();
        ShadowSet::new(BACKUP, &volumes)
    }

    /// Makes a set of one volume per entry and drives it to `point`.
    pub fn driven(&self, volumes: &[&[usize]], point: Point) -> anyhow::Result<ShadowSet> {
        let mut set = self.set(volumes);
        set.drive(&self.provider, point)
            .with_context(|| format!("while driving a set to {point:?}"))?;
        Ok(set)
    }

    /// Makes a whole set and deletes it: the proof that the provider is fit for the next one.
    pub fn next_set_works(&self) -> anyhow::Result<()> {
        let set = self.driven(&[&[0]], Point::Created).context("next set")?;
        set.delete(&self.provider).context("next set")?;
        Ok(())
    }

    /// Checks how many LUNs the array has.
    pub fn expect_lun_count(&self, expected: usize, when: &str) -> anyhow::Result<()> {
        let found = self.array.lun_count()?;
        ensure!(
            found == expected,
            "{when}: the array has {found} LUNs, not {expected}"
        );
        Ok(())
    }

    /// The same after a Release, whose work may outlast the call (LOAD-10).
    pub fn expect_lun_count_soon(&self, expected: usize, when: &str) -> anyhow::Result<()> {
        settled_lun_count(self.array, expected, RELEASE_LIMIT)?;
        self.expect_lun_count(expected, when)
    }

    /// The disk that `host` sees with the identity of `target`, if it does.
    pub fn disk_like(
        &self,
        host: &str,
        target: &LunDescription,
    ) -> anyhow::Result<Option<LunDescription>> {
        let disks = self.array.disks(host)?;
        Ok(disks.into_iter().find(|disk| is_same_lun(disk, target)))
    }

    /// Takes the events and checks that exactly one is an error, with a remedy (10.0, "event").
    pub fn expect_one_event(&self, when: &str) -> anyhow::Result<()> {
        let mut events = self.provider.take_events();
        events.retain(|event| event.is_error);
        match &events[..] {
            [LoggedEvent { remedy, .. }] if !remedy.is_empty() => Ok(()),
            _ => bail!("{when}: wanted one error event with a remedy, got {events:?}"),
        }
    }

    /// The calls and events so far, of all providers.
    pub fn story(&self) -> &Story {
        &self.story
    }
}

/// How many LUNs the array has. A Release through COM may go on after it has returned, so that there the rig waits for a while until
/// they are as many as expected, at most for `limit`.
pub(super) fn settled_lun_count(
    array: &dyn ArrayUnderTest,
    expected: usize,
    limit: Duration,
) -> anyhow::Result<usize> {
    let start = Instant::now();
    loop {
        let found = array.lun_count()?;
        let patient = array.releases_late() && start.elapsed() < limit;
        if found == expected || !patient {
            return Ok(found);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Checks a code.
pub(super) fn expect(what: &str, found: Hresult, wanted: Hresult) -> anyhow::Result<()> {
    ensure!(found == wanted, "{what} gave {found}, not {wanted}");
    Ok(())
}

/// A disk of another vendor, with a fine identity of its own.
pub(super) fn foreign_disk() -> LunDescription {
    LunDescription {
        version: 1,
        command_queueing: true,
        bus_type: 9,
        vendor: Some(b"ACME    ".to_vec()),
        product: Some(b"ANVIL STORE     ".to_vec()),
        revision: Some(b"4711".to_vec()),
        serial: Some(b"AS0000000042".to_vec()),
        device_id_version: 1,
        identifiers: vec![
            StorageIdentifier {
                code_set: 2,
                kind: 1,
                bytes: b"ACME    ANVIL-0000000042".to_vec(),
            },
            StorageIdentifier {
                code_set: 1,
                kind: 3,
                bytes: 0x6000_0B00_0000_0000_0000_0000_0000_0042_u128
                    .to_be_bytes()
                    .to_vec(),
            },
        ],
        ..LunDescription::default()
    }
}

/// The LUN as another array of the same make would show it: an identity of ours that this array does not know.
pub(super) fn elsewhere(lun: &LunDescription) -> LunDescription {
    let mut other = lun.clone();
    for identifier in &mut other.identifiers {
        if let Some(last) = identifier.bytes.last_mut() {
            *last = if *last == b'1' { b'2' } else { b'1' };
        }
    }
    other
}

/// Checks a code of a provider other than the stage's; a failure shows that provider's events.
pub(super) fn expect_of(
    provider: &dyn ProviderHost,
    what: &str,
    found: Hresult,
    wanted: Hresult,
) -> anyhow::Result<()> {
    expect(what, found, wanted).with_context(|| format!("{:?}", provider.take_events()))
}

/// An id that nobody knows.
pub(super) fn unknown_id() -> Uuid {
    Uuid::new_v4()
}

/// Checks that two descriptions are the same but for bus type and disk signature (FIL-3).
pub(super) fn expect_same_lun(
    what: &str,
    found: &LunDescription,
    wanted: &LunDescription,
) -> anyhow::Result<()> {
    let mut found = found.clone();
    found.bus_type = wanted.bus_type;
    found.disk_signature = wanted.disk_signature;
    ensure!(found == *wanted, "{what}: {found:?} is not {wanted:?}");
    Ok(())
}
