// SPDX-License-Identifier: MIT OR Apache-2.0
//! The good provider's surroundings, for defects that no call of its own shows: its array and its event file.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;
use vendor_provider::ANVIL;
use vss_provider::LunDescription;
use vss_provider::identity::lun_id_by;

/// Time for a call of the array.
const WITHIN: Duration = Duration::from_secs(10);

fn data_folder() -> PathBuf {
    let common = std::env::var_os("ProgramData").expect("every Windows has it");
    PathBuf::from(common).join(ANVIL.names.data_folder)
}

fn event_file() -> PathBuf {
    data_folder().join("events.jsonl")
}

/// How long the event file is; there is none before the first event.
pub(crate) fn event_bytes() -> u64 {
    std::fs::metadata(event_file()).map_or(0, |file| file.len())
}

/// Takes back the events that came after the file had this length.
pub(crate) fn forget_events_after(bytes: u64) {
    let file = OpenOptions::new().write(true).open(event_file());
    if let Ok(file) = file {
        file.set_len(bytes).expect("the file is the provider's");
    }
}

/// Writes an event that is no error.
pub(crate) fn log(text: &str) {
    let line = format!(r#"{{"id":1,"severity":"information","text":"{text}","remedy":""}}"#);
    let file = OpenOptions::new()
        .append(true)
        .create(true)
        .open(event_file());
    file.expect("the folder is there")
        .write_all(format!("{line}\n").as_bytes())
        .expect("the disk has room");
}

/// Takes a LUN off the array, whatever it is.
pub(crate) fn remove(lun: &LunDescription) {
    let lun = lun_id_by(ANVIL.lun_of, lun).expect("a LUN of the array");
    let array =
        vendor_provider::this_hosts_array(&data_folder()).expect("the rig wrote array.toml");
    let removed = array.with_state(WITHIN, |state| {
        state.remove(lun);
        Ok(())
    });
    removed.expect("the array is up");
}
