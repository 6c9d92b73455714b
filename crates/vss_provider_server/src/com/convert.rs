// SPDX-License-Identifier: MIT OR Apache-2.0
//! VDS_LUN_INFORMATION to and from owned values: the one place where memory of the caller is read and written.
//!
//! Everything that comes in is checked before it is used (SEC-8) and never written (GEN-1). What goes out is built aside first
//! and handed over by assignments alone, so that a failure leaves the caller's structures as they were (GEN-2..GEN-4).

// UNSAFETY: the interface consists of C structures with raw pointers, and of memory that changes its owner.
#![expect(unsafe_code)]

use std::ffi::c_void;
use std::{mem, ptr, slice};
use uuid::Uuid;
use vss_provider::{Hresult, Interconnect, LunDescription, StorageIdentifier};
use windows::Win32::Storage::VirtualDiskService::{
    VDS_INTERCONNECT, VDS_INTERCONNECT_ADDRESS_TYPE, VDS_LUN_INFORMATION, VDS_STORAGE_BUS_TYPE,
    VDS_STORAGE_DEVICE_ID_DESCRIPTOR, VDS_STORAGE_IDENTIFIER, VDS_STORAGE_IDENTIFIER_CODE_SET,
    VDS_STORAGE_IDENTIFIER_TYPE,
};
use windows::Win32::System::Com::{CoTaskMemAlloc, CoTaskMemFree};
use windows::core::GUID;

/// LUNs of one call. A volume has at most 32 extents on dynamic disks, a call of 64 volumes thus 2,048.
pub const LUNS_MAX: usize = 4_096;
/// Designators of a LUN. Page 83 holds a handful.
pub const IDENTIFIERS_MAX: usize = 256;
/// Ports of a LUN.
pub const INTERCONNECTS_MAX: usize = 256;
/// Bytes of a designator, a port or an address. SCSI's own limit for a designator is 255 (LUN-19).
pub const BYTES_MAX: usize = 4_096;
/// Bytes of a string without its zero. SCSI's longest, the serial number, has 252.
pub const STRING_MAX: usize = 1_024;

/// Bytes of all descriptions of a call as they are kept: 4,096 LUNs have 4 KiB each, and some hundred are usual.
pub const CALL_BYTES_MAX: usize = 16 << 20;

/// Where blocks come from that cross the border: COM's task memory, and in tests one that runs out.
pub trait TaskMemory {
    /// A block of so many bytes; null when there is none.
    fn allocate(&self, bytes: usize) -> *mut c_void;
    /// Gives a block of this memory back. Null is allowed.
    ///
    /// # Safety
    /// The block is of this memory and nobody uses it any more.
    unsafe fn free(&self, block: *mut c_void);
}

/// CoTaskMemAlloc and CoTaskMemFree (GEN-2).
pub struct CoTaskMemory;

impl TaskMemory for CoTaskMemory {
    fn allocate(&self, bytes: usize) -> *mut c_void {
        // SAFETY: no precondition.
        unsafe { CoTaskMemAlloc(bytes) }
    }

    unsafe fn free(&self, block: *mut c_void) {
        // SAFETY: the caller's promise.
        unsafe { CoTaskMemFree(Some(block)) }
    }
}

/// A GUID of COM's.
pub fn uuid(guid: &GUID) -> Uuid {
    Uuid::from_u128(guid.to_u128())
}

/// Stores `empty` behind an [out] pointer, and hands the place out for the result (GEN-3).
///
/// # Errors
/// E_INVALIDARG for NULL.
///
/// # Safety
/// The pointer is NULL or writable for `'a`, and nobody else uses it meanwhile.
pub unsafe fn out<'a, T: Copy>(pointer: *mut T, empty: T) -> Result<&'a mut T, Hresult> {
    if pointer.is_null() {
        return Err(Hresult::E_INVALIDARG);
    }
    // SAFETY: not NULL, hence writable. The write comes before there is a reference: the memory may be uninitialised.
    unsafe {
        pointer.write(empty);
        Ok(&mut *pointer)
    }
}

