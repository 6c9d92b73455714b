// SPDX-License-Identifier: MIT OR Apache-2.0
//! The stand-in coordinator: IVssAdmin, with its table in the registry where VSS has it (specification 2.3).

// UNSAFETY: implements COM interfaces, whose arguments are pointers.
#![expect(unsafe_code)]

use super::lun::block;
use super::registry::{rig_value, set_rig};
use super::server::Live;
use super::{guid, uuid};
use std::sync::Mutex;
use uuid::Uuid;
use vss_standin::providers::{
    Cursor, INVALID_ARGUMENT, NEXT_REGISTER_ERROR, PROVIDER_IN_USE, PROVIDERS_KEY, Provider,
    may_register, may_unregister,
};
use windows::Win32::Foundation::{E_INVALIDARG, E_NOTIMPL, E_UNEXPECTED, S_FALSE};
use windows::Win32::Storage::Vss::{
    IVssAdmin, IVssAdmin_Impl, IVssEnumObject, IVssEnumObject_Impl, VSS_OBJECT_PROP,
    VSS_OBJECT_PROVIDER, VSS_OBJECT_UNION, VSS_PROVIDER_PROP, VSS_PROVIDER_TYPE,
};
use windows_core::{Error, GUID, HRESULT, OutRef, PCWSTR, Result, implement};
use windows_registry::{Key, LOCAL_MACHINE};

/// The coordinator.
#[implement(IVssAdmin, Agile = false)]
pub(super) struct Coordinator {
    _live: Live,
}

impl Coordinator {
    pub(super) fn new() -> Self {
        Self {
            _live: Live::default(),
        }
    }
}

impl IVssAdmin_Impl for Coordinator_Impl {
    fn RegisterProvider(
        &self,
        id: &GUID,
        class: &GUID,
        name: *const u16,
        kind: VSS_PROVIDER_TYPE,
        version: *const u16,
        version_id: &GUID,
    ) -> Result<()> {
        ordered_failure()?;
        let new = Provider {
            id: uuid(id),
            class: uuid(class),
            name: string(name)?,
            kind: kind.0,
            version: string(version)?,
            version_id: uuid(version_id),
        };
        may_register(&load()?, &new).map_err(failure)?;
        store(&new).map_err(|_| Error::from(E_UNEXPECTED))
    }

    fn UnregisterProvider(&self, id: &GUID) -> Result<()> {
        let id = uuid(id);
        let in_use = rig_value(PROVIDER_IN_USE) != 0;
        may_unregister(&load()?, id, in_use).map_err(failure)?;
        LOCAL_MACHINE
            .create(PROVIDERS_KEY)
            .and_then(|providers| providers.remove_tree(key_name(id)))
            .map_err(|_| Error::from(E_UNEXPECTED))
    }

    fn QueryProviders(&self) -> Result<IVssEnumObject> {
        Ok(Enumerator::at(Cursor::new(load()?)).into())
    }

    /// Reserved (REG-24).
    fn AbortAllSnapshotsInProgress(&self) -> Result<()> {
        Err(E_NOTIMPL.into())
    }
}

/// IVssEnumObject over the providers.
#[implement(IVssEnumObject, Agile = false)]
struct Enumerator {
    cursor: Mutex<Cursor>,
    _live: Live,
}

impl Enumerator {
    fn at(cursor: Cursor) -> Self {
        Self {
            cursor: Mutex::new(cursor),
            _live: Live::default(),
        }
    }

    fn with<T>(&self, work: impl FnOnce(&mut Cursor) -> T) -> T {
        work(&mut self.cursor.lock().expect("nothing panics under this lock"))
    }
}

impl IVssEnumObject_Impl for Enumerator_Impl {
    fn Next(&self, wanted: u32, elements: *mut VSS_OBJECT_PROP, fetched: *mut u32) -> Result<()> {
        if elements.is_null() || fetched.is_null() {
            return Err(E_INVALIDARG.into());
        }
        let given = self.with(|cursor| cursor.next(wanted as usize).to_vec());
        for (index, provider) in given.iter().enumerate() {
            // SAFETY: the caller has room for `wanted` elements, and there are no more.
            unsafe { elements.add(index).write(property(provider)) };
        }
        let count = u32::try_from(given.len()).expect("at most `wanted`");
        // SAFETY: checked above.
        unsafe { fetched.write(count) };
        all_or_false(count == wanted)
    }

