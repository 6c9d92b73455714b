// SPDX-License-Identifier: MIT OR Apache-2.0
//! The provider's object: all its interfaces on one identity (REG-5..REG-9). Marshalled by the system's proxies (REG-10),
//! hence not agile.

// UNSAFETY: COM methods come with raw pointers, which go to `convert` at once.
#![expect(unsafe_code)]

use super::asynchronous::AsyncResync;
use super::convert::{
    CoTaskMemory, out, read_lun, read_luns, read_luns_or_null, update_lun, uuid, write_luns,
};
use super::extended::{IHardwareProviderEx, IHardwareProviderEx_Impl};
use crate::guard::{Callers, admitted, guarded, internal_error};
use crate::lifetime::User;
use crate::live::Live;
use crate::memory;
use crate::site::Site;
use std::ffi::c_void;
use std::ptr;
use std::sync::{Arc, LazyLock};
use std::time::Instant;
use vss_provider::{Event, EventKind, Hresult, Method, Provider};
use windows::Win32::Storage::VirtualDiskService::VDS_LUN_INFORMATION;
use windows::Win32::Storage::Vss::{
    IVssAsync, IVssHardwareSnapshotProvider_Impl, IVssProviderCreateSnapshotSet,
    IVssProviderCreateSnapshotSet_Impl, IVssProviderNotifications, IVssProviderNotifications_Impl,
};
use windows::core::{BOOL, GUID, HRESULT, IUnknown, Interface, Ref, implement};

/// What [`Provider`] counts time from.
static STARTED: LazyLock<Instant> = LazyLock::new(Instant::now);

/// One provider as COM sees it.
#[implement(
    IHardwareProviderEx,
    IVssProviderCreateSnapshotSet,
    IVssProviderNotifications,
    Agile = false
)]
pub(super) struct ProviderObject {
    provider: Arc<Provider>,
    callers: Arc<dyn Callers>,
    /// Keeps the server up; goes last.
    user: User,
}

impl ProviderObject {
    /// Reads the site's files anew, so that a provider loaded after an enrolment knows of it.
    pub(super) fn new(site: Site, callers: Arc<dyn Callers>, live: &Live, user: User) -> Self {
        let started = *STARTED;
        let provider = Provider::new(
            site.array,
            Arc::new(move || started.elapsed()),
            site.events,
            site.settings,
        );
        let provider = Arc::new(provider.with_window(memory::window()));
        live.add(&provider, site.enrolled.as_ref());
        Self {
            provider,
            callers,
            user,
        }
    }

    fn code(&self, method: Method, body: impl FnOnce() -> Result<(), Hresult>) -> Hresult {
        let post = |event| self.provider.post(event);
        admitted(&*self.callers, method, post, || {
            let code = body().err().unwrap_or(Hresult::S_OK);
            if code == Hresult::E_OUTOFMEMORY {
                // Only this shell gives the code (ERR-5).
                post(out_of_memory(method));
            }
            code
        })
    }

    fn answer(
        &self,
        method: Method,
        body: impl FnOnce() -> Result<(), Hresult>,
    ) -> windows::core::Result<()> {
        super::answer(self.code(method, body))
    }

    fn raw_answer(&self, method: Method, body: impl FnOnce() -> Result<(), Hresult>) -> HRESULT {
        HRESULT(self.code(method, body).0.cast_signed())
    }
}

fn out_of_memory(method: Method) -> Event {
    Event {
        kind: EventKind::OutOfMemory,
        cause: "an allocation was refused".to_owned(),
        ..internal_error(method, String::new(), Hresult::E_OUTOFMEMORY)
    }
}

impl Drop for ProviderObject {
    /// The last Release without OnUnload is a forced unload (LOAD-10). It takes its bounded time (LOAD-8) here, so that all
    /// is done when Release returns; the thread that ticks may hold the provider for a moment longer.
    fn drop(&mut self) {
        // Nobody calls here: the last reference may be gone because its client is.
        let post = |event| self.provider.post(event);
        guarded(Method::OnUnload, post, || self.provider.on_unload(true));
    }
}

