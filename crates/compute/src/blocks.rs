//! Element types of weight matrices and the size of their blocks.
//!
//! The layouts are those of GGUF files: a quantised type stores [`BLOCK`] neighbouring weights of a row
//! as one block of scale, offset and small integers. This file knows sizes; `quant` knows values and
//! `matrix` knows how blocks of sixteen rows are interleaved for the kernels.

/// Weights in one quantised block, and activations in one int8 block.
pub const BLOCK: usize = 32;

/// Element type of a weight matrix.
///
/// A new type is added here, in `quant` (its values) and in `matrix` (its interleaving, or none).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DType {
    /// IEEE 754 single precision, little endian.
    F32,
    /// IEEE 754 half precision, little endian.
    F16,
    /// The upper half of an [`DType::F32`], little endian.
    BF16,
    /// f16 scale `d`, 32 nibbles `q`: `(q - 8) * d`.
    Q4_0,
    /// f16 scale `d`, f16 offset `m`, 32 nibbles `q`: `q * d + m`.
    Q4_1,
    /// f16 scale `d`, 32 signed bytes `q`: `q * d`.
    Q8_0,
}

impl DType {
    /// Every type, in a fixed order.
    pub const ALL: [Self; 6] = [
        Self::F32,
        Self::F16,
        Self::BF16,
        Self::Q4_0,
        Self::Q4_1,
        Self::Q8_0,
    ];

    /// Weights that share one block; 1 for the floating-point types.
    pub const fn block_len(self) -> usize {
        match self {
            Self::F32 | Self::F16 | Self::BF16 => 1,
            Self::Q4_0 | Self::Q4_1 | Self::Q8_0 => BLOCK,
        }
    }

    /// Bytes of one block.
    pub const fn block_bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::BF16 => 2,
            Self::Q4_0 => 2 + BLOCK / 2,
            Self::Q4_1 => 4 + BLOCK / 2,
            Self::Q8_0 => 2 + BLOCK,
        }
    }

    /// Bytes of a row of `cols` weights; `None` if blocks do not divide it or it overflows.
    pub const fn row_bytes(self, cols: usize) -> Option<usize> {
        if !cols.is_multiple_of(self.block_len()) {
            return None;
        }
        (cols / self.block_len()).checked_mul(self.block_bytes())
    }

    /// Whether the weights are integers with shared scales.
    pub const fn is_quantised(self) -> bool {
        self.block_len() > 1
    }

    /// Lower-case name, as in GGUF tools: `q4_0`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::BF16 => "bf16",
            Self::Q4_0 => "q4_0",
            Self::Q4_1 => "q4_1",
            Self::Q8_0 => "q8_0",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_must_be_whole_blocks() {
        assert_eq!(DType::Q4_0.row_bytes(64), Some(36));
        assert_eq!(DType::Q4_1.row_bytes(64), Some(40));
        assert_eq!(DType::Q8_0.row_bytes(64), Some(68));
        assert_eq!(DType::Q4_0.row_bytes(65), None);
        assert_eq!(DType::BF16.row_bytes(3), Some(6));
        assert_eq!(DType::F32.row_bytes(usize::MAX), None);
    }
}
