//! What the standard library lacks, for every room above.
//!
//! Files whose errors name the path ([`fs`]), read-only maps of files Hanok wrote itself ([`mmap`]), reads past the
//! file cache ([`direct`]),
//! the lock of a data directory ([`lock`]), limits of a child that reads hostile input ([`process`]),
//! content hashes and ids ([`hash`]), a clock that tests can hold still ([`clock`]), days of the calendar ([`date`]), seeded
//! randomness ([`rng`]) and sums of products in wide registers ([`dot`](mod@dot)).
//!
//! Knows nothing of models, documents, HTTP or any other room.

pub mod clock;
pub mod date;
pub mod direct;
pub mod dot;
pub mod fs;
pub mod hash;
pub mod lock;
pub mod mmap;
pub mod process;
pub mod rng;
