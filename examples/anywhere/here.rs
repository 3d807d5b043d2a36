//! Both roles in this process, on networks that need no other.

use std::io;

use futures::future::try_join;
use virtnet::{Networker, Run, pipenet, simnet};

use crate::store::{serve, use_it};

/// The roles on two hosts of one network.
async fn both(server: &dyn Networker, client: &dyn Networker) -> io::Result<String> {
    let listener = server.listen(":80").await?;
    let at = listener.local_addr().to_string();
    let (store, client) = try_join(serve(listener), use_it(client, &at)).await?;
    Ok(format!("store   serves until it is told to stop\n{client}{store}"))
}

pub(crate) fn on_pipenet() -> io::Result<String> {
    let net = pipenet::Network::new("anywhere");
    futures::executor::block_on(both(&net.host("server"), &net.host("client")))
}

pub(crate) fn on_simnet(seed: u64) -> io::Result<String> {
    let outcome = Run::new(seed).execute(async |_| {
        let net = simnet::Network::new("anywhere");
        both(&net.new_host("server").await?, &net.new_host("client").await?).await
    });
    outcome.unwrap()
}
