// SPDX-License-Identifier: MIT OR Apache-2.0
//! The rig's side of the COM border: `vss_standin.exe` runs on Windows (under Wine, on a Linux desk), calls the provider as
//! the VSS service does, on the orders of the rig, and stands in for the VSS coordinator (IVssAdmin) so that an unmodified
//! installer finds what it needs.
//!
//! **Is not** part of the product. It shares no code with the provider's server: it builds and reads VDS_LUN_INFORMATION itself, so that
//! a mistake in one does not hide in the other. This library is what both sides of the wire know: the wire itself ([`wire`]), the
//! coordinator's table of providers ([`providers`]), and what the echo object answers ([`echo`]). The rest is the program's.
//!
//! **I/O model.** Blocking, a thread for each order, all in the multithreaded apartment.
//!
//! **Error model.** A failed COM call is a result like any other; only what the stand-in itself could not do is an error, as a text.

pub mod echo;
pub mod providers;
pub mod wire;
