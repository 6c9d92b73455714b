// SPDX-License-Identifier: MIT OR Apache-2.0
//! The command line. Exit codes: 0 done; 1 failed, or `status` found something that is not in order; 2 wrong usage. `doctor` has
//! exit codes of its own.

mod enroll;

use crate::data_folder::DataFolder;
use crate::doctor::{self, Machine, Patient};
use crate::enrolment::{self, SecretBox};
use crate::log_reader::{self, Entry, LogReader};
use crate::registration::{self, Hosting, System};
use crate::vendor::Arrays;
use crate::{ids, settings, status};
use array_api::{Array, ArrayError, ArrayInfo, Enrolment, HttpsArray};
use clap::{Parser, Subcommand, ValueEnum};
use serde::Serialize;
use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

/// How long a command waits for the array.
pub(crate) const ASK_MAX: Duration = Duration::from_secs(5);

/// More digits in a row may be a part of a token.
const HEX_DIGITS_TOLD_MAX: usize = 8;

/// Installs and looks after the Shadowlun VSS hardware provider on this Windows Server.
///
/// Run it in an elevated command prompt. Exit codes: 0 done; 1 failed, or 'status' found something that is not in order;
/// 2 the command was wrong.
#[derive(Parser)]
#[command(
    name = "shadowlun-provider",
    version,
    after_help = "Examples:
  shadowlun-provider install
  shadowlun-provider enroll -
  shadowlun-provider status
  shadowlun-provider doctor"
)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

// Not Debug: it may hold the secret.
#[derive(Subcommand)]
enum Command {
    /// Registers the provider with COM, the event log and VSS; over an earlier installation it is an update.
    #[command(
        after_help = "The files stay where they are: first put shadowlun-provider.exe and shadowlun-messages.dll into a folder that only
administrators may write to, such as C:\\Program Files\\Shadowlun, since Local System runs them from there.
When something fails, what was installed so far is removed again.

Examples:
  shadowlun-provider install
  shadowlun-provider install --hosting local-server"
    )]
    Install {
        /// How COM starts the provider.
        #[arg(long, value_enum, default_value = "service")]
        hosting: HostingName,
        /// Prints JSON for scripts instead of sentences for people.
        #[arg(long)]
        json: bool,
    },
    /// Takes the provider out of VSS, the event log and COM. Files, settings and enrolment stay.
    Uninstall {
        /// Prints JSON for scripts instead of sentences for people.
        #[arg(long)]
        json: bool,
    },
    /// Shows whether everything that a backup needs is in order.
    Status {
        /// Prints JSON for scripts instead of a table for people.
        #[arg(long)]
        json: bool,
    },
    /// Looks at everything that a backup needs: installation, arrays, disks, settings of Windows.
    #[command(
        after_help = "Changes nothing, except that it makes the event file where one is set and missing. Exit codes: 0 in order, 1 with warnings, 2 something fails.

Examples:
  shadowlun-provider doctor
  shadowlun-provider doctor --json"
    )]
    Doctor {
        /// Prints JSON for scripts instead of a table for people.
        #[arg(long)]
        json: bool,
    },
    /// Shows the provider's own events, the newest last.
    #[command(
        after_help = "They come from the Application log, or where that has none from the event file of the settings.

Examples:
  shadowlun-provider events
  shadowlun-provider events --last 100 --json"
    )]
    Events {
        /// At most so many.
        #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..))]
        last: u16,
        /// Prints a line of JSON for each.
        #[arg(long)]
        json: bool,
    },
    /// Makes this host know an array, beside those that it knows; one with the same address or key is replaced.
    #[command(
        after_help = "The line is what 'shadowlun host add' printed on the array. It holds this host's secret: with '-' it is
read from the standard input and stands in no list of processes and no history.

Examples:
  shadowlun-provider enroll -
  type line.txt | shadowlun-provider enroll -"
    )]
    Enroll {
        /// The enrolment line, or '-' to read it from the standard input.
        line: String,
        /// Does not ask the array whether it is the right one and knows this host.
        #[arg(long)]
        no_check: bool,
    },
    /// Makes this host forget an array.
    Unenroll {
        /// The array's name or address, as 'status' shows it; may be left out where there is one.
        #[arg(value_name = "NAME|ADDRESS")]
        array: Option<String>,
    },
    /// Prints the settings file with every setting at its default.
    #[command(after_help = r#"Examples:
  cmd /c "shadowlun-provider print-settings > %ProgramData%\Shadowlun\provider.toml"

Without cmd, PowerShell would write another encoding than the UTF-8 that the provider reads."#)]
    PrintSettings,
    /// Serves as the Windows service; the service control manager starts it.
    #[command(hide = true)]
    Service,
}

