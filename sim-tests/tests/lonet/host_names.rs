//! Host names: those that no request can carry, and those that would command a terminal.

use futures::io::{AsyncReadExt, AsyncWriteExt};
use virtnet::lonet::handshake::{MAX_LINE, write_request};
use virtnet::{Addr, Cause, Host, Run, pipenet, simnet};

use crate::lonet::{TempNetworks, run};

/// How long a host name may be at most on the network `lonett`, by the length of the request
/// that a host sends to itself.
fn longest_name_len() -> usize {
    let addr = |name: &str| Addr::new("lonett", name, u16::MAX);
    (MAX_LINE - write_request(&addr(""), &addr("")).len()) / 2
}

#[test]
fn lonet_host_with_the_longest_name_is_dialed_by_itself_and_by_another() {
    let temp = TempNetworks::new();
    let net = run(temp.config().join("t")).unwrap();
    let host = run(net.new_host(&"x".repeat(longest_name_len()))).unwrap();
    let other = run(net.new_host(&"y".repeat(longest_name_len()))).unwrap();
    for (src, dst) in [(&host, &host), (&host, &other), (&other, &host)] {
        let listener = run(dst.listen(":65535")).unwrap();
        let at = listener.local_addr().to_string();
        let (dialed, accepted) = run(async { futures::join!(src.dial(&at), listener.accept()) });
        run((&dialed.unwrap()).write_all(b"x")).unwrap();
        run((&accepted.unwrap()).read_exact(&mut [0])).unwrap();
    }
}

#[test]
fn lonet_host_whose_name_is_too_long_for_the_wire_is_refused() {
    let temp = TempNetworks::new();
    let net = run(temp.config().join("t")).unwrap();
    let longest = longest_name_len();
    for (name, quoted) in [
        ("x".repeat(longest + 1), longest + 1),
        ("x".repeat(1024), 1024),
        ("x".repeat(100_000), 100_000),
        // A name counts as it is quoted: `\x01`.
        ("\x01".repeat(longest / 4 + 1), 4 * (longest / 4 + 1)),
        // A name with a colon stands in brackets.
        (format!(":{}", "x".repeat(longest - 2)), longest + 1),
    ] {
        let error = run(net.new_host(&name)).unwrap_err();
        let text = format!(
            "the name takes {quoted} bytes in a request, and a line of the wire has room for \
             {longest}: use a shorter name"
        );
        assert_eq!(error.cause, Cause::engine(text.clone()));
        assert!(error.to_string().ends_with(&text));
        assert!(net.host(&name).is_none());
    }
    run(net.new_host(&"\x01".repeat(longest / 4))).unwrap();
    // What was refused was not announced either.
    let rows = crate::lonet::open_registry(&temp, "t");
    let count: u32 = rows.query_row("SELECT count(*) FROM hosts", [], |row| row.get(0)).unwrap();
    assert_eq!(count, 1);
}

#[test]
fn lonet_network_whose_name_leaves_no_room_for_hosts_is_refused() {
    let temp = TempNetworks::new();
    let error = run(temp.config().join(&"\x01".repeat(255))).unwrap_err().to_string();
    let text = "the name takes 1020 bytes in a request, and with it a line of the wire has no \
                room for the names of hosts: use a shorter name";
    assert!(error.ends_with(text), "{error}");
    assert!(!temp.networks_folder().exists(), "nothing is made for it");
    let net = run(temp.config().join(&"x".repeat(255))).unwrap();
    run(net.new_host("α")).unwrap();
}

/// What a host says of its own name in errors.
async fn error_texts(host: Host) -> String {
    let dst = Addr::new("", host.name(), 7).to_string();
    let dialed = host.dial(&dst).await.unwrap_err().to_string();
    let listener = host.listen(":1").await.unwrap();
    listener.close().unwrap();
    let accepted = listener.accept().await.unwrap_err().to_string();
    let unknown = host.dial("b\x1bc:1").await.unwrap_err().to_string();
    let malformed = host.dial("c\nd").await.unwrap_err().to_string();
    [dialed, accepted, unknown, malformed].join("; ")
}

/// Does something with a host of that name on each network.
fn on_each_network<T: 'static>(
    name: &'static str,
    work: impl AsyncFn(Host) -> T + Copy + 'static,
) -> [T; 3] {
    let temp = TempNetworks::new();
    let on_lonet = run(async {
        let net = temp.config().join("t").await.unwrap();
        work(net.new_host(name).await.unwrap()).await
    });
    let on_pipenet = run(work(pipenet::Network::new("t").host(name)));
    let on_simnet = Run::new(0).execute(async move |_| {
        let net = simnet::Network::new("t");
        work(net.new_host(name).await.unwrap()).await
    });
    [on_lonet, on_pipenet, on_simnet.unwrap()]
}

#[test]
fn control_characters_of_host_names_are_escaped_in_errors_on_every_network() {
    for (name, printed) in [
        ("a\nb", r"a\nb:"),
        ("a\x1bcb\x7f\u{9b}", r"a\x1bcb\x7f\u009b:"),
        ("", ":"),
        ("b:c", "[b:c]:"),
        ("b:\rc", r"[b:\rc]:"),
    ] {
        for text in on_each_network(name, error_texts) {
            assert!(!text.contains(char::is_control), "{text:?}");
            assert!(text.contains(&format!("->{printed}7: connection refused")), "{text}");
            assert!(text.contains(&format!(" {printed}1: socket is down")), "{text}");
            assert!(text.contains(r"b\x1bc:1: "), "{text}");
            assert!(text.ends_with(r"address c\nd: missing port in address"), "{text}");
        }
    }
}

#[test]
fn control_characters_of_a_peer_are_escaped_in_errors() {
    use virtnet::lonet::handshake::{ReplyError, read_reply};
    let reply = b"< lonet \"lonett\" E \"a\\nb\\x1b[31m\"\n";
    let rejection = read_reply(reply, &Addr::new("lonett", "\u{3b2}", 1));
    assert_eq!(rejection, Err(ReplyError::Other(r"a\nb\x1b[31m".to_string())));
}

#[test]
fn debug_form_of_an_address_escapes_control_characters() {
    assert_eq!(format!("{:?}", Addr::new("t\n", "a\x1bb", 1)), r"t\n a\x1bb:1");
    let error = Addr::parse("t", "a\x07:x").unwrap_err();
    assert_eq!(error.to_string(), r"address a\a:x: invalid port");
}

#[test]
fn host_names_with_a_colon_or_none_at_all_are_dialed_on_every_network() {
    for name in ["", "b:c", "::1", "a\nb"] {
        on_each_network(name, async move |host: Host| {
            let listener = host.listen(":1").await.unwrap();
            let at = listener.local_addr().to_string();
            let (dialed, accepted) = futures::join!(host.dial(&at), listener.accept());
            let (dialed, accepted) = (dialed.unwrap(), accepted.unwrap());
            assert_eq!((dialed.peer_addr().host(), accepted.peer_addr().host()), (name, name));
        });
    }
}

#[test]
fn auto_close_without_an_open_host_says_what_is_missing() {
    let net = pipenet::Network::new("t").subnetwork();
    let message =
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| net.auto_close())).unwrap_err();
    let message = message.downcast::<String>().unwrap();
    let text = "virtnet: the network \"pipet\" has no open host whose closing could close it; \
                make a host before `auto_close`";
    assert_eq!(*message, text);
}
