//! A member process of a lonet network, controlled by the tests through its standard input.
//!
//! ```text
//! peer FOLDER NETWORK join             waits for a line, joins, prints `ok`
//! peer FOLDER NETWORK announce NAME    waits for a line, makes a host, prints `ok`, and stays
//! peer FOLDER NETWORK dial NAME ADDR   makes a host, prints `ok`, dials, prints `ok`, and stays
//! peer FOLDER NETWORK echo NAME        makes a host, listens on port 1, prints `ok`, and echoes
//! peer FOLDER NETWORK drop             drops futures at every await, prints leaked resources
//! peer FOLDER NETWORK short            accepts without and with a free descriptor, prints results
//! ```
//!
//! FOLDER `-` is the default folder. A process that stays ends with its standard input. An error
//! is printed instead of `ok`.

use std::fs::File;
use std::future::Future;
use std::io::{self, BufRead, Write};
use std::net::TcpStream;
use std::path::Path;
use std::pin::pin;
use std::process::ExitCode;
use std::task::{Context, Poll, Waker};
use std::thread::sleep;
use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::executor::block_on;
use futures::io::{AsyncReadExt, AsyncWriteExt};
use virtnet::lonet::Config;
use virtnet::os::Tcp;
use virtnet::{Error, Host, Networker, SubNetwork};

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let [folder, network, command @ ..] = args.as_slice() else { return ExitCode::FAILURE };
    let config = match *folder {
        "-" => Config::new(),
        folder => Config::new().folder(folder),
    };
    let result = match command {
        ["join"] => {
            wait_for_line();
            block_on(config.join(network)).map(|_| print_line("ok"))
        }
        ["announce", name] => block_on(announce(&config, network, name)),
        ["dial", name, addr] => block_on(dial(&config, network, name, addr)),
        ["echo", name] => block_on(echo(&config, network, name)),
        ["drop"] => LeakCheck { config, network, folder: Path::new(folder) }.run(),
        ["short"] => block_on(accept_without_descriptors()),
        _ => return ExitCode::FAILURE,
    };
    if let Err(error) = result {
        print_line(&error.to_string());
    }
    ExitCode::SUCCESS
}

fn print_line(text: &str) {
    println!("{text}");
    let _ = io::stdout().flush();
}

fn wait_for_line() {
    let _ = io::stdin().lock().read_line(&mut String::new());
}

async fn announce(config: &Config, network: &str, name: &str) -> Result<(), Error> {
    let net = config.join(network).await?;
    wait_for_line();
    net.new_host(name).await?;
    print_line("ok");
    wait_for_line();
    Ok(())
}

async fn dial(config: &Config, network: &str, name: &str, addr: &str) -> Result<(), Error> {
    let host = config.join(network).await?.new_host(name).await?;
    print_line("ok");
    let conn = host.dial(addr).await?;
    print_line("ok");
    wait_for_line();
    drop(conn);
    Ok(())
}

async fn echo(config: &Config, network: &str, name: &str) -> Result<(), Error> {
    let listener = config.join(network).await?.new_host(name).await?.listen(":1").await?;
    print_line("ok");
    loop {
        let mut conn = listener.accept().await?;
        let mut buf = [0; 4096];
        while let Ok(count) = conn.read(&mut buf).await
            && count > 0
            && conn.write_all(&buf[..count]).await.is_ok()
        {}
    }
}

/// Has no descriptor left when somebody knocks on a listener of the system's, and then has.
async fn accept_without_descriptors() -> Result<(), Error> {
    let listener = Tcp::new().listen("127.0.0.1:0").await?;
    let _client = TcpStream::connect(listener.local_addr().to_string());
    let mut incoming = listener.incoming();
    let descriptors: Vec<File> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
    let first_accept = incoming.next().await;
    drop(descriptors);
    let second_accept = incoming.next().await;
    for outcome in [first_accept, second_accept] {
        match outcome {
            Some(Ok(_)) => print_line("ok"),
            Some(Err(error)) => print_line(&error.cause.to_string()),
            None => print_line("it is over"),
        }
    }
    Ok(())
}

/// Drops futures after so many polls, and looks at what is left of them.
struct LeakCheck<'a> {
    config: Config,
    network: &'a str,
    folder: &'a Path,
}

/// What a process has in hand.
#[derive(Debug, PartialEq)]
struct ResourceCounts {
    /// Without those of the registry's files: SQLite keeps a few to use them again, as long as any
    /// connection to the same file is open.
    descriptors: usize,
    threads: usize,
    rows: u32,
}

