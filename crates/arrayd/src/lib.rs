// SPDX-License-Identifier: MIT OR Apache-2.0
//! The array: shadowlund, and its admin command line shadowlun.
