// SPDX-License-Identifier: MIT OR Apache-2.0
//! SCSI logical units: T10 commands executed on block devices.
