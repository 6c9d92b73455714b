// SPDX-License-Identifier: MIT OR Apache-2.0
//! A system whose memory runs out for one thread.

// UNSAFETY: a global allocator for the tests.
#![expect(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Mutex;
use std::sync::atomic::{AtomicIsize, AtomicU32, AtomicUsize, Ordering};
use windows::Win32::System::Threading::GetCurrentThreadId;

/// The thread that gets no more than [`LEFT`] blocks; 0 is none. Not thread-local, which may allocate.
static POOR: AtomicU32 = AtomicU32::new(0);
static LEFT: AtomicUsize = AtomicUsize::new(0);
/// Blocks that it asked for in vain.
static REFUSED: AtomicUsize = AtomicUsize::new(0);
/// Blocks that this thread took from the system and did not give back.
static LIVE: AtomicIsize = AtomicIsize::new(0);

/// Bytes that it has, and the most that it had.
static BYTES: AtomicIsize = AtomicIsize::new(0);
static BYTES_PEAK: AtomicIsize = AtomicIsize::new(0);

pub(crate) struct Exhaustible;

fn is_poor() -> bool {
    // SAFETY: no precondition.
    POOR.load(Ordering::Relaxed) == unsafe { GetCurrentThreadId() }
}

/// Whether the thread still gets a block.
fn take_one() -> bool {
    let one_less = |left: usize| left.checked_sub(1);
    (LEFT.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less)).is_ok()
}

// SAFETY: null, or what the system gives. The provided methods for the rest go through these two.
unsafe impl GlobalAlloc for Exhaustible {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if is_poor() {
            if !take_one() {
                REFUSED.fetch_add(1, Ordering::Relaxed);
                return std::ptr::null_mut();
            }
            LIVE.fetch_add(1, Ordering::Relaxed);
            let size = layout.size().cast_signed();
            let bytes = BYTES.fetch_add(size, Ordering::Relaxed) + size;
            BYTES_PEAK.fetch_max(bytes, Ordering::Relaxed);
        }
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        if is_poor() {
            LIVE.fetch_sub(1, Ordering::Relaxed);
            BYTES.fetch_sub(layout.size().cast_signed(), Ordering::Relaxed);
        }
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// How a call fared with little memory.
pub(crate) struct Fared {
    /// Blocks that it asked the system for in vain.
    pub(crate) refused: usize,
    /// Blocks of the system that it took and left behind.
    pub(crate) kept: isize,
    /// The most bytes of the system that it had at a time.
    pub(crate) bytes_peak: isize,
}

/// Carries `body` out while the system has only so many blocks for this thread.
pub(crate) fn with_blocks_left<T>(blocks: usize, body: impl FnOnce() -> T) -> (T, Fared) {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _turn = ONE_AT_A_TIME.lock();
    LEFT.store(blocks, Ordering::Relaxed);
    REFUSED.store(0, Ordering::Relaxed);
    for counter in [&LIVE, &BYTES, &BYTES_PEAK] {
        counter.store(0, Ordering::Relaxed);
    }
    // SAFETY: no precondition.
    POOR.store(unsafe { GetCurrentThreadId() }, Ordering::Relaxed);
    let value = body();
    POOR.store(0, Ordering::Relaxed);
    let fared = Fared {
        refused: REFUSED.load(Ordering::Relaxed),
        kept: LIVE.load(Ordering::Relaxed),
        bytes_peak: BYTES_PEAK.load(Ordering::Relaxed),
    };
    (value, fared)
}
