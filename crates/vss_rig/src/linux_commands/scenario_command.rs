// SPDX-License-Identifier: MIT OR Apache-2.0
//! `shadowlun-rig scenarios`: every array with every kind of host, in one report.

use anyhow::{Context as _, bail, ensure};
use clap::ValueEnum;
use std::path::{Path, PathBuf};
use vss_rig::array::{Binaries, HostKind, RealArray, Simulated};
use vss_rig::interrupt::Interrupt;
use vss_rig::report::{self, Suite};
use vss_rig::scenarios::{self, Outcome, Scenario};
use vss_rig::wine::WindowsParts;

#[derive(clap::Args)]
pub(crate) struct ScenarioArguments {
    /// Which array; may be given several times. Default: all.
    #[arg(long, value_enum)]
    array: Vec<ArrayArgument>,
    /// Where the provider runs; may be given several times. Default: wherever the array can be reached from.
    #[arg(long, value_enum)]
    host: Vec<HostArgument>,
    /// Form of the report.
    #[arg(long, value_enum, default_value_t = ReportForm::Text)]
    report: ReportForm,
    /// Where the report goes. Default: standard output.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Only this scenario; may be given several times.
    #[arg(long, value_name = "ID")]
    only: Vec<String>,
    /// Folder of shadowlund and shadowlun. Default: beside this program.
    #[arg(long, value_name = "DIR")]
    bin_dir: Option<PathBuf>,
    /// Folder of the Windows programs. Default: `windows` beside this program or its folder.
    #[arg(long, value_name = "DIR")]
    windows_dir: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ArrayArgument {
    /// An array in RAM.
    Sim,
    /// shadowlund, over HTTPS and iSCSI.
    Real,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum HostArgument {
    /// The provider's core in this process.
    InProcess,
    /// shadowlun-provider.exe behind COM, under Wine.
    Com,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ReportForm {
    Text,
    Junit,
}

/// What there is to try. The array in RAM lives in this process, where no Windows program reaches it.
const COMBINATIONS: [(ArrayArgument, HostArgument); 3] = [
    (ArrayArgument::Sim, HostArgument::InProcess),
    (ArrayArgument::Real, HostArgument::InProcess),
    (ArrayArgument::Real, HostArgument::Com),
];

/// Runs them; whether all held.
pub(crate) fn run(arguments: &ScenarioArguments) -> anyhow::Result<bool> {
    let combinations = wanted(arguments)?;
    let interrupt = Interrupt::on_signals()?;
    // A report on standard output is not mixed with progress.
    let live = arguments.report == ReportForm::Text && arguments.out.is_none();
    let progress = |text: String| match live {
        true => println!("{text}"),
        false => eprintln!("{text}"),
    };
    let mut suites = Vec::new();
    for (array, host) in combinations {
        let suite = run_suite(arguments, array, host, &interrupt, |outcome| {
            progress(report::text_line(outcome));
        });
        progress(report::text_summary(&suite));
        let is_whole = suite.error.is_none();
        suites.push(suite);
        if !is_whole {
            break;
        }
    }
    let document = match arguments.report {
        ReportForm::Junit => Some(report::junit(&suites)),
        ReportForm::Text if live => None,
        ReportForm::Text => Some(report::text(&suites)),
    };
    match (document, &arguments.out) {
        (Some(document), Some(file)) => std::fs::write(file, document)
            .with_context(|| format!("cannot write the report {}", file.display()))?,
        (Some(document), None) => print!("{document}"),
        (None, _) => {}
    }
    if let Some(error) = suites.iter().find_map(|suite| suite.error.clone()) {
        bail!("{error}");
    }
    Ok(suites.iter().all(Suite::passed))
}

fn wanted(arguments: &ScenarioArguments) -> anyhow::Result<Vec<(ArrayArgument, HostArgument)>> {
    let named = |table: &[Scenario], id: &String| {
        table
            .iter()
            .any(|scenario| scenario.id.eq_ignore_ascii_case(id))
    };
    let (everywhere, on_windows) = (scenarios::table(), scenarios::windows_table());
    for id in &arguments.only {
        ensure!(
            named(&everywhere, id) || named(&on_windows, id),
            "there is no scenario {id}"
        );
    }
    let has_rows = |host: HostArgument| {
        host == HostArgument::Com
            || arguments.only.is_empty()
            || arguments.only.iter().any(|id| named(&everywhere, id))
    };
    let combinations: Vec<_> = COMBINATIONS
        .into_iter()
        .filter(|(array, host)| {
            (arguments.array.is_empty() || arguments.array.contains(array))
                && (arguments.host.is_empty() || arguments.host.contains(host))
                && has_rows(*host)
        })
        .collect();
    ensure!(
        !combinations.is_empty(),
        "nothing to run: the array in RAM has no Windows hosts, and some scenarios need `--array real --host com`"
    );
    Ok(combinations)
}

/// What was tried is in the suite, also when it had to be broken off.
fn run_suite(
    arguments: &ScenarioArguments,
    array: ArrayArgument,
    host: HostArgument,
    interrupt: &Interrupt,
    progress: impl Fn(&Outcome),
) -> Suite {
    let mut outcomes = Vec::new();
    let result = try_suite(arguments, array, host, interrupt, |outcome| {
        progress(outcome);
        outcomes.push(outcome.clone());
    });
    Suite {
        array: match array {
            ArrayArgument::Sim => "simulated",
            ArrayArgument::Real => "real",
        },
        host: match host {
            HostArgument::InProcess => "in-process",
            HostArgument::Com => "com",
        },
        outcomes,
        not_run: Vec::new(),
        error: result.err().map(|error| format!("{error:#}")),
    }
}

fn try_suite(
    arguments: &ScenarioArguments,
    array: ArrayArgument,
    host: HostArgument,
    interrupt: &Interrupt,
    progress: impl FnMut(&Outcome),
) -> anyhow::Result<()> {
    let only = &arguments.only;
    if array == ArrayArgument::Sim {
        scenarios::run_all(&Simulated::new()?, only, interrupt, progress)?;
        return Ok(());
    }
    let kind = match host {
        HostArgument::InProcess => HostKind::InProcess,
        HostArgument::Com => {
            let folder: Option<&Path> = arguments.windows_dir.as_deref();
            HostKind::Com(WindowsParts::find(folder)?)
        }
    };
    let binaries = Binaries::find(arguments.bin_dir.as_deref())?;
    let array = RealArray::start(&binaries, &kind, interrupt)?;
    scenarios::run_all(&array, only, interrupt, progress)?;
    array.end().context("ending the Windows hosts")
}
