// SPDX-License-Identifier: MIT OR Apache-2.0
//! libFuzzer's entry for [`fuzzing::calls`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzzing::calls(data));
