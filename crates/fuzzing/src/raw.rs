// SPDX-License-Identifier: MIT OR Apache-2.0
//! VDS_LUN_INFORMATION as it lies in memory, through the COM server's conversion (SEC-8). On Windows only, as that is.

// UNSAFETY: makes raw structures, in pages that end where a block ends.
#![expect(unsafe_code)]

use arbitrary::{Result, Unstructured};
use std::ffi::c_void;
use uuid::Uuid;
use vss_provider::{Hresult, Interconnect, LunDescription, StorageIdentifier};
use vss_provider_server::com::convert::{
    BYTES_MAX, CALL_BYTES_MAX, CoTaskMemory, IDENTIFIERS_MAX, INTERCONNECTS_MAX, LUNS_MAX,
    STRING_MAX, kept_bytes, read_luns, update_lun, write_luns,
};
use windows::Win32::Storage::VirtualDiskService::{
    VDS_INTERCONNECT, VDS_INTERCONNECT_ADDRESS_TYPE, VDS_LUN_INFORMATION, VDS_STORAGE_BUS_TYPE,
    VDS_STORAGE_IDENTIFIER, VDS_STORAGE_IDENTIFIER_CODE_SET, VDS_STORAGE_IDENTIFIER_TYPE,
};
use windows::Win32::System::Memory::{
    MEM_COMMIT, MEM_RELEASE, MEM_RESERVE, PAGE_NOACCESS, PAGE_PROTECTION_FLAGS, PAGE_READWRITE,
    VirtualAlloc, VirtualFree, VirtualProtect,
};
use windows::core::{BOOL, GUID};

const PAGE_BYTES: usize = 4096;
/// What a count says that no memory is behind.
const CLAIMED: u32 = 16 << 20;
/// Lengths at which something ends: nothing, SCSI's fields, the limits and past them.
const LENGTHS: [usize; 8] = [
    0,
    1,
    16,
    255,
    STRING_MAX,
    STRING_MAX + 1,
    BYTES_MAX,
    BYTES_MAX + 1,
];

/// Structures in which each pointer is NULL or leads to as much as its count says and not one byte further, and counts that no
/// memory is behind. Whatever comes: what fits is read as it is, what does not is E_INVALIDARG, and the caller's memory stays as it
/// was. What was read comes out again when it is written.
pub fn raw(data: &[u8]) {
    // What an input is too short for does not come.
    let _ = convert(&mut Unstructured::new(data));
}

fn convert(input: &mut Unstructured<'_>) -> Result<()> {
    let mut caller = Caller::default();
    let mut luns = Vec::new();
    for _ in 0..input.int_in_range(0..=3)? {
        luns.push(caller.lun(input)?);
    }
    if input.ratio(1_u8, 64)? {
        let many = input.int_in_range(LUNS_MAX - 1..=LUNS_MAX + 1)?;
        // The test's own memory has bounds too.
        let fitting = |(_, read): &&Made<_, _>| {
            read.as_ref()
                .is_none_or(|lun| kept_bytes(lun) < 2 * PAGE_BYTES)
        };
        luns = luns
            .first()
            .filter(fitting)
            .map_or_else(Vec::new, |lun| vec![lun.clone(); many]);
    }
    let (count, array, wanted) = caller.array(input, &luns, LUNS_MAX)?;
    let wanted = wanted.filter(|luns| luns.iter().map(kept_bytes).sum::<usize>() <= CALL_BYTES_MAX);
    let before = caller.contents();
    // SAFETY: as many structures as are counted, or a count that is refused unread.
    let read = unsafe { read_luns(count, array) };
    assert!(
        before == caller.contents(),
        "the caller's memory was written"
    );
    // Without the values, which are long: the input is kept.
    assert!(read == wanted.ok_or(Hresult::E_INVALIDARG), "read wrongly");
    match read {
        Ok(luns) if luns.len() < LUNS_MAX - 1 => exchange(&luns),
        _ => {}
    }
    Ok(())
}

/// Written to a caller's structures, changed there, and emptied again.
fn exchange(luns: &[LunDescription]) {
    let mut raw = vec![VDS_LUN_INFORMATION::default(); luns.len()];
    let write = |raw: &mut [VDS_LUN_INFORMATION], luns: &[LunDescription]| {
        // SAFETY: structures of ours, as many as descriptions; their blocks are task memory.
        unsafe {
            write_luns(&CoTaskMemory, raw.as_mut_ptr(), luns).expect("there is memory");
            assert_eq!(read_luns(raw.len(), raw.as_ptr()).as_deref(), Ok(luns));
        }
    };
    write(&mut raw, luns);
    for (raw, (old, new)) in raw.iter_mut().zip(luns.iter().zip(luns.iter().rev())) {
        // SAFETY: `raw` is what `old` was written to.
        unsafe { update_lun(&CoTaskMemory, raw, old, new) }.expect("there is memory");
        let interconnects = old.interconnects.clone();
        let wanted = LunDescription {
            interconnects,
            ..new.clone()
        };
        // SAFETY: a whole structure.
        let read = unsafe { read_luns(1_usize, raw) };
        assert_eq!(read, Ok(vec![wanted]));
    }
    write(&mut raw, &vec![LunDescription::default(); luns.len()]);
}

