//! Both roles in this process, on the two networks that need no other process.

use std::io;

use futures::future::try_join;
use virtnet::{Networker, Run, pipenet, simnet};

use crate::store::{run_client, serve};

/// The roles on two hosts of one network.
async fn run_both(server: &dyn Networker, client: &dyn Networker) -> io::Result<String> {
    let listener = server.listen(":80").await?;
    let store_addr = listener.local_addr().to_string();
    let (store, client) = try_join(serve(listener), run_client(client, &store_addr)).await?;
    Ok(format!("store   serves until it is told to stop\n{client}{store}"))
}

pub(crate) fn run_on_pipenet() -> io::Result<String> {
    let net = pipenet::Network::new("anywhere");
    futures::executor::block_on(run_both(&net.host("server"), &net.host("client")))
}

pub(crate) fn run_on_simnet(seed: u64) -> io::Result<String> {
    let outcome = Run::new(seed).execute(async |_| {
        let net = simnet::Network::new("anywhere");
        run_both(&net.new_host("server").await?, &net.new_host("client").await?).await
    });
    outcome.unwrap()
}
