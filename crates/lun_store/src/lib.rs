// SPDX-License-Identifier: MIT OR Apache-2.0
//! The embedded redirect-on-write LUN store.
mod error;
mod store;

pub use error::StoreError;
pub use store::{Capture, Counters, CreateOptions, LunRecord, Resync, Store, Usage};

/// Largest size of a LUN in bytes: 64 TiB.
pub const LUN_BYTES_MAX: u64 = 64 << 40;
/// Largest owner record in bytes.
pub const OWNER_BYTES_MAX: usize = 64 << 10;
/// What an offline check found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckReport {
    /// Number of LUNs.
    pub luns: u64,
    /// Number of leaf rows.
    pub rows: u64,
    /// Number of chunks that rows refer to.
    pub chunks: u64,
    /// One sentence per fault; empty for a sound store.
    pub problems: Vec<String>,
}
/// Verifies a store that is not open, without writing to it.
pub fn check(_dir: &std::path::Path) -> Result<CheckReport, StoreError> {
    Err(StoreError::Closed)
}
