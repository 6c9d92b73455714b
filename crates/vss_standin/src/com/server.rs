// SPDX-License-Identifier: MIT OR Apache-2.0
//! The local server that COM starts with `-Embedding`: class factories of its classes, and an end when nobody uses them.

// UNSAFETY: implements and registers COM class objects.
#![expect(unsafe_code)]

use super::coordinator::Coordinator;
use super::echo_object::Echo;
use super::{Apartment, guid, secure};
use std::ffi::c_void;
use std::sync::Mutex;
use std::time::{Duration, Instant};
use uuid::Uuid;
use vss_standin::{echo, providers};
use windows::Win32::Foundation::CLASS_E_NOAGGREGATION;
use windows::Win32::Storage::Vss::{IVssAdmin, IVssHardwareSnapshotProviderEx};
use windows::Win32::System::Com::{
    CLSCTX_LOCAL_SERVER, CoRegisterClassObject, CoRevokeClassObject, IClassFactory,
    IClassFactory_Impl, REGCLS_MULTIPLEUSE,
};
use windows_core::{BOOL, GUID, IUnknown, Interface, Ref, Result, implement};

/// How long the server waits for another client after its last.
const IDLE: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Live objects and locks, and since when the number is what it is.
static USE: Mutex<Option<(u32, Instant)>> = Mutex::new(None);

/// Counts an object for as long as it lives.
pub(super) struct Live(());

impl Default for Live {
    fn default() -> Self {
        change_use(|number| number + 1);
        Self(())
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        change_use(|number| number - 1);
    }
}

fn change_use(change: impl FnOnce(u32) -> u32) -> (u32, Instant) {
    let mut state = USE.lock().expect("nothing panics under this lock");
    let (number, since) = state.unwrap_or((0, Instant::now()));
    let changed = change(number);
    let since = if changed == number {
        since
    } else {
        Instant::now()
    };
    *state = Some((changed, since));
    (changed, since)
}

/// The argument with which COM starts the server of [`echo::MORTAL_CLASS`].
pub(crate) const MORTAL: &str = "mortal";

/// Serves the classes that the command line means until nobody has used them for [`IDLE`].
pub(crate) fn run(mortal: bool) -> std::result::Result<(), String> {
    let _apartment = Apartment::enter()?;
    secure()?;
    change_use(|number| number);
    let make_echo: Make = || IVssHardwareSnapshotProviderEx::from(Echo::default()).cast();
    let make_coordinator: Make = || IVssAdmin::from(Coordinator::new()).cast();
    let cookies = match mortal {
        true => vec![register(echo::MORTAL_CLASS, make_echo)?],
        false => vec![
            register(providers::COORDINATOR_CLASS, make_coordinator)?,
            register(echo::CLASS, make_echo)?,
        ],
    };
    loop {
        std::thread::sleep(LOOK_EVERY);
        let (number, since) = change_use(|number| number);
        if number == 0 && since.elapsed() > IDLE {
            break;
        }
    }
    for cookie in cookies {
        // SAFETY: registered above.
        unsafe { CoRevokeClassObject(cookie) }
            .map_err(|error| format!("cannot take a class back: {error}"))?;
    }
    // A client that came at the last moment is served to its end.
    while change_use(|number| number).0 > 0 {
        std::thread::sleep(LOOK_EVERY);
    }
    Ok(())
}

type Make = fn() -> Result<IUnknown>;

fn register(class: Uuid, make: Make) -> std::result::Result<u32, String> {
    let factory: IClassFactory = Factory { make }.into();
    // SAFETY: COM takes a reference of its own.
    unsafe {
        CoRegisterClassObject(
            &guid(class),
            &factory,
            CLSCTX_LOCAL_SERVER,
            REGCLS_MULTIPLEUSE,
        )
    }
    .map_err(|error| format!("cannot offer class {class}: {error}"))
}

#[implement(IClassFactory, Agile = false)]
struct Factory {
    make: Make,
}

impl IClassFactory_Impl for Factory_Impl {
    fn CreateInstance(
        &self,
        outer: Ref<IUnknown>,
        interface: *const GUID,
        object: *mut *mut c_void,
    ) -> Result<()> {
        if outer.is_some() {
            return Err(CLASS_E_NOAGGREGATION.into());
        }
        // SAFETY: COM passes both pointers; QueryInterface fills the second, with NULL where it fails.
        unsafe { (self.make)()?.query(interface, object) }.ok()
    }

    fn LockServer(&self, lock: BOOL) -> Result<()> {
        change_use(|number| match lock.as_bool() {
            true => number + 1,
            false => number.saturating_sub(1),
        });
        Ok(())
    }
}
