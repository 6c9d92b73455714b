// SPDX-License-Identifier: MIT OR Apache-2.0
//! The conversion against memory that counts and runs out.

// UNSAFETY: makes and reads raw structures as VSS does.
#![expect(unsafe_code)]

use super::*;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use std::cell::{Cell, RefCell};
use std::collections::HashSet;

/// Task memory that counts, notices a wrong free, and runs out.
#[derive(Default)]
pub(in crate::com) struct Counted {
    live: RefCell<HashSet<usize>>,
    /// Allocations that still succeed.
    left: Cell<Option<usize>>,
}

impl TaskMemory for Counted {
    fn allocate(&self, bytes: usize) -> *mut c_void {
        match self.left.get() {
            Some(0) => return ptr::null_mut(),
            Some(left) => self.left.set(Some(left - 1)),
            None => {}
        }
        let block = CoTaskMemory.allocate(bytes);
        self.live.borrow_mut().insert(block.addr());
        block
    }

    unsafe fn free(&self, block: *mut c_void) {
        if !block.is_null() {
            let known = self.live.borrow_mut().remove(&block.addr());
            assert!(known, "freed twice, or never allocated");
            // SAFETY: allocated above, and not freed since.
            unsafe { CoTaskMemory.free(block) };
        }
    }
}

/// Raw structures that belong to the test.
struct Raw<'a> {
    memory: &'a Counted,
    luns: Vec<VDS_LUN_INFORMATION>,
}

impl<'a> Raw<'a> {
    fn new(memory: &'a Counted, luns: &[LunDescription]) -> Self {
        let mut raw = Self {
            memory,
            luns: vec![VDS_LUN_INFORMATION::default(); luns.len()],
        };
        raw.write(luns).expect("there is memory");
        raw
    }

    fn write(&mut self, luns: &[LunDescription]) -> Result<(), Hresult> {
        assert_eq!(self.luns.len(), luns.len());
        // SAFETY: as many structures as descriptions; their blocks are of this memory.
        unsafe { write_luns(self.memory, self.luns.as_mut_ptr(), luns) }
    }

    fn read(&self) -> Result<Vec<LunDescription>, Hresult> {
        // SAFETY: the structures are whole.
        unsafe { read_luns(self.luns.len(), self.luns.as_ptr()) }
    }
}

impl Drop for Raw<'_> {
    fn drop(&mut self) {
        self.memory.left.set(None);
        self.write(&vec![LunDescription::default(); self.luns.len()])
            .expect("empty ones need no memory");
    }
}

fn full() -> LunDescription {
    LunDescription {
        version: 1,
        device_type: 2,
        device_type_modifier: 3,
        command_queueing: true,
        bus_type: 9,
        vendor: Some(b"SHADOW".to_vec()),
        product: Some(b"LUN".to_vec()),
        revision: Some(Vec::new()),
        serial: Some(b"0123456789".to_vec()),
        disk_signature: Uuid::from_u128(0x0011_2233_4455_6677_8899_aabb_ccdd_eeff),
        device_id_version: 1,
        identifiers: vec![
            StorageIdentifier {
                code_set: 1,
                kind: 3,
                bytes: vec![0x60, 0, 7],
            },
            StorageIdentifier {
                code_set: 2,
                kind: 1,
                bytes: Vec::new(),
            },
        ],
        interconnects: vec![Interconnect {
            address_type: 5,
            port: vec![1],
            address: vec![2, 3],
        }],
    }
}

fn any_string() -> impl Strategy<Value = Option<Vec<u8>>> {
    option::of(vec(1_u8.., 0..40))
}

