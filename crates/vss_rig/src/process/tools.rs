// SPDX-License-Identifier: MIT OR Apache-2.0
use super::last_lines;
use crate::interrupt::Interrupt;
use anyhow::{Context as _, bail};
use std::ffi::OsStr;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// Runs `program` to its end and gives its standard output. The child is ended when `limit` is over or a signal came.
pub(crate) fn run<I, S>(
    interrupt: &Interrupt,
    limit: Duration,
    program: &Path,
    arguments: I,
) -> anyhow::Result<String>
where
    I: IntoIterator<Item = S>,
    S: AsRef<OsStr>,
{
    let mut command = Command::new(program);
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    let mut child = command
        .spawn()
        .with_context(|| format!("cannot start {}", program.display()))?;
    let output = reader(child.stdout.take());
    let errors = reader(child.stderr.take());
    let ended = interrupt.wait_until(limit, || !matches!(child.try_wait(), Ok(None)));
    if !matches!(ended, Ok(true)) {
        let _ = child.kill();
    }
    let status = child.wait()?;
    let (output, errors) = (join(output), join(errors));
    if !ended? {
        bail!("{command:?} did not end within {} s", limit.as_secs());
    }
    if !status.success() {
        bail!(
            "{command:?} ended with {status}: {}",
            last_lines(&format!("{output}{errors}"))
        );
    }
    Ok(output)
}

type Reader = Option<std::thread::JoinHandle<String>>;

fn reader(pipe: Option<impl std::io::Read + Send + 'static>) -> Reader {
    pipe.map(|mut pipe| {
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            let _ = pipe.by_ref().read_to_end(&mut bytes);
            String::from_utf8_lossy(&bytes).into_owned()
        })
    })
}

fn join(reader: Reader) -> String {
    reader
        .and_then(|thread| thread.join().ok())
        .unwrap_or_default()
}

/// Finds `name` in the folders of PATH and the two where Debian keeps system tools, which a user's PATH leaves out.
pub(crate) fn find_tool(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn run_failing_command_reports_its_words() {
        let error = run(
            &Interrupt::default(),
            Duration::from_secs(10),
            Path::new("/bin/sh"),
            ["-c", "echo broken valve >&2; exit 3"],
        )
        .unwrap_err();

        assert!(error.to_string().contains("broken valve"), "{error}");
    }

    #[test]
    fn run_command_over_its_limit_is_ended() {
        let error = run(
            &Interrupt::default(),
            Duration::from_millis(20),
            Path::new("/bin/sleep"),
            ["100"],
        )
        .unwrap_err();

        assert!(error.to_string().contains("did not end"), "{error}");
    }
}
