// SPDX-License-Identifier: MIT OR Apache-2.0
//! Prints the message compiler's source of this vendor's event texts. `anvil-messages.dll` is made of it as the example `message_file`
//! of `vss_provider_server` says.

fn main() {
    let names = &vendor_provider::ANVIL.names;
    print!("{}", vss_provider_server::message_file::source(names));
}
