// SPDX-License-Identifier: MIT OR Apache-2.0
//! `doctor`: what a backup needs beyond what `status` shows of the installation itself: the way to each array and back, the disks
//! of this computer, the settings of Windows that decide what becomes of shadow copies.

pub mod disk;

use crate::data_folder::DataFolder;
use crate::enrolment::{self, Enrolled, SecretBox};
use crate::log_reader::{self, LogReader};
use crate::registration::System;
use crate::vendor::{Arrays, vendor};
use crate::{commands::ASK_MAX, status};
use array_api::{
    Array, ArrayError, ArrayErrorKind, ArrayInfo, Enrolment, LunId, LunInfo, LunRole, SpaceLevel,
};
use disk::Disk;
use serde::Serialize;
use std::fmt::Write as _;
use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use vss_provider::{EventKind, LunDescription, identity};

/// Clocks that differ by more make the logs of both sides hard to compare.
const CLOCKS_APART_MAX: Duration = Duration::from_secs(5);
/// Entries of the log among which the last captured set is looked for.
const ENTRIES_MAX: usize = 1_000;
/// SAN policy "OnlineAll" and "OfflineInternal": shared disks come online.
const SHARED_COME_ONLINE: [u32; 2] = [1, 4];

/// How it stands with one thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// In order, or of no matter.
    Ok,
    /// May become a reason why a backup fails.
    Warning,
    /// Is one.
    Failed,
}

/// One thing.
#[derive(Debug, Serialize)]
pub struct Check {
    /// What was looked at.
    pub what: String,
    /// How it stands with it.
    pub level: Level,
    /// What was found.
    pub found: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

/// What was found.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The worst of all.
    pub worst: Level,
    /// In the order in which a person should mend them.
    pub checks: Vec<Check>,
}

/// The computer.
pub trait Machine {
    /// Its disks.
    fn disks(&self) -> io::Result<Vec<Disk>>;
    /// What the partition manager does with new disks; `None` where nobody chose.
    fn san_policy(&self) -> io::Result<Option<u32>>;
    /// Whether a service runs; `None` where it is not installed.
    fn service_state(&self, name: &str) -> io::Result<Option<bool>>;
}

/// What the doctor looks at.
pub struct Patient<'a> {
    /// Registry, services, VSS.
    pub system: &'a dyn System,
    /// Disks and other services.
    pub machine: &'a dyn Machine,
    /// The provider's own files.
    pub folder: &'a dyn DataFolder,
    /// Opens the tokens.
    pub secrets: &'a dyn SecretBox,
    /// The provider's own events.
    pub log: &'a dyn LogReader,
    /// How this host comes to its arrays.
    pub arrays: Arrays,
    /// How an enrolled array is reached.
    pub connect: &'a dyn Fn(&Enrolment) -> Arc<dyn Array>,
}

/// An array, with what people call it.
type Named = (String, Arc<dyn Array>);
/// What there is of an array, with its name; or why it did not answer.
type Answer<T> = (String, Result<T, ArrayError>);

/// How the client says that the peer does not prove to have the pinned key: its own words and those of its TLS library.
const WRONG_KEY: [&str; 2] = ["another key", "invalid peer certificate"];

/// Looks at everything. Changes nothing, except that it makes the event file where one is set and missing.
pub fn look(patient: &Patient<'_>) -> Report {
    let mut checks = installation(patient);
    let (arrays, missing) = arrays(patient);
    checks.extend(missing);
    let mut answers = Vec::new();
    for (name, array) in arrays {
        let answer = array.info(ASK_MAX);
        answers.push((name.clone(), answer.clone().map(|_| array)));
        checks.extend(array_checks(&name, answer, SystemTime::now()));
    }
    checks.extend(disk_checks(patient.machine, answers));
    checks.push(san_policy(patient.machine));
    checks.push(cluster(patient.machine));
    checks.push(service(patient.machine, "VSS", "Volume Shadow Copy", false));
    checks.push(service(
        patient.machine,
        "MSiSCSI",
        "Microsoft iSCSI Initiator",
        true,
    ));
    checks.push(last_set(patient));
    let worst = checks.iter().map(|check| check.level).max();
    Report {
        worst: worst.unwrap_or(Level::Ok),
        checks,
    }
}

