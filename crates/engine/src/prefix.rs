//! Which beginnings of texts are in memory: a radix tree over blocks of tokens, one for each partition.
//!
//! Pure bookkeeping over whatever a block is: no model, no clock, no randomness. Partitions never see each
//! other's blocks, not even equal ones. What a lease holds stays; of the rest, the blocks that nobody has used
//! for longest go first, always the end of a text before its beginning.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Index of a node; reused after its node is gone.
type NodeId = usize;

/// One block of a text.
#[derive(Debug)]
struct Node<B> {
    /// `None` for the first block of a text.
    parent: Option<NodeId>,
    partition: u128,
    tokens: Arc<[u32]>,
    block: B,
    /// What texts went on with.
    children: BTreeMap<Arc<[u32]>, NodeId>,
    /// Leases that hold the block.
    n_leases: usize,
    last_used: u64,
}

/// The blocks that a sequence shares with the tree, from the text's beginning on. It must go back by
/// [`PrefixTree::release`], else its blocks stay for ever.
#[derive(Debug, Default)]
#[must_use]
pub(crate) struct Lease {
    partition: u128,
    path: Vec<NodeId>,
    /// Blocks of the path that the sequence has computed for itself, too.
    n_copies: usize,
}

impl Lease {
    /// Blocks held.
    pub(crate) fn n_blocks(&self) -> usize {
        self.path.len()
    }

    /// Blocks held that take no memory of their own in the sequence's cache.
    pub(crate) fn n_shared(&self) -> usize {
        self.path.len() - self.n_copies
    }

    /// Whose they are.
    pub(crate) fn partition(&self) -> u128 {
        self.partition
    }
}

/// The tree; see the module.
#[derive(Debug)]
pub(crate) struct PrefixTree<B> {
    /// Tokens of a block.
    block_len: usize,
    n_blocks_max: usize,
    n_blocks: usize,
    /// Blocks that running sequences have and the tree has not.
    n_elsewhere: usize,
    nodes: Vec<Option<Node<B>>>,
    free: Vec<NodeId>,
    roots: BTreeMap<u128, BTreeMap<Arc<[u32]>, NodeId>>,
    /// Ends of texts that no lease holds, by when they were used last.
    idle: BTreeSet<(u64, NodeId)>,
    /// Counts uses.
    now: u64,
}

impl<B: Clone> PrefixTree<B> {
    /// A tree of at most `n_blocks_max` blocks of `block_len` tokens (at least one).
    pub(crate) fn new(block_len: usize, n_blocks_max: usize) -> Self {
        Self {
            block_len: block_len.max(1),
            n_blocks_max,
            n_blocks: 0,
            n_elsewhere: 0,
            nodes: Vec::new(),
            free: Vec::new(),
            roots: BTreeMap::new(),
            idle: BTreeSet::new(),
            now: 0,
        }
    }

    /// Leaves room for `n_elsewhere` blocks beside the tree: gives up what nobody holds.
    pub(crate) fn reserve(&mut self, n_elsewhere: usize) {
        self.n_elsewhere = n_elsewhere;
        while self.n_blocks + n_elsewhere > self.n_blocks_max {
            let Some((_, id)) = self.idle.pop_first() else {
                return;
            };
            self.evict(id);
        }
    }

    /// Blocks in the tree.
    #[cfg(test)]
    pub(crate) fn n_blocks(&self) -> usize {
        self.n_blocks
    }

    /// The blocks.
    #[cfg(test)]
    pub(crate) fn blocks(&self) -> impl Iterator<Item = &B> {
        self.nodes.iter().flatten().map(|node| &node.block)
    }

    /// Leases the blocks that the partition has of the beginning of `prompt`. At least the last token is left
    /// over, because somebody has to compute what follows it.
    pub(crate) fn lease(&mut self, partition: u128, prompt: &[u32]) -> (Lease, Vec<B>) {
        let mut lease = Lease {
            partition,
            ..Lease::default()
        };
        let blocks = self.lengthen(&mut lease, prompt);
        (lease, blocks)
    }

