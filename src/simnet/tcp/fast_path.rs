//! How data gets from one end of a connection to the other when nothing is the matter with it.
//!
//! Knows a connection and the world; refuses to know links, faults and limits. Nearly all data goes
//! this way, which saves 110 instructions a round trip; where anything else has a say, nothing is
//! done here, and `transit` does it all.

use crate::sim::ChoiceFamily;
use crate::sim::{TaskId, World};

use crate::simnet::tcp::connection::{Connection, Fate, Item, Trouble, What};
use crate::simnet::tcp::transfer::{Bell, bell};

/// What comes of letting data arrive that may not be so plain.
pub(crate) enum Arrival {
    /// Something has a say: nothing was done.
    Odd,
    /// Nobody waits for it.
    Unheard,
    /// This task is to be woken.
    Heard(TaskId),
}

impl Connection {
    /// Lets data arrive, if that is all there is on a clear way to an end that is open, and nobody
    /// follows what happens.
    #[inline(always)]
    pub(crate) fn arrive_plainly(&mut self, way: usize, world: &mut World) -> Arrival {
        let Self { ends, pipes, .. } = self;
        let (way, end) = (way & 1, 1 - (way & 1));
        let pipe = &mut pipes[way];
        // Field by field: moved as a whole, an item is read in wider words than it was written in,
        // which takes 8 ns a round trip.
        let Some(Item { what: What::Data, end: until, digest, .. }) = pipe.head else {
            return Arrival::Odd;
        };
        let clear = !pipe.odd && pipe.trouble == Trouble::None && pipe.behind.is_empty();
        if !clear || ends[end].fate != Fate::Open || world.keeps_trace() {
            return Arrival::Odd;
        }
        let reader = match pipe.readers.take_lone_task() {
            Some(who) => Arrival::Heard(TaskId::of_number(who.task)),
            None if pipe.readers.is_empty() => Arrival::Unheard,
            None => return Arrival::Odd,
        };
        pipe.head = None;
        pipe.losses = 0;
        world.fingerprint_delivery(pipe.key, pipe.stream.arrived, digest);
        pipe.heard_at = world.now;
        world.set_actor(pipe.key);
        pipe.stream.arrive(until, digest);
        reader
    }

    /// Writes as much as there is space for, if nothing keeps it from being sent at once; the
    /// connection is the one of this number.
    #[inline]
    pub(crate) fn write_plainly(
        &mut self,
        index: usize,
        end: usize,
        buf: &[u8],
        world: &mut World,
    ) -> Option<usize> {
        let Self { ends, pipes, .. } = self;
        let pipe = &mut pipes[end];
        if pipe.odd || pipe.fin_sent || ends[end].fate != Fate::Open || !world.is_running() {
            return None;
        }
        let now = world.now;
        let count = pipe.stream.fits(buf.len(), pipe.window, now);
        if count == 0 {
            return None;
        }
        let digest = pipe.stream.write(&buf[..count]);
        let takes = world.draw_latency(ChoiceFamily::Latency, pipe.key, pipe.items, pipe.latency);
        pipe.items += 1;
        let at = (now + takes).max(pipe.last_at);
        pipe.last_at = at;
        let item = Item {
            what: What::Data,
            sent: world.current_record(),
            end: pipe.stream.written,
            digest,
            sent_at: now,
            at,
        };
        if pipe.put_on_way(item) {
            world.set_callback_timer(bell(index, end, Bell::Head), at);
        }
        Some(count)
    }
}
