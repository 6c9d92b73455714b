// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the rig does on Linux beside `run`: the demo, the project's own scenarios, the bench, and Windows programs under Wine.

mod bench_command;
mod scenario_command;

use crate::verdict;
use bench_command::BenchCommand;
use clap::Subcommand;
use scenario_command::ScenarioArguments;
use std::path::PathBuf;
use std::process::ExitCode;
use vss_rig::array::Binaries;
use vss_rig::demo::{self, Options, Sabotage};
use vss_rig::interrupt::Interrupt;
use vss_rig::wine::{self, WindowsParts};

pub(crate) const EXAMPLES: &str = "Examples:
  shadowlun-rig demo                                     make and verify one real shadow copy set, through COM under Wine
  shadowlun-rig demo --in-process                        the same with the provider's portable core, without COM and Wine
  shadowlun-rig demo --keep                              leave array and NTFS running to look at; Wine has ended
  shadowlun-rig demo --sabotage=flip                     must end with FAILED and exit code 1
  shadowlun-rig scenarios                                the specification's test cases, on all arrays, in all hosts
  shadowlun-rig scenarios --array sim                    against an array in RAM
  shadowlun-rig scenarios --host com --only T-063        one of them against shadowlund, through COM under Wine
  shadowlun-rig scenarios --report junit --out rig.xml
  shadowlun-rig bench provider --sets 50                 how long each method takes, in-process and through COM, with writers
  shadowlun-rig run --list                               the cases for any provider, with their requirements
  shadowlun-rig run --clsid {8d0b2a53-94b6-4a2c-8f0e-61c5a3d97e14} --adapter anvil.toml --html rig.html
  shadowlun-rig wine -- some-test.exe --nocapture        run a Windows program on a host of its own

Exit codes: 0 everything held, 1 something did not, 2 it could not be tried; `wine` passes on the program's own.";

#[derive(Subcommand)]
pub(crate) enum LinuxCommand {
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
        /// Folder of the Windows programs. Default: `windows` beside this program or its folder.
        #[arg(long, value_name = "DIR")]
        windows_dir: Option<PathBuf>,
    },
    /// Runs the scenarios of the specification, and reports on them.
    Scenarios(ScenarioArguments),
    /// Measures how long things take.
    #[command(subcommand)]
    Bench(BenchCommand),
    /// Runs a Windows program on a host of its own and passes its output and its exit code on.
    Wine {
        /// Folder of the Windows programs. Default: `windows` beside this program or its folder.
        #[arg(long, value_name = "DIR")]
        windows_dir: Option<PathBuf>,
        /// The program, by a path of Windows or of this system, and its arguments.
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        program: Vec<String>,
    },
}

/// Does it; `Err` when it could not be tried.
pub(crate) fn run(command: LinuxCommand) -> anyhow::Result<ExitCode> {
    match command {
        LinuxCommand::Demo {
            in_process,
            keep,
            sabotage,
            json,
            bin_dir,
            windows_dir,
        } => demo_options(in_process, keep, sabotage, windows_dir)
            .and_then(|options| run_demo(&options, json, bin_dir))
            .map(verdict),
        LinuxCommand::Scenarios(arguments) => scenario_command::run(&arguments).map(verdict),
        LinuxCommand::Bench(command) => bench_command::run(&command).map(|()| ExitCode::SUCCESS),
        LinuxCommand::Wine {
            windows_dir,
            program,
        } => run_windows_program(windows_dir, &program),
    }
}

fn run_windows_program(
    windows_dir: Option<PathBuf>,
    program: &[String],
) -> anyhow::Result<ExitCode> {
    let interrupt = Interrupt::on_signals()?;
    let parts = WindowsParts::find(windows_dir.as_deref())?;
    let output = wine::run_once(&parts, &interrupt, program)?;
    print!("{}", output.text);
    // Linux passes on the low byte of Windows' code; what it would make of another code must not be success.
    Ok(ExitCode::from(u8::try_from(output.code).unwrap_or(u8::MAX)))
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
