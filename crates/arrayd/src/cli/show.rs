// SPDX-License-Identifier: MIT OR Apache-2.0
//! Answers as text: tables for people, JSON for scripts.

use crate::admin::{AdminAnswer, GroupView, HostAdded, HostView, LunView, SetView, Status};
use crate::size::ByteSize;
use array_api::{CopyInfo, LunState, Orphan, SpaceLevel};
use comfy_table::{Table, presets};

/// The answer's value, without the name of its kind.
pub(super) fn json(answer: &AdminAnswer) -> String {
    let value = match answer {
        AdminAnswer::Lun(value) => serde_json::to_string_pretty(value),
        AdminAnswer::Luns(value) => serde_json::to_string_pretty(value),
        AdminAnswer::HostAdded(value) => serde_json::to_string_pretty(value),
        AdminAnswer::Host(value) => serde_json::to_string_pretty(value),
        AdminAnswer::Hosts(value) => serde_json::to_string_pretty(value),
        AdminAnswer::Group(value) => serde_json::to_string_pretty(value),
        AdminAnswer::Groups(value) => serde_json::to_string_pretty(value),
        AdminAnswer::Set(value) => serde_json::to_string_pretty(value),
        AdminAnswer::Sets(value) => serde_json::to_string_pretty(value),
        AdminAnswer::Orphans(value) => serde_json::to_string_pretty(value),
        AdminAnswer::Status(value) => serde_json::to_string_pretty(value),
    };
    value.expect("answers came as JSON") + "\n"
}

/// For people.
pub(super) fn text(answer: &AdminAnswer) -> String {
    match answer {
        AdminAnswer::Lun(lun) => pairs(&lun_pairs(lun)),
        AdminAnswer::Luns(luns) => lun_table(luns),
        AdminAnswer::HostAdded(added) => host_added(added),
        AdminAnswer::Host(host) => host_table(std::slice::from_ref(host)),
        AdminAnswer::Hosts(hosts) => host_table(hosts),
        AdminAnswer::Group(group) => group_table(std::slice::from_ref(group)),
        AdminAnswer::Groups(groups) => group_table(groups),
        AdminAnswer::Set(set) => set_text(set),
        AdminAnswer::Sets(sets) => set_table(sets),
        AdminAnswer::Orphans(orphans) => orphan_table(orphans),
        AdminAnswer::Status(status) => pairs(&status_pairs(status)),
    }
}

fn table(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_header(header.to_vec());
    for row in rows {
        table.add_row(row);
    }
    let text: Vec<String> = table
        .lines()
        .map(|line| line.trim_end().to_owned())
        .collect();
    text.join("\n") + "\n"
}

fn pairs(pairs: &[(&str, String)]) -> String {
    let width = pairs.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let lines = pairs
        .iter()
        .map(|(name, value)| format!("{name:width$}  {value}\n"));
    lines.collect()
}

fn size(bytes: u64) -> String {
    ByteSize(bytes).to_string()
}

fn state(copy: &CopyInfo) -> &'static str {
    match copy.state {
        LunState::Reserved => "reserved",
        LunState::Captured => "captured",
        LunState::Reported => "reported",
        LunState::Mapped => "mapped",
    }
}

fn role(lun: &LunView) -> String {
    match &lun.copy {
        Some(copy) => format!("copy, {}", state(copy)),
        None if lun.broken => "broken copy".to_owned(),
        None => "original".to_owned(),
    }
}

fn maps(lun: &LunView) -> String {
    let maps: Vec<String> = lun
        .map
        .iter()
        .map(|(host, number)| format!("{host}:{number}"))
        .collect();
    maps.join(" ")
}

fn lun_table(luns: &[LunView]) -> String {
    let rows = luns.iter().map(|lun| {
        vec![
            lun.name.clone(),
            size(lun.size_bytes),
            role(lun),
            maps(lun),
            lun.id.to_string(),
        ]
    });
    table(&["NAME", "SIZE", "ROLE", "HOST:LUN", "ID"], rows)
}

fn lun_pairs(lun: &LunView) -> Vec<(&'static str, String)> {
    let mut pairs = vec![
        ("name", lun.name.clone()),
        ("id", lun.id.to_string()),
        (
            "size",
            format!("{} ({} bytes)", size(lun.size_bytes), lun.size_bytes),
        ),
        ("own data", format!("at most {}", size(lun.own_bytes_max))),
        ("role", role(lun)),
        ("host:lun", maps(lun)),
        ("serial", lun.identity.serial.clone()),
        (
            "created",
            format!("{} s since 1970 UTC", lun.created_unix_s),
        ),
    ];
    if let Some(copy) = &lun.copy {
        let snapshots: Vec<String> = copy.snapshots.iter().map(ToString::to_string).collect();
        pairs.extend([
            ("copy of", copy.source.to_string()),
            ("set", copy.set.to_string()),
            ("snapshots", snapshots.join(" ")),
            ("made by", copy.creator_host.clone()),
            (
                "mapped last by",
                copy.importing_host.clone().unwrap_or_default(),
            ),
        ]);
    }
    pairs
}

