// SPDX-License-Identifier: MIT OR Apache-2.0
//! The provider's methods, called through the raw vtable: the wrappers of the `windows` crate drop success codes like S_FALSE.

// UNSAFETY: calls COM methods with pointers.
#![expect(unsafe_code)]

use super::guid;
use super::lun::LunArray;
use super::objects::{Callback, Held, Objects, answer, references_of_others, timed, with};
use std::ffi::c_void;
use std::ptr::{null, null_mut};
use uuid::Uuid;
use vss_provider::LunDescription;
use vss_standin::wire::{Answer, AsyncMethod, Method, device_name};
use windows::Win32::Storage::VirtualDiskService::VDS_LUN_INFORMATION;
use windows::Win32::Storage::Vss::{
    IVssAsync, IVssHardwareSnapshotProvider, IVssHardwareSnapshotProviderEx,
    IVssProviderCreateSnapshotSet, IVssProviderCreateSnapshotSet_Vtbl, IVssProviderNotifications,
};
use windows::Win32::System::Com::IPersist;
use windows_core::{BOOL, GUID, HRESULT, IUnknown, Interface};

/// More than any set has; a count beyond it would only cost memory.
const LUNS_MAX: usize = 4096;

/// Through which interface the methods are called that two have.
#[derive(Clone, Copy)]
pub(super) enum Via {
    /// IVssHardwareSnapshotProvider.
    Base,
    /// IVssHardwareSnapshotProviderEx.
    Ex,
}

/// An object as a hardware provider.
struct Hardware<'a> {
    object: &'a Held,
    via: Via,
}

impl Hardware<'_> {
    fn with(
        &self,
        call: impl FnOnce(&IVssHardwareSnapshotProvider) -> Result<Answer, String>,
    ) -> Result<Answer, String> {
        match self.via {
            Via::Base => with(self.object, call),
            Via::Ex => with(self.object, |ex: &IVssHardwareSnapshotProviderEx| call(ex)),
        }
    }
}

/// Calls `method`.
pub(super) fn call(
    objects: &Objects,
    object: &Held,
    via: Via,
    method: &Method,
) -> Result<Answer, String> {
    let hardware = Hardware { object, via };
    match method {
        Method::AreLunsSupported { context, luns } => are_luns_supported(&hardware, *context, luns),
        Method::FillInLunInfo { lun } => fill_in_lun_info(&hardware, lun),
        Method::BeginPrepareSnapshot { luns, .. } => begin_prepare(&hardware, method, luns),
        Method::GetTargetLuns { sources, count } => {
            get_target_luns(&hardware, sources.as_deref(), *count)
        }
        Method::LocateLuns { luns, count } => locate_luns(&hardware, luns.as_deref(), *count),
        Method::OnLunEmpty { lun } => on_lun_empty(&hardware, lun.as_ref()),
        Method::GetProviderCapabilities => capabilities(object),
        Method::OnLunStateChange { .. } | Method::OnReuseLuns { .. } => two_arrays(object, method),
        Method::ResyncLuns {
            copies,
            targets,
            count,
        } => resync(
            objects,
            object,
            copies.as_deref(),
            targets.as_deref(),
            *count,
        ),
        Method::EndPrepareSnapshots { set } => of_set(object, *set, |t| t.EndPrepareSnapshots),
        Method::PreCommitSnapshots { set } => of_set(object, *set, |t| t.PreCommitSnapshots),
        Method::CommitSnapshots { set } => of_set(object, *set, |t| t.CommitSnapshots),
        Method::PostCommitSnapshots { set, count } => post_commit(object, *set, *count),
        Method::PreFinalCommitSnapshots { set } => {
            of_set(object, *set, |t| t.PreFinalCommitSnapshots)
        }
        Method::PostFinalCommitSnapshots { set } => {
            of_set(object, *set, |t| t.PostFinalCommitSnapshots)
        }
        Method::AbortSnapshots { set } => of_set(object, *set, |t| t.AbortSnapshots),
        Method::OnLoad { with_callback } => on_load(object, *with_callback),
        Method::OnUnload { force } => on_unload(object, *force),
    }
}

