// SPDX-License-Identifier: MIT OR Apache-2.0
//! Works the example's array for the rig (`docs/rig.md`): a line of JSON in, a line out. Its argument is the provider's executable; others are
//! programs to put beside it.
//!
//! Makes a fresh array in a temporary folder. When its input ends it removes that and what it put on hosts.

use array_api::{Array, ArrayError, Designator, LunId, LunIdentity, LunInfo};
use serde_json::{Value, json};
use std::io::{BufRead as _, ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use uuid::Uuid;
use vendor_provider::{FolderArray, State, anvil_lun};

const WITHIN: Duration = Duration::from_secs(10);
const PROGRAM_FOLDER: &str = "Program Files/Anvil";
const DATA_FOLDER: &str = "ProgramData/Anvil";
/// How long an uninstalled provider may still run, which keeps its file.
const ENDS_WITHIN: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(100);

/// Why a question has no answer.
enum Failure {
    /// This array cannot do that.
    Cannot(String),
    /// It went wrong.
    Error(String),
}

impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Error(error.to_string())
    }
}

fn main() -> std::io::Result<()> {
    let programs: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    if programs.is_empty() {
        return Err(std::io::Error::other("which executable?"));
    }
    let mut rig = Rig {
        programs,
        folder: std::env::temp_dir().join(format!("anvil-{}", Uuid::new_v4().simple())),
        drives: Vec::new(),
    };
    std::fs::create_dir(&rig.folder)?;
    for line in std::io::stdin().lock().lines() {
        let answer = match rig.answer(&line?) {
            Ok(value) => json!({ "ok": value }),
            Err(Failure::Cannot(what)) => json!({ "cannot": what }),
            Err(Failure::Error(why)) => json!({ "error": why }),
        };
        println!("{answer}");
        std::io::stdout().flush()?;
    }
    for drive in &rig.drives {
        remove(&drive.join(PROGRAM_FOLDER))?;
        remove(&drive.join(DATA_FOLDER))?;
    }
    // The folder has been moved when a fault was never healed.
    remove(&rig.away())?;
    remove(&rig.folder)
}

/// Removes a folder, which may be gone already.
fn remove(folder: &Path) -> std::io::Result<()> {
    let start = Instant::now();
    loop {
        match std::fs::remove_dir_all(folder) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(_) if start.elapsed() < ENDS_WITHIN => std::thread::sleep(PAUSE),
            result => return result,
        }
    }
}

struct Rig {
    /// The provider's executable first.
    programs: Vec<PathBuf>,
    folder: PathBuf,
    /// Drives C: of the hosts.
    drives: Vec<PathBuf>,
}

impl Rig {
    fn answer(&mut self, line: &str) -> Result<Value, Failure> {
        let question: Value = serde_json::from_str(line)?;
        let text = |name: &str| question[name].as_str().unwrap_or_default();
        match text("do") {
            "start" => self.start(&question),
            "host" => self.host(text("host"), Path::new(text("drive_c"))),
            "disks" => self.disks(text("host")),
            "count" => self.admin(|state| Ok(json!(state.luns().len()))),
            "write" => {
                let file = self.file(&question)?;
                std::fs::write(file, text("contents"))?;
                Ok(Value::Null)
            }
            "read" => {
                let file = self.file(&question)?;
                // A LUN that nobody wrote to reads as nothing.
                Ok(json!(std::fs::read_to_string(file).unwrap_or_default()))
            }
            "remove" => {
                let lun = lun_of(&question["disk"])?;
                self.admin(|state| {
                    state.remove(lun);
                    Ok(Value::Null)
                })
            }
            "fault" if text("fault") == "down" => {
                std::fs::rename(&self.folder, self.away())?;
                Ok(Value::Null)
            }
            "fault" if text("fault") == "preparing" => self.hold_copies(true),
            "heal" => {
                if self.away().exists() {
                    std::fs::rename(self.away(), &self.folder)?;
                }
                self.hold_copies(false)
            }
            "fault" => Err(Failure::Cannot(format!("make the fault {}", text("fault")))),
            "traffic" => Err(Failure::Cannot("see the array's traffic".to_owned())),
            other => Err(Failure::Error(format!("unknown question {other:?}"))),
        }
    }

    fn hold_copies(&self, held: bool) -> Result<Value, Failure> {
        self.admin(|state| {
            state.hold_copies(held);
            Ok(Value::Null)
        })
    }

    fn away(&self) -> PathBuf {
        self.folder.with_extension("away")
    }

    fn array(&self, host: &str) -> FolderArray {
        FolderArray::new(&self.folder, host)
    }