// In all methods: COM hands in pointers that are NULL or point to what the interface's definition says, valid until the
// method returns, and to nobody else's memory. Out values are emptied first, for whoever calls (GEN-3).
impl IVssHardwareSnapshotProvider_Impl for ProviderObject_Impl {
    fn AreLunsSupported(
        &self,
        count: i32,
        context: i32,
        _devices: *const *const u16,
        luns: *mut VDS_LUN_INFORMATION,
        supported: *mut BOOL,
    ) -> windows::core::Result<()> {
        // SAFETY: see above.
        let supported = unsafe { out(supported, BOOL(0)) };
        self.answer(Method::AreLunsSupported, || {
            let supported = supported?;
            // SAFETY: see above.
            let luns = unsafe { read_luns(count, luns) }?;
            *supported = self.provider.are_luns_supported(context, &luns)?.into();
            Ok(())
        })
    }

    fn FillInLunInfo(
        &self,
        _device: *const u16,
        lun: *mut VDS_LUN_INFORMATION,
        supported: *mut BOOL,
    ) -> windows::core::Result<()> {
        // SAFETY: see above.
        let supported = unsafe { out(supported, BOOL(0)) };
        self.answer(Method::FillInLunInfo, || {
            let supported = supported?;
            // SAFETY: see above.
            let described = unsafe { read_lun(lun) }?;
            if let Some(filled) = self.provider.fill_in_lun_info(&described) {
                // SAFETY: see above; its blocks are COM's task memory (GEN-2).
                unsafe { update_lun(&CoTaskMemory, lun, &described, &filled) }?;
                *supported = true.into();
            }
            Ok(())
        })
    }

    fn BeginPrepareSnapshot(
        &self,
        set: &GUID,
        snapshot: &GUID,
        context: i32,
        count: i32,
        _devices: *const *const u16,
        luns: *mut VDS_LUN_INFORMATION,
    ) -> windows::core::Result<()> {
        self.answer(Method::BeginPrepareSnapshot, || {
            // SAFETY: see above.
            let luns = unsafe { read_luns(count, luns) }?;
            if !memory::is_left() {
                // Nothing was done yet; in the middle of a set it would cost the set.
                return Err(Hresult::E_OUTOFMEMORY);
            }
            let (set, snapshot) = (uuid(set), uuid(snapshot));
            self.provider
                .begin_prepare_snapshot(set, snapshot, context, &luns)
        })
    }

    fn GetTargetLuns(
        &self,
        count: i32,
        _devices: *const *const u16,
        sources: *const VDS_LUN_INFORMATION,
        destinations: *mut VDS_LUN_INFORMATION,
    ) -> windows::core::Result<()> {
        self.answer(Method::GetTargetLuns, || {
            // SAFETY: see above.
            let sources = unsafe { read_luns(count, sources) }?;
            // SAFETY: see above. They are empty by the documents; what one holds nevertheless is freed when it is replaced.
            unsafe { read_luns(count, destinations) }?;
            let targets = self.provider.get_target_luns(&sources)?;
            // SAFETY: see above; read with this count just now.
            unsafe { write_luns(&CoTaskMemory, destinations, &targets) }
        })
    }

    fn LocateLuns(
        &self,
        count: i32,
        luns: *const VDS_LUN_INFORMATION,
    ) -> windows::core::Result<()> {
        self.answer(Method::LocateLuns, || {
            // SAFETY: see above.
            let luns = unsafe { read_luns(count, luns) }?;
            self.provider.locate_luns(&luns)
        })
    }

    fn OnLunEmpty(
        &self,
        _device: *const u16,
        lun: *const VDS_LUN_INFORMATION,
    ) -> windows::core::Result<()> {
        self.answer(Method::OnLunEmpty, || {
            // SAFETY: see above.
            let lun = unsafe { read_lun(lun) }?;
            self.provider.on_lun_empty(&lun)
        })
    }
}

impl IHardwareProviderEx_Impl for ProviderObject_Impl {
    unsafe fn get_provider_capabilities(&self, mask: *mut u64) -> HRESULT {
        // E_NOTIMPL is the only code of the matrix, also for NULL.
        // SAFETY: see above.
        let _ = unsafe { out(mask, 0) };
        self.raw_answer(Method::GetProviderCapabilities, || {
            self.provider.get_provider_capabilities().map(drop)
        })
    }

