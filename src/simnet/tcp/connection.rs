//! A connection: two ends, two directions, and what is on its way.
//!
//! Knows data and its states; refuses to know what happens when. Everything of one direction that
//! a message touches stands together.

use std::task::Waker;

use crate::net::{Cause, WaitList};
use crate::sim::{Key, Mark};
use crate::util::lazy_queue::LazyQueue;
use crate::util::prefetch::prefetch;
use crate::util::waiter::Waiter;

use crate::simnet::latency::Latency;
use crate::simnet::slab::Reused;
use crate::simnet::tcp::stream_buffer::{Corrupted, Stream};

/// What travels.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum What {
    Data,
    /// The end of the stream.
    Fin,
    /// The end of the connection, without ceremony.
    Reset,
}

impl What {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Data => "data",
            Self::Fin => "FIN",
            Self::Reset => "RST",
        }
    }
}

/// Something on its way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Item {
    pub(crate) what: What,
    /// The record in which it was sent.
    pub(crate) sent: Mark,
    /// Where its bytes end in the stream, and their digest.
    pub(crate) end: u64,
    pub(crate) digest: u64,
    /// When it was sent first, and when it arrives.
    pub(crate) sent_at: u64,
    pub(crate) at: u64,
}

/// What keeps the oldest item of a direction from arriving.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Trouble {
    None,
    /// It was lost, and is sent again before long.
    Lost,
    /// It is held on the way.
    Held,
}

/// Whether a direction carries a reset.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Reset {
    None,
    /// One was sent, which is not repeated if it is lost.
    Sent,
    /// The one that was sent answers something that the other end repeats until it arrives.
    Answers,
}

/// Those who wait for space in a direction.
#[derive(Debug, Default)]
pub(crate) struct Writers {
    pub(crate) waiting: WaitList,
    /// When the end that writes asks next whether the other is still there, if it is going to.
    pub(crate) asks_at: u64,
}

/// One direction of a connection, in the order in which it stands in memory: among thousands of
/// connections, most of the time goes into loading what a message touches, so that is first and
/// together.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Pipe {
    pub(crate) stream: Stream,
    /// The name of the direction, for choices, records and wake-ups.
    pub(crate) key: Key,
    /// How many items have been sent.
    pub(crate) items: u64,
    pub(crate) latency: Latency,
    /// Nothing arrives before this: what is sent later arrives later.
    pub(crate) last_at: u64,
    /// The oldest item on its way, and those behind it.
    pub(crate) head: Option<Item>,
    pub(crate) behind: LazyQueue<Item>,
    pub(crate) readers: WaitList,
    /// When something last arrived.
    pub(crate) heard_at: u64,
    pub(crate) window: u32,
    /// How many times in a row the oldest item was lost.
    pub(crate) losses: u32,
    pub(crate) trouble: Trouble,
    /// Whether anything was done to the way or to who is at its ends, and has to be looked at.
    pub(crate) odd: bool,
    /// Whether the trace is to tell what is read.
    pub(crate) traced: bool,
    /// Whether the end of the stream was sent, and has arrived.
    pub(crate) fin_sent: bool,
    pub(crate) fin_arrived: bool,
    pub(crate) reset: Reset,
    /// Whether the writer has missed an announcement of space, and how many times it was announced
    /// again then.
    pub(crate) missed_credit: bool,
    pub(crate) again: u8,
    /// Since when the sender has waited for an acknowledgement that does not come of itself.
    pub(crate) unheard_since: Option<u64>,
    /// What is kept of those who wait for space, as soon as anything is.
    pub(crate) writers: Option<Box<Writers>>,
}

// Two of them are most of what a connection takes.
const _: () = assert!(size_of::<Pipe>() <= 280);

impl Default for Pipe {
    fn default() -> Self {
        Self {
            stream: Stream::default(),
            head: None,
            behind: LazyQueue::default(),
            last_at: 0,
            items: 0,
            key: Key::NONE,
            latency: Latency::LOOPBACK,
            window: 0,
            readers: WaitList::default(),
            writers: None,
            trouble: Trouble::None,
            odd: false,
            traced: false,
            losses: 0,
            unheard_since: None,
            missed_credit: false,
            again: 0,
            heard_at: 0,
            fin_sent: false,
            fin_arrived: false,
            reset: Reset::None,
        }
    }
}

impl Pipe {
    /// Begins again, where another has ended: field by field, because whatever was moved here as a
    /// whole would be read in wider words than it was written in.
    #[inline]
    pub(crate) fn begin(&mut self, key: Key, latency: Latency, window: u32, now: u64) {
        self.stream.begin();
        (self.key, self.latency, self.window) = (key, latency, window);
        // The hand-shake was the first.
        self.items = 1;
        (self.last_at, self.heard_at, self.losses) = (0, now, 0);
        (self.head, self.unheard_since, self.trouble) = (None, None, Trouble::None);
        (self.odd, self.traced, self.missed_credit, self.again) = (false, false, false, 0);
        (self.fin_sent, self.fin_arrived, self.reset) = (false, false, Reset::None);
    }

    /// Ends: nothing is kept that takes up memory, or is somebody else's.
    #[inline(never)]
    fn end(&mut self) {
        self.stream.end();
        self.behind.clear();
        (self.readers, self.writers) = (WaitList::default(), None);
    }

    /// Puts something on its way. Returns whether it is the oldest.
    #[inline(always)]
    pub(crate) fn put_on_way(&mut self, item: Item) -> bool {
        if self.head.is_some() {
            self.behind.push(item);
            return false;
        }
        self.head = Some(item);
        true
    }

