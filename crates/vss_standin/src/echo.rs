// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the echo object answers. It is a class of `vss_standin.exe` with the interfaces of a provider, and shows that each slot carries its
//! arguments intact through the proxies (T-010): the HRESULT is a digest of all arguments as the object saw them, and LUN arrays come
//! back changed in every field, by a rule that the caller knows too.

use serde::Serialize;
use uuid::Uuid;
use vss_provider::{Interconnect, LunDescription, StorageIdentifier};

/// The echo object's class.
pub const CLASS: Uuid = Uuid::from_u128(0xd0622d99_fbb0_4334_812c_a1b20c606907);
/// The same object in a process of its own, which nothing else misses when it dies.
pub const MORTAL_CLASS: Uuid = Uuid::from_u128(0x6171bf6b_5705_4820_bdf0_2e6aa0196779);
/// BeginPrepareSnapshot with this context ends the object's process.
pub const DEADLY_CONTEXT: i32 = -666;
/// What GetProviderCapabilities answers.
pub const CAPABILITIES: u64 = 0x0123_4567_89ab_cdef;
/// *pHrResult of QueryStatus.
pub const STATUS: u32 = 0x8abc_def1;

/// The HRESULT for `arguments`: a [`crate::wire::Method`] or a [`crate::wire::AsyncMethod`] as the object received it. About half of all
/// codes are failures, since arguments cross on a failure too (GEN-3).
pub fn code(arguments: &impl Serialize) -> u32 {
    const FNV_OFFSET: u32 = 0x811c_9dc5;
    const FNV_PRIME: u32 = 0x0100_0193;
    let text = serde_json::to_vec(arguments).expect("wire types are plain data");
    text.iter().fold(FNV_OFFSET, |hash, byte| {
        (hash ^ u32::from(*byte)).wrapping_mul(FNV_PRIME)
    })
}

/// *pbIsSupported of AreLunsSupported and FillInLunInfo for LUNs whose first has this type.
pub fn supported(luns: &[LunDescription]) -> bool {
    luns.first().is_some_and(|lun| lun.device_type % 2 == 1)
}

/// What becomes of an `[in,out]` LUN: every field differs, each block is another and longer, what was NULL is there and the revision is NULL.
pub fn changed(lun: &LunDescription) -> LunDescription {
    let grown = |bytes: &Option<Vec<u8>>| Some(grown(bytes.as_deref().unwrap_or_default()));
    let mut identifiers: Vec<StorageIdentifier> = lun
        .identifiers
        .iter()
        .map(|identifier| StorageIdentifier {
            code_set: identifier.code_set.wrapping_add(1),
            kind: identifier.kind.wrapping_add(1),
            bytes: self::grown(&identifier.bytes),
        })
        .collect();
    identifiers.push(StorageIdentifier {
        code_set: 2,
        kind: 8,
        bytes: b"made by the echo object".to_vec(),
    });
    LunDescription {
        version: lun.version.wrapping_add(1),
        device_type: lun.device_type.wrapping_add(1),
        device_type_modifier: lun.device_type_modifier.wrapping_add(1),
        command_queueing: !lun.command_queueing,
        bus_type: lun.bus_type.wrapping_add(1),
        vendor: grown(&lun.vendor),
        product: grown(&lun.product),
        revision: None,
        serial: grown(&lun.serial),
        disk_signature: Uuid::from_u128(!lun.disk_signature.as_u128()),
        device_id_version: lun.device_id_version.wrapping_add(1),
        identifiers,
        interconnects: vec![Interconnect {
            address_type: 5,
            port: b"port".to_vec(),
            address: Vec::new(),
        }],
    }
}

/// Backwards, with more behind it.
fn grown(bytes: &[u8]) -> Vec<u8> {
    let backwards = bytes.iter().rev().copied();
    backwards
        .chain(*b" and some more that needs room")
        .collect()
}
