// SPDX-License-Identifier: MIT OR Apache-2.0
use super::load::{WRITE_BYTES, WRITERS, WRITES_PER_SECOND};
use crate::host::CallRecord;
use crate::wine;
use anyhow::Context as _;
use comfy_table::{Table, presets};
use serde::Serialize;
use std::time::Duration;

/// The methods in VSS's order.
const METHODS: [&str; 13] = [
    "AreLunsSupported",
    "BeginPrepareSnapshot",
    "EndPrepareSnapshots",
    "PreCommitSnapshots",
    "CommitSnapshots",
    "PostCommitSnapshots",
    "GetTargetLuns",
    "LocateLuns",
    "FillInLunInfo",
    "PreFinalCommitSnapshots",
    "PostFinalCommitSnapshots",
    "OnLunEmpty",
    "AbortSnapshots",
];

/// Everything that was measured, and where.
#[derive(Clone, Debug, Serialize)]
pub struct Figures {
    /// Processor, number of processors, memory.
    pub machine: String,
    /// Shadowlun, its build profile, Linux, Wine.
    pub versions: String,
    /// Sets of each size.
    pub sets: usize,
    /// What wrote to the LUNs meanwhile.
    pub writers: String,
    /// One entry for each place of the provider and size of a set.
    pub results: Vec<SetFigures>,
}

/// Sets of one size, made by a provider in one place.
#[derive(Clone, Debug, Serialize)]
pub struct SetFigures {
    /// Where the provider ran.
    pub place: &'static str,
    /// LUNs of each set.
    pub luns: usize,
    /// Sets that failed; their calls are in the figures all the same.
    pub failed_sets: usize,
    /// Writes acknowledged in a second, all writers together.
    pub writes_per_second: f64,
    /// The machine's load average when the measuring began: what else it had to do.
    pub load_average: String,
    /// Each method that was called; then what the array says of its part of the commits.
    pub methods: Vec<MethodFigures>,
}

/// One row, in microseconds.
#[derive(Clone, Debug, Serialize)]
pub struct MethodFigures {
    /// The method.
    pub name: &'static str,
    /// How many times were taken.
    pub calls: usize,
    /// Half of them were not longer.
    pub p50_us: u64,
    /// 99 of 100 were not longer.
    pub p99_us: u64,
    /// The longest.
    pub max_us: u64,
}

/// What the event of a set tells of its commit, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Captured {
    held_us: u64,
    array_us: u64,
}

impl Captured {
    /// From the text of the event; `None` for another event.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let after = |words: &str| {
            let (_, rest) = text.split_once(words)?;
            rest.split(' ').next()?.parse().ok()
        };
        Some(Self {
            held_us: after("writes were held for ")?,
            array_us: after("the array worked for ")?,
        })
    }
}

impl MethodFigures {
    fn new(name: &'static str, mut times_us: Vec<u64>) -> Option<Self> {
        times_us.sort_unstable();
        let at = |percent: usize| {
            let rank = (times_us.len() * percent).div_ceil(100);
            times_us.get(rank.saturating_sub(1)).copied()
        };
        Some(Self {
            name,
            calls: times_us.len(),
            p50_us: at(50)?,
            p99_us: at(99)?,
            max_us: at(100)?,
        })
    }
}

impl SetFigures {
    /// The calls' times; what else there is to know is the caller's to fill in.
    pub(super) fn new(
        place: &'static str,
        luns: usize,
        calls: &[CallRecord],
        captured: &[Captured],
    ) -> Self {
        let times = |method: &str| {
            let calls = calls.iter().filter(|call| call.method == method);
            calls.map(|call| micros(call.elapsed)).collect()
        };
        let mut methods: Vec<_> = METHODS
            .into_iter()
            .filter_map(|method| MethodFigures::new(method, times(method)))
            .collect();
        let array = captured.iter().map(|c| c.array_us).collect();
        let held = captured.iter().map(|c| c.held_us).collect();
        methods.extend(MethodFigures::new("of Commit: in the array", array));
        methods.extend(MethodFigures::new("of that: writes held", held));
        Self {
            place,
            luns,
            failed_sets: 0,
            writes_per_second: 0.0,
            load_average: String::new(),
            methods,
        }
    }

    /// For people: Markdown, milliseconds.
    pub fn text(&self) -> String {
        let mut table = Table::new();
        table.load_style(presets::ASCII_MARKDOWN);
        table.set_header(["ms", "calls", "p50", "p99", "max"]);
        for method in &self.methods {
            let ms = |us: u64| format!("{:.2}", us as f64 / 1e3);
            table.add_row([
                method.name.to_owned(),
                method.calls.to_string(),
                ms(method.p50_us),
                ms(method.p99_us),
                ms(method.max_us),
            ]);
        }
        format!(
            "\n### {}, {} LUNs\n\n{:.0} writes a second meanwhile, {} sets failed, load average before: {}\n\n{table}\n",
            self.place, self.luns, self.writes_per_second, self.failed_sets, self.load_average
        )
    }
}

/// As the kernel says it.
pub(super) fn load_average() -> anyhow::Result<String> {
    let text = read("/proc/loadavg")?;
    let averages: Vec<&str> = text.split_whitespace().take(3).collect();
    Ok(averages.join(" "))
}

fn read(path: &str) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| path.to_owned())
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

impl Figures {
    /// No results yet.
    pub(super) fn of_this_machine(sets: usize) -> anyhow::Result<Self> {
        let value = |text: String, name: &str| {
            let line = text.lines().find(|line| line.starts_with(name));
            let value = line.and_then(|line| line.split_once(':'));
            value.map_or("unknown".to_owned(), |(_, value)| value.trim().to_owned())
        };
        let profile = match cfg!(debug_assertions) {
            true => "dev build",
            false => "release build",
        };
        Ok(Self {
            machine: format!(
                "{} x {}, {} of memory",
                std::thread::available_parallelism()?,
                value(read("/proc/cpuinfo")?, "model name"),
                value(read("/proc/meminfo")?, "MemTotal"),
            ),
            versions: format!(
                "Shadowlun {} ({profile}), Linux {}, {}",
                env!("CARGO_PKG_VERSION"),
                read("/proc/sys/kernel/osrelease")?.trim(),
                wine::version().unwrap_or("no Wine".to_owned()),
            ),
            sets,
            writers: format!(
                "{WRITERS} writers, each one write of {WRITE_BYTES} bytes at a time, at most {WRITES_PER_SECOND} a second"
            ),
            results: Vec::new(),
        })
    }

    /// What the results below it have in common, for people.
    pub fn heading(&self) -> String {
        format!(
            "- Machine: {}\n- Versions: {}\n- Sets of each size: {}\n- Load on the LUNs: {}\n",
            self.machine, self.versions, self.sets, self.writers
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_sorted_times() {
        let times: Vec<u64> = (1..=200).rev().collect();
        let figures = MethodFigures::new("x", times).unwrap();
        assert_eq!(
            (figures.p50_us, figures.p99_us, figures.max_us),
            (100, 198, 200)
        );
        assert!(MethodFigures::new("x", Vec::new()).is_none());
    }

    #[test]
    fn captured_is_read_from_the_events_own_text() {
        let text = "8 LUNs were captured in 3 ms; writes were held for 12 us, the array worked for 345 us; 0 requests";
        let captured = Captured {
            held_us: 12,
            array_us: 345,
        };
        assert_eq!(Captured::parse(text), Some(captured));
        assert_eq!(Captured::parse("VSS gave a shadow copy set up."), None);
    }
}
