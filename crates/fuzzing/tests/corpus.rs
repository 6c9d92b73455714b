// SPDX-License-Identifier: MIT OR Apache-2.0
//! The corpus and some thousand inputs more, in every test run.

use fuzzing::{BODIES, Inputs};
use std::path::Path;

const INPUTS: usize = 5_000;

/// T-236, SEC-8: what came in by calls never breaks the provider. The corpus holds what a fuzzer found worth keeping.
#[test]
fn t236_corpus_and_random_inputs_break_nothing() {
    let seed = getrandom::u64().expect("the system gives random bytes");
    println!("seed {seed}");
    for (name, body) in BODIES {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../fuzz/corpus")
            .join(name);
        let files = std::fs::read_dir(&folder).expect("every body has its corpus");
        let corpus: Vec<_> = files
            .map(|file| std::fs::read(file.expect("it is listed").path()).expect("it can be read"))
            .collect();
        assert!(!corpus.is_empty(), "{}", folder.display());
        corpus.iter().for_each(|input| body(input));
        Inputs::new(seed, corpus)
            .take(INPUTS)
            .for_each(|input| body(&input));
    }
}
