// SPDX-License-Identifier: MIT OR Apache-2.0
//! `shadowlun-rig run`: the specification's cases against any provider that an adapter file describes.

use anyhow::{Context as _, bail, ensure};
use std::path::{Path, PathBuf};
use uuid::Uuid;
use vss_rig::array::{Adapter, AdapterArray};
use vss_rig::cases;
use vss_rig::interrupt::Interrupt;
use vss_rig::report::{self, NotRun, Suite};
use vss_rig::scenarios::{self, Scenario};
#[cfg(windows)]
use vss_rig::this_machine::WindowsParts;
#[cfg(target_os = "linux")]
use vss_rig::wine::WindowsParts;

pub(crate) const EXAMPLES: &str = "Examples:
  shadowlun-rig run --list
  shadowlun-rig run --clsid {8d0b2a53-94b6-4a2c-8f0e-61c5a3d97e14} --adapter anvil.toml
  shadowlun-rig run --clsid {8d0b2a53-94b6-4a2c-8f0e-61c5a3d97e14} --adapter anvil.toml --case T-063 --case T-141
  shadowlun-rig run --clsid {8d0b2a53-94b6-4a2c-8f0e-61c5a3d97e14} --adapter anvil.toml --junit rig.xml --html rig.html

docs/rig.md explains the adapter file. On Windows the rig installs the provider on this very machine and works its array: take one that
holds nothing else, and run as an administrator.

Exit codes: 0 every case that ran held, 1 one did not, 2 the cases could not be tried or none of them can be here.";

#[derive(clap::Args)]
pub(crate) struct RunArguments {
    /// The provider's COM class.
    #[arg(long, required_unless_present = "list")]
    clsid: Option<Uuid>,
    /// How the provider is installed and how its array is worked: docs/rig.md.
    #[arg(long, value_name = "FILE", required_unless_present = "list")]
    adapter: Option<PathBuf>,
    /// Print the cases with the requirements that each shows, and run nothing.
    #[arg(long)]
    list: bool,
    /// Only this case; may be given several times.
    #[arg(long = "case", value_name = "ID")]
    cases: Vec<String>,
    /// Write a report for CI systems.
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Write a page for people: each case with its verdict, its calls and its events.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Print the report as JSON; progress goes to standard error.
    #[arg(long)]
    json: bool,
    /// Folder of the rig's Windows programs. Default: on Linux `windows` beside this program or its folder, on Windows the folder of this
    /// program.
    #[arg(long, value_name = "DIR")]
    windows_dir: Option<PathBuf>,
}

/// Runs them; whether all held.
pub(crate) fn run(arguments: &RunArguments) -> anyhow::Result<bool> {
    let (scenarios, left_out) = wanted(&arguments.cases)?;
    let (Some(class), Some(adapter), false) = (arguments.clsid, &arguments.adapter, arguments.list)
    else {
        print!("{}", report::list(&scenarios, &left_out));
        return Ok(true);
    };
    let adapter = Adapter::read(adapter)?;
    let say = |line: String| match arguments.json {
        true => eprintln!("{line}"),
        false => println!("{line}"),
    };
    let mut suite = Suite {
        array: "adapter",
        host: "com",
        outcomes: Vec::new(),
        not_run: left_out,
        error: None,
    };
    let tried = try_all(arguments, &adapter, class, &scenarios, &mut suite, &say);
    suite.error = tried.err().map(|error| format!("{error:#}"));
    say(report::text_summary(&suite));
    write(arguments.junit.as_deref(), || {
        report::junit(std::slice::from_ref(&suite))
    })?;
    write(arguments.html.as_deref(), || report::html(&suite))?;
    if arguments.json {
        println!("{:#}", report::json(&suite));
    }
    if let Some(error) = &suite.error {
        bail!("{error}");
    }
    ensure!(
        !suite.outcomes.is_empty(),
        "none of these cases can be run here; the report says why"
    );
    Ok(suite.passed())
}

fn wanted(cases: &[String]) -> anyhow::Result<(Vec<Scenario>, Vec<NotRun>)> {
    let (mut scenarios, mut left_out) = (scenarios::table(), cases::left_out());
    let is = |known: &str, id: &String| known.eq_ignore_ascii_case(id);
    for id in cases {
        ensure!(
            scenarios.iter().any(|case| is(case.id, id))
                || left_out.iter().any(|case| is(case.id, id)),
            "there is no case {id}; `shadowlun-rig run --list` shows all"
        );
    }
    let is_named = |known: &str| cases.is_empty() || cases.iter().any(|id| is(known, id));
    scenarios.retain(|case| is_named(case.id));
    left_out.retain(|case| is_named(case.id));
    Ok((scenarios, left_out))
}

/// What was tried is in the suite, also when it had to be broken off.
fn try_all(
    arguments: &RunArguments,
    adapter: &Adapter,
    class: Uuid,
    scenarios: &[Scenario],
    suite: &mut Suite,
    say: &dyn Fn(String),
) -> anyhow::Result<()> {
    if scenarios.is_empty() {
        return Ok(());
    }
    let interrupt = Interrupt::on_signals()?;
    let parts = WindowsParts::find_without_provider(arguments.windows_dir.as_deref())?;
    let array = AdapterArray::start(adapter, class, &parts, &interrupt)?;
    for scenario in scenarios {
        interrupt.check()?;
        let outcome = scenarios::run_one(&array, scenario)?;
        match array.take_cannot() {
            Some(why) => {
                say(format!("----  {:<6} not run: {why}", scenario.id));
                suite.not_run.push(NotRun {
                    id: scenario.id,
                    title: scenario.title.to_owned(),
                    why,
                });
            }
            None => {
                say(report::text_line(&outcome));
                suite.outcomes.push(outcome);
            }
        }
    }
    array.end()
}

fn write(file: Option<&Path>, report: impl FnOnce() -> String) -> anyhow::Result<()> {
    let Some(file) = file else { return Ok(()) };
    std::fs::write(file, report())
        .with_context(|| format!("cannot write the report {}", file.display()))
}