/// A raw value and what it stands for; `None` for what does not fit.
type Made<T, U> = (T, Option<U>);

/// The memory of whoever calls.
#[derive(Default)]
struct Caller {
    blocks: Vec<Block>,
}

impl Caller {
    fn lun(
        &mut self,
        input: &mut Unstructured<'_>,
    ) -> Result<Made<VDS_LUN_INFORMATION, LunDescription>> {
        let identifiers = self.items(input, IDENTIFIERS_MAX, Self::identifier)?;
        let (identifier_count, identifiers, read_identifiers) =
            self.array(input, &identifiers, IDENTIFIERS_MAX)?;
        let ports = self.items(input, INTERCONNECTS_MAX, Self::port)?;
        let (port_count, ports, read_ports) = self.array(input, &ports, INTERCONNECTS_MAX)?;
        let (vendor, read_vendor) = self.string(input)?;
        let (product, read_product) = self.string(input)?;
        let (revision, read_revision) = self.string(input)?;
        let (serial, read_serial) = self.string(input)?;
        let signature: u128 = input.arbitrary()?;
        let mut raw = VDS_LUN_INFORMATION {
            m_version: input.arbitrary()?,
            m_DeviceType: input.arbitrary()?,
            m_DeviceTypeModifier: input.arbitrary()?,
            m_bCommandQueueing: BOOL(input.arbitrary()?),
            m_BusType: VDS_STORAGE_BUS_TYPE(input.arbitrary()?),
            m_szVendorId: vendor,
            m_szProductId: product,
            m_szProductRevision: revision,
            m_szSerialNumber: serial,
            m_diskSignature: GUID::from_u128(signature),
            m_cInterconnects: port_count,
            m_rgInterconnects: ports,
            ..Default::default()
        };
        raw.m_deviceIdDescriptor.m_version = input.arbitrary()?;
        raw.m_deviceIdDescriptor.m_cIdentifiers = identifier_count;
        raw.m_deviceIdDescriptor.m_rgIdentifiers = identifiers;
        let read = || {
            Some(LunDescription {
                version: raw.m_version,
                device_type: raw.m_DeviceType,
                device_type_modifier: raw.m_DeviceTypeModifier,
                command_queueing: raw.m_bCommandQueueing.0 != 0,
                bus_type: raw.m_BusType.0.cast_unsigned(),
                vendor: read_vendor?,
                product: read_product?,
                revision: read_revision?,
                serial: read_serial?,
                disk_signature: Uuid::from_u128(signature),
                device_id_version: raw.m_deviceIdDescriptor.m_version,
                identifiers: read_identifiers?,
                interconnects: read_ports?,
            })
        };
        Ok((raw, read()))
    }

