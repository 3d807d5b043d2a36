//! The startup workload, run as moonpool's documentation runs tests.

use std::time::Duration;

use async_trait::async_trait;
use futures::io::{AsyncReadExt, AsyncWriteExt};
use moonpool_sim::{
    NetworkProvider, Process, SimContext, SimulationBuilder, SimulationResult, TcpListenerTrait,
    TimeProvider, Workload,
};
use peers_common::{MESSAGE, done};

/// Longer than any echo takes; its connects may hang for ever.
const PATIENCE: Duration = Duration::from_secs(1);

/// Runs so many seeds. A run counts, whether its echo came or a fault was drawn that kept it away.
pub(crate) fn startup(n: u64) {
    let seeds = (1..=n).collect();
    let report = SimulationBuilder::new()
        .processes(2, || Box::new(Server))
        .workload(Client)
        .set_iterations(n as usize)
        .set_debug_seeds(seeds)
        .run();
    assert_eq!(report.iterations as u64, n);
}

struct Server;

#[async_trait]
impl Process for Server {
    fn name(&self) -> &'static str {
        "server"
    }

    async fn run(&mut self, ctx: &SimContext) -> SimulationResult<()> {
        let listener = ctx.network().bind(ctx.my_ip()).await?;
        let serve = async {
            let (mut conn, _) = listener.accept().await?;
            let mut buf = [0; MESSAGE];
            conn.read_exact(&mut buf).await?;
            conn.write_all(&buf).await
        };
        moonpool_sim::select! {
            biased;
            _ = serve => {}
            () = ctx.shutdown().cancelled() => {}
        }
        Ok(())
    }
}

struct Client;

#[async_trait]
impl Workload for Client {
    fn name(&self) -> &'static str {
        "client"
    }

    async fn run(&mut self, ctx: &SimContext) -> SimulationResult<()> {
        let at = ctx.peer("server").unwrap_or_else(|| ctx.topology().all_process_ips()[0].clone());
        let ask = async {
            let mut conn = ctx.network().connect(&at).await?;
            let mut buf = [7; MESSAGE];
            conn.write_all(&buf).await?;
            conn.read_exact(&mut buf).await
        };
        let _ = ctx.time().timeout(PATIENCE, ask).await;
        done(1);
        Ok(())
    }
}
