//! What operations make, and what they come to, in the form of the recording.

use serde_json::{Value, json};
use virtnet::{Conn, Error, Host, Listener, SubNetwork, pipenet};

use crate::reference::error_texts;

/// What a name of the recording stands for.
#[derive(Clone)]
pub(crate) enum Object {
    Net(SubNetwork),
    Pipes(pipenet::Network),
    Host(Host),
    Listener(Listener),
    Conn(Conn),
}

/// What an operation came to, in the form of the recording.
pub(crate) struct OperationResult {
    pub(crate) out: Value,
    pub(crate) created: Option<Object>,
}

impl OperationResult {
    pub(crate) fn new(out: Value) -> Self {
        Self { out, created: None }
    }

    pub(crate) fn from_result<T>(
        result: Result<T, Error>,
        ok: impl Fn(&T) -> Value,
        object: fn(T) -> Object,
    ) -> Self {
        match result {
            Ok(value) => Self { out: json!({ "ok": ok(&value) }), created: Some(object(value)) },
            Err(error) => Self::new(json!({ "err": error_texts::error_to_json(&error) })),
        }
    }
}

/// Says what a panic said.
pub(crate) fn panic_result(panic: &(dyn std::any::Any + Send)) -> OperationResult {
    let text = panic.downcast_ref::<String>().cloned();
    let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_string()));
    OperationResult::new(json!({ "panic": text }))
}

/// Says which ends a connection has.
pub(crate) fn conn_addrs(conn: &Conn) -> Value {
    let (local, remote) = (conn.local_addr(), conn.peer_addr());
    json!({ "local": local.to_string(), "remote": remote.to_string(), "net": local.network() })
}
