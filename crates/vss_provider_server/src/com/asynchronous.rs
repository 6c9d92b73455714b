// SPDX-License-Identifier: MIT OR Apache-2.0
//! The progress object of ResyncLuns (3.10).

// UNSAFETY: writes through a raw out pointer of COM's.
#![expect(unsafe_code)]

use super::convert::out;
use crate::guard::guarded;
use crate::lifetime::User;
use std::sync::Arc;
use std::time::Duration;
use vss_provider::{Hresult, Method, Provider, ResyncOperation};
use windows::Win32::Storage::Vss::{IVssAsync, IVssAsync_Impl};
use windows::core::{HRESULT, implement};

/// IVssAsync::Wait without a limit.
const INFINITE: u32 = u32::MAX;

/// An operation that the array carries out. Lives as long as its caller wants, also longer than the provider's object (ASY-5).
#[implement(IVssAsync, Agile = false)]
pub(super) struct AsyncResync {
    operation: ResyncOperation,
    /// For the event of an error of ours.
    provider: Arc<Provider>,
    /// Keeps the server up.
    _user: User,
}

impl AsyncResync {
    pub(super) fn new(operation: ResyncOperation, provider: Arc<Provider>, user: User) -> Self {
        Self {
            operation,
            provider,
            _user: user,
        }
    }

    fn answer(&self, body: impl FnOnce() -> Hresult) -> windows::core::Result<()> {
        let post = |event| self.provider.post(event);
        super::answer(guarded(Method::ResyncLuns, post, body))
    }
}

impl IVssAsync_Impl for AsyncResync_Impl {
    fn Cancel(&self) -> windows::core::Result<()> {
        self.answer(|| self.operation.cancel())
    }

    fn Wait(&self, milliseconds: u32) -> windows::core::Result<()> {
        let timeout = match milliseconds {
            INFINITE => Duration::MAX,
            milliseconds => Duration::from_millis(milliseconds.into()),
        };
        self.answer(|| self.operation.wait(timeout))
    }

    fn QueryStatus(&self, result: *mut HRESULT, _reserved: *mut i32) -> windows::core::Result<()> {
        self.answer(|| {
            // SAFETY: COM hands in NULL or a place for one HRESULT.
            match unsafe { out(result, HRESULT(0)) } {
                Ok(result) => {
                    *result = HRESULT(self.operation.query_status().0.cast_signed());
                    Hresult::S_OK
                }
                Err(code) => code,
            }
        })
    }
}