    unsafe fn on_lun_state_change(
        &self,
        copies: *const VDS_LUN_INFORMATION,
        originals: *const VDS_LUN_INFORMATION,
        count: u32,
        flags: u32,
    ) -> HRESULT {
        self.raw_answer(Method::OnLunStateChange, || {
            // SAFETY: see above.
            let copies = unsafe { read_luns(count, copies) }?;
            // SAFETY: see above.
            let originals = unsafe { read_luns_or_null(count, originals) }?;
            self.provider
                .on_lun_state_change(&copies, originals.as_deref(), flags)
        })
    }

    unsafe fn resync_luns(
        &self,
        copies: *const VDS_LUN_INFORMATION,
        targets: *const VDS_LUN_INFORMATION,
        count: u32,
        operation: *mut *mut c_void,
    ) -> HRESULT {
        // SAFETY: see above.
        let place = unsafe { out(operation, ptr::null_mut()) };
        self.raw_answer(Method::ResyncLuns, || {
            let place = place?;
            // SAFETY: see above.
            let copies = unsafe { read_luns(count, copies) }?;
            // SAFETY: see above.
            let targets = unsafe { read_luns(count, targets) }?;
            let operation = self.provider.resync_luns(&copies, &targets)?;
            let object = AsyncResync {
                operation,
                provider: Arc::clone(&self.provider),
                callers: Arc::clone(&self.callers),
                _user: self.user.clone(),
            };
            *place = IVssAsync::from(object).into_raw();
            Ok(())
        })
    }

    unsafe fn on_reuse_luns(
        &self,
        _copies: *const VDS_LUN_INFORMATION,
        _originals: *const VDS_LUN_INFORMATION,
        _count: u32,
    ) -> HRESULT {
        self.raw_answer(Method::OnReuseLuns, || self.provider.on_reuse_luns())
    }
}

impl IVssProviderCreateSnapshotSet_Impl for ProviderObject_Impl {
    fn EndPrepareSnapshots(&self, set: &GUID) -> windows::core::Result<()> {
        self.answer(Method::EndPrepareSnapshots, || {
            self.provider.end_prepare_snapshots(uuid(set))
        })
    }

    fn PreCommitSnapshots(&self, set: &GUID) -> windows::core::Result<()> {
        self.answer(Method::PreCommitSnapshots, || {
            self.provider.pre_commit_snapshots(uuid(set))
        })
    }

    fn CommitSnapshots(&self, set: &GUID) -> windows::core::Result<()> {
        self.answer(Method::CommitSnapshots, || {
            self.provider.commit_snapshots(uuid(set))
        })
    }

    fn PostCommitSnapshots(&self, set: &GUID, count: i32) -> windows::core::Result<()> {
        self.answer(Method::PostCommitSnapshots, || {
            self.provider.post_commit_snapshots(uuid(set), count)
        })
    }

    fn PreFinalCommitSnapshots(&self, set: &GUID) -> windows::core::Result<()> {
        self.answer(Method::PreFinalCommitSnapshots, || {
            self.provider.pre_final_commit_snapshots(uuid(set))
        })
    }

    fn PostFinalCommitSnapshots(&self, set: &GUID) -> windows::core::Result<()> {
        self.answer(Method::PostFinalCommitSnapshots, || {
            self.provider.post_final_commit_snapshots(uuid(set))
        })
    }

    fn AbortSnapshots(&self, set: &GUID) -> windows::core::Result<()> {
        self.answer(Method::AbortSnapshots, || {
            self.provider.abort_snapshots(uuid(set))
        })
    }
}

impl IVssProviderNotifications_Impl for ProviderObject_Impl {
    fn OnLoad(&self, _reserved: Ref<IUnknown>) -> windows::core::Result<()> {
        self.answer(Method::OnLoad, || self.provider.on_load())
    }

    fn OnUnload(&self, force: BOOL) -> windows::core::Result<()> {
        self.answer(Method::OnUnload, || {
            match self.provider.on_unload(force.as_bool()) {
                Hresult::S_OK => Ok(()),
                code => Err(code),
            }
        })
    }
}

#[cfg(test)]
#[path = "object_tests.rs"]
mod tests;