    fn admin(
        &self,
        work: impl FnOnce(&mut State) -> Result<Value, ArrayError>,
    ) -> Result<Value, Failure> {
        Ok(self.array("admin").with_state(WITHIN, work)?)
    }

    fn start(&self, question: &Value) -> Result<Value, Failure> {
        let hosts = question["hosts"].as_array().into_iter().flatten();
        let hosts: Vec<&str> = hosts.filter_map(Value::as_str).collect();
        let creator = hosts.first().copied().unwrap_or_default();
        self.admin(|state| {
            state.set_group("rig", &hosts);
            state.allow_resync(creator);
            for _ in 0..question["luns"].as_u64().unwrap_or_default() {
                state.create_lun(
                    question["lun_bytes"].as_u64().unwrap_or_default(),
                    &[creator],
                )?;
            }
            Ok(Value::Null)
        })
    }

    /// Puts the provider on a host's drive, and tells it where its array is.
    fn host(&mut self, host: &str, drive_c: &Path) -> Result<Value, Failure> {
        self.drives.push(drive_c.to_owned());
        let place = drive_c.join(PROGRAM_FOLDER);
        std::fs::create_dir_all(&place)?;
        for program in &self.programs {
            std::fs::copy(program, place.join(program.file_name().unwrap_or_default()))?;
        }
        let messages = "anvil-messages.dll";
        std::fs::copy(
            self.programs[0].with_file_name(messages),
            place.join(messages),
        )?;
        let data = drive_c.join(DATA_FOLDER);
        std::fs::create_dir_all(&data)?;
        std::fs::write(
            data.join("provider.toml"),
            "event_file = 'C:\\ProgramData\\Anvil\\events.jsonl'\n",
        )?;
        let folder = self.folder.display();
        // Wine shows this system's files as drive Z:.
        let drive = if cfg!(windows) { "" } else { "Z:" };
        std::fs::write(
            data.join("array.toml"),
            format!("folder = '{drive}{folder}'\nhost = '{host}'\n"),
        )?;
        Ok(Value::Null)
    }

    fn disks(&self, host: &str) -> Result<Value, Failure> {
        let ids = self.array(host).with_state(WITHIN, |state| {
            let seen = state.luns().iter();
            let seen = seen.filter(|(_, lun)| lun.maps.contains(host));
            Ok(seen.map(|(id, _)| *id).collect::<Vec<_>>())
        })?;
        let infos = self.array(host).query(WITHIN, &ids)?;
        let disks = infos.into_iter().flatten();
        Ok(disks
            .map(|info: LunInfo| describe(&info.identity))
            .collect())
    }

    fn file(&self, question: &Value) -> Result<PathBuf, Failure> {
        let lun = lun_of(&question["disk"])?;
        let host = question["host"].as_str().unwrap_or_default();
        let info = self.array(host).query(WITHIN, &[lun])?.remove(0);
        match info.is_some_and(|info| info.mapped_here) {
            true => Ok(self.array(host).contents(lun)),
            false => Err(Failure::Error(format!("{host} does not see {lun}"))),
        }
    }
}

/// What INQUIRY, page 80h and page 83h of a disk lead to, in the rig's form.
fn describe(identity: &LunIdentity) -> Value {
    let identifiers = identity.designators.iter().map(|designator| {
        json!({
            "code_set": designator.code_set,
            "kind": designator.kind,
            "bytes": designator.bytes,
        })
    });
    json!({
        "version": 1,
        "device_type": 0,
        "device_type_modifier": 0,
        "command_queueing": true,
        "bus_type": 9,
        "vendor": identity.vendor.as_bytes(),
        "product": identity.product.as_bytes(),
        "revision": identity.revision.as_bytes(),
        "serial": identity.serial.as_bytes(),
        "disk_signature": Uuid::nil(),
        "device_id_version": 1,
        "identifiers": identifiers.collect::<Vec<_>>(),
        "interconnects": [],
    })
}

/// By page 83h: a disk need not have page 80h.
fn lun_of(disk: &Value) -> Result<LunId, Failure> {
    let designators: Vec<Value> = serde_json::from_value(disk["identifiers"].clone())?;
    let lun = designators.iter().find_map(|designator| {
        anvil_lun(&Designator {
            code_set: serde_json::from_value(designator["code_set"].clone()).ok()?,
            kind: serde_json::from_value(designator["kind"].clone()).ok()?,
            bytes: serde_json::from_value(designator["bytes"].clone()).ok()?,
        })
    });
    lun.ok_or_else(|| Failure::Error("not a disk of this array".to_owned()))
}
