//! Which type each tensor gets.
//!
//! The default for a type follows llama.cpp's files of that name: the head, and with the small types the embedding
//! too, are kept in q6_k, and so are the values and the feed-forward outputs of some layers (its `_M` mixtures).
//! Exceptions by name come after that. A matrix whose rows are not whole blocks gets a type that fits, and says so.

use compute::DType;

use super::plan::Planned;
use super::{ConvertError, Fallback, Options};
use crate::config::Config;

/// The type that keeps what quality depends on most, the best that is known first.
const CAREFUL: [&str; 2] = ["q6_k", "q8_0"];
/// Types so small that the embedding is better kept apart.
const SMALL: [&str; 4] = ["q2_k", "q3_k", "q4_k", "q5_k"];

/// The weight type of that name ("q4_0", in either case).
///
/// # Errors
/// When there is none; the message lists all.
pub fn dtype_by_name(name: &str) -> Result<DType, ConvertError> {
    find(name).ok_or_else(|| ConvertError::Type {
        found: name.chars().take(64).collect(),
        known: known(),
    })
}

pub(super) fn find(name: &str) -> Option<DType> {
    let mut all = DType::ALL.into_iter();
    all.find(|dtype| dtype.name().eq_ignore_ascii_case(name))
}

pub(super) fn known() -> String {
    DType::ALL.map(DType::name).join(", ")
}

/// An exception: matrices whose GGUF names match get this type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    pattern: String,
    dtype: DType,
}

impl Rule {
    /// Reads `PATTERN=TYPE`. A pattern with `*` or `?` must match the whole name, another one a part of it.
    ///
    /// # Errors
    /// When there is no `=`, no pattern, or no type of that name.
    pub fn parse(text: &str) -> Result<Self, ConvertError> {
        let (pattern, dtype) = text
            .rsplit_once('=')
            .filter(|(pattern, _)| !pattern.trim().is_empty())
            .ok_or_else(|| ConvertError::Rule {
                found: text.chars().take(64).collect(),
            })?;
        Ok(Self {
            pattern: pattern.trim().to_owned(),
            dtype: dtype_by_name(dtype.trim())?,
        })
    }

    fn matches(&self, name: &str) -> bool {
        if self.pattern.contains(['*', '?']) {
            glob(self.pattern.as_bytes(), name.as_bytes())
        } else {
            name.contains(&self.pattern)
        }
    }
}

/// Whether `text` is of the form of `pattern`, in which `*` stands for anything and `?` for one byte.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    // Where to go on when the text after the last `*` does not match: one byte further.
    let mut retry: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                retry = Some((p + 1, t));
                p += 1;
            }
            Some(&byte) if byte == b'?' || byte == text[t] => {
                p += 1;
                t += 1;
            }
            _ => match retry {
                Some((after, from)) => {
                    retry = Some((after, from + 1));
                    (p, t) = (after, from + 1);
                }
                None => return false,
            },
        }
    }
    pattern.iter().skip(p).all(|byte| *byte == b'*')
}

/// A tensor and the type it gets.
pub(super) type Typed = (Planned, DType);

/// Every tensor with its type, and the matrices that could not have the type asked for.
pub(super) fn types(
    tensors: &[Planned],
    config: &Config,
    options: &Options,
) -> Result<(Vec<Typed>, Vec<Fallback>), ConvertError> {
    for rule in &options.rules {
        let mut matrices = tensors.iter().filter(|tensor| tensor.is_matrix);
        if !matrices.any(|tensor| rule.matches(&tensor.name)) {
            return Err(ConvertError::RuleUnused {
                pattern: rule.pattern.clone(),
            });
        }
    }
    let mut fallbacks = Vec::new();
    let choose = |tensor: &Planned| {
        if !tensor.is_matrix {
            return (tensor.clone(), DType::F32);
        }
        let rule = options.rules.iter().rev().find(|rule| rule.matches(&tensor.name));
        let wanted = rule.map_or_else(|| default(options.dtype, &tensor.name, config), |rule| rule.dtype);
        let taken = fitting(wanted, tensor.columns());
        if taken != wanted {
            fallbacks.push(Fallback {
                tensor: tensor.name.clone(),
                columns: tensor.columns() as u64,
                wanted,
                taken,
            });
        }
        (tensor.clone(), taken)
    };
    let typed = tensors.iter().map(choose).collect();
    Ok((typed, fallbacks))
}

