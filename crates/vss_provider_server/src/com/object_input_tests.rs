// SPDX-License-Identifier: MIT OR Apache-2.0
//! Who calls, and what is handed in: NULLs, counts that do not fit, huge and write-protected memory.

// UNSAFETY: calls COM methods with pointers, good and bad ones.
#![expect(unsafe_code)]

use super::*;
use array_api::simulated::{Fault, Op};
use vss_provider::{Interconnect, StorageIdentifier};
use windows::Win32::Foundation::E_ACCESSDENIED;
use windows::Win32::Storage::VirtualDiskService::{
    VDS_STORAGE_IDENTIFIER, VDS_STORAGE_IDENTIFIER_CODE_SET, VDS_STORAGE_IDENTIFIER_TYPE,
};
use windows::Win32::System::Memory::{
    MEM_COMMIT, MEM_RELEASE, MEM_RESERVE, PAGE_NOACCESS, PAGE_PROTECTION_FLAGS, PAGE_READONLY,
    PAGE_READWRITE, VirtualAlloc, VirtualFree, VirtualProtect,
};

const NONE: *const VDS_LUN_INFORMATION = ptr::null();
const ID: GUID = GUID::from_u128(1);
const NOT_SUPPORTED: HRESULT = HRESULT(
    Hresult::VSS_E_VOLUME_NOT_SUPPORTED_BY_PROVIDER
        .0
        .cast_signed(),
);

fn load() -> IVssHardwareSnapshotProviderEx {
    bench().load().expect("it loads")
}

/// AreLunsSupported without device names: its code, and what it stored over TRUE.
fn supported(
    provider: &IVssHardwareSnapshotProviderEx,
    count: i32,
    luns: *const VDS_LUN_INFORMATION,
) -> (HRESULT, bool) {
    let mut answer = BOOL(1);
    // SAFETY: the caller hands in what the interface allows, or what is refused unread.
    let code = unsafe {
        (provider.vtable().base__.AreLunsSupported)(
            provider.as_raw(),
            count,
            0,
            ptr::null(),
            luns.cast_mut(),
            &raw mut answer,
        )
    };
    (code, answer.as_bool())
}

/// T-020, SEC-1, SEC-2, GEN-3: in every method, before anything is read or asked; out values are empty all the same.
#[test]
fn t020_ordinary_caller_is_denied_in_every_method() {
    let bench = bench();
    let provider = begin(&bench);
    let creation: IVssProviderCreateSnapshotSet = provider.cast().expect("it is there");
    let notifications: IVssProviderNotifications = provider.cast().expect("it is there");
    let lun = Lun::new(&create_lun());
    let (luns, mut operation) = (&raw const lun.0, ptr::without_provenance_mut(1));
    let (mut mask, mut answer) = (7_u64, BOOL(1));
    let before = array_calls();
    PRIVILEGED.set(false);
    let (vtable, this) = (provider.vtable(), provider.as_raw());
    let (base, set, load) = (&vtable.base__, creation.vtable(), notifications.vtable());
    let (as_set, as_load) = (creation.as_raw(), notifications.as_raw());
    // SAFETY: one LUN, and places of ours.
    let codes = unsafe {
        [
            (base.AreLunsSupported)(this, 1, 0, ptr::null(), luns.cast_mut(), &raw mut answer),
            (base.FillInLunInfo)(this, ptr::null(), luns.cast_mut(), &raw mut answer),
            (base.BeginPrepareSnapshot)(this, ID, ID, 0, 1, ptr::null(), luns.cast_mut()),
            (base.GetTargetLuns)(this, 1, ptr::null(), luns, luns.cast_mut()),
            (base.LocateLuns)(this, 1, luns),
            (base.OnLunEmpty)(this, ptr::null(), luns),
            (vtable.GetProviderCapabilities)(this, &raw mut mask),
            (vtable.OnLunStateChange)(this, luns, luns, 1, 0x200),
            (vtable.ResyncLuns)(this, luns, luns, 1, &raw mut operation),
            (vtable.OnReuseLuns)(this, luns, luns, 1),
            (set.EndPrepareSnapshots)(as_set, ID),
            (set.PreCommitSnapshots)(as_set, ID),
            (set.CommitSnapshots)(as_set, ID),
            (set.PostCommitSnapshots)(as_set, ID, 1),
            (set.PreFinalCommitSnapshots)(as_set, ID),
            (set.PostFinalCommitSnapshots)(as_set, ID),
            (set.AbortSnapshots)(as_set, ID),
            (load.OnLoad)(as_load, ptr::null_mut()),
            (load.OnUnload)(as_load, BOOL(1)),
        ]
    };
    assert_eq!(codes, [E_ACCESSDENIED; 19]);
    assert_eq!((answer, mask, operation), (BOOL(0), 0, ptr::null_mut()));
    assert_eq!(array_calls(), before, "the array heard of it");
    assert_eq!(EVENTS.take(), [], "and could fill the log");
    let refused = bench.load::<IUnknown>().expect_err("it is refused");
    assert_eq!(refused.code(), E_ACCESSDENIED);
}

