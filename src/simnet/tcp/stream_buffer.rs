//! [`StreamBuffer`]: the bytes of one direction of a connection, and the oracle that checks them.
//!
//! The bytes that are read are a prefix of the bytes that were written, in order and once,
//! whatever happens to the network. Each segment carries the checksum that was taken when it was
//! written. The bytes from its beginning to its end must have the same checksum when they are
//! read, in any number of reads. Every run checks that, for every byte.

use crate::util::lazy_queue::LazyQueue;

use crate::simnet::tcp::checksum::{LONG_MIN_LEN, SegmentChecksum};
use crate::simnet::tcp::ring_buffer::RingBuffer;

/// A segment that has arrived: where it ends, and the digest of its bytes.
#[derive(Clone, Copy, Debug, Default)]
struct ReceivedSegment {
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
pub(crate) struct StreamBuffer {
    /// The number of bytes that were written, have arrived, and were read.
    pub(crate) written: u64,
    pub(crate) arrived: u64,
    pub(crate) read: u64,
    /// The number of read bytes that the writer knows of.
    read_known_to_writer: u64,
    ring: RingBuffer,
    /// The segment that is read next, while there is one, and those behind it.
    current_segment: ReceivedSegment,
    later_segments: LazyQueue<ReceivedSegment>,
    /// The number of read bytes in the last window update.
    last_advertised: u64,
    /// The window updates in flight: the number of read bytes, and the instant of arrival.
    pending_updates: LazyQueue<(u64, u64)>,
    /// The digest of what was read of a segment that was not read to its end.
    partial_checksum: Option<Box<SegmentChecksum>>,
}

/// The read bytes differ from the written ones.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct CorruptStream {
    /// Something is wrong with a byte before this one.
    pub(crate) offset: u64,
}

impl StreamBuffer {
    /// Begins again, where another has ended.
    #[inline]
    pub(crate) fn init(&mut self) {
        let Self {
            written,
            arrived,
            read,
            read_known_to_writer,
            current_segment,
            last_advertised,
            ..
        } = self;
        (*written, *arrived, *read, *read_known_to_writer) = (0, 0, 0, 0);
        (*current_segment, *last_advertised) = (ReceivedSegment::default(), 0);
    }

    /// Ends: nothing is kept but a ring that is small.
    #[inline]
    pub(crate) fn recycle(&mut self) {
        self.ring.release_if_large();
        self.later_segments.clear();
        self.pending_updates.clear();
        self.partial_checksum = None;
    }

    /// The number of bytes that can be written.
    #[inline]
    pub(crate) fn send_window(&mut self, window: u32, now: u64) -> u64 {
        let send_window = self.known_send_window(window);
        if send_window < u64::from(window) && !self.pending_updates.is_empty() {
            self.apply_updates(now);
            return self.known_send_window(window);
        }
        send_window
    }

    /// The number of bytes, of `len`, that can be written. Window updates are not applied as long
    /// as there is space for all of them.
    #[inline]
    pub(crate) fn writable_len(&mut self, len: usize, window: u32, now: u64) -> usize {
        if len as u64 <= self.known_send_window(window) {
            return len;
        }
        usize::try_from(self.send_window(window, now)).unwrap_or(usize::MAX).min(len)
    }

    #[inline]
    fn known_send_window(&self, window: u32) -> u64 {
        u64::from(window) - (self.written - self.read_known_to_writer)
    }

    /// Takes in what has been announced and has reached the writer by now.
    fn apply_updates(&mut self, now: u64) {
        while let Some(&(read, at)) = self.pending_updates.first()
            && at <= now
        {
            self.read_known_to_writer = read;
            self.pending_updates.pop();
        }
    }

    /// The instant of the next window update at the writer.
    pub(crate) fn next_update_at(&self) -> Option<u64> {
        self.pending_updates.first().map(|(_, at)| *at)
    }

    /// Appends a segment. Returns its digest.
    #[inline(always)]
    pub(crate) fn write(&mut self, data: &[u8]) -> u64 {
        self.ring.reserve(self.read, self.written, data.len());
        let start = self.written;
        self.written += data.len() as u64;
        if data.len() < LONG_MIN_LEN
            && let Some(into) = self.ring.contiguous_mut(start, data.len())
        {
            return SegmentChecksum::copy_short(start, data, into);
        }
        self.write_parts(start, data)
    }

