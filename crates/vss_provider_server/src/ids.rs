// SPDX-License-Identifier: MIT OR Apache-2.0
//! The provider's names in the system (REG-14, REG-16). All were drawn at random for this project.

use uuid::Uuid;

/// The COM class that VSS activates.
pub const CLASS_ID: Uuid = Uuid::from_u128(0x2c7f1ed9_9c5e_439a_8d23_55efdae102c3);
/// Groups the class's launch settings.
pub const APP_ID: Uuid = Uuid::from_u128(0x5825446a_6af0_4fdd_84b6_11b2d2254718);
/// The provider in VSS; never changes (REG-16).
pub const PROVIDER_ID: Uuid = Uuid::from_u128(0x28ea8399_c98f_4f97_b0d1_6b3d187c8045);
/// This version of the provider in VSS; a new one with every released revision (REG-16).
pub const VERSION_ID: Uuid = Uuid::from_u128(0xc1ffb810_b881_4240_9f0b_4e8236e4ba10);

/// Display name in VSS (`vssadmin list providers`).
pub const PROVIDER_NAME: &str = "Shadowlun VSS Hardware Provider";
/// Version in VSS.
pub const PROVIDER_VERSION: &str = env!("CARGO_PKG_VERSION");
/// The Windows service.
pub const SERVICE_NAME: &str = "ShadowlunProvider";
/// Its source in the Application event log.
pub const EVENT_SOURCE: &str = "Shadowlun";
/// This program's file.
pub const EXECUTABLE: &str = "shadowlun-provider.exe";
/// The DLL with the event texts, beside the executable.
pub const MESSAGE_DLL: &str = "shadowlun-messages.dll";
/// Folder below %ProgramData% with `provider.toml` (settings) and the enrolment.
pub const DATA_FOLDER: &str = "Shadowlun";
