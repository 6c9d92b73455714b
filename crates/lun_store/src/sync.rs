// SPDX-License-Identifier: MIT OR Apache-2.0
//! Locks without the ceremony. A lock poisoned by a panic is a broken invariant of this crate and panics on.
//!
//! Order, outermost first: a LUN's gate, its head, a leaf, then one of catalogue, allocator, leaf cache or a LUN's
//! pending list, of which none is held while taking another, but that a leaf may be held for any of them.
use std::sync::{Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};

const POISONED: &str = "a thread panicked while it held one of the store's locks";

pub(crate) trait MutexExt<T> {
    fn locked(&self) -> MutexGuard<'_, T>;
}

impl<T> MutexExt<T> for Mutex<T> {
    fn locked(&self) -> MutexGuard<'_, T> {
        self.lock().expect(POISONED)
    }
}

pub(crate) trait RwLockExt<T> {
    fn shared(&self) -> RwLockReadGuard<'_, T>;
    fn exclusive(&self) -> RwLockWriteGuard<'_, T>;
}

impl<T> RwLockExt<T> for RwLock<T> {
    fn shared(&self) -> RwLockReadGuard<'_, T> {
        self.read().expect(POISONED)
    }
    fn exclusive(&self) -> RwLockWriteGuard<'_, T> {
        self.write().expect(POISONED)
    }
}
