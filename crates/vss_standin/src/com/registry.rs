// SPDX-License-Identifier: MIT OR Apache-2.0
//! The registry: everything in it as lines, so that the rig can compare before and after; and the values by which the rig tells the
//! coordinator what to do.

use vss_standin::providers::RIG_KEY;
use vss_standin::wire::Answer;
use windows_registry::{Key, LOCAL_MACHINE, Type, Value};

/// What is dumped, below HKEY_LOCAL_MACHINE.
const ROOTS: [&str; 2] = ["Software", "System"];

/// Changes by itself: the number that the service manager gave to the service it started last.
const VOLATILE: &str = r"HKLM\System\CurrentControlSet\Control\ServiceCurrent";

/// Every key and value below HKLM\Software and HKLM\System, sorted: `path` for a key, `path | name | type | data` for a value.
pub(super) fn dump() -> Result<Answer, String> {
    let mut texts = Vec::new();
    for root in ROOTS {
        let key = LOCAL_MACHINE
            .open(root)
            .map_err(|error| format!("cannot open HKLM\\{root}: {error}"))?;
        dump_key(&key, &format!("HKLM\\{root}"), &mut texts);
    }
    texts.sort_unstable();
    Ok(Answer {
        texts,
        ..Answer::default()
    })
}

fn dump_key(key: &Key, path: &str, texts: &mut Vec<String>) {
    texts.push(path.to_owned());
    if path == VOLATILE {
        return;
    }
    match (key.values(), key.keys()) {
        (Ok(values), Ok(names)) => {
            texts.extend(values.map(|(name, value)| dump_value(path, &name, &value)));
            for name in names {
                // A key that another process deletes meanwhile is not there.
                if let Ok(below) = key.open(&name) {
                    dump_key(&below, &format!("{path}\\{name}"), texts);
                }
            }
        }
        // Perflib\009 is one: a window to performance counters, not a key.
        (Err(error), _) | (_, Err(error)) => {
            texts.push(format!("{path} | cannot be read: {error}"))
        }
    }
}

fn dump_value(path: &str, name: &str, value: &Value) -> String {
    let (kind, data) = match value.ty() {
        Type::String => ("REG_SZ", text(value.as_wide())),
        Type::ExpandString => ("REG_EXPAND_SZ", text(value.as_wide())),
        Type::MultiString => ("REG_MULTI_SZ", text(value.as_wide())),
        Type::U32 => ("REG_DWORD", hex(value)),
        Type::U64 => ("REG_QWORD", hex(value)),
        Type::Bytes => ("REG_BINARY", hex(value)),
        Type::Other(number) => return format!("{path} | {name} | type {number} | {}", hex(value)),
    };
    format!("{path} | {name} | {kind} | {data}")
}

fn text(wide: &[u16]) -> String {
    String::from_utf16_lossy(wide)
        .trim_end_matches('\0')
        .replace('\0', "\\0")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Sets a value that the coordinator reads; 0 removes it, so that nothing is left of it.
pub(super) fn set_rig(name: &str, value: u32) -> Result<Answer, String> {
    let failed = |error| format!("cannot set {name} below HKLM\\{RIG_KEY}: {error}");
    let key = LOCAL_MACHINE.create(RIG_KEY).map_err(failed)?;
    key.set_u32(name, value).map_err(failed)?;
    if value == 0 {
        key.remove_value(name).map_err(failed)?;
    }
    Ok(Answer::default())
}

/// A value that the rig has set, and 0 where it has not.
pub(super) fn rig_value(name: &str) -> u32 {
    let key = LOCAL_MACHINE.open(RIG_KEY);
    key.and_then(|key| key.get_u32(name)).unwrap_or(0)
}
