//! What sequences share of their caches: blocks of keys and values, found by the tokens they hold.
//!
//! Joins the tree of [`crate::prefix`] with the caches; how much memory it may take is decided here.

use model::{KV_BLOCK, KvBlock, KvCache, Model};

use crate::prefix::{Lease, PrefixTree};

/// The cache takes at most one part in so many of the memory that is free at the start.
const MEMORY_SHARE: usize = 4;

/// What it takes at least where nobody says.
const DEFAULT_BYTES_MIN: usize = 256 << 20;

/// Bytes of keys and values of one full context.
pub(crate) fn context_bytes(model: &Model) -> usize {
    model.context().div_ceil(KV_BLOCK) * model.new_cache().block_bytes()
}

/// Blocks of texts that were computed, for those that begin alike.
#[derive(Debug)]
pub(crate) struct PrefixCache {
    tree: PrefixTree<KvBlock>,
}

impl PrefixCache {
    /// A cache of at most `bytes`, and at most a share of the memory that is free now.
    pub(crate) fn new(model: &Model, bytes: Option<usize>) -> Self {
        let bytes = bytes.unwrap_or_else(|| context_bytes(model).max(DEFAULT_BYTES_MIN));
        let bytes = available_memory().map_or(bytes, |available| bytes.min(available / MEMORY_SHARE));
        let n_blocks_max = bytes / model.new_cache().block_bytes().max(1);
        Self {
            tree: PrefixTree::new(KV_BLOCK, n_blocks_max),
        }
    }

    /// Fills an empty cache with what is known of the beginning of a prompt; the cache's length says how much.
    pub(crate) fn begin(&mut self, partition: u64, prompt: &[u32], cache: &mut KvCache) -> Lease {
        let (lease, blocks) = self.tree.lease(partition, prompt);
        let n_attached = blocks
            .into_iter()
            .take_while(|block| cache.attach(block.clone()))
            .count();
        debug_assert_eq!(n_attached, lease.n_blocks(), "one model's blocks fit its caches");
        lease
    }

    /// Keeps the blocks that a sequence has filled since it was last asked. `tokens` are those in the cache, and
    /// are only asked for when there is something to keep.
    pub(crate) fn keep(&mut self, lease: &mut Lease, cache: &KvCache, tokens: impl FnOnce() -> Vec<u32>) {
        if cache.len() / KV_BLOCK > lease.n_blocks() {
            self.tree
                .extend(lease, &tokens(), |index| cache.full_block(index));
        }
    }

    /// Leaves room for what running sequences have for themselves.
    pub(crate) fn reserve(&mut self, n_blocks: usize) {
        self.tree.reserve(n_blocks);
    }

    /// The sequence is over; what it has computed stays until its place is needed.
    pub(crate) fn end(&mut self, lease: Lease) {
        self.tree.release(lease);
    }
}

/// Bytes that programs can still take, where the system says so.
fn available_memory() -> Option<usize> {
    let text = stdx::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("MemAvailable:"))?;
    let kib: usize = line.split_whitespace().nth(1)?.parse().ok()?;
    kib.checked_mul(1024)
}
