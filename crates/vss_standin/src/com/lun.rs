// SPDX-License-Identifier: MIT OR Apache-2.0
//! VDS_LUN_INFORMATION in COM's memory: each embedded block is a CoTaskMem block of its own (GEN-2).

// UNSAFETY: builds, reads and frees C structures.
#![expect(unsafe_code)]

use super::{guid, uuid};
use std::ffi::{CStr, c_void};
use vss_provider::{Interconnect, LunDescription, StorageIdentifier};
use windows::Win32::Storage::VirtualDiskService::{
    VDS_INTERCONNECT, VDS_INTERCONNECT_ADDRESS_TYPE, VDS_LUN_INFORMATION, VDS_STORAGE_BUS_TYPE,
    VDS_STORAGE_DEVICE_ID_DESCRIPTOR, VDS_STORAGE_IDENTIFIER, VDS_STORAGE_IDENTIFIER_CODE_SET,
    VDS_STORAGE_IDENTIFIER_TYPE,
};
use windows::Win32::System::Com::{CoTaskMemAlloc, CoTaskMemFree};
use windows_core::BOOL;

/// An array that the stand-in owns, as VSS would: it is freed with all that it points to, also what the provider put there.
pub(super) struct LunArray {
    first: *mut VDS_LUN_INFORMATION,
    count: usize,
}

impl LunArray {
    /// Zeroed elements, as VSS passes the destinations of GetTargetLuns.
    pub(super) fn zeroed(count: usize) -> Self {
        // One at least: a reference pointer is never NULL.
        let first = block(&vec![VDS_LUN_INFORMATION::default(); count.max(1)]);
        Self { first, count }
    }

    /// Elements with the contents of `luns`, then zeroed ones up to `count_min`.
    pub(super) fn of(luns: &[LunDescription], count_min: usize) -> Result<Self, String> {
        let array = Self::zeroed(luns.len().max(count_min));
        for (index, lun) in luns.iter().enumerate() {
            let written = write(lun)?;
            // SAFETY: `index` is below the count; what is there is zeroed and owns nothing.
            unsafe { array.first.add(index).write(written) };
        }
        Ok(array)
    }

    /// For a call. What it points to may be replaced by COM's rules.
    pub(super) fn pointer(&self) -> *mut VDS_LUN_INFORMATION {
        self.first
    }

    /// What is there now.
    pub(super) fn read(&self) -> Result<Vec<LunDescription>, String> {
        // SAFETY: `count` elements are there, which we or COM's proxy wrote.
        let elements = unsafe { std::slice::from_raw_parts(self.first, self.count) };
        // SAFETY: as above.
        elements.iter().map(|lun| unsafe { read(lun) }).collect()
    }
}

impl Drop for LunArray {
    fn drop(&mut self) {
        for index in 0..self.count {
            // SAFETY: `count` elements are there; each owns what it points to, and is not looked at again.
            unsafe { free(&*self.first.add(index)) };
        }
        // SAFETY: a block of `block`'s.
        unsafe { CoTaskMemFree(Some(self.first.cast::<c_void>())) };
    }
}

