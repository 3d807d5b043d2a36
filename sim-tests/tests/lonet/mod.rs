//! The network of several processes, held against the reference and against what it promises.

mod wire;