/// The type of a matrix in a file that is mostly `base`.
fn default(base: DType, name: &str, config: &Config) -> DType {
    if base.block_len() == 1 || CAREFUL.contains(&base.name()) {
        return base;
    }
    let is_small = SMALL.contains(&base.name());
    let careful = CAREFUL.into_iter().find_map(find).unwrap_or(base);
    let keep = match name {
        "output.weight" => true,
        "token_embd.weight" => config.tied_head || is_small,
        _ => {
            is_small
                && (name.contains(".attn_v.") || name.contains(".ffn_down"))
                && layer_of(name).is_some_and(|layer| needs_more_bits(layer, config.n_layers))
        }
    };
    if keep { careful } else { base }
}

fn layer_of(name: &str) -> Option<usize> {
    name.strip_prefix("blk.")?.split('.').next()?.parse().ok()
}

/// The first and last eighth of the layers and every third between: llama.cpp's choice for its `_M` mixtures.
fn needs_more_bits(layer: usize, n_layers: usize) -> bool {
    let eighth = n_layers / 8;
    layer < eighth || layer >= 7 * n_layers / 8 || (layer - eighth) % 3 == 2
}

/// `wanted`, or where rows of so many columns are not whole blocks of it, a finer type that fits.
fn fitting(wanted: DType, columns: usize) -> DType {
    let finer: &[&str] = match wanted.name() {
        "q2_k" | "q3_k" | "q4_k" => &["q5_0", "q8_0"],
        "q5_k" => &["q5_1", "q8_0"],
        "q6_k" => &["q8_0"],
        _ => &[],
    };
    let finer = finer.iter().filter_map(|name| find(name));
    std::iter::once(wanted)
        .chain(finer)
        .find(|dtype| dtype.row_bytes(columns).is_some())
        .unwrap_or(DType::F16)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::synth::Spec;

    #[test]
    fn patterns_match_parts_or_with_wildcards_the_whole() {
        let rule = |text: &str| Rule::parse(text).unwrap();
        let name = "blk.3.ffn_down_exps.weight";
        for (pattern, expected) in [
            ("ffn_down_exps=q8_0", true),
            ("ffn_down=f16", true),
            ("blk.?.ffn_*=q4_0", true),
            ("*=f32", true),
            ("ffn_*=q4_0", false),
            ("blk.*.weigh=q4_0", false),
            ("blk.*down*.weight=Q4_0", true),
            ("ffn_up=q8_0", false),
        ] {
            assert_eq!(rule(pattern).matches(name), expected, "{pattern}");
        }
        for wrong in ["", "ffn", "=q8_0", "ffn=", "ffn=q9"] {
            assert!(Rule::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn rows_that_are_not_whole_blocks_get_a_finer_type() {
        assert_eq!(fitting(DType::Q4_0, 64), DType::Q4_0);
        assert_eq!(fitting(DType::Q4_0, 80), DType::F16);
        assert_eq!(fitting(DType::F32, 80), DType::F32);
    }

    #[test]
    fn the_head_is_kept_better_than_the_rest() {
        let config = Spec::by_name("tiny-olmoe").unwrap().config;
        let head = default(DType::Q4_0, "output.weight", &config);
        assert!(CAREFUL.contains(&head.name()), "{}", head.name());
        assert_eq!(default(DType::Q4_0, "token_embd.weight", &config), DType::Q4_0);
        assert_eq!(default(DType::Q4_0, "blk.0.attn_v.weight", &config), DType::Q4_0);
        assert_eq!(default(DType::F16, "output.weight", &config), DType::F16);
        let more: Vec<usize> = (0..16).filter(|layer| needs_more_bits(*layer, 16)).collect();
        assert_eq!(more, [0, 1, 4, 7, 10, 13, 14, 15]);
    }
}
