//! Where this library differs from the reference on purpose.
//!
//! Each rule rewrites what the reference does into what is right here; none looks at the name of
//! a record. A rule is asked only where the two differ.

use serde_json::{Value, json};
use virtnet::{Addr, Cause, Error, Op};

use crate::reference::error_texts;
use crate::reference::recording::Step;

/// What is known of a step that came out otherwise.
pub(crate) struct Mismatch<'a> {
    pub(crate) step: &'a Step,
    pub(crate) expected: &'a Value,
    /// Whether the network has been closed, and the thing that the step is about.
    pub(crate) is_net_down: bool,
    pub(crate) is_host_down: bool,
    /// Where the thing listens, if it does.
    pub(crate) listen_addr: Option<Addr>,
}

type Rule = fn(&Mismatch<'_>) -> Option<Value>;

/// All rules, each with its reason.
pub(crate) const RULES: [(&str, Rule); 10] = [
    ("there are no contexts and no deadlines: a future is dropped", rule_dropped_future),
    ("a port is a u16: a larger one is an invalid port", rule_invalid_port),
    ("nothing comes to life on what is closed: a defect of the reference", rule_closed_object),
    (
        "an operation whose context was done already is not told of it, but of what is down",
        rule_done_context,
    ),
    ("empty reads and writes are done at once, and nobody notices them", rule_empty_io),
    ("a registry that lies is a panic in our own words", rule_repeated_name),
    ("`auto_close` without an open host says what is missing", rule_auto_close_on_pipenet),
    ("`auto_close` without an open host says what is missing", rule_auto_close_on_lonet),
    ("a name that is taken is said to be, and not that a key of a table is", rule_taken_name),
    (
        "what the system says of a socket is a cause, without the names of that socket",
        rule_socket_error,
    ),
];

fn rule_dropped_future(case: &Mismatch<'_>) -> Option<Value> {
    Some(json!({ "dropped": drop_reason(case.expected)? }))
}

fn rule_invalid_port(case: &Mismatch<'_>) -> Option<Value> {
    let op = match case.step.op.as_str() {
        "dial" => Op::Dial,
        "listen" => Op::Listen,
        _ => return None,
    };
    let given = case.step.args.first()?.as_str()?;
    let port = given.rsplit(':').next()?.trim_start_matches('+');
    let large = port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_err();
    let error = Addr::parse("", given).err().filter(|_| large)?;
    let (network, src) = (network_of(case.expected)?, dialer_addr(case.expected));
    Some(error_outcome(Error::new(op, network, src, None, error.into())))
}

fn rule_closed_object(case: &Mismatch<'_>) -> Option<Value> {
    let ok = case.expected.get("ok")?;
    let cause = down_cause(case)?;
    let (network, addr) = (network_of(case.expected).unwrap_or("custx"), case.step.args.first());
    let addr = addr.and_then(Value::as_str).unwrap_or_default();
    Some(error_outcome(match case.step.op.as_str() {
        "new_host" => {
            let host = Addr::new(network, addr, 0);
            Error::new(Op::NewHost, network, Some(host), None, cause)
        }
        "dial" => {
            let src = Addr::parse(network, ok["local"].as_str()?).ok()?;
            let dst = Addr::parse(network, addr).ok()?;
            Error::new(Op::Dial, network, Some(src), Some(dst), cause)
        }
        "accept" => {
            let at = Some(case.listen_addr.clone()?);
            Error::new(Op::Accept, network, None, at, cause)
        }
        _ => return None,
    }))
}

fn rule_done_context(case: &Mismatch<'_>) -> Option<Value> {
    context_is_done(case.step)?;
    let cause = down_cause(case)?;
    let mut text = case.expected["err"]["text"].as_str()?.to_string();
    let raw = "registry is down";
    text.truncate(text.find("ram(").filter(|_| text.ends_with(raw))?);
    let network = network_of(case.expected).unwrap_or("pipet");
    let addr = case.step.args.first()?.as_str()?;
    let error = match case.step.op.as_str() {
        "new_host" => {
            let host = Addr::new(network, addr, 0);
            Error::new(Op::NewHost, network, Some(host), None, cause)
        }
        "dial" => {
            let dst = Addr::parse(network, addr).ok()?;
            Error::new(Op::Dial, network, dialer_addr(case.expected), Some(dst), cause)
        }
        _ => return None,
    };
    // All but the cause stays as it is there.
    error.to_string().starts_with(&text).then(|| error_outcome(error))
}

fn rule_auto_close_on_pipenet(case: &Mismatch<'_>) -> Option<Value> {
    auto_close_panic(case, "pipet")
}

fn rule_auto_close_on_lonet(case: &Mismatch<'_>) -> Option<Value> {
    auto_close_panic(case, "lonett")
}

fn auto_close_panic(case: &Mismatch<'_>, network: &str) -> Option<Value> {
    case.expected.get("panic").filter(|text| **text == "BUG: no opened hosts")?;
    let text = format!(
        "virtnet: the network {network:?} has no open host whose closing could close it; make a \
         host before `auto_close`"
    );
    Some(json!({ "panic": text }))
}

fn rule_empty_io(case: &Mismatch<'_>) -> Option<Value> {
    let ok = case.expected.get("ok")?;
    if is_empty_io(case.step) {
        return match case.step.op.as_str() {
            "read" => Some(json!({ "ok": { "n": 0, "data": "" } })),
            _ => Some(json!({ "ok": { "n": 0 } })),
        };
    }
    // It took an empty write there; here it goes on waiting.
    let took_empty_write =
        case.step.op == "read" && ok["n"] == 0 && case.expected.get("err").is_none();
    took_empty_write.then(|| json!({ "hung": "still blocked after 300ms" }))
}

fn rule_repeated_name(case: &Mismatch<'_>) -> Option<Value> {
    case.expected.get("panic").filter(|_| case.step.op == "new_host")?;
    let name = case.step.args.first()?.as_str()?;
    let text = format!("the registry gave out the name {name:?} again, but its host is open");
    Some(json!({ "panic": text }))
}

fn rule_taken_name(case: &Mismatch<'_>) -> Option<Value> {
    let text = case.expected["err"]["text"].as_str()?;
    let (before, _) = text.split_once("sqlite.Exec: Stmt.Step: SQLITE_CONSTRAINT_PRIMARYKEY")?;
    let text = format!("{before}{}", Cause::HostExists);
    Some(json!({ "err": { "text": text, "cause": "ErrHostDup", "errors_is": ["ErrHostDup"] } }))
}

fn rule_socket_error(case: &Mismatch<'_>) -> Option<Value> {
    let err = &case.expected["err"];
    let op = match case.step.op.as_str() {
        "read" => Op::Read,
        "write" => Op::Write,
        _ => return None,
    };
    let inner = err["OpError"]["Err"]["OpError"]["Err"]["text"].as_str()?;
    let cause = match inner.split_once(": ")?.1 {
        "broken pipe" => Cause::BrokenPipe,
        "connection reset by peer" => Cause::ConnReset,
        _ => return None,
    };
    let network = network_of(case.expected)?;
    let addr = |key: &str| Addr::parse(network, err["OpError"][key].as_str()?).ok();
    let mut out = error_outcome(Error::new(op, network, addr("Source"), addr("Addr"), cause));
    out["ok"] = case.expected["ok"].clone();
    Some(out)
}

fn down_cause(case: &Mismatch<'_>) -> Option<Cause> {
    match (case.is_net_down, case.is_host_down) {
        (true, _) => Some(Cause::NetDown),
        (false, true) => Some(Cause::HostDown),
        (false, false) => None,
    }
}

fn error_outcome(error: Error) -> Value {
    json!({ "err": error_texts::error_to_json(&error) })
}

/// The network that an outcome tells of.
fn network_of(out: &Value) -> Option<&str> {
    out["err"]["OpError"]["Net"].as_str().or_else(|| out["ok"]["net"].as_str())
}

/// The dialing end that an outcome tells of.
fn dialer_addr(out: &Value) -> Option<Addr> {
    let addr = out["err"]["OpError"]["Source"].as_str().or_else(|| out["ok"]["local"].as_str())?;
    Addr::parse(network_of(out)?, addr).ok()
}

/// Says by what an outcome was cut short, if it was.
pub(crate) fn drop_reason(out: &Value) -> Option<&'static str> {
    let err = out.get("err")?;
    let is = err.get("is").or_else(|| err["errors_is"].get(0))?;
    let (is, text) = (is.as_str()?, err["text"].as_str()?);
    let words = [
        ("context.Canceled", "context canceled"),
        ("context.DeadlineExceeded", "context deadline exceeded"),
        ("os.ErrDeadlineExceeded", "i/o timeout"),
    ];
    let word = words.iter().find(|(name, word)| *name == is && text.ends_with(word))?;
    Some(word.1)
}

