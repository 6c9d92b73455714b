// SPDX-License-Identifier: MIT OR Apache-2.0
//! Who may start and call the provider: Local System, which VSS runs as, and administrators. A closed list (SEC-1, SEC-2,
//! SEC-7); the methods ask once more (`callers`).

// UNSAFETY: security descriptors are untyped memory in Windows' interface.
#![expect(unsafe_code)]

use std::ffi::c_void;
use std::{ptr, slice};
use windows::Win32::Foundation::{HLOCAL, LocalFree};
use windows::Win32::Security::Authorization::{
    ConvertStringSecurityDescriptorToSecurityDescriptorW, SDDL_REVISION_1,
};
use windows::Win32::Security::{ACL, MakeAbsoluteSD, PSECURITY_DESCRIPTOR, PSID};
use windows::core::{HSTRING, Result};

/// Owner and group Administrators, which COM wants to be named; a protected list with one entry each for Local System and
/// Administrators: execute and activate, on this computer only (1 execute, 2 execute local, 8 activate local).
pub const SDDL: &str = "O:BAG:BAD:P(A;;0xb;;;SY)(A;;0xb;;;BA)";

/// A self-relative security descriptor.
pub struct Descriptor(Vec<u64>, usize);

impl Descriptor {
    /// From its textual form.
    ///
    /// # Errors
    /// What Windows has against the text.
    pub fn new(sddl: &str) -> Result<Self> {
        let mut raw = PSECURITY_DESCRIPTOR::default();
        let mut size = 0_u32;
        // SAFETY: the text is zero-terminated; both results are written to places of ours.
        unsafe {
            ConvertStringSecurityDescriptorToSecurityDescriptorW(
                &HSTRING::from(sddl),
                SDDL_REVISION_1,
                &raw mut raw,
                Some(&raw mut size),
            )
        }?;
        let size = usize::try_from(size).expect("Windows has at least 32 bits");
        let mut words = vec![0_u64; size.div_ceil(size_of::<u64>())];
        // SAFETY: Windows made a block of this size, which is ours to free; `words` is at least as long.
        unsafe {
            ptr::copy_nonoverlapping(raw.0.cast::<u8>(), words.as_mut_ptr().cast(), size);
            LocalFree(Some(HLOCAL(raw.0)));
        }
        Ok(Self(words, size))
    }

    /// Its bytes: the value of LaunchPermission and AccessPermission.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: `words` holds at least `size` bytes; every byte pattern is a u8.
        unsafe { slice::from_raw_parts(self.0.as_ptr().cast(), self.1) }
    }

    /// For functions that take either form. Valid as long as `self`; they only read it.
    pub fn as_raw(&self) -> PSECURITY_DESCRIPTOR {
        PSECURITY_DESCRIPTOR(self.0.as_ptr().cast_mut().cast())
    }

    /// The absolute form, which CoInitializeSecurity wants.
    ///
    /// # Errors
    /// What Windows has against it.
    pub fn to_absolute(&self) -> Result<AbsoluteDescriptor> {
        let mut absolute = AbsoluteDescriptor::default();
        // The first call tells the sizes, and says that the buffers are too small.
        match self.fill(&mut absolute) {
            Ok(()) => Ok(absolute),
            Err(_) => self.fill(&mut absolute).map(|()| absolute),
        }
    }

    /// Fills the parts as far as they are long enough, and makes them so otherwise.
    fn fill(&self, to: &mut AbsoluteDescriptor) -> Result<()> {
        let mut sizes = to.parts.each_ref().map(|part| {
            u32::try_from(part.len() * size_of::<u64>()).expect("a descriptor is small")
        });
        let pointers = to.parts.each_mut().map(|part| match part.is_empty() {
            true => ptr::null_mut::<c_void>(),
            false => part.as_mut_ptr().cast(),
        });
        let [head, dacl, sacl, owner, group] = pointers;
        let [head_size, dacl_size, sacl_size, owner_size, group_size] = sizes.each_mut();
        // SAFETY: each pointer goes with the size of its buffer, which is aligned for every part; a NULL one with 0.
        let result = unsafe {
            MakeAbsoluteSD(
                self.as_raw(),
                Some(PSECURITY_DESCRIPTOR(head)),
                head_size,
                Some(dacl.cast::<ACL>()),
                dacl_size,
                Some(sacl.cast::<ACL>()),
                sacl_size,
                Some(PSID(owner)),
                owner_size,
                Some(PSID(group)),
                group_size,
            )
        };
        if result.is_err() {
            to.parts = sizes.map(|size| {
                let size = usize::try_from(size).expect("Windows has at least 32 bits");
                vec![0_u64; size.div_ceil(size_of::<u64>())]
            });
        }
        result
    }
}

/// A security descriptor whose head points to its parts: DACL, SACL, owner, group.
#[derive(Default)]
pub struct AbsoluteDescriptor {
    parts: [Vec<u64>; 5],
}

impl AbsoluteDescriptor {
    /// Valid as long as `self`.
    pub fn as_raw(&self) -> PSECURITY_DESCRIPTOR {
        PSECURITY_DESCRIPTOR(self.parts[0].as_ptr().cast_mut().cast())
    }
}

#[cfg(test)]
#[path = "security_tests.rs"]
mod tests;
