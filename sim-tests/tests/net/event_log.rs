//! `EventLog`: one protocol has the same sequence of network events on pipenet, simnet and lonet.
//!
//! Ports are predictable, so the whole sequence is written down in advance.

use futures::future::join;
use futures::io::{AsyncReadExt, AsyncWriteExt};
use virtnet::{EventLog, Host, Networker, Run, SubNetwork, Traced, pipenet, simnet};

use crate::lonet::{TempNetworks, run};

/// A protocol under test: the client asks the server, and is sent on to another one.
async fn ask_and_follow_redirects(client: &dyn Networker) -> String {
    let mut server_addr = "server:1".to_string();
    loop {
        let mut conn = client.dial(&server_addr).await.unwrap();
        conn.write_all(b"who?").await.unwrap();
        let mut answer = String::new();
        conn.read_to_string(&mut answer).await.unwrap();
        match answer.strip_prefix("ask ") {
            Some(next_server) => server_addr = next_server.to_string(),
            None => return answer,
        }
    }
}

/// Answers one question.
async fn answer_once(server: &dyn Networker, reply: &str) {
    let listener = server.listen("").await.unwrap();
    let mut conn = listener.accept().await.unwrap();
    conn.read_exact(&mut [0; 4]).await.unwrap();
    conn.write_all(reply.as_bytes()).await.unwrap();
}

/// What is to happen, on every network.
const EXPECTED_EVENTS: [&str; 10] = [
    "listen server:1",
    "listen other:1",
    "dial client->server:1",
    "connect client:1->server:2 (dialed server:1)",
    "transmit client:1->server:2 \"who?\"",
    "transmit server:2->client:1 \"ask other:1\"",
    "dial client->other:1",
    "connect client:1->other:2 (dialed other:1)",
    "transmit client:1->other:2 \"who?\"",
    "transmit other:2->client:1 \"me\"",
];

async fn assert_expected_events(hosts: [Host; 3]) {
    let log = EventLog::new();
    let [client, server, other] = hosts.map(|host| Traced::new(host, log.sink()));
    let servers = join(answer_once(&server, "ask other:1"), answer_once(&other, "me"));
    let (_, answer) = join(servers, ask_and_follow_redirects(&client)).await;
    assert_eq!(answer, "me");
    log.assert(&EXPECTED_EVENTS);
}

async fn new_hosts(net: SubNetwork) -> [Host; 3] {
    let new_host = async |name| net.new_host(name).await.unwrap();
    [new_host("client").await, new_host("server").await, new_host("other").await]
}

#[test]
fn redirect_protocol_has_same_events_on_pipenet_simnet_and_lonet() {
    run(async {
        assert_expected_events(new_hosts(pipenet::Network::new("t").subnetwork()).await).await;
    });
    for seed in 0..100 {
        let played = Run::new(seed).execute(async |_| {
            assert_expected_events(new_hosts(simnet::Network::new("t").region("")).await).await;
        });
        played.unwrap();
    }
    let place = TempNetworks::new();
    run(async {
        assert_expected_events(new_hosts(place.config().join("t").await.unwrap()).await).await;
    });
}

#[test]
fn event_log_difference_shows_the_first_differing_event() {
    let log = EventLog::new();
    run(async {
        let host = Traced::new(pipenet::Network::new("t").host("α"), log.sink());
        host.listen("").await.unwrap();
        host.dial(":7").await.unwrap_err();
    });
    let difference = |expected: &[&str]| log.difference(expected).map(|it| it.to_string());
    assert_eq!(difference(&["listen α:1", "dial α->:7"]), None);
    let text = "event 2 differs:\n  expected  dial α->:8\n  happened  dial α->:7";
    assert_eq!(difference(&["listen α:1", "dial α->:8"]).as_deref(), Some(text));
    let text = "event 2 differs:\n  expected  nothing more\n  happened  dial α->:7";
    assert_eq!(difference(&["listen α:1"]).as_deref(), Some(text));
    let text = "event 3 differs:\n  expected  listen α:2\n  happened  nothing more";
    assert_eq!(difference(&["listen α:1", "dial α->:7", "listen α:2"]).as_deref(), Some(text));
    assert_eq!(log.take().len(), 2);
    assert_eq!(log.difference(&[]), None, "it begins anew");
}
