//! The bytes of one direction of a connection, and the oracle that proves them whole.
//!
//! Knows offsets, digests and a window; refuses to know time, links and who waits. What is read is
//! a prefix of what was written, in order and once, whatever happens to the network: each segment
//! carries the digest that was taken when it was written, and what is read from its beginning to
//! its end must have the same, in however many parts it is read. This is looked at in every run,
//! over every byte.

use crate::util::lazy_queue::LazyQueue;

use crate::simnet::tcp::checksum::{Digest, LONG};
use crate::simnet::tcp::ring_buffer::Ring;

/// A segment that has arrived: where it ends, and the digest of its bytes.
#[derive(Clone, Copy, Debug, Default)]
struct Segment {
    end: u64,
    digest: u64,
}

/// One direction of a connection, as far as its bytes go.
///
/// `read <= arrived <= written <= credit + window`
///
/// In the order in which it stands in memory: what every message touches first.
#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct Stream {
    /// How many bytes have been written, have arrived, and have been read.
    pub(crate) written: u64,
    pub(crate) arrived: u64,
    pub(crate) read: u64,
    /// How much has been read as far as the writer has heard.
    credit: u64,
    ring: Ring,
    /// The segment that is read next, while there is one, and those behind it.
    head: Segment,
    behind: LazyQueue<Segment>,
    /// How much had been read when that was last announced.
    announced_to: u64,
    /// What else the writer is going to hear: how much was read, and when he does.
    announced: LazyQueue<(u64, u64)>,
    /// The digest of what was read of a segment that was not read to its end.
    heard: Option<Box<Digest>>,
}

/// What was read is not what was written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Corrupted {
    /// Something is wrong with a byte before this one.
    pub(crate) offset: u64,
}

impl Stream {
    /// Begins again, where another has ended.
    #[inline]
    pub(crate) fn begin(&mut self) {
        let Self { written, arrived, read, credit, head, announced_to, .. } = self;
        (*written, *arrived, *read, *credit) = (0, 0, 0, 0);
        (*head, *announced_to) = (Segment::default(), 0);
    }

    /// Ends: nothing is kept but a ring that is small.
    #[inline]
    pub(crate) fn end(&mut self) {
        self.ring.release_much();
        self.behind.clear();
        self.announced.clear();
        self.heard = None;
    }

    /// How many bytes can be written.
    #[inline]
    pub(crate) fn space(&mut self, window: u32, now: u64) -> u64 {
        let space = self.space_known(window);
        if space < u64::from(window) && !self.announced.is_empty() {
            self.hear(now);
            return self.space_known(window);
        }
        space
    }

    /// How many of so many bytes can be written. As long as there is space for all of them, what
    /// has been announced need not be heard.
    #[inline]
    pub(crate) fn fits(&mut self, len: usize, window: u32, now: u64) -> usize {
        if len as u64 <= self.space_known(window) {
            return len;
        }
        usize::try_from(self.space(window, now)).unwrap_or(usize::MAX).min(len)
    }

    #[inline]
    fn space_known(&self, window: u32) -> u64 {
        u64::from(window) - (self.written - self.credit)
    }

    /// Takes in what has been announced and has reached the writer by now.
    fn hear(&mut self, now: u64) {
        while let Some(&(read, at)) = self.announced.first()
            && at <= now
        {
            self.credit = read;
            self.announced.pop();
        }
    }

    /// When the writer hears next that there is space.
    pub(crate) fn next_credit(&self) -> Option<u64> {
        self.announced.first().map(|(_, at)| *at)
    }

    /// Appends a segment. Returns its digest.
    #[inline(always)]
    pub(crate) fn write(&mut self, data: &[u8]) -> u64 {
        self.ring.reserve(self.read, self.written, data.len());
        let start = self.written;
        self.written += data.len() as u64;
        if data.len() < LONG
            && let Some(into) = self.ring.part_mut(start, data.len())
        {
            return Digest::copy_short(start, data, into);
        }
        self.write_parts(start, data)
    }

    /// The same where it is long, or goes beyond the end of the ring.
    #[inline(never)]
    fn write_parts(&mut self, start: u64, mut data: &[u8]) -> u64 {
        let mut digest = Digest::new(start, data.len());
        for into in self.ring.parts_mut(start, data.len()) {
            let (now, later) = data.split_at(into.len());
            digest.copy(now, into);
            data = later;
        }
        digest.value()
    }