/// T-020, SEC-1, SEC-2: nor does the object of a resync, which is handed out and may be called by others than who asked for it.
#[test]
fn t020_ordinary_caller_is_denied_by_a_resync_under_way() {
    // SAFETY: no LUNs.
    let operation = unsafe { load().ResyncLuns(ptr::null(), ptr::null(), 0) }.expect("done");
    let (vtable, this, mut status) = (operation.vtable(), operation.as_raw(), S_FALSE);
    PRIVILEGED.set(false);
    // SAFETY: a place of ours.
    let codes = unsafe {
        [
            (vtable.Cancel)(this),
            (vtable.Wait)(this, 0),
            (vtable.QueryStatus)(this, &raw mut status, ptr::null_mut()),
        ]
    };
    PRIVILEGED.set(true);
    assert_eq!((codes, status), ([E_ACCESSDENIED; 3], S_OK));
    assert_eq!(EVENTS.take(), [], "and could fill the log");
}

/// LOAD-10, SEC-2: the last Release has no caller, since its client may be dead; it gives the set up all the same.
#[test]
fn t018_last_release_needs_no_caller() {
    let bench = bench();
    let provider = begin(&bench);
    PRIVILEGED.set(false);
    drop(provider);
    PRIVILEGED.set(true);
    assert_eq!(reserved(), 0);
}

/// T-046, T-054, GEN-5, GEN-6, ALS-12.
#[test]
fn t046_malformed_questions_are_invalid_and_answered_false() {
    let provider = load();
    let lun = Lun::new(&LunDescription::default());
    for (count, luns, code) in [
        (1, NONE, E_INVALIDARG),
        (-1, &raw const lun.0, E_INVALIDARG),
        (i32::MIN, &raw const lun.0, E_INVALIDARG),
        (i32::MAX, &raw const lun.0, E_INVALIDARG),
        (0, NONE, S_OK),
    ] {
        assert_eq!(supported(&provider, count, luns), (code, false), "{count}");
    }
    // SAFETY: nothing is written, because there is no place.
    let code = unsafe {
        (provider.vtable().base__.AreLunsSupported)(
            provider.as_raw(),
            0,
            0,
            ptr::null(),
            NONE.cast_mut(),
            ptr::null_mut(),
        )
    };
    assert_eq!(code, E_INVALIDARG);
    assert_eq!(EVENTS.take(), [], "malformed input goes without an event");
}

/// T-047, GEN-11: device names are informative.
#[test]
fn t047_device_names_may_be_missing_one_or_all() {
    let provider = load();
    let mut lun = Lun::new(&create_lun());
    let name: Vec<u16> = r"\\.\PhysicalDrive1".encode_utf16().chain([0]).collect();
    let names = [name.as_ptr()];
    let nulls = [ptr::null::<u16>()];
    for devices in [names.as_ptr(), nulls.as_ptr(), ptr::null()] {
        let mut answer = BOOL(0);
        // SAFETY: one LUN, one name.
        unsafe { provider.AreLunsSupported(1, 0, devices, &raw mut lun.0, &raw mut answer) }
            .expect("it is ours");
        assert!(answer.as_bool());
    }
}