fn any_lun() -> impl Strategy<Value = LunDescription> {
    let bytes = || vec(any::<u8>(), 0..20);
    let identifier = (any::<u32>(), any::<u32>(), bytes()).prop_map(|(code_set, kind, bytes)| {
        StorageIdentifier {
            code_set,
            kind,
            bytes,
        }
    });
    let interconnect =
        (any::<u32>(), bytes(), bytes()).prop_map(|(address_type, port, address)| Interconnect {
            address_type,
            port,
            address,
        });
    let strings = (any_string(), any_string(), any_string(), any_string());
    let numbers = (
        any::<u32>(),
        any::<u8>(),
        any::<u8>(),
        any::<bool>(),
        any::<u32>(),
    );
    let arrays = (vec(identifier, 0..5), vec(interconnect, 0..3));
    (numbers, strings, any::<u128>(), any::<u32>(), arrays).prop_map(
        |(numbers, strings, signature, device_id_version, (identifiers, interconnects))| {
            LunDescription {
                version: numbers.0,
                device_type: numbers.1,
                device_type_modifier: numbers.2,
                command_queueing: numbers.3,
                bus_type: numbers.4,
                vendor: strings.0,
                product: strings.1,
                revision: strings.2,
                serial: strings.3,
                disk_signature: Uuid::from_u128(signature),
                device_id_version,
                identifiers,
                interconnects,
            }
        },
    )
}

proptest! {
    /// GEN-2, T-237: what is written is read back, and what is replaced is freed.
    #[test]
    fn write_and_read_round_trip(first in vec(any_lun(), 3), second in vec(any_lun(), 3)) {
        let memory = Counted::default();
        let mut raw = Raw::new(&memory, &first);
        prop_assert_eq!(raw.read(), Ok(first));
        prop_assert_eq!(raw.write(&second), Ok(()));
        prop_assert_eq!(raw.read(), Ok(second));
        drop(raw);
        prop_assert!(memory.live.borrow().is_empty());
    }

    /// FIL-4, GEN-4: an update makes everything new but the interconnects, and frees what it replaced.
    #[test]
    fn update_replaces_all_but_the_interconnects(old in any_lun(), new in any_lun()) {
        let memory = Counted::default();
        let mut raw = Raw::new(&memory, std::slice::from_ref(&old));
        // SAFETY: a whole structure of this memory.
        let updated = unsafe { update_lun(&memory, raw.luns.as_mut_ptr(), &old, &new) };
        prop_assert_eq!(updated, Ok(()));
        let wanted = LunDescription { interconnects: old.interconnects, ..new };
        prop_assert_eq!(raw.read(), Ok(vec![wanted]));
        drop(raw);
        prop_assert!(memory.live.borrow().is_empty());
    }

    /// T-236, SEC-8: counts and pointers that do not fit one another are refused, and nothing is written.
    #[test]
    fn t236_malformed_structures_are_refused_and_left_alone(
        lun in any_lun(),
        spoils in vec((0_u8..5, spoiled()), 1..4),
    ) {
        let memory = Counted::default();
        let raw = Raw::new(&memory, std::slice::from_ref(&lun));
        let mut lun = raw.luns[0];
        // SAFETY: the structure is whole. The arrays are copied, so that the originals can still be freed.
        let (mut identifiers, mut ports) = unsafe {
            let device_id = &lun.m_deviceIdDescriptor;
            let identifiers = slice_mut(device_id.m_rgIdentifiers, length(device_id.m_cIdentifiers));
            let ports = slice_mut(lun.m_rgInterconnects, length(lun.m_cInterconnects));
            (identifiers.to_vec(), ports.to_vec())
        };
        lun.m_deviceIdDescriptor.m_rgIdentifiers = identifiers.as_mut_ptr();
        lun.m_rgInterconnects = ports.as_mut_ptr();
        for (place, spoil) in spoils {
            let device_id = &mut lun.m_deviceIdDescriptor;
            match (place, identifiers.first_mut(), ports.first_mut()) {
                (0, _, _) => spoil.apply(&mut device_id.m_cIdentifiers, &mut device_id.m_rgIdentifiers),
                (1, _, _) => spoil.apply(&mut lun.m_cInterconnects, &mut lun.m_rgInterconnects),
                (2, Some(first), _) => spoil.apply(&mut first.m_cbIdentifier, &mut first.m_rgbIdentifier),
                (3, _, Some(first)) => spoil.apply(&mut first.m_cbPort, &mut first.m_pbPort),
                (4, _, Some(first)) => spoil.apply(&mut first.m_cbAddress, &mut first.m_pbAddress),
                _ => {}
            }
        }
        let before = (lun, identifiers.clone(), ports.clone());
        // SAFETY: every pointer is NULL or leads to at least as much as a count within the bounds says.
        let read = unsafe { read_lun(&raw const lun) };
        prop_assert_eq!(read.is_err(), is_malformed(&lun, &identifiers, &ports));
        prop_assert_eq!((lun, identifiers, ports), before);
    }
}

