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
pub(crate) struct Done {
    pub(crate) out: Value,
    pub(crate) makes: Option<Object>,
}

impl Done {
    pub(crate) fn new(out: Value) -> Self {
        Self { out, makes: None }
    }

    pub(crate) fn made<T>(
        result: Result<T, Error>,
        ok: impl Fn(&T) -> Value,
        object: fn(T) -> Object,
    ) -> Self {
        match result {
            Ok(made) => Self { out: json!({ "ok": ok(&made) }), makes: Some(object(made)) },
            Err(error) => Self::new(json!({ "err": error_texts::error(&error) })),
        }
    }
}

/// Says what a panic said.
pub(crate) fn panicked(panic: &(dyn std::any::Any + Send)) -> Done {
    let text = panic.downcast_ref::<String>().cloned();
    let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_string()));
    Done::new(json!({ "panic": text }))
}

/// Says which ends a connection has.
pub(crate) fn ends(conn: &Conn) -> Value {
    let (local, remote) = (conn.local_addr(), conn.peer_addr());
    json!({ "local": local.to_string(), "remote": remote.to_string(), "net": local.network() })
}
