// SPDX-License-Identifier: MIT OR Apache-2.0
//! What makes Windows know the provider, in which order, and how it is undone (REG-11, REG-12, REG-15 to REG-21, LOG-1).
//!
//! Installing over an earlier installation is the update (REG-17): its registration is taken out first, which VSS refuses while
//! a set is in progress. From then on a failure removes everything, the earlier installation too, and says so: a
//! half-updated provider would be worse than none.

mod remedy;

use crate::exposure::Exposed;
use crate::ids;
use std::fmt::{self, Write as _};
use uuid::Uuid;

/// How COM starts the provider; one of them is registered at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hosting {
    /// As a Windows service, through the AppID's LocalService.
    Service,
    /// As an executable, through LocalServer32.
    LocalServer,
}

/// What a registry value holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// REG_SZ.
    Text(String),
    /// REG_EXPAND_SZ.
    ExpandText(String),
    /// REG_DWORD.
    Number(u32),
    /// REG_BINARY.
    Bytes(Vec<u8>),
}

/// A failure of the system.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text} ({code:#010X})")]
pub struct SystemError {
    /// HRESULT.
    pub code: u32,
    /// The system's words, without a full stop.
    pub text: String,
}

/// The files of an installation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    /// This program.
    pub executable: String,
    /// The event texts beside it.
    pub messages: String,
}

/// The service as the service control manager knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceState {
    /// `running`, `stopped`, ...
    pub state: &'static str,
    /// Its command line.
    pub command: String,
}

/// A provider as VSS knows it (REG-23).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registered {
    /// VSS_PROVIDER_TYPE.
    pub kind: i32,
    /// Version, for people.
    pub version: String,
    /// Version id.
    pub version_id: Uuid,
    /// Class that VSS activates.
    pub class_id: Uuid,
}

/// The parts of Windows that an installation touches. Keys are below HKEY_LOCAL_MACHINE.
///
/// **Duties.** A `remove` of what is not there is a success. `set_value` makes the key and those above it. `set_service` and
/// `remove_service` stop a running service first, and wait for that only for a bounded time.
pub trait System {
    /// This program and the DLL beside it; an error when one is not there.
    fn files(&self) -> Result<Files, SystemError>;
    /// Who besides administrators may change these files or their folder.
    fn exposed(&self, files: &Files) -> Result<Vec<Exposed>, SystemError>;
    /// Makes the data folder with its access list, or closes one that is there.
    fn secure_data_folder(&self) -> Result<(), SystemError>;
    /// Removes the data folder if nothing is in it.
    fn remove_empty_data_folder(&self) -> Result<(), SystemError>;
    /// The closed list of who may launch and call the provider (SEC-7), in the form of the registry.
    fn permission(&self) -> Result<Vec<u8>, SystemError>;
    /// Writes a value; the name "" is the key's default.
    fn set_value(&self, key: &str, name: &str, value: &Value) -> Result<(), SystemError>;
    /// A text value, if it is there.
    fn text(&self, key: &str, name: &str) -> Result<Option<String>, SystemError>;
    /// Removes a key with everything below.
    fn remove_key(&self, key: &str) -> Result<(), SystemError>;
    /// Creates the service, or changes an existing one, to run `executable` with the argument `service`.
    fn set_service(&self, executable: &str) -> Result<(), SystemError>;
    /// Removes the service.
    fn remove_service(&self) -> Result<(), SystemError>;
    /// The service, if it is there.
    fn service(&self) -> Result<Option<ServiceState>, SystemError>;
    /// IVssAdmin::RegisterProvider with our ids (REG-15, REG-16).
    fn register(&self) -> Result<(), SystemError>;
    /// IVssAdmin::UnregisterProvider; `false` when it was not registered (REG-20).
    fn unregister(&self) -> Result<bool, SystemError>;
    /// Our entry in IVssAdmin::QueryProviders.
    fn registered(&self) -> Result<Option<Registered>, SystemError>;
    /// Compares every event text of the message DLL with the catalogue; what is wrong, if something is (T-235).
    fn check_messages(&self, messages: &str) -> Result<(), SystemError>;
}

/// A part of an installation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    ComClass,
    Service,
    EventSource,
    Registration,
}

