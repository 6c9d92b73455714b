// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a disk's driver tells of it, out of the answers to IOCTL_STORAGE_QUERY_PROPERTY.

use vss_provider::StorageIdentifier;

/// A local disk.
pub struct Disk {
    /// `\\.\PhysicalDrive1`.
    pub name: String,
    /// Vendor and product, for people.
    pub product: String,
    /// Its page 83, as far as it is about the disk itself; or why it cannot be read.
    pub identifiers: Result<Vec<StorageIdentifier>, String>,
}

/// More than a page 83 holds.
const IDENTIFIERS_MAX: usize = 256;
const HEAD_BYTES: usize = 12;
const IDENTIFIER_HEAD_BYTES: usize = 16;

/// The designators of a STORAGE_DEVICE_ID_DESCRIPTOR that belong to the disk; `None` for what is none.
pub fn identifiers(descriptor: &[u8]) -> Option<Vec<StorageIdentifier>> {
    let count = usize::try_from(number(descriptor, 8)?).ok()?;
    let mut found = Vec::new();
    let mut at = HEAD_BYTES;
    for _ in 0..count.min(IDENTIFIERS_MAX) {
        let one = descriptor.get(at..)?;
        let size = usize::from(short(one, 8)?);
        let next = usize::from(short(one, 10)?);
        if number(one, 12)? == 0 {
            found.push(StorageIdentifier {
                code_set: number(one, 0)?,
                kind: number(one, 4)?,
                bytes: one
                    .get(IDENTIFIER_HEAD_BYTES..IDENTIFIER_HEAD_BYTES + size)?
                    .to_vec(),
            });
        }
        if next < IDENTIFIER_HEAD_BYTES {
            break;
        }
        at += next;
    }
    Some(found)
}

/// Vendor and product of a STORAGE_DEVICE_DESCRIPTOR.
pub fn product(descriptor: &[u8]) -> String {
    let text = |at| {
        let start = usize::try_from(number(descriptor, at)?).ok()?;
        let text = descriptor.get(start..).filter(|_| start != 0)?;
        let end = text.iter().position(|byte| *byte == 0)?;
        Some(String::from_utf8_lossy(&text[..end]).trim().to_owned())
    };
    let parts = [text(12), text(16)].into_iter().flatten();
    let parts: Vec<_> = parts.filter(|part| !part.is_empty()).collect();
    match parts.is_empty() {
        true => "unknown".to_owned(),
        false => parts.join(" "),
    }
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    let number = bytes.get(at..at + 4)?;
    Some(u32::from_le_bytes(number.try_into().ok()?))
}

fn short(bytes: &[u8], at: usize) -> Option<u16> {
    let number = bytes.get(at..at + 2)?;
    Some(u16::from_le_bytes(number.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identifier(association: u32, bytes: &[u8]) -> Vec<u8> {
        let size = u16::try_from(bytes.len()).unwrap();
        let next =
            u16::try_from((IDENTIFIER_HEAD_BYTES + bytes.len()).next_multiple_of(4)).unwrap();
        let mut one = Vec::new();
        one.extend(1_u32.to_le_bytes());
        one.extend(3_u32.to_le_bytes());
        one.extend(size.to_le_bytes());
        one.extend(next.to_le_bytes());
        one.extend(association.to_le_bytes());
        one.extend(bytes);
        one.resize(usize::from(next), 0);
        one
    }

    fn descriptor(identifiers: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = vec![0; HEAD_BYTES];
        bytes[8..12].copy_from_slice(&u32::try_from(identifiers.len()).unwrap().to_le_bytes());
        bytes.extend(identifiers.concat());
        bytes
    }

    /// LUN-9: ports and targets are no identity of the disk.
    #[test]
    fn designators_of_the_disk_are_read_and_those_of_ports_are_not() {
        let bytes = descriptor(&[
            identifier(0, b"abc"),
            identifier(1, b"port"),
            identifier(0, b"d"),
        ]);

        let found = identifiers(&bytes).unwrap();

        let texts: Vec<_> = found.iter().map(|one| &one.bytes[..]).collect();
        assert_eq!(texts, [&b"abc"[..], b"d"]);
        assert_eq!((found[0].code_set, found[0].kind), (1, 3));
    }

    /// SEC-8.
    #[test]
    fn damaged_descriptors_are_no_reason_to_panic() {
        let whole = descriptor(&[identifier(0, b"abc"), identifier(0, b"d")]);
        for end in 0..whole.len() {
            let _ = identifiers(&whole[..end]);
            let _ = product(&whole[..end]);
        }
        for at in 0..whole.len() {
            let mut spoilt = whole.clone();
            spoilt[at] = 0xFF;
            let _ = identifiers(&spoilt);
            let _ = product(&spoilt);
        }
        assert_eq!(identifiers(&whole[..20]), None);
    }

    #[test]
    fn product_is_vendor_and_product_without_blanks() {
        let mut bytes = vec![0; 36];
        bytes[12] = 36;
        bytes[16] = 45;
        bytes.extend(b"SHADOWLN\0LUN  \0");
        assert_eq!(product(&bytes), "SHADOWLN LUN");
        assert_eq!(product(&[0; 36]), "unknown");
    }
}