/// What is held without any doubt; the rest is what was dropped.
impl LeakCheck<'_> {
    fn resources(&self) -> ResourceCounts {
        let count = |folder| std::fs::read_dir(folder).map_or(0, Iterator::count);
        let descriptors = count("/proc/self/fd") - self.registry_descriptors();
        let file = self.folder.join(self.network).join("registry.db");
        let rows = rusqlite::Connection::open(file)
            .and_then(|file| file.query_row("SELECT count(*) FROM hosts", [], |row| row.get(0)));
        ResourceCounts {
            descriptors,
            threads: count("/proc/self/task"),
            rows: rows.unwrap_or_default(),
        }
    }

    /// How many descriptors are those of the registry's files.
    fn registry_descriptors(&self) -> usize {
        let all = std::fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
        let target = |entry: std::fs::DirEntry| std::fs::read_link(entry.path()).ok();
        all.filter_map(target).filter(|path| path.starts_with(self.folder)).count()
    }

    /// Waits until no more is held than should be; says what is, if that does not come about.
    fn wait_for_resources(&self, stage: &str, expected: &ResourceCounts) {
        let start = Instant::now();
        while self.resources() != *expected {
            if start.elapsed() > Duration::from_secs(20) {
                return print_line(&format!(
                    "{stage}: held {:?}, expected {expected:?}",
                    self.resources()
                ));
            }
            sleep(Duration::from_millis(5));
        }
        print_line(&format!("{stage}: ok"));
    }

    fn run(&self) -> Result<(), Error> {
        let net = block_on(self.config.join(self.network))?;
        let (a, b) =
            block_on(async { Ok((net.new_host("α").await?, net.new_host("β").await?)) })?;
        // The reactor is begun when somebody first waits for a socket; there is one for all.
        block_on(async_io::Timer::after(Duration::from_millis(1)));
        let mut expected = self.resources();
        self.drop_joins(&expected);
        self.drop_new_hosts(&net, &mut expected);
        self.drop_dials(&a, &b, &expected)
    }

    fn drop_joins(&self, expected: &ResourceCounts) {
        let mut joined = 0;
        for polls in 0..200 {
            joined +=
                usize::from(poll_then_drop(polls % 25, self.config.join(self.network)).is_some());
        }
        self.wait_for_resources(
            &format!("joins ({joined} of 200 were done, and dropped then)"),
            expected,
        );
    }

    fn drop_new_hosts(&self, net: &SubNetwork, expected: &mut ResourceCounts) {
        for polls in 0..200 {
            let made = poll_then_drop(polls % 10, net.new_host(&polls.to_string()));
            expected.rows += u32::from(made.is_some());
        }
        let made = expected.rows - 2;
        self.wait_for_resources(&format!("hosts ({made} of 200 were made)"), expected);
    }

    fn drop_dials(&self, a: &Host, b: &Host, expected: &ResourceCounts) -> Result<(), Error> {
        let listener = block_on(b.listen(":1"))?;
        for polls in 0..200 {
            poll_then_drop(polls % 25, a.dial("β:1"));
        }
        self.wait_for_resources("dials that nobody accepts", expected);
        let mut made = 0;
        for polls in 0..400 {
            let mut accept = pin!(listener.accept());
            let accepted = accept.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            made += usize::from(poll_then_drop(polls % 25, a.dial("β:1")).is_some());
            // Also the accept is dropped wherever it is.
            if accepted.is_pending() {
                poll_then_drop(polls % 3, accept);
            }
        }
        drop(listener);
        self.wait_for_resources(&format!("dials ({made} of 400 were made)"), expected);
        let port = block_on(a.listen(""))?.local_addr().port();
        print_line(&format!("ports: {}", if port == 1 { "ok" } else { "one is still taken" }));
        let files = self.registry_descriptors();
        print_line(&format!("files: {}", if files < 40 { "ok" } else { "they grow" }));
        Ok(())
    }
}

/// Polls a future so many times, and then drops it. What is waited for takes about as long as ten
/// polls do.
fn poll_then_drop<T, E: std::fmt::Debug>(
    polls: usize,
    future: impl Future<Output = Result<T, E>>,
) -> Option<T> {
    let mut future = pin!(future);
    for _ in 0..polls {
        match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(result) => return Some(result.expect("it comes to an end")),
            Poll::Pending => sleep(Duration::from_micros(20)),
        }
    }
    None
}
