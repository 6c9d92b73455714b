// SPDX-License-Identifier: MIT OR Apache-2.0
//! `vss_rig`: the demo and the scenarios from the command line.

use anyhow::Context as _;
use clap::{Parser, Subcommand, ValueEnum};
use std::path::PathBuf;
use std::process::ExitCode;
use vss_rig::array::{ArrayUnderTest, Binaries, RealArray, Simulated};
use vss_rig::demo::{self, Options, Sabotage};
use vss_rig::interrupt::Interrupt;
use vss_rig::wine::WindowsParts;
use vss_rig::{report, scenarios};

const EXAMPLES: &str = "Examples:
  vss_rig demo                                     make and verify one real shadow copy set, through COM under Wine
  vss_rig demo --in-process                        the same with the provider's portable core, without COM and Wine
  vss_rig demo --keep                              leave array and NTFS running to look at; Wine has ended
  vss_rig demo --sabotage=flip                     must end with FAILED and exit code 1
  vss_rig scenarios --array sim                    the specification's test cases against an array in RAM
  vss_rig scenarios --array real --only T-063      one of them against shadowlund
  vss_rig scenarios --array real --report junit --out rig.xml

Exit codes: 0 everything held, 1 something did not, 2 it could not be tried.";

/// Plays the VSS service and judges a hardware provider.
#[derive(Parser)]
#[command(version, after_help = EXAMPLES)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Makes one real shadow copy set of two LUNs on this machine, verifies it and removes everything.
    ///
    /// shadowlun-provider.exe is installed on a Windows host of its own under Wine, called through COM as the VSS service
    /// would, and uninstalled. Array, iSCSI, NTFS and the checks are on the Linux side.
    Demo {
        /// Load the provider's portable core into this process, without COM and without Wine.
        #[arg(long)]
        in_process: bool,
        /// Leave the array, an NTFS and a shadow copy set running, and say how to look and how to stop. The provider is
        /// uninstalled and Wine ended all the same.
        #[arg(long)]
        keep: bool,
        /// Spoil one thing, to see that the checks catch it.
        #[arg(long, value_enum)]
        sabotage: Option<Sabotage>,
        /// Print the result as JSON; progress goes to standard error.
        #[arg(long)]
        json: bool,
        /// Folder of shadowlund and shadowlun. Default: beside this program.
        #[arg(long, value_name = "DIR")]
        bin_dir: Option<PathBuf>,
        /// Folder of the Windows programs. Default: `windows` beside the folder of this program.
        #[arg(long, value_name = "DIR")]
        windows_dir: Option<PathBuf>,
    },
    /// Runs the scenarios of the specification against an array.
    Scenarios {
        /// Which array.
        #[arg(long, value_enum)]
        array: ArrayKind,
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
    },
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ArrayKind {
    /// An array in RAM.
    Sim,
    /// shadowlund, over HTTPS and iSCSI.
    Real,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ReportForm {
    Text,
    Junit,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let result = match arguments.command {
        Command::Demo {
            in_process,
            keep,
            sabotage,
            json,
            bin_dir,
            windows_dir,
        } => demo_options(in_process, keep, sabotage, windows_dir)
            .and_then(|options| run_demo(&options, json, bin_dir)),
        Command::Scenarios {
            array,
            report,
            out,
            only,
            bin_dir,
        } => run_scenarios(array, report, out, &only, bin_dir),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("vss_rig: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn demo_options(
    in_process: bool,
    keep: bool,
    sabotage: Option<Sabotage>,
    windows_dir: Option<PathBuf>,
) -> anyhow::Result<Options> {
    anyhow::ensure!(
        !(in_process && sabotage == Some(Sabotage::Registry)),
        "--sabotage=registry is about what uninstall leaves; with --in-process nothing is installed"
    );
    let windows = match in_process {
        true => None,
        false => Some(WindowsParts::find(windows_dir.as_deref())?),
    };
    Ok(Options {
        windows,
        keep,
        sabotage,
    })
}

fn run_demo(options: &Options, json: bool, bin_dir: Option<PathBuf>) -> anyhow::Result<bool> {
    let interrupt = Interrupt::on_signals()?;
    let binaries = Binaries::find(bin_dir.as_deref())?;
    let say = |line: &str| match json {
        true => eprintln!("{line}"),
        false => println!("{line}"),
    };
    let report = demo::run(options, &binaries, &interrupt, &say)?;
    match json {
        true => println!("{:#}", report.json()),
        false => println!("\n{}", report.text()),
    }
    if let Some(sabotage) = options.sabotage
        && !report.passed()
        && !report.caught(sabotage.caught_by())
    {
        anyhow::bail!(
            "it failed, but not in the check that has to catch this sabotage: {}",
            sabotage.caught_by()
        );
    }
    Ok(report.passed())
}

fn run_scenarios(
    array: ArrayKind,
    form: ReportForm,
    out: Option<PathBuf>,
    only: &[String],
    bin_dir: Option<PathBuf>,
) -> anyhow::Result<bool> {
    let known = scenarios::table();
    for id in only {
        let found = known.iter().any(|s| s.id.eq_ignore_ascii_case(id));
        anyhow::ensure!(found, "there is no scenario {id}");
    }
    let interrupt = Interrupt::on_signals()?;
    let array: Box<dyn ArrayUnderTest> = match array {
        ArrayKind::Sim => Box::new(Simulated::new()?),
        ArrayKind::Real => Box::new(RealArray::start(
            &Binaries::find(bin_dir.as_deref())?,
            &interrupt,
        )?),
    };
    // A report on standard output is not mixed with progress.
    let live = form == ReportForm::Text && out.is_none();
    let outcomes = scenarios::run_all(&*array, only, &interrupt, |outcome| match live {
        true => println!("{}", report::text_line(outcome)),
        false => eprintln!("{}", report::text_line(outcome)),
    })?;
    let summary = report::text_summary(array.name(), &outcomes);
    let document = match form {
        ReportForm::Junit => report::junit(array.name(), &outcomes),
        ReportForm::Text if live => format!("{summary}\n"),
        ReportForm::Text => {
            let lines: Vec<_> = outcomes.iter().map(report::text_line).collect();
            format!("{}\n{summary}\n", lines.join("\n"))
        }
    };
    match out {
        Some(file) => std::fs::write(&file, document)
            .with_context(|| format!("cannot write the report {}", file.display()))?,
        None => print!("{document}"),
    }
    Ok(outcomes.iter().all(|outcome| outcome.failure.is_none()))
}
