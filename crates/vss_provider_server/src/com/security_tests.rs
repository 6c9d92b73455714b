// SPDX-License-Identifier: MIT OR Apache-2.0
//! Wine checks no access, but what it would have to check can be looked at.

use super::*;

/// S-1-5-18 and S-1-5-32-544 in bytes.
const LOCAL_SYSTEM: &[u8] = &[1, 1, 0, 0, 0, 0, 0, 5, 18, 0, 0, 0];
const ADMINISTRATORS: &[u8] = &[1, 2, 0, 0, 0, 0, 0, 5, 32, 0, 0, 0, 0x20, 2, 0, 0];

const SELF_RELATIVE: u16 = 0x8000;
const DACL_PROTECTED: u16 = 0x1000;
const DACL_PRESENT: u16 = 0x0004;

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn offset_at(bytes: &[u8], at: usize) -> usize {
    usize::from(u16_at(bytes, at))
}

/// The entries of the DACL: type, flags, mask, SID.
fn entries(bytes: &[u8]) -> Vec<(u8, u8, u32, &[u8])> {
    let list = &bytes[offset_at(bytes, 16)..];
    let mut rest = &list[8..];
    (0..u16_at(list, 4))
        .map(|_| {
            let (entry, others) = rest.split_at(offset_at(rest, 2));
            rest = others;
            let mask = [entry[4], entry[5], entry[6], entry[7]];
            (entry[0], entry[1], u32::from_le_bytes(mask), &entry[8..])
        })
        .collect()
}

/// T-020, SEC-1, SEC-2, SEC-7: exactly two may, nobody inherits a right, and nobody comes from another computer.
#[test]
fn t020_descriptor_is_a_closed_list_of_local_system_and_administrators() {
    let descriptor = Descriptor::new(SDDL).expect("the text is right");
    let bytes = descriptor.bytes();
    let control = u16_at(bytes, 2);
    let wanted = SELF_RELATIVE | DACL_PROTECTED | DACL_PRESENT;
    assert_eq!(control & wanted, wanted, "{control:#x}");
    let allowed = [(0, 0, 0xb, LOCAL_SYSTEM), (0, 0, 0xb, ADMINISTRATORS)];
    assert_eq!(entries(bytes), allowed);
    assert!(
        bytes[offset_at(bytes, 4)..].starts_with(ADMINISTRATORS),
        "owner"
    );
    assert!(
        bytes[offset_at(bytes, 8)..].starts_with(ADMINISTRATORS),
        "group"
    );
}

/// SEC-2: the form that CoInitializeSecurity wants has the same list.
#[test]
fn absolute_form_has_every_part() {
    let descriptor = Descriptor::new(SDDL).expect("the text is right");
    let absolute = descriptor.to_absolute().expect("it is whole");
    let bytes_of =
        |part: &[u64]| -> Vec<u8> { part.iter().flat_map(|w| w.to_le_bytes()).collect() };
    let [head, dacl, sacl, owner, group] = absolute.parts.each_ref().map(|part| bytes_of(part));
    assert_eq!(u16_at(&head, 2) & SELF_RELATIVE, 0);
    let bytes = descriptor.bytes();
    let list = &bytes[offset_at(bytes, 16)..];
    assert!(dacl.starts_with(&list[..offset_at(list, 2)]));
    assert!(sacl.is_empty(), "nothing is audited");
    assert!(owner.starts_with(ADMINISTRATORS) && group.starts_with(ADMINISTRATORS));
}

#[test]
fn malformed_text_is_an_error() {
    assert!(Descriptor::new("D:P(A;;0xb;;;").is_err());
}