/// A structure that owns its blocks.
pub(super) fn write(lun: &LunDescription) -> Result<VDS_LUN_INFORMATION, String> {
    let strings = [&lun.vendor, &lun.product, &lun.revision, &lun.serial];
    if strings.into_iter().flatten().any(|text| text.contains(&0)) {
        return Err("a string of a LUN holds a zero byte, which a C string cannot".to_owned());
    }
    let identifiers: Vec<VDS_STORAGE_IDENTIFIER> = lun
        .identifiers
        .iter()
        .map(|identifier| VDS_STORAGE_IDENTIFIER {
            m_CodeSet: VDS_STORAGE_IDENTIFIER_CODE_SET(identifier.code_set.cast_signed()),
            m_Type: VDS_STORAGE_IDENTIFIER_TYPE(identifier.kind.cast_signed()),
            m_cbIdentifier: count(&identifier.bytes),
            m_rgbIdentifier: block(&identifier.bytes),
        })
        .collect();
    let interconnects: Vec<VDS_INTERCONNECT> = lun
        .interconnects
        .iter()
        .map(|port| VDS_INTERCONNECT {
            m_addressType: VDS_INTERCONNECT_ADDRESS_TYPE(port.address_type.cast_signed()),
            m_cbPort: count(&port.port),
            m_pbPort: block(&port.port),
            m_cbAddress: count(&port.address),
            m_pbAddress: block(&port.address),
        })
        .collect();
    Ok(VDS_LUN_INFORMATION {
        m_version: lun.version,
        m_DeviceType: lun.device_type,
        m_DeviceTypeModifier: lun.device_type_modifier,
        m_bCommandQueueing: BOOL::from(lun.command_queueing),
        m_BusType: VDS_STORAGE_BUS_TYPE(lun.bus_type.cast_signed()),
        m_szVendorId: string(lun.vendor.as_deref()),
        m_szProductId: string(lun.product.as_deref()),
        m_szProductRevision: string(lun.revision.as_deref()),
        m_szSerialNumber: string(lun.serial.as_deref()),
        m_diskSignature: guid(lun.disk_signature),
        m_deviceIdDescriptor: VDS_STORAGE_DEVICE_ID_DESCRIPTOR {
            m_version: lun.device_id_version,
            m_cIdentifiers: count(&identifiers),
            m_rgIdentifiers: block(&identifiers),
        },
        m_cInterconnects: count(&interconnects),
        m_rgInterconnects: block(&interconnects),
    })
}

/// What a structure says, or what is malformed in it: a provider must not leave such a thing (GEN-3).
///
/// # Safety
/// Each pointer is NULL or good for its count, or for a zero-terminated string.
pub(super) unsafe fn read(lun: &VDS_LUN_INFORMATION) -> Result<LunDescription, String> {
    // SAFETY: the caller's promise.
    let string = |text: *mut u8| unsafe {
        (!text.is_null()).then(|| CStr::from_ptr(text.cast()).to_bytes().to_vec())
    };
    let descriptor = &lun.m_deviceIdDescriptor;
    // SAFETY: the caller's promise, here and in the two below.
    let identifiers = unsafe { elements(descriptor.m_rgIdentifiers, descriptor.m_cIdentifiers) }?;
    // SAFETY: as above.
    let interconnects = unsafe { elements(lun.m_rgInterconnects, lun.m_cInterconnects) }?;
    // SAFETY: as above.
    let bytes = |first: *mut u8, count: u32| unsafe { elements(first, count) }.map(<[u8]>::to_vec);
    Ok(LunDescription {
        version: lun.m_version,
        device_type: lun.m_DeviceType,
        device_type_modifier: lun.m_DeviceTypeModifier,
        command_queueing: lun.m_bCommandQueueing.as_bool(),
        bus_type: lun.m_BusType.0.cast_unsigned(),
        vendor: string(lun.m_szVendorId),
        product: string(lun.m_szProductId),
        revision: string(lun.m_szProductRevision),
        serial: string(lun.m_szSerialNumber),
        disk_signature: uuid(&lun.m_diskSignature),
        device_id_version: descriptor.m_version,
        identifiers: identifiers
            .iter()
            .map(|identifier| {
                Ok(StorageIdentifier {
                    code_set: identifier.m_CodeSet.0.cast_unsigned(),
                    kind: identifier.m_Type.0.cast_unsigned(),
                    bytes: bytes(identifier.m_rgbIdentifier, identifier.m_cbIdentifier)?,
                })
            })
            .collect::<Result<_, String>>()?,
        interconnects: interconnects
            .iter()
            .map(|port| {
                Ok(Interconnect {
                    address_type: port.m_addressType.0.cast_unsigned(),
                    port: bytes(port.m_pbPort, port.m_cbPort)?,
                    address: bytes(port.m_pbAddress, port.m_cbAddress)?,
                })
            })
            .collect::<Result<_, String>>()?,
    })
}

