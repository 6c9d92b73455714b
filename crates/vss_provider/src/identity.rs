// SPDX-License-Identifier: MIT OR Apache-2.0
//! From a LUN description to the array's LUN and back.
//!
//! The key is the T10 vendor designator of ours, which carries the whole LUN id: so a LUN of another vendor is told
//! apart without asking the array (FIL-8), and a copy is found on any host after any restart (ROLE-7).

use crate::description::{
    BUS_TYPE_SCSI, DEVICE_ID_VERSION, LUN_DESCRIPTION_VERSION, LunDescription, StorageIdentifier,
};
use array_api::{Designator, LunId, LunIdentity};
use uuid::Uuid;

/// Designator types that may identify a LUN (LUN-1): T10 vendor id, EUI-64, NAA, SCSI name string.
pub const USABLE_TYPES: [u32; 4] = [1, 2, 3, 8];
/// The length field of a designator has one byte (LUN-19).
const IDENTIFIER_BYTES_MAX: usize = 255;

/// The LUN that an association-0 designator of page 83h names, told from the designator alone; `None` for another vendor's. What
/// it takes for a LUN of ours must be unique and last as long as the LUN.
pub type LunOf = fn(&Designator) -> Option<LunId>;

/// As [`lun_id_by`], for arrays that name their LUNs as [`LunIdentity`] does.
pub fn lun_id(description: &LunDescription) -> Option<LunId> {
    lun_id_by(LunIdentity::lun_id, description)
}

/// The array's LUN that a description names; `None` for a foreign LUN, for one without a usable identity (LUN-6), and
/// for one that names two LUNs of ours, which no device of ours does.
pub fn lun_id_by(lun_of: LunOf, description: &LunDescription) -> Option<LunId> {
    let mut found = None;
    for identifier in &description.identifiers {
        let Some(id) = own_id(lun_of, identifier) else {
            continue;
        };
        if found.is_some_and(|other| other != id) {
            return None;
        }
        found = Some(id);
    }
    found
}

/// The ids of several descriptions, in order, or the index of the first that is not ours.
pub fn lun_ids(lun_of: LunOf, descriptions: &[LunDescription]) -> Result<Vec<LunId>, usize> {
    descriptions
        .iter()
        .enumerate()
        .map(|(index, description)| lun_id_by(lun_of, description).ok_or(index))
        .collect()
}

fn own_id(lun_of: LunOf, identifier: &StorageIdentifier) -> Option<LunId> {
    if !USABLE_TYPES.contains(&identifier.kind) || identifier.bytes.len() > IDENTIFIER_BYTES_MAX {
        return None;
    }
    lun_of(&Designator {
        code_set: u8::try_from(identifier.code_set).ok()?,
        kind: u8::try_from(identifier.kind).ok()?,
        bytes: identifier.bytes.clone(),
    })
}

/// The description of a LUN with this identity, in the form that GetTargetLuns tells and FillInLunInfo gives back
/// (GTL-4, GTL-6, GTL-8): same identifiers in the same order, no signature, no interconnects.
pub fn describe(identity: &LunIdentity) -> LunDescription {
    LunDescription {
        version: LUN_DESCRIPTION_VERSION,
        device_type: 0,
        device_type_modifier: 0,
        command_queueing: true,
        bus_type: BUS_TYPE_SCSI,
        vendor: normalised(Some(identity.vendor.as_bytes())),
        product: normalised(Some(identity.product.as_bytes())),
        revision: normalised(Some(identity.revision.as_bytes())),
        serial: normalised(Some(identity.serial.as_bytes())),
        disk_signature: Uuid::nil(),
        device_id_version: DEVICE_ID_VERSION,
        identifiers: identity
            .designators
            .iter()
            .map(|designator| StorageIdentifier {
                code_set: u32::from(designator.code_set),
                kind: u32::from(designator.kind),
                bytes: designator.bytes.clone(),
            })
            .collect(),
        interconnects: Vec::new(),
    }
}

/// As [`describe`], for a structure received: keeps its bus type, which depends on the port driver, and its
/// interconnects, which are Windows's (FIL-3, FIL-4).
pub fn fill(received: &LunDescription, identity: &LunIdentity) -> LunDescription {
    LunDescription {
        bus_type: received.bus_type,
        interconnects: received.interconnects.clone(),
        ..describe(identity)
    }
}

