// SPDX-License-Identifier: MIT OR Apache-2.0
//! The objects that the stand-in holds for the rig, and what can be asked of any object.

// UNSAFETY: activates objects and asks them for interfaces.
#![expect(unsafe_code)]

use super::{guid, spy};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};
use uuid::Uuid;
use vss_standin::wire::{Answer, ObjectId, Server};
use windows::Win32::System::Com::{
    CLSCTX_INPROC_HANDLER, CLSCTX_INPROC_SERVER, CLSCTX_LOCAL_SERVER, CoCreateInstance,
    CoGetClassObject, IClassFactory, IPersist, IPersist_Impl,
};
use windows_core::{GUID, HRESULT, IUnknown, IUnknown_Vtbl, Interface, implement};

/// A reference to an object in another process, and the interfaces that were asked of it.
///
/// Each is asked for once and kept: when the last reference to an interface goes while a call on it is just ending, Wine 8's
/// RpcServerUnregisterIf in the server can wait for that call for ever.
pub(super) struct Held {
    pub(super) object: IUnknown,
    interfaces: Mutex<Vec<(GUID, IUnknown)>>,
}

// SAFETY: a proxy that was made in the multithreaded apartment serves all its threads, and all threads of the agent are in it.
unsafe impl Send for Held {}
// SAFETY: as above.
unsafe impl Sync for Held {}

impl Held {
    fn new(object: IUnknown) -> Self {
        Self {
            object,
            interfaces: Mutex::default(),
        }
    }

    fn interface<T: Interface>(&self) -> Result<T, HRESULT> {
        let mut known = self
            .interfaces
            .lock()
            .expect("nothing panics under this lock");
        let found = known.iter().find(|(id, _)| *id == T::IID);
        let pointer = match found {
            Some((_, pointer)) => pointer.clone(),
            None => {
                let pointer = query(&self.object, &T::IID)?;
                known.push((T::IID, pointer.clone()));
                pointer
            }
        };
        // SAFETY: the pointer is what QueryInterface gave for `T`, with a reference of its own.
        Ok(unsafe { T::from_raw(pointer.into_raw()) })
    }
}

/// What the rig knows by number.
#[derive(Default)]
pub(super) struct Objects {
    table: Mutex<(ObjectId, HashMap<ObjectId, Arc<Held>>)>,
    /// Class objects of servers that were alive when they were last used, for the reason given at [`Held`].
    classes: Mutex<HashMap<Uuid, Held>>,
}

/// RPC_S_SERVER_UNAVAILABLE, RPC_S_CALL_FAILED and RPC_E_DISCONNECTED: the server of a class object has ended.
const DEAD_SERVER: [HRESULT; 3] = [
    HRESULT(0x8007_06BA_u32.cast_signed()),
    HRESULT(0x8007_06BE_u32.cast_signed()),
    HRESULT(0x8001_0108_u32.cast_signed()),
];
/// What a call has time for to end in the server before the object that it was made on is released.
const END_OF_CALL: Duration = Duration::from_millis(5);

impl Objects {
    pub(super) fn add(&self, object: IUnknown) -> ObjectId {
        let mut table = self.lock();
        table.0 += 1;
        let id = table.0;
        table.1.insert(id, Arc::new(Held::new(object)));
        id
    }

    pub(super) fn get(&self, id: ObjectId) -> Result<Arc<Held>, String> {
        let object = self.lock().1.get(&id).cloned();
        object.ok_or_else(|| format!("object {id} is not held"))
    }

    /// Gives the reference up. A call that is under way keeps the object until its end.
    pub(super) fn release(&self, id: ObjectId) -> Result<Answer, String> {
        let object = self.lock().1.remove(&id);
        let object = object.ok_or_else(|| format!("object {id} is not held"))?;
        std::thread::sleep(END_OF_CALL);
        let (_, elapsed_us) = timed(|| drop(object));
        Ok(Answer {
            elapsed_us,
            ..Answer::default()
        })
    }

    fn lock(&self) -> MutexGuard<'_, (ObjectId, HashMap<ObjectId, Arc<Held>>)> {
        self.table.lock().expect("nothing panics under this lock")
    }
}

/// Runs `call` and says how many microseconds it took.
pub(super) fn timed<T>(call: impl FnOnce() -> T) -> (T, u64) {
    let start = Instant::now();
    let outcome = call();
    let elapsed_us = u64::try_from(start.elapsed().as_micros());
    (outcome, elapsed_us.expect("a call of under 500,000 years"))
}

/// An answer with a code and a time.
pub(super) fn answer((code, elapsed_us): (HRESULT, u64)) -> Answer {
    Answer {
        code: code.0.cast_unsigned(),
        elapsed_us,
        ..Answer::default()
    }
}