    /// Leases what the partition has come to have of `prompt` beyond the lease.
    pub(crate) fn lengthen(&mut self, lease: &mut Lease, prompt: &[u32]) -> Vec<B> {
        let mut blocks = Vec::new();
        let reusable = &prompt[..prompt.len().saturating_sub(1)];
        for tokens in reusable.chunks_exact(self.block_len).skip(lease.n_blocks()) {
            let Some(id) = self.find(lease, tokens) else {
                break;
            };
            blocks.extend(self.nodes[id].as_ref().map(|node| node.block.clone()));
            self.hold(id);
            lease.path.push(id);
        }
        blocks
    }

    /// Adds the full blocks of `tokens`, a text that begins with what the lease holds, and leases them too.
    /// `block` gives the block of that number, which stays a copy where the tree has one of the same text. Stops early
    /// where there is no block or no room.
    pub(crate) fn extend(
        &mut self,
        lease: &mut Lease,
        tokens: &[u32],
        mut block: impl FnMut(usize) -> Option<B>,
    ) {
        for (index, tokens) in tokens
            .chunks_exact(self.block_len)
            .enumerate()
            .skip(lease.n_blocks())
        {
            let id = match self.find(lease, tokens) {
                Some(id) => {
                    lease.n_copies += 1;
                    id
                }
                None => {
                    let Some(block) = block(index).filter(|_| self.make_room()) else {
                        return;
                    };
                    self.insert(lease, tokens, block)
                }
            };
            self.hold(id);
            lease.path.push(id);
        }
    }

    /// Gives a lease back: its blocks stay until their place is needed.
    pub(crate) fn release(&mut self, lease: Lease) {
        self.now += 1;
        for id in lease.path.into_iter().rev() {
            if let Some(node) = &mut self.nodes[id] {
                node.n_leases -= 1;
                node.last_used = self.now;
                if node.n_leases == 0 && node.children.is_empty() {
                    self.idle.insert((node.last_used, id));
                }
            }
        }
    }

    /// The blocks that follow what the lease holds.
    fn children(&mut self, lease: &Lease) -> &mut BTreeMap<Arc<[u32]>, NodeId> {
        match lease.path.last().and_then(|&id| self.nodes[id].as_mut()) {
            Some(node) => &mut node.children,
            None => self.roots.entry(lease.partition).or_default(),
        }
    }

    fn find(&self, lease: &Lease, tokens: &[u32]) -> Option<NodeId> {
        let children = match lease.path.last() {
            Some(&id) => &self.nodes[id].as_ref()?.children,
            None => self.roots.get(&lease.partition)?,
        };
        children.get(tokens).copied()
    }

    fn hold(&mut self, id: NodeId) {
        if let Some(node) = &mut self.nodes[id] {
            self.idle.remove(&(node.last_used, id));
            self.now += 1;
            node.last_used = self.now;
            node.n_leases += 1;
        }
    }

    fn insert(&mut self, lease: &Lease, tokens: &[u32], block: B) -> NodeId {
        let tokens: Arc<[u32]> = tokens.into();
        let node = Node {
            parent: lease.path.last().copied(),
            partition: lease.partition,
            tokens: Arc::clone(&tokens),
            block,
            children: BTreeMap::new(),
            n_leases: 0,
            last_used: self.now,
        };
        let id = match self.free.pop() {
            Some(id) => {
                self.nodes[id] = Some(node);
                id
            }
            None => {
                self.nodes.push(Some(node));
                self.nodes.len() - 1
            }
        };
        self.children(lease).insert(tokens, id);
        self.n_blocks += 1;
        id
    }

    /// Makes place for one more block, if blocks that nobody holds are in the way.
    fn make_room(&mut self) -> bool {
        while self.n_blocks + self.n_elsewhere >= self.n_blocks_max {
            let Some((_, id)) = self.idle.pop_first() else {
                return false;
            };
            self.evict(id);
        }
        true
    }

    fn evict(&mut self, id: NodeId) {
        let Some(node) = self.nodes[id].take() else {
            return;
        };
        self.free.push(id);
        self.n_blocks -= 1;
        match node.parent {
            None => {
                if let Some(root) = self.roots.get_mut(&node.partition) {
                    root.remove(&node.tokens);
                    if root.is_empty() {
                        self.roots.remove(&node.partition);
                    }
                }
            }
            Some(parent_id) => {
                if let Some(parent) = &mut self.nodes[parent_id] {
                    parent.children.remove(&node.tokens);
                    if parent.children.is_empty() && parent.n_leases == 0 {
                        self.idle.insert((parent.last_used, parent_id));
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
