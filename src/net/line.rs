//! A waiting line whose places can be left at any time.
//!
//! Knows order and nothing else. Tickets rise and are never used twice, so that a line is sorted
//! by construction, who comes back to it comes back to the old place, and a ticket from before
//! the line was cleared finds nothing. A slab would be quicker at leaving from the middle, but
//! its order is not that of arrival, and the order of waking must be.

use std::collections::VecDeque;

/// Things in the order in which they arrived, each reached by its ticket.
#[derive(Debug)]
pub(crate) struct Line<T> {
    next: u64,
    places: VecDeque<(u64, T)>,
}

impl<T> Default for Line<T> {
    fn default() -> Self {
        Self { next: 0, places: VecDeque::new() }
    }
}

impl<T> Line<T> {
    /// Joins at the end.
    pub(crate) fn push(&mut self, item: T) -> u64 {
        let ticket = self.next;
        self.next += 1;
        self.places.push_back((ticket, item));
        ticket
    }

    /// Finds who has this ticket.
    pub(crate) fn get(&mut self, ticket: u64) -> Option<&mut T> {
        let index = self.index(ticket)?;
        Some(&mut self.places[index].1)
    }

    /// Leaves the line, from wherever one stands.
    pub(crate) fn remove(&mut self, ticket: u64) -> Option<T> {
        let index = self.index(ticket)?;
        self.places.remove(index).map(|(_, item)| item)
    }

    /// Finds the first of whom something holds.
    pub(crate) fn first(&mut self, holds: impl Fn(&T) -> bool) -> Option<(u64, &mut T)> {
        self.places.iter_mut().find(|(_, item)| holds(item)).map(|(ticket, item)| (*ticket, item))
    }

    /// Sends everybody away, in order.
    pub(crate) fn clear(&mut self) -> impl Iterator<Item = T> + use<T> {
        std::mem::take(&mut self.places).into_iter().map(|(_, item)| item)
    }

    fn index(&self, ticket: u64) -> Option<usize> {
        self.places.binary_search_by_key(&ticket, |(ticket, _)| *ticket).ok()
    }
}
