//! Our errors in the words of the recording.
//!
//! Knows the names of the reference for what this library calls otherwise.

use serde_json::{Value, json};
use virtnet::{Addr, Cause, Error, Op};

/// Says what an error is, in the form of the recording.
pub(crate) fn error_to_json(error: &Error) -> Value {
    let root = error.root();
    let sentinel = sentinel_name(root);
    let mut value = json!({ "text": error.to_string() });
    if let Some(name) = sentinel {
        value["errors_is"] = json!([name]);
    }
    if matches!(error.op, Op::NewHost | Op::Close) {
        value["cause"] = json!(sentinel.map_or_else(|| root.to_string(), str::to_string));
        return value;
    }
    let addr = |addr: &Option<Addr>| addr.as_ref().map_or("<nil>".to_string(), Addr::to_string);
    value["timeout"] = json!(*root == Cause::TimedOut);
    value["OpError"] = json!({
        "Op": error.op.to_string(),
        "Net": &*error.network,
        "Source": addr(&error.src),
        "Addr": addr(&error.addr),
        "Err": cause_to_json(&error.cause),
    });
    value
}

/// Says what a cause is, in the form of the recording.
pub(crate) fn cause_to_json(cause: &Cause) -> Value {
    let text = cause.to_string();
    match cause {
        Cause::InvalidAddr(addr) => json!({
            "text": text,
            "timeout": false,
            "AddrError": { "Err": addr.reason, "Addr": addr.addr },
        }),
        Cause::Registry(registry) => {
            let name = sentinel_name(cause.root());
            json!({
                "text": text,
                "cause": name,
                "errors_is": [name],
                "RegistryError": {
                    "Registry": registry.registry,
                    "Op": registry.op,
                    "Args": registry.args.to_string().trim_start(),
                    "Err": crate::reference::error_texts::cause_to_json(&registry.cause),
                },
            })
        }
        Cause::Nested(nested) => error_to_json(nested),
        _ => match sentinel_name(cause) {
            Some(name) => json!({ "text": text, "is": name }),
            None => json!({ "text": text }),
        },
    }
}

/// Says what an error of a read or a write is.
pub(crate) fn io_error_to_json(io: &std::io::Error) -> Value {
    match io.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
        Some(inner) => error_to_json(inner),
        None => json!({ "text": io.to_string(), "not an Error": true }),
    }
}

/// The reference's name of a cause that has one.
fn sentinel_name(cause: &Cause) -> Option<&'static str> {
    Some(match cause {
        Cause::NetDown => "ErrNetDown",
        Cause::HostDown => "ErrHostDown",
        Cause::SockDown => "ErrSockDown",
        Cause::AddrInUse => "ErrAddrAlreadyUsed",
        Cause::AddrNotLocal => "ErrAddrNoListen",
        Cause::ConnRefused => "ErrConnRefused",
        Cause::NoSuchHost => "ErrNoHost",
        Cause::HostExists => "ErrHostDup",
        Cause::RegistryDown => "ErrRegistryDown",
        Cause::ClosedPipe => "io.ErrClosedPipe",
        _ => return None,
    })
}