/// Ways to spoil a count and its array without pointing anywhere else.
#[derive(Clone, Copy, Debug)]
enum Spoil {
    NoArray,
    Huge(u32),
    NoCount,
}

impl Spoil {
    fn apply<T>(self, count: &mut u32, array: &mut *mut T) {
        match self {
            Self::NoArray => *array = ptr::null_mut(),
            Self::Huge(huge) => *count = huge,
            Self::NoCount => *count = 0,
        }
    }
}

fn is_malformed(
    lun: &VDS_LUN_INFORMATION,
    identifiers: &[VDS_STORAGE_IDENTIFIER],
    ports: &[VDS_INTERCONNECT],
) -> bool {
    fn unfit<T>(count: u32, array: *mut T) -> bool {
        count > 0 && (array.is_null() || count >= HUGE)
    }
    let device_id = &lun.m_deviceIdDescriptor;
    let read_identifiers = identifiers.iter().take(length(device_id.m_cIdentifiers));
    let read_ports = ports.iter().take(length(lun.m_cInterconnects));
    unfit(device_id.m_cIdentifiers, device_id.m_rgIdentifiers)
        || unfit(lun.m_cInterconnects, lun.m_rgInterconnects)
        || read_identifiers
            .into_iter()
            .any(|raw| unfit(raw.m_cbIdentifier, raw.m_rgbIdentifier))
        || read_ports
            .into_iter()
            .any(|raw| unfit(raw.m_cbPort, raw.m_pbPort) || unfit(raw.m_cbAddress, raw.m_pbAddress))
}

/// Beyond every bound.
const HUGE: u32 = 5_000;

fn spoiled() -> impl Strategy<Value = Spoil> {
    prop_oneof![
        Just(Spoil::NoArray),
        (HUGE..).prop_map(Spoil::Huge),
        Just(Spoil::NoCount),
    ]
}

/// T-079, T-129, GEN-3, GTL-10: out of memory at each allocation in turn.
#[test]
fn t129_exhaustion_at_each_allocation_leaves_destinations_zero_and_no_block() {
    let luns = [full(), full()];
    let memory = Counted::default();
    for allocations in 0.. {
        let mut raw = Raw {
            memory: &memory,
            luns: vec![VDS_LUN_INFORMATION::default(); 2],
        };
        memory.left.set(Some(allocations));
        match raw.write(&luns) {
            Ok(()) => {
                assert_eq!(allocations, 2 * 9, "the test knows every allocation");
                break;
            }
            Err(code) => {
                assert_eq!(code, Hresult::E_OUTOFMEMORY);
                assert_eq!(raw.luns, vec![VDS_LUN_INFORMATION::default(); 2]);
                assert!(memory.live.borrow().is_empty(), "leaked at {allocations}");
            }
        }
    }
    assert!(memory.live.borrow().is_empty());
}

/// T-079, GEN-4: the same for a structure that is full.
#[test]
fn t079_exhaustion_at_each_allocation_leaves_the_input_unchanged() {
    let memory = Counted::default();
    let old = full();
    let mut new = full();
    new.serial = Some(b"other".to_vec());
    new.identifiers.reverse();
    let mut raw = Raw::new(&memory, std::slice::from_ref(&old));
    let before = (raw.luns.clone(), memory.live.borrow().clone());
    for allocations in 0.. {
        memory.left.set(Some(allocations));
        // SAFETY: a whole structure of this memory.
        let updated = unsafe { update_lun(&memory, raw.luns.as_mut_ptr(), &old, &new) };
        if updated.is_ok() {
            assert_eq!(allocations, 9, "the test knows every allocation");
            break;
        }
        assert_eq!(updated, Err(Hresult::E_OUTOFMEMORY));
        assert_eq!((&raw.luns, &*memory.live.borrow()), (&before.0, &before.1));
        assert_eq!(raw.read(), Ok(vec![old.clone()]));
    }
    assert_eq!(raw.read(), Ok(vec![new]));
}

