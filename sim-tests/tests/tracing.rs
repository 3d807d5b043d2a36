//! What a traced network tells, and when.
//!
//! Knows the transcript that was recorded from the reference, and follows it.

use std::sync::{Arc, Mutex};

use futures::future::join;
use futures::io::{AsyncReadExt, AsyncWriteExt};
use virtnet::{Addr, NetEvent, Networker, Traced, pipenet};

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<NetEvent>>>);

impl Log {
    fn trace<N: Networker>(&self, inner: N) -> Traced<N> {
        let log = self.0.clone();
        Traced::new(inner, move |event| log.lock().unwrap().push(event.clone()))
    }

    /// Gives what was told since it was last asked.
    fn told(&self) -> Vec<String> {
        self.0.lock().unwrap().drain(..).map(|event| event.to_string()).collect()
    }
}

#[test]
fn every_event_is_told_once_and_at_its_time() {
    futures::executor::block_on(async {
        let (net, log) = (pipenet::Network::new("t"), Log::default());
        let (a, b) = (log.trace(net.host("α")), log.trace(net.host("β")));
        assert_eq!((a.network(), a.name()), ("pipet", "α"));

        a.listen("γ:1").await.unwrap_err();
        assert!(log.told().is_empty(), "a listen that failed tells nothing");
        let listener = b.listen("").await.unwrap();
        assert_eq!(log.told(), ["listen β:1"]);
        a.dial("β:7").await.unwrap_err();
        a.dial("zzz").await.unwrap_err();
        assert_eq!(log.told(), ["dial α->β:7", "dial α->zzz"]);
        let (dialed, accepted) = join(a.dial("β:1"), listener.accept()).await;
        let (mut dialed, mut accepted) = (dialed.unwrap(), accepted.unwrap());
        assert_eq!(log.told(), ["dial α->β:1", "connect α:1->β:2 (dialed β:1)"]);

        let mut buf = [0; 8];
        let (wrote, read) = join(dialed.write(b"hello"), accepted.read(&mut buf)).await;
        assert_eq!((wrote.unwrap(), read.unwrap()), (5, 5));
        assert_eq!(log.told(), ["transmit α:1->β:2 \"hello\""]);
        let (wrote, read) = join(accepted.write(b"pong"), dialed.read(&mut buf)).await;
        assert_eq!((wrote.unwrap(), read.unwrap()), (4, 4));
        assert_eq!(log.told(), ["transmit β:2->α:1 \"pong\""], "the accepting side tells as well");

        a.off();
        let (wrote, read) = join(dialed.write(b"quiet"), accepted.read(&mut buf)).await;
        assert_eq!((wrote.unwrap(), read.unwrap()), (5, 5));
        assert!(log.told().is_empty(), "also of a connection that was open");
        a.on();
        let (wrote, read) = join(dialed.write(b"loud"), accepted.read(&mut buf)).await;
        assert_eq!((wrote.unwrap(), read.unwrap()), (4, 4));
        assert_eq!(log.told().len(), 1);

        accepted.close().unwrap();
        dialed.write(b"lost").await.unwrap_err();
        listener.close().unwrap();
        a.close().unwrap();
        assert!(log.told().is_empty(), "neither closing nor failing tells anything");
        let down = a.dial("β:1").await.unwrap_err();
        assert_eq!(down.to_string(), "dial pipet α:2->β:1: host is down");
        let dial = NetEvent::Dial { host: "α".into(), addr: "β:1".into() };
        assert_eq!(*log.0.lock().unwrap(), [dial]);
    });
}

#[test]
fn the_listener_of_a_clone_is_traced_too() {
    futures::executor::block_on(async {
        let (net, log) = (pipenet::Network::new("t"), Log::default());
        let listener = log.trace(net.host("β")).listen("").await.unwrap();
        let (a, twin) = (net.host("α"), listener.clone());
        drop(listener);
        let (dialed, accepted) = join(a.dial("β:1"), twin.accept()).await;
        let (mut dialed, mut accepted) = (dialed.unwrap(), accepted.unwrap());
        log.told();
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
fn a_tracer_within_a_tracer_misses_nothing() {
    futures::executor::block_on(async {
        let (net, inner, outer) = (pipenet::Network::new("t"), Log::default(), Log::default());
        let host = outer.trace(inner.trace(net.host("α")));
        let listener = host.listen("").await.unwrap();
        let (dialed, accepted) = join(host.dial(":1"), listener.accept()).await;
        let (mut dialed, mut accepted) = (dialed.unwrap(), accepted.unwrap());
        let mut buf = [0; 8];
        let (wrote, _) = join(dialed.write(b"a"), accepted.read(&mut buf)).await;
        wrote.unwrap();
        let (wrote, _) = join(accepted.write(b"b"), dialed.read(&mut buf)).await;
        wrote.unwrap();
        let told = inner.told();
        assert!(told.iter().any(|event| event.ends_with(r#""a""#)), "{told:?}");
        assert!(told.iter().any(|event| event.ends_with(r#""b""#)), "{told:?}");
        assert_eq!(told, outer.told());
    });
}

#[test]
fn a_clone_of_a_traced_host_tells_the_same_sink_and_is_switched_with_it() {
    futures::executor::block_on(async {
        let log = Log::default();
        let host = log.trace(pipenet::Network::new("t").host("α"));
        let twin = host.clone();
        drop(twin.listen("").await.unwrap());
        assert_eq!(log.told(), ["listen α:1"]);
        host.off();
        drop(twin.listen("").await.unwrap());
        assert!(log.told().is_empty());
    });
}