/// T-049, SEC-8: counts without their arrays.
#[test]
fn t049_counts_without_arrays_are_invalid() {
    let provider = load();
    let mut lun = VDS_LUN_INFORMATION::default();
    lun.m_deviceIdDescriptor.m_cIdentifiers = 2;
    assert_eq!(
        supported(&provider, 1, &raw const lun),
        (E_INVALIDARG, false)
    );
    let mut identifier = VDS_STORAGE_IDENTIFIER {
        m_cbIdentifier: 16,
        ..Default::default()
    };
    lun.m_deviceIdDescriptor.m_cIdentifiers = 1;
    lun.m_deviceIdDescriptor.m_rgIdentifiers = &raw mut identifier;
    assert_eq!(
        supported(&provider, 1, &raw const lun),
        (E_INVALIDARG, false)
    );
}

/// T-054, ALS-12, GEN-3.
#[test]
fn t054_an_error_inside_answers_false_too() {
    VETO_WHEN_UNREACHABLE.set(true);
    let provider = load();
    let lun = Lun::new(&create_lun());
    ARRAY.with(|array| array.fault_all(&Fault::Down));
    assert_eq!(supported(&provider, 1, &raw const lun.0), (VETO, false));
    assert_eq!(EVENTS.take().len(), 1);
}

/// T-083, GEN-5, GEN-6.
#[test]
fn t083_begin_without_luns_is_invalid() {
    let provider = load();
    let begin = |count| {
        // SAFETY: refused before anything is read.
        unsafe {
            (provider.vtable().base__.BeginPrepareSnapshot)(
                provider.as_raw(),
                ID,
                ID,
                0,
                count,
                ptr::null(),
                NONE.cast_mut(),
            )
        }
    };
    let codes = [begin(1), begin(0), begin(-1), begin(i32::MAX)];
    assert_eq!(codes, [E_INVALIDARG; 4]);
    assert_eq!(reserved(), 0);
}

/// T-128, GEN-5, GEN-6.
#[test]
fn t128_get_target_luns_with_nulls_and_counts() {
    let provider = load();
    let mut lun = Lun::new(&LunDescription::default());
    let targets = |count, from, to| {
        // SAFETY: NULL, or one structure where one is read.
        unsafe {
            (provider.vtable().base__.GetTargetLuns)(
                provider.as_raw(),
                count,
                ptr::null(),
                from,
                to,
            )
        }
    };
    assert_eq!(targets(1, NONE, &raw mut lun.0), E_INVALIDARG);
    assert_eq!(targets(1, &raw const lun.0, NONE.cast_mut()), E_INVALIDARG);
    assert_eq!(targets(0, NONE, NONE.cast_mut()), S_OK);
    assert_eq!(targets(-1, NONE, NONE.cast_mut()), E_INVALIDARG);
}

/// T-199, T-204, GEN-5, GEN-6, GEN-11, OLS-4: NULLs in the methods of a copy's later life.
#[test]
fn t199_t204_nulls_after_creation() {
    let provider = load();
    let (vtable, this) = (provider.vtable(), provider.as_raw());
    let (mut lun, mut answer) = (Lun::new(&LunDescription::default()), BOOL(1));
    // SAFETY: NULL, or one structure where one is read.
    unsafe {
        assert_eq!(
            (vtable.base__.OnLunEmpty)(this, ptr::null(), NONE),
            E_INVALIDARG
        );
        let change = |copies, originals, count| {
            (vtable.OnLunStateChange)(this, copies, originals, count, 0x200)
        };
        assert_eq!(change(NONE, NONE, 0), S_OK);
        assert_eq!(change(NONE, NONE, 2), E_INVALIDARG);
        assert_eq!(change(NONE, NONE, u32::MAX), E_INVALIDARG);
        assert_ne!(change(&raw const lun.0, NONE, 1), E_INVALIDARG);
        let locate = |count| (vtable.base__.LocateLuns)(this, count, NONE);
        assert_eq!(
            [locate(0), locate(1), locate(-1)],
            [S_OK, E_INVALIDARG, E_INVALIDARG]
        );
        let fill = |lun, answer| (vtable.base__.FillInLunInfo)(this, ptr::null(), lun, answer);
        assert_eq!(fill(NONE.cast_mut(), &raw mut answer), E_INVALIDARG);
        assert_eq!(answer, BOOL(0));
        assert_eq!(fill(&raw mut lun.0, ptr::null_mut()), E_INVALIDARG);
    }
}

