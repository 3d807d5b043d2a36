//! [`Connection`]: two endpoints, two directions, and the segments in flight.
//!
//! The fields of one direction that a message touches stand together in memory.

use crate::net::{Cause, WaitList};
use crate::sim::{PathHash, RecordIndex, SegmentKind};
use crate::util::lazy_queue::LazyQueue;
use crate::util::prefetch::prefetch;
use crate::util::waiter::Waiter;

use crate::simnet::latency::Latency;
use crate::simnet::slab::SlabEntry;
use crate::simnet::tcp::stream_buffer::StreamBuffer;

/// A segment that has been sent and has not arrived.
#[derive(Clone, Copy, Debug)]
pub(crate) struct InFlightSegment {
    pub(crate) kind: SegmentKind,
    /// The record in which it was sent.
    pub(crate) sent_record: RecordIndex,
    /// The end of its bytes in the stream, and their digest.
    pub(crate) end_offset: u64,
    pub(crate) digest: u64,
    /// The instant at which it was first sent, and the one at which it arrives.
    pub(crate) sent_at: u64,
    pub(crate) arrives_at: u64,
}

/// The reason why the oldest segment of a direction does not arrive.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Blocked {
    None,
    /// It was lost, and is sent again before long.
    Lost,
    /// It is held on the way.
    Held,
}

/// Whether a direction carries a reset.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ResetState {
    None,
    /// One was sent, which is not repeated if it is lost.
    Sent,
    /// The one that was sent answers something that the other end repeats until it arrives.
    SentAsReply,
}

/// The writers that wait for space in a direction.
#[derive(Debug, Default)]
pub(crate) struct WriterState {
    pub(crate) wait_list: WaitList,
    /// The instant of the next probe, if one is to be sent.
    pub(crate) next_probe_at: u64,
}

/// One direction of a connection, in the order in which it stands in memory: among thousands of
/// connections, most of the time goes into loading what a message touches, so that is first and
/// together.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct HalfConn {
    pub(crate) stream: StreamBuffer,
    /// The name of the direction, for choices, records and wake-ups.
    pub(crate) key: PathHash,
    /// The number of segments that were sent.
    pub(crate) segments_sent: u64,
    pub(crate) latency: Latency,
    /// Nothing arrives before this: what is sent later arrives later.
    pub(crate) last_arrival_at: u64,
    /// The oldest item on its way, and those behind it.
    pub(crate) in_flight_front: Option<InFlightSegment>,
    pub(crate) in_flight_tail: LazyQueue<InFlightSegment>,
    pub(crate) readers: WaitList,
    /// The instant at which a segment last arrived.
    pub(crate) last_received_at: u64,
    pub(crate) window: u32,
    /// The number of times in a row that the oldest segment was lost.
    pub(crate) losses: u32,
    pub(crate) blocked: Blocked,
    /// Whether anything was done to the way or to who is at its ends, and has to be looked at.
    pub(crate) needs_slow_path: bool,
    /// Whether the end of the stream was sent, and has arrived.
    pub(crate) fin_sent: bool,
    pub(crate) fin_arrived: bool,
    pub(crate) reset: ResetState,
    /// Whether the writer has missed an announcement of space, and how many times it was announced
    /// again then.
    pub(crate) update_lost: bool,
    pub(crate) update_attempt: u8,
    /// Since when the sender has waited for an acknowledgement that does not come of itself.
    pub(crate) unacked_since: Option<u64>,
    /// The waiting writers; made at the first wait.
    pub(crate) writers: Option<Box<WriterState>>,
}

// Two of them are most of what a connection takes.
const _: () = assert!(size_of::<HalfConn>() <= 280);

impl Default for HalfConn {
    fn default() -> Self {
        Self {
            stream: StreamBuffer::default(),
            in_flight_front: None,
            in_flight_tail: LazyQueue::default(),
            last_arrival_at: 0,
            segments_sent: 0,
            key: PathHash::NONE,
            latency: Latency::LOOPBACK,
            window: 0,
            readers: WaitList::default(),
            writers: None,
            blocked: Blocked::None,
            needs_slow_path: false,
            losses: 0,
            unacked_since: None,
            update_lost: false,
            update_attempt: 0,
            last_received_at: 0,
            fin_sent: false,
            fin_arrived: false,
            reset: ResetState::None,
        }
    }
}

impl HalfConn {
    /// Begins again, where another has ended: field by field, because whatever was moved here as a
    /// whole would be read in wider words than it was written in.
    #[inline]
    pub(crate) fn init(&mut self, key: PathHash, latency: Latency, window: u32, now: u64) {
        self.stream.init();
        (self.key, self.latency, self.window) = (key, latency, window);
        // The hand-shake was the first.
        self.segments_sent = 1;
        (self.last_arrival_at, self.last_received_at, self.losses) = (0, now, 0);
        (self.in_flight_front, self.unacked_since, self.blocked) = (None, None, Blocked::None);
        (self.needs_slow_path, self.update_lost, self.update_attempt) = (false, false, 0);
        (self.fin_sent, self.fin_arrived, self.reset) = (false, false, ResetState::None);
    }

    /// Ends the direction: drops wakers, which may be the user's, and memory.
    #[inline(never)]
    fn recycle(&mut self) {
        self.stream.recycle();
        self.in_flight_tail.clear();
        (self.readers, self.writers) = (WaitList::default(), None);
    }