/// Calls a method of IVssAsync.
pub(super) fn call_async(object: &Held, method: AsyncMethod) -> Result<Answer, String> {
    with(object, |operation: &IVssAsync| {
        let (table, this) = (operation.vtable(), operation.as_raw());
        let mut status = HRESULT(0);
        // SAFETY: a live interface; `status` outlives the call, pReserved may be NULL (ASY-1).
        let outcome = timed(|| unsafe {
            match method {
                AsyncMethod::Cancel => (table.Cancel)(this),
                AsyncMethod::Wait { milliseconds } => (table.Wait)(this, milliseconds),
                AsyncMethod::QueryStatus => (table.QueryStatus)(this, &mut status, null_mut()),
            }
        });
        let status = matches!(method, AsyncMethod::QueryStatus).then_some(status);
        Ok(Answer {
            value: status.map(|status| u64::from(status.0.cast_unsigned())),
            ..answer(outcome)
        })
    })
}

fn are_luns_supported(
    provider: &Hardware,
    context: i32,
    luns: &[LunDescription],
) -> Result<Answer, String> {
    provider.with(|provider| {
        let array = LunArray::of(luns, 0)?;
        let (devices, count) = (Devices::of(luns.len()), count(luns)?);
        let mut supported = BOOL(0);
        // SAFETY: a live interface; all arrays have `count` elements and outlive the call.
        let outcome = timed(|| unsafe {
            (provider.vtable().AreLunsSupported)(
                provider.as_raw(),
                count,
                context,
                devices.pointer(),
                array.pointer(),
                &mut supported,
            )
        });
        Ok(Answer {
            luns: array.read()?,
            supported: Some(supported.as_bool()),
            ..answer(outcome)
        })
    })
}

fn fill_in_lun_info(provider: &Hardware, lun: &LunDescription) -> Result<Answer, String> {
    provider.with(|provider| {
        let array = LunArray::of(std::slice::from_ref(lun), 0)?;
        let devices = Devices::of(1);
        let mut supported = BOOL(0);
        // SAFETY: a live interface; one LUN and one name, which outlive the call.
        let outcome = timed(|| unsafe {
            (provider.vtable().FillInLunInfo)(
                provider.as_raw(),
                devices.first(),
                array.pointer(),
                &mut supported,
            )
        });
        Ok(Answer {
            luns: array.read()?,
            supported: Some(supported.as_bool()),
            ..answer(outcome)
        })
    })
}

/// Takes the other arguments from `method`, which has more of them than a function should.
fn begin_prepare(
    provider: &Hardware,
    method: &Method,
    luns: &[LunDescription],
) -> Result<Answer, String> {
    let Method::BeginPrepareSnapshot {
        set,
        snapshot,
        context,
        ..
    } = method
    else {
        unreachable!("called for this method only");
    };
    provider.with(|provider| {
        let array = LunArray::of(luns, 0)?;
        let (devices, count) = (Devices::of(luns.len()), count(luns)?);
        // SAFETY: a live interface; all arrays have `count` elements and outlive the call.
        let outcome = timed(|| unsafe {
            (provider.vtable().BeginPrepareSnapshot)(
                provider.as_raw(),
                guid(*set),
                guid(*snapshot),
                *context,
                count,
                devices.pointer(),
                array.pointer(),
            )
        });
        Ok(Answer {
            luns: array.read()?,
            ..answer(outcome)
        })
    })
}

fn get_target_luns(
    provider: &Hardware,
    sources: Option<&[LunDescription]>,
    count: i32,
) -> Result<Answer, String> {
    let elements = elements(i64::from(count))?;
    provider.with(|provider| {
        // Where the count is negative, the destinations make the proxy refuse before it reads the sources.
        let sources = InArray::of(sources, elements)?;
        let destinations = LunArray::zeroed(elements);
        let devices = Devices::of(elements);
        // SAFETY: a live interface; all arrays have `count` elements at least and outlive the call.
        let outcome = timed(|| unsafe {
            (provider.vtable().GetTargetLuns)(
                provider.as_raw(),
                count,
                devices.pointer(),
                sources.pointer(),
                destinations.pointer(),
            )
        });
        Ok(Answer {
            luns: destinations.read()?,
            ..answer(outcome)
        })
    })
}