/// T-223, RSY-5, RSY-13, RSY-14, GEN-3.
#[test]
fn t223_resync_without_arrays() {
    let provider = load();
    let resync = |count, operation: *mut *mut c_void| {
        // SAFETY: refused before anything is read, or no LUNs.
        unsafe { (provider.vtable().ResyncLuns)(provider.as_raw(), NONE, NONE, count, operation) }
    };
    let mut operation = ptr::without_provenance_mut(1);
    assert_eq!(resync(1, &raw mut operation), E_INVALIDARG);
    assert_eq!(operation, ptr::null_mut());
    assert_eq!(resync(0, ptr::null_mut()), E_INVALIDARG);
    assert_eq!(resync(0, &raw mut operation), S_OK);
    // SAFETY: the operation's own reference, handed over.
    let operation = unsafe { IVssAsync::from_raw(operation) };
    let mut status = S_FALSE;
    let vtable = operation.vtable();
    // SAFETY: a place of ours.
    let code =
        unsafe { (vtable.QueryStatus)(operation.as_raw(), &raw mut status, ptr::null_mut()) };
    assert_eq!((code, status), (S_OK, FINISHED));
}

/// T-221.
#[test]
fn t221_status_without_a_place_is_invalid() {
    // SAFETY: no LUNs; NULL is refused.
    unsafe {
        let operation = load()
            .ResyncLuns(ptr::null(), ptr::null(), 0)
            .expect("done");
        let none = ptr::null_mut();
        let query = operation.vtable().QueryStatus;
        assert_eq!(
            query(operation.as_raw(), none, ptr::null_mut()),
            E_INVALIDARG
        );
    }
}

/// Pages of the system's, given back with it.
struct Pages {
    start: *mut c_void,
    bytes: usize,
}

impl Pages {
    fn new(bytes: usize, protection: PAGE_PROTECTION_FLAGS) -> Self {
        // SAFETY: the system chooses the place.
        let start = unsafe { VirtualAlloc(None, bytes, MEM_RESERVE | MEM_COMMIT, protection) };
        assert!(!start.is_null());
        Self { start, bytes }
    }

    fn protect(&self, protection: PAGE_PROTECTION_FLAGS) {
        let mut before = PAGE_READWRITE;
        // SAFETY: pages of ours.
        unsafe { VirtualProtect(self.start, self.bytes, protection, &raw mut before) }
            .expect("they are ours");
    }

    /// Copies a value to an offset; where it is now.
    fn put<T>(&self, at: &mut usize, values: &[T]) -> *mut T {
        let start = at.next_multiple_of(16);
        *at = start + size_of_val(values);
        assert!(*at <= self.bytes);
        // SAFETY: within the pages, aligned, and nobody else's.
        unsafe {
            let place = self.start.byte_add(start).cast::<T>();
            ptr::copy_nonoverlapping(values.as_ptr(), place, values.len());
            place
        }
    }

