// SPDX-License-Identifier: MIT OR Apache-2.0
//! The process's memory: the system's, and in the commit window a reserve (COM-3, COM-8).
//!
//! **When the system has no more.** What comes in with a size of its own is allocated so that a lack of memory is an error
//! (`com`); a set is not begun without [`is_left`]; what a call needs beyond that is served by the reserve, so that it comes
//! to its end. A block of more than [`reserve::LARGEST_BYTES`] that nobody can serve, or a full reserve, ends the process, as Rust
//! has it: then VSS meets a dead server, and the array discards what was not reported.
//!
//! What COM and its RPC runtime allocate for themselves is theirs and not counted here.

use reserve::Reserve;
use std::hint::black_box;
use std::sync::{Arc, Once};
use vss_provider::Window;

#[cfg(not(all(test, windows)))]
#[global_allocator]
static MEMORY: Reserve = Reserve::new();

#[cfg(all(test, windows))]
#[global_allocator]
static MEMORY: Reserve<exhaustion::Exhaustible> = Reserve::over(exhaustion::Exhaustible);

/// What the system must have left for a new set: many times what the set will need, and more than the reserve would serve.
const LEFT_BYTES: usize = 1 << 20;

/// Whether the system has memory for another set.
pub fn is_left() -> bool {
    let mut block = Vec::<u8>::new();
    let is_left = block.try_reserve_exact(LEFT_BYTES).is_ok();
    // Else the compiler may leave out an allocation that nobody uses.
    black_box(&block);
    is_left
}

/// The commit window of this process.
struct ReserveWindow;

impl Window for ReserveWindow {
    fn open(&self) {
        MEMORY.open();
    }

    fn close(&self) {
        MEMORY.close();
    }

    fn asked_system(&self) -> u64 {
        MEMORY.asked_system()
    }
}

/// What serves the commit window's memory, all of it in memory already.
pub fn window() -> Arc<dyn Window> {
    static TOUCHED: Once = Once::new();
    TOUCHED.call_once(|| MEMORY.touch());
    Arc::new(ReserveWindow)
}

#[cfg(all(test, windows))]
#[path = "memory_exhaustion.rs"]
pub(crate) mod exhaustion;

#[cfg(test)]
mod tests {
    use super::*;

    /// T-099, COM-8: it is this process's allocator that the window is about.
    #[test]
    fn t099_allocations_in_an_open_window_come_from_the_reserve() {
        let window = window();
        let before = MEMORY.served();
        window.open();
        let text = "served".repeat(100);
        window.close();
        assert!(MEMORY.served() > before);
        drop(text);
    }
}