    /// The same where it is long, or goes beyond the end of the ring.
    #[inline(never)]
    fn write_parts(&mut self, start: u64, mut data: &[u8]) -> u64 {
        let mut digest = SegmentChecksum::new(start, data.len());
        for into in self.ring.parts_mut(start, data.len()) {
            let (part, rest) = data.split_at(into.len());
            digest.copy(part, into);
            data = rest;
        }
        digest.value()
    }

    /// Lets the segment arrive that ends at `end`; `digest` is what writing it gave.
    #[inline]
    pub(crate) fn on_segment(&mut self, end: u64, digest: u64) {
        debug_assert!(self.arrived <= end && end <= self.written, "a segment out of order");
        if self.arrived == self.read {
            self.current_segment = ReceivedSegment { end, digest };
        } else {
            self.later_segments.push(ReceivedSegment { end, digest });
        }
        self.arrived = end;
    }

    /// The number of bytes that can be read.
    #[inline]
    pub(crate) const fn readable_len(&self) -> u64 {
        self.arrived - self.read
    }

    /// Reads what has arrived, as much of it as `buf` holds.
    ///
    /// # Errors
    ///
    /// If it is not what was written.
    #[inline(always)]
    pub(crate) fn read(&mut self, buf: &mut [u8]) -> Result<usize, CorruptStream> {
        let count = self.readable_len().min(buf.len() as u64) as usize;
        let remaining = self.current_segment.end - self.read;
        // Nearly always what is read is what was written in one go.
        if count as u64 == remaining
            && count < LONG_MIN_LEN
            && self.partial_checksum.is_none()
            && let Some(from) = self.ring.contiguous(self.read, count)
        {
            let digest = SegmentChecksum::copy_short(self.read, from, &mut buf[..count]);
            self.read += remaining;
            self.check_segment(digest)?;
        } else {
            self.read_parts(&mut buf[..count])?;
        }
        Ok(count)
    }

    /// Reads from where a segment may have been begun to where one may have to be left.
    #[inline(never)]
    fn read_parts(&mut self, mut unread: &mut [u8]) -> Result<(), CorruptStream> {
        while !unread.is_empty() {
            let remaining =
                usize::try_from(self.current_segment.end - self.read).unwrap_or(usize::MAX);
            let (part, later) = unread.split_at_mut(remaining.min(unread.len()));
            let is_complete = part.len() == remaining;
            let mut digest = match self.partial_checksum.take() {
                None => SegmentChecksum::new(self.read, remaining),
                Some(digest) => *digest,
            };
            let mut into = &mut *part;
            for from in self.ring.parts(self.read, into.len()) {
                let (target, later) = into.split_at_mut(from.len());
                digest.copy(from, target);
                into = later;
            }
            self.read += part.len() as u64;
            if is_complete {
                self.check_segment(digest.value())?;
            } else {
                self.partial_checksum = Some(Box::new(digest));
            }
            unread = later;
        }
        Ok(())
    }

    /// Compares what was read of a segment with what was written, and goes on to the next.
    #[inline]
    fn check_segment(&mut self, digest: u64) -> Result<(), CorruptStream> {
        if digest != self.current_segment.digest {
            return Err(CorruptStream { offset: self.read });
        }
        if !self.later_segments.is_empty() {
            self.current_segment = self.later_segments.pop().unwrap_or_default();
        }
        Ok(())
    }

    /// Whether a window update is worth sending: a quarter of the window was read since the last
    /// one.
    #[inline]
    pub(crate) fn is_worth_advertising(&self, window: u32) -> bool {
        4 * (self.read - self.last_advertised) >= u64::from(window)
    }

    /// Sends a window update, which the writer gets at the instant `at`.
    pub(crate) fn advertise(&mut self, at: u64) {
        self.last_advertised = self.read;
        let at = self.pending_updates.last().map_or(at, |(_, previous_at)| at.max(*previous_at));
        self.pending_updates.push((self.read, at));
    }

    /// Lets what has been announced and has not been heard by now be lost. Returns whether there
    /// was any.
    pub(crate) fn drop_pending_updates(&mut self, now: u64) -> bool {
        self.apply_updates(now);
        let any_dropped = !self.pending_updates.is_empty();
        self.pending_updates.clear();
        if any_dropped {
            self.last_advertised = self.read_known_to_writer;
        }
        any_dropped
    }

    /// Has the processor load the bytes that are read next: the first and the last of them, which
    /// is all where messages are short.
    pub(crate) fn prefetch_read(&self) {
        self.ring.prefetch(self.read);
        self.ring.prefetch(self.written.wrapping_sub(1));
    }