    /// A LUN with everything that it points to.
    fn put_lun(&self, at: &mut usize, lun: &LunDescription) -> *mut VDS_LUN_INFORMATION {
        let mut identifiers = Vec::new();
        for identifier in &lun.identifiers {
            identifiers.push(VDS_STORAGE_IDENTIFIER {
                m_CodeSet: VDS_STORAGE_IDENTIFIER_CODE_SET(identifier.code_set.cast_signed()),
                m_Type: VDS_STORAGE_IDENTIFIER_TYPE(identifier.kind.cast_signed()),
                m_cbIdentifier: u32::try_from(identifier.bytes.len()).expect("it is short"),
                m_rgbIdentifier: self.put(at, &identifier.bytes),
            });
        }
        let text = |text: &Option<Vec<u8>>, at: &mut usize| {
            let mut text = text.clone().expect("it is there");
            text.push(0);
            self.put(at, &text)
        };
        let mut raw = VDS_LUN_INFORMATION {
            m_version: lun.version,
            m_szVendorId: text(&lun.vendor, at),
            m_szProductId: text(&lun.product, at),
            m_szProductRevision: text(&lun.revision, at),
            m_szSerialNumber: text(&lun.serial, at),
            ..Default::default()
        };
        raw.m_deviceIdDescriptor.m_version = lun.device_id_version;
        raw.m_deviceIdDescriptor.m_cIdentifiers =
            u32::try_from(identifiers.len()).expect("there are few");
        raw.m_deviceIdDescriptor.m_rgIdentifiers = self.put(at, &identifiers);
        self.put(at, &[raw])
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: pages of ours, given back once.
        let _ = unsafe { VirtualFree(self.start, 0, MEM_RELEASE) };
    }
}

/// T-308, GEN-1: what a caller hands in is never written. A write would end the test's process.
#[test]
fn t308_write_protected_input_is_only_read() {
    let (source, mut target) = (create_lun(), Lun::new(&LunDescription::default()));
    let pages = Pages::new(1 << 16, PAGE_READWRITE);
    let mut end = 0;
    let lun = pages.put_lun(&mut end, &source);
    pages.protect(PAGE_READONLY);
    let provider = load();
    let creation: IVssProviderCreateSnapshotSet = provider.cast().expect("it is there");
    let mut answer = BOOL(0);
    // SAFETY: one LUN, in pages that are valid to the end.
    unsafe {
        (provider.AreLunsSupported(1, 0, ptr::null(), lun, &raw mut answer)).expect("ours");
        (provider.BeginPrepareSnapshot(ID, ID, 0, 1, ptr::null(), lun)).expect("begins");
        creation.EndPrepareSnapshots(ID).expect("ready");
        creation.PreCommitSnapshots(ID).expect("armed");
        creation.CommitSnapshots(ID).expect("captured");
        creation.PostCommitSnapshots(ID, 1).expect("thawed");
        (provider.GetTargetLuns(1, ptr::null(), lun, &raw mut target.0)).expect("told");
    }
    pages.protect(PAGE_READWRITE);
    let copy = pages.put_lun(&mut end, &target.read());
    pages.protect(PAGE_READONLY);
    // SAFETY: as above.
    unsafe {
        provider
            .LocateLuns(std::slice::from_raw_parts(copy, 1))
            .expect("mapped");
        let (vtable, this) = (provider.vtable(), provider.as_raw());
        assert_eq!((vtable.OnLunStateChange)(this, copy, lun, 1, 0x800), S_OK);
        let mut operation = ptr::null_mut();
        let resync = (vtable.ResyncLuns)(this, copy, lun, 1, &raw mut operation);
        assert_eq!(resync == S_OK, !operation.is_null());
        drop(mem_option(operation));
        provider.OnLunEmpty(ptr::null(), copy).expect("deleted");
    }
}

