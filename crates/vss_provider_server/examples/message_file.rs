// SPDX-License-Identifier: MIT OR Apache-2.0
//! Prints the message compiler's source of the provider's event texts. The DLL beside the executable is made of it on Linux with
//!
//! ```text
//! cargo run -q -p vss_provider_server --example message_file > shadowlun-messages.mc
//! x86_64-w64-mingw32-windmc -b shadowlun-messages.mc
//! x86_64-w64-mingw32-windres shadowlun-messages.rc messages.o
//! x86_64-w64-mingw32-gcc -shared -nostdlib -Wl,--entry=0,--no-insert-timestamp -o shadowlun-messages.dll messages.o
//! ```
//!
//! and is data only: it has no code and no entry point. `shadowlun-provider status` compares every text in it with the catalogue.

fn main() {
    use vss_provider_server::{ids::SHADOWLUN, message_file};
    print!("{}", message_file::source(&SHADOWLUN));
}
