// SPDX-License-Identifier: MIT OR Apache-2.0
//! `wrong-provider.exe`: a VSS provider with one classic defect, so that it can be seen whether the rig catches it (`docs/rig.md`).
//!
//! It is a COM server of its own before the worked example's: each object passes its calls on to a good provider, through COM, and
//! breaks one rule on the way. So no product has a hook for it, and without a defect it is right, which shows that the
//! defect alone makes a case fail.
//!
//! **Is not** installed with VSS: the rig activates it by its class. **I/O model.** COM's threads, in the multithreaded apartment.
//! **Error model.** A panic ends the process, which the rig tells; commands end with 1 and say why.

#[cfg(windows)]
mod defect;
#[cfg(windows)]
mod good;
#[cfg(windows)]
mod install;
#[cfg(windows)]
mod object;
#[cfg(windows)]
mod server;

#[cfg(windows)]
fn main() -> std::process::ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match arguments[..] {
        ["install"] => install::install(None),
        ["install", defect_file] => install::install(Some(defect_file)),
        ["uninstall"] => install::uninstall(),
        ["-Embedding"] => server::run(None),
        [defect_file, "-Embedding"] => server::run(Some(defect_file.into())),
        _ => Err("usage: wrong-provider install [FILE WITH THE DEFECT] | uninstall".to_owned()),
    };
    match outcome {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(text) => {
            eprintln!("wrong-provider: {text}");
            std::process::ExitCode::FAILURE
        }
    }
}

#[cfg(not(windows))]
fn main() -> std::process::ExitCode {
    eprintln!("wrong-provider runs on Windows or under Wine, started by the rig");
    std::process::ExitCode::from(2)
}
