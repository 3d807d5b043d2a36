//! The yardstick's network: pipes with latency on the bare executor, and nothing else.
//!
//! Each message takes a drawn time of 1 to 10 ms and overtakes none before it; a window of 64 KiB
//! is all that holds a writer up. No names, ports, faults, digests, records or errors.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

use crate::bare::{now, sleep, wake_at};

const WINDOW: usize = 64 * 1024;

thread_local! {
    static STATE: Cell<u64> = const { Cell::new(1) };
}

/// How long the next message takes: 1 to 10 ms.
fn latency() -> u64 {
    let mut z = STATE.get().wrapping_add(0x9E37_79B9_7F4A_7C15);
    STATE.set(z);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^= z >> 31;
    1_000_000 + ((u128::from(z) * 9_000_001) >> 64) as u64
}

/// One direction: bytes in a ring, and when each message arrives.
#[derive(Default)]
struct Way {
    ring: VecDeque<u8>,
    /// How many bytes a message has, and when it arrives.
    messages: VecDeque<(usize, u64)>,
    /// How many bytes have arrived and were not read.
    ready: usize,
    last_at: u64,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Way {
    /// Lets arrive what is due.
    fn arrive(&mut self) {
        while let Some(&(bytes, at)) = self.messages.front()
            && at <= now()
        {
            self.messages.pop_front();
            self.ready += bytes;
        }
    }
}

/// One end of a connection.
pub(crate) struct End {
    read: Rc<RefCell<Way>>,
    write: Rc<RefCell<Way>>,
}

fn pipe() -> (End, End) {
    let (there, back) = (Rc::new(RefCell::default()), Rc::new(RefCell::default()));
    let other = End { read: Rc::clone(&there), write: Rc::clone(&back) };
    (End { read: back, write: there }, other)
}

impl End {
    /// Reads exactly as much as `buf` holds.
    pub(crate) async fn read_exact(&self, buf: &mut [u8]) {
        let mut filled = 0;
        poll_fn(|cx| {
            let mut way = self.read.borrow_mut();
            way.arrive();
            let count = way.ready.min(buf.len() - filled);
            let (front, back) = way.ring.as_slices();
            let first = front.len().min(count);
            buf[filled..filled + first].copy_from_slice(&front[..first]);
            buf[filled + first..filled + count].copy_from_slice(&back[..count - first]);
            drop(way.ring.drain(..count));
            way.ready -= count;
            filled += count;
            if count > 0 {
                way.writer.take().into_iter().for_each(Waker::wake);
            }
            if filled == buf.len() {
                return Poll::Ready(());
            }
            match way.messages.front() {
                Some((_, at)) => wake_at(*at, cx.waker().clone()),
                None => way.reader = Some(cx.waker().clone()),
            }
            Poll::Pending
        })
        .await;
    }

    /// Writes all of `buf`.
    pub(crate) async fn write_all(&self, buf: &[u8]) {
        let mut written = 0;
        poll_fn(|cx| {
            let mut way = self.write.borrow_mut();
            let count = (buf.len() - written).min(WINDOW - way.ring.len());
            if count > 0 {
                way.ring.extend(&buf[written..written + count]);
                written += count;
                let at = (now() + latency()).max(way.last_at);
                way.last_at = at;
                way.messages.push_back((count, at));
                way.reader.take().into_iter().for_each(|reader| wake_at(at, reader));
            }
            if written == buf.len() {
                return Poll::Ready(());
            }
            way.writer = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

/// Where connections arrive.
#[derive(Default)]
struct Queue {
    ends: VecDeque<End>,
    acceptor: Option<Waker>,
}

/// Hands over one end of each connection.
#[derive(Clone, Default)]
pub(crate) struct Listener(Rc<RefCell<Queue>>);

impl Listener {
    /// Connects, which takes a round trip.
    pub(crate) async fn dial(&self) -> End {
        sleep(latency()).await;
        let (near, far) = pipe();
        {
            let mut queue = self.0.borrow_mut();
            queue.ends.push_back(far);
            queue.acceptor.take().into_iter().for_each(Waker::wake);
        }
        sleep(latency()).await;
        near
    }

    /// Waits for a connection.
    pub(crate) async fn accept(&self) -> End {
        poll_fn(|cx| {
            let mut queue = self.0.borrow_mut();
            match queue.ends.pop_front() {
                Some(end) => Poll::Ready(end),
                None => {
                    queue.acceptor = Some(cx.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }
}
