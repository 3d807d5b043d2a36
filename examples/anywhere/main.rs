//! One program on five networks: a small key-value store and its client.
//!
//! ```sh
//! cargo run --release --example anywhere -- --on sim      # simulated, in virtual time
//! cargo run --release --example anywhere -- --on pipe     # in memory
//! cargo run --release --example anywhere -- --on lonet    # two processes, names as above
//! cargo run --release --example anywhere -- --on tcp      # two processes, the system's own TCP
//! cargo run --release --example anywhere -- --on tls      # the same, encrypted
//! ```
//!
//! `store` is the program. It takes a `&dyn Networker` and is the same on every network. The
//! other files decide where it runs: `in_process` runs both roles in this process, `processes`
//! starts two others.

mod in_process;
mod identity;
mod processes;
mod store;

use std::process::ExitCode;

use clap::{Parser, ValueEnum};

/// A key-value store and its client, on any network.
#[derive(Debug, Parser)]
struct Args {
    /// The network.
    #[arg(long, default_value = "sim")]
    on: NetworkKind,
    /// The seed of the simulated network.
    #[arg(long, default_value_t = 7)]
    seed: u64,
    /// Plays one role only; this is how the two processes are started.
    #[arg(long, hide = true)]
    role: Option<processes::Role>,
}

#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
enum NetworkKind {
    /// Simulated, in one thread and virtual time.
    Sim,
    /// In memory.
    Pipe,
    /// Several processes of this machine, which find each other by name.
    Lonet,
    /// The TCP of the operating system.
    Tcp,
    /// TLS over that.
    Tls,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let result = match (args.on, args.role) {
        (NetworkKind::Sim, _) => in_process::run_on_simnet(args.seed),
        (NetworkKind::Pipe, _) => in_process::run_on_pipenet(),
        (network, Some(role)) => processes::run_role(network, role),
        (network, None) => processes::run_in_processes(network),
    };
    match result {
        Ok(output) => {
            print!("{output}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("FAILED: {error}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::processes::{Role, run_in_threads};
    use super::{NetworkKind, in_process, processes::open_networker};

    const EXPECTED_OUTPUT: &str = "store   serves until it is told to stop\n\
                        client  set 3 keys at once\n\
                        client  get α = 1, β = 2, γ = 3, δ is not there\n\
                        client  told it to stop\n\
                        store   served 8 requests on 5 connections\n";

    #[test]
    fn output_is_identical_on_every_network() {
        for seed in 0..100 {
            assert_eq!(in_process::run_on_simnet(seed).unwrap(), EXPECTED_OUTPUT);
        }
        assert_eq!(in_process::run_on_pipenet().unwrap(), EXPECTED_OUTPUT);
        for network in [NetworkKind::Lonet, NetworkKind::Tcp, NetworkKind::Tls] {
            assert_eq!(run_in_threads(network).unwrap(), EXPECTED_OUTPUT, "{network:?}");
        }
    }

    #[test]
    fn opened_networker_is_of_the_requested_kind() {
        let identity = super::identity::generate();
        for (network, name) in [(NetworkKind::Tcp, "tcp"), (NetworkKind::Tls, "tcp+tls")] {
            let networker = open_networker(network, Role::Client, "t".as_ref(), &identity);
            let networker = futures::executor::block_on(networker).unwrap();
            assert_eq!(networker.network(), name);
        }
    }
}