/// The enrolment line and nothing else, so that it can be piped into `shadowlun-provider enroll -`.
fn host_added(added: &HostAdded) -> String {
    format!("{}\n", added.enrolment)
}

fn host_table(hosts: &[HostView]) -> String {
    let rows = hosts.iter().map(|host| {
        let iqns: Vec<&str> = host.iqns.iter().map(String::as_str).collect();
        let groups: Vec<&str> = host.groups.iter().map(String::as_str).collect();
        let resync = if host.allow_resync { "yes" } else { "no" };
        vec![
            host.name.clone(),
            iqns.join(" "),
            groups.join(" "),
            resync.to_owned(),
            host.luns.len().to_string(),
        ]
    });
    table(&["NAME", "INITIATORS", "GROUPS", "RESYNC", "LUNS"], rows)
}

fn group_table(groups: &[GroupView]) -> String {
    let rows = groups.iter().map(|group| {
        let hosts: Vec<&str> = group.hosts.iter().map(String::as_str).collect();
        vec![group.name.clone(), hosts.join(" ")]
    });
    table(&["GROUP", "HOSTS"], rows)
}

fn set_table(sets: &[SetView]) -> String {
    let rows = sets.iter().map(|set| {
        vec![
            set.set.to_string(),
            set.host.clone(),
            set.phase.clone(),
            set.snapshots.len().to_string(),
            set.copies.len().to_string(),
        ]
    });
    table(&["SET", "HOST", "PHASE", "SNAPSHOTS", "COPIES"], rows)
}

fn set_text(set: &SetView) -> String {
    let head = pairs(&[
        ("set", set.set.to_string()),
        ("host", set.host.clone()),
        ("phase", set.phase.clone()),
    ]);
    let snapshots = set.snapshots.iter().map(|(snapshot, luns)| {
        let luns: Vec<String> = luns.iter().map(ToString::to_string).collect();
        vec![snapshot.to_string(), luns.join(" ")]
    });
    let snapshots = table(&["SNAPSHOT", "SOURCES"], snapshots);
    format!("{head}\n{snapshots}\n{}", lun_table(&set.copies))
}

fn orphan_table(orphans: &[Orphan]) -> String {
    let rows = orphans.iter().map(|orphan| {
        vec![
            orphan.copy.to_string(),
            state(&orphan.tag).to_owned(),
            orphan.tag.creator_host.clone(),
            orphan.tag.set.to_string(),
            orphan.tag.created_unix_s.to_string(),
        ]
    });
    table(&["COPY", "STATE", "HOST", "SET", "CREATED"], rows)
}

fn status_pairs(status: &Status) -> Vec<(&'static str, String)> {
    let portals: Vec<String> = status
        .iscsi_addresses
        .iter()
        .map(ToString::to_string)
        .collect();
    let sessions: Vec<String> = status
        .sessions
        .iter()
        .map(|session| format!("{} from {}", session.initiator, session.peer))
        .collect();
    let writes = match &status.refuses_writes {
        Some(reason) => format!("refused: {reason}"),
        None => "accepted".to_owned(),
    };
    let space = match status.space {
        SpaceLevel::Ample => "ample",
        SpaceLevel::Low => "low: delete copies, or give the store more space",
        SpaceLevel::Exhausted => {
            "exhausted: new data is refused; delete copies, or give the store more space"
        }
    };
    vec![
        ("name", status.name.clone()),
        ("version", status.software.clone()),
        ("process", status.pid.to_string()),
        ("state", status.state_dir.display().to_string()),
        ("hosts' API", status.api_address.to_string()),
        ("key pin", status.key_pin.clone()),
        ("iSCSI", portals.join(" ")),
        ("target", status.target_iqn.clone()),
        ("capacity", size(status.capacity_bytes)),
        ("free", size(status.free_bytes)),
        ("space", space.to_owned()),
        ("warning below", size(status.warn_free_bytes)),
        ("no copies below", size(status.free_floor_bytes)),
        (
            "LUNs",
            format!("{}, {} of them copies", status.luns, status.copies),
        ),
        ("hosts", status.hosts.to_string()),
        ("sets", status.sets.to_string()),
        ("sessions", sessions.join("; ")),
        ("writes", writes),
    ]
}