/// Reads an array of descriptions. With the count 0 the pointer does not matter (GEN-6).
///
/// # Errors
/// E_INVALIDARG (a negative or huge count, NULL where something has to be, an endless string, more than [`CALL_BYTES_MAX`]),
/// E_OUTOFMEMORY.
///
/// # Safety
/// `luns` is NULL or points to `count` structures; every pointer in them is NULL or points to as much as its count says,
/// strings to a zero-terminated one. Nobody writes to them meanwhile.
pub unsafe fn read_luns(
    count: impl TryInto<usize>,
    luns: *const VDS_LUN_INFORMATION,
) -> Result<Vec<LunDescription>, Hresult> {
    // SAFETY: the caller's promise.
    let luns = unsafe { elements(count, luns, LUNS_MAX) }?;
    let mut left = CALL_BYTES_MAX;
    collect(luns, |lun| {
        // SAFETY: the caller's promise covers each of them.
        let lun = unsafe { read(lun) }?;
        left = left
            .checked_sub(kept_bytes(&lun))
            .ok_or(Hresult::E_INVALIDARG)?;
        Ok(lun)
    })
}

/// What a description takes of [`CALL_BYTES_MAX`].
pub fn kept_bytes(lun: &LunDescription) -> usize {
    let strings = [&lun.vendor, &lun.product, &lun.revision, &lun.serial];
    let strings = strings.into_iter().flatten().map(Vec::len);
    let identifiers = lun.identifiers.iter();
    let identifiers = identifiers.map(|one| size_of_val(one) + one.bytes.len());
    let ports = lun.interconnects.iter();
    let ports = ports.map(|one| size_of_val(one) + one.port.len() + one.address.len());
    size_of_val(lun) + strings.chain(identifiers).chain(ports).sum::<usize>()
}

/// As [`read_luns`]; `None` for NULL.
///
/// # Errors
/// As [`read_luns`].
///
/// # Safety
/// As [`read_luns`].
pub unsafe fn read_luns_or_null(
    count: impl TryInto<usize>,
    luns: *const VDS_LUN_INFORMATION,
) -> Result<Option<Vec<LunDescription>>, Hresult> {
    if luns.is_null() {
        return Ok(None);
    }
    // SAFETY: the caller's promise.
    unsafe { read_luns(count, luns) }.map(Some)
}

/// Reads one description.
///
/// # Errors
/// As [`read_luns`]; E_INVALIDARG for NULL.
///
/// # Safety
/// As [`read_luns`], with the count 1.
pub unsafe fn read_lun(lun: *const VDS_LUN_INFORMATION) -> Result<LunDescription, Hresult> {
    // SAFETY: the caller's promise.
    let lun = unsafe { lun.as_ref() }.ok_or(Hresult::E_INVALIDARG)?;
    // SAFETY: the caller's promise.
    unsafe { read(lun) }
}

/// Replaces what differs between `old`, which was read from `lun`, and `new`; everything else keeps its place in memory. The
/// interconnects are never touched (FIL-4).
///
/// # Errors
/// E_OUTOFMEMORY; `lun` is as it was.
///
/// # Safety
/// As [`read_luns`]; `lun` is writable, its blocks are of `memory`, and `old` was read from it.
pub unsafe fn update_lun(
    memory: &dyn TaskMemory,
    lun: *mut VDS_LUN_INFORMATION,
    old: &LunDescription,
    new: &LunDescription,
) -> Result<(), Hresult> {
    let mut made = Built::new(memory, new)?;
    // SAFETY: the caller's promise.
    let lun = unsafe { &mut *lun };
    // From here on nothing fails. What is replaced goes where the new block came from, and is freed with `made`.
    let fresh = &mut made.lun;
    lun.m_version = fresh.m_version;
    lun.m_DeviceType = fresh.m_DeviceType;
    lun.m_DeviceTypeModifier = fresh.m_DeviceTypeModifier;
    if old.command_queueing != new.command_queueing {
        lun.m_bCommandQueueing = fresh.m_bCommandQueueing;
    }
    lun.m_BusType = fresh.m_BusType;
    lun.m_diskSignature = fresh.m_diskSignature;
    if old.vendor != new.vendor {
        mem::swap(&mut lun.m_szVendorId, &mut fresh.m_szVendorId);
    }
    if old.product != new.product {
        mem::swap(&mut lun.m_szProductId, &mut fresh.m_szProductId);
    }
    if old.revision != new.revision {
        mem::swap(&mut lun.m_szProductRevision, &mut fresh.m_szProductRevision);
    }
    if old.serial != new.serial {
        mem::swap(&mut lun.m_szSerialNumber, &mut fresh.m_szSerialNumber);
    }
    if old.identifiers != new.identifiers {
        mem::swap(
            &mut lun.m_deviceIdDescriptor,
            &mut fresh.m_deviceIdDescriptor,
        );
    } else {
        lun.m_deviceIdDescriptor.m_version = fresh.m_deviceIdDescriptor.m_version;
    }
    Ok(())
}

