// SPDX-License-Identifier: MIT OR Apache-2.0
//! `shadowlun`: one request to the daemon's admin socket, its answer as a table or as JSON.

mod show;

use crate::admin::{self, AdminAnswer, AdminRequest};
use crate::size::ByteSize;
use array_api::http1::{Request, exchange};
use array_api::wire::RESPONSE_BYTES_MAX;
use array_api::{ArrayError, ArrayErrorKind, ErrorBody, SetId};
use clap::{Args, Parser, Subcommand};
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

const DEFAULT_SOCKET: &str = "/var/lib/shadowlun/admin.sock";
const SOCKET_VARIABLE: &str = "SHADOWLUN_SOCKET";
/// Longer than any call of an administrator takes on a healthy array.
const ANSWER_MAX: Duration = Duration::from_secs(60);

/// Administers the array on this machine.
///
/// Exit codes: 0 done; 1 the array could not do it; 2 the command was wrong, or the daemon is not there.
#[derive(Debug, Parser)]
#[command(
    name = "shadowlun",
    version,
    after_help = "Examples:
  shadowlun host add winhost --iqn iqn.1991-05.com.microsoft:winhost
  shadowlun lun create data 64GiB --host winhost
  shadowlun lun list
  shadowlun --json status"
)]
struct Arguments {
    /// The daemon's admin socket. Default: $SHADOWLUN_SOCKET, or /var/lib/shadowlun/admin.sock.
    #[arg(long, value_name = "PATH", global = true)]
    socket: Option<PathBuf>,
    /// Prints JSON for scripts instead of tables for people.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// LUNs.
    #[command(subcommand)]
    Lun(LunCommand),
    /// Hosts and host groups.
    #[command(subcommand)]
    Host(HostCommand),
    /// Shadow copy sets.
    #[command(subcommand)]
    Set(SetCommand),
    /// Lists copies that no host ever mapped: of sets in progress, or left behind.
    Orphans,
    /// Shows the daemon: addresses, space, sessions.
    Status,
}

#[derive(Debug, Subcommand)]
enum LunCommand {
    /// Creates a thin LUN.
    #[command(after_help = "Examples:
  shadowlun lun create data 64GiB
  shadowlun lun create logs 1TiB --host winhost --host backup")]
    Create {
        /// Unique name: letters, digits, dots, dashes, underscores.
        name: String,
        /// Capacity, for example 64GiB or 1TiB.
        size: ByteSize,
        /// Maps it to this host; may be given several times.
        #[arg(long = "host", value_name = "HOST")]
        hosts: Vec<String>,
    },
    /// Lists all LUNs, copies included.
    List,
    /// Shows one LUN.
    Show(LunName),
    /// Deletes a LUN that no host has mapped.
    Delete(LunName),
    /// Maps a LUN to a host.
    Map(LunAndHost),
    /// Unmaps a LUN from a host.
    Unmap(LunAndHost),
}

#[derive(Debug, Args)]
struct LunName {
    /// Name or id of the LUN.
    lun: String,
}

#[derive(Debug, Args)]
struct LunAndHost {
    /// Name or id of the LUN.
    lun: String,
    /// Name of the host.
    host: String,
}

#[derive(Debug, Subcommand)]
enum HostCommand {
    /// Adds a host and prints its enrolment line, once.
    #[command(
        after_help = "The line holds the host's secret: whoever has it has the host's rights on the array.

Examples:
  shadowlun host add winhost --iqn iqn.1991-05.com.microsoft:winhost
  shadowlun host add backup --iqn iqn.1991-05.com.microsoft:backup --address array.example.net:8443"
    )]
    Add {
        /// Unique name.
        name: String,
        /// iSCSI initiator name; may be given several times.
        #[arg(long = "iqn", value_name = "IQN", required = true)]
        iqns: Vec<String>,
        /// Lets the host overwrite LUNs mapped to it with copies.
        #[arg(long)]
        allow_resync: bool,
        /// HOST:PORT under which the host reaches the array, for the enrolment line.
        #[arg(long, value_name = "HOST:PORT")]
        address: Option<String>,
    },
    /// Lists all hosts.
    List,
    /// Removes a host that has no LUN mapped; its token and its sessions end.
    Remove {
        /// Name of the host.
        name: String,
    },
    /// Host groups: their members import, mask and delete each other's copies.
    #[command(subcommand)]
    Group(GroupCommand),
}

#[derive(Debug, Subcommand)]
enum GroupCommand {
    /// Creates an empty group.
    Create {
        /// Unique name.
        name: String,
    },
    /// Adds a host to a group.
    Add {
        /// Name of the group.
        group: String,
        /// Name of the host.
        host: String,
    },
    /// Removes a host from a group, or the whole group.
    Remove {
        /// Name of the group.
        group: String,
        /// Name of the host; without it the group itself is removed.
        host: Option<String>,
    },
    /// Lists all groups.
    List,
}

#[derive(Debug, Subcommand)]
enum SetCommand {
    /// Lists the sets that the array remembers.
    List,
    /// Shows one set and its copies.
    Show {
        /// Id of the set.
        set: SetId,
    },
}

