//! An option that there is not.

#[virtnet::test(sedes = 1000)]
async fn unknown_option() {}

fn main() {}
