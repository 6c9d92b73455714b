// SPDX-License-Identifier: MIT OR Apache-2.0
//! IVssHardwareSnapshotProviderEx with its out pointers.
//!
//! The form of windows-rs stores nothing behind them when a method fails, but a stub marshals them then too: the
//! capability mask has to be 0 and the operation NULL (CAP-2, RSY-13, GEN-3).

use std::ffi::c_void;
use windows::Win32::Storage::VirtualDiskService::VDS_LUN_INFORMATION;
use windows::Win32::Storage::Vss::{
    IVssHardwareSnapshotProvider, IVssHardwareSnapshotProvider_Impl,
    IVssHardwareSnapshotProvider_Vtbl,
};
use windows::core::HRESULT;

#[windows::core::interface("7f5ba925-cdb1-4d11-a71f-339eb7e709fd")]
pub(super) unsafe trait IHardwareProviderEx: IVssHardwareSnapshotProvider {
    fn get_provider_capabilities(&self, mask: *mut u64) -> HRESULT;
    fn on_lun_state_change(
        &self,
        copies: *const VDS_LUN_INFORMATION,
        originals: *const VDS_LUN_INFORMATION,
        count: u32,
        flags: u32,
    ) -> HRESULT;
    fn resync_luns(
        &self,
        copies: *const VDS_LUN_INFORMATION,
        targets: *const VDS_LUN_INFORMATION,
        count: u32,
        operation: *mut *mut c_void,
    ) -> HRESULT;
    fn on_reuse_luns(
        &self,
        copies: *const VDS_LUN_INFORMATION,
        originals: *const VDS_LUN_INFORMATION,
        count: u32,
    ) -> HRESULT;
}