    /// Puts something on its way. Returns whether it is the oldest.
    #[inline(always)]
    pub(crate) fn push_in_flight(&mut self, segment: InFlightSegment) -> bool {
        if self.in_flight_front.is_some() {
            self.in_flight_tail.push(segment);
            return false;
        }
        self.in_flight_front = Some(segment);
        true
    }

    /// Takes the oldest item off its way.
    #[inline]
    pub(crate) fn pop_in_flight(&mut self) {
        self.losses = 0;
        if self.in_flight_tail.is_empty() {
            // By itself: else a whole item is moved, of which nothing but the tag means anything.
            self.in_flight_front = None;
        } else {
            self.in_flight_front = self.in_flight_tail.pop();
        }
    }

    /// Hands out all who wait for space.
    pub(crate) fn drain_writers(&mut self, wake: impl FnMut(Waiter)) {
        if let Some(writers) = &mut self.writers {
            writers.wait_list.drain(wake);
        }
    }

    /// Whether a writer waits for space.
    pub(crate) fn has_writers(&self) -> bool {
        self.writers.as_ref().is_some_and(|writers| !writers.wait_list.is_empty())
    }

    /// Forgets what is on its way.
    pub(crate) fn clear_in_flight(&mut self) {
        self.in_flight_front = None;
        self.in_flight_tail.clear();
        self.blocked = Blocked::None;
        self.losses = 0;
    }

    /// Forgets what is not out yet: what was lost and has to be sent again, and what waits for
    /// bandwidth. Returns whether nothing is left on its way.
    pub(crate) fn drop_unsent(&mut self, now: u64) -> bool {
        let has_left = |segment: &InFlightSegment| segment.sent_at <= now;
        if self.blocked == Blocked::Lost || !self.in_flight_front.as_ref().is_some_and(has_left) {
            self.clear_in_flight();
        } else if let Some(queue) = self.in_flight_tail.queue() {
            queue.retain(has_left);
        }
        self.in_flight_front.is_none()
    }

    /// Counts what is on its way: items.
    pub(crate) fn in_flight_len(&self) -> usize {
        usize::from(self.in_flight_front.is_some()) + self.in_flight_tail.len()
    }

    /// Numbers the item that has arrived last.
    pub(crate) fn last_delivered(&self) -> u64 {
        self.segments_sent - self.in_flight_len() as u64 - 1
    }

    /// Begins an announcement of space, which is made again if the last one was missed.
    pub(crate) fn begin_update(&mut self) {
        self.update_attempt =
            if self.update_lost { self.update_attempt.saturating_add(1) } else { 0 };
    }

    /// Numbers the announcement of space: by how much has been read, and above that, by how many
    /// before it were missed.
    pub(crate) fn update_number(&self) -> u64 {
        self.stream.read | u64::from(self.update_attempt) << 56
    }

    /// Numbers the attempts to get the oldest item through, so that one more of them moves no
    /// choice about another item.
    pub(crate) fn attempt_number(&self) -> u64 {
        let segment = self.segments_sent - self.in_flight_len() as u64;
        segment * 64 + u64::from(self.losses.min(63))
    }
}

/// The state of an endpoint.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum EndpointState {
    Open,
    /// Closed by its owner, who had read all that had arrived; what it has written is still
    /// delivered.
    #[default]
    Closed,
    /// Torn down by the other end.
    Reset,
    /// The other end did not answer in time.
    TimedOut,
    /// It was torn down, or its host has crashed or was restarted since: whatever arrives is
    /// answered with a reset.
    Aborted,
    /// Its host has no power and does not answer.
    PoweredOff,
}

impl EndpointState {
    /// Why an operation on this end fails; `None` while it does not.
    pub(crate) const fn cause(self) -> Option<Cause> {
        match self {
            Self::Open => None,
            Self::Reset => Some(Cause::ConnReset),
            Self::TimedOut => Some(Cause::TimedOut),
            // The layer above knows better, and says so.
            Self::Closed | Self::Aborted | Self::PoweredOff => Some(Cause::BrokenPipe),
        }
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Closed => "closed",
            Self::Reset => "reset",
            Self::TimedOut => "timed out",
            Self::Aborted => "gone",
            Self::PoweredOff => "silent",
        }
    }
}

/// One end of a connection.
#[derive(Debug, Default)]
pub(crate) struct Endpoint {
    pub(crate) host: u32,
    pub(crate) port: u16,
    pub(crate) state: EndpointState,
    /// Whether the program's side of it still exists.
    pub(crate) has_handle: bool,
}

/// A connection; the first end is the dialer's, and each end writes into the pipe of its number.
#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct Connection {
    pub(crate) net: u32,
    pub(crate) endpoints: [Endpoint; 2],
    pub(crate) halves: [HalfConn; 2],
}

impl SlabEntry for Connection {
    #[inline]
    fn is_used(&self) -> bool {
        self.endpoints[0].has_handle | self.endpoints[1].has_handle
    }
}

impl Connection {
    /// Is not in use any more.
    #[inline]
    pub(crate) fn recycle(&mut self) {
        self.halves.iter_mut().for_each(HalfConn::recycle);
    }

    /// Has the processor load it.
    #[inline]
    pub(crate) fn prefetch(&self) {
        prefetch(&self.net, size_of::<Self>());
    }

    /// The hosts of the sender and the receiver of a direction.
    #[inline]
    pub(crate) const fn route(&self, direction: usize) -> (u32, u32) {
        (self.endpoints[direction].host, self.endpoints[1 - direction].host)
    }
}
