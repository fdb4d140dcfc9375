//! Bytes made other bytes, from one number: the same seed makes the same inputs.

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

/// Mutates inputs of a corpus.
#[derive(Debug)]
pub struct Mutator {
    rng: StdRng,
}

/// Numbers that lengths and counts are often wrong about.
const NUMBERS: [u64; 9] =
    [0, 1, 0x7f, 0x80, 0xff, 0xffff, 0x7fff_ffff, 0xffff_ffff, 0xffff_ffff_ffff_ffff];
/// An input never grows beyond this: larger ones are the bombs' subject.
const LENGTH_MAX: usize = 16 * 1_024;

impl Mutator {
    /// A mutator of a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { rng: StdRng::seed_from_u64(seed) }
    }

    /// One of the inputs, with one to eight changes; parts of another one are among them.
    pub fn next(&mut self, corpus: &[Vec<u8>]) -> Vec<u8> {
        let pick = self.rng.random_range(0..corpus.len());
        let mut bytes = corpus[pick].clone();
        for _ in 0..self.rng.random_range(1..=8) {
            let other = self.rng.random_range(0..corpus.len());
            self.change(&mut bytes, &corpus[other]);
        }
        bytes.truncate(LENGTH_MAX);
        bytes
    }

    fn change(&mut self, bytes: &mut Vec<u8>, other: &[u8]) {
        let at = self.rng.random_range(0..=bytes.len());
        let end = (at + self.rng.random_range(0..=16)).min(bytes.len());
        match self.rng.random_range(0..9) {
            0 => bytes.truncate(at),
            1 => bytes.insert(at, self.rng.random()),
            2 => drop(bytes.drain(at..end)),
            3 => bytes.extend_from_within(at..end),
            4 => self.overwrite(bytes, at),
            5 => self.varint(bytes, at),
            6 => splice(bytes, at, other, &mut self.rng),
            _ if at < bytes.len() => bytes[at] ^= 1 << self.rng.random_range(0..8),
            _ => bytes.push(self.rng.random()),
        }
    }

    /// A number in place of what is there, least or most significant byte first.
    fn overwrite(&mut self, bytes: &mut [u8], at: usize) {
        let number = NUMBERS[self.rng.random_range(0..NUMBERS.len())];
        let length = [1, 2, 4, 8][self.rng.random_range(0..4)].min(bytes.len() - at);
        let spelled = if self.rng.random() { number.to_le_bytes() } else { number.to_be_bytes() };
        bytes[at..at + length].copy_from_slice(&spelled[..length]);
    }

    /// A number in the spelling of protobuf and of Automerge's columns.
    fn varint(&mut self, bytes: &mut Vec<u8>, at: usize) {
        let mut number = NUMBERS[self.rng.random_range(0..NUMBERS.len())];
        let mut spelled = Vec::new();
        while number >= 0x80 {
            spelled.push(number as u8 | 0x80);
            number >>= 7;
        }
        spelled.push(number as u8);
        bytes.splice(at..(at + 1).min(bytes.len()), spelled);
    }
}

fn splice(bytes: &mut Vec<u8>, at: usize, other: &[u8], rng: &mut StdRng) {
    let from = rng.random_range(0..=other.len());
    let to = (from + rng.random_range(0..=64)).min(other.len());
    bytes.splice(at..at, other[from..to].iter().copied());
}
