// SPDX-License-Identifier: MIT OR Apache-2.0
//! `throw BODY SECONDS CORPUS [SEED]`: throws inputs at a body where there is no coverage-guided fuzzer: the corpus first, then
//! what a seeded generator makes of it and of nothing. Prints the seed; an input that breaks something is written beside the corpus.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [name, seconds, corpus, seed @ ..] = arguments.as_slice() else {
        eprintln!("usage: throw BODY SECONDS CORPUS [SEED]");
        return ExitCode::from(2);
    };
    let body = fuzzing::BODIES.iter().find(|(known, _)| known == name);
    let (Some((_, body)), Ok(seconds)) = (body, seconds.parse()) else {
        eprintln!("throw: no body {name:?}, or {seconds:?} is no number of seconds");
        return ExitCode::from(2);
    };
    let seed = match seed {
        [] => getrandom::u64().expect("the system gives random bytes"),
        [seed, ..] => seed.parse().expect("the seed is a number"),
    };
    println!("{name}: seed {seed}");
    let end = Instant::now() + Duration::from_secs(seconds);
    let inputs = read(Path::new(corpus));
    let mut count = 0_u64;
    let mut made = fuzzing::Inputs::new(seed, inputs.clone());
    for input in inputs.into_iter().chain(std::iter::from_fn(|| made.next())) {
        if Instant::now() >= end {
            break;
        }
        if std::panic::catch_unwind(|| body(&input)).is_err() {
            let file = PathBuf::from(format!("{corpus}-failed-{seed}-{count}"));
            std::fs::write(&file, &input).expect("the folder can be written");
            eprintln!("throw: the input {} breaks {name}", file.display());
            return ExitCode::from(1);
        }
        count += 1;
    }
    println!("{name}: {count} inputs, none breaks it");
    ExitCode::SUCCESS
}

fn read(corpus: &Path) -> Vec<Vec<u8>> {
    let entries = std::fs::read_dir(corpus).into_iter().flatten();
    let mut files: Vec<_> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect();
    files.sort();
    files
        .iter()
        .filter_map(|file| std::fs::read(file).ok())
        .collect()
}
