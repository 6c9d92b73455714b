// SPDX-License-Identifier: MIT OR Apache-2.0
//! The security descriptors of the program's files.
//!
//! What Wine cannot show: lists of Windows. It makes one of the Unix permissions.

// UNSAFETY: security descriptors are untyped memory in Windows' interface.
#![expect(unsafe_code)]

use super::{io_error, wide};
use crate::exposure::{Entry, Exposed, Rights, exposed};
use crate::registration::Files;
use std::ffi::c_void;
use std::io;
use std::path::Path;
use windows::Win32::Foundation::{HANDLE, HLOCAL, LocalFree};
use windows::Win32::Security::Authorization::{
    ConvertSidToStringSidW, GetNamedSecurityInfoW, SE_FILE_OBJECT,
};
use windows::Win32::Security::{
    ACCESS_ALLOWED_ACE, ACL, DACL_SECURITY_INFORMATION, GetAce, GetTokenInformation,
    INHERIT_ONLY_ACE, OWNER_SECURITY_INFORMATION, PSECURITY_DESCRIPTOR, PSID, TOKEN_USER,
    TokenUser,
};
use windows::core::{PCWSTR, PWSTR};

/// ACCESS_ALLOWED_ACE_TYPE and ACCESS_DENIED_ACE_TYPE: the entries whose form is known. Others are of rare kinds.
const ALLOWED: u8 = 0;
const DENIED: u8 = 1;
/// The handle that stands for this process's token.
const OWN_TOKEN: HANDLE = HANDLE(-4_isize as *mut c_void);
/// More than a SID and its head.
const TOKEN_USER_WORDS: usize = 32;

/// Who may change the program, its DLL, or put another in their place.
pub(super) fn look(files: &Files) -> io::Result<Vec<Exposed>> {
    let own = own_sid()?;
    let folder = Path::new(&files.executable).parent();
    let folder = folder.and_then(Path::to_str).unwrap_or_default();
    let mut found = Vec::new();
    for path in [folder, &files.executable, &files.messages] {
        found.extend(exposed(path, &rights(path)?, &own));
    }
    Ok(found)
}

fn rights(path: &str) -> io::Result<Rights> {
    let name = wide(path);
    let (mut owner, mut list) = (PSID::default(), std::ptr::null_mut::<ACL>());
    let mut descriptor = PSECURITY_DESCRIPTOR::default();
    // SAFETY: `name` ends with a NUL; owner and list point into the descriptor, which is ours to free, once, after their last use.
    unsafe {
        GetNamedSecurityInfoW(
            PCWSTR(name.as_ptr()),
            SE_FILE_OBJECT,
            OWNER_SECURITY_INFORMATION | DACL_SECURITY_INFORMATION,
            Some(&raw mut owner),
            None,
            Some(&raw mut list),
            None,
            &raw mut descriptor,
        )
        .ok()
        .map_err(io_error)?;
        let rights = text(owner).and_then(|owner| {
            let entries = match list.is_null() {
                true => None,
                false => Some(entries(list)?),
            };
            Ok(Rights { owner, entries })
        });
        LocalFree(Some(HLOCAL(descriptor.0)));
        rights
    }
}

/// # Safety
/// A whole list.
unsafe fn entries(list: *const ACL) -> io::Result<Vec<Entry>> {
    let mut found = Vec::new();
    // SAFETY: the caller's promise; GetAce hands out a place in the list, whose kind tells its form.
    unsafe {
        for index in 0..u32::from((*list).AceCount) {
            let mut place = std::ptr::null_mut::<c_void>();
            GetAce(list, index, &raw mut place).map_err(io_error)?;
            let entry = place.cast::<ACCESS_ALLOWED_ACE>();
            let head = (*entry).Header;
            if ![ALLOWED, DENIED].contains(&head.AceType) {
                continue;
            }
            let sid = PSID((&raw mut (*entry).SidStart).cast());
            found.push(Entry {
                allows: head.AceType == ALLOWED,
                inherit_only: u32::from(head.AceFlags) & INHERIT_ONLY_ACE.0 != 0,
                mask: (*entry).Mask,
                sid: text(sid)?,
            });
        }
    }
    Ok(found)
}

/// # Safety
/// A whole SID.
unsafe fn text(sid: PSID) -> io::Result<String> {
    let mut text = PWSTR::null();
    // SAFETY: the caller's promise; the text ends with a NUL and is ours to free, once.
    unsafe {
        ConvertSidToStringSidW(sid, &raw mut text).map_err(io_error)?;
        let owned = String::from_utf16_lossy(text.as_wide());
        LocalFree(Some(HLOCAL(text.0.cast())));
        Ok(owned)
    }
}

/// The account of this process, which installs and is an administrator's.
fn own_sid() -> io::Result<String> {
    let mut token = [0_u64; TOKEN_USER_WORDS];
    // SAFETY: `token` has the size that is named and the alignment of a TOKEN_USER, which the system puts there with what it
    // points to.
    unsafe {
        GetTokenInformation(
            OWN_TOKEN,
            TokenUser,
            Some(token.as_mut_ptr().cast()),
            size_of_val(&token) as u32,
            &mut 0,
        )
        .map_err(io_error)?;
        text((*token.as_ptr().cast::<TOKEN_USER>()).User.Sid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SEC-7, as far as Wine goes: a file of ours has an owner and a list, and nobody else may write to it.
    #[test]
    fn own_file_is_looked_at_and_not_exposed() {
        let name = format!("shadowlun-exposure-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, "x").unwrap();
        let path = path.to_str().unwrap();

        let rights = rights(path).unwrap();
        std::fs::remove_file(path).unwrap();

        assert!(rights.owner.starts_with("S-1-"), "{rights:?}");
        assert!(!rights.entries.as_ref().unwrap().is_empty(), "{rights:?}");
        let found = exposed(path, &rights, &own_sid().unwrap());
        assert!(!found.iter().any(|one| one.is_ordinary), "{found:?}");
    }
}
