// SPDX-License-Identifier: MIT OR Apache-2.0
//! The embedded copy-on-write LUN store.