/// In the order of installing (REG-19).
const INSTALL: [Part; 4] = [
    Part::ComClass,
    Part::Service,
    Part::EventSource,
    Part::Registration,
];
/// In the order of uninstalling, after VSS let go (REG-21).
const UNINSTALL: [Part; 3] = [Part::Service, Part::EventSource, Part::ComClass];

/// Something that could not be removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    what: &'static str,
    why: SystemError,
}

/// Why an installation or its removal failed, and what is left.
#[derive(Debug)]
pub struct Failure {
    what: &'static str,
    error: SystemError,
    /// `None`: nothing was changed.
    undone: Option<Undone>,
}

#[derive(Debug)]
struct Undone {
    /// There was an earlier installation, and it is gone too.
    earlier: bool,
    left: Vec<Left>,
}

impl std::error::Error for Failure {}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, error, .. } = self;
        writeln!(f, "{what} failed: {error}.")?;
        writeln!(f, "What to do: {}.", remedy::of(what, error.code))?;
        match &self.undone {
            None => f.write_str("Nothing was changed."),
            Some(undone) => {
                let earlier = match undone.earlier {
                    true => "; so was the earlier installation",
                    false => "",
                };
                match &undone.left[..] {
                    [] => write!(f, "What had been installed was removed again{earlier}."),
                    left => {
                        writeln!(
                            f,
                            "What had been installed was removed again{earlier}, except:"
                        )?;
                        f.write_str(&list(left))
                    }
                }
            }
        }
    }
}

/// What is left, one a line, and what to do about it.
pub fn list(left: &[Left]) -> String {
    let mut text = String::new();
    for Left { what, why } in left {
        let _ = writeln!(text, "  {what}: {why}; {}", remedy::of(what, why.code));
    }
    text + "Run 'shadowlun-provider uninstall' when the cause is removed."
}

/// Makes Windows know the provider. Over an earlier installation it is an update, also to the other hosting.
///
/// # Errors
/// [`Failure`]; nothing is left then but what it names.
pub fn install(system: &dyn System, hosting: Hosting) -> Result<(), Failure> {
    let refused = |what| {
        move |error| Failure {
            what,
            error,
            undone: None,
        }
    };
    let files = system.files().map_err(refused("Finding the files"))?;
    let exposed = system.exposed(&files);
    let exposed = exposed.map_err(refused("Looking who may change the files"))?;
    if let Some(found) = exposed.into_iter().find(|exposed| exposed.is_ordinary) {
        return Err(refused(remedy::LOOKING)(SystemError {
            code: remedy::EXPOSED,
            text: format!("ordinary users ({}) may change {}", found.sid, found.path),
        }));
    }
    let permission = system
        .permission()
        .map_err(refused("Making the access list"))?;
    system
        .secure_data_folder()
        .map_err(refused("Making the data folder"))?;
    let earlier = system.unregister().map_err(|error| {
        // What may have been made just now; the failure is about something else.
        let _ = system.remove_empty_data_folder();
        refused(remedy::TAKING_EARLIER_OUT)(error)
    })?;
    for part in INSTALL {
        if let Err(error) = part.install(system, hosting, &files, &permission) {
            // Parts of an earlier installation may be there beyond this one; VSS has been asked already.
            let parts = match part {
                Part::Registration => &INSTALL[..],
                _ => &INSTALL[..INSTALL.len() - 1],
            };
            return Err(Failure {
                what: part.installing(),
                error,
                undone: Some(Undone {
                    earlier,
                    left: remove(system, parts.iter().rev().copied()),
                }),
            });
        }
    }
    Ok(())
}

/// Makes Windows forget the provider. The enrolment stays: an upgrade must not need a new one.
///
/// # Errors
/// VSS does not let the provider go (REG-20); nothing was removed then. What else could not be removed is the `Ok`'s list.
pub fn uninstall(system: &dyn System) -> Result<Vec<Left>, Failure> {
    system.unregister().map_err(|error| Failure {
        what: remedy::TAKING_OUT,
        error,
        undone: None,
    })?;
    Ok(remove(system, UNINSTALL.into_iter()))
}

/// Tries every part, and the data folder unless something is in it.
fn remove(system: &dyn System, parts: impl Iterator<Item = Part>) -> Vec<Left> {
    let folder = |why| Left {
        what: "data folder",
        why,
    };
    let mut left: Vec<_> = parts.flat_map(|part| part.remove(system)).collect();
    left.extend(system.remove_empty_data_folder().err().map(folder));
    left
}

