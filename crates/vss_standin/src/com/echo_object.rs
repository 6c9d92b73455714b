// SPDX-License-Identifier: MIT OR Apache-2.0
//! The echo object: reads its raw arguments back into a [`Method`] and answers as [`echo`] says.

// UNSAFETY: implements COM interfaces, whose arguments are pointers.
#![expect(unsafe_code)]

use super::server::Live;
use super::{lun, uuid};
use vss_provider::LunDescription;
use vss_standin::echo;
use vss_standin::wire::{AsyncMethod, Method, device_name};
use windows::Win32::Foundation::{E_INVALIDARG, E_UNEXPECTED};
use windows::Win32::Storage::VirtualDiskService::VDS_LUN_INFORMATION;
use windows::Win32::Storage::Vss::{
    IVssAsync, IVssAsync_Impl, IVssHardwareSnapshotProvider, IVssHardwareSnapshotProvider_Impl,
    IVssHardwareSnapshotProviderEx, IVssHardwareSnapshotProviderEx_Impl,
    IVssProviderCreateSnapshotSet, IVssProviderCreateSnapshotSet_Impl, IVssProviderNotifications,
    IVssProviderNotifications_Impl,
};
use windows_core::{BOOL, Error, GUID, HRESULT, IUnknown, PCWSTR, Ref, Result, implement};

/// The object with all interfaces of a provider.
#[derive(Default)]
#[implement(
    IVssHardwareSnapshotProviderEx,
    IVssHardwareSnapshotProvider,
    IVssProviderCreateSnapshotSet,
    IVssProviderNotifications,
    Agile = false
)]
pub(super) struct Echo {
    _live: Live,
}

impl IVssHardwareSnapshotProvider_Impl for Echo_Impl {
    fn AreLunsSupported(
        &self,
        count: i32,
        context: i32,
        devices: *const *const u16,
        luns: *mut VDS_LUN_INFORMATION,
        supported: *mut BOOL,
    ) -> Result<()> {
        check_devices(devices, count)?;
        let before = change(luns, count)?;
        // SAFETY: COM's stub passes a variable.
        unsafe { supported.write(BOOL::from(echo::supported(&before))) };
        digest(&Method::AreLunsSupported {
            context,
            luns: before,
        })
    }

    fn FillInLunInfo(
        &self,
        device: *const u16,
        lun: *mut VDS_LUN_INFORMATION,
        supported: *mut BOOL,
    ) -> Result<()> {
        check_device(device, 0)?;
        let mut before = change(lun, 1)?;
        // SAFETY: COM's stub passes a variable.
        unsafe { supported.write(BOOL::from(echo::supported(&before))) };
        digest(&Method::FillInLunInfo {
            lun: before.remove(0),
        })
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
        check_devices(devices, count)?;
        if context == echo::DEADLY_CONTEXT {
            std::process::abort();
        }
        digest(&Method::BeginPrepareSnapshot {
            set: uuid(set),
            snapshot: uuid(snapshot),
            context,
            luns: change(luns, count)?,
        })
    }

    fn GetTargetLuns(
        &self,
        count: i32,
        devices: *const *const u16,
        sources: *const VDS_LUN_INFORMATION,
        destinations: *mut VDS_LUN_INFORMATION,
    ) -> Result<()> {
        check_devices(devices, count)?;
        let zeroed = change(destinations, count)?;
        check(zeroed.iter().all(|lun| *lun == LunDescription::default()))?;
        digest(&Method::GetTargetLuns {
            sources: optional(sources, count)?,
            count,
        })
    }

    fn LocateLuns(&self, count: i32, luns: *const VDS_LUN_INFORMATION) -> Result<()> {
        digest(&Method::LocateLuns {
            luns: optional(luns, count)?,
            count,
        })
    }

    fn OnLunEmpty(&self, device: *const u16, lun: *const VDS_LUN_INFORMATION) -> Result<()> {
        check_device(device, 0)?;
        digest(&Method::OnLunEmpty {
            lun: optional(lun, 1)?.map(|mut luns| luns.remove(0)),
        })
    }
}

impl IVssHardwareSnapshotProviderEx_Impl for Echo_Impl {
    fn GetProviderCapabilities(&self) -> Result<u64> {
        Ok(echo::CAPABILITIES)
    }

    fn OnLunStateChange(
        &self,
        copies: *const VDS_LUN_INFORMATION,
        originals: *const VDS_LUN_INFORMATION,
        count: u32,
        flags: u32,
    ) -> Result<()> {
        digest(&Method::OnLunStateChange {
            copies: optional(copies, count.cast_signed())?,
            originals: optional(originals, count.cast_signed())?,
            count,
            flags,
        })
    }

    /// Succeeds, so that the operation crosses; the digest of the arguments is what its Cancel answers.
    fn ResyncLuns(
        &self,
        copies: *const VDS_LUN_INFORMATION,
        targets: *const VDS_LUN_INFORMATION,
        count: u32,
    ) -> Result<IVssAsync> {
        let method = Method::ResyncLuns {
            copies: optional(copies, count.cast_signed())?,
            targets: optional(targets, count.cast_signed())?,
            count,
        };
        Ok(EchoOperation {
            cancel: echo::code(&method),
            _live: Live::default(),
        }
        .into())
    }

