//! `RadixHeap`: a priority queue whose entries are removed in order of time.
//!
//! Near entries are in a binary heap, which has all entries while the queue is small. Far entries
//! are in buckets. The bucket of an entry is given by the highest digit (of four bits) in which
//! its key differs from a base, and by the value of that digit. When the heap is empty, it is
//! filled from the nearest bucket; a bucket with many entries is first distributed over lower
//! digits.
//!
//! An entry moves a few times, however many entries there are, and a bucket is read from front to
//! back. With a binary heap alone, a wake-up takes 1.06 times as long among 10 000 sleeping tasks
//! and 1.3 times as long among a million. A timer wheel would need a horizon.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::util::cold::{ClearToCapacity, cold};

use crate::sim::queue::entry::Entry;

const LEVELS: usize = 16;
const DIGITS: usize = 16;
/// The queue is one heap until it has more entries than this.
const SMALL_BUCKET: usize = 64;
/// With more entries than this, what they stand for is no longer in the caches.
const PREFETCH_MIN_LEN: usize = 700;
/// A bucket with more entries than this is spread.
const MIN_SPREAD: usize = 32;
/// The number of entries whose memory is kept.
const MAX_CAPACITY: usize = 4096;

#[derive(Debug)]
struct Buckets {
    /// Every entry is at or after it. By level: highest differing digit.
    base: u64,
    vecs: Vec<Vec<Entry>>,
    /// For each level, which digits have entries.
    used_digits: [u16; LEVELS],
    len: usize,
}

/// The queue. See the file's head.
#[derive(Debug)]
pub(crate) struct RadixHeap {
    near: BinaryHeap<Reverse<Entry>>,
    /// Entries before it are near; entries at or after it are in a bucket.
    horizon: u64,
    far: Buckets,
    /// Whether buckets have been used since the queue was cleared.
    spilled: bool,
    /// Whether there are many entries and what is near has just become so.
    is_fresh: bool,
}

impl Default for RadixHeap {
    fn default() -> Self {
        let far = Buckets { base: 0, vecs: Vec::new(), used_digits: [0; LEVELS], len: 0 };
        Self { near: BinaryHeap::new(), horizon: u64::MAX, far, spilled: false, is_fresh: false }
    }
}

impl RadixHeap {
    /// A push that needs more memory is a call at the very end, so that no register has to be saved
    /// for it.
    #[inline(always)]
    pub(crate) fn push(&mut self, entry: Entry) {
        if entry.key() >= self.horizon {
            self.far.insert(entry);
        } else if self.near.len() < self.near.capacity().min(SMALL_BUCKET) {
            self.near.push(Reverse(entry));
        } else {
            self.push_near(entry);
        }
    }

    /// Makes an entry near, of which there may be too many then.
    #[inline(never)]
    fn push_near(&mut self, entry: Entry) {
        self.near.push(Reverse(entry));
        if self.near.len() > SMALL_BUCKET && self.horizon == u64::MAX {
            self.spill();
        }
    }

    /// The first entry by key, then by serial number.
    #[inline]
    pub(crate) fn peek(&mut self) -> Option<Entry> {
        if self.near.is_empty() && self.far.len > 0 {
            self.refill();
        }
        self.near.peek().map(|first| first.0)
    }

    /// Takes out the entry that was peeked.
    #[inline]
    pub(crate) fn pop(&mut self) {
        self.near.pop();
    }

    /// Whether there are many entries, and others are near than when this was last taken note of.
    #[inline]
    pub(crate) const fn is_fresh(&self) -> bool {
        self.is_fresh
    }

    /// Takes note of what is near. In no order.
    pub(crate) fn take_near(&mut self) -> impl Iterator<Item = Entry> {
        self.is_fresh = false;
        self.near.iter().map(|entry| entry.0)
    }

    pub(crate) fn len(&self) -> usize {
        self.near.len() + self.far.len
    }

    /// All entries, in no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Entry> {
        let far = if self.far.len > 0 { &self.far.vecs[..] } else { &[] };
        self.near.iter().map(|entry| entry.0).chain(far.iter().flatten().copied())
    }

    /// Moves all that is near into buckets: there is too much of it.
    #[cold]
    fn spill(&mut self) {
        let Some(Reverse(first)) = self.near.peek() else {
            return;
        };
        self.spilled = true;
        self.far.base = first.key();
        self.far.vecs.resize_with(LEVELS * DIGITS, Vec::new);
        self.horizon = first.key() + 1;
        for Reverse(entry) in std::mem::take(&mut self.near) {
            if entry.key() < self.horizon {
                self.near.push(Reverse(entry));
            } else {
                self.far.insert(entry);
            }
        }
    }

    /// Makes the nearest bucket near.
    fn refill(&mut self) {
        while self.near.is_empty() {
            let Some((level, digit)) = self.far.first_used() else {
                break;
            };
            let start = self.far.bucket_start(level, digit);
            let mut bucket = self.far.take(level, digit);
            self.far.base = start;
            if bucket.len() <= MIN_SPREAD || level == 0 {
                self.horizon = start + (1 << (4 * level));
                self.near.extend(bucket.drain(..).map(Reverse));
            } else {
                self.horizon = start + 1;
                for entry in bucket.drain(..) {
                    if entry.key() == start {
                        self.near.push(Reverse(entry));
                    } else {
                        self.far.insert(entry);
                    }
                }
            }
            // For its memory; but what is far moves on from bucket to bucket as time does, and much
            // of it must not leave as much behind in each.
            if bucket.capacity() <= MAX_CAPACITY {
                self.far.vecs[level * DIGITS + digit] = bucket;
            }
        }
        self.is_fresh = self.far.len > PREFETCH_MIN_LEN;
        if self.far.len == 0 {
            self.horizon = u64::MAX;
        }
    }

    /// Keeps the entries for which `keep` holds.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(Entry) -> bool) {
        self.near.retain(|entry| keep(entry.0));
        self.far.len = 0;
        for (n, bucket) in self.far.vecs.iter_mut().enumerate() {
            bucket.retain(|entry| keep(*entry));
            self.far.len += bucket.len();
            if bucket.is_empty() {
                self.far.used_digits[n / DIGITS] &= !(1 << (n % DIGITS));
            }
        }
        if self.far.len == 0 {
            self.horizon = u64::MAX;
        }
    }

    /// Forgets everything and keeps the memory, unless there is a lot of it.
    pub(crate) fn clear(&mut self) {
        self.near.clear_to_capacity(MAX_CAPACITY);
        self.is_fresh = false;
        if std::mem::take(&mut self.spilled) {
            cold(|| {
                self.far.vecs.iter_mut().for_each(|bucket| bucket.clear_to_capacity(MIN_SPREAD));
                self.far.used_digits = [0; LEVELS];
                self.far.len = 0;
                self.horizon = u64::MAX;
            });
        }
    }
}