    /// The same of the places of a short message that is written next.
    pub(crate) fn prefetch_write(&self) {
        const SHORT_LEN: u64 = 64;
        self.ring.prefetch(self.written);
        self.ring.prefetch(self.written + SHORT_LEN - 1);
    }

    /// Drops bytes that will not be read.
    pub(crate) fn discard(&mut self) {
        self.read = self.written;
        self.arrived = self.written;
        self.later_segments.clear();
        self.partial_checksum = None;
        self.ring.release();
    }
}

#[cfg(test)]
mod tests {
    use super::{CorruptStream, StreamBuffer};

    /// Two segments of eight bytes that have arrived, and were tampered with on the way.
    fn read_tampered(tamper: impl FnOnce(&mut StreamBuffer)) -> Result<Vec<u8>, CorruptStream> {
        let mut stream = StreamBuffer::default();
        let ends = [&b"01234567"[..], b"89abcdef"].map(|part| {
            let digest = stream.write(part);
            (stream.written, digest)
        });
        tamper(&mut stream);
        ends.iter().for_each(|(end, digest)| stream.on_segment(*end, *digest));
        let mut read = Vec::new();
        let mut buf = [0; 5];
        while stream.readable_len() > 0 {
            let count = stream.read(&mut buf)?;
            read.extend_from_slice(&buf[..count]);
        }
        Ok(read)
    }

    #[test]
    fn stream_with_one_bit_flipped_is_reported_as_corrupt() {
        assert_eq!(read_tampered(|_| ()), Ok(b"0123456789abcdef".to_vec()));
        for offset in 0..16 {
            let corrupted = read_tampered(|stream| stream.ring.corrupt(offset, |byte| byte ^ 1));
            let offset = if offset < 8 { 8 } else { 16 };
            assert_eq!(corrupted, Err(CorruptStream { offset }));
        }
    }

    /// Long segments are copied and digested in one go, also where they go beyond the end of the
    /// ring.
    #[test]
    fn long_segment_with_one_bit_flipped_anywhere_is_reported_as_corrupt() {
        const LEN: usize = 700;
        let bytes: Vec<u8> = (0..LEN).map(|n| (n * n / 7) as u8).collect();
        let mut stream = StreamBuffer::default();
        for round in 0..40 {
            let digest = stream.write(&bytes);
            let start = stream.read;
            stream.on_segment(stream.written, digest);
            let mut read = vec![0; LEN];
            let at = round * 17 + 5;
            if round % 2 == 1 {
                stream.ring.corrupt(start + at, |byte| byte ^ 0x80);
                let corrupted = CorruptStream { offset: start + LEN as u64 };
                assert_eq!(stream.read(&mut read), Err(corrupted), "byte {at}");
                stream.discard();
            } else {
                assert_eq!(stream.read(&mut read), Ok(LEN));
                assert_eq!(read, bytes);
            }
        }
    }

    #[test]
    fn dropped_doubled_or_swapped_segment_is_reported_as_corrupt() {
        let set = |stream: &mut StreamBuffer, text: &[u8; 16]| {
            (0..16).for_each(|at| stream.ring.corrupt(at, |_| text[at as usize]));
        };
        for (description, text, offset) in [
            ("dropped", b"89abcdef89abcdef", 8),
            ("doubled", b"0123456701234567", 16),
            ("swapped", b"89abcdef01234567", 8),
        ] {
            assert_eq!(
                read_tampered(|s| set(s, text)),
                Err(CorruptStream { offset }),
                "{description}"
            );
        }
    }

    #[test]
    fn full_window_opens_when_window_update_arrives() {
        let mut stream = StreamBuffer::default();
        let digest = stream.write(&[7; 8]);
        assert_eq!(stream.send_window(8, 0), 0);
        stream.on_segment(8, digest);
        assert_eq!(stream.read(&mut [0; 1]), Ok(1));
        assert!(!stream.is_worth_advertising(8));
        assert_eq!(stream.read(&mut [0; 2]), Ok(2));
        assert!(stream.is_worth_advertising(8));
        stream.advertise(100);
        assert_eq!((stream.send_window(8, 99), stream.next_update_at()), (0, Some(100)));
        assert_eq!((stream.send_window(8, 100), stream.next_update_at()), (3, None));
        assert_eq!(stream.read(&mut [0; 9]), Ok(5));
        stream.advertise(200);
        assert!(stream.drop_pending_updates(150));
        assert_eq!(stream.send_window(8, 300), 3);
        assert!(stream.is_worth_advertising(8), "what was lost is announced again");
    }
}
