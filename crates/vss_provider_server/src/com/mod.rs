// SPDX-License-Identifier: MIT OR Apache-2.0
//! COM: the object, its class, and the server that offers it.
//!
//! Each method is three lines: out values are emptied, the input becomes owned values ([`convert`]), the portable core answers.
//! Everything runs under [`crate::guard`].

mod asynchronous;
mod callers;
pub mod convert;
mod extended;
mod factory;
mod object;
pub mod security;
pub mod server;

use vss_provider::Hresult;
use windows::core::{Error, HRESULT};

/// A code of the core in the form of windows-rs, which passes every `Err` on as it is, also a success code like S_FALSE.
fn answer(code: Hresult) -> windows::core::Result<()> {
    match code {
        Hresult::S_OK => Ok(()),
        code => Err(Error::from(HRESULT(code.0.cast_signed()))),
    }
}
