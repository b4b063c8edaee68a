//! What links with policies do.
