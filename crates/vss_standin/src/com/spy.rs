// SPDX-License-Identifier: MIT OR Apache-2.0
//! Counts CoTaskMem blocks, which COM's own allocator reports to a spy (T-131): a call that leaves more or fewer blocks than it found has
//! lost one or freed one twice.

// UNSAFETY: registers with COM's allocator.
#![expect(unsafe_code)]

use std::cell::Cell;
use std::ffi::c_void;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI64, Ordering};
use windows::Win32::System::Com::{CoRegisterMallocSpy, IMallocSpy, IMallocSpy_Impl};
use windows_core::{BOOL, implement};

static LEFT: AtomicI64 = AtomicI64::new(0);

thread_local! {
    static BALANCE: Cell<i64> = const { Cell::new(0) };
}

/// Registers the spy, for the life of the process.
pub(super) fn start() -> Result<(), String> {
    static STARTED: OnceLock<Result<(), String>> = OnceLock::new();
    let register = || {
        let spy: IMallocSpy = Spy.into();
        // SAFETY: COM takes a reference of its own.
        unsafe { CoRegisterMallocSpy(&spy) }
            .map_err(|error| format!("cannot watch COM's memory: {error}"))
    };
    STARTED.get_or_init(register).clone()
}

/// Runs what must leave as many blocks as it found. The proxies allocate and free on the thread of the call.
pub(super) fn watched<T>(call: impl FnOnce() -> T) -> T {
    let before = balance_of_this_thread();
    let outcome = call();
    LEFT.fetch_add(balance_of_this_thread() - before, Ordering::Relaxed);
    outcome
}

/// Blocks that all watched calls so far have left; below 0, that they have freed too much.
pub(super) fn left() -> i64 {
    LEFT.load(Ordering::Relaxed)
}

/// Blocks that this thread has allocated, less those that it has freed.
pub(super) fn balance_of_this_thread() -> i64 {
    BALANCE.get()
}

fn note(change: i64, block: *const c_void) -> *mut c_void {
    if !block.is_null() {
        BALANCE.set(BALANCE.get() + change);
    }
    block.cast_mut()
}

#[implement(IMallocSpy, Agile = false)]
struct Spy;

impl IMallocSpy_Impl for Spy_Impl {
    fn PreAlloc(&self, size: usize) -> usize {
        size
    }

    fn PostAlloc(&self, block: *const c_void) -> *mut c_void {
        note(1, block)
    }

    fn PreFree(&self, block: *const c_void, _spied: BOOL) -> *mut c_void {
        note(-1, block)
    }

    fn PostFree(&self, _spied: BOOL) {}

    fn PreRealloc(
        &self,
        block: *const c_void,
        size: usize,
        same_block: *mut *mut c_void,
        _spied: BOOL,
    ) -> usize {
        // SAFETY: COM's own variable.
        unsafe { same_block.write(note(-1, block)) };
        size
    }

    fn PostRealloc(&self, block: *const c_void, _spied: BOOL) -> *mut c_void {
        note(1, block)
    }

    fn PreGetSize(&self, block: *const c_void, _spied: BOOL) -> *mut c_void {
        block.cast_mut()
    }

    fn PostGetSize(&self, size: usize, _spied: BOOL) -> usize {
        size
    }

    fn PreDidAlloc(&self, block: *const c_void, _spied: BOOL) -> *mut c_void {
        block.cast_mut()
    }

    fn PostDidAlloc(&self, _block: *const c_void, _spied: BOOL, answer: i32) -> i32 {
        answer
    }

    fn PreHeapMinimize(&self) {}

    fn PostHeapMinimize(&self) {}
}