/// Replaces the elements of `destination` by `luns`, all or none.
///
/// # Errors
/// E_OUTOFMEMORY; `destination` is as it was.
///
/// # Safety
/// `destination` was read without an error by [`read_luns`] with the count `luns.len()`; it is writable and its blocks are
/// of `memory`.
pub unsafe fn write_luns(
    memory: &dyn TaskMemory,
    destination: *mut VDS_LUN_INFORMATION,
    luns: &[LunDescription],
) -> Result<(), Hresult> {
    let mut made = collect(luns, |lun| Built::new(memory, lun))?;
    for (index, made) in made.iter_mut().enumerate() {
        // SAFETY: there are `luns.len()` structures, and as many were made.
        let place = unsafe { &mut *destination.add(index) };
        // What was there is freed with `made`.
        mem::swap(place, &mut made.lun);
    }
    Ok(())
}

/// A whole VDS_LUN_INFORMATION that belongs to us, down to its last block.
struct Built<'a> {
    memory: &'a dyn TaskMemory,
    lun: VDS_LUN_INFORMATION,
}

impl<'a> Built<'a> {
    fn new(memory: &'a dyn TaskMemory, lun: &LunDescription) -> Result<Self, Hresult> {
        // Counts are stored after their arrays, and arrays begin zeroed: a half-built one can be freed at any point.
        let mut built = Self {
            memory,
            lun: VDS_LUN_INFORMATION {
                m_version: lun.version,
                m_DeviceType: lun.device_type,
                m_DeviceTypeModifier: lun.device_type_modifier,
                m_bCommandQueueing: lun.command_queueing.into(),
                m_BusType: VDS_STORAGE_BUS_TYPE(lun.bus_type.cast_signed()),
                m_diskSignature: GUID::from_u128(lun.disk_signature.as_u128()),
                m_deviceIdDescriptor: VDS_STORAGE_DEVICE_ID_DESCRIPTOR {
                    m_version: lun.device_id_version,
                    ..Default::default()
                },
                ..Default::default()
            },
        };
        let raw = &mut built.lun;
        raw.m_szVendorId = string(memory, lun.vendor.as_deref())?;
        raw.m_szProductId = string(memory, lun.product.as_deref())?;
        raw.m_szProductRevision = string(memory, lun.revision.as_deref())?;
        raw.m_szSerialNumber = string(memory, lun.serial.as_deref())?;
        let device_id = &mut raw.m_deviceIdDescriptor;
        device_id.m_rgIdentifiers = array(memory, lun.identifiers.len())?;
        device_id.m_cIdentifiers = count(lun.identifiers.len())?;
        // SAFETY: the array was just made with this length, zeroed, which is a valid value.
        let places = unsafe { slice_mut(device_id.m_rgIdentifiers, lun.identifiers.len()) };
        for (place, identifier) in places.iter_mut().zip(&lun.identifiers) {
            place.m_CodeSet = VDS_STORAGE_IDENTIFIER_CODE_SET(identifier.code_set.cast_signed());
            place.m_Type = VDS_STORAGE_IDENTIFIER_TYPE(identifier.kind.cast_signed());
            place.m_rgbIdentifier = bytes(memory, &identifier.bytes)?;
            place.m_cbIdentifier = count(identifier.bytes.len())?;
        }
        raw.m_rgInterconnects = array(memory, lun.interconnects.len())?;
        raw.m_cInterconnects = count(lun.interconnects.len())?;
        // SAFETY: as above.
        let places = unsafe { slice_mut(raw.m_rgInterconnects, lun.interconnects.len()) };
        for (place, interconnect) in places.iter_mut().zip(&lun.interconnects) {
            let kind = interconnect.address_type.cast_signed();
            place.m_addressType = VDS_INTERCONNECT_ADDRESS_TYPE(kind);
            place.m_pbPort = bytes(memory, &interconnect.port)?;
            place.m_cbPort = count(interconnect.port.len())?;
            place.m_pbAddress = bytes(memory, &interconnect.address)?;
            place.m_cbAddress = count(interconnect.address.len())?;
        }
        Ok(built)
    }
}

