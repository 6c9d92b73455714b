// SPDX-License-Identifier: MIT OR Apache-2.0
//! The provider's object: passes each call on, as it came, and breaks the rule of its defect.

// UNSAFETY: COM methods come with raw pointers, which go on to another object's method.
#![expect(unsafe_code)]

use crate::defect::Defect;
use crate::good;
use std::collections::HashSet;
use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use vss_provider::LunDescription;
use vss_provider_server::com::convert::{CoTaskMemory, read_lun, read_luns, update_lun};
use vss_provider_server::lifetime::User;
use windows::Win32::Foundation::{E_FAIL, S_OK};
use windows::Win32::Storage::VirtualDiskService::VDS_LUN_INFORMATION;
use windows::Win32::Storage::Vss::{
    IVssAsync, IVssHardwareSnapshotProvider_Impl, IVssHardwareSnapshotProviderEx,
    IVssHardwareSnapshotProviderEx_Impl, IVssProviderCreateSnapshotSet,
    IVssProviderCreateSnapshotSet_Impl, IVssProviderNotifications, IVssProviderNotifications_Impl,
    VSS_E_PROVIDER_VETO,
};
use windows::Win32::System::Com::{CLSCTX_LOCAL_SERVER, CoCreateInstance};
use windows_core::{BOOL, Error, GUID, HRESULT, IUnknown, Interface, Ref, Result, implement};

/// One provider as COM sees it.
#[implement(
    IVssHardwareSnapshotProviderEx,
    IVssProviderCreateSnapshotSet,
    IVssProviderNotifications,
    Agile = false
)]
pub(crate) struct WrongProvider {
    luns: IVssHardwareSnapshotProviderEx,
    sets: IVssProviderCreateSnapshotSet,
    notifications: IVssProviderNotifications,
    defect: Option<Defect>,
    /// The set that began last.
    begun: Mutex<GUID>,
    /// Serial numbers that were located.
    located: Mutex<HashSet<Vec<u8>>>,
    calls: AtomicU32,
    everything: Mutex<()>,
    _user: User,
}

/// Calls a method of the good provider, past windows-rs's own form of it, which drops codes such as S_FALSE.
macro_rules! pass {
    ($interface:expr, $($method:ident).+($($argument:expr),*)) => {{
        let interface = &$interface;
        let method = Interface::vtable(interface).$($method).+;
        // SAFETY: the arguments are those of the same method of this object, or as good.
        unsafe { method(Interface::as_raw(interface), $($argument),*) }
    }};
}

impl WrongProvider {
    /// Loads a good provider.
    pub(crate) fn new(defect: Option<Defect>, user: User) -> Result<Self> {
        let class = GUID::from_u128(vendor_provider::ANVIL.names.class_id.as_u128());
        // SAFETY: the pointer is valid for the call.
        let good: IUnknown =
            unsafe { CoCreateInstance(&raw const class, None, CLSCTX_LOCAL_SERVER) }?;
        Ok(Self {
            luns: good.cast()?,
            sets: good.cast()?,
            notifications: good.cast()?,
            defect,
            begun: Mutex::default(),
            located: Mutex::default(),
            calls: AtomicU32::new(0),
            everything: Mutex::default(),
            _user: user,
        })
    }

    fn is(&self, defect: Defect) -> bool {
        self.defect == Some(defect)
    }

    /// Makes the call and answers its code.
    fn answer(&self, call: impl FnOnce() -> HRESULT) -> Result<()> {
        let events_before = self.is(Defect::SilentVeto).then(good::event_bytes);
        let code = call();
        if let Some(bytes) = events_before
            && code.is_err()
        {
            good::forget_events_after(bytes);
        }
        match code {
            S_OK => Ok(()),
            code => Err(Error::from(code)),
        }
    }

