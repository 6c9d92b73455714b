// SPDX-License-Identifier: MIT OR Apache-2.0
//! The program's Windows side. [`agent`] obeys the rig; [`server`] is what COM starts with `-Embedding` and serves the
//! stand-in coordinator ([`coordinator`]) and the echo object ([`echo_object`]).

// UNSAFETY: joins COM and sets the process's security.
#![expect(unsafe_code)]

pub(crate) mod agent;
mod calls;
mod coordinator;
mod echo_object;
mod lun;
mod objects;
mod registered;
pub(crate) mod registration;
mod registry;
pub(crate) mod server;
mod spy;

use uuid::Uuid;
use windows::Win32::System::Com::{
    COINIT_MULTITHREADED, CoInitializeEx, CoInitializeSecurity, CoUninitialize, EOAC_NONE,
    RPC_C_AUTHN_LEVEL_PKT_PRIVACY, RPC_C_IMP_LEVEL_IDENTIFY,
};
use windows_core::GUID;

/// This thread's membership of the multithreaded apartment.
struct Apartment;

impl Apartment {
    fn enter() -> Result<Self, String> {
        // SAFETY: undone on this thread by the guard, which cannot leave it: it is made and kept in one function each time.
        unsafe { CoInitializeEx(None, COINIT_MULTITHREADED) }
            .ok()
            .map_err(|error| format!("cannot join COM: {error}"))?;
        Ok(Self)
    }
}

impl Drop for Apartment {
    fn drop(&mut self) {
        // SAFETY: `enter` succeeded on this thread.
        unsafe { CoUninitialize() };
    }
}

/// The process's security as a client, as the VSS service has it (SEC-4): every packet encrypted, servers may only identify us.
fn secure() -> Result<(), String> {
    // SAFETY: called once, before anything is marshalled; no pointer is passed.
    unsafe {
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
    }
    .map_err(|error| format!("cannot set COM's security: {error}"))
}

fn guid(id: Uuid) -> GUID {
    GUID::from_u128(id.as_u128())
}

fn uuid(id: &GUID) -> Uuid {
    Uuid::from_u128(id.to_u128())
}
