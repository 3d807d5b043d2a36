//! Each role in a process of its own, on the networks of the operating system.
//!
//! Knows how this program starts itself twice. The store says first where it listens; the client is
//! told that, and who to trust.

use std::env::current_exe;
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use clap::ValueEnum;
use futures::executor::block_on;
use tempfile::TempDir;
use virtnet::os::{Tcp, Tls};
use virtnet::{Networker, lonet};

use crate::On;
use crate::identity::{self, Identity};
use crate::store::{serve, use_it};

/// Which of the two.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Role {
    /// The store.
    Server,
    /// Who uses it.
    Client,
}

/// What a role has to be told: one line each.
struct Told {
    /// The folder of the network, where it has one.
    folder: String,
    identity: Identity,
    /// Where the store is; empty for the store itself.
    at: String,
}

/// The way of a role onto a network: the only lines that know which it is.
pub(crate) async fn way(
    on: On,
    role: Role,
    folder: &Path,
    identity: &Identity,
) -> io::Result<Arc<dyn Networker>> {
    let tls = || -> Result<_, virtnet::os::rustls::Error> {
        Ok(Tls::new(Tcp::new()).client(identity.client()?).server(identity.server()?))
    };
    Ok(match on {
        On::Lonet => {
            let name = if matches!(role, Role::Server) { "server" } else { "client" };
            // Just `lonet::join("anywhere")` would leave a folder behind, in which the names of
            // this run are taken for ever.
            let net = lonet::Config::new().folder(folder).join("anywhere").await?;
            Arc::new(net.new_host(name).await?)
        }
        On::Tls => Arc::new(tls().map_err(io::Error::other)?),
        _ => Arc::new(Tcp::new()),
    })
}

/// Where the store listens.
fn place(on: On) -> &'static str {
    if on == On::Lonet { ":80" } else { "127.0.0.1:0" }
}

/// Plays one role: what it is told comes in, and what it says goes out.
pub(crate) fn play(on: On, role: Role) -> io::Result<String> {
    let mut lines = io::stdin().lock().lines();
    let mut line = || lines.next().unwrap_or_else(|| Ok(String::new()));
    let (folder, identity, at) = (line()?, line()?, line()?);
    let identity = Identity::from_line(&identity).ok_or(io::ErrorKind::InvalidInput)?;
    block_on(async {
        let way = way(on, role, folder.as_ref(), &identity).await?;
        match role {
            Role::Client => use_it(&*way, &at).await,
            Role::Server => {
                let listener = way.listen(place(on)).await?;
                println!("{}", listener.local_addr());
                io::stdout().flush()?;
                serve(listener).await
            }
        }
    })
}

/// Starts both roles, and puts together what they say.
pub(crate) fn start(on: On) -> io::Result<String> {
    // Ctrl-C ends the roles; then this goes on, says so, and leaves no folder behind.
    ctrlc::set_handler(|| ()).map_err(io::Error::other)?;
    let temporary = TempDir::with_prefix("anywhere-")?;
    let folder = temporary.path().join("lonet").display().to_string();
    let mut told = Told { folder, identity: identity::make(), at: "".into() };
    let (mut store, from) = spawn(on, Role::Server, &told)?;
    let mut from = BufReader::new(from);
    if from.read_line(&mut told.at)? == 0 {
        return Err(io::Error::other(format!(
            "the store, process {}: {}",
            store.id(),
            store.wait()?
        )));
    }
    told.at.truncate(told.at.trim_end().len());
    let (mut client, said) = spawn(on, Role::Client, &told)?;
    println!(
        "process {} is the store, at {}; process {} its client",
        store.id(),
        told.at,
        client.id()
    );
    let (client_said, store_said) = (io::read_to_string(said)?, io::read_to_string(from)?);
    for process in [&mut client, &mut store] {
        let ended = process.wait()?;
        if !ended.success() {
            return Err(io::Error::other(format!("process {}: {ended}", process.id())));
        }
    }
    Ok(format!("store   serves until it is told to stop\n{client_said}{store_said}"))
}

fn spawn(on: On, role: Role, told: &Told) -> io::Result<(Child, std::process::ChildStdout)> {
    let name = |value: Option<clap::builder::PossibleValue>| {
        value.map(|value| value.get_name().to_string()).unwrap_or_default()
    };
    let mut child = Command::new(current_exe()?)
        .args(["--on", &name(on.to_possible_value()), "--role", &name(role.to_possible_value())])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let Told { folder, identity, at } = told;
    let lines = format!("{folder}\n{}{at}\n", identity.to_line());
    let (input, output) = (child.stdin.take(), child.stdout.take());
    input.ok_or(io::ErrorKind::BrokenPipe)?.write_all(lines.as_bytes())?;
    Ok((child, output.ok_or(io::ErrorKind::BrokenPipe)?))
}

/// Both roles in two threads of this process: for tests, which cannot start themselves.
#[cfg(test)]
pub(crate) fn threads(on: On) -> io::Result<String> {
    let identity = identity::make();
    let temporary = TempDir::new()?;
    let folder = temporary.path().join("lonet");
    let server = block_on(way(on, Role::Server, &folder, &identity))?;
    let listener = block_on(server.listen(place(on)))?;
    let at = listener.local_addr().to_string();
    std::thread::scope(|scope| {
        let store = scope.spawn(|| block_on(serve(listener)));
        let client = block_on(way(on, Role::Client, &folder, &identity))?;
        let client = block_on(use_it(&*client, &at))?;
        let store = store.join().expect("the store does not panic")?;
        Ok(format!("store   serves until it is told to stop\n{client}{store}"))
    })
}