/// Leaves out what tells only of Go.
pub(crate) fn without_go_types(out: &Value) -> Value {
    match out {
        Value::Object(fields) => fields
            .iter()
            .filter(|(key, _)| *key != "type")
            .map(|(k, v)| (k.clone(), without_go_types(v)))
            .collect(),
        value => value.clone(),
    }
}

/// Says whether an outcome tells in one word of what came out: a name or an address, or only that
/// there is a host.
pub(crate) fn is_summary(expected: &Value, actual: &Value) -> bool {
    let Some(summary) = expected.get("ok") else {
        return false;
    };
    let ok = &actual["ok"];
    let words = ["name", "addr", "local", "accept_addr"];
    let is_host = *summary == json!({ "host": true }) && ok.get("name").is_some();
    is_host || (summary.is_string() && words.iter().any(|word| ok.get(word) == Some(summary)))
}

/// Says whether two errors have the same text, of which the reference can say more: what kind of
/// error of Go's library it is. Ours are the engine's own, and have a text.
pub(crate) fn is_same_text(expected: &Value, actual: &Value) -> bool {
    let (expected_error, actual_error) = (&expected["err"], &actual["err"]);
    let ours = actual_error.get("errors_is").is_none() && actual_error.get("is").is_none();
    expected_error["text"].is_string() && expected_error["text"] == actual_error["text"] && ours
}

