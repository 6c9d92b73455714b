// SPDX-License-Identifier: MIT OR Apache-2.0
//! The agent: connects to the rig, obeys its orders, ends with the connection.

// UNSAFETY: asks the system about the process heap.
#![expect(unsafe_code)]

use super::calls::Via;
use super::objects::{self, Objects};
use super::{Apartment, calls, registered, registry, secure, spy};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use vss_standin::wire::{Answer, COOKIE_VARIABLE, Hello, Order, Request, Response};
use windows::Win32::System::Memory::{GetProcessHeap, HEAP_FLAGS, HeapValidate};

/// Serves the rig at `HOST:PORT` until it closes the connection. Calls that are still under way then end with the process.
pub(crate) fn run(rig: &str) -> Result<(), String> {
    let failed =
        |what: &'static str| move |error| format!("cannot {what} the rig at {rig}: {error}");
    let cookie = std::env::var(COOKIE_VARIABLE)
        .map_err(|_| format!("{COOKIE_VARIABLE} is not set; only the rig starts an agent"))?;
    spy::start()?;
    let _apartment = Apartment::enter()?;
    secure()?;
    let connection = TcpStream::connect(rig).map_err(failed("reach"))?;
    connection.set_nodelay(true).map_err(failed("reach"))?;
    let lines = BufReader::new(connection.try_clone().map_err(failed("listen to"))?).lines();
    let agent = Arc::new(Agent {
        objects: Objects::default(),
        connection: Mutex::new(connection),
    });
    agent.send(&Hello { cookie });
    for line in lines {
        // The rig was killed, which closes the connection in a less orderly way.
        let Ok(line) = line else { break };
        let agent = Arc::clone(&agent);
        std::thread::spawn(move || agent.send(&agent.answer(&line)));
    }
    Ok(())
}

struct Agent {
    objects: Objects,
    connection: Mutex<TcpStream>,
}

impl Agent {
    /// A message that does not reach the rig needs no other handling: its end of the connection is closed, and the agent about to end.
    fn send(&self, message: &impl serde::Serialize) {
        let mut text = serde_json::to_vec(message).expect("wire types are plain data");
        text.push(b'\n');
        let mut connection = self
            .connection
            .lock()
            .expect("nothing panics under this lock");
        let _ = connection.write_all(&text);
    }

    fn answer(&self, line: &str) -> Response {
        match serde_json::from_str::<Request>(line) {
            Ok(Request { id, order }) => {
                let obeyed = catch_unwind(AssertUnwindSafe(|| self.obey(&order)));
                Response {
                    id,
                    result: obeyed.unwrap_or_else(|_| {
                        Err("the stand-in panicked; its output says where".to_owned())
                    }),
                }
            }
            Err(error) => Response {
                id: id_of(line),
                result: Err(format!("not an order: {error}")),
            },
        }
    }

    fn obey(&self, order: &Order) -> Result<Answer, String> {
        let _apartment = Apartment::enter()?;
        let objects = &self.objects;
        match order {
            Order::Activate { class, server } => Ok(objects::activate(objects, *class, *server)),
            Order::Release { object } => objects.release(*object),
            Order::QueryInterface { object, from, to } => {
                objects::query_interface(&*objects.get(*object)?, *from, *to)
            }
            Order::Call { object, method } => {
                calls::call(objects, &*objects.get(*object)?, Via::Ex, method)
            }
            Order::CallBase { object, method } => {
                calls::call(objects, &*objects.get(*object)?, Via::Base, method)
            }
            Order::Async { object, method } => calls::call_async(&*objects.get(*object)?, *method),
            Order::CheckHeap => check_heap(),
            Order::Registry => registry::dump(),
            Order::Providers => registered::query(),
            Order::SetRig { name, value } => registry::set_rig(name, *value),
        }
    }
}

/// The number of a request that is no good otherwise; 0 where there is none.
fn id_of(line: &str) -> u64 {
    let value: serde_json::Value = serde_json::from_str(line).unwrap_or_default();
    value["id"].as_u64().unwrap_or(0)
}

/// `value` 1 when the heap is sound and every call so far has left as many CoTaskMem blocks as it found.
fn check_heap() -> Result<Answer, String> {
    // SAFETY: the heap of the process lives as long as the process.
    let heap = unsafe { GetProcessHeap() }.map_err(|error| format!("no process heap: {error}"))?;
    // SAFETY: as above.
    let sound = unsafe { HeapValidate(heap, HEAP_FLAGS(0), None) }.as_bool();
    let left = spy::left();
    Ok(Answer {
        value: Some(u64::from(sound && left == 0)),
        texts: vec![
            format!("heap sound: {sound}"),
            format!("CoTaskMem blocks left by all calls: {left}"),
        ],
        ..Answer::default()
    })
}