fn locate_luns(
    provider: &Hardware,
    luns: Option<&[LunDescription]>,
    count: i32,
) -> Result<Answer, String> {
    if count < 0 && luns.is_some() {
        return Err("Wine's proxies read an array with a negative count for ever".to_owned());
    }
    let elements = elements(i64::from(count))?;
    provider.with(|provider| {
        let luns = InArray::of(luns, elements)?;
        // SAFETY: a live interface; the array has `count` elements at least and outlives the call.
        Ok(answer(timed(|| unsafe {
            (provider.vtable().LocateLuns)(provider.as_raw(), count, luns.pointer())
        })))
    })
}

fn on_lun_empty(provider: &Hardware, lun: Option<&LunDescription>) -> Result<Answer, String> {
    provider.with(|provider| {
        let lun = InArray::of(lun.map(std::slice::from_ref), 1)?;
        let devices = Devices::of(1);
        // SAFETY: a live interface; one LUN and one name, which outlive the call.
        Ok(answer(timed(|| unsafe {
            (provider.vtable().OnLunEmpty)(provider.as_raw(), devices.first(), lun.pointer())
        })))
    })
}

fn capabilities(object: &Held) -> Result<Answer, String> {
    with(object, |provider: &IVssHardwareSnapshotProviderEx| {
        let mut mask = u64::MAX;
        // SAFETY: a live interface; the mask outlives the call.
        let outcome = timed(|| unsafe {
            (provider.vtable().GetProviderCapabilities)(provider.as_raw(), &mut mask)
        });
        Ok(Answer {
            value: Some(mask),
            ..answer(outcome)
        })
    })
}

/// OnLunStateChange and OnReuseLuns.
fn two_arrays(object: &Held, method: &Method) -> Result<Answer, String> {
    let (Method::OnLunStateChange {
        copies,
        originals,
        count,
        ..
    }
    | Method::OnReuseLuns {
        copies,
        originals,
        count,
    }) = method
    else {
        unreachable!("called for these methods only");
    };
    let elements = elements(i64::from(*count))?;
    with(object, |provider: &IVssHardwareSnapshotProviderEx| {
        let copies = InArray::of(copies.as_deref(), elements)?;
        let originals = InArray::of(originals.as_deref(), elements)?;
        let (table, this) = (provider.vtable(), provider.as_raw());
        let (copies, originals) = (copies.pointer(), originals.pointer());
        // SAFETY: a live interface; both arrays have `count` elements at least and outlive the call.
        Ok(answer(timed(|| unsafe {
            match method {
                Method::OnLunStateChange { flags, .. } => {
                    (table.OnLunStateChange)(this, copies, originals, *count, *flags)
                }
                _ => (table.OnReuseLuns)(this, copies, originals, *count),
            }
        })))
    })
}

fn resync(
    objects: &Objects,
    object: &Held,
    copies: Option<&[LunDescription]>,
    targets: Option<&[LunDescription]>,
    count: u32,
) -> Result<Answer, String> {
    let elements = elements(i64::from(count))?;
    with(object, |provider: &IVssHardwareSnapshotProviderEx| {
        let copies = InArray::of(copies, elements)?;
        let targets = InArray::of(targets, elements)?;
        let mut operation: *mut c_void = null_mut();
        // SAFETY: a live interface; both arrays have `count` elements at least, and all outlives the call.
        let outcome = timed(|| unsafe {
            (provider.vtable().ResyncLuns)(
                provider.as_raw(),
                copies.pointer(),
                targets.pointer(),
                count,
                &mut operation,
            )
        });
        // SAFETY: the reference that the call gave.
        let operation = (!operation.is_null()).then(|| unsafe { IUnknown::from_raw(operation) });
        if outcome.0.is_err() && operation.is_some() {
            return Err("ResyncLuns failed and gave an object all the same (GEN-3)".to_owned());
        }
        Ok(Answer {
            object: operation.map(|operation| objects.add(operation)),
            ..answer(outcome)
        })
    })
}

/// A slot that takes the set alone.
// SAFETY: `of_set` calls it with the interface whose vtable it is from.
type SetMethod = unsafe extern "system" fn(*mut c_void, GUID) -> HRESULT;

