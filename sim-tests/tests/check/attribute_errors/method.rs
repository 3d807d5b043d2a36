//! A method.

struct Store;

impl Store {
    #[virtnet::test]
    async fn method(&self) {}
}

fn main() {}
