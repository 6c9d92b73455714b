// SPDX-License-Identifier: MIT OR Apache-2.0
//! The second check of who calls (SEC-2, part b): the client's token, asked in each method. COM's closed list
//! ([`super::security`]) is the first.
//!
//! What Wine cannot show: impersonation. Its CoImpersonateClient has no token to give, and it checks no access anyway, so
//! there everybody may call. On Windows whatever goes wrong in the check is a refusal.

// UNSAFETY: calls COM's and Win32's functions for tokens.
#![expect(unsafe_code)]

use crate::guard::Callers;
use std::ffi::c_void;
use std::sync::LazyLock;
use windows::Win32::Foundation::{CloseHandle, HANDLE};
use windows::Win32::Security::{
    CheckTokenMembership, CreateWellKnownSid, PSID, SECURITY_MAX_SID_SIZE, TOKEN_QUERY,
    WELL_KNOWN_SID_TYPE, WinBuiltinAdministratorsSid, WinLocalSystemSid,
};
use windows::Win32::System::Com::{CoImpersonateClient, CoRevertToSelf};
use windows::Win32::System::Threading::{GetCurrentThread, OpenThreadToken};
use windows::core::{BOOL, Result, w};

windows_core::link!("kernel32.dll" "system" fn GetModuleHandleW(name: *const u16) -> *mut c_void);
windows_core::link!("kernel32.dll" "system" fn GetProcAddress(module: *mut c_void, name: *const u8) -> *const c_void);

/// Whether this is Wine, which says so in ntdll.
static ON_WINE: LazyLock<bool> = LazyLock::new(|| {
    // SAFETY: both names end with a NUL; every process has ntdll.
    unsafe {
        let ntdll = GetModuleHandleW(w!("ntdll.dll").as_ptr());
        !ntdll.is_null() && !GetProcAddress(ntdll, c"wine_get_version".as_ptr().cast()).is_null()
    }
});

/// By the token of the COM call that runs on this thread.
pub(super) struct CallersToken {
    admitted: [Sid; 2],
}

impl CallersToken {
    /// # Errors
    /// The system's, for SIDs that every Windows has.
    pub(super) fn new() -> Result<Self> {
        Ok(Self {
            admitted: [
                Sid::new(WinLocalSystemSid)?,
                Sid::new(WinBuiltinAdministratorsSid)?,
            ],
        })
    }
}

impl Callers for CallersToken {
    fn may_call(&self) -> bool {
        *ON_WINE
            || clients_token().is_ok_and(|token| self.admitted.iter().any(|sid| token.has(sid)))
    }
}

/// Impersonates for the moment in which the token is opened; nothing else is done in the client's name.
fn clients_token() -> Result<Token> {
    let mut token = HANDLE::default();
    // SAFETY: `token` is a place of ours. The thread is itself again before anything else happens; should that fail, the
    // call is refused, and COM takes the thread back at its end.
    unsafe {
        CoImpersonateClient()?;
        let opened = OpenThreadToken(GetCurrentThread(), TOKEN_QUERY, true, &raw mut token);
        let reverted = CoRevertToSelf();
        opened?;
        let token = Token(token);
        reverted.map(|()| token)
    }
}

struct Token(HANDLE);

impl Token {
    /// A group that is in the token for refusals only, such as Administrators before an elevation, does not count.
    fn has(&self, sid: &Sid) -> bool {
        let mut is_member = BOOL(0);
        let sid = PSID(sid.0.as_ptr().cast_mut().cast());
        // SAFETY: an open impersonation token, a whole SID that is only read, a place of ours.
        unsafe { CheckTokenMembership(Some(self.0), sid, &raw mut is_member) }
            .is_ok_and(|()| is_member.as_bool())
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        // SAFETY: the handle is ours, closed once. A failure leaves nothing to do.
        let _ = unsafe { CloseHandle(self.0) };
    }
}

/// Room for the longest SID, aligned as one has to be.
struct Sid([u32; SECURITY_MAX_SID_SIZE.div_ceil(4) as usize]);

impl Sid {
    fn new(kind: WELL_KNOWN_SID_TYPE) -> Result<Self> {
        let mut sid = Self([0; SECURITY_MAX_SID_SIZE.div_ceil(4) as usize]);
        let mut size = SECURITY_MAX_SID_SIZE;
        let place = PSID(sid.0.as_mut_ptr().cast());
        // SAFETY: the place has at least the size that is named.
        unsafe { CreateWellKnownSid(kind, None, Some(place), &raw mut size) }?;
        Ok(sid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SEC-2: outside a call there is no client, hence nobody who may call; the answer is a refusal and not this process's own
    /// rights.
    #[test]
    fn without_a_client_there_is_no_token() {
        assert!(clients_token().is_err());
    }

    /// T-021, SEC-2, as far as Wine goes: the tests run as an administrator there.
    #[test]
    fn t021_known_accounts_are_made_and_wine_is_recognised() {
        let callers = CallersToken::new().expect("every Windows has them");
        assert_eq!(callers.may_call(), *ON_WINE);
        let [system, administrators] = &callers.admitted;
        assert_eq!(system.0[..3], [0x0101, 0x0500_0000, 18]);
        assert_eq!(administrators.0[..4], [0x0201, 0x0500_0000, 32, 0x220]);
    }
}
