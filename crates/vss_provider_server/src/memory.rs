// SPDX-License-Identifier: MIT OR Apache-2.0
//! The process's memory: the system's, and in the commit window a reserve (COM-3, COM-8).
//!
//! What COM and its RPC runtime allocate for themselves is theirs and not counted here.

use reserve::Reserve;
use std::sync::{Arc, Once};
use vss_provider::Window;

#[global_allocator]
static MEMORY: Reserve = Reserve::new();

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
