// SPDX-License-Identifier: MIT OR Apache-2.0
//! COM keys of the classes, written once when the rig makes a prefix.

use super::server::MORTAL;
use vss_standin::echo;
use vss_standin::providers::{COORDINATOR_CLASS, PROVIDERS_KEY, RIG_KEY};
use windows_registry::LOCAL_MACHINE;

/// Makes this executable the server of the classes, and the keys that a Windows with VSS has before any provider comes.
pub(crate) fn register() -> Result<(), String> {
    let failed = |error| format!("cannot write to the registry: {error}");
    let executable =
        std::env::current_exe().map_err(|error| format!("cannot find this executable: {error}"))?;
    let command = format!("\"{}\"", executable.display());
    let mortal = format!("{command} {MORTAL}");
    for (class, name, command) in [
        (COORDINATOR_CLASS, "VSSCoordinator (stand-in)", &command),
        (echo::CLASS, "Echo of a VSS provider", &command),
        (echo::MORTAL_CLASS, "Echo of a VSS provider", &mortal),
    ] {
        let path = format!(r"Software\Classes\CLSID\{}", class.braced());
        let key = LOCAL_MACHINE.create(path).map_err(failed)?;
        key.set_string("", name).map_err(failed)?;
        key.create("LocalServer32")
            .and_then(|server| server.set_string("", command))
            .map_err(failed)?;
    }
    for key in [PROVIDERS_KEY, RIG_KEY] {
        LOCAL_MACHINE.create(key).map_err(failed)?;
    }
    Ok(())
}
