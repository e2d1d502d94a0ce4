//! What is random here is the same for the same seed.

/// Xorshift, with a product at its end (Vigna: `xorshift64*`).
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self((seed ^ 0x5deece66d).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn bits(&mut self) -> u32 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) as u32
    }

    /// A number below this one.
    pub(crate) fn below(&mut self, most: usize) -> usize {
        (u64::from(self.bits()) * most as u64 >> 32) as usize
    }
}

/// 400 words, of which few are frequent, and lines of them.
pub(crate) struct Words {
    seed: u64,
    random: Random,
}

impl Words {
    pub(crate) fn new(seed: u64) -> Self {
        Self { seed, random: Random::new(seed) }
    }

    /// The next words, from a third up to the whole of so many bytes; how many bytes they are.
    pub(crate) fn line(&mut self, line: &mut [u8]) -> usize {
        let least = line.len() / 3;
        let room = least + self.random.below(line.len() - least + 1);
        let mut length = 0;
        loop {
            // The square of something even is often small.
            let part = self.random.below(1 << 16);
            let mut letters = Random::new(self.seed << 16 | (part * part * 400 >> 32) as u64);
            let word = 2 + letters.below(6);
            if length + word + 1 > room {
                return length;
            }
            for place in &mut line[length..length + word] {
                *place = b"etaoinshrdlucmfwypvbgkjqxz"[letters.below(26).min(letters.below(26))];
            }
            line[length + word] = b' ';
            length += word + 1;
        }
    }

    pub(crate) fn below(&mut self, most: usize) -> usize {
        self.random.below(most)
    }
}
