//! The element types of ggml: their numbers, block lengths and block sizes.
//!
//! A closed list: a number that is not here is refused. Knowing a type's size does not mean that compute
//! can multiply with it.

use std::fmt;

macro_rules! types {
    ($($variant:ident = $id:literal, $name:literal, $block_len:literal, $block_bytes:literal;)*) => {
        /// Type of a tensor's elements. `Q4_0` holds 32 weights in 18 bytes, and so on.
        #[expect(non_camel_case_types, reason = "ggml's own names, as users know them")]
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum GgmlType {
            $(
                #[doc = concat!("`", $name, "`: ", $block_len, " elements in ", $block_bytes, " bytes.")]
                $variant,
            )*
        }

        impl GgmlType {
            /// Every type known.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The type of a number in a file; `None` for numbers unknown, removed or reserved.
            pub fn from_id(id: u32) -> Option<Self> {
                match id {
                    $($id => Some(Self::$variant),)*
                    _ => None,
                }
            }

            /// The number written into files.
            pub fn id(self) -> u32 {
                match self { $(Self::$variant => $id,)* }
            }

            /// ggml's name in lower case.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// Elements in a block; 1 for types that are not quantised.
            pub fn block_len(self) -> u64 {
                match self { $(Self::$variant => $block_len,)* }
            }

            /// Bytes of a block.
            pub fn block_bytes(self) -> u64 {
                match self { $(Self::$variant => $block_bytes,)* }
            }
        }
    };
}

types! {
    F32 = 0, "f32", 1, 4;
    F16 = 1, "f16", 1, 2;
    Q4_0 = 2, "q4_0", 32, 18;
    Q4_1 = 3, "q4_1", 32, 20;
    Q5_0 = 6, "q5_0", 32, 22;
    Q5_1 = 7, "q5_1", 32, 24;
    Q8_0 = 8, "q8_0", 32, 34;
    Q8_1 = 9, "q8_1", 32, 36;
    Q2_K = 10, "q2_k", 256, 84;
    Q3_K = 11, "q3_k", 256, 110;
    Q4_K = 12, "q4_k", 256, 144;
    Q5_K = 13, "q5_k", 256, 176;
    Q6_K = 14, "q6_k", 256, 210;
    Q8_K = 15, "q8_k", 256, 292;
    IQ2_XXS = 16, "iq2_xxs", 256, 66;
    IQ2_XS = 17, "iq2_xs", 256, 74;
    IQ3_XXS = 18, "iq3_xxs", 256, 98;
    IQ1_S = 19, "iq1_s", 256, 50;
    IQ4_NL = 20, "iq4_nl", 32, 18;
    IQ3_S = 21, "iq3_s", 256, 110;
    IQ2_S = 22, "iq2_s", 256, 82;
    IQ4_XS = 23, "iq4_xs", 256, 136;
    I8 = 24, "i8", 1, 1;
    I16 = 25, "i16", 1, 2;
    I32 = 26, "i32", 1, 4;
    I64 = 27, "i64", 1, 8;
    F64 = 28, "f64", 1, 8;
    IQ1_M = 29, "iq1_m", 256, 56;
    BF16 = 30, "bf16", 1, 2;
    TQ1_0 = 34, "tq1_0", 256, 54;
    TQ2_0 = 35, "tq2_0", 256, 66;
    MXFP4 = 39, "mxfp4", 32, 17;
}

impl GgmlType {
    /// The type of that name, in either case ("q4_0", "Q4_0").
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .copied()
            .find(|ty| ty.name().eq_ignore_ascii_case(name))
    }

    /// Bytes of a tensor with these extents (fastest first); `None` when the first is not whole blocks,
    /// one is zero or the product overflows.
    pub fn n_bytes(self, dims: &[u64]) -> Option<u64> {
        let first = dims.first().copied().unwrap_or(1);
        if dims.contains(&0) || !first.is_multiple_of(self.block_len()) {
            return None;
        }
        let row_bytes = (first / self.block_len()).checked_mul(self.block_bytes())?;
        let bytes = dims
            .iter()
            .skip(1)
            .try_fold(row_bytes, |product, dim| product.checked_mul(*dim))?;
        // The element count must fit too: readers multiply extents without blocks.
        dims.iter()
            .try_fold(1u64, |product, dim| product.checked_mul(*dim))?;
        Some(bytes)
    }
}

impl fmt::Display for GgmlType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
