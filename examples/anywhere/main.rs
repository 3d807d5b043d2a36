//! One program on five networks: a small key-value store, and a client of it.
//!
//! ```sh
//! cargo run --release --example anywhere -- --on sim      # simulated, in virtual time
//! cargo run --release --example anywhere -- --on pipe     # in memory
//! cargo run --release --example anywhere -- --on lonet    # two processes, names as above
//! cargo run --release --example anywhere -- --on tcp      # two processes, the system's own TCP
//! cargo run --release --example anywhere -- --on tls      # the same, encrypted
//! ```
//!
//! `store` is the program; it takes a `&dyn Networker` and does not know which of them it is. The
//! rest of this example says where it runs: `here` in this process, `processes` in two others,
//! which it starts itself.

mod here;
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
    on: On,
    /// The seed of the simulated network.
    #[arg(long, default_value_t = 7)]
    seed: u64,
    /// Plays one role only; this is how the two processes are started.
    #[arg(long, hide = true)]
    role: Option<processes::Role>,
}

#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
enum On {
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
    let played = match (args.on, args.role) {
        (On::Sim, _) => here::on_simnet(args.seed),
        (On::Pipe, _) => here::on_pipenet(),
        (on, Some(role)) => processes::play(on, role),
        (on, None) => processes::start(on),
    };
    match played {
        Ok(said) => {
            print!("{said}");
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
    use super::processes::{Role, threads};
    use super::{On, here, processes::way};

    const SAID: &str = "store   serves until it is told to stop\n\
                        client  set 3 keys at once\n\
                        client  get α = 1, β = 2, γ = 3, δ is not there\n\
                        client  told it to stop\n\
                        store   served 8 requests on 5 connections\n";

    #[test]
    fn it_is_the_same_story_on_every_network() {
        for seed in 0..100 {
            assert_eq!(here::on_simnet(seed).unwrap(), SAID);
        }
        assert_eq!(here::on_pipenet().unwrap(), SAID);
        for on in [On::Lonet, On::Tcp, On::Tls] {
            assert_eq!(threads(on).unwrap(), SAID, "{on:?}");
        }
    }

    #[test]
    fn a_role_is_on_the_network_that_was_asked_for() {
        let identity = super::identity::make();
        for (on, name) in [(On::Tcp, "tcp"), (On::Tls, "tcp+tls")] {
            let way = way(on, Role::Client, "t".as_ref(), &identity);
            let way = futures::executor::block_on(way).unwrap();
            assert_eq!(way.network(), name);
        }
    }
}
