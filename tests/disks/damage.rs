//! What may happen to a file while nobody looks: each kind of damage as a function on a data directory.
//! It says what it did, so that a failure names it.

use std::fs;
use std::path::Path;

use e2e_tests::random::Random;

/// Flips one bit of a file.
pub(crate) fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 0x10;
    fs::write(path, bytes).unwrap();
}

/// Cuts a file.
pub(crate) fn truncate(path: &Path, len: usize) {
    let file = fs::File::options().write(true).open(path).unwrap();
    file.set_len(len as u64).unwrap();
}

/// Fills the page that a byte lies in with zeros.
pub(crate) fn zero_page(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    let from = at / 4096 * 4096;
    let to = bytes.len().min(from + 4096);
    bytes[from..to].fill(0);
    fs::write(path, bytes).unwrap();
}

/// Puts zeros behind a file.
pub(crate) fn extend(path: &Path, more: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes.resize(bytes.len() + more, 0);
    fs::write(path, bytes).unwrap();
}

/// Places to damage: the ends, and some between.
pub(crate) fn places(random: &mut Random, from: usize, to: usize, between: usize) -> Vec<usize> {
    let mut places = vec![from, to - 1];
    places.extend((0..between).map(|_| from + random.below((to - from) as u64) as usize));
    places
}
