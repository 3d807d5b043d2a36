//! What a stalled run says of its tasks, which must be true and must come in bounded time.
