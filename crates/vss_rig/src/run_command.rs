// SPDX-License-Identifier: MIT OR Apache-2.0
//! `shadowlun-rig run`: the specification's cases against any provider that an adapter file describes.

use anyhow::{Context as _, ensure};
use std::path::{Path, PathBuf};
use uuid::Uuid;
use vss_rig::array::{Adapter, AdapterArray};
use vss_rig::interrupt::Interrupt;
use vss_rig::report::{self, NotRun, Suite};
use vss_rig::scenarios::{self, Scenario};
use vss_rig::wine::WindowsParts;

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
    /// Write a page for people: each case with its verdict, and the calls and events of what failed.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Print the report as JSON; progress goes to standard error.
    #[arg(long)]
    json: bool,
    /// Folder of the rig's Windows programs. Default: `windows` beside the folder of this program.
    #[arg(long, value_name = "DIR")]
    windows_dir: Option<PathBuf>,
}

/// Runs them; whether all held.
pub(crate) fn run(arguments: &RunArguments) -> anyhow::Result<bool> {
    let scenarios = wanted(&arguments.cases)?;
    let (Some(class), Some(adapter), false) = (arguments.clsid, &arguments.adapter, arguments.list)
    else {
        print!("{}", report::list(&scenarios));
        return Ok(true);
    };
    let interrupt = Interrupt::on_signals()?;
    let adapter = Adapter::read(adapter)?;
    let parts = WindowsParts::find_without_provider(arguments.windows_dir.as_deref())?;
    let say = |line: String| match arguments.json {
        true => eprintln!("{line}"),
        false => println!("{line}"),
    };
    let mut suite = Suite {
        array: "adapter",
        host: "com",
        outcomes: Vec::new(),
        not_run: Vec::new(),
        error: None,
    };
    let tried = AdapterArray::start(&adapter, class, &parts, &interrupt)
        .and_then(|array| judge(array, &scenarios, &interrupt, &mut suite, &say));
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
        anyhow::bail!("{error}");
    }
    Ok(suite.passed())
}

fn wanted(cases: &[String]) -> anyhow::Result<Vec<Scenario>> {
    let is = |scenario: &Scenario, id: &String| scenario.id.eq_ignore_ascii_case(id);
    let table = scenarios::table();
    for id in cases {
        let known = table.iter().any(|scenario| is(scenario, id));
        ensure!(
            known,
            "there is no case {id}; `shadowlun-rig run --list` shows all"
        );
    }
    let named = |scenario: &Scenario| cases.is_empty() || cases.iter().any(|id| is(scenario, id));
    Ok(table.into_iter().filter(named).collect())
}

fn judge(
    array: AdapterArray,
    scenarios: &[Scenario],
    interrupt: &Interrupt,
    suite: &mut Suite,
    say: &dyn Fn(String),
) -> anyhow::Result<()> {
    for scenario in scenarios {
        interrupt.check()?;
        let outcome = scenarios::run_one(&array, scenario)?;
        match array.take_cannot() {
            Some(why) => {
                say(format!(
                    "----  {:<6} not run: the adapter cannot {why}",
                    scenario.id
                ));
                suite.not_run.push(NotRun {
                    id: scenario.id,
                    title: scenario.title,
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
