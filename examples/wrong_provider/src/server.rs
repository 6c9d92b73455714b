// SPDX-License-Identifier: MIT OR Apache-2.0
//! The process that COM starts for the class.

// UNSAFETY: COM's functions for servers, and a class object.
#![expect(unsafe_code)]

use crate::defect::Defect;
use crate::object::WrongProvider;
use std::ffi::c_void;
use std::path::PathBuf;
use std::sync::Arc;
use uuid::Uuid;
use vss_provider_server::lifetime::{IDLE, Lifetime};
use windows::Win32::Foundation::{CLASS_E_NOAGGREGATION, CO_E_SERVER_STOPPING, E_UNEXPECTED};
use windows::Win32::Storage::Vss::IVssHardwareSnapshotProviderEx;
use windows::Win32::System::Com::{
    CLSCTX_LOCAL_SERVER, COINIT_MULTITHREADED, CoInitializeEx, CoRegisterClassObject,
    CoRevokeClassObject, IClassFactory, IClassFactory_Impl, REGCLS_MULTIPLEUSE,
};
use windows_core::{BOOL, Error, GUID, IUnknown, Interface, Ref, Result, implement};

/// The wrong provider's class.
pub(crate) const CLASS: Uuid = Uuid::from_u128(0xf15b9867_a3dd_4d55_83c4_f1cc36217f98);

/// Serves until nobody has used the class for a while. The defect file is read for each object, so that it may change.
pub(crate) fn run(defect_file: Option<PathBuf>) -> std::result::Result<(), String> {
    let lifetime = Lifetime::new();
    let factory = IClassFactory::from(Factory {
        defect_file,
        lifetime: Arc::clone(&lifetime),
    });
    let class = GUID::from_u128(CLASS.as_u128());
    // SAFETY: the first COM calls of this thread; the pointers are valid for them, and COM counts its own reference.
    let registered = unsafe {
        CoInitializeEx(None, COINIT_MULTITHREADED)
            .ok()
            .and_then(|()| {
                CoRegisterClassObject(
                    &raw const class,
                    &factory,
                    CLSCTX_LOCAL_SERVER,
                    REGCLS_MULTIPLEUSE,
                )
            })
    };
    let cookie = registered.map_err(|error| format!("cannot offer the class: {error}"))?;
    loop {
        lifetime.wait_until_idle(IDLE);
        if lifetime.close_if_unused() {
            break;
        }
    }
    // SAFETY: registered above.
    unsafe { CoRevokeClassObject(cookie) }.map_err(|error| format!("cannot take it back: {error}"))
}

#[implement(IClassFactory, Agile = false)]
struct Factory {
    defect_file: Option<PathBuf>,
    lifetime: Arc<Lifetime>,
}

impl IClassFactory_Impl for Factory_Impl {
    fn CreateInstance(
        &self,
        outer: Ref<IUnknown>,
        interface: *const GUID,
        object: *mut *mut c_void,
    ) -> Result<()> {
        if outer.is_some() {
            return Err(Error::from(CLASS_E_NOAGGREGATION));
        }
        let user = self.lifetime.enter();
        let user = user.ok_or_else(|| Error::from(CO_E_SERVER_STOPPING))?;
        let defect = self.defect_file.as_deref().map_or(Ok(None), Defect::read);
        let defect = defect.map_err(|text| {
            eprintln!("wrong-provider: {text}");
            Error::from(E_UNEXPECTED)
        })?;
        let made = IVssHardwareSnapshotProviderEx::from(WrongProvider::new(defect, user)?);
        // SAFETY: COM passes both pointers; QueryInterface fills the second, with NULL where it fails.
        unsafe { made.query(interface, object) }.ok()
    }

    fn LockServer(&self, _lock: BOOL) -> Result<()> {
        // The idle time is longer than anybody keeps a class object.
        Ok(())
    }
}