#[inline(never)]
fn grow(bucket: &mut Vec<Entry>, entry: Entry) {
    bucket.push(entry);
}

impl Buckets {
    /// Puts an entry after the base into its bucket.
    #[inline]
    fn insert(&mut self, entry: Entry) {
        let difference = (entry.key() ^ self.base) | 1;
        let level = (63 - difference.leading_zeros() as usize) / 4;
        let digit = (entry.key() >> (4 * level)) as usize % DIGITS;
        self.used_digits[level] |= 1 << digit;
        self.len += 1;
        let bucket = &mut self.vecs[level * DIGITS + digit];
        if bucket.len() < bucket.capacity() {
            bucket.push(entry);
        } else {
            grow(bucket, entry);
        }
    }

    fn first_used(&self) -> Option<(usize, usize)> {
        let level = self.used_digits.iter().position(|taken| *taken != 0)?;
        Some((level, self.used_digits[level].trailing_zeros() as usize))
    }

    /// The first key that belongs into a bucket.
    fn bucket_start(&self, level: usize, digit: usize) -> u64 {
        let below = 4 * level;
        // In two steps, because all 64 bits are below what is above the highest level.
        let above = self.base >> below >> 4 << 4;
        (above | digit as u64) << below
    }

    fn take(&mut self, level: usize, digit: usize) -> Vec<Entry> {
        self.used_digits[level] &= !(1 << digit);
        let bucket = std::mem::take(&mut self.vecs[level * DIGITS + digit]);
        self.len -= bucket.len();
        bucket
    }
}

#[cfg(test)]
mod tests {
    use std::cmp::Reverse;
    use std::collections::BinaryHeap;

    use super::RadixHeap;
    use crate::sim::choice::hash::splitmix64;
    use crate::sim::queue::entry::{Action, END_OF_TIME, Entry, EntryId};

    #[test]
    fn many_entries_of_one_instant_and_a_cleared_queue_are_in_order() {
        let mut radix = RadixHeap::default();
        for round in 0..3 {
            let mut serial = EntryId::default();
            for n in 0..100_000u32 {
                serial = serial.next().unwrap();
                radix.push(Entry::new(7 + u64::from(n / 99_000), serial, Action::poll(n)));
            }
            for n in 0..100_000 >> round {
                assert_eq!(radix.peek().map(Entry::action), Some(Action::poll(n)));
                radix.pop();
            }
            radix.clear();
            assert_eq!((radix.len(), radix.peek()), (0, None));
        }
    }

    /// Pushes and pops at random as a run does, beside a plain heap.
    #[test]
    fn entries_come_out_as_from_a_binary_heap() {
        for seed in 0..40u64 {
            let (mut radix, mut heap) = (RadixHeap::default(), BinaryHeap::new());
            let (mut now, mut state) = (0, seed);
            let mut random = || {
                state += 1;
                splitmix64(state.wrapping_mul(0x9E37_79B9_7F4A_7C15))
            };
            for step in 0..20_000 {
                // Grows to some hundreds or thousands, then shrinks to nothing.
                if random() % 10 < if step < 12_000 { 6 } else { 3 } {
                    let scale = 1 + random() % (4 + seed % 60);
                    let at = (now + random() % (1 << scale)).min(END_OF_TIME);
                    let entry = Entry::new(at, EntryId::default(), Action::poll(step));
                    radix.push(entry);
                    heap.push(Reverse(entry));
                } else {
                    let expected = heap.pop().map(|entry| entry.0);
                    assert_eq!(radix.peek(), expected);
                    if let Some(entry) = expected {
                        radix.pop();
                        // Sometimes the clock lags behind, as with forgotten entries.
                        now = if random() % 5 == 0 { now } else { now.max(entry.key()) };
                    }
                }
                if step % 5_000 == 4_999 {
                    let keep = |entry: Entry| !entry.key().is_multiple_of(3);
                    radix.retain(keep);
                    heap.retain(|entry| keep(entry.0));
                }
                assert_eq!(radix.len(), heap.len());
            }
        }
    }
}
