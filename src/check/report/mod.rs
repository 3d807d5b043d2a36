//! The report of a sweep, and the trace files and the page that go with it.

pub(crate) mod causality;
pub(crate) mod chrome_trace;
pub(crate) mod html;
pub(crate) mod lanes;
pub(crate) mod text;
pub(crate) mod timeline;
pub(crate) mod trace_file;
