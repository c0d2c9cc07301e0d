//! Which type each matrix of a synthetic model has: one for all, or a usual mix.

use compute::DType;

use super::{SynthError, SynthTensor};
use crate::config::Config;

/// The type, or the mix of types, of a model's matrices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WeightType {
    /// One type for all.
    One(DType),
    /// `q4_k_m`, the most common mix: q6_k for the output and, in half of the layers, for what hurts most when
    /// it is coarse (values and the way down); q4_k for the rest.
    Q4KM,
}

impl From<DType> for WeightType {
    fn from(dtype: DType) -> Self {
        Self::One(dtype)
    }
}

impl WeightType {
    /// Name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::One(dtype) => dtype.name(),
            Self::Q4KM => "q4_k_m",
        }
    }

    /// Every type and mix.
    fn all() -> impl Iterator<Item = Self> {
        DType::ALL.into_iter().map(Self::One).chain([Self::Q4KM])
    }

    /// The type of one tensor.
    pub(super) fn of(self, tensor: &SynthTensor, config: &Config) -> DType {
        if !tensor.fill.is_matrix() {
            return DType::F32;
        }
        match self {
            Self::One(dtype) => dtype,
            Self::Q4KM if wants_more_bits(&tensor.name, config) => DType::Q6_K,
            Self::Q4KM => DType::Q4_K,
        }
    }

    /// llama.cpp's number for a file that is mostly of this type.
    pub(super) fn file_type(self) -> u32 {
        match self {
            Self::One(DType::F32) => 0,
            Self::One(DType::F16) => 1,
            Self::One(DType::Q4_0) => 2,
            Self::One(DType::Q4_1) => 3,
            Self::One(DType::Q8_0) => 7,
            Self::One(DType::Q5_0) => 8,
            Self::One(DType::Q5_1) => 9,
            Self::One(DType::Q2_K) => 10,
            Self::One(DType::Q3_K) => 11,
            Self::One(DType::Q4_K) => 14,
            Self::Q4KM => 15,
            Self::One(DType::Q5_K) => 16,
            Self::One(DType::Q6_K) => 18,
            Self::One(DType::BF16) => 32,
        }
    }
}

/// The matrices of `q4_k_m` that get q6_k: llama.cpp's choice, which takes the first and the last eighth of the
/// layers and every third between.
fn wants_more_bits(name: &str, config: &Config) -> bool {
    let output = if config.tied_head {
        "token_embd.weight"
    } else {
        "output.weight"
    };
    let Some((layer, part)) = name.strip_prefix("blk.").and_then(|rest| rest.split_once('.')) else {
        return name == output;
    };
    let (n, eighth) = (config.n_layers, config.n_layers / 8);
    let chosen = |layer: usize| layer < eighth || layer >= 7 * n / 8 || (layer - eighth) % 3 == 2;
    (part.starts_with("attn_v.") || part.starts_with("ffn_down")) && layer.parse().is_ok_and(chosen)
}

/// The weight type of that name ("q4_0", "q4_k_m").
///
/// # Errors
/// When there is none; the message lists all.
pub fn dtype_by_name(name: &str) -> Result<WeightType, SynthError> {
    let found = WeightType::all().find(|ty| ty.name().eq_ignore_ascii_case(name));
    found.ok_or_else(|| SynthError::Type {
        found: name.chars().take(64).collect(),
        known: WeightType::all()
            .map(WeightType::name)
            .collect::<Vec<_>>()
            .join(", "),
    })
}