#[derive(Clone, Copy, ValueEnum)]
enum HostingName {
    /// A Windows service, started on demand.
    Service,
    /// An executable, started on demand.
    LocalServer,
}

/// What the commands work on.
pub struct Host<'a> {
    /// Registry, services, VSS.
    pub system: &'a dyn System,
    /// The provider's own files.
    pub folder: &'a dyn DataFolder,
    /// Seals the token.
    pub secrets: &'a dyn SecretBox,
    /// Disks and other services.
    pub machine: &'a dyn Machine,
    /// The provider's own events.
    pub log: &'a dyn LogReader,
    /// Runs as the service, until it is stopped; why not.
    pub serve: fn() -> Result<(), String>,
    /// How this host comes to its array.
    pub arrays: Arrays,
}

/// Reads the command line, the program's name first.
///
/// # Errors
/// The exit code, after the usage or the help was printed.
pub fn parse(line: impl IntoIterator<Item = std::ffi::OsString>) -> Result<Arguments, ExitCode> {
    Arguments::try_parse_from(line).map_err(|told| {
        let text = ids::in_own_words(&without_secrets(&told.to_string()));
        match told.use_stderr() {
            true => eprint!("{text}"),
            false => print!("{text}"),
        }
        u8::try_from(told.exit_code()).map_or(ExitCode::FAILURE, ExitCode::from)
    })
}

/// Wrong usage is told with the word that is wrong, which may be an enrolment line in the wrong place, or what a line break
/// has cut off one: long runs of hexadecimal digits are left out (SEC-10).
fn without_secrets(text: &str) -> String {
    text.split_inclusive(|c: char| !c.is_ascii_hexdigit())
        .map(|run| {
            let digits = run.chars().take_while(char::is_ascii_hexdigit).count();
            match digits > HEX_DIGITS_TOLD_MAX {
                true => format!("...{}", &run[digits..]),
                false => run.to_owned(),
            }
        })
        .collect()
}

/// Carries a command out.
pub fn run(host: &Host<'_>, arguments: Arguments) -> ExitCode {
    if let (Arrays::Own { how, .. }, Command::Enroll { .. } | Command::Unenroll { .. }) =
        (host.arrays, &arguments.command)
    {
        eprintln!("This provider's hosts are not enrolled. What to do: {how}.");
        return ExitCode::FAILURE;
    }
    let done = match arguments.command {
        Command::Install { hosting, json } => {
            return tell(install(host, hosting), json);
        }
        Command::Uninstall { json } => return tell(uninstall(host.system), json),
        Command::Status { json } => return show_status(host, json),
        Command::Doctor { json } => return show_doctor(host, json),
        Command::Events { last, json } => events(host, last, json),
        Command::Enroll { line, no_check } => {
            if line == "-" && std::io::stdin().is_terminal() {
                eprintln!("Paste the enrolment line, then press Enter:");
            }
            enroll::line(&line, &mut std::io::stdin().lock()).and_then(|line| {
                let ask = (!no_check).then_some(ask as _);
                enroll::enroll(host.folder, host.secrets, &line, ask)
            })
        }
        Command::Unenroll { array } => enroll::unenroll(host.folder, array.as_deref()),
        Command::PrintSettings => Ok(settings::EXAMPLE.to_owned()),
        Command::Service => (host.serve)().map(|()| String::new()),
    };
    tell(done, false)
}

/// What became of a command, for scripts.
#[derive(Serialize)]
struct Outcome {
    done: bool,
    text: String,
}

