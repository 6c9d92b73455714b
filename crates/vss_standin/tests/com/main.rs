// SPDX-License-Identifier: MIT OR Apache-2.0
//! The program as the rig and an installer meet it, through real COM between processes. One executable, since each needs a prefix.
#![cfg(windows)]

mod coordinator;
mod proxies;
mod standin;
