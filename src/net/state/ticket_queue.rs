//! A waiting line whose places can be left at any time.
//!
//! Knows order and nothing else. Tickets rise and are never used twice, so that a line is sorted
//! by construction, who comes back to it comes back to the old place, and a ticket from before
//! the line was cleared finds nothing. A slab would be quicker at leaving from the middle, but
//! its order is not that of arrival, and the order of waking must be.
//!
//! The head of a line stands in it and not on the heap: nearly always nobody is behind it.

use std::collections::VecDeque;

use crate::util::cold::cold;
use crate::util::lazy_queue::LazyQueue;

/// Things in the order in which they arrived, each reached by its ticket.
#[derive(Debug)]
pub(crate) struct TicketQueue<T> {
    next: u64,
    /// `None` only while nobody is in line.
    head: Option<(u64, T)>,
    behind: LazyQueue<(u64, T)>,
}

impl<T> Default for TicketQueue<T> {
    fn default() -> Self {
        Self { next: 0, head: None, behind: LazyQueue::default() }
    }
}

impl<T> TicketQueue<T> {
    /// Joins at the end.
    pub(crate) fn push(&mut self, item: T) -> u64 {
        let ticket = self.next;
        self.next += 1;
        match self.head {
            None => self.head = Some((ticket, item)),
            Some(_) => self.behind.push((ticket, item)),
        }
        ticket
    }

    /// Finds who has this ticket.
    #[inline]
    pub(crate) fn get(&mut self, ticket: u64) -> Option<&mut T> {
        let (head, item) = self.head.as_mut()?;
        if *head == ticket {
            return Some(item);
        }
        cold(|| {
            let behind = self.behind.queue()?;
            let index = index(behind, ticket)?;
            Some(&mut behind[index].1)
        })
    }

    /// Leaves the line, from wherever one stands.
    pub(crate) fn remove(&mut self, ticket: u64) -> Option<T> {
        let (head, _) = self.head.as_ref()?;
        let left = if *head == ticket {
            std::mem::replace(&mut self.head, self.behind.pop())
        } else {
            let behind = self.behind.queue()?;
            behind.remove(index(behind, ticket)?)
        };
        left.map(|(_, item)| item)
    }

    /// Lets the first go.
    #[inline]
    pub(crate) fn pop(&mut self) -> Option<T> {
        let (ticket, _) = self.head.as_ref()?;
        self.remove(*ticket)
    }

    /// Leaves the line as `remove` does, and is dropped. Nearly always nobody is behind, and then
    /// nothing is moved.
    #[inline]
    pub(crate) fn leave(&mut self, ticket: u64) {
        match &self.head {
            Some((head, _)) if *head == ticket && self.behind.is_empty() => self.head = None,
            _ => drop(self.remove(ticket)),
        }
    }

    /// Counts those in line.
    pub(crate) fn len(&self) -> usize {
        usize::from(self.head.is_some()) + self.behind.len()
    }

    /// Finds the first of whom something holds.
    #[inline]
    pub(crate) fn first(&mut self, holds: impl Fn(&T) -> bool) -> Option<(u64, &mut T)> {
        let Self { head, behind, .. } = self;
        let (ticket, item) = head.as_mut()?;
        if holds(item) {
            return Some((*ticket, item));
        }
        behind.iter_mut().find(|(_, item)| holds(item)).map(|(ticket, item)| (*ticket, item))
    }

    /// Sends everybody away, in order.
    pub(crate) fn clear(&mut self) -> impl Iterator<Item = T> + use<T> {
        self.head.take().into_iter().chain(self.behind.take()).map(|(_, item)| item)
    }
}

fn index<T>(places: &VecDeque<(u64, T)>, ticket: u64) -> Option<usize> {
    places.binary_search_by_key(&ticket, |(ticket, _)| *ticket).ok()
}