    /// Takes the oldest item off its way.
    #[inline]
    pub(crate) fn drop_head(&mut self) {
        self.losses = 0;
        if self.behind.is_empty() {
            // By itself: else a whole item is moved, of which nothing but the tag means anything.
            self.head = None;
        } else {
            self.head = self.behind.pop();
        }
    }

    /// Hands out all who wait for space.
    pub(crate) fn drain_writers(&mut self, wake: impl FnMut(Waiter)) {
        if let Some(writers) = &mut self.writers {
            writers.waiting.drain(wake);
        }
    }

    /// Whether anybody waits for space.
    pub(crate) fn has_writers(&self) -> bool {
        self.writers.as_ref().is_some_and(|writers| !writers.waiting.is_empty())
    }

    /// Forgets what is on its way.
    pub(crate) fn drop_items(&mut self) {
        self.head = None;
        self.behind.clear();
        self.trouble = Trouble::None;
        self.losses = 0;
    }

    /// Forgets what is not out yet: what was lost and has to be sent again, and what waits for
    /// bandwidth. Returns whether nothing is left on its way.
    pub(crate) fn drop_unsent(&mut self, now: u64) -> bool {
        let is_out = |item: &Item| item.sent_at <= now;
        if self.trouble == Trouble::Lost || !self.head.as_ref().is_some_and(is_out) {
            self.drop_items();
        } else if let Some(behind) = self.behind.queue() {
            behind.retain(is_out);
        }
        self.head.is_none()
    }

    /// Counts what is on its way: items.
    pub(crate) fn on_the_way(&self) -> usize {
        usize::from(self.head.is_some()) + self.behind.len()
    }

    /// Numbers the item that has arrived last.
    pub(crate) fn arrived(&self) -> u64 {
        self.items - self.on_the_way() as u64 - 1
    }

    /// Begins an announcement of space, which is made again if the last one was missed.
    pub(crate) fn begin_announcement(&mut self) {
        self.again = if self.missed_credit { self.again.saturating_add(1) } else { 0 };
    }

    /// Numbers the announcement of space: by how much has been read, and above that, by how many
    /// before it were missed.
    pub(crate) fn announcement(&self) -> u64 {
        self.stream.read | u64::from(self.again) << 56
    }

    /// Numbers the attempts to get the oldest item through, so that one more of them moves no
    /// choice about another item.
    pub(crate) fn attempt(&self) -> u64 {
        let item = self.items - self.on_the_way() as u64;
        item * 64 + u64::from(self.losses.min(63))
    }
}

/// How an end of a connection is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Fate {
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
    Gone,
    /// Its host has no power: nobody answers.
    Silent,
}

impl Fate {
    /// Why an operation on this end fails; `None` while it does not.
    pub(crate) const fn cause(self) -> Option<Cause> {
        match self {
            Self::Open => None,
            Self::Reset => Some(Cause::ConnReset),
            Self::TimedOut => Some(Cause::TimedOut),
            // The layer above knows better, and says so.
            Self::Closed | Self::Gone | Self::Silent => Some(Cause::BrokenPipe),
        }
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Closed => "closed",
            Self::Reset => "reset",
            Self::TimedOut => "timed out",
            Self::Gone => "gone",
            Self::Silent => "silent",
        }
    }
}

/// One end of a connection.
#[derive(Debug, Default)]
pub(crate) struct EndState {
    pub(crate) machine: u32,
    pub(crate) port: u16,
    pub(crate) fate: Fate,
    /// Whether the program's side of it still exists.
    pub(crate) held: bool,
}

/// A connection; the first end is the dialer's, and each end writes into the pipe of its number.
#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct Connection {
    pub(crate) net: u32,
    pub(crate) ends: [EndState; 2],
    pub(crate) pipes: [Pipe; 2],
}

impl Reused for Connection {
    #[inline]
    fn is_used(&self) -> bool {
        self.ends[0].held | self.ends[1].held
    }
}

/// What comes of reading without a look at the world.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Glance {
    /// So many bytes.
    Read(usize),
    /// So many bytes, of which the writer is to hear.
    Much(usize),
    /// Nothing yet, for which the polled task waits.
    Empty,
    /// Nothing: the world has to be looked at.
    Odd,
    Corrupt(Corrupted),
}

impl Connection {
    /// Is not in use any more.
    #[inline]
    pub(crate) fn end(&mut self) {
        self.pipes.iter_mut().for_each(Pipe::end);
    }

    /// Reads at one end, or lets whoever has the waker wait, unless anything about that concerns
    /// the world or anybody else: nearly always it does not.
    #[inline]
    pub(crate) fn glance(&mut self, end: usize, buf: &mut [u8], waker: &Waker) -> Glance {
        let Self { ends, pipes, .. } = self;
        let pipe = &mut pipes[1 - end];
        if ends[end].fate != Fate::Open || buf.is_empty() {
            return Glance::Odd;
        }
        if pipe.stream.ready() == 0 {
            let waits = !pipe.fin_arrived && pipe.readers.keep_lone_task(waker);
            return if waits { Glance::Empty } else { Glance::Odd };
        }
        if pipe.odd | pipe.traced {
            return Glance::Odd;
        }
        match pipe.stream.read(buf) {
            Ok(count) if pipe.stream.is_worth_announcing(pipe.window) => Glance::Much(count),
            Ok(count) => Glance::Read(count),
            Err(corrupted) => Glance::Corrupt(corrupted),
        }
    }

    /// Has the processor load it.
    #[inline]
    pub(crate) fn prefetch(&self) {
        prefetch(&self.net, size_of::<Self>());
    }

    /// The machines at the beginning and at the end of a pipe.
    #[inline]
    pub(crate) const fn route(&self, way: usize) -> (u32, u32) {
        (self.ends[way].machine, self.ends[1 - way].machine)
    }
}
