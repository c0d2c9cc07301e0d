//! What sequences share of their caches: blocks of keys and values, found by the tokens they hold.
//!
//! Joins the tree of [`crate::prefix`] with the caches; how much memory it may take is decided here.

use model::memory::Available;
use model::{KV_BLOCK, KvBlock, KvCache, Model};

use crate::prefix::{Lease, PrefixTree};
use crate::scheduler::SequenceId;
use crate::spill::{Loaded, Spill, SpillConfig};

/// The cache takes at most one part in so many of the memory that can be had at the start.
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
    /// Where more of them are.
    spill: Option<Spill>,
}

impl PrefixCache {
    /// A cache of at most `bytes`, and at most a share of the memory that this process can have now.
    pub(crate) fn new(model: &Model, bytes: Option<usize>, spill: Option<&SpillConfig>) -> Self {
        let bytes = bytes.unwrap_or_else(|| context_bytes(model).max(DEFAULT_BYTES_MIN));
        let bytes = within(bytes, Available::now());
        let block_bytes = model.new_cache().block_bytes();
        Self {
            tree: PrefixTree::new(KV_BLOCK, bytes / block_bytes.max(1)),
            spill: spill.and_then(|config| Spill::open(config, model.kv_identity(), block_bytes)),
        }
    }

    /// Blocks in memory.
    #[cfg(test)]
    pub(crate) fn blocks(&self) -> impl Iterator<Item = &KvBlock> {
        self.tree.blocks()
    }

    /// Fills an empty cache with what memory has of the beginning of a prompt; the cache's length says how much.
    pub(crate) fn begin(&mut self, partition: u128, prompt: &[u32], cache: &mut KvCache) -> Lease {
        let (lease, blocks) = self.tree.lease(partition, prompt);
        let n_attached = blocks
            .into_iter()
            .take_while(|block| cache.attach(block.clone()))
            .count();
        debug_assert_eq!(n_attached, lease.n_blocks(), "one model's blocks fit its caches");
        lease
    }

    /// Asks the disk for what follows the first `n_known` blocks of a prompt; whether it has something, which comes by
    /// [`Self::try_loaded`] or [`Self::loaded`].
    pub(crate) fn ask(&self, id: SequenceId, prompt: &[u32], partition: u128, n_known: usize) -> bool {
        let Some(spill) = &self.spill else {
            return false;
        };
        // The last token is always computed.
        let n_most = prompt.len().saturating_sub(1) / KV_BLOCK;
        let keys = spill.keys(partition, prompt, n_most);
        spill.ask(id, keys.get(n_known..).unwrap_or_default())
    }

    /// What the disk has found, if it has.
    pub(crate) fn try_loaded(&self) -> Option<Loaded> {
        self.spill.as_ref()?.try_loaded()
    }

    /// What the disk will find next; `None` if it answers no more.
    pub(crate) fn loaded(&self) -> Option<Loaded> {
        self.spill.as_ref()?.loaded()
    }

    /// Goes on with what memory has come to have of a prompt, and then with `blocks`, which follow those that are in
    /// the cache already: the disk had them, or another sequence.
    pub(crate) fn attach(
        &mut self,
        prompt: &[u32],
        cache: &mut KvCache,
        lease: &mut Lease,
        blocks: Vec<KvBlock>,
    ) {
        let n_before = cache.len() / KV_BLOCK;
        // Where there was no room to share what the cache has, there is nothing beyond it either.
        let known = if lease.n_blocks() == n_before {
            self.tree.lengthen(lease, prompt)
        } else {
            Vec::new()
        };
        let others = blocks.into_iter().skip(known.len());
        let mut following = known.into_iter().chain(others);
        while following.next().is_some_and(|block| cache.attach(block)) {}
        self.tree
            .extend(lease, &prompt[..cache.len()], |index| cache.full_block(index));
    }

    /// Keeps the blocks that a sequence has filled since it was last asked; those of its prompt, the first `n_prompt`
    /// tokens, on the disk too. `tokens` are those in the cache, and are only asked for when there is something to
    /// keep.
    pub(crate) fn keep(
        &mut self,
        lease: &mut Lease,
        cache: &KvCache,
        n_prompt: usize,
        tokens: impl FnOnce() -> Vec<u32>,
    ) {
        let n_before = lease.n_blocks();
        if cache.len() / KV_BLOCK <= n_before {
            return;
        }
        let tokens = tokens();
        self.tree.extend(lease, &tokens, |index| cache.full_block(index));
        let Some(spill) = &self.spill else {
            return;
        };
        let n_now = lease.n_blocks().min(n_prompt / KV_BLOCK);
        let keys = spill.keys(lease.partition(), &tokens, n_now);
        for (index, key) in keys.iter().enumerate().skip(n_before) {
            if let Some(block) = cache.full_block(index) {
                spill.keep(*key, block);
            }
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

/// So many bytes, but at most a share of the memory that can be had, if that is known.
fn within(bytes: usize, available: Option<Available>) -> usize {
    let most = available.and_then(|available| usize::try_from(available.bytes).ok());
    most.map_or(bytes, |most| bytes.min(most / MEMORY_SHARE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_of_the_control_group_bounds_the_cache() {
        let group = Available {
            bytes: 4000,
            limited_by: "limit of the control group",
        };
        assert_eq!(within(1001, Some(group)), 1000);
        assert_eq!(within(999, Some(group)), 999);
        assert_eq!(within(1001, None), 1001);
    }
}
