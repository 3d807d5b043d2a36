//! Input that means harm, or makes no sense: nobody panics, hangs or grows.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use futures::io::{AsyncReadExt, AsyncWriteExt};
use virtnet::SubNetwork;
use virtnet::lonet::handshake::{MAX_LINE, read_reply, read_request};

use crate::lonet::{Place, announce, os_address, run};

/// How often each side gets bytes at random.
const STRINGS: usize = 10_000;

/// Numbers that look drawn, and are the same each time.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed ^ (mixed >> 27)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    /// Bytes without sense, or a good line with some of them changed, cut off or put in twice.
    fn bytes(&mut self, good: &[u8]) -> Vec<u8> {
        let mut bytes = good.to_vec();
        match self.below(4) {
            0 => bytes = (0..self.below(2 * MAX_LINE)).map(|_| self.next() as u8).collect(),
            1 => (0..1 + self.below(4)).for_each(|_| {
                let at = self.below(bytes.len());
                bytes[at] = self.next() as u8;
            }),
            2 => bytes.truncate(self.below(good.len())),
            _ => {
                let (at, from) = (self.below(good.len()), self.below(good.len()));
                bytes.splice(at..at, good[from..].repeat(1 + self.below(40)));
            }
        }
        bytes
    }
}

const REQUEST: &[u8] = "> lonet \"lonett\" dial \"β:9\" \"α:7\"\n".as_bytes();
const REPLY: &[u8] = "< lonet \"lonett\" connected \"β:8\"\n".as_bytes();

/// How much memory the process has, in KiB.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

#[test]
fn the_parsers_make_something_of_any_bytes() {
    let (mut noise, dst) = (Noise(1), virtnet::Addr::new("lonett", "β", 7));
    let (mut requests, mut replies) = (0, 0);
    for _ in 0..STRINGS {
        requests += usize::from(read_request(&noise.bytes(REQUEST), "lonett").is_ok());
        replies += usize::from(read_reply(&noise.bytes(REPLY), &dst).is_ok());
    }
    // Some survive the change of a letter.
    assert!(requests > 0 && replies > 0, "the noise never comes near to a line");
}

fn server(place: &Place) -> (SubNetwork, SocketAddr) {
    let net = run(place.config().join("t")).unwrap();
    run(net.new_host("α")).unwrap();
    let at = os_address(place, "t", "α");
    (net, at)
}

/// Reads to the end, whatever that is.
fn hear(mut peer: &TcpStream) -> Vec<u8> {
    let mut heard = Vec::new();
    match peer.read_to_end(&mut heard) {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
        Err(error) => panic!("it was not closed: {error}"),
    }
    heard
}

#[test]
fn an_acceptor_that_is_sent_noise_goes_on() {
    let place = Place::new();
    let (net, at) = server(&place);
    let (mut noise, mut refused, mut after) = (Noise(2), 0, 0);
    for round in 0..STRINGS {
        let mut peer = TcpStream::connect(at).unwrap();
        peer.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        // Who has been refused already cannot send the rest.
        let _ = peer.write_all(&noise.bytes(REQUEST));
        let _ = peer.shutdown(Shutdown::Write);
        refused += usize::from(hear(&peer).starts_with(b"< lonet \"lonett\" E \""));
        if round == STRINGS / 5 {
            after = resident();
        }
    }
    assert!(refused > STRINGS / 4, "{refused} were answered");
    assert!(resident() < after + 20_000, "{after} KiB have become {}", resident());
    let (host, other) = (net.host("α").unwrap(), run(net.new_host("β")).unwrap());
    let listener = run(host.listen("")).unwrap();
    let (dialed, accepted) = run(async { futures::join!(other.dial("α:1"), listener.accept()) });
    assert_eq!(dialed.unwrap().peer_addr(), accepted.unwrap().local_addr());
}

#[test]
fn a_dialer_that_is_answered_with_noise_goes_on() {
    let (place, listener) = (Place::new(), TcpListener::bind("127.0.0.1:0").unwrap());
    let net = run(place.config().join("t")).unwrap();
    let host = run(net.new_host("α")).unwrap();
    announce(&place, "t", "β", &listener.local_addr().unwrap().to_string());
    let answers = thread::spawn(move || {
        let mut noise = Noise(3);
        for _ in 0..STRINGS {
            let (mut peer, _) = listener.accept().unwrap();
            let mut request = [0; 64];
            let _ = peer.read(&mut request);
            let _ = peer.write_all(&noise.bytes(REPLY));
        }
    });
    let (mut connected, mut after) = (0, 0);
    run(async {
        for round in 0..STRINGS {
            connected += usize::from(host.dial("β:7").await.is_ok());
            if round == STRINGS / 5 {
                after = resident();
            }
        }
    });
    answers.join().unwrap();
    assert!(connected > 0 && connected < STRINGS, "{connected} were connected");
    assert!(resident() < after + 20_000, "{after} KiB have become {}", resident());
    assert_eq!(run(host.listen("")).unwrap().local_addr().port(), 1, "a port was lost");
}