/// An object of the class, as IUnknown.
pub(super) fn activate(objects: &Objects, class: Uuid, server: Server) -> Answer {
    let (created, elapsed_us) = timed(|| match server {
        Server::Local => objects.create_out_of_process(class),
        Server::InProcess => {
            let context = CLSCTX_INPROC_SERVER | CLSCTX_INPROC_HANDLER;
            // SAFETY: no outer object; the class id lives through the call.
            unsafe { CoCreateInstance::<_, IUnknown>(&guid(class), None, context) }
        }
    });
    let code = created.as_ref().err().map_or(HRESULT(0), |e| e.code());
    Answer {
        object: created.ok().map(|object| objects.add(object)),
        ..answer((code, elapsed_us))
    }
}

impl Objects {
    /// What CoCreateInstance does, but for the class object, which is kept.
    fn create_out_of_process(&self, class: Uuid) -> windows_core::Result<IUnknown> {
        let mut classes = self.classes.lock().expect("nothing panics under this lock");
        if let Some(held) = classes.get(&class) {
            match create(held) {
                Err(error) if DEAD_SERVER.contains(&error.code()) => classes.remove(&class),
                created => return created,
            };
        }
        // SAFETY: the class id lives through the call.
        let factory: IClassFactory =
            unsafe { CoGetClassObject(&guid(class), CLSCTX_LOCAL_SERVER, None) }?;
        let held = Held::new(factory.into());
        let created = create(&held);
        classes.insert(class, held);
        created
    }
}

fn create(class: &Held) -> windows_core::Result<IUnknown> {
    let factory: IClassFactory = class.interface()?;
    // SAFETY: no outer object.
    unsafe { factory.CreateInstance(None) }
}

/// QueryInterface for `to` on the pointer of `from`; `value` is 1 when what came back is the same object (T-008).
pub(super) fn query_interface(object: &Held, from: Uuid, to: Uuid) -> Result<Answer, String> {
    let asked = query(&object.object, &guid(from))
        .map_err(|code| format!("the object has no interface {from}: {code:?}"))?;
    let (answered, elapsed_us) = timed(|| query(&asked, &guid(to)));
    let unknown = |object: &IUnknown| query(object, &IUnknown::IID).ok();
    Ok(match answered {
        Err(code) => answer((code, elapsed_us)),
        Ok(other) => Answer {
            value: Some(u64::from(
                unknown(&object.object)
                    .zip(unknown(&other))
                    .is_some_and(|(own, its)| own.as_raw() == its.as_raw()),
            )),
            ..answer((HRESULT(0), elapsed_us))
        },
    })
}

/// A pointer of the interface `id`, seen as IUnknown, which each interface begins with.
fn query(object: &IUnknown, id: &GUID) -> Result<IUnknown, HRESULT> {
    let mut pointer = std::ptr::null_mut();
    // SAFETY: the variable takes one reference when the call succeeds.
    let code = unsafe { object.query(id, &mut pointer) };
    match code.is_ok() {
        // SAFETY: the reference that QueryInterface gave.
        true => Ok(unsafe { IUnknown::from_raw(pointer) }),
        false => Err(code),
    }
}

/// Calls `call` with the object's interface `T`, and counts what memory it leaves behind (T-131). An object without the interface is
/// an answer with QueryInterface's code.
pub(super) fn with<T: Interface>(
    object: &Held,
    call: impl FnOnce(&T) -> Result<Answer, String>,
) -> Result<Answer, String> {
    match object.interface::<T>() {
        Ok(interface) => spy::watched(|| call(&interface)),
        Err(code) => Ok(answer((code, 0))),
    }
}

/// What the stand-in passes as OnLoad's reserved callback: any object does.
#[implement(IPersist, Agile = false)]
pub(super) struct Callback;

impl IPersist_Impl for Callback_Impl {
    fn GetClassID(&self) -> windows_core::Result<GUID> {
        Ok(GUID::zeroed())
    }
}

/// References that others hold on `object` once they had time to give back what they do not keep (T-011).
pub(super) fn references_of_others(object: &IUnknown) -> u64 {
    const PATIENCE: Duration = Duration::from_secs(2);
    let start = Instant::now();
    loop {
        let others = count_references(object) - 1;
        if others == 0 || start.elapsed() > PATIENCE {
            return u64::from(others);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn count_references(object: &IUnknown) -> u32 {
    let vtable: &IUnknown_Vtbl = object.vtable();
    // SAFETY: a reference more and the same less, on an object of this process.
    unsafe {
        (vtable.AddRef)(object.as_raw());
        (vtable.Release)(object.as_raw())
    }
}
