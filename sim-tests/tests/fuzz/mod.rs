//! Programs and parsers that the fuzz targets run, and the corpus as ordinary tests.

mod corpus;
pub(crate) mod forgetful_store;
pub(crate) mod lonet_parsers;
pub(crate) mod programs;