    /// Lets the segment arrive that ends at `end`; `digest` is what writing it gave.
    #[inline]
    pub(crate) fn arrive(&mut self, end: u64, digest: u64) {
        debug_assert!(self.arrived <= end && end <= self.written, "a segment out of order");
        if self.arrived == self.read {
            self.head = Segment { end, digest };
        } else {
            self.behind.push(Segment { end, digest });
        }
        self.arrived = end;
    }

    /// How many bytes can be read.
    #[inline]
    pub(crate) const fn ready(&self) -> u64 {
        self.arrived - self.read
    }

    /// Reads what has arrived, as much of it as `buf` holds.
    ///
    /// # Errors
    ///
    /// If it is not what was written.
    #[inline(always)]
    pub(crate) fn read(&mut self, buf: &mut [u8]) -> Result<usize, Corrupted> {
        let count = self.ready().min(buf.len() as u64) as usize;
        let left = self.head.end - self.read;
        // Nearly always what is read is what was written in one go.
        if count as u64 == left
            && count < LONG
            && self.heard.is_none()
            && let Some(from) = self.ring.part(self.read, count)
        {
            let digest = Digest::copy_short(self.read, from, &mut buf[..count]);
            self.read += left;
            self.end_segment(digest)?;
        } else {
            self.read_parts(&mut buf[..count])?;
        }
        Ok(count)
    }

    /// Reads from where a segment may have been begun to where one may have to be left.
    #[inline(never)]
    fn read_parts(&mut self, mut rest: &mut [u8]) -> Result<(), Corrupted> {
        while !rest.is_empty() {
            let left = usize::try_from(self.head.end - self.read).unwrap_or(usize::MAX);
            let (part, later) = rest.split_at_mut(left.min(rest.len()));
            let whole = part.len() == left;
            let mut digest = match self.heard.take() {
                None => Digest::new(self.read, left),
                Some(digest) => *digest,
            };
            let mut into = &mut *part;
            for from in self.ring.parts(self.read, into.len()) {
                let (now, later) = into.split_at_mut(from.len());
                digest.copy(from, now);
                into = later;
            }
            self.read += part.len() as u64;
            if whole {
                self.end_segment(digest.value())?;
            } else {
                self.heard = Some(Box::new(digest));
            }
            rest = later;
        }
        Ok(())
    }

    /// Compares what was read of a segment with what was written, and goes on to the next.
    #[inline]
    fn end_segment(&mut self, heard: u64) -> Result<(), Corrupted> {
        if heard != self.head.digest {
            return Err(Corrupted { offset: self.read });
        }
        if !self.behind.is_empty() {
            self.head = self.behind.pop().unwrap_or_default();
        }
        Ok(())
    }

    /// Whether so much has been read since that was last announced that it is worth doing so
    /// again: a quarter of the window.
    #[inline]
    pub(crate) fn is_worth_announcing(&self, window: u32) -> bool {
        4 * (self.read - self.announced_to) >= u64::from(window)
    }

    /// Tells the writer how much has been read; he hears it `at` that instant.
    pub(crate) fn announce(&mut self, at: u64) {
        self.announced_to = self.read;
        let at = self.announced.last().map_or(at, |(_, before)| at.max(*before));
        self.announced.push((self.read, at));
    }

    /// Lets what has been announced and has not been heard by now be lost. Returns whether there
    /// was any.
    pub(crate) fn lose_announcements(&mut self, now: u64) -> bool {
        self.hear(now);
        let lost = !self.announced.is_empty();
        self.announced.clear();
        if lost {
            self.announced_to = self.credit;
        }
        lost
    }

    /// Has the processor load the bytes that are read next: the first and the last of them, which
    /// is all where messages are short.
    pub(crate) fn prefetch(&self) {
        self.ring.prefetch(self.read);
        self.ring.prefetch(self.written.wrapping_sub(1));
    }

    /// The same of the places of a short message that is written next.
    pub(crate) fn prefetch_places(&self) {
        const SHORT: u64 = 64;
        self.ring.prefetch(self.written);
        self.ring.prefetch(self.written + SHORT - 1);
    }

