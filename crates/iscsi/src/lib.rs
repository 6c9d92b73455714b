// SPDX-License-Identifier: MIT OR Apache-2.0
//! An iSCSI target: RFC 7143 sessions in front of SCSI logical units.
