// SPDX-License-Identifier: MIT OR Apache-2.0

/// Inputs at random: some new, some made of earlier ones with bytes changed, cut or joined. The same seed gives the same inputs.
pub struct Inputs {
    state: u64,
    corpus: Vec<Vec<u8>>,
}

/// A new input is at most so long.
const LENGTH_MAX: u64 = 600;

impl Inputs {
    /// `corpus` may be empty.
    pub fn new(seed: u64, corpus: Vec<Vec<u8>>) -> Self {
        Self {
            state: seed,
            corpus,
        }
    }

    /// SplitMix64: any seed will do.
    fn number(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.number() % limit.max(1) as u64).expect("less than a usize")
    }

    fn fresh(&mut self) -> Vec<u8> {
        let length = self.number() % LENGTH_MAX;
        (0..length)
            .map(|_| self.number().to_le_bytes()[0])
            .collect()
    }
}

impl Iterator for Inputs {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        if self.corpus.is_empty() || self.number().is_multiple_of(2) {
            return Some(self.fresh());
        }
        let which = self.below(self.corpus.len());
        let mut input = self.corpus[which].clone();
        for _ in 0..=self.below(4) {
            let at = self.below(input.len() + 1);
            match self.number() % 4 {
                0 => input.truncate(at),
                1 => input.splice(at..at, self.fresh()).for_each(drop),
                _ if at < input.len() => input[at] = self.number().to_le_bytes()[0],
                _ => input.push(0),
            }
        }
        Some(input)
    }
}
