// SPDX-License-Identifier: MIT OR Apache-2.0
//! A computer without memory.

// UNSAFETY: calls COM methods with pointers.
#![expect(unsafe_code)]

use super::*;
use crate::com::convert::{BYTES_MAX, IDENTIFIERS_MAX, LUNS_MAX};
use crate::memory::exhaustion::with_blocks_left;
use windows::Win32::Foundation::E_OUTOFMEMORY;
use windows::Win32::Storage::VirtualDiskService::VDS_STORAGE_IDENTIFIER;

/// T-079, GEN-3, ERR-5: the system's memory ends at each allocation of BeginPrepareSnapshot in turn, the simulated array's among them.
/// Until all that is asked of the array could be carried through, the call is refused with nothing done and nothing kept but an event; from
/// there on it succeeds. The process lives on either way.
#[test]
fn t079_begin_prepare_out_of_memory_at_each_allocation_is_refused_or_completed() {
    let bench = bench();
    let provider: IVssHardwareSnapshotProviderEx = bench.load().expect("it loads");
    let creation: IVssProviderCreateSnapshotSet = provider.cast().expect("it is there");
    let mut source = Lun::new(&create_lun());
    let (mut refused, mut completed) = (0, 0);
    for blocks in 0_usize.. {
        let set = GUID::from_u128(0x1000 + blocks as u128);
        let asked = array_calls();
        let raw = &raw mut source.0;
        let ((code, told), fared) = with_blocks_left(blocks, || {
            // SAFETY: an array of one, in a place of ours.
            let begun = unsafe { provider.BeginPrepareSnapshot(set, set, 0, 1, ptr::null(), raw) };
            let events = EVENTS.take();
            let told = matches!(&events[..], [event] if event.kind == EventKind::OutOfMemory);
            (code(begun), told)
        });
        assert_eq!(told, code == E_OUTOFMEMORY, "with {blocks} blocks (ERR-5)");
        match code {
            E_OUTOFMEMORY => {
                assert_eq!(completed, 0, "with {blocks} blocks: less was enough");
                assert_eq!(array_calls(), asked, "with {blocks} blocks");
                assert_eq!(fared.kept, 0, "with {blocks} blocks: leaked");
                refused += 1;
            }
            code => {
                assert_eq!(code, S_OK, "with {blocks} blocks");
                // SAFETY: no pointers.
                unsafe { creation.AbortSnapshots(set) }.expect("it is the set in progress");
                completed += 1;
            }
        }
        assert_eq!(reserved(), 0, "with {blocks} blocks");
        if fared.refused == 0 {
            break;
        }
    }
    assert!(refused > 1 && completed > 1, "{refused}, {completed}");
}

/// AreLunsSupported's code and the most memory that it took, on so many LUNs like this one.
fn supported_within(luns: &[VDS_LUN_INFORMATION]) -> (HRESULT, isize) {
    let provider: IVssHardwareSnapshotProviderEx = bench().load().expect("it loads");
    let mut answer = BOOL(0);
    let count = i32::try_from(luns.len()).expect("there are few");
    let (code, fared) = with_blocks_left(usize::MAX, || {
        let luns = luns.as_ptr().cast_mut();
        // SAFETY: an array of `count` that is only read, and a place of ours.
        code(unsafe { provider.AreLunsSupported(count, 0, ptr::null(), luns, &raw mut answer) })
    });
    (code, fared.bytes_peak)
}

/// T-236, SEC-8: with everything at its limit a call would take 4 GiB. It is refused as soon as it is too much, and 4,096 LUNs
/// as arrays show them stay far below.
#[test]
fn t236_memory_of_a_call_is_bounded() {
    const MIB: isize = 1 << 20;
    let long = vec![7_u8; BYTES_MAX];
    let identifier = VDS_STORAGE_IDENTIFIER {
        m_cbIdentifier: u32::try_from(BYTES_MAX).expect("it fits"),
        m_rgbIdentifier: long.as_ptr().cast_mut(),
        ..Default::default()
    };
    let mut identifiers = vec![identifier; IDENTIFIERS_MAX];
    let mut vast = VDS_LUN_INFORMATION::default();
    vast.m_deviceIdDescriptor.m_cIdentifiers = u32::try_from(IDENTIFIERS_MAX).expect("it fits");
    vast.m_deviceIdDescriptor.m_rgIdentifiers = identifiers.as_mut_ptr();
    let usual = Lun::new(&create_lun());

    let (code, peak) = supported_within(&vec![vast; LUNS_MAX]);
    assert_eq!(code, E_INVALIDARG);
    assert!((16 * MIB..24 * MIB).contains(&peak), "{peak} bytes");

    let (code, peak) = supported_within(&vec![usual.0; LUNS_MAX]);
    assert_eq!(code, S_OK);
    assert!(peak < 16 * MIB, "{peak} bytes");
}
