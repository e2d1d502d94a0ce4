//! Keys of tiles: what a tile's content is called.
//!
//! A key is two sums modulo the prime 2^61 - 1, each with its own secret numbers. The tile's pixels are taken as words of two, and
//! the words in pairs: a sum has the product (a + A)(b + B) of each pair's words a, b and secret numbers A, B, below 2^60. For any two
//! tiles that differ in a word, one choice in 2^60 of the secret number beside it makes such a sum the same, whatever the other
//! numbers are; so two tiles have the same key with a chance of 2^-120, whoever has chosen their pixels: he does not know the
//! numbers, and no key ever leaves this crate. (Multilinear hashing with half of the multiplications: Lemire and Kaser, "Strongly universal
//! string hashing is fast", 2014.)
//!
//! # Design notes
//! All that a display paints goes through here. A factor for each pixel took four times as many multiplications, which were a third of
//! what an update took whose text had scrolled.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::sync::Arc;

use crate::geometry::TILE_PIXELS;

/// The prime.
const PRIME: u64 = (1 << 61) - 1;

/// Words of a tile.
const WORDS: usize = TILE_PIXELS / 2;

/// The pixels of a tile, padded at the edges of the desktop; uppermost bytes are zero.
pub(crate) type Block = [u32; TILE_PIXELS];

/// What a tile's content is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TileKey(pub(crate) [u64; 2]);

/// Tiles by their keys. Nobody can choose a key, so it is a hash already.
pub(crate) type KeyMap<T> = HashMap<TileKey, T, BuildHasherDefault<KeyHasher>>;

/// Keys, told apart the same way.
pub(crate) type KeySet = HashSet<TileKey, BuildHasherDefault<KeyHasher>>;

/// Takes a key for its hash.
#[derive(Debug, Default)]
pub(crate) struct KeyHasher(u64);

impl Hash for TileKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0[0]);
    }
}

impl Hasher for KeyHasher {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64((*byte).into()));
    }

    /// Keys have 61 bits, and tables use the uppermost ones too.
    fn write_u64(&mut self, number: u64) {
        self.0 = self.0.rotate_left(5) ^ number << 3 ^ number >> 58;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// Secret numbers by which contents are told apart, 2 KiB that all screens of a process may share.
#[derive(Clone)]
pub struct Secret(Arc<[[u64; WORDS]; 2]>);

impl Secret {
    /// Makes all numbers of a seed, which must be random and be kept from everybody.
    pub fn new(seed: [u64; 4]) -> Self {
        let mut state = seed;
        let mut numbers = [[0; WORDS]; 2];
        numbers.as_flattened_mut().iter_mut().for_each(|number| *number = next(&mut state) >> 4);
        Self(Arc::new(numbers))
    }

    /// The key of a tile.
    pub(crate) fn key(&self, block: &Block) -> TileKey {
        // Pixels have 24 bits.
        let words: [u64; WORDS] =
            std::array::from_fn(|word| u64::from(block[word * 2]) | u64::from(block[word * 2 + 1]) << 24);
        TileKey([0, 1].map(|half| reduce(sum(&self.0[half], &words))))
    }

    /// The key of a list of keys, in their order: a polynomial in a secret number, of whose values two lists of n keys share
    /// one with a chance of n / 2^61 in each half.
    pub(crate) fn key_of_keys(&self, keys: impl Iterator<Item = TileKey> + Clone) -> TileKey {
        TileKey([0, 1].map(|half| {
            let factor = u128::from(self.0[half][0]);
            let numbers = keys.clone().flat_map(|key| key.0).chain([1]);
            numbers.fold(1, |sum, number| reduce(u128::from(sum) * factor + u128::from(number)))
        }))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// At most 2^6 products of less than (2^60 + 2^48)^2 each: it does not overflow.
fn sum(numbers: &[u64; WORDS], words: &[u64; WORDS]) -> u128 {
    let (numbers, words) = (numbers.as_chunks::<2>().0, words.as_chunks::<2>().0);
    let pairs = numbers.iter().zip(words);
    pairs.map(|([a, b], [c, d])| u128::from(a + c) * u128::from(b + d)).sum()
}

fn reduce(number: u128) -> u64 {
    // 2^61 is 1 here.
    let number = (number & u128::from(PRIME)) + (number >> 61);
    let number = (number as u64 & PRIME) + (number >> 61) as u64;
    if number >= PRIME { number - PRIME } else { number }
}

/// xoshiro256** (Blackman and Vigna).
fn next(state: &mut [u64; 4]) -> u64 {
    let result = state[1].wrapping_mul(5).rotate_left(7).wrapping_mul(9);
    let shifted = state[1] << 17;
    state[2] ^= state[0];
    state[3] ^= state[1];
    state[1] ^= state[2];
    state[0] ^= state[3];
    state[2] ^= shifted;
    state[3] = state[3].rotate_left(45);
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_pixel_changes_both_halves_and_another_seed_all_keys() {
        let (one, other) = (Secret::new([1, 2, 3, 4]), Secret::new([1, 2, 3, 5]));
        let mut block = [0x00_1234_u32; TILE_PIXELS];
        let before = one.key(&block);
        assert_ne!(before, other.key(&block));
        for pixel in [0, 1, 2, 100, 255] {
            block[pixel] ^= 1;
            let after = one.key(&block);
            assert!(before.0[0] != after.0[0] && before.0[1] != after.0[1], "{pixel}");
            block[pixel] ^= 1;
        }
        assert_eq!(before, one.key(&block));
    }

    #[test]
    fn sums_are_reduced_as_division_does() {
        for number in [0, 1, u128::from(PRIME), u128::from(PRIME) + 1, u128::MAX >> 5, (1 << 122) - 1] {
            assert_eq!(u128::from(reduce(number)), number % u128::from(PRIME));
        }
    }

    #[test]
    fn the_order_of_keys_matters_and_their_number_too() {
        let secret = Secret::new([9; 4]);
        let [a, b] = [[1, 2], [3, 4]].map(TileKey);
        let key = |keys: &[TileKey]| secret.key_of_keys(keys.iter().copied());
        assert!(key(&[a, b]) != key(&[b, a]) && key(&[a]) != key(&[a, a]) && key(&[]) != key(&[a]));
    }
}