impl Drop for Built<'_> {
    fn drop(&mut self) {
        let lun = &self.lun;
        let device_id = &lun.m_deviceIdDescriptor;
        // SAFETY: the structure is ours alone, and whole at every point of its making; what was swapped in was checked
        // when it was read.
        unsafe {
            for identifier in slice_mut(device_id.m_rgIdentifiers, length(device_id.m_cIdentifiers))
            {
                self.memory.free(identifier.m_rgbIdentifier.cast());
            }
            for interconnect in slice_mut(lun.m_rgInterconnects, length(lun.m_cInterconnects)) {
                self.memory.free(interconnect.m_pbPort.cast());
                self.memory.free(interconnect.m_pbAddress.cast());
            }
            for block in [
                lun.m_szVendorId.cast(),
                lun.m_szProductId.cast(),
                lun.m_szProductRevision.cast(),
                lun.m_szSerialNumber.cast(),
                device_id.m_rgIdentifiers.cast(),
                lun.m_rgInterconnects.cast(),
            ] {
                self.memory.free(block);
            }
        }
    }
}

/// Reads one structure.
///
/// # Safety
/// As [`read_luns`].
unsafe fn read(lun: &VDS_LUN_INFORMATION) -> Result<LunDescription, Hresult> {
    let device_id = &lun.m_deviceIdDescriptor;
    // SAFETY: the caller's promise, for everything that the structure points to.
    unsafe {
        let identifiers = elements(
            device_id.m_cIdentifiers,
            device_id.m_rgIdentifiers,
            IDENTIFIERS_MAX,
        )?;
        let interconnects = elements(
            lun.m_cInterconnects,
            lun.m_rgInterconnects,
            INTERCONNECTS_MAX,
        )?;
        Ok(LunDescription {
            version: lun.m_version,
            device_type: lun.m_DeviceType,
            device_type_modifier: lun.m_DeviceTypeModifier,
            command_queueing: lun.m_bCommandQueueing.as_bool(),
            bus_type: lun.m_BusType.0.cast_unsigned(),
            vendor: read_string(lun.m_szVendorId)?,
            product: read_string(lun.m_szProductId)?,
            revision: read_string(lun.m_szProductRevision)?,
            serial: read_string(lun.m_szSerialNumber)?,
            disk_signature: uuid(&lun.m_diskSignature),
            device_id_version: device_id.m_version,
            identifiers: collect(identifiers, |identifier| read_identifier(identifier))?,
            interconnects: collect(interconnects, |port| read_interconnect(port))?,
        })
    }
}

/// # Safety
/// As [`read_luns`].
unsafe fn read_identifier(raw: &VDS_STORAGE_IDENTIFIER) -> Result<StorageIdentifier, Hresult> {
    Ok(StorageIdentifier {
        code_set: raw.m_CodeSet.0.cast_unsigned(),
        kind: raw.m_Type.0.cast_unsigned(),
        // SAFETY: the caller's promise.
        bytes: unsafe { read_bytes(raw.m_cbIdentifier, raw.m_rgbIdentifier) }?,
    })
}

/// # Safety
/// As [`read_luns`].
unsafe fn read_interconnect(raw: &VDS_INTERCONNECT) -> Result<Interconnect, Hresult> {
    Ok(Interconnect {
        address_type: raw.m_addressType.0.cast_unsigned(),
        // SAFETY: the caller's promise.
        port: unsafe { read_bytes(raw.m_cbPort, raw.m_pbPort) }?,
        // SAFETY: the caller's promise.
        address: unsafe { read_bytes(raw.m_cbAddress, raw.m_pbAddress) }?,
    })
}

/// # Safety
/// As [`read_luns`].
unsafe fn read_bytes(count: u32, bytes: *const u8) -> Result<Vec<u8>, Hresult> {
    // SAFETY: the caller's promise.
    let bytes = unsafe { elements(count, bytes, BYTES_MAX) }?;
    collect(bytes, |byte| Ok(*byte))
}

