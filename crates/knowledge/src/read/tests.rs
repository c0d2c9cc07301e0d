//! What the readers promise, format by format.
