// SPDX-License-Identifier: MIT OR Apache-2.0
//! The portable core of the VSS hardware provider.
