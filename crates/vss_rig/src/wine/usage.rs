// SPDX-License-Identifier: MIT OR Apache-2.0
use anyhow::Context as _;

/// What a process has in use, as Linux sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcessUse {
    /// Threads.
    pub threads: u64,
    /// File descriptors. Of what Wine's server holds for it, [`super::WineHost::provider_use`] adds those with a descriptor (files,
    /// pipes, sockets); events and registry keys are not seen.
    pub handles: u64,
    /// Resident memory in KiB.
    pub memory_kib: u64,
}

impl ProcessUse {
    pub(super) fn of(pid: u32) -> anyhow::Result<Self> {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))
            .with_context(|| format!("process {pid} is gone"))?;
        let number = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|rest| rest.trim_start_matches(':').split_whitespace().next())
                .and_then(|word| word.parse().ok())
                .with_context(|| format!("no {name} in the status of process {pid}"))
        };
        Ok(Self {
            threads: number("Threads")?,
            handles: std::fs::read_dir(format!("/proc/{pid}/fd"))?.count() as u64,
            memory_kib: number("VmRSS")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn process_use_of_this_process_is_plausible() {
        let used = ProcessUse::of(std::process::id()).unwrap();

        assert!(used.threads >= 1 && used.handles >= 3 && used.memory_kib > 100);
    }

    #[test]
    fn process_use_of_no_process_is_an_error() {
        assert!(ProcessUse::of(u32::MAX).is_err());
    }
}
