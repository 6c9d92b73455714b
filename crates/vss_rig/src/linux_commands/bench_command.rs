// SPDX-License-Identifier: MIT OR Apache-2.0
//! `shadowlun-rig bench`: measures, and prints what it measured.

use clap::{Subcommand, ValueEnum};
use std::path::PathBuf;
use vss_rig::array::Binaries;
use vss_rig::bench::{self, Options};
use vss_rig::interrupt::Interrupt;
use vss_rig::wine::WindowsParts;

#[derive(Subcommand)]
pub(crate) enum BenchCommand {
    /// Each method of the provider, for sets of several sizes, with writers on their LUNs.
    Provider {
        /// Sets of each size.
        #[arg(long, default_value_t = 1000)]
        sets: usize,
        /// LUNs of a set; several sizes with commas between them.
        #[arg(long, value_delimiter = ',', default_values_t = [1, 8, 64])]
        luns: Vec<usize>,
        /// Where the provider runs; may be given several times. Default: in both places.
        #[arg(long, value_enum)]
        host: Vec<Place>,
        /// Print the figures as JSON; progress goes to standard error all the same.
        #[arg(long)]
        json: bool,
        /// Folder of shadowlund and shadowlun. Default: beside this program.
        #[arg(long, value_name = "DIR")]
        bin_dir: Option<PathBuf>,
        /// Folder of the Windows programs. Default: `windows` beside this program or its folder.
        #[arg(long, value_name = "DIR")]
        windows_dir: Option<PathBuf>,
    },
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Place {
    /// The provider's core in this process.
    InProcess,
    /// shadowlun-provider.exe behind COM, under Wine.
    Com,
}

pub(crate) fn run(command: &BenchCommand) -> anyhow::Result<()> {
    let BenchCommand::Provider {
        sets,
        luns,
        host,
        json,
        bin_dir,
        windows_dir,
    } = command;
    anyhow::ensure!(*sets > 0, "--sets has to be at least 1");
    anyhow::ensure!(
        luns.iter().all(|count| (1..=64).contains(count)),
        "a set has 1 to 64 LUNs here"
    );
    let interrupt = Interrupt::on_signals()?;
    let wanted = |place| host.is_empty() || host.contains(&place);
    let options = Options {
        sets: *sets,
        lun_counts: luns.clone(),
        windows: match wanted(Place::Com) {
            true => Some(WindowsParts::find(windows_dir.as_deref())?),
            false => None,
        },
        in_process: wanted(Place::InProcess),
    };
    let binaries = Binaries::find(bin_dir.as_deref())?;
    let progress = |line: &str| eprintln!("{line}");
    let measured = |text: &str| {
        if !*json {
            print!("{text}");
        }
    };
    let figures = bench::run(&options, &binaries, &interrupt, &progress, &measured)?;
    if *json {
        println!("{}", serde_json::to_string_pretty(&figures)?);
    }
    Ok(())
}
