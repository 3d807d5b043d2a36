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
pub(crate) struct PipeFlow {
    read_lock: Arc<Turn<()>>,
    write_lock: Arc<Turn<()>>,
    bytes: Rc<RefCell<FlowState>>,
}

#[derive(Default)]
struct FlowState {
    written: usize,
    read: usize,
    wakers: Vec<Waker>,
}

impl PipeFlow {
    async fn wait_until_read(&self) {
        let end = self.bytes.borrow().written;
        poll_fn(|cx| {
            let mut bytes = self.bytes.borrow_mut();
            if bytes.read >= end {
                return Poll::Ready(());
            }
            bytes.wakers.push(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }

    fn add_read(&self, count: usize) {
        let mut bytes = self.bytes.borrow_mut();
        bytes.read += count;
        bytes.wakers.drain(..).for_each(Waker::wake);
    }
}

/// Reads once.
pub(crate) async fn read_once(conn: Conn, flow: PipeFlow, len: usize) -> Value {
    let guard = if len == 0 { None } else { Some(flow.read_lock.clone().lock_owned().await) };
    let mut buf = vec![0; len];
    let outcome = (&conn).read(&mut buf).await;
    drop(guard);
    match outcome {
        Ok(0) if len > 0 => {
            json!({ "ok": { "n": 0, "data": "" }, "err": { "text": "EOF", "is": "io.EOF" } })
        }
        Ok(count) => {
            flow.add_read(count);
            json!({ "ok": { "n": count, "data": String::from_utf8_lossy(&buf[..count]) } })
        }
        Err(error) => {
            json!({ "ok": { "n": 0, "data": "" }, "err": error_texts::io_error_to_json(&error) })
        }
    }
}

/// Writes all, and waits until the other end has read it if that is `played` too.
pub(crate) async fn write_and_wait(
    conn: Conn,
    flow: PipeFlow,
    text: String,
    wait_until_read: bool,
) -> Value {
    let guard =
        if text.is_empty() { None } else { Some(flow.write_lock.clone().lock_owned().await) };
    let mut count = 0;
    let outcome = loop {
        match (&conn).write(&text.as_bytes()[count..]).await {
            Err(error) => break Err(error),
            Ok(written) => {
                count += written;
                flow.bytes.borrow_mut().written += written;
            }
        }
        if count == text.len() {
            break Ok(());
        }
    };
    if wait_until_read && outcome.is_ok() {
        flow.wait_until_read().await;
    }
    drop(guard);
    match outcome {
        Ok(()) => json!({ "ok": { "n": count } }),
        Err(error) => json!({ "ok": { "n": count }, "err": error_texts::io_error_to_json(&error) }),
    }
}
