//! The records that prove whether a volume kept what it acknowledged, and the ledger that says what it acknowledged.
//!
//! A record is one 4 KiB block: it carries its number and slot, a filling that follows from the number, and a sum
//! over all. Record `n` goes into a slot; later records overwrite it. So a slot may hold a *newer* record than the
//! ledger knows (written, not yet acknowledged), never an older one.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

/// Size of a record and of its slot: one page, the unit of O_DIRECT and of the comparisons in the lab.
pub const SIZE: usize = 4096;

const MAGIC: u64 = 0x6d69_7272_6f72_6b70;

/// What a slot was found to hold.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub enum Content {
    /// A whole record with this number.
    Record(u64),
    /// A whole record, but of another slot: data landed in the wrong place.
    Misplaced,
    /// Nothing was ever written here.
    Empty,
    /// Neither whole nor empty.
    Torn,
}

/// Fills `block` with record `seq` for `slot`.
pub fn fill(block: &mut [u8], slot: u64, seq: u64) {
    put(block, 0, MAGIC);
    put(block, 8, seq);
    put(block, 16, slot);
    let mut state = seq.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    for at in (24..SIZE - 8).step_by(8) {
        state = next(state);
        put(block, at, state);
    }
    let sum = sum(&block[..SIZE - 8]);
    put(block, SIZE - 8, sum);
}

/// Judges what is in `block`, read from `slot`.
pub fn judge(block: &[u8], slot: u64) -> Content {
    if block.iter().all(|&byte| byte == 0) {
        return Content::Empty;
    }
    if get(block, 0) != MAGIC || get(block, SIZE - 8) != sum(&block[..SIZE - 8]) {
        return Content::Torn;
    }
    if get(block, 16) == slot { Content::Record(get(block, 8)) } else { Content::Misplaced }
}

/// xorshift64: a cheap sequence without a crate; also what chooses the random slots.
pub fn next(mut state: u64) -> u64 {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    state
}

/// The last acknowledged number of each slot, from a ledger of lines `seq slot unix_us latency_us`.
///
/// A last line without its end is a writer that was killed there: not acknowledged.
pub fn acknowledged(ledger: &Path) -> Result<BTreeMap<u64, u64>> {
    let text = fs::read_to_string(ledger).with_context(|| format!("reading {}", ledger.display()))?;
    let mut newest = BTreeMap::new();
    for line in text.split_inclusive('\n').filter(|line| line.ends_with('\n')) {
        let mut words = line.split_whitespace().map(str::parse::<u64>);
        let (Some(Ok(seq)), Some(Ok(slot))) = (words.next(), words.next()) else { continue };
        let entry = newest.entry(slot).or_insert(seq);
        *entry = seq.max(*entry);
    }
    Ok(newest)
}

/// FNV-1a over 8-byte words: far from cryptographic, enough against blocks that are old, torn or foreign.
fn sum(data: &[u8]) -> u64 {
    data.chunks_exact(8).fold(0xcbf2_9ce4_8422_2325, |hash, word| (hash ^ get(word, 0)).wrapping_mul(0x0100_0000_01b3))
}

fn put(block: &mut [u8], at: usize, value: u64) {
    block[at..at + 8].copy_from_slice(&value.to_le_bytes());
}

fn get(block: &[u8], at: usize) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&block[at..at + 8]);
    u64::from_le_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_known_whole_torn_and_misplaced() {
        let mut block = vec![0; SIZE];
        assert_eq!(judge(&block, 3), Content::Empty);
        fill(&mut block, 3, 77);
        assert_eq!(judge(&block, 3), Content::Record(77));
        assert_eq!(judge(&block, 4), Content::Misplaced);
        block[2000] ^= 1;
        assert_eq!(judge(&block, 3), Content::Torn);
    }

    #[test]
    fn half_of_an_old_record_is_torn() {
        let (mut old, mut new) = (vec![0; SIZE], vec![0; SIZE]);
        fill(&mut old, 3, 77);
        fill(&mut new, 3, 78);
        new[SIZE / 2..].copy_from_slice(&old[SIZE / 2..]);
        assert_eq!(judge(&new, 3), Content::Torn);
    }
}
