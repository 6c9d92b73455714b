// SPDX-License-Identifier: MIT OR Apache-2.0
//! Compares the message DLL with the catalogue, as an event viewer would read it.

// UNSAFETY: calls the Win32 functions for message tables, and declares them: their modules of the windows crate are large.
#![expect(unsafe_code)]

use super::{io_error, wide};
use crate::{ids, message_file};
use std::ffi::c_void;
use std::io;
use std::path::Path;
use std::ptr;
use vss_provider::EventKind;
use windows::core::Error;

windows_core::link!("kernel32.dll" "system" fn LoadLibraryExW(name: *const u16, reserved: *const c_void, flags: u32) -> *mut c_void);
windows_core::link!("kernel32.dll" "system" fn FreeLibrary(module: *mut c_void) -> i32);
windows_core::link!("kernel32.dll" "system" fn FormatMessageW(flags: u32, source: *const c_void, id: u32, language: u32, buffer: *mut u16, units: u32, arguments: *const c_void) -> u32);

const LOAD_LIBRARY_AS_DATAFILE: u32 = 0x2;
const FORMAT_MESSAGE_FROM_HMODULE: u32 = 0x800;
const FORMAT_MESSAGE_ARGUMENT_ARRAY: u32 = 0x2000;
/// More than any text of the catalogue with its inserts.
const TEXT_UNITS_MAX: usize = 4096;

/// Every text of the catalogue, with inserts, as FormatMessage makes it of the DLL (T-235).
pub(super) fn check(dll: &Path) -> io::Result<()> {
    let module = Module::load(dll)?;
    for &kind in EventKind::ALL {
        let wrong = |what: String| {
            io::Error::other(format!(
                "{} is of another version than this program: event {} {what}",
                dll.display(),
                kind.id()
            ))
        };
        let inserts = ["<cause>", "<context>", "<advice>"];
        let found = module
            .text(message_file::message_id(kind), inserts)
            .map_err(|error| wrong(format!("has no text ({error})")))?;
        let expected = format!(
            "{}\n\nCause: <cause>.\n<context>\n\nWhat to do: {}<advice>",
            kind.title(),
            ids::remedy(kind)
        );
        if found.replace("\r\n", "\n").trim_end() != expected {
            return Err(wrong("has another text".to_owned()));
        }
    }
    Ok(())
}

struct Module(*mut c_void);

impl Module {
    fn load(path: &Path) -> io::Result<Self> {
        let name = wide(path);
        // SAFETY: `name` ends with a NUL; as a data file nothing of it is run.
        let module =
            unsafe { LoadLibraryExW(name.as_ptr(), ptr::null(), LOAD_LIBRARY_AS_DATAFILE) };
        match module.is_null() {
            true => Err(io_error(Error::from_thread())),
            false => Ok(Self(module)),
        }
    }

    fn text(&self, id: u32, inserts: [&str; 3]) -> io::Result<String> {
        let inserts = inserts.map(wide);
        let pointers = inserts.each_ref().map(|insert| insert.as_ptr());
        let mut buffer = [0_u16; TEXT_UNITS_MAX];
        // SAFETY: the module is loaded; the buffer has the length that is named; the inserts end with a NUL, and there are as many
        // as any text of ours uses.
        let units = unsafe {
            FormatMessageW(
                FORMAT_MESSAGE_FROM_HMODULE | FORMAT_MESSAGE_ARGUMENT_ARRAY,
                self.0,
                id,
                0,
                buffer.as_mut_ptr(),
                TEXT_UNITS_MAX as u32,
                pointers.as_ptr().cast(),
            )
        };
        match units {
            0 => Err(io_error(Error::from_thread())),
            units => Ok(String::from_utf16_lossy(&buffer[..units as usize])),
        }
    }
}

impl Drop for Module {
    fn drop(&mut self) {
        // SAFETY: loaded by us, freed once.
        unsafe { FreeLibrary(self.0) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_dll_and_dll_without_our_texts_are_errors() {
        assert!(check(Path::new(r"C:\no\such.dll")).is_err());

        let error = check(Path::new(r"C:\windows\system32\kernel32.dll")).unwrap_err();

        assert!(error.to_string().contains("has no text"), "{error}");
    }
}