impl Report {
    /// For people.
    pub fn table(&self) -> String {
        let mut text = String::new();
        for check in &self.checks {
            let mark = match check.level {
                Level::Ok => "ok     ",
                Level::Warning => "warning",
                Level::Failed => "FAILED ",
            };
            let _ = writeln!(text, "{mark}  {:<28} {}", check.what, check.found);
            if let Some(remedy) = &check.remedy {
                let _ = writeln!(text, "         {:<28} -> {remedy}", "");
            }
        }
        text
    }

    /// 0 in order, 1 with warnings, 2 when something failed.
    pub fn exit_code(&self) -> u8 {
        match self.worst {
            Level::Ok => 0,
            Level::Warning => 1,
            Level::Failed => 2,
        }
    }
}

fn ok(what: &str, found: impl Into<String>) -> Check {
    Check {
        what: what.to_owned(),
        level: Level::Ok,
        found: found.into(),
        remedy: None,
    }
}

fn warning(what: &str, found: impl Into<String>, remedy: &str) -> Check {
    Check {
        level: Level::Warning,
        remedy: Some(remedy.to_owned()),
        ..ok(what, found)
    }
}

fn failed(what: &str, found: impl Into<String>, remedy: &str) -> Check {
    Check {
        level: Level::Failed,
        ..warning(what, found, remedy)
    }
}

fn unknown(what: &str, error: &impl ToString) -> Check {
    let remedy = "run the command as administrator, in an elevated command prompt";
    warning(what, error.to_string(), remedy)
}

fn installation(patient: &Patient<'_>) -> Vec<Check> {
    let mut checks: Vec<_> = status::installation(patient.system, patient.folder)
        .into_iter()
        .map(|line| Check {
            what: line.what.to_owned(),
            level: match line.in_order {
                true => Level::Ok,
                false => Level::Failed,
            },
            found: line.found,
            remedy: line.remedy,
        })
        .collect();
    let what = "rights to the files";
    let exposed = patient
        .system
        .files()
        .and_then(|files| patient.system.exposed(&files));
    checks.push(match exposed.as_deref() {
        Err(error) => unknown(what, error),
        Ok([]) => ok(what, "only administrators may change the program"),
        Ok(found) => {
            let who: Vec<_> = found
                .iter()
                .map(|one| format!("{} may change {}", one.sid, one.path))
                .collect();
            let remedy = "keep the files where only administrators may write, such as C:\\Program Files\\Shadowlun";
            match found.iter().any(|one| one.is_ordinary) {
                true => failed(what, who.join("; "), remedy),
                false => warning(what, who.join("; "), remedy),
            }
        }
    });
    checks
}

/// What this host knows as its arrays, with a name for each, or why none.
fn arrays(patient: &Patient<'_>) -> (Vec<Named>, Option<Check>) {
    match patient.arrays {
        Arrays::Own { open, .. } => match open(&patient.folder.path("")) {
            Ok(array) => (vec![("of the vendor".to_owned(), array)], None),
            Err(error) => (
                Vec::new(),
                Some(failed("array", error.message, &error.remedy)),
            ),
        },
        Arrays::Enrolled => match enrolment::load(patient.folder, patient.secrets) {
            Ok(enrolled) => {
                let connect = |one: &Enrolled| (label(one), (patient.connect)(&one.enrolment));
                (enrolled.iter().map(connect).collect(), None)
            }
            Err(error) => {
                let missing = failed("enrolment", error.to_string(), error.remedy());
                (Vec::new(), Some(missing))
            }
        },
    }
}

fn label(enrolled: &Enrolled) -> String {
    let address = enrolled.enrolment.address();
    enrolled.name.as_deref().unwrap_or(address).to_owned()
}

