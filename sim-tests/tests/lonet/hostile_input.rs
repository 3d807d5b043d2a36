//! Input that means harm, or makes no sense: nobody panics, hangs or grows.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use futures::io::{AsyncReadExt, AsyncWriteExt};
use virtnet::SubNetwork;
use virtnet::lonet::handshake::{MAX_LINE, read_reply, read_request};

use crate::lonet::{TempNetworks, announce, os_address, run};

/// How often each side gets bytes at random.
const ROUNDS: usize = 10_000;

/// Numbers that look drawn, and are the same each time.
struct Noise(u64);

impl Noise {
    fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed ^ (mixed >> 27)
    }

    fn next_below(&mut self, end: usize) -> usize {
        (self.next_u64() % end as u64) as usize
    }

    /// Bytes without sense, or a good line with some of them changed, cut off or put in twice.
    fn mutate(&mut self, valid_line: &[u8]) -> Vec<u8> {
        let mut bytes = valid_line.to_vec();
        match self.next_below(4) {
            0 => {
                bytes = (0..self.next_below(2 * MAX_LINE)).map(|_| self.next_u64() as u8).collect();
            }
            1 => (0..1 + self.next_below(4)).for_each(|_| {
                let offset = self.next_below(bytes.len());
                bytes[offset] = self.next_u64() as u8;
            }),
            2 => bytes.truncate(self.next_below(valid_line.len())),
            _ => {
                let (offset, from) =
                    (self.next_below(valid_line.len()), self.next_below(valid_line.len()));
                bytes.splice(offset..offset, valid_line[from..].repeat(1 + self.next_below(40)));
            }
        }
        bytes
    }
}

const REQUEST: &[u8] = "> lonet \"lonett\" dial \"β:9\" \"α:7\"\n".as_bytes();
const REPLY: &[u8] = "< lonet \"lonett\" connected \"β:8\"\n".as_bytes();

/// How much memory the process has, in KiB.
fn resident_kib() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

#[test]
fn parsers_given_mutated_lines_never_panic_and_accept_some() {
    let (mut noise, dst) = (Noise(1), virtnet::Addr::new("lonett", "β", 7));
    let (mut requests, mut replies) = (0, 0);
    for _ in 0..ROUNDS {
        requests += usize::from(read_request(&noise.mutate(REQUEST), "lonett").is_ok());
        replies += usize::from(read_reply(&noise.mutate(REPLY), &dst).is_ok());
    }
    // Some survive the change of a letter.
    assert!(requests > 0 && replies > 0, "the noise never comes near to a line");
}

fn start_server(temp: &TempNetworks) -> (SubNetwork, SocketAddr) {
    let net = run(temp.config().join("t")).unwrap();
    run(net.new_host("α")).unwrap();
    let os_addr = os_address(temp, "t", "α");
    (net, os_addr)
}

/// Reads to the end, whatever that is.
fn read_until_closed(mut peer: &TcpStream) -> Vec<u8> {
    let mut received = Vec::new();
    match peer.read_to_end(&mut received) {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
        Err(error) => panic!("it was not closed: {error}"),
    }
    received
}

#[test]
fn acceptor_sent_noise_keeps_accepting_and_does_not_grow() {
    let temp = TempNetworks::new();
    let (net, os_addr) = start_server(&temp);
    let (mut noise, mut refused, mut kib_after_warmup) = (Noise(2), 0, 0);
    for round in 0..ROUNDS {
        let mut peer = TcpStream::connect(os_addr).unwrap();
        peer.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        // Who has been refused already cannot send the rest.
        let _ = peer.write_all(&noise.mutate(REQUEST));
        let _ = peer.shutdown(Shutdown::Write);
        refused += usize::from(read_until_closed(&peer).starts_with(b"< lonet \"lonett\" E \""));
        if round == ROUNDS / 5 {
            kib_after_warmup = resident_kib();
        }
    }
    assert!(refused > ROUNDS / 4, "{refused} were answered");
    assert!(
        resident_kib() < kib_after_warmup + 20_000,
        "{kib_after_warmup} KiB have become {}",
        resident_kib()
    );
    let (host, other) = (net.host("α").unwrap(), run(net.new_host("β")).unwrap());
    let listener = run(host.listen("")).unwrap();
    let (dialed, accepted) = run(async { futures::join!(other.dial("α:1"), listener.accept()) });
    assert_eq!(dialed.unwrap().peer_addr(), accepted.unwrap().local_addr());
}

