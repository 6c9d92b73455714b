// SPDX-License-Identifier: MIT OR Apache-2.0
//! Prints `docs/events.md`:
//!
//! ```text
//! cargo run -q -p vss_provider_server --example event_table > docs/events.md
//! ```

fn main() {
    print!("{}", vss_provider_server::event_table::markdown());
}
