// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a VSS context asks of a copy (specification section 6).

use array_api::CopyNeeds;

/// The copy has to survive a restart of the array.
pub const PERSISTENT: i32 = 0x0000_0001;
/// No recovery writes will come.
pub const NO_AUTORECOVERY: i32 = 0x0000_0002;
/// Belongs to the system provider: refused (CTX-6).
pub const CLIENT_ACCESSIBLE: i32 = 0x0000_0004;
/// Affects only when OnLunEmpty comes.
pub const NO_AUTO_RELEASE: i32 = 0x0000_0008;
/// No writers take part.
pub const NO_WRITERS: i32 = 0x0000_0010;
/// The copy has to be movable to another host.
pub const TRANSPORTABLE: i32 = 0x0000_0020;
/// A differential copy is wanted.
pub const DIFFERENTIAL: i32 = 0x0002_0000;
/// A full copy is wanted.
pub const PLEX: i32 = 0x0004_0000;
/// Writers may repair the copy between PreFinalCommit and PostFinalCommit.
pub const AUTORECOVER: i32 = 0x0040_0000;
/// As [`AUTORECOVER`].
pub const ROLLBACK_RECOVERY: i32 = 0x0080_0000;
/// As [`AUTORECOVER`].
pub const TXF_RECOVERY: i32 = 0x0200_0000;
/// A file share, not a volume: refused.
pub const FILE_SHARE: i32 = 0x0400_0000;
/// VSS_CTX_ALL: never used in creation, refused.
pub const ALL: i32 = -1;

/// Why no array could serve a context.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ContextRefusal {
    /// CTX-6.
    #[error("client-accessible shadow copies belong to the system provider")]
    ClientAccessible,
    /// The bit FILE_SHARE.
    #[error("a file share is not a volume")]
    FileShare,
    /// 0xFFFFFFFF.
    #[error("the context of all shadow copies is no context for creation")]
    All,
    /// CTX-5.
    #[error("a copy cannot be differential and full at once")]
    DifferentialAndPlex,
}

/// What a copy in this context has to be. Bits that are not the provider's matter are ignored (CTX-8), so two contexts
/// of one set are "the same" when their needs are (BPS-7, OQ-31).
pub fn needs(context: i32) -> Result<CopyNeeds, ContextRefusal> {
    let has = |bit| context & bit != 0;
    if context == ALL {
        return Err(ContextRefusal::All);
    }
    if has(CLIENT_ACCESSIBLE) {
        return Err(ContextRefusal::ClientAccessible);
    }
    if has(FILE_SHARE) {
        return Err(ContextRefusal::FileShare);
    }
    if has(DIFFERENTIAL) && has(PLEX) {
        return Err(ContextRefusal::DifferentialAndPlex);
    }
    Ok(CopyNeeds {
        differential: has(DIFFERENTIAL),
        plex: has(PLEX),
        transportable: has(TRANSPORTABLE),
        persistent: has(PERSISTENT),
        recovery: has(AUTORECOVER | ROLLBACK_RECOVERY | TXF_RECOVERY),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use array_api::Capabilities;

    fn abilities(bits: u32) -> Capabilities {
        Capabilities {
            differential: bits & 1 != 0,
            plex: bits & 2 != 0,
            transportable: bits & 4 != 0,
            persistent: bits & 8 != 0,
            resync: false,
            luns_per_set_max: 1,
        }
    }

    fn supported(context: i32, can: &Capabilities) -> bool {
        needs(context).is_ok_and(|n| n.met_by(can))
    }

    /// T-035, CTX-1..6: each row of table 6.4 against all 16 combinations of array abilities.
    #[test]
    fn t035_table_6_4_holds_for_every_array() {
        for bits in 0..16 {
            let can = abilities(bits);
            let (d, p) = (can.differential, can.plex);
            let rows = [
                (0, d || p),
                (DIFFERENTIAL, d),
                (PLEX, p),
                (DIFFERENTIAL | PLEX, false),
                (TRANSPORTABLE, (d || p) && can.transportable),
                (PERSISTENT, (d || p) && can.persistent),
                (PLEX | TRANSPORTABLE, p && can.transportable),
                (DIFFERENTIAL | PERSISTENT, d && can.persistent),
                (CLIENT_ACCESSIBLE, false),
                (FILE_SHARE, false),
                (AUTORECOVER, d || p),
                (ROLLBACK_RECOVERY | DIFFERENTIAL, d),
                (TXF_RECOVERY | PLEX, p),
            ];
            for (context, expected) in rows {
                assert_eq!(supported(context, &can), expected, "{context:#x} {can:?}");
            }
        }
    }

    /// CTX-13: each of the three bits lets Windows write to the copy before it is finished.
    #[test]
    fn needs_recovery_with_each_of_its_bits() {
        for bit in [AUTORECOVER, ROLLBACK_RECOVERY, TXF_RECOVERY] {
            assert!(needs(bit).is_ok_and(|needs| needs.recovery), "{bit:#x}");
        }
        let without = TRANSPORTABLE | PERSISTENT | PLEX;
        assert!(needs(without).is_ok_and(|needs| !needs.recovery));
    }

    /// T-037, CTX-6, CTX-8.
    #[test]
    fn t037_refused_contexts_fit_no_array() {
        for context in [0x1d, 0x0d, -1, 0x0400_0000] {
            assert!(!supported(context, &abilities(15)), "{context:#x}");
        }
    }

    /// T-038, CTX-8: bits of VSS's own change nothing.
    #[test]
    fn t038_internal_bits_are_ignored() {
        for bit in [0x40, 0x1_0000, 0x8_0000, 0x10_0000, 0x20_0000, 0x100_0000] {
            for context in [0, PERSISTENT, TRANSPORTABLE, DIFFERENTIAL | PLEX] {
                assert_eq!(needs(context | bit), needs(context), "{bit:#x}");
            }
        }
    }

    /// 6.2: the four contexts that a hardware provider accepts.
    #[test]
    fn needs_accepted_contexts_ask_for_persistence_only() {
        for (context, persistent) in [(0x00, false), (0x10, false), (0x09, true), (0x19, true)] {
            let expected = CopyNeeds {
                persistent,
                ..CopyNeeds::default()
            };
            assert_eq!(needs(context), Ok(expected), "{context:#x}");
        }
    }
}
