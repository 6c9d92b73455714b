// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the fuzzers do with an input: bytes become calls, and the calls must not break what holds for every input.
//!
//! **Is not** a fuzzer: `cargo xtask fuzz` brings libFuzzer where a nightly compiler is there, and otherwise the program
//! `throw`, which makes inputs at random and from the corpus. Both call the functions of this crate, and so do its tests. What only
//! Windows has is thrown at under Wine.
//!
//! **Error model.** A broken promise is a panic, which is what fuzzers look for.

mod calls;
mod descriptions;
mod inputs;
#[cfg(windows)]
mod raw;

pub use calls::calls;
pub use inputs::Inputs;
#[cfg(windows)]
pub use raw::raw;

/// What is done with one input.
pub type Body = fn(&[u8]);

/// The bodies, by the name of their corpus `fuzz/corpus/NAME`.
pub const BODIES: &[(&str, Body)] = &[
    ("calls", calls),
    #[cfg(windows)]
    ("raw", raw),
];
