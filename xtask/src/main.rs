// SPDX-License-Identifier: MIT OR Apache-2.0
//! Set-up, checks, tests and the demo.
fn main() {}
