// SPDX-License-Identifier: MIT OR Apache-2.0
//! Sealing by DPAPI in machine scope: Local System opens what an administrator sealed at enrolment.

// UNSAFETY: calls the Win32 data protection functions.
#![expect(unsafe_code)]

use super::io_error;
use crate::enrolment::SecretBox;
use std::io;
use windows::Win32::Foundation::{HLOCAL, LocalFree};
use windows::Win32::Security::Cryptography::{
    CRYPT_INTEGER_BLOB, CRYPTPROTECT_LOCAL_MACHINE, CRYPTPROTECT_UI_FORBIDDEN, CryptProtectData,
    CryptUnprotectData,
};
use windows::core::PCWSTR;

/// Keeps seals of other programs apart; no secret.
const ENTROPY: &[u8] = b"Shadowlun provider, enrolment token, form 1";

/// The system's data protection.
pub struct Dpapi;

impl SecretBox for Dpapi {
    fn protect(&self, secret: &[u8]) -> io::Result<Vec<u8>> {
        let (secret, entropy) = (blob(secret)?, blob(ENTROPY)?);
        let mut sealed = CRYPT_INTEGER_BLOB::default();
        // SAFETY: the input blobs point to slices that outlive the call; `sealed` receives an allocation of the system's.
        unsafe {
            CryptProtectData(
                &secret,
                PCWSTR::null(),
                Some(&entropy),
                None,
                None,
                CRYPTPROTECT_LOCAL_MACHINE | CRYPTPROTECT_UI_FORBIDDEN,
                &mut sealed,
            )
        }
        .map_err(io_error)?;
        Ok(take(sealed))
    }

    fn unprotect(&self, sealed: &[u8]) -> io::Result<Vec<u8>> {
        let (sealed, entropy) = (blob(sealed)?, blob(ENTROPY)?);
        let mut secret = CRYPT_INTEGER_BLOB::default();
        // SAFETY: as above.
        unsafe {
            CryptUnprotectData(
                &sealed,
                None,
                Some(&entropy),
                None,
                None,
                CRYPTPROTECT_UI_FORBIDDEN,
                &mut secret,
            )
        }
        .map_err(io_error)?;
        Ok(take(secret))
    }
}

/// The functions read through the pointer only.
fn blob(bytes: &[u8]) -> io::Result<CRYPT_INTEGER_BLOB> {
    Ok(CRYPT_INTEGER_BLOB {
        cbData: u32::try_from(bytes.len()).map_err(io::Error::other)?,
        pbData: bytes.as_ptr().cast_mut(),
    })
}

fn take(blob: CRYPT_INTEGER_BLOB) -> Vec<u8> {
    // SAFETY: the system allocated `cbData` bytes there, with LocalAlloc, for us to free, once.
    unsafe {
        let bytes = std::slice::from_raw_parts(blob.pbData, blob.cbData as usize).to_vec();
        LocalFree(Some(HLOCAL(blob.pbData.cast())));
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SEC-10, as far as Wine goes: its seal is a format of its own.
    #[test]
    fn sealed_secret_is_opened_again_and_does_not_show() {
        let secret = b"0123456789abcdef0123456789abcdef";

        let sealed = Dpapi.protect(secret).unwrap();

        assert_eq!(Dpapi.unprotect(&sealed).unwrap(), secret);
        assert!(!sealed.windows(8).any(|part| part == &secret[..8]));
    }

    #[test]
    fn damaged_seal_is_an_error() {
        let mut sealed = Dpapi.protect(b"secret").unwrap();
        *sealed.last_mut().unwrap() ^= 1;

        assert!(Dpapi.unprotect(&sealed).is_err());
        assert!(Dpapi.unprotect(b"").is_err());
    }
}
