//! Which instruction sets this processor has, as proof tokens.
//!
//! A token such as [`Avx512`] can only be made by a constructor that asked the processor, so holding one
//! is what makes calling the kernels of that level sound. The best level is chosen once per process.
//! Nothing here reads the environment: [`force_isa`] is for tests and benchmarks.

use std::sync::OnceLock;

/// Levels of instruction sets that have kernels of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Level {
    /// Plain Rust: the oracle.
    Scalar,
    /// x86-64 with AVX2, FMA and F16C.
    Avx2,
    /// x86-64 with AVX-512 F, BW, VL, DQ and VNNI.
    Avx512,
    /// AArch64 with the dot-product extension.
    Neon,
}

impl Level {
    /// Name used in kernel names.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512vnni",
            Self::Neon => "neondot",
        }
    }
}

/// Proof that AVX2, FMA and F16C may be used.
#[cfg(target_arch = "x86_64")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Avx2(());

#[cfg(target_arch = "x86_64")]
impl Avx2 {
    /// The features here must match the `target_feature` lines of `kernels::x86_64::avx2` and `lanes`.
    fn new() -> Option<Self> {
        let all = is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("fma")
            && is_x86_feature_detected!("f16c");
        all.then_some(Self(()))
    }
}

/// Proof that AVX-512 F, BW, VL, DQ and VNNI may be used, and all of [`Avx2`].
#[cfg(target_arch = "x86_64")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Avx512(());

#[cfg(target_arch = "x86_64")]
impl Avx512 {
    /// The features here must match the `target_feature` lines of `kernels::x86_64::avx512` and `lanes`.
    fn new() -> Option<Self> {
        let all = Avx2::new().is_some()
            && is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vnni");
        all.then_some(Self(()))
    }
}

/// Proof that NEON with the dot-product extension may be used.
#[cfg(target_arch = "aarch64")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Neon(());

#[cfg(target_arch = "aarch64")]
impl Neon {
    /// The features here must match the `target_feature` lines of `kernels::aarch64` and `lanes`.
    fn new() -> Option<Self> {
        let all = std::arch::is_aarch64_feature_detected!("neon")
            && std::arch::is_aarch64_feature_detected!("dotprod");
        all.then_some(Self(()))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Proof {
    Scalar,
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
    #[cfg(target_arch = "x86_64")]
    Avx512(Avx512),
    #[cfg(target_arch = "aarch64")]
    Neon(Neon),
}

/// An instruction set that this processor is known to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Isa(Proof);

/// Why a level cannot be forced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ForceIsaError {
    /// The processor lacks it.
    #[error("this processor cannot run the {} kernels: choose one that `doctor` lists", .0.name())]
    Unavailable(Level),
    /// Kernels were already chosen.
    #[error("kernels were already chosen ({}): force a level before the first computation", .0.name())]
    AlreadyChosen(Level),
}

static ACTIVE: OnceLock<Isa> = OnceLock::new();

impl Isa {
    /// The token of `level`, if this processor has it.
    pub fn new(level: Level) -> Option<Self> {
        match level {
            Level::Scalar => Some(Self(Proof::Scalar)),
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => Avx2::new().map(|t| Self(Proof::Avx2(t))),
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => Avx512::new().map(|t| Self(Proof::Avx512(t))),
            #[cfg(target_arch = "aarch64")]
            Level::Neon => Neon::new().map(|t| Self(Proof::Neon(t))),
            #[cfg(not(target_arch = "x86_64"))]
            Level::Avx2 | Level::Avx512 => None,
            #[cfg(not(target_arch = "aarch64"))]
            Level::Neon => None,
        }
    }

    /// Every level this processor can run, the best first, scalar last.
    pub fn available() -> Vec<Self> {
        [Level::Avx512, Level::Avx2, Level::Neon, Level::Scalar]
            .into_iter()
            .filter_map(Self::new)
            .collect()
    }

    /// The level in force for this process: the best, unless [`force_isa`] chose another first.
    pub fn active() -> Self {
        *ACTIVE.get_or_init(|| Self::available().first().copied().unwrap_or(Self(Proof::Scalar)))
    }

    /// Which level this is.
    pub fn level(self) -> Level {
        match self.0 {
            Proof::Scalar => Level::Scalar,
            #[cfg(target_arch = "x86_64")]
            Proof::Avx2(_) => Level::Avx2,
            #[cfg(target_arch = "x86_64")]
            Proof::Avx512(_) => Level::Avx512,
            #[cfg(target_arch = "aarch64")]
            Proof::Neon(_) => Level::Neon,
        }
    }

    pub(crate) fn proof(self) -> Proof {
        self.0
    }
}

/// Fixes the level for the whole process; once, before the first computation.
pub fn force_isa(level: Level) -> Result<(), ForceIsaError> {
    let isa = Isa::new(level).ok_or(ForceIsaError::Unavailable(level))?;
    let chosen = *ACTIVE.get_or_init(|| isa);
    if chosen == isa {
        Ok(())
    } else {
        Err(ForceIsaError::AlreadyChosen(chosen.level()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scalar_is_always_there_and_comes_last() {
        let all = Isa::available();
        assert_eq!(all.last().map(|isa| isa.level()), Some(Level::Scalar));
        assert_eq!(all.first().copied(), Some(Isa::active()));
        // Under emulation `xtask` reads which: all tests would hold where a level goes undetected.
        println!("kernels in force: {}", Isa::active().level().name());
    }

    #[test]
    fn a_second_choice_is_refused() {
        let active = Isa::active().level();
        assert_eq!(force_isa(active), Ok(()));
        if active != Level::Scalar {
            assert_eq!(
                force_isa(Level::Scalar),
                Err(ForceIsaError::AlreadyChosen(active))
            );
        }
        if cfg!(target_arch = "x86_64") {
            assert_eq!(
                force_isa(Level::Neon),
                Err(ForceIsaError::Unavailable(Level::Neon))
            );
        }
    }
}