    /// Some of a kind; now and then as many as a LUN may have, or one more.
    fn items<T>(
        &mut self,
        input: &mut Unstructured<'_>,
        count_max: usize,
        make: fn(&mut Self, &mut Unstructured<'_>) -> Result<T>,
    ) -> Result<Vec<T>>
    where
        T: Clone,
    {
        let few = input.int_in_range(0..=2)?;
        let made = (0..few)
            .map(|_| make(self, input))
            .collect::<Result<Vec<_>>>()?;
        if input.ratio(1_u8, 32)? {
            let many = input.int_in_range(count_max..=count_max + 1)?;
            return Ok(made.iter().cycle().take(many).cloned().collect());
        }
        Ok(made)
    }

    fn identifier(
        &mut self,
        input: &mut Unstructured<'_>,
    ) -> Result<Made<VDS_STORAGE_IDENTIFIER, StorageIdentifier>> {
        let (code_set, kind): (i32, i32) = input.arbitrary()?;
        let (count, bytes, read) = self.bytes(input)?;
        let raw = VDS_STORAGE_IDENTIFIER {
            m_CodeSet: VDS_STORAGE_IDENTIFIER_CODE_SET(code_set),
            m_Type: VDS_STORAGE_IDENTIFIER_TYPE(kind),
            m_cbIdentifier: count,
            m_rgbIdentifier: bytes,
        };
        let read = read.map(|bytes| StorageIdentifier {
            code_set: code_set.cast_unsigned(),
            kind: kind.cast_unsigned(),
            bytes,
        });
        Ok((raw, read))
    }

    fn port(
        &mut self,
        input: &mut Unstructured<'_>,
    ) -> Result<Made<VDS_INTERCONNECT, Interconnect>> {
        let kind: i32 = input.arbitrary()?;
        let (port_count, port, read_port) = self.bytes(input)?;
        let (address_count, address, read_address) = self.bytes(input)?;
        let raw = VDS_INTERCONNECT {
            m_addressType: VDS_INTERCONNECT_ADDRESS_TYPE(kind),
            m_cbPort: port_count,
            m_pbPort: port,
            m_cbAddress: address_count,
            m_pbAddress: address,
        };
        let read = read_port
            .zip(read_address)
            .map(|(port, address)| Interconnect {
                address_type: kind.cast_unsigned(),
                port,
                address,
            });
        Ok((raw, read))
    }

    fn bytes(&mut self, input: &mut Unstructured<'_>) -> Result<(u32, *mut u8, Option<Vec<u8>>)> {
        let bytes: Vec<_> = text(input)?.into_iter().map(|b| (b, Some(b))).collect();
        self.array(input, &bytes, BYTES_MAX)
    }

    fn string(&mut self, input: &mut Unstructured<'_>) -> Result<Made<*mut u8, Option<Vec<u8>>>> {
        let mut text = text(input)?;
        text.retain(|byte| *byte != 0);
        let read = (text.len() <= STRING_MAX).then(|| text.clone());
        Ok(match input.int_in_range(0..=7)? {
            0 => (std::ptr::null_mut(), Some(None)),
            1 => {
                // Without an end, up to where nobody may look any more.
                text.resize(STRING_MAX + 1, b'x');
                (self.block(&text), None)
            }
            _ => {
                text.push(0);
                (self.block(&text), read.map(Some))
            }
        })
    }

    /// An array of these with its count; now and then one that is not there.
    fn array<T: Copy, U: Clone>(
        &mut self,
        input: &mut Unstructured<'_>,
        items: &[Made<T, U>],
        count_max: usize,
    ) -> Result<(u32, *mut T, Option<Vec<U>>)> {
        let raw: Vec<T> = items.iter().map(|(raw, _)| *raw).collect();
        let count = u32::try_from(items.len()).expect("there are few");
        Ok(match input.int_in_range(0..=31)? {
            0 => (count, std::ptr::null_mut(), (count == 0).then(Vec::new)),
            1 => (CLAIMED, self.block(&[]), None),
            2 => (u32::MAX, self.block(&raw), None),
            3 => (0, self.block(&[]), Some(Vec::new())),
            _ if items.len() > count_max => (count, self.block(&raw), None),
            _ => {
                let read = items.iter().map(|(_, read)| read.clone()).collect();
                (count, self.block(&raw), read)
            }
        })
    }

    fn block<T: Copy>(&mut self, items: &[T]) -> *mut T {
        let block = Block::new(size_of_val(items));
        let start = block.start.cast();
        // SAFETY: the block has this size, and a page's end is aligned for whatever is a whole number of items away.
        unsafe { std::ptr::copy_nonoverlapping(items.as_ptr(), start, items.len()) };
        self.blocks.push(block);
        start
    }

    fn contents(&self) -> Vec<Vec<u8>> {
        self.blocks.iter().map(Block::contents).collect()
    }
}

fn text(input: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    if input.ratio(1_u8, 16)? {
        let length = *input.choose(&LENGTHS)?;
        return Ok(vec![input.arbitrary::<u8>()? | 1; length]);
    }
    let length = input.int_in_range(0..=20)?;
    input.bytes(length.min(input.len())).map(<[u8]>::to_vec)
}

/// Memory that ends with a page behind which nothing may be touched.
struct Block {
    pages: *mut c_void,
    start: *mut u8,
    bytes: usize,
}

impl Block {
    fn new(bytes: usize) -> Self {
        let usable = bytes.next_multiple_of(PAGE_BYTES);
        let whole = usable + PAGE_BYTES;
        let mut before = PAGE_PROTECTION_FLAGS::default();
        // SAFETY: new pages, and the last of them.
        unsafe {
            let pages = VirtualAlloc(None, whole, MEM_COMMIT | MEM_RESERVE, PAGE_READWRITE);
            assert!(!pages.is_null(), "the test's own memory ran out");
            let last = pages.byte_add(usable);
            VirtualProtect(last, PAGE_BYTES, PAGE_NOACCESS, &raw mut before).expect("it is ours");
            Self {
                pages,
                start: last.byte_sub(bytes).cast(),
                bytes,
            }
        }
    }

    fn contents(&self) -> Vec<u8> {
        // SAFETY: the block has this size and nobody writes to it meanwhile.
        unsafe { std::slice::from_raw_parts(self.start, self.bytes) }.to_vec()
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        // SAFETY: allocated as a whole, freed once. A failure leaves nothing to do.
        let _ = unsafe { VirtualFree(self.pages, 0, MEM_RELEASE) };
    }
}