impl Part {
    fn installing(self) -> &'static str {
        match self {
            Self::ComClass => "Writing the COM class",
            Self::Service => "Installing the service",
            Self::EventSource => "Writing the event source",
            Self::Registration => remedy::REGISTERING,
        }
    }

    fn install(
        self,
        system: &dyn System,
        hosting: Hosting,
        files: &Files,
        permission: &[u8],
    ) -> Result<(), SystemError> {
        match (self, hosting) {
            (Self::ComClass, _) => write_com_class(system, hosting, files, permission),
            (Self::Service, Hosting::Service) => system.set_service(&files.executable),
            (Self::Service, Hosting::LocalServer) => system.remove_service(),
            (Self::EventSource, _) => {
                let key = event_source_key();
                let messages = Value::ExpandText(files.messages.clone());
                system.set_value(&key, "EventMessageFile", &messages)?;
                // Errors, warnings and information.
                system.set_value(&key, "TypesSupported", &Value::Number(7))
            }
            (Self::Registration, _) => system.register(),
        }
    }

    /// What of it could not be removed.
    fn remove(self, system: &dyn System) -> Vec<Left> {
        let left = |what| move |why| Left { what, why };
        match self {
            Self::ComClass => com_keys()
                .iter()
                .filter_map(|key| system.remove_key(key).err())
                .map(left("COM class"))
                .collect(),
            Self::Service => Vec::from_iter(system.remove_service().err().map(left("service"))),
            Self::EventSource => {
                let removed = system.remove_key(&event_source_key());
                Vec::from_iter(removed.err().map(left("event source")))
            }
            Self::Registration => {
                Vec::from_iter(system.unregister().err().map(left("registration with VSS")))
            }
        }
    }
}

/// Written anew, so that nothing of the other hosting is left in it.
fn write_com_class(
    system: &dyn System,
    hosting: Hosting,
    files: &Files,
    permission: &[u8],
) -> Result<(), SystemError> {
    for key in com_keys() {
        system.remove_key(&key)?;
    }
    let text = |text: &str| Value::Text(text.to_owned());
    let app_id = braced(ids::names().app_id);
    let (class, app) = (class_key(), app_key());
    system.set_value(&class, "", &text(ids::names().provider_name))?;
    system.set_value(&class, "AppID", &text(&app_id))?;
    system.set_value(&app, "", &text(ids::names().provider_name))?;
    let permission = Value::Bytes(permission.to_vec());
    system.set_value(&app, "LaunchPermission", &permission)?;
    system.set_value(&app, "AccessPermission", &permission)?;
    system.set_value(&app_of_executable_key(), "AppID", &text(&app_id))?;
    match hosting {
        Hosting::Service => system.set_value(&app, LOCAL_SERVICE, &text(ids::names().service_name)),
        Hosting::LocalServer => {
            let command = Value::Text(quoted(&files.executable));
            system.set_value(&local_server_key(), "", &command)
        }
    }
}

/// Value of the AppID that names the service.
pub(crate) const LOCAL_SERVICE: &str = "LocalService";

/// The executable's path as a command line.
pub(crate) fn quoted(path: &str) -> String {
    format!("\"{path}\"")
}

fn com_keys() -> [String; 3] {
    [app_of_executable_key(), class_key(), app_key()]
}

pub(crate) fn class_key() -> String {
    format!(r"Software\Classes\CLSID\{}", braced(ids::names().class_id))
}

pub(crate) fn local_server_key() -> String {
    class_key() + r"\LocalServer32"
}

pub(crate) fn app_key() -> String {
    format!(r"Software\Classes\AppID\{}", braced(ids::names().app_id))
}

fn app_of_executable_key() -> String {
    format!(r"Software\Classes\AppID\{}", ids::names().executable)
}

pub(crate) fn event_source_key() -> String {
    format!(
        r"SYSTEM\CurrentControlSet\Services\EventLog\Application\{}",
        ids::names().event_source
    )
}

fn braced(id: Uuid) -> String {
    format!("{{{:X}}}", id.hyphenated())
}

#[cfg(test)]
pub(crate) mod tests;