/// One answer tells of the way, the key and the token: each is a step further.
fn array_checks(name: &str, answer: Result<ArrayInfo, ArrayError>, now: SystemTime) -> Vec<Check> {
    let [reach, key, token, said] =
        ["reached", "certificate", "token", "answer"].map(|what| format!("array {name}: {what}"));
    let error = match answer {
        Ok(info) => {
            let mut checks = vec![
                ok(&reach, format!("it answers, version {}", info.software)),
                ok(&key, "it has the key of the enrolment"),
                ok(&token, format!("it knows this host as {}", info.host)),
            ];
            checks.push(clock(name, info.time_unix_ms, now));
            checks.push(space(name, &info));
            return checks;
        }
        Err(error) => error,
    };
    let (told, remedy) = (error.message.clone(), error.remedy.as_str());
    match error.kind {
        ArrayErrorKind::Unauthenticated | ArrayErrorKind::Forbidden => vec![
            ok(&reach, "it answers"),
            ok(&key, "it has the key of the enrolment"),
            failed(&token, told, remedy),
        ],
        ArrayErrorKind::Unreachable | ArrayErrorKind::TimedOut => {
            vec![failed(&reach, told, remedy)]
        }
        ArrayErrorKind::Protocol => {
            let what = match WRONG_KEY.iter().any(|words| told.contains(words)) {
                true => key,
                false => said,
            };
            vec![ok(&reach, "something answers"), failed(&what, told, remedy)]
        }
        _ => vec![ok(&reach, "it answers"), failed(&said, told, remedy)],
    }
}

fn clock(name: &str, array_ms: u64, now: SystemTime) -> Check {
    let what = format!("array {name}: clock");
    let here = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let apart = here.abs_diff(Duration::from_millis(array_ms));
    let found = format!("{} ms apart from this computer's", apart.as_millis());
    match apart <= CLOCKS_APART_MAX {
        true => ok(&what, found),
        false => warning(
            &what,
            found,
            "let both follow a time server (here: w32tm /resync); times in their logs do not fit together",
        ),
    }
}

fn space(name: &str, info: &ArrayInfo) -> Check {
    let what = format!("array {name}: space");
    let found = format!(
        "{} of {} bytes are free",
        info.free_bytes, info.capacity_bytes
    );
    let remedy = "free space on the array or enlarge its store";
    match info.space {
        SpaceLevel::Ample => ok(&what, found),
        SpaceLevel::Low => warning(&what, found, remedy),
        SpaceLevel::Exhausted => failed(&what, found, remedy),
    }
}

/// Each array is asked once about all disks, and not again when it was silent before.
fn disk_checks(machine: &dyn Machine, arrays: Vec<Answer<Arc<dyn Array>>>) -> Vec<Check> {
    let disks = match machine.disks() {
        Err(error) => return vec![unknown("disks", &error)],
        Ok(disks) if disks.is_empty() => return vec![ok("disks", "there are none")],
        Ok(disks) => disks,
    };
    let mut luns: Vec<LunId> = Vec::new();
    for lun in disks.iter().filter_map(lun_of) {
        // By two paths a disk is there twice.
        if !luns.contains(&lun) {
            luns.push(lun);
        }
    }
    let known: Vec<Answer<Vec<LunInfo>>> = match luns.is_empty() {
        true => Vec::new(),
        false => arrays
            .into_iter()
            .map(|(name, array)| (name, array.and_then(|array| array.query(ASK_MAX, &luns))))
            .map(|(name, infos)| {
                (
                    name,
                    infos.map(|infos| infos.into_iter().flatten().collect()),
                )
            })
            .collect(),
    };
    disks.iter().map(|disk| disk_check(disk, &known)).collect()
}

/// The LUN that a disk is, by the form of its identity.
fn lun_of(disk: &Disk) -> Option<LunId> {
    let described = LunDescription {
        identifiers: disk.identifiers.clone().ok()?,
        ..LunDescription::default()
    };
    identity::lun_id_by(vendor().lun_of, &described)
}

