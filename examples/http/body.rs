//! HTTP bodies in pieces: the seed decides where a body is split and how long the pauses are.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use futures::stream::{self, LocalBoxStream, StreamExt};
use http_body_util::{Either, Empty, StreamBody};
use hyper::body::{Bytes, Frame};
use virtnet::Sim;

/// One piece of a body, or why there are no more.
pub(crate) type FrameResult = io::Result<Frame<Bytes>>;

/// A body of unknown length, which HTTP/1.1 sends in chunks; or none.
pub(crate) type Body = Either<StreamBody<LocalBoxStream<'static, FrameResult>>, Empty<Bytes>>;

/// A request without a body.
pub(crate) fn empty() -> Body {
    Either::Right(Empty::new())
}

/// A body that comes out of a state, piece by piece.
pub(crate) fn unfold<T, Fut>(state: T, next: impl FnMut(T) -> Fut + 'static) -> Body
where
    T: 'static,
    Fut: Future<Output = Option<(FrameResult, T)>> + 'static,
{
    Either::Left(StreamBody::new(stream::unfold(state, next).boxed_local()))
}

/// A body sent in pieces, with pauses.
pub(crate) fn chunked(sim: Sim, body: Bytes) -> Body {
    unfold((split_randomly(sim, body), true), move |(mut pieces, is_first)| async move {
        let piece = pieces.pop_front()?;
        if !is_first {
            pause(sim).await;
        }
        Some((Ok(Frame::data(piece)), (pieces, false)))
    })
}

/// Cuts a body of at least 16 bytes into 2 to 6 pieces, none of them empty.
pub(crate) fn split_randomly(sim: Sim, mut body: Bytes) -> VecDeque<Bytes> {
    let mut pieces = VecDeque::new();
    for remaining in (1..2 + sim.choose("pieces", 5)).rev() {
        let max_len = body.len() - remaining;
        pieces.push_back(body.split_to(1 + sim.choose("piece", max_len)));
    }
    pieces.push_back(body);
    pieces
}

/// Waits between two pieces: up to 20 ms.
pub(crate) async fn pause(sim: Sim) {
    let micros = sim.choose("pause", 20_000) as u64;
    sim.sleep(Duration::from_micros(micros)).await;
}
