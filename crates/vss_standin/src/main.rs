// SPDX-License-Identifier: MIT OR Apache-2.0
//! `vss_standin`: the rig's side of the COM border.

#[cfg(windows)]
mod com;

#[cfg(windows)]
fn main() -> std::process::ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match arguments[..] {
        ["agent", rig] => com::agent::run(rig),
        ["register"] => com::registration::register(),
        ["-Embedding"] => com::server::run(false),
        [com::server::MORTAL, "-Embedding"] => com::server::run(true),
        _ => Err("usage: vss_standin agent HOST:PORT | register | -Embedding".to_owned()),
    };
    match outcome {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(text) => {
            eprintln!("vss_standin: {text}");
            std::process::ExitCode::FAILURE
        }
    }
}

#[cfg(not(windows))]
fn main() -> std::process::ExitCode {
    eprintln!("vss_standin runs on Windows or under Wine, started by the rig");
    std::process::ExitCode::from(2)
}