#[test]
fn dialer_answered_with_noise_keeps_dialing_and_does_not_grow() {
    let (temp, listener) = (TempNetworks::new(), TcpListener::bind("127.0.0.1:0").unwrap());
    let net = run(temp.config().join("t")).unwrap();
    let host = run(net.new_host("α")).unwrap();
    announce(&temp, "t", "β", &listener.local_addr().unwrap().to_string());
    let answers = thread::spawn(move || {
        let mut noise = Noise(3);
        for _ in 0..ROUNDS {
            let (mut peer, _) = listener.accept().unwrap();
            let mut request = [0; 64];
            let _ = peer.read(&mut request);
            let _ = peer.write_all(&noise.mutate(REPLY));
        }
    });
    let (mut connected, mut kib_after_warmup) = (0, 0);
    run(async {
        for round in 0..ROUNDS {
            connected += usize::from(host.dial("β:7").await.is_ok());
            if round == ROUNDS / 5 {
                kib_after_warmup = resident_kib();
            }
        }
    });
    answers.join().unwrap();
    assert!(connected > 0 && connected < ROUNDS, "{connected} were connected");
    assert!(
        resident_kib() < kib_after_warmup + 20_000,
        "{kib_after_warmup} KiB have become {}",
        resident_kib()
    );
    assert_eq!(run(host.listen("")).unwrap().local_addr().port(), 1, "a port was lost");
}

#[test]
fn slow_request_is_closed_at_the_handshake_timeout_and_a_pending_accept_is_not() {
    let temp = TempNetworks::new();
    let limit = Duration::from_millis(300);
    let net = run(temp.config().handshake_timeout(limit).join("t")).unwrap();
    let host = run(net.new_host("α")).unwrap();
    let listener = run(host.listen(":7")).unwrap();
    let os_addr = os_address(&temp, "t", "α");
    let start = Instant::now();
    let silent = TcpStream::connect(os_addr).unwrap();
    let waiting = TcpStream::connect(os_addr).unwrap();
    (&waiting).write_all(REQUEST).unwrap();
    let mut slow = TcpStream::connect(os_addr).unwrap();
    // One byte now and then: each of them comes in time, the line does not.
    let sent = REQUEST.iter().take_while(|byte| {
        thread::sleep(Duration::from_millis(50));
        start.elapsed() < Duration::from_secs(30) && slow.write_all(&[**byte]).is_ok()
    });
    let sent = sent.count();
    assert!(sent < REQUEST.len(), "a whole line got through in {:?}", start.elapsed());
    assert_eq!(
        (read_until_closed(&slow), read_until_closed(&silent)),
        (vec![], vec![]),
        "no reply, as at the end of a stream"
    );
    let mut conn = run(listener.accept()).unwrap();
    run(conn.write_all(b"hello")).unwrap();
    drop(conn);
    assert!(read_until_closed(&waiting).ends_with(b"\nhello"));
}

#[test]
fn partial_reply_times_out_and_a_reply_that_has_not_begun_does_not() {
    let (temp, listener) = (TempNetworks::new(), TcpListener::bind("127.0.0.1:0").unwrap());
    let limit = Duration::from_millis(200);
    let net = run(temp.config().handshake_timeout(limit).join("t")).unwrap();
    let host = run(net.new_host("α")).unwrap();
    announce(&temp, "t", "β", &listener.local_addr().unwrap().to_string());
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
fn peer_that_closes_before_the_accept_is_not_accepted() {
    let temp = TempNetworks::new();
    let (net, os_addr) = start_server(&temp);
    let listener = run(net.host("α").unwrap().listen(":7")).unwrap();
    let mut peer = TcpStream::connect(os_addr).unwrap();
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
fn bytes_after_the_request_line_belong_to_the_connection() {
    let temp = TempNetworks::new();
    let (net, os_addr) = start_server(&temp);
    let listener = run(net.host("α").unwrap().listen(":7")).unwrap();
    let mut peer = TcpStream::connect(os_addr).unwrap();
    let data: Vec<u8> = (0..100_000_u32).map(|number| number as u8).collect();
    let sent = data.clone();
    let writing = thread::spawn(move || {
        peer.write_all(&[REQUEST, &sent].concat()).unwrap();
        peer.shutdown(Shutdown::Write).unwrap();
        peer
    });
    let mut conn = run(listener.accept()).unwrap();
    let mut received = Vec::new();
    run(conn.read_to_end(&mut received)).unwrap();
    assert!(received == data);
    drop(writing.join().unwrap());
}
