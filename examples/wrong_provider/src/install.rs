// SPDX-License-Identifier: MIT OR Apache-2.0
//! The class's keys, and the good provider's own installation.

use crate::server::CLASS;
use std::process::Command;
use windows_registry::LOCAL_MACHINE;

fn class_key() -> String {
    let class = CLASS.braced().to_string().to_uppercase();
    format!(r"Software\Classes\CLSID\{class}")
}

/// Installs the good provider, and makes this executable the server of its own class.
pub(crate) fn install(defect_file: Option<&str>) -> Result<(), String> {
    good_provider(&["install", "--hosting", "local-server"])?;
    let executable =
        std::env::current_exe().map_err(|error| format!("cannot find this executable: {error}"))?;
    let mut command = format!("\"{}\"", executable.display());
    if let Some(file) = defect_file {
        command.push_str(&format!(" \"{file}\""));
    }
    LOCAL_MACHINE
        .create(class_key() + r"\LocalServer32")
        .and_then(|key| key.set_string("", command))
        .map_err(|error| format!("cannot write to the registry: {error}"))
}

/// The reverse.
pub(crate) fn uninstall() -> Result<(), String> {
    LOCAL_MACHINE
        .remove_tree(class_key())
        .map_err(|error| format!("cannot remove the class from the registry: {error}"))?;
    good_provider(&["uninstall"])
}

/// Runs the good provider's program, which lies beside this one.
fn good_provider(arguments: &[&str]) -> Result<(), String> {
    let program = vendor_provider::ANVIL.names.executable;
    let beside = std::env::current_exe().map(|own| own.with_file_name(program));
    let status = beside.and_then(|path| Command::new(path).args(arguments).status());
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{program} {arguments:?} ended with {status}")),
        Err(error) => Err(format!("cannot run {program}: {error}")),
    }
}
