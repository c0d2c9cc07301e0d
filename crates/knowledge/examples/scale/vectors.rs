//! Vectors that stand for an embedder's: seeded, in clusters, and of a lower rank than they are wide, as learnt ones are.
//!
//! A text's vector depends on the text alone. Clusters overlap, so that the nearest passages of a question lie in several.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use knowledge::{Embed, EmbedKind, EmbedderId};

use crate::seeded;

/// As wide as small multilingual embedders.
const DIM: usize = 384;
/// How many directions they spread in.
const RANK: usize = 48;
const N_CLUSTERS: u64 = 2_000;
/// Of a text around its cluster, and of each number around what the rank allows.
const SPREAD: f32 = 0.8;
const NOISE: f32 = 0.3;

/// The embedder.
pub(crate) struct Clustered {
    centres: Vec<[f32; RANK]>,
    directions: Vec<[f32; RANK]>,
}

impl Clustered {
    pub(crate) fn new() -> Self {
        let mut rng = seeded(11);
        let mut rows = |n: usize| -> Vec<[f32; RANK]> {
            (0..n)
                .map(|_| std::array::from_fn(|_| rng.normal_f32()))
                .collect()
        };
        Self {
            centres: rows(N_CLUSTERS as usize),
            directions: rows(DIM),
        }
    }

    fn vector(&self, text: &str) -> Vec<f32> {
        let mut hasher = DefaultHasher::new();
        text.hash(&mut hasher);
        let mut rng = seeded(hasher.finish());
        let centre = &self.centres[rng.below(N_CLUSTERS) as usize];
        let place: [f32; RANK] = std::array::from_fn(|i| centre[i] + SPREAD * rng.normal_f32());
        let along =
            |direction: &[f32; RANK]| -> f32 { direction.iter().zip(&place).map(|(a, b)| a * b).sum() };
        let mut vector: Vec<f32> = self.directions.iter().map(along).collect();
        let noise = NOISE * (RANK as f32).sqrt();
        vector.iter_mut().for_each(|x| *x += noise * rng.normal_f32());
        let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
        vector.iter_mut().for_each(|x| *x /= length);
        vector
    }
}

impl Embed for Clustered {
    fn id(&self) -> EmbedderId {
        EmbedderId {
            name: "clustered".to_owned(),
            sha256: "c".repeat(64),
            dim: DIM,
        }
    }

    fn embed(&self, _: EmbedKind, texts: &[&str]) -> Vec<Vec<f32>> {
        texts.iter().map(|text| self.vector(text)).collect()
    }
}
