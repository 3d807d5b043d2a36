//! What a report of a failing seed says, and what shrinking leaves of it.
