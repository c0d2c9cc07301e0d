//! Keys and values of one sequence in all layers, in blocks of positions.
//!
//! A block holds [`KV_BLOCK`] positions of every layer and never moves: growth copies nothing and takes
//! memory as it goes. Sequences that begin alike share full blocks; whoever writes into a shared one gets
//! a copy of its own first. This file lays out and shares; `encode` writes, `attention` reads.
//!
//! A block is `[layer][kv head]` runs, each of the head's keys, then its values:
//!
//! * keys `[tile of sixteen positions][component][position % 16]`, so that one vector holds the same
//!   component of sixteen positions and scores need no horizontal sum; for q8_0 each tile begins with
//!   its scales `[component / 32][position % 16]`;
//! * values `[component / 16][position][component % 16]`, the components padded to whole groups; for q8_0
//!   the scales `[component / 32][position]` come first.

mod encode;

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use crate::bytes::AlignedBytes;
use crate::kernels::attention::{Columns, Numbers, SCALED, SPAN};
use crate::matrix::LANES;
use crate::pool::Pool;

/// Components of a head at most.
pub const HEAD_DIM_MAX: usize = SPAN;

/// Positions of a block.
pub const KV_BLOCK: usize = 64;

/// Runs start on a cache line.
const ALIGN: usize = 64;
/// Numbers from which writing them is worth a fork-join.
const PARALLEL_FROM: usize = 16 << 10;
/// Bytes of a q8_0 scale, an f32.
const SCALE_BYTES: usize = 4;

/// How keys and values are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KvDType {
    /// Exact.
    F32,
    /// Half the memory, rounded to 11 bits.
    #[default]
    F16,
    /// About half of f16: integers -127..=127, and an f32 scale for each 32 components of a position.
    Q8_0,
}

impl KvDType {
    /// Name used in settings.
    pub const fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Q8_0 => "q8_0",
        }
    }

    /// Bytes of a number.
    const fn size(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 => 2,
            Self::Q8_0 => 1,
        }
    }
}

/// Shape of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Layout {
    dtype: KvDType,
    n_layers: usize,
    n_kv_heads: usize,
    head_dim: usize,
    /// Positions of a block, a multiple of [`LANES`].
    block_len: usize,
}

impl Layout {
    /// Scales of one head at one position.
    const fn n_scales(&self) -> usize {
        match self.dtype {
            KvDType::F32 | KvDType::F16 => 0,
            KvDType::Q8_0 => self.head_dim.div_ceil(SCALED),
        }
    }

    /// Bytes of the scales in front of a tile of keys.
    const fn tile_scale_bytes(&self) -> usize {
        self.n_scales() * LANES * SCALE_BYTES
    }

    /// Bytes of the keys of sixteen positions, scales included.
    const fn tile_bytes(&self) -> usize {
        self.tile_scale_bytes() + self.head_dim * LANES * self.dtype.size()
    }

    const fn keys_bytes(&self) -> usize {
        self.block_len / LANES * self.tile_bytes()
    }

    /// Bytes of the scales in front of the values.
    const fn value_scale_bytes(&self) -> usize {
        self.n_scales() * self.block_len * SCALE_BYTES
    }

    /// Groups of sixteen components.
    const fn n_groups(&self) -> usize {
        self.head_dim.div_ceil(LANES)
    }

    /// Bytes of one group of sixteen components of the values.
    const fn group_bytes(&self) -> usize {
        self.block_len * LANES * self.dtype.size()
    }

    /// Bytes of one head: keys, then values.
    const fn head_bytes(&self) -> usize {
        (self.keys_bytes() + self.value_scale_bytes() + self.n_groups() * self.group_bytes())
            .next_multiple_of(ALIGN)
    }

    const fn layer_bytes(&self) -> usize {
        self.n_kv_heads * self.head_bytes()
    }

    const fn block_bytes(&self) -> usize {
        self.n_layers * self.layer_bytes()
    }
}

/// [`KV_BLOCK`] positions of all layers; clones share the memory.
#[derive(Debug, Clone)]
pub struct KvBlock(Arc<AlignedBytes>);

impl KvBlock {
    fn zeroed(layout: &Layout) -> Self {
        Self(Arc::new(AlignedBytes::zeroed(layout.block_bytes())))
    }

    /// A block whose bytes were kept elsewhere.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        Self(Arc::new(AlignedBytes::copy_of(bytes)))
    }

    /// What the block holds, to be kept elsewhere and given to [`KvBlock::from_bytes`].
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether both are the same memory.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// The bytes, to be written: a copy of its own for whoever shares them.
    fn own(&mut self) -> &mut [u8] {
        if Arc::get_mut(&mut self.0).is_none() {
            self.0 = Arc::new(AlignedBytes::copy_of(&self.0));
        }
        Arc::get_mut(&mut self.0).expect("nobody else has seen the copy")
    }
}

/// Keys and values of one sequence in all layers; see the module for the layout.
#[derive(Debug, Clone)]
pub struct PagedKv {
    layout: Layout,
    /// Positions held in each layer: they differ while a step is under way.
    lens: Vec<usize>,
    blocks: Vec<KvBlock>,
}

