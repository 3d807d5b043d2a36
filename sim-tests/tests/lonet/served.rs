//! What a peer on the wire hears from our acceptor, and what became of it, as recorded.
//!
//! Knows the wire as bytes and our side as a network with the hosts that the recording had.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use futures::executor::LocalPool;
use futures::future::{Either, select};
use futures::task::LocalSpawnExt;
use virtnet::{Conn, Listener, SubNetwork};

use super::wire::{is_quirk, lengthened, line, sent, text};
use super::{Place, os_address};
use crate::reference::recording::lines;