/// GEN-2: only what differs gets a new block.
#[test]
fn update_keeps_the_blocks_of_equal_fields() {
    let memory = Counted::default();
    let old = full();
    let new = LunDescription {
        serial: None,
        disk_signature: Uuid::nil(),
        ..full()
    };
    let mut raw = Raw::new(&memory, std::slice::from_ref(&old));
    let before = raw.luns[0];
    // SAFETY: a whole structure of this memory.
    unsafe { update_lun(&memory, raw.luns.as_mut_ptr(), &old, &old) }.expect("there is memory");
    assert_eq!(raw.luns[0], before);
    // SAFETY: a whole structure of this memory.
    unsafe { update_lun(&memory, raw.luns.as_mut_ptr(), &old, &new) }.expect("there is memory");
    let wanted = VDS_LUN_INFORMATION {
        m_szSerialNumber: ptr::null_mut(),
        m_diskSignature: GUID::zeroed(),
        ..before
    };
    assert_eq!(raw.luns[0], wanted);
}

/// T-128, GEN-5, GEN-6.
#[test]
fn read_luns_malformed_counts_are_invalid() {
    let none = ptr::null();
    let zero = VDS_LUN_INFORMATION::default();
    let one = &raw const zero;
    // SAFETY: refused before anything is read, or empty.
    unsafe {
        assert_eq!(read_luns(0_i32, none), Ok(Vec::new()));
        assert_eq!(read_luns(1_i32, none), Err(Hresult::E_INVALIDARG));
        assert_eq!(read_luns(-1_i32, one), Err(Hresult::E_INVALIDARG));
        assert_eq!(read_luns(i32::MIN, one), Err(Hresult::E_INVALIDARG));
        assert_eq!(read_luns(i32::MAX, one), Err(Hresult::E_INVALIDARG));
        assert_eq!(read_luns(u32::MAX, one), Err(Hresult::E_INVALIDARG));
        assert_eq!(read_luns(LUNS_MAX + 1, one), Err(Hresult::E_INVALIDARG));
        assert_eq!(read_luns(1_i32, one), Ok(vec![LunDescription::default()]));
        assert_eq!(read_luns_or_null(5_u32, none), Ok(None));
        assert_eq!(read_lun(none), Err(Hresult::E_INVALIDARG));
    }
}

/// SEC-8: a string has an end.
#[test]
fn read_lun_string_beyond_the_limit_is_invalid() {
    let mut text = vec![b'x'; STRING_MAX + 1];
    text.push(0);
    let mut lun = VDS_LUN_INFORMATION {
        m_szVendorId: text.as_mut_ptr(),
        ..Default::default()
    };
    // SAFETY: the string ends behind the limit.
    let read = unsafe { read_lun(&raw const lun) };
    assert_eq!(read, Err(Hresult::E_INVALIDARG));
    lun.m_szVendorId = text[1..].as_mut_ptr();
    // SAFETY: the string ends at the limit.
    let read = unsafe { read_lun(&raw const lun) }.expect("it is long enough");
    assert_eq!(read.vendor.expect("it is there").len(), STRING_MAX);
}

/// GEN-3.
#[test]
fn out_empties_the_place_and_refuses_null() {
    let mut place = 7;
    // SAFETY: NULL, or a place of ours.
    unsafe {
        assert_eq!(out(ptr::null_mut::<u32>(), 0), Err(Hresult::E_INVALIDARG));
        *out(&raw mut place, 0).expect("not NULL") += 1;
    }
    assert_eq!(place, 1);
}