/// Says whether a dial or an accept came to something else because a dial that was cancelled has
/// left the queue, which in the reference it does not: then those behind it move up.
pub(crate) fn is_moved_up(step: &Step, expected: &Value, actual: &Value) -> bool {
    match step.op.as_str() {
        "accept" => {
            let (expected_ok, actual_ok) = (&expected["ok"], &actual["ok"]);
            expected_ok["local"].is_string() && expected_ok["local"] == actual_ok["local"]
        }
        "dial" => expected.get("hung").is_some() && actual.get("ok").is_some(),
        _ => false,
    }
}

/// Puts the text back that the recording has shortened to `<67108864 bytes>`.
pub(crate) fn expand_bytes(text: &str) -> String {
    let len = text.strip_prefix('<').and_then(|text| text.strip_suffix(" bytes>"));
    match len.and_then(|len| len.parse().ok()) {
        Some(len) => "x".repeat(len),
        None => text.to_string(),
    }
}

/// Says of a number of bytes, which depends on the buffers of the system, what the recording says.
pub(crate) fn redact_partial_count(expected: &Value, actual: &Value, len: usize) -> Value {
    let mut actual = actual.clone();
    let count = actual["ok"]["n"].as_u64().unwrap_or(0) as usize;
    if expected["ok"]["n"] == "0<n<len" && 0 < count && count < len {
        actual["ok"]["n"] = json!("0<n<len");
    }
    actual
}

/// Says whether an operation has nothing to read or write.
pub(crate) fn is_empty_io(step: &Step) -> bool {
    let arg = step.args.first();
    match step.op.as_str() {
        "read" => arg.and_then(Value::as_u64) == Some(0),
        "write" => arg.and_then(Value::as_str) == Some(""),
        _ => false,
    }
}

/// Says whether the context of an operation was done before it began.
pub(crate) fn context_is_done(step: &Step) -> Option<()> {
    let done = |arg: &Value| arg == "ctx=canceled" || arg == "ctx=deadline_passed";
    step.args.iter().any(done).then_some(())
}

/// The time that a context gives to an operation, in milliseconds.
pub(crate) fn context_timeout_ms(step: &Step) -> Option<u64> {
    let find =
        |arg: &Value| arg.as_str()?.strip_prefix("ctx_timeout=")?.strip_suffix("ms")?.parse().ok();
    step.args.iter().find_map(find)
}

/// Says whether a step sets a deadline; there are none here, so what that gives is not compared.
pub(crate) fn is_deadline_op(op: &str) -> bool {
    op.starts_with("set_") && op.contains("deadline")
}

/// Reads `set_read_deadline(+20ms)`: what it holds for, and after how long; none, if it ends one.
pub(crate) fn parse_deadline(op: &str) -> Option<(&'static [&'static str], Option<u64>)> {
    if op == "set_deadline when remote closed" {
        return Some((&["read", "write"], Some(0)));
    }
    let (name, when) = op.strip_suffix(')')?.split_once('(')?;
    let kinds: &[&str] = match name {
        "set_read_deadline" => &["read"],
        "set_write_deadline" => &["write"],
        _ => &["read", "write"],
    };
    let after = match when {
        "none" => None,
        "past" => Some(0),
        _ => Some(when.strip_prefix('+')?.strip_suffix("ms")?.parse().ok()?),
    };
    Some((kinds, after))
}
