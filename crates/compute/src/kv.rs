//! Keys and values of one sequence in one layer.
//!
//! * Keys lie `[position / 16][kv head][head_dim][position % 16]`, so that one vector holds the same
//!   component of sixteen positions and scores need no horizontal sum.
//! * Values lie `[position][kv head][head_dim, padded to a multiple of 16]`.
//!
//! Both only grow at the end. This file stores; `attention` reads.

use half::f16;

use crate::blocks::DType;
use crate::matrix::LANES;

/// Components of a head at most.
pub const HEAD_DIM_MAX: usize = crate::kernels::SPAN;

/// How keys and values are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KvDType {
    /// Exact.
    F32,
    /// Half the memory, rounded to 11 bits.
    #[default]
    F16,
}

impl KvDType {
    pub(crate) const fn size(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 => 2,
        }
    }

    /// The same type as kernels name it.
    pub(crate) const fn dtype(self) -> DType {
        match self {
            Self::F32 => DType::F32,
            Self::F16 => DType::F16,
        }
    }
}

/// Keys and values of one sequence in one layer; see the module for the layout.
#[derive(Debug, Clone)]
pub struct KvLayer {
    n_kv_heads: usize,
    head_dim: usize,
    len: usize,
    keys: Store,
    values: Store,
}

/// Numbers of one type, as bytes, so that kernels read them without a copy.
#[derive(Debug, Clone)]
struct Store {
    dtype: KvDType,
    bytes: Vec<u8>,
}

impl Store {
    fn new(dtype: KvDType, capacity: usize) -> Self {
        Self {
            dtype,
            bytes: Vec::with_capacity(capacity * dtype.size()),
        }
    }

    fn resize(&mut self, len: usize) {
        self.bytes.resize(len * self.dtype.size(), 0);
    }

    /// Writes `x` from element `at` on, `step` elements apart.
    fn scatter(&mut self, x: &[f32], at: usize, step: usize) {
        let size = self.dtype.size();
        let slots = self.bytes[at * size..].chunks_mut(step * size).zip(x);
        match self.dtype {
            KvDType::F32 => slots.for_each(|(to, x)| to[..4].copy_from_slice(&x.to_le_bytes())),
            KvDType::F16 => {
                slots.for_each(|(to, x)| to[..2].copy_from_slice(&f16::from_f32(*x).to_le_bytes()))
            }
        }
    }
}

impl KvLayer {
    /// An empty cache with room for `capacity` positions before it has to move.
    ///
    /// # Panics
    /// If `head_dim` exceeds [`HEAD_DIM_MAX`].
    pub fn new(dtype: KvDType, n_kv_heads: usize, head_dim: usize, capacity: usize) -> Self {
        assert!(
            head_dim <= HEAD_DIM_MAX,
            "heads of {head_dim}, at most {HEAD_DIM_MAX}"
        );
        let capacity = capacity.next_multiple_of(LANES) * n_kv_heads;
        Self {
            n_kv_heads,
            head_dim,
            len: 0,
            keys: Store::new(dtype, capacity * head_dim),
            values: Store::new(dtype, capacity * head_dim.next_multiple_of(LANES)),
        }
    }

    /// Positions held.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Heads of keys and values.
    pub fn n_kv_heads(&self) -> usize {
        self.n_kv_heads
    }

    /// Components of a head.
    pub fn head_dim(&self) -> usize {
        self.head_dim
    }

    /// Bytes in use.
    pub fn size_bytes(&self) -> usize {
        self.keys.bytes.len() + self.values.bytes.len()
    }

    /// Appends positions; `k` (rotated already) and `v` are `[n][kv head][head_dim]`.
    ///
    /// # Panics
    /// If `k` and `v` differ in length or are not whole positions.
    pub fn push(&mut self, k: &[f32], v: &[f32]) {
        let width = self.n_kv_heads * self.head_dim;
        assert!(
            k.len() == v.len() && k.len().is_multiple_of(width.max(1)),
            "positions of {width} keys and values"
        );
        let n = k.len() / width.max(1);
        let end = self.len + n;
        self.keys.resize(end.next_multiple_of(LANES) * width);
        self.values.resize(end * self.n_kv_heads * self.value_stride());
        let tokens = k.chunks_exact(width.max(1)).zip(v.chunks_exact(width.max(1)));
        for (position, (k, v)) in (self.len..).zip(tokens) {
            let heads = k.chunks_exact(self.head_dim).zip(v.chunks_exact(self.head_dim));
            for (head, (k, v)) in heads.enumerate() {
                self.keys
                    .scatter(k, self.key_tile(position / LANES, head) + position % LANES, LANES);
                self.values
                    .scatter(v, (position * self.n_kv_heads + head) * self.value_stride(), 1);
            }
        }
        self.len = end;
    }

    /// Forgets the positions from `len` on.
    pub fn truncate(&mut self, len: usize) {
        if len < self.len {
            self.len = len;
            self.keys
                .resize(len.next_multiple_of(LANES) * self.n_kv_heads * self.head_dim);
            self.values.resize(len * self.n_kv_heads * self.value_stride());
        }
    }

    /// How numbers are kept.
    pub fn dtype(&self) -> KvDType {
        self.keys.dtype
    }

    /// Bytes from the keys of sixteen positions of one head (`head_dim` runs of sixteen) to the end.
    pub(crate) fn keys_from(&self, tile: usize, head: usize) -> &[u8] {
        &self.keys.bytes[self.key_tile(tile, head) * self.keys.dtype.size()..]
    }

    /// Bytes from component `component` of the value of one head at one position to the end.
    pub(crate) fn values_from(&self, position: usize, head: usize, component: usize) -> &[u8] {
        let at = (position * self.n_kv_heads + head) * self.value_stride() + component;
        &self.values.bytes[at * self.values.dtype.size()..]
    }

    /// Bytes from a head's value at one position to its value at the next.
    pub(crate) fn position_bytes(&self) -> usize {
        self.n_kv_heads * self.value_stride() * self.values.dtype.size()
    }

    /// Where the keys of sixteen positions of one head start.
    fn key_tile(&self, tile: usize, head: usize) -> usize {
        (tile * self.n_kv_heads + head) * self.head_dim * LANES
    }

    /// Elements from one head's value to the next.
    pub(crate) fn value_stride(&self) -> usize {
        self.head_dim.next_multiple_of(LANES)
    }
}
