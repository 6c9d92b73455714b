// SPDX-License-Identifier: MIT OR Apache-2.0
//! The class object.

// UNSAFETY: COM methods come with raw pointers.
#![expect(unsafe_code)]

use super::convert::out;
use super::object::ProviderObject;
use crate::guard::{Callers, caught, internal_error};
use crate::lifetime::{Lifetime, User};
use crate::live::Live;
use crate::site::Site;
use std::ffi::c_void;
use std::ptr;
use std::sync::{Arc, Mutex, PoisonError};
use vss_provider::{EventSink, Hresult, Method};
use windows::Win32::Foundation::{
    CLASS_E_NOAGGREGATION, CO_E_SERVER_STOPPING, E_ACCESSDENIED, E_INVALIDARG, E_UNEXPECTED,
};
use windows::Win32::System::Com::{IClassFactory, IClassFactory_Impl};
use windows::core::{BOOL, Error, GUID, IUnknown, Interface, Ref, implement};

/// Makes provider objects.
#[implement(IClassFactory, Agile = false)]
pub(super) struct Factory {
    pub(super) live: Arc<Live>,
    pub(super) lifetime: Arc<Lifetime>,
    pub(super) events: Arc<dyn EventSink>,
    /// What a provider is made from.
    pub(super) site: fn() -> Site,
    /// Who may call it.
    pub(super) callers: Arc<dyn Callers>,
    /// LockServer's.
    pub(super) locks: Mutex<Vec<User>>,
}

impl Factory {
    fn enter(&self) -> windows::core::Result<User> {
        let user = self.lifetime.enter();
        user.ok_or_else(|| Error::from(CO_E_SERVER_STOPPING))
    }

    /// GEN-7 for methods that are COM's own: the answer to a panic is E_UNEXPECTED.
    fn guarded(
        &self,
        body: impl FnOnce() -> windows::core::Result<()>,
    ) -> windows::core::Result<()> {
        caught(body).unwrap_or_else(|cause| {
            let event = internal_error(Method::OnLoad, cause, Hresult::VSS_E_PROVIDER_VETO);
            let _ = caught(|| self.events.report(&event));
            Err(Error::from(E_UNEXPECTED))
        })
    }
}

impl IClassFactory_Impl for Factory_Impl {
    fn CreateInstance(
        &self,
        outer: Ref<IUnknown>,
        interface: *const GUID,
        object: *mut *mut c_void,
    ) -> windows::core::Result<()> {
        self.guarded(|| {
            // SAFETY: COM hands in NULL or a place for a pointer.
            let empty = unsafe { out(object, ptr::null_mut()) };
            if empty.is_err() || interface.is_null() {
                return Err(Error::from(E_INVALIDARG));
            }
            if !outer.is_null() {
                return Err(Error::from(CLASS_E_NOAGGREGATION));
            }
            // A site's files are read for those alone who may call.
            if !self.callers.may_call() {
                return Err(Error::from(E_ACCESSDENIED));
            }
            let user = self.enter()?;
            let callers = Arc::clone(&self.callers);
            let made = ProviderObject::new((self.site)(), callers, &self.live, user);
            let made = IUnknown::from(made);
            // SAFETY: both pointers were checked; QueryInterface stores a counted reference or NULL.
            unsafe { made.query(interface, object) }.ok()
        })
    }

    fn LockServer(&self, lock: BOOL) -> windows::core::Result<()> {
        self.guarded(|| {
            let mut locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
            if lock.as_bool() {
                locks.push(self.enter()?);
            } else {
                // One unlock too many is the client's error, and harms nobody.
                locks.pop();
            }
            Ok(())
        })
    }
}