impl PagedKv {
    /// An empty cache; it takes memory as it fills.
    ///
    /// # Panics
    /// If `head_dim` is 0 or exceeds [`HEAD_DIM_MAX`].
    pub fn new(dtype: KvDType, n_layers: usize, n_kv_heads: usize, head_dim: usize) -> Self {
        Self::with_layout(Layout {
            dtype,
            n_layers,
            n_kv_heads,
            head_dim,
            block_len: KV_BLOCK,
        })
    }

    /// One layer in f32 that holds `len` positions in one block.
    pub(crate) fn in_one_block(n_kv_heads: usize, head_dim: usize, len: usize) -> Self {
        Self::with_layout(Layout {
            dtype: KvDType::F32,
            n_layers: 1,
            n_kv_heads,
            head_dim,
            block_len: len.max(1).next_multiple_of(LANES),
        })
    }

    /// Forgets everything and becomes what [`PagedKv::in_one_block`] makes, in the memory there is if it suffices. What
    /// lies beyond the last position is left over from before.
    pub(crate) fn restart_in_one_block(&mut self, n_kv_heads: usize, head_dim: usize, len: usize) {
        let next = Self::in_one_block(n_kv_heads, head_dim, len);
        let old = std::mem::replace(self, next);
        let fits = |block: &KvBlock| block.0.len() >= self.layout.block_bytes();
        self.blocks.extend(old.blocks.into_iter().filter(fits).take(1));
    }

    fn with_layout(layout: Layout) -> Self {
        let head_dim = layout.head_dim;
        assert!(
            (1..=HEAD_DIM_MAX).contains(&head_dim),
            "heads of {head_dim}, at most {HEAD_DIM_MAX}"
        );
        Self {
            layout,
            lens: vec![0; layout.n_layers],
            blocks: Vec::new(),
        }
    }

    /// How numbers are kept.
    pub fn dtype(&self) -> KvDType {
        self.layout.dtype
    }

    /// Bytes taken, shared blocks included.
    pub fn size_bytes(&self) -> usize {
        self.blocks.len() * self.layout.block_bytes()
    }

    /// Bytes of a block.
    pub fn block_bytes(&self) -> usize {
        self.layout.block_bytes()
    }

    /// One layer, to be read.
    ///
    /// # Panics
    /// If there is no such layer.
    pub fn layer(&self, layer: usize) -> KvLayer<'_> {
        assert!(layer < self.lens.len(), "layer {layer} of {}", self.lens.len());
        KvLayer { kv: self, layer }
    }

    /// Appends positions to a layer; `k` (rotated already) and `v` are `[n][kv head][head_dim]`.
    ///
    /// # Panics
    /// If there is no such layer, or `k` and `v` differ in length or are not whole positions.
    pub fn push(&mut self, layer: usize, k: &[f32], v: &[f32]) {
        for mut part in self.parts(layer, k, v) {
            part.write();
        }
    }

    /// [`PagedKv::push`], many positions by several threads: memory that is touched for the first time takes longer than
    /// the numbers.
    ///
    /// # Panics
    /// As there.
    pub fn push_in(&mut self, pool: &Pool, layer: usize, k: &[f32], v: &[f32]) {
        if k.len() < PARALLEL_FROM {
            return self.push(layer, k, v);
        }
        let parts: Vec<Mutex<Part<'_>>> = self.parts(layer, k, v).into_iter().map(Mutex::new).collect();
        pool.for_each(parts.len(), |i| {
            parts[i].lock().unwrap_or_else(PoisonError::into_inner).write();
        });
    }

    /// Makes room for positions; what is to be written of them, by block and head.
    fn parts<'a>(&'a mut self, layer: usize, k: &'a [f32], v: &'a [f32]) -> Vec<Part<'a>> {
        let layout = self.layout;
        let width = layout.n_kv_heads * layout.head_dim;
        assert!(
            k.len() == v.len() && k.len().is_multiple_of(width.max(1)),
            "positions of {width} keys and values"
        );
        let start = self.lens[layer];
        let end = start + k.len() / width.max(1);
        while self.blocks.len() * layout.block_len < end {
            self.blocks.push(KvBlock::zeroed(&layout));
        }
        self.lens[layer] = end;
        let (first_block, mut at) = (start / layout.block_len, start);
        let mut parts = Vec::new();
        for block in self.blocks.iter_mut().skip(first_block) {
            let first = at % layout.block_len;
            let n = (layout.block_len - first).min(end - at);
            if n == 0 {
                break;
            }
            let new = (at - start) * width..(at - start + n) * width;
            let bytes = &mut block.own()[layer * layout.layer_bytes()..][..layout.layer_bytes()];
            for (head, bytes) in bytes.chunks_exact_mut(layout.head_bytes()).enumerate() {
                parts.push(Part {
                    layout,
                    bytes,
                    head,
                    first,
                    k: &k[new.clone()],
                    v: &v[new.clone()],
                });
            }
            at += n;
        }
        parts
    }

    /// Forgets the positions from `len` on, in all layers.
    pub fn truncate(&mut self, len: usize) {
        for layer in &mut self.lens {
            *layer = len.min(*layer);
        }
        let longest = self.lens.iter().copied().max().unwrap_or(0);
        self.blocks.truncate(longest.div_ceil(self.layout.block_len));
    }

    /// A block that is full in all layers, to be shared; `None` if there is none of that number.
    pub fn full_block(&self, index: usize) -> Option<KvBlock> {
        let end = (index + 1) * self.layout.block_len;
        let is_full = self.lens.iter().all(|&len| len >= end);
        self.blocks.get(index).filter(|_| is_full).cloned()
    }

    /// Appends a full block of a cache of the same shape. False, and nothing has changed, if the cache does
    /// not end with a full block or the other's has another size.
    #[must_use]
    pub fn attach(&mut self, block: KvBlock) -> bool {
        let len = self.blocks.len() * self.layout.block_len;
        let fits = block.0.len() == self.layout.block_bytes() && self.lens.iter().all(|&own| own == len);
        if fits {
            self.blocks.push(block);
            self.lens.fill(len + self.layout.block_len);
        }
        fits
    }
}

