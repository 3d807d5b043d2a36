//! Each role in a process of its own, on the networks of the operating system.
//!
//! This program starts itself twice. The store prints the address it listens at; the client is
//! given that address and the certificate to trust.

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

use crate::NetworkKind;
use crate::identity::{self, Identity};
use crate::store::{run_client, serve};

/// Which of the two.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Role {
    /// The store.
    Server,
    /// Who uses it.
    Client,
}

/// What a role has to be told: one line each.
struct RoleInput {
    /// The folder of the network, where it has one.
    folder: String,
    identity: Identity,
    /// Where the store is; empty for the store itself.
    store_addr: String,
}

/// The way of a role onto a network: the only lines that know which it is.
pub(crate) async fn open_networker(
    network: NetworkKind,
    role: Role,
    folder: &Path,
    identity: &Identity,
) -> io::Result<Arc<dyn Networker>> {
    let new_tls = || -> Result<_, virtnet::os::rustls::Error> {
        Ok(Tls::new(Tcp::new()).client(identity.client_config()?).server(identity.server_config()?))
    };
    Ok(match network {
        NetworkKind::Lonet => {
            let name = if matches!(role, Role::Server) { "server" } else { "client" };
            // Just `lonet::join("anywhere")` would leave a folder behind, in which the names of
            // this run are taken for ever.
            let net = lonet::Config::new().folder(folder).join("anywhere").await?;
            Arc::new(net.new_host(name).await?)
        }
        NetworkKind::Tls => Arc::new(new_tls().map_err(io::Error::other)?),
        _ => Arc::new(Tcp::new()),
    })
}

/// Where the store listens.
fn listen_addr(network: NetworkKind) -> &'static str {
    if network == NetworkKind::Lonet { ":80" } else { "127.0.0.1:0" }
}

/// Plays one role: what it is told comes in, and what it says goes out.
pub(crate) fn run_role(network: NetworkKind, role: Role) -> io::Result<String> {
    let mut lines = io::stdin().lock().lines();
    let mut next_line = || lines.next().unwrap_or_else(|| Ok(String::new()));
    let (folder, identity, store_addr) = (next_line()?, next_line()?, next_line()?);
    let identity = Identity::from_line(&identity).ok_or(io::ErrorKind::InvalidInput)?;
    block_on(async {
        let networker = open_networker(network, role, folder.as_ref(), &identity).await?;
        match role {
            Role::Client => run_client(&*networker, &store_addr).await,
            Role::Server => {
                let listener = networker.listen(listen_addr(network)).await?;
                println!("{}", listener.local_addr());
                io::stdout().flush()?;
                serve(listener).await
            }
        }
    })
}

/// Starts both roles, and puts together what they say.
pub(crate) fn run_in_processes(network: NetworkKind) -> io::Result<String> {
    // Ctrl-C ends the roles; then this goes on, says so, and leaves no folder behind.
    ctrlc::set_handler(|| ()).map_err(io::Error::other)?;
    let temp_dir = TempDir::with_prefix("anywhere-")?;
    let folder = temp_dir.path().join("lonet").display().to_string();
    let mut input = RoleInput { folder, identity: identity::generate(), store_addr: "".into() };
    let (mut store, store_stdout) = spawn_role(network, Role::Server, &input)?;
    let mut store_stdout = BufReader::new(store_stdout);
    if store_stdout.read_line(&mut input.store_addr)? == 0 {
        return Err(io::Error::other(format!(
            "the store, process {}: {}",
            store.id(),
            store.wait()?
        )));
    }
    input.store_addr.truncate(input.store_addr.trim_end().len());
    let (mut client, client_stdout) = spawn_role(network, Role::Client, &input)?;
    println!(
        "process {} is the store, at {}; process {} its client",
        store.id(),
        input.store_addr,
        client.id()
    );
    let (client_output, store_output) =
        (io::read_to_string(client_stdout)?, io::read_to_string(store_stdout)?);
    for process in [&mut client, &mut store] {
        let status = process.wait()?;
        if !status.success() {
            return Err(io::Error::other(format!("process {}: {status}", process.id())));
        }
    }
    Ok(format!("store   serves until it is told to stop\n{client_output}{store_output}"))
}

fn spawn_role(
    network: NetworkKind,
    role: Role,
    role_input: &RoleInput,
) -> io::Result<(Child, std::process::ChildStdout)> {
    let value_name = |value: Option<clap::builder::PossibleValue>| {
        value.map(|value| value.get_name().to_string()).unwrap_or_default()
    };
    let mut child = Command::new(current_exe()?)
        .args([
            "--on",
            &value_name(network.to_possible_value()),
            "--role",
            &value_name(role.to_possible_value()),
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let RoleInput { folder, identity, store_addr } = role_input;
    let lines = format!("{folder}\n{}{store_addr}\n", identity.to_line());
    let (input, output) = (child.stdin.take(), child.stdout.take());
    input.ok_or(io::ErrorKind::BrokenPipe)?.write_all(lines.as_bytes())?;
    Ok((child, output.ok_or(io::ErrorKind::BrokenPipe)?))
}

/// Both roles in two threads of this process: for tests, which cannot start themselves.
#[cfg(test)]
pub(crate) fn run_in_threads(network: NetworkKind) -> io::Result<String> {
    let identity = identity::generate();
    let temp_dir = TempDir::new()?;
    let folder = temp_dir.path().join("lonet");
    let server = block_on(open_networker(network, Role::Server, &folder, &identity))?;
    let listener = block_on(server.listen(listen_addr(network)))?;
    let store_addr = listener.local_addr().to_string();
    std::thread::scope(|scope| {
        let store = scope.spawn(|| block_on(serve(listener)));
        let client = block_on(open_networker(network, Role::Client, &folder, &identity))?;
        let client = block_on(run_client(&*client, &store_addr))?;
        let store = store.join().expect("the store does not panic")?;
        Ok(format!("store   serves until it is told to stop\n{client}{store}"))
    })
}