/// Frees every block that a structure points to.
///
/// # Safety
/// As for [`read`], each block is CoTaskMem's, and the pointers are not used again.
pub(super) unsafe fn free(lun: &VDS_LUN_INFORMATION) {
    // SAFETY: the caller's promise; CoTaskMemFree takes NULL.
    let free = |block: *mut u8| unsafe { CoTaskMemFree(Some(block.cast::<c_void>())) };
    for text in [
        lun.m_szVendorId,
        lun.m_szProductId,
        lun.m_szProductRevision,
        lun.m_szSerialNumber,
    ] {
        free(text);
    }
    let descriptor = &lun.m_deviceIdDescriptor;
    // SAFETY: the caller's promise. An array that is missing holds nothing to free.
    let identifiers = unsafe { elements(descriptor.m_rgIdentifiers, descriptor.m_cIdentifiers) };
    for identifier in identifiers.unwrap_or_default() {
        free(identifier.m_rgbIdentifier);
    }
    free(descriptor.m_rgIdentifiers.cast());
    // SAFETY: as above.
    let interconnects = unsafe { elements(lun.m_rgInterconnects, lun.m_cInterconnects) };
    for port in interconnects.unwrap_or_default() {
        free(port.m_pbPort);
        free(port.m_pbAddress);
    }
    free(lun.m_rgInterconnects.cast());
}

/// # Safety
/// `first` is NULL or good for `count` elements.
unsafe fn elements<'a, T>(first: *const T, count: u32) -> Result<&'a [T], String> {
    match (first.is_null(), count) {
        (true, 0) => Ok(&[]),
        (true, _) => Err(format!(
            "malformed VDS_LUN_INFORMATION: NULL in place of {count} elements"
        )),
        // SAFETY: the caller's promise.
        (false, _) => Ok(unsafe { std::slice::from_raw_parts(first, count as usize) }),
    }
}

fn string(text: Option<&[u8]>) -> *mut u8 {
    text.map_or(std::ptr::null_mut(), |text| block(&[text, b"\0"].concat()))
}

/// A CoTaskMem block with these items; NULL for none.
pub(super) fn block<T: Copy>(items: &[T]) -> *mut T {
    if items.is_empty() {
        return std::ptr::null_mut();
    }
    // SAFETY: a plain allocation.
    let first = unsafe { CoTaskMemAlloc(size_of_val(items)) }.cast::<T>();
    assert!(!first.is_null(), "no memory for {} items", items.len());
    // SAFETY: the block has room for all of them, and CoTaskMem aligns for every type here.
    unsafe { std::ptr::copy_nonoverlapping(items.as_ptr(), first, items.len()) };
    first
}

fn count<T>(items: &[T]) -> u32 {
    u32::try_from(items.len()).expect("a LUN is described in far fewer than 4 G items")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::com::spy;
    use ::uuid::Uuid;
    use vss_standin::echo;

    fn full() -> LunDescription {
        let bare = LunDescription {
            vendor: Some(Vec::new()),
            disk_signature: Uuid::from_u128(7),
            ..LunDescription::default()
        };
        echo::changed(&bare)
    }

    #[test]
    fn gen_2_a_description_survives_the_way_through_a_structure() {
        let luns = [full(), LunDescription::default()];
        let array = LunArray::of(&luns, 3).unwrap();
        assert_eq!(array.read().unwrap()[..2], luns);
        assert_eq!(array.read().unwrap()[2], LunDescription::default());
    }

    #[test]
    fn t131_every_block_of_an_array_is_freed() {
        spy::start().unwrap();
        let before = spy::balance_of_this_thread();
        let array = LunArray::of(&[full(), full()], 2).unwrap();
        // Three strings, one identifier and one interconnect with its port in each, their two arrays, and the array of both LUNs.
        assert_eq!(spy::balance_of_this_thread(), before + 2 * 7 + 1);
        drop(array);
        assert_eq!(spy::balance_of_this_thread(), before);
    }

    #[test]
    fn gen_3_a_count_without_an_array_is_malformed() {
        let array = LunArray::zeroed(1);
        // SAFETY: the array's one element.
        unsafe { (*array.pointer()).m_cInterconnects = 2 };
        assert!(array.read().unwrap_err().contains("NULL in place of 2"));
    }

    #[test]
    fn a_string_with_a_zero_byte_is_refused() {
        let lun = LunDescription {
            serial: Some(b"a\0b".to_vec()),
            ..LunDescription::default()
        };
        assert!(LunArray::of(&[lun], 1).is_err());
    }
}