    fn lock_of_everything(&self) -> Option<MutexGuard<'_, ()>> {
        self.is(Defect::OneLock).then(|| lock(&self.everything))
    }

    fn located_before(&self, count: i32, luns: *const VDS_LUN_INFORMATION) -> bool {
        // SAFETY: COM hands in `count` structures.
        let luns = unsafe { read_luns(count, luns) }.expect("the stub made them");
        let mut located = lock(&self.located);
        let mut serials = luns.into_iter().filter_map(|lun| lun.serial);
        serials.any(|serial| !located.insert(serial))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Changes the first of the structures at `lun`.
fn change(lun: *mut VDS_LUN_INFORMATION, change: impl FnOnce(&mut LunDescription)) {
    // SAFETY: COM's stub made the structures, and their blocks of task memory.
    let changed = unsafe {
        read_lun(lun).and_then(|old| {
            let mut new = old.clone();
            change(&mut new);
            update_lun(&CoTaskMemory, lun, &old, &new)
        })
    };
    changed.expect("the stub made it");
}

impl IVssHardwareSnapshotProvider_Impl for WrongProvider_Impl {
    fn AreLunsSupported(
        &self,
        count: i32,
        context: i32,
        devices: *const *const u16,
        luns: *mut VDS_LUN_INFORMATION,
        supported: *mut BOOL,
    ) -> Result<()> {
        self.answer(|| {
            let code = pass!(
                self.luns,
                base__.AreLunsSupported(count, context, devices, luns, supported)
            );
            if self.is(Defect::SupportsAll) {
                // SAFETY: COM's stub passes a variable.
                unsafe { supported.write(true.into()) };
            }
            if self.is(Defect::ChangesLuns) && count > 0 {
                change(luns, |lun| lun.revision = None);
            }
            code
        })
    }

    fn FillInLunInfo(
        &self,
        device: *const u16,
        lun: *mut VDS_LUN_INFORMATION,
        supported: *mut BOOL,
    ) -> Result<()> {
        self.answer(|| pass!(self.luns, base__.FillInLunInfo(device, lun, supported)))
    }

    fn BeginPrepareSnapshot(
        &self,
        set: &GUID,
        snapshot: &GUID,
        context: i32,
        count: i32,
        devices: *const *const u16,
        luns: *mut VDS_LUN_INFORMATION,
    ) -> Result<()> {
        *lock(&self.begun) = *set;
        self.answer(|| {
            let code = pass!(
                self.luns,
                base__.BeginPrepareSnapshot(*set, *snapshot, context, count, devices, luns)
            );
            if self.is(Defect::DropsSet) && code.is_err() {
                let _ = pass!(self.sets, AbortSnapshots(*set));
            }
            code
        })
    }

    fn GetTargetLuns(
        &self,
        count: i32,
        devices: *const *const u16,
        sources: *const VDS_LUN_INFORMATION,
        destinations: *mut VDS_LUN_INFORMATION,
    ) -> Result<()> {
        self.answer(|| {
            let code = pass!(
                self.luns,
                base__.GetTargetLuns(count, devices, sources, destinations)
            );
            if self.is(Defect::NewIdentity) && code.is_ok() && count > 0 {
                let call = self.calls.fetch_add(1, Ordering::Relaxed);
                let serial = format!("serial {call}").into_bytes();
                change(destinations, |lun| lun.serial = Some(serial));
            }
            if self.is(Defect::LeavesTargets) && code.is_err() && count > 0 {
                change(destinations, |lun| lun.vendor = Some(b"ANVILEXA".to_vec()));
            }
            code
        })
    }

    fn LocateLuns(&self, count: i32, luns: *const VDS_LUN_INFORMATION) -> Result<()> {
        self.answer(|| {
            if self.is(Defect::LocatesOnce) && self.located_before(count, luns) {
                return VSS_E_PROVIDER_VETO;
            }
            match pass!(self.luns, base__.LocateLuns(count, luns)) {
                VSS_E_PROVIDER_VETO if self.is(Defect::AnotherCode) => E_FAIL,
                code => code,
            }
        })
    }

    fn OnLunEmpty(&self, device: *const u16, lun: *const VDS_LUN_INFORMATION) -> Result<()> {
        self.answer(|| {
            let code = pass!(self.luns, base__.OnLunEmpty(device, lun));
            if self.is(Defect::EmptiesOriginals) && code == VSS_E_PROVIDER_VETO {
                // SAFETY: COM's stub passes a structure.
                good::remove(&unsafe { read_lun(lun) }.expect("the stub made it"));
            }
            code
        })
    }
}

impl IVssHardwareSnapshotProviderEx_Impl for WrongProvider_Impl {
    fn GetProviderCapabilities(&self) -> Result<u64> {
        let mut mask = 0;
        self.answer(|| pass!(self.luns, GetProviderCapabilities(&raw mut mask)))?;
        Ok(mask)
    }

    fn OnLunStateChange(
        &self,
        copies: *const VDS_LUN_INFORMATION,
        originals: *const VDS_LUN_INFORMATION,
        count: u32,
        flags: u32,
    ) -> Result<()> {
        self.answer(|| pass!(self.luns, OnLunStateChange(copies, originals, count, flags)))
    }

    fn ResyncLuns(
        &self,
        copies: *const VDS_LUN_INFORMATION,
        targets: *const VDS_LUN_INFORMATION,
        count: u32,
    ) -> Result<IVssAsync> {
        let mut operation = ptr::null_mut();
        self.answer(|| {
            pass!(
                self.luns,
                ResyncLuns(copies, targets, count, &raw mut operation)
            )
        })?;
        // SAFETY: a successful ResyncLuns hands over a reference.
        Ok(unsafe { IVssAsync::from_raw(operation) })
    }

    fn OnReuseLuns(
        &self,
        copies: *const VDS_LUN_INFORMATION,
        originals: *const VDS_LUN_INFORMATION,
        count: u32,
    ) -> Result<()> {
        self.answer(|| pass!(self.luns, OnReuseLuns(copies, originals, count)))
    }
}

impl IVssProviderCreateSnapshotSet_Impl for WrongProvider_Impl {
    fn EndPrepareSnapshots(&self, set: &GUID) -> Result<()> {
        let _one = self.lock_of_everything();
        self.answer(|| pass!(self.sets, EndPrepareSnapshots(*set)))
    }

    fn PreCommitSnapshots(&self, set: &GUID) -> Result<()> {
        if self.is(Defect::LogsWhileFrozen) {
            good::log("about to commit");
        }
        self.answer(|| pass!(self.sets, PreCommitSnapshots(*set)))
    }

    fn CommitSnapshots(&self, set: &GUID) -> Result<()> {
        self.answer(|| pass!(self.sets, CommitSnapshots(*set)))
    }

    fn PostCommitSnapshots(&self, set: &GUID, count: i32) -> Result<()> {
        self.answer(|| pass!(self.sets, PostCommitSnapshots(*set, count)))
    }

    fn PreFinalCommitSnapshots(&self, set: &GUID) -> Result<()> {
        self.answer(|| pass!(self.sets, PreFinalCommitSnapshots(*set)))
    }

    fn PostFinalCommitSnapshots(&self, set: &GUID) -> Result<()> {
        self.answer(|| pass!(self.sets, PostFinalCommitSnapshots(*set)))
    }

    fn AbortSnapshots(&self, set: &GUID) -> Result<()> {
        let _one = self.lock_of_everything();
        let set = match self.defect {
            Some(Defect::AbortsNothing) => return Ok(()),
            Some(Defect::AbortsAnySet) => *lock(&self.begun),
            _ => *set,
        };
        self.answer(|| pass!(self.sets, AbortSnapshots(set)))
    }
}

impl IVssProviderNotifications_Impl for WrongProvider_Impl {
    fn OnLoad(&self, callback: Ref<IUnknown>) -> Result<()> {
        let callback = callback.as_ref().map_or(ptr::null_mut(), Interface::as_raw);
        self.answer(|| pass!(self.notifications, OnLoad(callback)))
    }

    fn OnUnload(&self, force: BOOL) -> Result<()> {
        self.answer(|| pass!(self.notifications, OnUnload(force)))
    }
}