/// The whole program.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let socket = arguments
        .socket
        .or_else(|| std::env::var_os(SOCKET_VARIABLE).map(PathBuf::from))
        .unwrap_or_else(|| PathBuf::from(DEFAULT_SOCKET));
    match ask(&socket, &request(arguments.command)) {
        Ok(answer) => {
            let text = match arguments.json {
                true => show::json(&answer),
                false => show::text(&answer),
            };
            // A reader that has seen enough (`| head`) is no failure.
            let _ = std::io::stdout().write_all(text.as_bytes());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("shadowlun: {error}");
            ExitCode::from(exit_code(error.kind))
        }
    }
}

fn request(command: Command) -> AdminRequest {
    match command {
        Command::Lun(command) => lun_request(command),
        Command::Host(command) => host_request(command),
        Command::Set(SetCommand::List) => AdminRequest::SetList,
        Command::Set(SetCommand::Show { set }) => AdminRequest::SetShow { set },
        Command::Orphans => AdminRequest::Orphans,
        Command::Status => AdminRequest::Status,
    }
}

fn lun_request(command: LunCommand) -> AdminRequest {
    match command {
        LunCommand::Create { name, size, hosts } => AdminRequest::LunCreate {
            name,
            size_bytes: size.0,
            hosts,
        },
        LunCommand::List => AdminRequest::LunList,
        LunCommand::Show(LunName { lun }) => AdminRequest::LunShow { lun },
        LunCommand::Delete(LunName { lun }) => AdminRequest::LunDelete { lun },
        LunCommand::Map(LunAndHost { lun, host }) => AdminRequest::LunMap { lun, host },
        LunCommand::Unmap(LunAndHost { lun, host }) => AdminRequest::LunUnmap { lun, host },
    }
}

fn host_request(command: HostCommand) -> AdminRequest {
    match command {
        HostCommand::Add {
            name,
            iqns,
            allow_resync,
            address,
        } => AdminRequest::HostAdd {
            name,
            iqns: iqns.into_iter().collect(),
            allow_resync,
            address,
        },
        HostCommand::List => AdminRequest::HostList,
        HostCommand::Remove { name } => AdminRequest::HostRemove { name },
        HostCommand::Group(GroupCommand::Create { name }) => AdminRequest::GroupCreate { name },
        HostCommand::Group(GroupCommand::Add { group, host }) => {
            AdminRequest::GroupAdd { group, host }
        }
        HostCommand::Group(GroupCommand::Remove { group, host }) => {
            AdminRequest::GroupRemove { group, host }
        }
        HostCommand::Group(GroupCommand::List) => AdminRequest::GroupList,
    }
}

/// Sends one request to the daemon.
pub fn ask(socket: &Path, request: &AdminRequest) -> Result<AdminAnswer, ArrayError> {
    let unreachable = |error: &dyn std::fmt::Display| {
        ArrayError::new(
            ArrayErrorKind::Unreachable,
            format!(
                "the daemon does not answer on {}: {error}",
                socket.display()
            ),
            "start shadowlund, name its socket with --socket, and run as root or as the daemon's user",
        )
    };
    let mut stream = UnixStream::connect(socket).map_err(|error| unreachable(&error))?;
    for set in [UnixStream::set_read_timeout, UnixStream::set_write_timeout] {
        set(&stream, Some(ANSWER_MAX)).map_err(|error| unreachable(&error))?;
    }
    let body = serde_json::to_vec(request).expect("a request has a JSON form");
    let request = Request {
        method: "POST",
        path: admin::PATH,
        host: "localhost",
        headers: &[("Connection", "close")],
        json: Some(&body),
    };
    let response =
        exchange(&mut stream, &request, RESPONSE_BYTES_MAX).map_err(|error| unreachable(&error))?;
    let foreign = |error: serde_json::Error| {
        ArrayError::new(
            ArrayErrorKind::Protocol,
            format!("the daemon's answer does not fit: {error}"),
            "use the shadowlun of the daemon's version",
        )
    };
    if response.status == 200 {
        return serde_json::from_slice(&response.body).map_err(foreign);
    }
    let body: ErrorBody = serde_json::from_slice(&response.body).map_err(foreign)?;
    Err(body.into())
}

/// 2 where another command would have been right, 1 where the array could not.
fn exit_code(kind: ArrayErrorKind) -> u8 {
    use ArrayErrorKind::*;
    match kind {
        InvalidRequest | Unauthenticated | Forbidden | UnknownSet | UnknownLun | UnknownResync
        | AlreadyExists | NotACopy | NotSupported | Unreachable | Protocol => 2,
        WrongState | NoSpace | LimitReached | DeadlinePassed | FenceTimeout | Internal
        | TimedOut => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn arguments_are_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn arguments_become_the_request() {
        let line = [
            "shadowlun",
            "lun",
            "create",
            "data",
            "64GiB",
            "--host",
            "a",
            "--json",
        ];
        let arguments = Arguments::try_parse_from(line).unwrap();
        assert!(arguments.json);
        assert_eq!(
            request(arguments.command),
            AdminRequest::LunCreate {
                name: "data".to_owned(),
                size_bytes: 64 << 30,
                hosts: vec!["a".to_owned()],
            }
        );
    }
}