/// The methods of IVssProviderCreateSnapshotSet that take the set alone.
fn of_set(
    object: &Held,
    set: Uuid,
    method: fn(&IVssProviderCreateSnapshotSet_Vtbl) -> SetMethod,
) -> Result<Answer, String> {
    with(object, |provider: &IVssProviderCreateSnapshotSet| {
        let method = method(provider.vtable());
        // SAFETY: a live interface and a slot of its own vtable.
        Ok(answer(timed(|| unsafe {
            method(provider.as_raw(), guid(set))
        })))
    })
}

fn post_commit(object: &Held, set: Uuid, count: i32) -> Result<Answer, String> {
    with(object, |provider: &IVssProviderCreateSnapshotSet| {
        // SAFETY: a live interface.
        Ok(answer(timed(|| unsafe {
            (provider.vtable().PostCommitSnapshots)(provider.as_raw(), guid(set), count)
        })))
    })
}

fn on_load(object: &Held, with_callback: bool) -> Result<Answer, String> {
    with(object, |provider: &IVssProviderNotifications| {
        let callback: Option<IUnknown> =
            with_callback.then(|| IPersist::from(Callback).cast().expect("it is an object"));
        let pointer = callback.as_ref().map_or(null_mut(), Interface::as_raw);
        // SAFETY: a live interface; the callback is NULL or outlives the call.
        let outcome = timed(|| unsafe { (provider.vtable().OnLoad)(provider.as_raw(), pointer) });
        Ok(Answer {
            value: callback.as_ref().map(references_of_others),
            ..answer(outcome)
        })
    })
}

fn on_unload(object: &Held, force: bool) -> Result<Answer, String> {
    with(object, |provider: &IVssProviderNotifications| {
        // SAFETY: a live interface.
        Ok(answer(timed(|| unsafe {
            (provider.vtable().OnUnload)(provider.as_raw(), BOOL::from(force))
        })))
    })
}

fn count(luns: &[LunDescription]) -> Result<i32, String> {
    let bounded = elements(i64::try_from(luns.len()).unwrap_or(i64::MAX))?;
    Ok(i32::try_from(bounded).expect("the bound is a small number"))
}

/// How many elements an array for a call with this count has to have. A negative count reads none.
fn elements(count: i64) -> Result<usize, String> {
    let elements = usize::try_from(count).unwrap_or(0);
    match elements > LUNS_MAX {
        true => Err(format!("a call with {count} LUNs; at most {LUNS_MAX}")),
        false => Ok(elements),
    }
}

/// An `[in]` array, which may be NULL.
struct InArray(Option<LunArray>);

impl InArray {
    /// `None` is a NULL pointer; a short array is filled up with zeroes, since the proxy reads `elements`.
    fn of(luns: Option<&[LunDescription]>, elements: usize) -> Result<Self, String> {
        let array = luns.map(|luns| LunArray::of(luns, elements)).transpose()?;
        Ok(Self(array))
    }

    fn pointer(&self) -> *const VDS_LUN_INFORMATION {
        self.0.as_ref().map_or(null(), |array| array.pointer())
    }
}

/// Device names as [`device_name`] gives them, NULL elements included; a NULL array for none.
struct Devices {
    _texts: Vec<Option<Vec<u16>>>,
    pointers: Vec<*const u16>,
}

impl Devices {
    fn of(count: usize) -> Self {
        let wide = |name: String| name.encode_utf16().chain([0]).collect::<Vec<u16>>();
        let texts: Vec<Option<Vec<u16>>> = (0..count)
            .map(|index| device_name(index).map(wide))
            .collect();
        let pointer = |text: &Option<Vec<u16>>| text.as_ref().map_or(null(), |text| text.as_ptr());
        let pointers = texts.iter().map(pointer).collect();
        Self {
            _texts: texts,
            pointers,
        }
    }

    fn pointer(&self) -> *const *const u16 {
        match self.pointers.is_empty() {
            true => null(),
            false => self.pointers.as_ptr(),
        }
    }

    fn first(&self) -> *const u16 {
        self.pointers.first().copied().unwrap_or(null())
    }
}