/// SEC-8, GEN-5: a huge count is refused by its number. What it claims to count cannot even be read.
#[test]
fn t236_sixteen_megabytes_of_identifier_are_refused_unread() {
    let provider = load();
    let bytes = 16 << 20;
    let pages = Pages::new(bytes, PAGE_NOACCESS);
    let mut identifier = VDS_STORAGE_IDENTIFIER {
        m_cbIdentifier: u32::try_from(bytes).expect("it fits"),
        m_rgbIdentifier: pages.start.cast(),
        ..Default::default()
    };
    let mut lun = VDS_LUN_INFORMATION::default();
    lun.m_deviceIdDescriptor.m_cIdentifiers = 1;
    lun.m_deviceIdDescriptor.m_rgIdentifiers = &raw mut identifier;
    let lun = &raw const lun;
    assert_eq!(supported(&provider, 1, lun), (E_INVALIDARG, false));
    // SAFETY: one structure; what it points to is refused unread.
    unsafe {
        let (vtable, this) = (provider.vtable(), provider.as_raw());
        assert_eq!((vtable.base__.LocateLuns)(this, 1, lun), E_INVALIDARG);
        assert_eq!(
            (vtable.base__.OnLunEmpty)(this, ptr::null(), lun),
            E_INVALIDARG
        );
        let begin = vtable.base__.BeginPrepareSnapshot;
        assert_eq!(
            begin(this, ID, ID, 0, 1, ptr::null(), lun.cast_mut()),
            E_INVALIDARG
        );
    }
}

/// T-236, SEC-8, GEN-6: 4,096 LUNs are the limit of a call; so many are looked at, one more is refused unread.
#[test]
fn t236_four_thousand_luns_are_answered_and_one_more_is_refused() {
    let provider = load();
    let stranger = Lun::new(&LunDescription {
        vendor: Some(b"OTHER".to_vec()),
        ..LunDescription::default()
    });
    // They share their blocks, which is allowed for what is only read.
    let luns = vec![stranger.0; 4_096];
    assert_eq!(supported(&provider, 4_096, luns.as_ptr()), (S_OK, false));
    assert_eq!(
        supported(&provider, 4_097, luns.as_ptr()),
        (E_INVALIDARG, false)
    );
    // SAFETY: as many structures as said, or refused unread.
    unsafe {
        let begin = |count| {
            (provider.vtable().base__.BeginPrepareSnapshot)(
                provider.as_raw(),
                ID,
                ID,
                0,
                count,
                ptr::null(),
                luns.as_ptr().cast_mut(),
            )
        };
        assert_eq!((begin(4_096), begin(4_097)), (NOT_SUPPORTED, E_INVALIDARG));
    }
}

/// GEN-2, FIL-4: FillInLunInfo replaces what it has to, and leaves the ports where they are.
#[test]
fn fill_in_leaves_the_interconnects_in_their_place() {
    let provider = load();
    let mut lun = Lun::new(&LunDescription {
        version: 7,
        interconnects: vec![Interconnect {
            address_type: 5,
            port: vec![1, 2],
            address: vec![3],
        }],
        ..create_lun()
    });
    let before = (lun.0.m_cInterconnects, lun.0.m_rgInterconnects);
    let mut known = BOOL(0);
    // SAFETY: one structure with blocks of task memory.
    unsafe { provider.FillInLunInfo(ptr::null(), &raw mut lun.0, &raw mut known) }.expect("ours");
    assert!(known.as_bool());
    assert_eq!((lun.0.m_cInterconnects, lun.0.m_rgInterconnects), before);
    let read = lun.read();
    assert_eq!(
        (read.version, &read.interconnects[0].port[..]),
        (1, &[1, 2][..])
    );
}

/// GEN-4: a method that fails leaves what was handed in as it was.
#[test]
fn failed_call_leaves_the_structure_as_it_was() {
    let provider = load();
    let mut lun = Lun::new(&LunDescription {
        identifiers: vec![StorageIdentifier {
            code_set: 1,
            kind: 3,
            bytes: vec![6; 16],
        }],
        ..LunDescription::default()
    });
    let before = lun.0;
    let mut known = BOOL(1);
    // SAFETY: one structure.
    unsafe { provider.FillInLunInfo(ptr::null(), &raw mut lun.0, &raw mut known) }
        .expect("it says FALSE");
    assert_eq!((lun.0, known), (before, BOOL(0)));
    let count = ARRAY.with(|array| array.count(Op::Query));
    assert_eq!(count, 0, "the array is not asked about a stranger's LUN");
}
