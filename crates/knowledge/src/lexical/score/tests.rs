//! Skipping changes nothing: what is found and its scores are to the bit those of reading every posting.

use std::collections::BTreeMap;
use std::path::Path;

use proptest::prelude::*;
use stdx::rng::Rng;
use tantivy::indexer::NoMergePolicy;
use tantivy::postings::Postings as _;
use tantivy::{DocSet as _, Index, TERMINATED, Term};

use super::super::classes::Classes;
use super::super::rank::Occurrences;
use super::super::{Fields, register, schema, writer};
use super::*;
use crate::analysis::Analysis;
use crate::catalog::StoredPassage;
use crate::tests::small_dictionary;

const N_WORDS: u64 = 60;
const N_AUDIENCES: u64 = 4;

/// Few words are everywhere, most are rare; some are numbers, which are also indexed as what is named exactly.
fn word(rng: &mut Rng) -> String {
    let n = rng.below(N_WORDS).min(rng.below(N_WORDS)).min(rng.below(N_WORDS));
    match n % 3 {
        0 => format!("word{n}"),
        1 => ["계약", "해지", "위약", "보증", "임대"][n as usize % 5].to_owned(),
        _ => format!("제{n}조"),
    }
}

fn words(rng: &mut Rng, most: u64) -> String {
    let n = 1 + rng.below(most);
    (0..n).map(|_| word(rng)).collect::<Vec<_>>().join(" ")
}

/// Several segments, some of whose passages were deleted again.
fn index(rng: &mut Rng, analysis: &Arc<Analysis>) -> (Index, Fields) {
    let (schema, fields) = schema(analysis.name());
    let index = Index::create_in_ram(schema);
    register(&index, analysis.name(), analysis);
    let mut filled = writer(&index, fields, Path::new("memory"), "").unwrap();
    filled.writer.set_merge_policy(Box::new(NoMergePolicy));
    let mut passage_id = 0;
    for segment in 0..1 + rng.below(3) {
        for document in 0..10 + rng.below(30) {
            let audience = 1 + rng.below(N_AUDIENCES) as u32;
            let (title, headings) = (words(rng, 4), words(rng, 3));
            let passages: Vec<StoredPassage> = (0..1 + rng.below(12))
                .map(|_| {
                    passage_id += 1;
                    StoredPassage {
                        passage_id,
                        document_id: format!("{segment}-{document}"),
                        page: None,
                        title: title.clone(),
                        headings: headings.clone(),
                        text: words(rng, 40),
                        audience,
                    }
                })
                .collect();
            filled
                .replace(&passages[0].document_id.clone(), &passages)
                .unwrap();
        }
        filled.commit(segment as i64).unwrap();
        if rng.below(2) == 0 {
            filled.replace(&format!("{segment}-3"), &[]).unwrap();
        }
    }
    filled.commit(9).unwrap();
    filled.finish();
    (index, fields)
}

/// Every posting of every term is read, in the order of the question.
fn exhaustive(scorer: &Scorer<'_>, question: &Question, text: Field, limit: usize) -> Vec<Found> {
    let mut sums: BTreeMap<(usize, u32), (f64, bool)> = BTreeMap::new();
    for (at, scored) in scorer.fields.iter().enumerate() {
        let norms = Norms::new(scorer, at).unwrap();
        let mut add = |found: &Occurrences, worth: f32| {
            for &(segment, doc, count) in found {
                let sum = sums.entry((segment, doc)).or_default();
                sum.0 += skim::part(worth * (1.0 + K1), count, norms.half(segment, doc));
                sum.1 |= scored.is_own;
            }
        };
        for (term, weight) in terms(question, scored.terms) {
            let mut found = Vec::new();
            for (segment, reader) in scorer.searcher.segment_readers().iter().enumerate() {
                let index = reader.inverted_index(scored.field).unwrap();
                let term = Term::from_field_text(scored.field, term);
                let postings = index.read_postings(&term, IndexRecordOption::WithFreqs).unwrap();
                let Some(mut postings) = postings else { continue };
                while postings.doc() != TERMINATED {
                    if scorer.admits(segment, postings.doc()) {
                        found.push((segment, postings.doc(), postings.term_freq()));
                    }
                    postings.advance();
                }
            }
            add(&found, scorer.idf(found.len() as u64) * weight * scored.boost);
        }
        for phrase in question.phrases.iter().filter(|_| scored.field == text) {
            let found = scorer.phrase(text, phrase).unwrap();
            add(&found, scorer.idf(found.len() as u64) * phrase.len() as f32);
        }
    }
    let hits = sums.into_iter().filter(|(_, (_, is_own))| *is_own);
    let mut hits: Vec<Found> = hits
        .map(|((segment, doc), (score, _))| Found {
            segment,
            doc,
            passage: scorer.passage(segment, doc),
            score: score as f32,
        })
        .collect();
    hits.sort_by(by_score);
    hits.truncate(limit);
    hits
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn skipping_changes_nothing(seed in any::<u64>(), limit in 1_usize..40, few in 0_u32..3) {
        let mut rng = Rng::new(seed);
        let analysis = if seed % 2 == 0 { small_dictionary() } else { Analysis::default() };
        let analysis = Arc::new(analysis);
        let (index, fields) = index(&mut rng, &analysis);
        let searcher = index.reader().unwrap().searcher();
        let (scored, classes) = (fields.scored(true), Classes::default());
        for _ in 0..8 {
            let allowed: Vec<bool> = (0..=N_AUDIENCES).map(|_| rng.below(4) > 0).collect();
            let allowed = AudienceSet::by_number(allowed);
            let scorer = Scorer::new(&searcher, classes.of(&searcher, &scored).unwrap(), &allowed, &scored);
            let asked = words(&mut rng, 9);
            let quoted = format!("{} \"{} {}\"", words(&mut rng, 4), word(&mut rng), word(&mut rng));
            for question in [asked, quoted].map(|text| Question::parse_with(&text, &analysis)) {
                prop_assert!(question.morphemes.is_empty() || analysis.has_morphemes());
                let window = [16, 64, skim::WINDOW][few as usize];
                let (skimmed, _) = scorer.ranked(&question, fields.text, limit, window).unwrap();
                let all = exhaustive(&scorer, &question, fields.text, limit);
                let bits = |found: &[Found]| -> Vec<(usize, u32, u64, u32)> {
                    found.iter().map(|f| (f.segment, f.doc, f.passage, f.score.to_bits())).collect()
                };
                prop_assert_eq!(bits(&skimmed), bits(&all));
            }
        }
    }

    #[test]
    fn parts_sum_up_alike_in_any_order(
        parts in prop::collection::vec((0.0_f32..60.0, 1_u32..200, 0.3_f32..9.0), 1..200),
    ) {
        let parts: Vec<f64> = parts.into_iter().map(|(w, n, half)| skim::part(w, n, half)).collect();
        let forwards: f64 = parts.iter().sum();
        let backwards: f64 = parts.iter().rev().sum();
        prop_assert_eq!(forwards.to_bits(), backwards.to_bits());
    }
}
