// SPDX-License-Identifier: MIT OR Apache-2.0
//! Plays the VSS service.

pub mod initiator;