/// Tells what a command did, or why it failed.
fn tell(done: Result<String, String>, json: bool) -> ExitCode {
    let (is_done, text) = match done {
        Ok(text) => (true, ids::in_own_words(&text)),
        Err(text) => (false, ids::in_own_words(&text)),
    };
    match (json, is_done) {
        (true, done) => print!("{}", outcome(done, &text)),
        (false, true) => print!("{text}"),
        (false, false) => eprintln!("{}", text.trim_end()),
    }
    match is_done {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

fn outcome(done: bool, text: &str) -> String {
    pretty(&Outcome {
        done,
        text: text.trim_end().to_owned(),
    })
}

/// Who the array is; connects, asks, hangs up.
fn ask(enrolment: &Enrolment) -> Result<ArrayInfo, ArrayError> {
    HttpsArray::new(enrolment).info(ASK_MAX)
}

fn install(host: &Host<'_>, hosting: HostingName) -> Result<String, String> {
    let hosting = match hosting {
        HostingName::Service => Hosting::Service,
        HostingName::LocalServer => Hosting::LocalServer,
    };
    registration::install(host.system, hosting).map_err(|failure| failure.to_string())?;
    let next = match (host.arrays, enrolment::load(host.folder, host.secrets)) {
        (Arrays::Own { how, .. }, _) => format!("Next: {how}."),
        (Arrays::Enrolled, Ok(_)) => "This host is enrolled already.".to_owned(),
        (Arrays::Enrolled, Err(error)) => format!("Next: {error}; {}.", error.remedy()),
    };
    let settings = match (
        settings::load(host.folder),
        host.folder.read(settings::FILE),
    ) {
        (Err(error), _) => format!(
            "But no shadow copy can be made: {error}.\nWhat to do: {}.\n",
            error.remedy()
        ),
        // Named, because it may be of an earlier installation.
        (Ok(_), Ok(_)) => format!(
            "Its settings are those of {}.\n",
            host.folder.path(settings::FILE).display()
        ),
        (Ok(_), Err(_)) => String::new(),
    };
    Ok(format!(
        "{} {} is installed and registered with VSS.\n{settings}{next}\n",
        ids::names().provider_name,
        ids::names().provider_version
    ))
}

fn uninstall(system: &dyn System) -> Result<String, String> {
    let left = registration::uninstall(system).map_err(|failure| failure.to_string())?;
    if !left.is_empty() {
        return Err(format!(
            "The provider is taken out of VSS, but this could not be removed:\n{}",
            registration::list(&left)
        ));
    }
    Ok(
        "The provider is uninstalled. Files, settings and enrolment stay; 'shadowlun-provider unenroll' removes the enrolment.\n"
            .to_owned(),
    )
}

fn show_doctor(host: &Host<'_>, json: bool) -> ExitCode {
    let report = doctor::look(&Patient {
        system: host.system,
        machine: host.machine,
        folder: host.folder,
        secrets: host.secrets,
        log: host.log,
        arrays: host.arrays,
        connect: &|enrolment| Arc::new(HttpsArray::new(enrolment)),
    });
    let text = match json {
        true => pretty(&report),
        false => report.table(),
    };
    print!("{}", ids::in_own_words(&text));
    ExitCode::from(report.exit_code())
}

fn events(host: &Host<'_>, last: u16, json: bool) -> Result<String, String> {
    let (entries, from) = log_reader::last(host.log, host.folder, usize::from(last))?;
    let mut text = String::new();
    for entry in &entries {
        let Entry {
            time,
            id,
            severity,
            text: what,
            remedy,
        } = entry;
        let told = match json {
            true => serde_json::to_string(entry).expect("texts and a number have a JSON form"),
            false => format!("{time}  {severity:<11} {id}  {what}\n    What to do: {remedy}"),
        };
        text += &(told + "\n");
    }
    match text.is_empty() && !json {
        true => Ok(format!("There are no events of this provider in {from}.\n")),
        false => Ok(text),
    }
}

fn pretty(value: &impl serde::Serialize) -> String {
    serde_json::to_string_pretty(value).expect("texts and flags have a JSON form") + "\n"
}

fn show_status(host: &Host<'_>, json: bool) -> ExitCode {
    let status = status::look(host.system, host.folder, host.secrets, host.arrays, &ask);
    let text = match json {
        true => pretty(&status),
        false => status.table(),
    };
    print!("{}", ids::in_own_words(&text));
    match status.in_order {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data_folder::MemoryFolder;
    use crate::enrolment::tests::Machine;
    use crate::log_reader::tests::FakeLog;
    use crate::registration::tests::FakeSystem;
    use clap::CommandFactory as _;

    /// Without disks and services.
    struct Bare;

    impl doctor::Machine for Bare {
        fn disks(&self) -> std::io::Result<Vec<doctor::disk::Disk>> {
            Ok(Vec::new())
        }

        fn san_policy(&self) -> std::io::Result<Option<u32>> {
            Ok(None)
        }

        fn service_state(&self, _: &str) -> std::io::Result<Option<bool>> {
            Ok(None)
        }
    }

    fn entry(id: u32) -> Entry {
        Entry {
            time: "2026-01-02T03:04:05.000Z".to_owned(),
            id,
            severity: "error".to_owned(),
            text: "It broke.".to_owned(),
            remedy: "Mend it.".to_owned(),
        }
    }

    #[test]
    fn events_are_shown_newest_last_in_both_forms() {
        let host = Host {
            system: &FakeSystem::default(),
            folder: &MemoryFolder::default(),
            secrets: &Machine(1),
            machine: &Bare,
            log: &FakeLog(Some(vec![entry(302), entry(301), entry(300)])),
            serve: || Ok(()),
            arrays: Arrays::Enrolled,
        };

        let table = events(&host, 2, false).unwrap();
        let (first, second) = (table.find("301").unwrap(), table.find("302").unwrap());
        assert!(first < second && !table.contains("300"), "{table}");
        assert!(table.contains("What to do: Mend it."), "{table}");
        let lines = events(&host, 2, true).unwrap();
        let read: Vec<Entry> = lines
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(read, [entry(301), entry(302)]);
    }

    #[test]
    fn install_and_uninstall_tell_scripts_what_became_of_them() {
        for line in [["x", "install", "--json"], ["x", "uninstall", "--json"]] {
            assert!(Arguments::try_parse_from(line).is_ok(), "{line:?}");
        }
        let told: serde_json::Value =
            serde_json::from_str(&outcome(false, "It \"failed\".\nWhat to do: that.\n")).unwrap();
        assert_eq!(told["done"], false);
        assert_eq!(told["text"], "It \"failed\".\nWhat to do: that.");
    }

    #[test]
    fn command_line_is_well_formed_and_hides_what_people_do_not_call() {
        Arguments::command().debug_assert();

        let help = Arguments::command().render_long_help().to_string();

        for command in [
            "install",
            "uninstall",
            "status",
            "doctor",
            "events",
            "enroll",
            "unenroll",
        ] {
            assert!(help.contains(command), "{help}");
        }
        assert!(help.contains("Examples:") && help.contains("Exit codes"));
        assert!(!help.contains("service control manager"), "{help}");
    }

    #[test]
    fn install_tells_of_settings_that_cannot_be_used() {
        let folder = MemoryFolder::default();
        let host = Host {
            system: &FakeSystem::default(),
            folder: &folder,
            secrets: &Machine(1),
            machine: &Bare,
            log: &FakeLog(Some(Vec::new())),
            serve: || Ok(()),
            arrays: Arrays::Enrolled,
        };
        let installed = || install(&host, HostingName::Service).unwrap();
        assert!(!installed().contains("settings"));

        folder.put(settings::FILE, b"idle_set_max_s = 61");
        assert!(installed().contains("Its settings are those of provider.toml"));

        folder.put(settings::FILE, b"nonsense");
        let text = installed();
        assert!(text.contains("no shadow copy") && text.contains("correct the file"));
    }

    #[test]
    fn vendors_own_array_is_connected_in_the_vendors_way() {
        let folder = MemoryFolder::default();
        let host = Host {
            system: &FakeSystem::default(),
            folder: &folder,
            secrets: &Machine(1),
            machine: &Bare,
            log: &FakeLog(Some(Vec::new())),
            serve: || Ok(()),
            arrays: Arrays::Own {
                open: |_| unreachable!("neither command asks"),
                how: "write array.toml",
            },
        };

        let text = install(&host, HostingName::Service).unwrap();
        let enroll =
            Arguments::try_parse_from(["x", "enroll", "line"]).unwrap_or_else(|e| e.exit());
        let code = run(&host, enroll);

        assert!(text.ends_with("Next: write array.toml.\n"), "{text}");
        assert_eq!(format!("{code:?}"), format!("{:?}", ExitCode::FAILURE));
        assert!(folder.read(enrolment::FILE).is_err());
    }

    /// T-304, SEC-10: a line in the wrong place, or cut in two, is not repeated.
    #[test]
    fn t304_wrong_usage_is_told_without_the_token() {
        let token = "0123456789abcdef".repeat(4);
        let line = format!("shadowlun://127.0.0.1:8443/1/{}/{token}", "ab".repeat(32));
        for wrong in [
            &["x", &line][..],
            &["x", "enroll", "-", &line],
            &["x", "enroll", &line, &token],
            &["x", "enroll", "-", &token[40..]],
            &["x", "unenroll", "store", &token.to_uppercase()],
            &["x", "events", "--last", &token],
        ] {
            let told = Arguments::try_parse_from(wrong).err().unwrap().to_string();
            let text = without_secrets(&told).to_lowercase();
            let part_is_shown = (0..16).any(|at| text.contains(&token[at..at + 9]));
            assert!(!part_is_shown && text.starts_with("error: "), "{text}");
        }
    }

    #[test]
    fn wrong_usage_is_exit_code_2() {
        for wrong in [
            &["x"][..],
            &["x", "enroll"],
            &["x", "install", "--hosting", "dll"],
        ] {
            let error = Arguments::try_parse_from(wrong).err().unwrap();
            assert_eq!(error.exit_code(), 2, "{wrong:?}");
        }
    }
}
