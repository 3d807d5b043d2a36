//! A test of what goes over the network, event by event, and the same on four networks.
//!
//! This is what predictable ports are for: the whole sequence can be written down in advance.

use futures::future::join;
use futures::io::{AsyncReadExt, AsyncWriteExt};
use virtnet::{EventLog, Host, Networker, Run, SubNetwork, Traced, pipenet, simnet};

use crate::lonet::{Place, run};

/// A protocol under test: the client asks the server, and is sent on to another one.
async fn ask(client: &dyn Networker) -> String {
    let mut at = "server:1".to_string();
    loop {
        let mut conn = client.dial(&at).await.unwrap();
        conn.write_all(b"who?").await.unwrap();
        let mut answer = String::new();
        conn.read_to_string(&mut answer).await.unwrap();
        match answer.strip_prefix("ask ") {
            Some(other) => at = other.to_string(),
            None => return answer,
        }
    }
}

/// Answers one question.
async fn answer(server: &dyn Networker, with: &str) {
    let listener = server.listen("").await.unwrap();
    let mut conn = listener.accept().await.unwrap();
    conn.read_exact(&mut [0; 4]).await.unwrap();
    conn.write_all(with.as_bytes()).await.unwrap();
}

/// What is to happen, on every network.
const EXPECTED: [&str; 10] = [
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

async fn plays_as_written(hosts: [Host; 3]) {
    let log = EventLog::new();
    let [client, server, other] = hosts.map(|host| Traced::new(host, log.sink()));
    let servers = join(answer(&server, "ask other:1"), answer(&other, "me"));
    let (_, answer) = join(servers, ask(&client)).await;
    assert_eq!(answer, "me");
    log.assert(&EXPECTED);
}

async fn three(net: SubNetwork) -> [Host; 3] {
    let make = async |name| net.new_host(name).await.unwrap();
    [make("client").await, make("server").await, make("other").await]
}

#[test]
fn the_same_events_on_pipenet_simnet_and_lonet() {
    run(async { plays_as_written(three(pipenet::Network::new("t").subnetwork()).await).await });
    for seed in 0..100 {
        let played = Run::new(seed).execute(async |_| {
            plays_as_written(three(simnet::Network::new("t").region("")).await).await;
        });
        played.unwrap();
    }
    let place = Place::new();
    run(async { plays_as_written(three(place.config().join("t").await.unwrap()).await).await });
}

#[test]
fn what_is_not_as_expected_is_shown_where_it_begins() {
    let log = EventLog::new();
    run(async {
        let host = Traced::new(pipenet::Network::new("t").host("α"), log.sink());
        host.listen("").await.unwrap();
        host.dial(":7").await.unwrap_err();
    });
    let differs = |expected: &[&str]| log.difference(expected).map(|it| it.to_string());
    assert_eq!(differs(&["listen α:1", "dial α->:7"]), None);
    let text = "event 2 differs:\n  expected  dial α->:8\n  happened  dial α->:7";
    assert_eq!(differs(&["listen α:1", "dial α->:8"]).as_deref(), Some(text));
    let text = "event 2 differs:\n  expected  nothing more\n  happened  dial α->:7";
    assert_eq!(differs(&["listen α:1"]).as_deref(), Some(text));
    let text = "event 3 differs:\n  expected  listen α:2\n  happened  nothing more";
    assert_eq!(differs(&["listen α:1", "dial α->:7", "listen α:2"]).as_deref(), Some(text));
    assert_eq!(log.take().len(), 2);
    assert_eq!(log.difference(&[]), None, "it begins anew");
}