    fn Skip(&self, count: u32) -> Result<()> {
        all_or_false(self.with(|cursor| cursor.skip(count as usize)))
    }

    fn Reset(&self) -> Result<()> {
        self.with(Cursor::reset);
        Ok(())
    }

    fn Clone(&self, copy: OutRef<IVssEnumObject>) -> Result<()> {
        let cursor = self.with(|cursor| cursor.clone());
        copy.write(Some(Enumerator::at(cursor).into()))
    }
}

/// S_OK, or S_FALSE where there was less than asked for.
fn all_or_false(all: bool) -> Result<()> {
    match all {
        true => Ok(()),
        false => Err(S_FALSE.into()),
    }
}

/// The failure that the rig has ordered for the next registration, once.
fn ordered_failure() -> Result<()> {
    let code = rig_value(NEXT_REGISTER_ERROR);
    if code == 0 {
        return Ok(());
    }
    set_rig(NEXT_REGISTER_ERROR, 0).map_err(|_| Error::from(E_UNEXPECTED))?;
    Err(failure(code))
}

fn failure(code: u32) -> Error {
    HRESULT(code.cast_signed()).into()
}

fn string(text: *const u16) -> Result<String> {
    if text.is_null() {
        return Err(failure(INVALID_ARGUMENT));
    }
    // SAFETY: COM's stub passes a terminated string.
    unsafe { PCWSTR(text).to_string() }.map_err(|_| failure(INVALID_ARGUMENT))
}

/// VSS_OBJECT_PROP, whose strings are the caller's to free (REG-23).
fn property(provider: &Provider) -> VSS_OBJECT_PROP {
    let wide = |text: &str| block(&text.encode_utf16().chain([0]).collect::<Vec<u16>>());
    VSS_OBJECT_PROP {
        Type: VSS_OBJECT_PROVIDER,
        Obj: VSS_OBJECT_UNION {
            Prov: VSS_PROVIDER_PROP {
                m_ProviderId: guid(provider.id),
                m_pwszProviderName: wide(&provider.name),
                m_eProviderType: VSS_PROVIDER_TYPE(provider.kind),
                m_pwszProviderVersion: wide(&provider.version),
                m_ProviderVersionId: guid(provider.version_id),
                m_ClassId: guid(provider.class),
            },
        },
    }
}

fn key_name(id: Uuid) -> String {
    id.braced().to_string()
}

fn store(provider: &Provider) -> windows_registry::Result<()> {
    let key = LOCAL_MACHINE
        .create(PROVIDERS_KEY)?
        .create(key_name(provider.id))?;
    key.set_string("", &provider.name)?;
    key.set_u32("Type", provider.kind.cast_unsigned())?;
    key.set_string("Version", &provider.version)?;
    key.set_string("VersionId", key_name(provider.version_id))?;
    key.create("CLSID")?
        .set_string("", key_name(provider.class))
}

/// Every provider in the registry. An entry that is not whole was made by somebody else, and is an error.
fn load() -> Result<Vec<Provider>> {
    let read = |providers: &Key| -> windows_registry::Result<Vec<Provider>> {
        providers
            .keys()?
            .map(|name| read_provider(&name, &providers.open(&name)?))
            .collect()
    };
    LOCAL_MACHINE
        .create(PROVIDERS_KEY)
        .and_then(|providers| read(&providers))
        .map_err(|_| E_UNEXPECTED.into())
}

fn read_provider(name: &str, key: &Key) -> windows_registry::Result<Provider> {
    let id = |text: &str| Uuid::parse_str(text).map_err(|_| Error::from(E_UNEXPECTED));
    Ok(Provider {
        id: id(name)?,
        class: id(&key.open("CLSID")?.get_string("")?)?,
        name: key.get_string("")?,
        kind: key.get_u32("Type")?.cast_signed(),
        version: key.get_string("Version")?,
        version_id: id(&key.get_string("VersionId")?)?,
    })
}
