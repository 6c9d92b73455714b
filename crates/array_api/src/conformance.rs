// SPDX-License-Identifier: MIT OR Apache-2.0
//! What every [`Array`](crate::Array) owes, as tests.
