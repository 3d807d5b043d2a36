//! A server's persistent state: its log and its epoch.
//!
//! The disk is outside the nodes, as a real disk is when a process dies. A write is durable at
//! once.

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;
use std::str::FromStr;

use hyper::body::{Buf, Bytes};

use crate::digest::Digest;

/// A disk; a clone is another cable to it.
#[derive(Clone, Default)]
pub(crate) struct Disk(Rc<RefCell<DiskState>>);

/// All that is on a disk.
#[derive(Clone, Default)]
pub(crate) struct DiskState {
    /// Counts who leads: the primary in even epochs, the standby in odd ones. Only the standby
    /// begins a new one.
    pub(crate) epoch: u64,
    pub(crate) log: Vec<Record>,
}

/// One record: what a request has added.
#[derive(Clone)]
pub(crate) struct Record {
    pub(crate) request: usize,
    pub(crate) body: Bytes,
    /// A hash of the whole log up to here.
    pub(crate) digest: Digest,
}

/// What a server answers to a request that added a record: its place, and what stands before it.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Receipt {
    pub(crate) index: usize,
    pub(crate) digest: Digest,
}

impl Disk {
    pub(crate) fn epoch(&self) -> u64 {
        self.0.borrow().epoch
    }

    pub(crate) fn read<T>(&self, read: impl FnOnce(&DiskState) -> T) -> T {
        read(&self.0.borrow())
    }

    /// How many records there are.
    pub(crate) fn len(&self) -> usize {
        self.0.borrow().log.len()
    }

    /// Begins the next epoch, and says which it is.
    pub(crate) fn begin_next_epoch(&self) -> u64 {
        let mut state = self.0.borrow_mut();
        state.epoch += 1;
        state.epoch
    }

    /// Finds what a request has added.
    pub(crate) fn find(&self, request: usize) -> Option<(Receipt, Bytes)> {
        let state = self.0.borrow();
        let index = state.log.iter().position(|record| record.request == request)?;
        let record = &state.log[index];
        Some((Receipt { index, digest: record.digest }, record.body.clone()))
    }

    /// Adds a record behind all others.
    pub(crate) fn append(&self, request: usize, body: Bytes) -> Receipt {
        let log = &mut self.0.borrow_mut().log;
        let mut digest = log.last().map_or(Digest::EMPTY, |last| last.digest);
        digest.update(&request.to_be_bytes());
        digest.update(&body);
        log.push(Record { request, body, digest });
        Receipt { index: log.len() - 1, digest }
    }

    /// Takes over what another server has, in place of all there was.
    pub(crate) fn replace_log(&self, epoch: u64, records: Vec<(usize, Bytes)>) {
        self.0.replace(DiskState { epoch, log: Vec::new() });
        for (request, body) in records {
            self.append(request, body);
        }
    }

    /// Writes all records from a place on as they are sent to another server.
    pub(crate) fn encode(&self, start: usize) -> Bytes {
        let mut bytes = Vec::new();
        for record in &self.0.borrow().log[start..] {
            bytes.extend((record.request as u64).to_be_bytes());
            bytes.extend((record.body.len() as u64).to_be_bytes());
            bytes.extend_from_slice(&record.body);
        }
        bytes.into()
    }
}

/// Reads records as [`Disk::encode`] wrote them.
pub(crate) fn decode(mut bytes: Bytes) -> Vec<(usize, Bytes)> {
    let mut records = Vec::new();
    while bytes.has_remaining() {
        let (request, length) = (bytes.get_u64() as usize, bytes.get_u64() as usize);
        records.push((request, bytes.split_to(length)));
    }
    records
}

impl fmt::Display for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.index, self.digest)
    }
}

impl FromStr for Receipt {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parse = || {
            let (index, digest) = text.split_once(' ')?;
            Some(Self { index: index.parse().ok()?, digest: digest.parse().ok()? })
        };
        parse().ok_or_else(|| format!("{text:?} is no receipt"))
    }
}
