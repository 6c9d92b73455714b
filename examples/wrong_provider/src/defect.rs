// SPDX-License-Identifier: MIT OR Apache-2.0
//! The defects, by the names that a defect file holds.

use std::path::Path;

/// Which rule is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Defect {
    /// E_FAIL where LocateLuns has to veto (ERR-1).
    AnotherCode,
    /// A new serial number with each GetTargetLuns (GTL-7).
    NewIdentity,
    /// AbortSnapshots gives up the set that began last, whatever set is named (ABT-4).
    AbortsAnySet,
    /// AbortSnapshots does nothing (ABT-1).
    AbortsNothing,
    /// LocateLuns vetoes for copies that it located before (LOC-7).
    LocatesOnce,
    /// OnLunEmpty takes an original off the array, and vetoes only then (OLE-6).
    EmptiesOriginals,
    /// A BeginPrepareSnapshot that fails drops the volumes that were there before (BPS-6).
    DropsSet,
    /// No event for a veto (ERR-3).
    SilentVeto,
    /// An event while Windows is frozen (PRE-3).
    LogsWhileFrozen,
    /// AreLunsSupported says TRUE for LUNs of others (ALS-1).
    SupportsAll,
    /// AreLunsSupported changes its structures (ALS-6).
    ChangesLuns,
    /// One lock around everything: an abort waits for EndPrepareSnapshots (EPS-5).
    OneLock,
    /// A GetTargetLuns that fails leaves a destination filled (GTL-10).
    LeavesTargets,
}

impl Defect {
    const NAMES: [(&str, Self); 13] = [
        ("another-code", Self::AnotherCode),
        ("new-identity", Self::NewIdentity),
        ("aborts-any-set", Self::AbortsAnySet),
        ("aborts-nothing", Self::AbortsNothing),
        ("locates-once", Self::LocatesOnce),
        ("empties-originals", Self::EmptiesOriginals),
        ("drops-set", Self::DropsSet),
        ("silent-veto", Self::SilentVeto),
        ("logs-while-frozen", Self::LogsWhileFrozen),
        ("supports-all", Self::SupportsAll),
        ("changes-luns", Self::ChangesLuns),
        ("one-lock", Self::OneLock),
        ("leaves-targets", Self::LeavesTargets),
    ];

    /// What `file` names; `None` for the word `none`.
    ///
    /// # Errors
    /// The file cannot be read, or names no defect.
    pub(crate) fn read(file: &Path) -> Result<Option<Self>, String> {
        let text = std::fs::read_to_string(file)
            .map_err(|error| format!("cannot read {}: {error}", file.display()))?;
        let name = text.trim();
        if name == "none" {
            return Ok(None);
        }
        let known = Self::NAMES.iter().find(|(known, _)| *known == name);
        known
            .map(|(_, defect)| Some(*defect))
            .ok_or_else(|| format!("{} names no defect: {name:?}", file.display()))
    }
}
