// SPDX-License-Identifier: MIT OR Apache-2.0
//! The arrays that scenarios run against: the simulated one in RAM, the real daemon, and whatever an adapter describes.

mod adapter;
#[cfg(target_os = "linux")]
mod daemon;
#[cfg(target_os = "linux")]
mod real;
#[cfg(target_os = "linux")]
mod simulated;
#[cfg(target_os = "linux")]
mod windows;

pub use adapter::{Adapter, AdapterArray};
#[cfg(target_os = "linux")]
pub(crate) use daemon::beside;
#[cfg(target_os = "linux")]
pub use {
    daemon::{Binaries, Daemon, Host, Usage},
    real::{HostKind, RealArray, lun_id},
    simulated::Simulated,
    windows::Windows,
};

use crate::host::ProviderHost;
use serde::Deserialize;
use std::time::Duration;
use vss_provider::LunDescription;

/// The host on which VSS makes shadow copies.
pub const CREATOR: &str = "winhost";
/// Another host of the same host group, for imports.
pub const IMPORTER: &str = "backuphost";
/// LUNs that each fixture creates and maps to [`CREATOR`].
pub const ORIGINAL_COUNT: usize = 3;
/// Size of each of them.
pub const ORIGINAL_BYTES: u64 = 1 << 30;

/// What goes wrong on the way between a provider and the array (specification 10.0), as far as it can be made from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// DOWN: no connection.
    Down,
    /// HANG: requests do not arrive and get no answer.
    Hang,
    /// LOST: requests arrive, their answers do not.
    Lost,
    /// SLOW: each answer takes so long.
    Slow(Duration),
}

/// What an array's copies can be: contexts ask for either (6.4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CopyKind {
    /// They share what was not written since with their source.
    #[default]
    Differential,
    /// Each has everything of its own.
    Full,
}

/// What a scenario needs of an array besides its provider.
///
/// **Duties.** [`ORIGINAL_COUNT`] LUNs exist and are mapped to [`CREATOR`]; [`IMPORTER`] is in the same host group and
/// has none. What this trait tells comes from the array and the host's view of it, never from a provider.
pub trait ArrayUnderTest {
    /// The Windows hosts that the scenarios of [`crate::scenarios::windows_table`] change; `None` where there are none.
    #[cfg(target_os = "linux")]
    fn windows(&self) -> Option<&Windows> {
        None
    }

    /// What its copies are.
    fn copy_kind(&self) -> CopyKind {
        CopyKind::Differential
    }

    /// Why a Windows host could not be worked; then what calls gave means nothing.
    fn failure(&self) -> Option<String> {
        None
    }

    /// Whether a Release may go on after it has returned, as it may through COM.
    fn releases_late(&self) -> bool {
        false
    }

    /// A provider loaded on `host`, with no memory of earlier ones.
    fn provider(&self, host: &str) -> anyhow::Result<Box<dyn ProviderHost>>;

    /// The originals, as [`CREATOR`] sees them.
    fn originals(&self) -> &[LunDescription];

    /// The disks that `host` sees after a rescan, originals included.
    fn disks(&self, host: &str) -> anyhow::Result<Vec<LunDescription>>;

    /// LUNs on the array: originals, copies and reservations.
    fn lun_count(&self) -> anyhow::Result<usize>;

    /// Writes to the disk as `host` what no disk holds yet and reads it back, somewhere in its middle. Other disks keep
    /// their contents.
    fn write_and_read_back(&self, host: &str, disk: &LunDescription) -> anyhow::Result<()>;

    /// What `host` reads where [`Self::write_and_read_back`] writes.
    fn contents(&self, host: &str, disk: &LunDescription) -> anyhow::Result<Vec<u8>>;

    /// From now on this goes wrong with each management call of each host, until [`Self::heal`].
    fn fault(&self, fault: Fault);

    /// From now on EndPrepareSnapshots has to wait for the array, until [`Self::heal`].
    fn keep_preparing(&self);

    /// Ends the fault.
    fn heal(&self);

    /// The providers' clock, where time is simulated and waiting costs nothing; elsewhere scenarios leave out the longest waits.
    fn simulated_time(&self) -> Option<Duration> {
        None
    }

    /// The administrator deletes a LUN that is no shadow copy (any more), whoever has it mapped.
    fn remove_lun(&self, disk: &LunDescription) -> anyhow::Result<()>;

    /// The host that located this copy last, as the array's tag has it (IMP-9), and nothing for none; `None` where tags cannot be seen.
    fn importing_host(&self, _copy: &LunDescription) -> anyhow::Result<Option<String>> {
        Ok(None)
    }

    /// Grows with each management call that reaches the array; unchanged over a provider's call means no array call.
    fn traffic(&self) -> u64;
}

/// Whether two descriptions are about one LUN: they share an identifier of a type that names a LUN (LUN-1).
pub fn is_same_lun(one: &LunDescription, other: &LunDescription) -> bool {
    let names_a_lun = |kind| vss_provider::identity::USABLE_TYPES.contains(&kind);
    let mut identifiers = one.identifiers.iter().filter(|i| names_a_lun(i.kind));
    identifiers.any(|identifier| other.identifiers.contains(identifier))
}