    /// Forgets what nobody is going to read.
    pub(crate) fn discard(&mut self) {
        self.read = self.written;
        self.arrived = self.written;
        self.behind.clear();
        self.heard = None;
        self.ring.release();
    }
}

#[cfg(test)]
mod tests {
    use super::{Corrupted, Stream};

    /// Two segments of eight bytes that have arrived, and were tampered with on the way.
    fn tampered(tamper: impl FnOnce(&mut Stream)) -> Result<Vec<u8>, Corrupted> {
        let mut stream = Stream::default();
        let ends = [&b"01234567"[..], b"89abcdef"].map(|part| {
            let digest = stream.write(part);
            (stream.written, digest)
        });
        tamper(&mut stream);
        ends.iter().for_each(|(end, digest)| stream.arrive(*end, *digest));
        let mut read = Vec::new();
        let mut buf = [0; 5];
        while stream.ready() > 0 {
            let count = stream.read(&mut buf)?;
            read.extend_from_slice(&buf[..count]);
        }
        Ok(read)
    }

    #[test]
    fn what_is_whole_passes_and_one_bit_does_not() {
        assert_eq!(tampered(|_| ()), Ok(b"0123456789abcdef".to_vec()));
        for offset in 0..16 {
            let corrupted = tampered(|stream| stream.ring.corrupt(offset, |byte| byte ^ 1));
            let offset = if offset < 8 { 8 } else { 16 };
            assert_eq!(corrupted, Err(Corrupted { offset }));
        }
    }

    /// Long segments are copied and digested in one go, also where they go beyond the end of the
    /// ring.
    #[test]
    fn one_bit_of_a_long_segment_does_not_pass_wherever_it_lies() {
        const LEN: usize = 700;
        let bytes: Vec<u8> = (0..LEN).map(|n| (n * n / 7) as u8).collect();
        let mut stream = Stream::default();
        for round in 0..40 {
            let digest = stream.write(&bytes);
            let start = stream.read;
            stream.arrive(stream.written, digest);
            let mut read = vec![0; LEN];
            let at = round * 17 + 5;
            if round % 2 == 1 {
                stream.ring.corrupt(start + at, |byte| byte ^ 0x80);
                let corrupted = Corrupted { offset: start + LEN as u64 };
                assert_eq!(stream.read(&mut read), Err(corrupted), "byte {at}");
                stream.discard();
            } else {
                assert_eq!(stream.read(&mut read), Ok(LEN));
                assert_eq!(read, bytes);
            }
        }
    }

    #[test]
    fn a_segment_that_is_dropped_doubled_or_swapped_is_caught() {
        let set = |stream: &mut Stream, text: &[u8; 16]| {
            (0..16).for_each(|at| stream.ring.corrupt(at, |_| text[at as usize]));
        };
        for (what, text, offset) in [
            ("dropped", b"89abcdef89abcdef", 8),
            ("doubled", b"0123456701234567", 16),
            ("swapped", b"89abcdef01234567", 8),
        ] {
            assert_eq!(tampered(|s| set(s, text)), Err(Corrupted { offset }), "{what}");
        }
    }

    #[test]
    fn a_full_window_opens_when_the_writer_hears_of_it() {
        let mut stream = Stream::default();
        let digest = stream.write(&[7; 8]);
        assert_eq!(stream.space(8, 0), 0);
        stream.arrive(8, digest);
        assert_eq!(stream.read(&mut [0; 1]), Ok(1));
        assert!(!stream.is_worth_announcing(8));
        assert_eq!(stream.read(&mut [0; 2]), Ok(2));
        assert!(stream.is_worth_announcing(8));
        stream.announce(100);
        assert_eq!((stream.space(8, 99), stream.next_credit()), (0, Some(100)));
        assert_eq!((stream.space(8, 100), stream.next_credit()), (3, None));
        assert_eq!(stream.read(&mut [0; 9]), Ok(5));
        stream.announce(200);
        assert!(stream.lose_announcements(150));
        assert_eq!(stream.space(8, 300), 3);
        assert!(stream.is_worth_announcing(8), "what was lost is announced again");
    }
}
