// SPDX-License-Identifier: MIT OR Apache-2.0
//! The progress object of ResyncLuns (3.10).

// UNSAFETY: writes through a raw out pointer of COM's.
#![expect(unsafe_code)]

use super::convert::out;
use crate::guard::{Callers, admitted};
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
    pub(super) operation: ResyncOperation,
    /// For the event of an error of ours.
    pub(super) provider: Arc<Provider>,
    pub(super) callers: Arc<dyn Callers>,
    /// Keeps the server up.
    pub(super) _user: User,
}

impl AsyncResync {
    fn answer(&self, body: impl FnOnce() -> Hresult) -> windows::core::Result<()> {
        let post = |event| self.provider.post(event);
        super::answer(admitted(&*self.callers, Method::ResyncLuns, post, body))
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
        // SAFETY: COM hands in NULL or a place for one HRESULT. It is emptied for whoever calls (GEN-3).
        let result = unsafe { out(result, HRESULT(0)) };
        self.answer(|| match result {
            Ok(result) => {
                *result = HRESULT(self.operation.query_status().0.cast_signed());
                Hresult::S_OK
            }
            Err(code) => code,
        })
    }
}
