// SPDX-License-Identifier: MIT OR Apache-2.0
//! The provider's core against the simulated array: the level-U test cases of specification 10.1 to 10.11, by their ids.

mod cases;
mod creation;
mod faults;
mod limits;
mod luns;
mod matrix;
mod questions;
mod random;
mod resync;
mod space;
mod support;
mod table;
mod threads;
