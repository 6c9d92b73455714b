// SPDX-License-Identifier: MIT OR Apache-2.0
//! A vendor's provider, as `docs/sdk.md` explains it: [`ANVIL`] says whose it is, [`FolderArray`] is the array.
//!
//! **Is not** storage: the array is a folder of files that all hosts reach. It keeps the contract whole and passes its
//! conformance suite, but shows nobody a disk, and holds no host's writes while it copies.
//!
//! **I/O model.** Each call locks the folder, reads the state, works, and replaces the state; so any number of processes
//! share an array. **Error model.** [`array_api::ArrayError`], as the contract wants it.

mod folder;
mod state;

pub use folder::FolderArray;
pub use state::{Lun, State, anvil_lun};

use array_api::{Array, ArrayError, ArrayErrorKind};
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use uuid::Uuid;
use vss_provider_server::ids::{ArrayMeans, Names};
use vss_provider_server::vendor::{Arrays, Vendor};

/// Whose provider this is. Draw ids of your own at random; a new `version_id` with every release.
pub static ANVIL: Vendor = Vendor {
    names: Names {
        class_id: Uuid::from_u128(0x8d0b2a53_94b6_4a2c_8f0e_61c5a3d97e14),
        app_id: Uuid::from_u128(0xf3c19e70_2f6d_4e0b_a7c4_0d5be8217a69),
        provider_id: Uuid::from_u128(0x41e7c8d2_b05a_4763_9c1f_e82d64f3b70a),
        version_id: Uuid::from_u128(0x7a5d03be_e1c8_4f94_b26d_9f40c7518e23),
        provider_name: "Anvil Example VSS Hardware Provider",
        provider_version: env!("CARGO_PKG_VERSION"),
        service_name: "AnvilProvider",
        event_source: "Anvil",
        command: "anvil-provider",
        executable: "anvil-provider.exe",
        message_dll: "anvil-messages.dll",
        data_folder: "Anvil",
        array: ArrayMeans {
            service: "the server of the array's folder",
            orphans: "the list of copies in the Anvil console",
            delete: "the Anvil console",
            hosts: "the Anvil console",
            luns: "the Anvil console",
        },
    },
    lun_of: anvil_lun,
    arrays: Arrays::Own {
        open,
        how: r"write the array's folder and this host's name into %ProgramData%\Anvil\array.toml",
    },
};

/// `array.toml`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Connection {
    folder: PathBuf,
    host: String,
}

fn open(data_folder: &Path) -> Result<Arc<dyn Array>, ArrayError> {
    Ok(Arc::new(this_hosts_array(data_folder)?))
}

/// Finds the array, and does not touch it: VSS has to be able to load the provider while the array is away.
///
/// # Errors
/// `Unreachable` when `array.toml` cannot be read or does not fit.
pub fn this_hosts_array(data_folder: &Path) -> Result<FolderArray, ArrayError> {
    let file = data_folder.join("array.toml");
    let wrong = |why: String| {
        ArrayError::new(
            ArrayErrorKind::Unreachable,
            format!("{} cannot be used: {why}", file.display()),
            "write it with the lines folder = '...' and host = '...'",
        )
    };
    let text = std::fs::read_to_string(&file).map_err(|error| wrong(error.to_string()))?;
    let connection: Connection =
        toml::from_str(&text).map_err(|error| wrong(error.message().to_owned()))?;
    Ok(FolderArray::new(&connection.folder, &connection.host))
}