#[test]
fn who_is_slow_is_closed_in_time_and_who_waits_for_an_accept_is_not() {
    let place = Place::new();
    let limit = Duration::from_millis(300);
    let net = run(place.config().handshake_timeout(limit).join("t")).unwrap();
    let host = run(net.new_host("α")).unwrap();
    let listener = run(host.listen(":7")).unwrap();
    let at = os_address(&place, "t", "α");
    let start = Instant::now();
    let silent = TcpStream::connect(at).unwrap();
    let waiting = TcpStream::connect(at).unwrap();
    (&waiting).write_all(REQUEST).unwrap();
    let mut slow = TcpStream::connect(at).unwrap();
    // One byte now and then: each of them comes in time, the line does not.
    let sent = REQUEST.iter().take_while(|byte| {
        thread::sleep(Duration::from_millis(50));
        start.elapsed() < Duration::from_secs(30) && slow.write_all(&[**byte]).is_ok()
    });
    let sent = sent.count();
    assert!(sent < REQUEST.len(), "a whole line got through in {:?}", start.elapsed());
    assert_eq!(
        (hear(&slow), hear(&silent)),
        (vec![], vec![]),
        "no reply, as at the end of a stream"
    );
    let mut conn = run(listener.accept()).unwrap();
    run(conn.write_all(b"hello")).unwrap();
    drop(conn);
    assert!(hear(&waiting).ends_with(b"\nhello"));
}

#[test]
fn a_reply_that_is_slow_is_given_up_and_one_that_has_not_begun_is_not() {
    let (place, listener) = (Place::new(), TcpListener::bind("127.0.0.1:0").unwrap());
    let limit = Duration::from_millis(200);
    let net = run(place.config().handshake_timeout(limit).join("t")).unwrap();
    let host = run(net.new_host("α")).unwrap();
    announce(&place, "t", "β", &listener.local_addr().unwrap().to_string());
    let answers = thread::spawn(move || {
        let (mut late, _) = listener.accept().unwrap();
        thread::sleep(3 * limit);
        late.write_all(REPLY).unwrap();
        let (mut half, _) = listener.accept().unwrap();
        half.write_all(&REPLY[..9]).unwrap();
        (late, half, listener)
    });
    run(host.dial("β:7")).expect("whoever accepts may take his time");
    let error = run(host.dial("β:7")).unwrap_err().to_string();
    assert!(error.ends_with(": timed out"), "{error}");
    drop(answers.join().unwrap());
}

#[test]
fn a_peer_that_hangs_up_before_it_is_accepted_is_not() {
    let place = Place::new();
    let (net, at) = server(&place);
    let listener = run(net.host("α").unwrap().listen(":7")).unwrap();
    let mut peer = TcpStream::connect(at).unwrap();
    peer.write_all(REQUEST).unwrap();
    thread::sleep(Duration::from_millis(200));
    // In good order: the end of the stream, and no reset.
    drop(peer);
    thread::sleep(Duration::from_millis(200));
    let other = run(net.new_host("γ")).unwrap();
    let (dialed, accepted) = run(async { futures::join!(other.dial("α:7"), listener.accept()) });
    assert_eq!(accepted.unwrap().peer_addr(), dialed.unwrap().local_addr());
}

#[test]
fn bytes_that_follow_the_line_are_the_connections() {
    let place = Place::new();
    let (net, at) = server(&place);
    let listener = run(net.host("α").unwrap().listen(":7")).unwrap();
    let mut peer = TcpStream::connect(at).unwrap();
    let data: Vec<u8> = (0..100_000_u32).map(|number| number as u8).collect();
    let sent = data.clone();
    let writing = thread::spawn(move || {
        peer.write_all(&[REQUEST, &sent].concat()).unwrap();
        peer.shutdown(Shutdown::Write).unwrap();
        peer
    });
    let mut conn = run(listener.accept()).unwrap();
    let mut heard = Vec::new();
    run(conn.read_to_end(&mut heard)).unwrap();
    assert!(heard == data);
    drop(writing.join().unwrap());
}
