// SPDX-License-Identifier: MIT OR Apache-2.0
//! A global allocator that serves a window of time from memory that the process has touched before: while the file
//! systems of the host are held, nothing asks the system for memory (COM-3, COM-8, TIME-22).
//!
//! Outside a window it is the system's allocator. While a window is open, allocations of *every* thread come from the
//! reserve: the calls of one window may come on different threads, and a thread that is not in the window must not hold a
//! lock of the system's heap while it waits for a file system. What came from the reserve goes back to it, whenever it is freed.
//! An allocation that the reserve cannot serve goes to the system and is counted: a count is better than a failed backup.
//!
//! What the system refuses, window or not, the reserve serves as far as it goes: Rust ends the process where an allocation
//! fails, and a call under way should come to its end instead.
//!
//! **Is not** a bound on the process's memory, and not the heap of other code in the process: what COM and its RPC
//! runtime allocate for themselves goes to the system's heap as ever.
//!
//! **I/O model.** None, and no locks: a slot is taken and given back by one atomic operation on its bit, so that no thread
//! waits for another. **Error model.** As every global allocator: null when neither the system nor the reserve has memory.

mod slots;

pub use slots::{LARGEST_BYTES, Reserve};
