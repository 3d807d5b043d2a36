//! All tests, in one program: a folder each for the folders of `src`, and the recordings of the Go
//! original in `reference`.

mod support;
mod tidy;

mod check;
mod fuzz;
mod lonet;
mod net;
mod os;
mod reference;
mod sim;
mod simnet;