/// Whether a disk is one of ours, and why not.
fn disk_check(disk: &Disk, known: &[Answer<Vec<LunInfo>>]) -> Check {
    let what = format!("disk {}", disk.name);
    if let Err(error) = &disk.identifiers {
        let found = format!("{}: its identity cannot be read: {error}", disk.product);
        return warning(
            &what,
            found,
            "see whether the disk answers, in Disk Management",
        );
    }
    let Some(lun) = lun_of(disk) else {
        return ok(
            &what,
            format!(
                "{}: not ours, it has no identity of this provider's form",
                disk.product
            ),
        );
    };
    match find(lun, known) {
        Ok(Some((array, info))) => {
            let kind = match info.role {
                LunRole::Original => "ours",
                LunRole::Copy(_) => "ours, a shadow copy",
            };
            let found = format!("{kind}: {} on {array}", info.name);
            match info.mapped_here {
                true => ok(&what, found),
                false => warning(
                    &what,
                    format!("{found}, but that array does not show it to this host"),
                    "map the LUN to this host on the array, or enroll with this host's own line",
                ),
            }
        }
        Ok(None) => warning(
            &what,
            format!("of this provider's form, but no enrolled array has the LUN {lun}"),
            "enroll this host with the array that the disk comes from",
        ),
        Err(error) => warning(
            &what,
            format!("of this provider's form; {}", error.message),
            &error.remedy,
        ),
    }
}

/// Which array has it; the error of one that did not tell, where none has it.
fn find(
    lun: LunId,
    known: &[Answer<Vec<LunInfo>>],
) -> Result<Option<(&str, &LunInfo)>, &ArrayError> {
    let mut silent = Ok(None);
    for (name, infos) in known {
        match infos {
            Ok(infos) => {
                if let Some(info) = infos.iter().find(|info| info.id == lun) {
                    return Ok(Some((name, info)));
                }
            }
            Err(error) => silent = Err(error),
        }
    }
    silent
}

fn san_policy(machine: &dyn Machine) -> Check {
    let what = "SAN policy";
    let remedy = "with diskpart: 'san policy=OnlineAll', else disks that are imported or resynchronised may stay offline";
    match machine.san_policy() {
        Err(error) => unknown(what, &error),
        Ok(Some(policy)) if SHARED_COME_ONLINE.contains(&policy) => {
            ok(what, format!("{policy}: shared disks come online"))
        }
        Ok(Some(policy)) => warning(what, format!("{policy}: shared disks stay offline"), remedy),
        Ok(None) => warning(
            what,
            "not set: this edition's own, which on many keeps shared disks offline",
            remedy,
        ),
    }
}

fn cluster(machine: &dyn Machine) -> Check {
    let what = "failover cluster";
    match machine.service_state("ClusSvc") {
        Err(error) => unknown(what, &error),
        Ok(None) => ok(what, "this computer is in none"),
        // So it is where the feature is installed and no cluster was joined.
        Ok(Some(false)) => ok(what, "the cluster service is installed and does not run"),
        Ok(Some(true)) => warning(
            what,
            "this computer is a node of one",
            "install and enroll on every node, and put their hosts into one host group on the array",
        ),
    }
}

/// VSS is started on demand; the initiator has to run for disks to be there.
fn service(machine: &dyn Machine, name: &str, title: &str, must_run: bool) -> Check {
    let what = format!("service {name}");
    match machine.service_state(name) {
        Err(error) => unknown(&what, &error),
        Ok(None) => failed(
            &what,
            format!("{title} is not installed"),
            "run the provider on Windows Server, with its iSCSI initiator",
        ),
        Ok(Some(true)) => ok(&what, "it runs"),
        Ok(Some(false)) if !must_run => ok(&what, "it is started when it is needed"),
        Ok(Some(false)) => failed(
            &what,
            format!("{title} does not run"),
            "Set-Service MSiSCSI -StartupType Automatic; Start-Service MSiSCSI",
        ),
    }
}

/// The commit's milliseconds stand in the event of each captured set.
fn last_set(patient: &Patient<'_>) -> Check {
    let what = "last shadow copy set";
    match log_reader::last(patient.log, patient.folder, ENTRIES_MAX) {
        Err(error) => unknown(what, &error.lines().next().unwrap_or_default()),
        Ok((entries, from)) => {
            let captured = |entry: &&log_reader::Entry| entry.id == EventKind::SetCaptured.id();
            match entries.iter().rfind(captured) {
                Some(entry) => ok(what, format!("{}: {}", entry.time, entry.text)),
                None => ok(what, format!("none in {from}")),
            }
        }
    }
}

#[cfg(test)]
mod tests;