/// The best answer without the array (FIL-10): the structure itself in normal form, if its INQUIRY, page 80h and page 83h
/// data identify a LUN of ours and are complete; else `None`.
pub fn fill_alone(lun_of: LunOf, received: &LunDescription) -> Option<LunDescription> {
    lun_id_by(lun_of, received)?;
    let normal = |text: &Option<Vec<u8>>| normalised(text.as_deref());
    Some(LunDescription {
        version: LUN_DESCRIPTION_VERSION,
        device_type: 0,
        device_type_modifier: 0,
        command_queueing: true,
        bus_type: received.bus_type,
        vendor: Some(normal(&received.vendor)?),
        product: Some(normal(&received.product)?),
        revision: Some(normal(&received.revision)?),
        serial: Some(normal(&received.serial)?),
        disk_signature: Uuid::nil(),
        device_id_version: DEVICE_ID_VERSION,
        identifiers: received.identifiers.clone(),
        interconnects: received.interconnects.clone(),
    })
}

/// A text in the one form that is compared (GEN-12, LUN-10): without trailing blanks and zeros; nothing left is absent.
pub fn normalised(text: Option<&[u8]>) -> Option<Vec<u8>> {
    let text = text?;
    let end = text
        .iter()
        .rposition(|&byte| byte != b' ' && byte != 0)
        .map_or(0, |last| last + 1);
    (end > 0).then(|| text[..end].to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;
    use array_api::Oui;

    fn ours() -> (LunId, LunDescription) {
        let id = LunId(0x0123_4567_89ab_cdef_0011_2233_4455_6677);
        (id, describe(&LunIdentity::new(id, Oui::LOCAL, *b"0001")))
    }

    #[test]
    fn lun_id_own_description_returns_id() {
        let (id, description) = ours();
        assert_eq!(lun_id(&description), Some(id));
    }

    /// T-033, LUN-6: types 0, 4, 5, 6 and 7 do not identify a LUN, not even with our bytes.
    #[test]
    fn t033_unusable_designator_types_are_not_ours() {
        for kind in [0, 4, 5, 6, 7, 10, 0x101] {
            let (_, mut description) = ours();
            description.identifiers.truncate(1);
            description.identifiers[0].kind = kind;
            assert_eq!(lun_id(&description), None, "type {kind}");
        }
    }

    /// T-033, LUN-6: what is too long, or not of a usable type, is not even shown to the vendor's own rule.
    #[test]
    fn t033_vendors_rule_sees_usable_designators_only() {
        let of_length = |length| LunDescription {
            identifiers: vec![StorageIdentifier {
                code_set: 1,
                kind: 3,
                bytes: vec![1; length],
            }],
            ..LunDescription::default()
        };
        let any: LunOf = |designator| Some(LunId(designator.bytes.len() as u128));
        let longest = of_length(IDENTIFIER_BYTES_MAX);
        let found = Some(LunId(IDENTIFIER_BYTES_MAX as u128));
        assert_eq!(lun_id_by(any, &longest), found);
        assert_eq!(lun_id_by(any, &of_length(IDENTIFIER_BYTES_MAX + 1)), None);
        let mut vendor_specific = of_length(8);
        vendor_specific.identifiers[0].kind = 0;
        assert_eq!(lun_id_by(any, &vendor_specific), None);
    }

    #[test]
    fn lun_id_two_luns_in_one_description_is_none() {
        let (_, mut description) = ours();
        let other = describe(&LunIdentity::new(LunId(7), Oui::LOCAL, *b"0001"));
        description.identifiers.extend(other.identifiers);
        assert_eq!(lun_id(&description), None);
    }

    #[test]
    fn lun_ids_foreign_lun_returns_its_index() {
        let (_, description) = ours();
        let foreign = LunDescription::default();
        assert_eq!(
            lun_ids(LunIdentity::lun_id, &[description, foreign]),
            Err(1)
        );
    }

    #[test]
    fn fill_keeps_bus_type_and_interconnects_only() {
        let (id, expected) = ours();
        let mut received = expected.clone();
        received.bus_type = 9;
        received.interconnects = vec![crate::Interconnect::default()];
        received.revision = Some(b"0002".to_vec());
        received.disk_signature = Uuid::from_u128(5);
        let filled = fill(&received, &LunIdentity::new(id, Oui::LOCAL, *b"0001"));
        assert_eq!(filled.bus_type, 9);
        assert_eq!(filled.interconnects, received.interconnects);
        assert_eq!(filled.revision, expected.revision);
        assert_eq!(filled.disk_signature, Uuid::nil());
    }

    #[test]
    fn fill_alone_incomplete_data_is_none() {
        let (_, mut description) = ours();
        description.revision = Some(b"    ".to_vec());
        assert_eq!(fill_alone(LunIdentity::lun_id, &description), None);
    }

    #[test]
    fn normalised_trims_the_end_only() {
        assert_eq!(normalised(Some(b" ab \0 ")), Some(b" ab".to_vec()));
        assert_eq!(normalised(Some(b"  \0")), None);
        assert_eq!(normalised(None), None);
    }
}
