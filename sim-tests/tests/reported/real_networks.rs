//! `lonet`, TCP and TLS: other users of the machine, names, and real sockets inside a run.
