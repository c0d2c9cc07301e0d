//! Element types of weight matrices and the size of their blocks.
//!
//! The layouts are those of GGUF files: a quantised type stores [`BLOCK`] or 256 neighbouring
//! weights of a row as one block of scales, offsets and small integers. This file knows sizes; `quant`
//! knows values and `matrix` knows how blocks of sixteen rows are interleaved for the kernels.

/// Weights in one quantised block, and activations in one int8 block.
pub const BLOCK: usize = 32;
/// Weights in one block of the K types, whose sub-blocks have small integers as scales.
pub(crate) const SUPER_BLOCK: usize = 256;

/// Element type of a weight matrix.
///
/// A new type is added here, in `quant` (its values) and in `matrix` (its interleaving, or none).
#[expect(non_camel_case_types, reason = "the field's own names, as users know them")]
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
    /// f16 scale `d`, 32 fifth bits, 32 nibbles, together `q`: `(q - 16) * d`.
    Q5_0,
    /// f16 scale `d`, f16 offset `m`, 32 fifth bits, 32 nibbles, together `q`: `q * d + m`.
    Q5_1,
    /// f16 scale `d`, 32 signed bytes `q`: `q * d`.
    Q8_0,
    /// Sixteen sub-blocks of 16 with 4-bit scale `s` and offset `m`, 2-bit `q`, f16 `d` and `e`:
    /// `d * s * q - e * m`.
    Q2_K,
    /// Sixteen sub-blocks of 16 with 6-bit scale `s`, 3-bit `q`, f16 `d`: `d * (s - 32) * (q - 4)`.
    Q3_K,
    /// Eight sub-blocks of 32 with 6-bit scale `s` and offset `m`, 4-bit `q`, f16 `d` and `e`:
    /// `d * s * q - e * m`.
    Q4_K,
    /// As [`DType::Q4_K`] with 5-bit `q`.
    Q5_K,
    /// Sixteen sub-blocks of 16 with 8-bit signed scale `s`, 6-bit `q`, f16 `d`: `d * s * (q - 32)`.
    Q6_K,
}

impl DType {
    /// Every type, in a fixed order.
    pub const ALL: [Self; 13] = [
        Self::F32,
        Self::F16,
        Self::BF16,
        Self::Q4_0,
        Self::Q4_1,
        Self::Q5_0,
        Self::Q5_1,
        Self::Q8_0,
        Self::Q2_K,
        Self::Q3_K,
        Self::Q4_K,
        Self::Q5_K,
        Self::Q6_K,
    ];

    /// Weights that share one block; 1 for the floating-point types.
    pub const fn block_len(self) -> usize {
        match self {
            Self::F32 | Self::F16 | Self::BF16 => 1,
            Self::Q4_0 | Self::Q4_1 | Self::Q5_0 | Self::Q5_1 | Self::Q8_0 => BLOCK,
            Self::Q2_K | Self::Q3_K | Self::Q4_K | Self::Q5_K | Self::Q6_K => SUPER_BLOCK,
        }
    }

    /// Bytes of one block.
    pub const fn block_bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::BF16 => 2,
            Self::Q4_0 => 2 + BLOCK / 2,
            Self::Q4_1 => 4 + BLOCK / 2,
            Self::Q5_0 => 2 + BLOCK / 8 + BLOCK / 2,
            Self::Q5_1 => 4 + BLOCK / 8 + BLOCK / 2,
            Self::Q8_0 => 2 + BLOCK,
            Self::Q2_K => 16 + SUPER_BLOCK / 4 + 4,
            Self::Q3_K => SUPER_BLOCK / 8 + SUPER_BLOCK / 4 + 12 + 2,
            Self::Q4_K => 4 + 12 + SUPER_BLOCK / 2,
            Self::Q5_K => 4 + 12 + SUPER_BLOCK / 8 + SUPER_BLOCK / 2,
            Self::Q6_K => SUPER_BLOCK / 2 + SUPER_BLOCK / 4 + 16 + 2,
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
            Self::Q5_0 => "q5_0",
            Self::Q5_1 => "q5_1",
            Self::Q8_0 => "q8_0",
            Self::Q2_K => "q2_k",
            Self::Q3_K => "q3_k",
            Self::Q4_K => "q4_k",
            Self::Q5_K => "q5_k",
            Self::Q6_K => "q6_k",
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
        assert_eq!(DType::Q5_0.row_bytes(64), Some(44));
        assert_eq!(DType::Q5_1.row_bytes(64), Some(48));
        assert_eq!(DType::Q4_0.row_bytes(65), None);
        assert_eq!(DType::Q4_K.row_bytes(128), None);
        let super_blocks = [DType::Q2_K, DType::Q3_K, DType::Q4_K, DType::Q5_K, DType::Q6_K];
        assert_eq!(
            super_blocks.map(|dtype| dtype.row_bytes(512)),
            [168, 220, 288, 352, 420].map(Some)
        );
        assert_eq!(DType::BF16.row_bytes(3), Some(6));
        assert_eq!(DType::F32.row_bytes(usize::MAX), None);
    }
}
