// SPDX-License-Identifier: MIT OR Apache-2.0
//! For a storage vendor: a provider of one's own is a [`Vendor`], an implementation of [`Array`], and a `main` that calls
//! [`run`] (`docs/sdk.md`). This project's own executable is made in the same way.

use crate::ids::{Names, SHADOWLUN};
use array_api::{Array, ArrayError, LunIdentity};
use std::path::Path;
use std::process::ExitCode;
use std::sync::{Arc, OnceLock};
use vss_provider::identity::LunOf;

/// What makes a provider one vendor's.
pub struct Vendor {
    /// Its names; none may be another provider's (REG-14).
    pub names: Names,
    /// How a LUN of the vendor's arrays is known by its page 83h.
    pub lun_of: LunOf,
    /// How a host comes to its array.
    pub arrays: Arrays,
}

/// How a host comes to its array.
#[derive(Clone, Copy)]
pub enum Arrays {
    /// Arrays that speak this project's management API; `enroll` makes them known to the host.
    Enrolled,
    /// Arrays of the vendor's own. `enroll` and `unenroll` refuse.
    Own {
        /// Gives the array of this host, from what the vendor keeps in the provider's data folder, which is the argument. Called
        /// for each provider that VSS loads, so it must not connect (LOAD-11); an error is told with each call of VSS that needs
        /// the array.
        open: OpenArray,
        /// How an administrator makes the array known, one sentence without a full stop.
        how: &'static str,
    },
}

/// See [`Arrays::Own`].
pub type OpenArray = fn(&Path) -> Result<Arc<dyn Array>, ArrayError>;

/// This project's own provider.
pub static OURS: Vendor = Vendor {
    names: SHADOWLUN,
    lun_of: LunIdentity::lun_id,
    arrays: Arrays::Enrolled,
};

static VENDOR: OnceLock<&'static Vendor> = OnceLock::new();

/// Whose provider this process is.
pub fn vendor() -> &'static Vendor {
    VENDOR.get().copied().unwrap_or(&OURS)
}

/// The whole program: what COM and the service control manager start, and the administrator's commands.
#[cfg(windows)]
pub fn run(own: &'static Vendor) -> ExitCode {
    use crate::com::server;
    use crate::commands::{self, Host};
    use crate::{ids, service, sys};

    VENDOR.get_or_init(|| own);
    ids::use_names(&own.names);
    if std::env::args_os()
        .nth(1)
        .is_some_and(|argument| server::is_embedding(&argument))
    {
        return match server::run_embedded() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("{error}");
                ExitCode::FAILURE
            }
        };
    }
    let host = Host {
        system: &sys::Windows,
        folder: &sys::SystemFolder::new(),
        secrets: &sys::Dpapi,
        machine: &sys::ThisMachine,
        log: &sys::ApplicationLog,
        serve: || service::run().map_err(|error| error.to_string()),
        arrays: own.arrays,
    };
    match commands::parse(std::env::args_os()) {
        Ok(arguments) => commands::run(&host, arguments),
        Err(code) => code,
    }
}

/// On other systems there is nothing to serve.
#[cfg(not(windows))]
pub fn run(own: &'static Vendor) -> ExitCode {
    VENDOR.get_or_init(|| own);
    crate::ids::use_names(&own.names);
    eprintln!(
        "{} runs on Windows Server only; build it for the target x86_64-pc-windows-gnu or -msvc and copy it there",
        own.names.command
    );
    ExitCode::from(2)
}
