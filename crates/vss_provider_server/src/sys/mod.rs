// SPDX-License-Identifier: MIT OR Apache-2.0
//! Windows itself, behind the traits that the deciding code works with.

mod data_folder;
mod etw;
mod event_log;
mod exposure;
mod machine;
mod messages;
mod secrets;
mod system;
mod vss;

pub use data_folder::SystemFolder;
pub use etw::Etw;
pub use event_log::{ApplicationLog, SystemLog};
pub use machine::ThisMachine;
pub use secrets::Dpapi;
pub use system::Windows;

use std::ffi::OsStr;
use std::io;
use std::os::windows::ffi::OsStrExt;

/// HRESULT_FROM_WIN32: the upper half of a code that wraps a Win32 one.
const FACILITY_WIN32: u32 = 0x8007_0000;

/// A text as Windows wants it. It must hold no NUL.
fn wide(text: impl AsRef<OsStr>) -> Vec<u16> {
    text.as_ref().encode_wide().chain([0]).collect()
}

/// With the kind that belongs to the Win32 code, where there is one.
fn io_error(error: windows::core::Error) -> io::Error {
    let code = error.code().0.cast_unsigned();
    match code & 0xFFFF_0000 {
        FACILITY_WIN32 => io::Error::from_raw_os_error((code & 0xFFFF).cast_signed()),
        _ => io::Error::from_raw_os_error(code.cast_signed()),
    }
}

/// The HRESULT of an [`io::Error`]'s code, which is a Win32 one or an HRESULT already.
fn win32_code(raw: i32) -> u32 {
    match raw.cast_unsigned() {
        code @ 0..=0xFFFF => FACILITY_WIN32 | code,
        code => code,
    }
}
