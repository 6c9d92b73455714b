// SPDX-License-Identifier: MIT OR Apache-2.0
//! Windows hosts on a Linux desk: the provider's real executable in a Wine prefix of its own, called through real COM.

mod agent;
mod events;
mod host;
mod parts;

pub(crate) use agent::Agent;
pub(crate) use events::EventFile;
pub use host::{CommandOutput, Hosting, WineHost};
pub use parts::WindowsParts;
