//! `Traced`: which network events it reports, and in which order.
//!
//! The expected transcript is recorded from the Go reference.

use std::sync::{Arc, Mutex};

use futures::future::join;
use futures::io::{AsyncReadExt, AsyncWriteExt};
use virtnet::{Addr, NetEvent, Networker, Traced, pipenet};

#[derive(Clone, Default)]
struct EventRecorder(Arc<Mutex<Vec<NetEvent>>>);

impl EventRecorder {
    fn traced<N: Networker>(&self, inner: N) -> Traced<N> {
        let log = self.0.clone();
        Traced::new(inner, move |event| log.lock().unwrap().push(event.clone()))
    }

    /// Gives what was told since it was last asked.
    fn take_events(&self) -> Vec<String> {
        self.0.lock().unwrap().drain(..).map(|event| event.to_string()).collect()
    }
}

#[test]
fn traced_host_reports_each_event_once_and_in_order() {
    futures::executor::block_on(async {
        let (net, log) = (pipenet::Network::new("t"), EventRecorder::default());
        let (a, b) = (log.traced(net.host("α")), log.traced(net.host("β")));
        assert_eq!((a.network(), a.name()), ("pipet", "α"));

        a.listen("γ:1").await.unwrap_err();
        assert!(log.take_events().is_empty(), "a listen that failed tells nothing");
        let listener = b.listen("").await.unwrap();
        assert_eq!(log.take_events(), ["listen β:1"]);
        a.dial("β:7").await.unwrap_err();
        a.dial("zzz").await.unwrap_err();
        assert_eq!(log.take_events(), ["dial α->β:7", "dial α->zzz"]);
        let (dialed, accepted) = join(a.dial("β:1"), listener.accept()).await;
        let (mut dialed, mut accepted) = (dialed.unwrap(), accepted.unwrap());
        assert_eq!(log.take_events(), ["dial α->β:1", "connect α:1->β:2 (dialed β:1)"]);

        let mut buf = [0; 8];
        let (wrote, read) = join(dialed.write(b"hello"), accepted.read(&mut buf)).await;
        assert_eq!((wrote.unwrap(), read.unwrap()), (5, 5));
        assert_eq!(log.take_events(), ["transmit α:1->β:2 \"hello\""]);
        let (wrote, read) = join(accepted.write(b"pong"), dialed.read(&mut buf)).await;
        assert_eq!((wrote.unwrap(), read.unwrap()), (4, 4));
        assert_eq!(
            log.take_events(),
            ["transmit β:2->α:1 \"pong\""],
            "the accepting side tells as well"
        );

        a.off();
        let (wrote, read) = join(dialed.write(b"quiet"), accepted.read(&mut buf)).await;
        assert_eq!((wrote.unwrap(), read.unwrap()), (5, 5));
        assert!(log.take_events().is_empty(), "also of a connection that was open");
        a.on();
        let (wrote, read) = join(dialed.write(b"loud"), accepted.read(&mut buf)).await;
        assert_eq!((wrote.unwrap(), read.unwrap()), (4, 4));
        assert_eq!(log.take_events().len(), 1);

        accepted.close().unwrap();
        dialed.write(b"lost").await.unwrap_err();
        listener.close().unwrap();
        a.close().unwrap();
        assert!(log.take_events().is_empty(), "neither closing nor failing tells anything");
        let down = a.dial("β:1").await.unwrap_err();
        assert_eq!(down.to_string(), "dial pipet α:2->β:1: host is down");
        let dial = NetEvent::Dial { host: "α".into(), addr: "β:1".into() };
        assert_eq!(*log.0.lock().unwrap(), [dial]);
    });
}

#[test]
fn clone_of_a_traced_listener_reports_transmitted_bytes() {
    futures::executor::block_on(async {
        let (net, log) = (pipenet::Network::new("t"), EventRecorder::default());
        let listener = log.traced(net.host("β")).listen("").await.unwrap();
        let (a, second_handle) = (net.host("α"), listener.clone());
        drop(listener);
        let (dialed, accepted) = join(a.dial("β:1"), second_handle.accept()).await;
        let (mut dialed, mut accepted) = (dialed.unwrap(), accepted.unwrap());
        log.take_events();
        let mut buf = [0; 8];
        let (wrote, _) = join(accepted.write(&[0, b'a', 255]), dialed.read(&mut buf)).await;
        wrote.unwrap();
        let (src, dst) = (Addr::new("pipet", "β", 2), Addr::new("pipet", "α", 1));
        let event = NetEvent::Transmit { src, dst, data: vec![0, b'a', 255] };
        assert_eq!(event.to_string(), r#"transmit β:2->α:1 "\x00a\xff""#);
        assert_eq!(*log.0.lock().unwrap(), [event]);
    });
}

#[test]
fn nested_traced_hosts_report_the_same_events() {
    futures::executor::block_on(async {
        let (net, inner, outer) =
            (pipenet::Network::new("t"), EventRecorder::default(), EventRecorder::default());
        let host = outer.traced(inner.traced(net.host("α")));
        let listener = host.listen("").await.unwrap();
        let (dialed, accepted) = join(host.dial(":1"), listener.accept()).await;
        let (mut dialed, mut accepted) = (dialed.unwrap(), accepted.unwrap());
        let mut buf = [0; 8];
        let (wrote, _) = join(dialed.write(b"a"), accepted.read(&mut buf)).await;
        wrote.unwrap();
        let (wrote, _) = join(accepted.write(b"b"), dialed.read(&mut buf)).await;
        wrote.unwrap();
        let inner_events = inner.take_events();
        assert!(inner_events.iter().any(|event| event.ends_with(r#""a""#)), "{inner_events:?}");
        assert!(inner_events.iter().any(|event| event.ends_with(r#""b""#)), "{inner_events:?}");
        assert_eq!(inner_events, outer.take_events());
    });
}

#[test]
fn clone_of_a_traced_host_shares_its_sink_and_switch() {
    futures::executor::block_on(async {
        let log = EventRecorder::default();
        let host = log.traced(pipenet::Network::new("t").host("α"));
        let second_handle = host.clone();
        drop(second_handle.listen("").await.unwrap());
        assert_eq!(log.take_events(), ["listen α:1"]);
        host.off();
        drop(second_handle.listen("").await.unwrap());
        assert!(log.take_events().is_empty());
    });
}