/// New positions of one head in one block.
struct Part<'a> {
    layout: Layout,
    /// The head's keys and values.
    bytes: &'a mut [u8],
    head: usize,
    /// Where in the block they begin.
    first: usize,
    /// Of all heads.
    k: &'a [f32],
    v: &'a [f32],
}

impl Part<'_> {
    fn write(&mut self) {
        encode::write(&self.layout, self.bytes, self.head, self.first, self.k, self.v);
    }
}

/// One layer of a [`PagedKv`].
#[derive(Debug, Clone, Copy)]
pub struct KvLayer<'a> {
    kv: &'a PagedKv,
    layer: usize,
}

impl<'a> KvLayer<'a> {
    /// Positions held.
    pub fn len(&self) -> usize {
        self.kv.lens[self.layer]
    }

    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Heads of keys and values.
    pub fn n_kv_heads(&self) -> usize {
        self.kv.layout.n_kv_heads
    }

    /// Components of a head.
    pub fn head_dim(&self) -> usize {
        self.kv.layout.head_dim
    }

    /// The first of `positions`, as many as lie in one block, of one head.
    pub(crate) fn piece(&self, head: usize, positions: Range<usize>) -> Piece<'a> {
        let layout = &self.kv.layout;
        let (block, first) = (
            positions.start / layout.block_len,
            positions.start % layout.block_len,
        );
        let at = self.layer * layout.layer_bytes() + head * layout.head_bytes();
        Piece {
            layout,
            bytes: &self.kv.blocks[block].0[at..][..layout.head_bytes()],
            first,
            len: positions.len().min(layout.block_len - first),
        }
    }
}

/// Some positions of one head inside a block.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Piece<'a> {
    layout: &'a Layout,
    /// The head's keys and values in the block.
    bytes: &'a [u8],
    /// The first position, a multiple of [`LANES`], counted from the block's start.
    first: usize,
    len: usize,
}

impl<'a> Piece<'a> {
    /// Positions.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The keys: a group for each tile, a column for each component. Positions beyond the last are whatever
    /// the tile holds.
    pub(crate) fn keys(&self) -> Columns<'a> {
        let tile = &self.bytes[self.first / LANES * self.layout.tile_bytes()..];
        Columns {
            bytes: &tile[self.layout.tile_scale_bytes()..],
            numbers: match self.layout.dtype {
                KvDType::F32 => Numbers::F32,
                KvDType::F16 => Numbers::F16,
                KvDType::Q8_0 => Numbers::ScaledI8(tile),
            },
            group_bytes: self.layout.tile_bytes(),
            n_groups: self.len.div_ceil(LANES),
            len: self.layout.head_dim,
        }
    }

    /// The values: a group for each sixteen components, a column for each position. Integers are to be
    /// multiplied by the scales of their position.
    pub(crate) fn values(&self) -> Columns<'a> {
        let layout = self.layout;
        let numbers = match layout.dtype {
            KvDType::F32 => Numbers::F32,
            KvDType::F16 => Numbers::F16,
            KvDType::Q8_0 => Numbers::I8,
        };
        let at = layout.keys_bytes() + layout.value_scale_bytes() + self.first * LANES * numbers.size();
        Columns {
            bytes: &self.bytes[at..],
            numbers,
            group_bytes: layout.group_bytes(),
            n_groups: layout.n_groups(),
            len: self.len,
        }
    }

    /// The scales, an f32 for each position, that the values of components `32 i..32 i + 32` have; `None`
    /// where there are no scales, or none of that number.
    pub(crate) fn value_scales(&self, i: usize) -> Option<&'a [u8]> {
        let at = self.layout.keys_bytes() + (i * self.layout.block_len + self.first) * SCALE_BYTES;
        let scales = || &self.bytes[at..][..self.len * SCALE_BYTES];
        (i < self.layout.n_scales()).then(scales)
    }
}

#[cfg(test)]
mod tests;
