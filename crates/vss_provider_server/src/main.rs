// SPDX-License-Identifier: MIT OR Apache-2.0
//! `shadowlun-provider.exe`: what COM and the service control manager start, and the administrator's command.

use std::process::ExitCode;

#[cfg(windows)]
fn main() -> ExitCode {
    use clap::Parser as _;
    use vss_provider_server::com::server;
    use vss_provider_server::commands::{self, Arguments, Host};
    use vss_provider_server::{service, sys};

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
        serve: || service::run().map_err(|error| error.to_string()),
    };
    commands::run(&host, Arguments::parse())
}

#[cfg(not(windows))]
fn main() -> ExitCode {
    eprintln!(
        "shadowlun-provider runs on Windows Server only; build it with 'cargo xtask package' and copy it there"
    );
    ExitCode::from(2)
}