    fn OnReuseLuns(
        &self,
        copies: *const VDS_LUN_INFORMATION,
        originals: *const VDS_LUN_INFORMATION,
        count: u32,
    ) -> Result<()> {
        digest(&Method::OnReuseLuns {
            copies: optional(copies, count.cast_signed())?,
            originals: optional(originals, count.cast_signed())?,
            count,
        })
    }
}

impl IVssProviderCreateSnapshotSet_Impl for Echo_Impl {
    fn EndPrepareSnapshots(&self, set: &GUID) -> Result<()> {
        digest(&Method::EndPrepareSnapshots { set: uuid(set) })
    }

    fn PreCommitSnapshots(&self, set: &GUID) -> Result<()> {
        digest(&Method::PreCommitSnapshots { set: uuid(set) })
    }

    fn CommitSnapshots(&self, set: &GUID) -> Result<()> {
        digest(&Method::CommitSnapshots { set: uuid(set) })
    }

    fn PostCommitSnapshots(&self, set: &GUID, count: i32) -> Result<()> {
        let set = uuid(set);
        digest(&Method::PostCommitSnapshots { set, count })
    }

    fn PreFinalCommitSnapshots(&self, set: &GUID) -> Result<()> {
        digest(&Method::PreFinalCommitSnapshots { set: uuid(set) })
    }

    fn PostFinalCommitSnapshots(&self, set: &GUID) -> Result<()> {
        digest(&Method::PostFinalCommitSnapshots { set: uuid(set) })
    }

    fn AbortSnapshots(&self, set: &GUID) -> Result<()> {
        digest(&Method::AbortSnapshots { set: uuid(set) })
    }
}

impl IVssProviderNotifications_Impl for Echo_Impl {
    fn OnLoad(&self, callback: Ref<IUnknown>) -> Result<()> {
        digest(&Method::OnLoad {
            with_callback: callback.is_some(),
        })
    }

    fn OnUnload(&self, force: BOOL) -> Result<()> {
        digest(&Method::OnUnload {
            force: force.as_bool(),
        })
    }
}

#[implement(IVssAsync, Agile = false)]
struct EchoOperation {
    cancel: u32,
    _live: Live,
}

impl IVssAsync_Impl for EchoOperation_Impl {
    fn Cancel(&self) -> Result<()> {
        code(self.cancel)
    }

    fn Wait(&self, milliseconds: u32) -> Result<()> {
        code(echo::code(&AsyncMethod::Wait { milliseconds }))
    }

    fn QueryStatus(&self, status: *mut HRESULT, reserved: *mut i32) -> Result<()> {
        check(!status.is_null() && reserved.is_null())?;
        // SAFETY: checked above.
        unsafe { status.write(HRESULT(echo::STATUS.cast_signed())) };
        code(echo::code(&AsyncMethod::QueryStatus))
    }
}

/// The HRESULT that shows what arrived.
fn digest(method: &Method) -> Result<()> {
    code(echo::code(method))
}

/// As it is: a success code other than S_OK travels as an error too in the `windows` crate.
fn code(code: u32) -> Result<()> {
    match code {
        0 => Ok(()),
        code => Err(HRESULT(code.cast_signed()).into()),
    }
}

fn check(intact: bool) -> Result<()> {
    match intact {
        true => Ok(()),
        false => Err(E_UNEXPECTED.into()),
    }
}

/// The names are those that the agent passes, NULL elements included.
fn check_devices(devices: *const *const u16, count: i32) -> Result<()> {
    let count = usize::try_from(count).map_err(|_| Error::from(E_INVALIDARG))?;
    check(devices.is_null() == (count == 0))?;
    for index in 0..count {
        // SAFETY: COM's stub passes `count` elements.
        check_device(unsafe { *devices.add(index) }, index)?;
    }
    Ok(())
}

fn check_device(device: *const u16, index: usize) -> Result<()> {
    // SAFETY: COM's stub passes NULL or a terminated string.
    let name = (!device.is_null()).then(|| unsafe { PCWSTR(device).to_string() });
    check(
        name.transpose()
            .is_ok_and(|name| name == device_name(index)),
    )
}

/// What an `[in]` array holds.
fn optional(luns: *const VDS_LUN_INFORMATION, count: i32) -> Result<Option<Vec<LunDescription>>> {
    if luns.is_null() {
        return Ok(None);
    }
    let count = usize::try_from(count).map_err(|_| Error::from(E_INVALIDARG))?;
    // SAFETY: COM's stub passes `count` elements.
    let elements = unsafe { std::slice::from_raw_parts(luns, count) };
    // SAFETY: as above; what they point to has the size that they say.
    let read = elements.iter().map(|lun| unsafe { lun::read(lun) });
    let luns: std::result::Result<_, String> = read.collect();
    luns.map(Some).map_err(|_| E_INVALIDARG.into())
}

/// Replaces each element of an `[in,out]` array by [`echo::changed`] of it, and says what was there.
fn change(luns: *mut VDS_LUN_INFORMATION, count: i32) -> Result<Vec<LunDescription>> {
    let before = optional(luns, count)?.ok_or_else(|| Error::from(E_INVALIDARG))?;
    for (index, lun) in before.iter().enumerate() {
        let written = lun::write(&echo::changed(lun)).map_err(|_| Error::from(E_INVALIDARG))?;
        // SAFETY: one of the elements; its blocks are CoTaskMem's by GEN-2, and replaced at once.
        unsafe {
            let element = luns.add(index);
            lun::free(&*element);
            element.write(written);
        }
    }
    Ok(before)
}
