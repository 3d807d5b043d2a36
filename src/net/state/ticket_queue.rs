//! A queue whose entries can be removed at any position by ticket.
//!
//! Tickets increase and are never reused. So the queue is sorted by construction, an entry that
//! is offered again keeps its position, and a ticket from before a `clear` finds nothing. A
//! slab would remove from the middle faster, but loses the order of arrival, which is the order
//! of waking.
//!
//! The first entry is stored inline: most queues have at most one entry.

use std::collections::VecDeque;

use crate::util::cold::cold;
use crate::util::lazy_queue::LazyQueue;

/// Things in the order in which they arrived, each reached by its ticket.
#[derive(Debug)]
pub(crate) struct TicketQueue<T> {
    next_ticket: u64,
    /// `None` only while the queue is empty.
    head: Option<(u64, T)>,
    tail: LazyQueue<(u64, T)>,
}

impl<T> Default for TicketQueue<T> {
    fn default() -> Self {
        Self { next_ticket: 0, head: None, tail: LazyQueue::default() }
    }
}

impl<T> TicketQueue<T> {
    /// Joins at the end.
    pub(crate) fn push(&mut self, item: T) -> u64 {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        match self.head {
            None => self.head = Some((ticket, item)),
            Some(_) => self.tail.push((ticket, item)),
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
            let tail = self.tail.queue()?;
            let index = index_of_ticket(tail, ticket)?;
            Some(&mut tail[index].1)
        })
    }

    /// Leaves the line, from wherever one stands.
    pub(crate) fn remove(&mut self, ticket: u64) -> Option<T> {
        let (head, _) = self.head.as_ref()?;
        let removed = if *head == ticket {
            std::mem::replace(&mut self.head, self.tail.pop())
        } else {
            let tail = self.tail.queue()?;
            tail.remove(index_of_ticket(tail, ticket)?)
        };
        removed.map(|(_, item)| item)
    }

    /// Lets the first go.
    #[inline]
    pub(crate) fn pop(&mut self) -> Option<T> {
        let (ticket, _) = self.head.as_ref()?;
        self.remove(*ticket)
    }

    /// Removes an entry as `remove` does, and drops it. Nearly always there is no entry behind it,
    /// and then nothing is moved.
    #[inline]
    pub(crate) fn discard(&mut self, ticket: u64) {
        match &self.head {
            Some((head, _)) if *head == ticket && self.tail.is_empty() => self.head = None,
            _ => drop(self.remove(ticket)),
        }
    }

    /// Counts those in line.
    pub(crate) fn len(&self) -> usize {
        usize::from(self.head.is_some()) + self.tail.len()
    }

    /// Finds the first entry for which a condition holds.
    #[inline]
    pub(crate) fn find_first(&mut self, predicate: impl Fn(&T) -> bool) -> Option<(u64, &mut T)> {
        let Self { head, tail, .. } = self;
        let (ticket, item) = head.as_mut()?;
        if predicate(item) {
            return Some((*ticket, item));
        }
        tail.iter_mut().find(|(_, item)| predicate(item)).map(|(ticket, item)| (*ticket, item))
    }

    /// Removes all entries, in order.
    pub(crate) fn clear(&mut self) -> impl Iterator<Item = T> + use<T> {
        self.head.take().into_iter().chain(self.tail.take()).map(|(_, item)| item)
    }
}

fn index_of_ticket<T>(items: &VecDeque<(u64, T)>, ticket: u64) -> Option<usize> {
    items.binary_search_by_key(&ticket, |(ticket, _)| *ticket).ok()
}
