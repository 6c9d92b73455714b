// SPDX-License-Identifier: MIT OR Apache-2.0
//! What IVssAdmin says is registered, asked as any administrator's tool would (REG-23).

// UNSAFETY: calls COM methods with pointers.
#![expect(unsafe_code)]

use super::objects::{answer, timed};
use super::{guid, uuid};
use std::ffi::c_void;
use vss_standin::providers::{COORDINATOR_CLASS, Provider};
use vss_standin::wire::Answer;
use windows::Win32::Foundation::{S_FALSE, S_OK};
use windows::Win32::Storage::Vss::{
    IVssAdmin, IVssEnumObject, VSS_OBJECT_PROP, VSS_OBJECT_PROVIDER,
};
use windows::Win32::System::Com::{CLSCTX_LOCAL_SERVER, CoCreateInstance, CoTaskMemFree};
use windows_core::{HRESULT, Interface, PCWSTR};

/// QueryProviders, and Next to the end.
pub(super) fn query() -> Result<Answer, String> {
    // SAFETY: no outer object; the class id lives through the call.
    let create = || unsafe {
        CoCreateInstance::<_, IVssAdmin>(&guid(COORDINATOR_CLASS), None, CLSCTX_LOCAL_SERVER)
    };
    let admin = match create() {
        Ok(admin) => admin,
        Err(error) => return Ok(answer((error.code(), 0))),
    };
    // SAFETY: a live interface.
    let (queried, elapsed_us) = timed(|| unsafe { admin.QueryProviders() });
    let providers = match queried {
        Ok(providers) => providers,
        Err(error) => return Ok(answer((error.code(), elapsed_us))),
    };
    let (texts, code) = all(&providers)?;
    Ok(Answer {
        texts,
        ..answer((code, elapsed_us))
    })
}

/// One line a provider, and S_OK or the code that ended the list early.
fn all(providers: &IVssEnumObject) -> Result<(Vec<String>, HRESULT), String> {
    let mut texts = Vec::new();
    loop {
        let (mut element, mut fetched) = (VSS_OBJECT_PROP::default(), 0);
        // SAFETY: a live interface, and room for one element.
        let code =
            unsafe { (providers.vtable().Next)(providers.as_raw(), 1, &mut element, &mut fetched) };
        if code.is_err() {
            return Ok((texts, code));
        }
        if fetched == 1 {
            texts.push(line(&take(&element)?));
        }
        match (code, fetched) {
            (S_OK, 1) => {}
            (S_FALSE, 0) => return Ok((texts, S_OK)),
            _ => return Err(format!("Next(1) gave {fetched} elements and {code:?}")),
        }
    }
}

fn line(provider: &Provider) -> String {
    let Provider {
        id,
        class,
        name,
        kind,
        version,
        version_id,
    } = provider;
    let (id, version_id, class) = (id.braced(), version_id.braced(), class.braced());
    format!("{id} | {name} | {kind} | {version} | {version_id} | {class}")
}

/// Reads an element and frees its strings.
fn take(element: &VSS_OBJECT_PROP) -> Result<Provider, String> {
    if element.Type != VSS_OBJECT_PROVIDER {
        return Err(format!(
            "an element of type {:?}, no provider",
            element.Type
        ));
    }
    // SAFETY: the type says that it is this member.
    let provider = unsafe { element.Obj.Prov };
    let take = |text: *mut u16| {
        if text.is_null() {
            return Err("a provider without name or version".to_owned());
        }
        // SAFETY: a terminated string.
        let string = unsafe { PCWSTR(text).to_string() };
        // SAFETY: a CoTaskMem block that is ours by QueryProviders' rules, not used again.
        unsafe { CoTaskMemFree(Some(text.cast::<c_void>())) };
        string.map_err(|error| format!("a provider's name or version: {error}"))
    };
    Ok(Provider {
        id: uuid(&provider.m_ProviderId),
        class: uuid(&provider.m_ClassId),
        name: take(provider.m_pwszProviderName)?,
        kind: provider.m_eProviderType.0,
        version: take(provider.m_pwszProviderVersion)?,
        version_id: uuid(&provider.m_ProviderVersionId),
    })
}