/// # Safety
/// As [`read_luns`].
unsafe fn read_string(string: *const u8) -> Result<Option<Vec<u8>>, Hresult> {
    if string.is_null() {
        return Ok(None);
    }
    // SAFETY: the caller's promise; nothing behind the zero is read.
    let end = (0..=STRING_MAX).find(|&at| unsafe { *string.add(at) } == 0);
    let length = end.ok_or(Hresult::E_INVALIDARG)?;
    // SAFETY: the bytes up to the zero were just read.
    let bytes = unsafe { slice::from_raw_parts(string, length) };
    collect(bytes, |byte| Ok(*byte)).map(Some)
}

/// The elements of an array of the caller's, after its count and its pointer were checked.
///
/// # Safety
/// `array` is NULL or points to `count` elements that live for `'a`.
unsafe fn elements<'a, T>(
    count: impl TryInto<usize>,
    array: *const T,
    count_max: usize,
) -> Result<&'a [T], Hresult> {
    let count = count.try_into().map_err(|_| Hresult::E_INVALIDARG)?;
    if count > count_max || (count > 0 && array.is_null()) {
        return Err(Hresult::E_INVALIDARG);
    }
    if count == 0 {
        return Ok(&[]);
    }
    // SAFETY: not NULL; the caller's promise. `count_max` keeps the size far below isize::MAX.
    Ok(unsafe { slice::from_raw_parts(array, count) })
}

/// Converts each element; a lack of memory is an error, not the end of the process.
fn collect<T, U>(
    from: &[T],
    mut convert: impl FnMut(&T) -> Result<U, Hresult>,
) -> Result<Vec<U>, Hresult> {
    let mut to = Vec::new();
    to.try_reserve_exact(from.len())
        .map_err(|_| Hresult::E_OUTOFMEMORY)?;
    for element in from {
        to.push(convert(element)?);
    }
    Ok(to)
}

/// A copy with a zero behind it; NULL for `None`.
fn string(memory: &dyn TaskMemory, text: Option<&[u8]>) -> Result<*mut u8, Hresult> {
    let Some(text) = text else {
        return Ok(ptr::null_mut());
    };
    let block = array::<u8>(memory, text.len() + 1)?;
    // SAFETY: the block is new, and one byte longer than the text; it begins zeroed.
    unsafe { ptr::copy_nonoverlapping(text.as_ptr(), block, text.len()) };
    Ok(block)
}

/// A copy; NULL for none.
fn bytes(memory: &dyn TaskMemory, bytes: &[u8]) -> Result<*mut u8, Hresult> {
    let block = array::<u8>(memory, bytes.len())?;
    if !block.is_null() {
        // SAFETY: the block is new and has this length.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), block, bytes.len()) };
    }
    Ok(block)
}

/// A zeroed block for so many elements; NULL for none.
fn array<T>(memory: &dyn TaskMemory, length: usize) -> Result<*mut T, Hresult> {
    if length == 0 {
        return Ok(ptr::null_mut());
    }
    let size = length
        .checked_mul(size_of::<T>())
        .ok_or(Hresult::E_OUTOFMEMORY)?;
    let block = memory.allocate(size).cast::<T>();
    if block.is_null() {
        return Err(Hresult::E_OUTOFMEMORY);
    }
    // SAFETY: the block has this size; task memory is aligned for any of the interface's types.
    unsafe { block.write_bytes(0, length) };
    Ok(block)
}

/// # Safety
/// `array` is NULL or points to `length` initialised elements that nobody else uses for `'a`.
unsafe fn slice_mut<'a, T>(array: *mut T, length: usize) -> &'a mut [T] {
    if array.is_null() {
        return &mut [];
    }
    // SAFETY: the caller's promise.
    unsafe { slice::from_raw_parts_mut(array, length) }
}

fn count(length: usize) -> Result<u32, Hresult> {
    u32::try_from(length).map_err(|_| Hresult::E_OUTOFMEMORY)
}

fn length(count: u32) -> usize {
    usize::try_from(count).expect("Windows has at least 32 bits")
}

#[cfg(test)]
#[path = "convert_tests.rs"]
mod tests;
