// SPDX-License-Identifier: MIT OR Apache-2.0
//! `status`: whether everything that a backup needs is in order, one line each, with a remedy for what is not.

use crate::commands::ASK_MAX;
use crate::data_folder::DataFolder;
use crate::enrolment::{self, Enrolled, SecretBox};
use crate::registration::{self, Hosting, System, SystemError, quoted};
use crate::vendor::Arrays;
use crate::{event_log, ids, settings};
use array_api::{ArrayError, ArrayInfo, Enrolment};
use serde::Serialize;
use std::fmt::Write as _;

const INSTALL_AGAIN: &str = "run 'shadowlun-provider install'";
/// VSS_PROV_HARDWARE.
const HARDWARE: i32 = 3;

/// What was looked at.
#[derive(Debug, Serialize)]
pub struct Status {
    /// Whether every line is.
    pub in_order: bool,
    /// In the order in which a person should mend them.
    pub lines: Vec<Line>,
}

/// One thing.
#[derive(Debug, Serialize)]
pub struct Line {
    /// What.
    pub what: &'static str,
    /// Whether it is in order.
    pub in_order: bool,
    /// What was found.
    pub found: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

/// What was found, or what is wrong and what to do about it.
type Finding = Result<String, (String, String)>;

/// Looks at everything; `ask` asks the enrolled array who it is. Changes nothing, except that it makes the
/// event file where one is set and missing.
pub fn look(
    system: &dyn System,
    folder: &dyn DataFolder,
    secrets: &dyn SecretBox,
    arrays: Arrays,
    ask: &dyn Fn(&Enrolment) -> Result<ArrayInfo, ArrayError>,
) -> Status {
    let mut findings = Vec::new();
    match arrays {
        Arrays::Own { open, .. } => {
            let info = open(&folder.path("")).and_then(|own| own.info(ASK_MAX));
            findings.push(("array", array(info)));
        }
        Arrays::Enrolled => findings.extend(enrolled(folder, secrets, ask)),
    }
    let mut lines = installation(system, folder);
    lines.extend(findings.into_iter().map(line));
    Status {
        in_order: lines.iter().all(|line| line.in_order),
        lines,
    }
}

/// What the installer made, and the settings.
pub(crate) fn installation(system: &dyn System, folder: &dyn DataFolder) -> Vec<Line> {
    let hosting = hosting(system);
    let service = match hosting {
        Ok(Hosting::LocalServer) => Ok("not needed with this hosting".to_owned()),
        _ => service(system),
    };
    let com_class = hosting.map(|hosting| match hosting {
        Hosting::Service => "hosted by the service".to_owned(),
        Hosting::LocalServer => "hosted by the executable".to_owned(),
    });
    [
        ("files", files(system)),
        ("COM class", com_class),
        ("service", service),
        ("event source", event_source(system)),
        ("registered in VSS", registered(system)),
        ("settings", settings(folder)),
    ]
    .into_iter()
    .map(line)
    .collect()
}

/// Two lines for each array.
fn enrolled(
    folder: &dyn DataFolder,
    secrets: &dyn SecretBox,
    ask: &dyn Fn(&Enrolment) -> Result<ArrayInfo, ArrayError>,
) -> Vec<(&'static str, Finding)> {
    match enrolment::load(folder, secrets) {
        Ok(arrays) => arrays
            .iter()
            .flat_map(|Enrolled { enrolment, .. }| {
                let found = format!("{}, key {}", enrolment.address(), enrolment.key_pin());
                [("enrolment", Ok(found)), ("array", array(ask(enrolment)))]
            })
            .collect(),
        Err(error) => vec![
            ("enrolment", bad(&error, error.remedy())),
            ("array", bad("not asked", "enroll this host first")),
        ],
    }
}

impl Status {
    /// For people.
    pub fn table(&self) -> String {
        let mut text = String::new();
        for line in &self.lines {
            let mark = if line.in_order { "ok " } else { "BAD" };
            let _ = writeln!(text, "{mark}  {:<18} {}", line.what, line.found);
            if let Some(remedy) = &line.remedy {
                let _ = writeln!(text, "     {:<18} -> {remedy}", "");
            }
        }
        text
    }
}

fn line((what, finding): (&'static str, Finding)) -> Line {
    let (in_order, found, remedy) = match finding {
        Ok(found) => (true, found, None),
        Err((found, remedy)) => (false, found, Some(remedy)),
    };
    Line {
        what,
        in_order,
        found,
        remedy,
    }
}

fn bad<T>(found: impl ToString, remedy: &str) -> Result<T, (String, String)> {
    Err((found.to_string(), remedy.to_owned()))
}

fn unknown(error: SystemError) -> (String, String) {
    let remedy = "run 'shadowlun-provider status' as administrator, in an elevated command prompt";
    (error.to_string(), remedy.to_owned())
}

fn files(system: &dyn System) -> Finding {
    let reinstall = |error: SystemError| {
        let remedy =
            "put shadowlun-provider.exe and shadowlun-messages.dll of one version in one folder";
        (error.to_string(), remedy.to_owned())
    };
    let files = system.files().map_err(reinstall)?;
    system.check_messages(&files.messages).map_err(reinstall)?;
    Ok(format!(
        "{} ({})",
        files.executable,
        ids::names().provider_version
    ))
}

fn hosting(system: &dyn System) -> Result<Hosting, (String, String)> {
    let text = |key: &str, name: &str| system.text(key, name).map_err(unknown);
    let class = text(&registration::class_key(), "AppID")?;
    let service = text(&registration::app_key(), registration::LOCAL_SERVICE)?;
    let server = text(&registration::local_server_key(), "")?;
    match (class, service, server) {
        (None, _, _) => bad("not registered", INSTALL_AGAIN),
        (Some(_), Some(name), None) if name == ids::names().service_name => Ok(Hosting::Service),
        (Some(_), None, Some(command)) => {
            let ours = system.files().map_err(unknown)?.executable;
            match same(&command, &quoted(&ours)) {
                true => Ok(Hosting::LocalServer),
                false => bad(format!("starts {command}"), INSTALL_AGAIN),
            }
        }
        _ => bad("its keys do not fit together", INSTALL_AGAIN),
    }
}

fn service(system: &dyn System) -> Finding {
    match system.service().map_err(unknown)? {
        None => bad("not installed", INSTALL_AGAIN),
        Some(service) => {
            let ours = system.files().map_err(unknown)?.executable;
            match lower(&service.command).contains(&lower(&ours)) {
                true => Ok(service.state.to_owned()),
                false => bad(format!("starts {}", service.command), INSTALL_AGAIN),
            }
        }
    }
}

fn event_source(system: &dyn System) -> Finding {
    let key = registration::event_source_key();
    let found = system.text(&key, "EventMessageFile").map_err(unknown)?;
    let ours = system.files().map_err(unknown)?.messages;
    match found {
        Some(found) if same(&found, &ours) => {
            Ok(format!("Application log, {}", ids::names().event_source))
        }
        Some(found) => bad(format!("reads {found}"), INSTALL_AGAIN),
        None => bad("not registered", INSTALL_AGAIN),
    }
}

/// Paths of Windows: a program's own is spelt as the person who started it spelt it.
fn same(one: &str, other: &str) -> bool {
    lower(one) == lower(other)
}

fn lower(path: &str) -> String {
    path.to_lowercase()
}

fn registered(system: &dyn System) -> Finding {
    let Some(found) = system.registered().map_err(unknown)? else {
        return bad("no", INSTALL_AGAIN);
    };
    let ours = found.kind == HARDWARE
        && found.class_id == ids::names().class_id
        && found.version_id == ids::names().version_id;
    match ours {
        true => Ok(format!("version {}", found.version)),
        false => bad(format!("another version: {}", found.version), INSTALL_AGAIN),
    }
}

fn settings(folder: &dyn DataFolder) -> Finding {
    let settings = match settings::load(folder) {
        Ok(settings) => settings,
        Err(error) => return bad(&error, error.remedy()),
    };
    match settings.event_file {
        None => Ok(match folder.read(settings::FILE) {
            Ok(_) => format!("{} fits", folder.path(settings::FILE).display()),
            Err(_) => "the defaults".to_owned(),
        }),
        Some(file) => match event_log::check_event_file(&file) {
            Ok(()) => Ok(format!("events also go to {}", file.display())),
            Err(error) => bad(
                format!(
                    "the event file {} cannot be written: {error}",
                    file.display()
                ),
                "make its folder, let SYSTEM write there, or choose another event_file",
            ),
        },
    }
}

fn array(answer: Result<ArrayInfo, ArrayError>) -> Finding {
    match answer {
        Ok(info) => Ok(format!(
            "{} answers; this host is {} there",
            info.name, info.host
        )),
        Err(error) => bad(&error.message, &error.remedy),
    }
}

#[cfg(test)]
mod tests;
