// SPDX-License-Identifier: MIT OR Apache-2.0
//! The coordinator's IVssAdmin, as an installer calls it (2.3 of the specification).

// UNSAFETY: calls COM.
#![expect(unsafe_code)]

use super::wide;
use crate::ids;
use crate::registration::Registered;
use std::ffi::c_void;
use std::sync::OnceLock;
use uuid::Uuid;
use windows::Win32::Storage::Vss::{
    IVssAdmin, VSS_OBJECT_PROP, VSS_OBJECT_PROVIDER, VSS_PROV_HARDWARE,
};
use windows::Win32::System::Com::{
    CLSCTX_LOCAL_SERVER, COINIT_MULTITHREADED, CoCreateInstance, CoInitializeEx,
    CoInitializeSecurity, CoTaskMemFree, EOAC_NONE, RPC_C_AUTHN_LEVEL_PKT_PRIVACY,
    RPC_C_IMP_LEVEL_IDENTIFY,
};
use windows::core::{Error, GUID, HRESULT, PCWSTR, Result};

/// VSSCoordinator (specification 0.3).
const COORDINATOR: GUID = GUID::from_u128(0xe579ab5f_1cc4_44b4_bed9_de0991ff0623);
const PROVIDER_NOT_REGISTERED: HRESULT = HRESULT(0x8004_2304_u32.cast_signed());
const PROVIDER_ALREADY_REGISTERED: HRESULT = HRESULT(0x8004_2303_u32.cast_signed());
const PROVIDER_IN_USE: HRESULT = HRESULT(0x8004_2307_u32.cast_signed());
/// More providers than this are a coordinator that does not end.
const PROVIDERS_MAX: usize = 1_000;

/// REG-15, REG-16.
pub(super) fn register() -> Result<()> {
    let (name, version) = (
        wide(ids::names().provider_name),
        wide(ids::names().provider_version),
    );
    let admin = admin()?;
    // SAFETY: the texts end with a NUL and outlive the call.
    unsafe {
        admin.RegisterProvider(
            guid(ids::names().provider_id),
            guid(ids::names().class_id),
            name.as_ptr(),
            VSS_PROV_HARDWARE,
            version.as_ptr(),
            guid(ids::names().version_id),
        )
    }
}

/// REG-20; `false` when it was not registered.
pub(super) fn unregister() -> Result<bool> {
    // SAFETY: takes a value only.
    match unsafe { admin()?.UnregisterProvider(guid(ids::names().provider_id)) } {
        Err(error) if error.code() == PROVIDER_NOT_REGISTERED => Ok(false),
        result => result.map(|()| true),
    }
}

/// REG-23.
pub(super) fn registered() -> Result<Option<Registered>> {
    // SAFETY: the result is an interface of ours.
    let list = unsafe { admin()?.QueryProviders() }?;
    for _ in 0..PROVIDERS_MAX {
        let mut entry = [VSS_OBJECT_PROP::default()];
        let mut fetched = 0;
        // SAFETY: `entry` and `fetched` are places of ours. The wrapper drops S_FALSE, so `fetched` tells the end.
        unsafe { list.Next(&mut entry, &mut fetched) }?;
        let [entry] = entry;
        if fetched == 0 {
            return Ok(None);
        }
        if let Some(ours) = ours(&entry) {
            return Ok(Some(ours));
        }
    }
    Ok(None)
}

/// The entry when it is ours. Frees its texts.
fn ours(entry: &VSS_OBJECT_PROP) -> Option<Registered> {
    if entry.Type != VSS_OBJECT_PROVIDER {
        return None;
    }
    // SAFETY: the type says that the union holds a provider; its texts are NULL or end with a NUL, and are ours to free, once.
    unsafe {
        let provider = entry.Obj.Prov;
        let registered = Registered {
            kind: provider.m_eProviderType.0,
            version: text(provider.m_pwszProviderVersion),
            version_id: uuid(provider.m_ProviderVersionId),
            class_id: uuid(provider.m_ClassId),
        };
        for text in [provider.m_pwszProviderName, provider.m_pwszProviderVersion] {
            CoTaskMemFree(Some(text.cast::<c_void>()));
        }
        (uuid(provider.m_ProviderId) == ids::names().provider_id).then_some(registered)
    }
}

/// # Safety
/// NULL, or a text that ends with a NUL.
unsafe fn text(text: *const u16) -> String {
    let text = PCWSTR(text);
    match text.is_null() {
        true => String::new(),
        // SAFETY: the caller's promise.
        false => String::from_utf16_lossy(unsafe { text.as_wide() }),
    }
}

/// For codes that the system has no text for.
pub(super) fn words(code: HRESULT) -> &'static str {
    match code {
        PROVIDER_ALREADY_REGISTERED => "it is registered already",
        PROVIDER_NOT_REGISTERED => "it is not registered",
        PROVIDER_IN_USE => "it is in use",
        _ => "it was refused",
    }
}

fn admin() -> Result<IVssAdmin> {
    initialise()?;
    // SAFETY: COM is initialised on this thread, or the process has a multithreaded apartment.
    unsafe { CoCreateInstance(&COORDINATOR, None, CLSCTX_LOCAL_SERVER) }
}

/// Once a process: the client's side of security, as for a requester; the coordinator may look at who calls, not act as them.
fn initialise() -> Result<()> {
    static DONE: OnceLock<HRESULT> = OnceLock::new();
    // SAFETY: no pointer is handed in; the apartment lasts as long as the process.
    let done = DONE.get_or_init(|| unsafe {
        let result = CoInitializeEx(None, COINIT_MULTITHREADED)
            .ok()
            .and_then(|()| {
                CoInitializeSecurity(
                    None,
                    -1,
                    None,
                    None,
                    RPC_C_AUTHN_LEVEL_PKT_PRIVACY,
                    RPC_C_IMP_LEVEL_IDENTIFY,
                    None,
                    EOAC_NONE,
                    None,
                )
            });
        result.map_or_else(|error| error.code(), |()| HRESULT(0))
    });
    done.ok().map_err(|error| Error::from(error.code()))
}

fn guid(id: Uuid) -> GUID {
    GUID::from_u128(id.as_u128())
}

fn uuid(id: GUID) -> Uuid {
    Uuid::from_u128(id.to_u128())
}
