//! Reads and writes as the reference's pipe does them.
//!
//! Knows when a read or a write is over there, which is not when it is over here.

use std::cell::RefCell;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker};

use futures::io::{AsyncReadExt, AsyncWriteExt};
use futures::lock::Mutex as Turn;
use serde_json::{Value, json};
use virtnet::Conn;

use crate::reference::error_texts;

/// One direction of a connection, as the reference keeps it.
///
/// Go's pipe serves its readers one after the other, and its writers likewise; a program that
/// shares a `Conn` takes turns. There a write is over when every byte was read, here when it was
/// handed to whoever reads.
#[derive(Clone, Default)]
pub(crate) struct Flow {
    reading: Arc<Turn<()>>,
    writing: Arc<Turn<()>>,
    bytes: Rc<RefCell<Bytes>>,
}

#[derive(Default)]
struct Bytes {
    written: usize,
    read: usize,
    waiting: Vec<Waker>,
}

impl Flow {
    async fn wait_until_read(&self) {
        let end = self.bytes.borrow().written;
        poll_fn(|cx| {
            let mut bytes = self.bytes.borrow_mut();
            if bytes.read >= end {
                return Poll::Ready(());
            }
            bytes.waiting.push(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }

    fn was_read(&self, count: usize) {
        let mut bytes = self.bytes.borrow_mut();
        bytes.read += count;
        bytes.waiting.drain(..).for_each(Waker::wake);
    }
}

/// Reads once.
pub(crate) async fn read(conn: Conn, flow: Flow, len: usize) -> Value {
    let turn = if len == 0 { None } else { Some(flow.reading.clone().lock_owned().await) };
    let mut buf = vec![0; len];
    let outcome = (&conn).read(&mut buf).await;
    drop(turn);
    match outcome {
        Ok(0) if len > 0 => {
            json!({ "ok": { "n": 0, "data": "" }, "err": { "text": "EOF", "is": "io.EOF" } })
        }
        Ok(count) => {
            flow.was_read(count);
            json!({ "ok": { "n": count, "data": String::from_utf8_lossy(&buf[..count]) } })
        }
        Err(error) => json!({ "ok": { "n": 0, "data": "" }, "err": error_texts::io(&error) }),
    }
}

/// Writes all, and waits until the other end has read it if that is `played` too.
pub(crate) async fn write(conn: Conn, flow: Flow, text: String, played: bool) -> Value {
    let turn = if text.is_empty() { None } else { Some(flow.writing.clone().lock_owned().await) };
    let mut count = 0;
    let outcome = loop {
        match (&conn).write(&text.as_bytes()[count..]).await {
            Err(error) => break Err(error),
            Ok(more) => {
                count += more;
                flow.bytes.borrow_mut().written += more;
            }
        }
        if count == text.len() {
            break Ok(());
        }
    };
    if played && outcome.is_ok() {
        flow.wait_until_read().await;
    }
    drop(turn);
    match outcome {
        Ok(()) => json!({ "ok": { "n": count } }),
        Err(error) => json!({ "ok": { "n": count }, "err": error_texts::io(&error) }),
    }
}
