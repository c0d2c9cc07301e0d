//! Folders with expectations for a model file that lies elsewhere: tokenizer, chat template, logits, greedy tokens.

use std::path::Path;

use compute::Precision;
use serde::Deserialize;

use super::compare::{Greedy, max_abs};
use super::files::{Reference, TokenizedText, check_texts, json, reference};
use super::generator::{Run, follow};
use super::{ARGMAX_SHARE, LOGIT_BOUND, LOGPROB_BOUND, Options, ParityError, Row, TIE_MARGIN, compute_name};
use crate::language_model::{ChatMessage, LoadOptions, Model};

/// `tokenizer_expected.json`.
#[derive(Debug, Deserialize)]
struct Texts {
    tokenization: Vec<TokenizedText>,
    chat: Chat,
}

#[derive(Debug, Deserialize)]
struct Chat {
    messages: Vec<Message>,
    text: String,
    ids: Vec<u32>,
}

#[derive(Debug, Deserialize)]
struct Message {
    role: String,
    content: String,
}

pub(super) fn rows(dir: &Path, options: &Options) -> Result<Vec<Row>, ParityError> {
    let path = options
        .model
        .as_deref()
        .ok_or_else(|| ParityError::NoModel { dir: dir.to_owned() })?;
    let texts: Texts = json(&dir.join("tokenizer_expected.json"))?;
    let expected = Reference::open(&dir.join("expected.safetensors"))?;
    let mut rows = Vec::new();
    for precision in [Precision::F32, Precision::Native] {
        if !options.wants(precision) {
            continue;
        }
        let load = LoadOptions {
            threads: options.threads,
            precision,
            ..LoadOptions::default()
        };
        let model = Model::load(path, &load)?;
        if rows.is_empty() {
            rows.push(text_row(dir, &model, &texts)?);
        }
        rows.push(model_row(
            dir,
            &model,
            precision,
            &expected,
            texts.chat.ids.len(),
        )?);
    }
    Ok(rows)
}

fn text_row(dir: &Path, model: &Model, texts: &Texts) -> Result<Row, ParityError> {
    let mut row = Row::new(dir, "tokenizer", "", "fixture");
    check_texts(&mut row, model.tokenizer(), &texts.tokenization);
    let message = |m: &Message| ChatMessage {
        role: m.role.clone(),
        content: m.content.clone(),
    };
    let messages: Vec<ChatMessage> = texts.chat.messages.iter().map(message).collect();
    let rendered = model.render_chat(&messages)?;
    row.require(rendered == texts.chat.text, || {
        format!("the chat template gives {rendered:?}")
    });
    let ids = model.tokenize_prompt(&rendered);
    row.require(ids == texts.chat.ids, || {
        format!("the chat prompt becomes {ids:?}")
    });
    Ok(row)
}

fn model_row(
    dir: &Path,
    model: &Model,
    precision: Precision,
    expected: &Reference,
    n_chat: usize,
) -> Result<Row, ParityError> {
    let decoder = model.decoder();
    let family = decoder.config().family.gguf_name();
    let mut row = Row::new(dir, family, decoder.dtype().name(), "fixture");
    row.compute = Some(compute_name(precision));
    let prefixes = expected
        .names()
        .filter_map(|name| name.strip_suffix(".input_ids"));
    let mut sums = Sums::default();
    for prefix in prefixes {
        sums.add_text(model, expected, prefix)?;
    }
    row.max_abs_logit = Some(sums.max_abs_logit);
    row.mean_abs_logprob = Some((sums.logprob / sums.n_logprob.max(1) as f64) as f32);
    row.argmax_share = Some(sums.n_argmax as f32 / sums.n_positions.max(1) as f32);
    let mut greedy = Greedy::default();
    for name in expected.names().filter(|name| name.ends_with(".greedy_ids")) {
        let prefix = name.trim_end_matches(".greedy_ids");
        let prompt = format!("{prefix}.input_ids");
        let n_prompt = if expected.has(&prompt) {
            expected.ids(&prompt)?.len()
        } else {
            n_chat
        };
        let ids = expected.ids(name)?;
        if n_prompt == 0 || n_prompt > ids.len() {
            return Err(reference(format!("`{name}` does not begin with its prompt")));
        }
        follow(decoder, &ids, n_prompt, &mut greedy)?;
    }
    greedy.finish(&mut row);
    judge(&mut row, precision);
    Ok(row)
}

fn judge(row: &mut Row, precision: Precision) {
    let max_logit = row.max_abs_logit.unwrap_or(f32::INFINITY);
    let logprob = row.mean_abs_logprob.unwrap_or(f32::INFINITY);
    let share = row.argmax_share.unwrap_or(0.0);
    if precision == Precision::F32 {
        row.require(max_logit <= LOGIT_BOUND, || {
            format!("a logit is off by {max_logit}")
        });
        row.require(logprob <= LOGIT_BOUND, || {
            format!("log-probabilities are off by {logprob} in the mean")
        });
        row.require(share == 1.0, || format!("only {share} of the positions agree"));
        row.require(row.greedy_match == Some(true), || {
            "the greedy tokens differ".to_owned()
        });
    } else {
        row.require(logprob <= LOGPROB_BOUND, || {
            format!("log-probabilities are off by {logprob} in the mean")
        });
        row.require(share >= ARGMAX_SHARE, || {
            format!("only {share} of the positions agree")
        });
    }
}

#[derive(Default)]
struct Sums {
    max_abs_logit: f32,
    logprob: f64,
    n_logprob: usize,
    n_argmax: usize,
    n_positions: usize,
}

impl Sums {
    /// One text: last logits, most likely tokens, log-probabilities of each next input token.
    fn add_text(&mut self, model: &Model, expected: &Reference, prefix: &str) -> Result<(), ParityError> {
        let ids = expected.ids(&format!("{prefix}.input_ids"))?;
        let run = Run::of(model.decoder(), std::slice::from_ref(&ids))?;
        let rows: Vec<&[f32]> = run
            .logits
            .chunks_exact(model.decoder().config().vocab_size)
            .collect();
        let last = expected.f32(&format!("{prefix}.logits_last"))?;
        let found = rows.last().copied().unwrap_or_default();
        self.max_abs_logit = self.max_abs_logit.max(max_abs(found, &last));
        for (row, argmax) in rows.iter().zip(expected.ids(&format!("{prefix}.argmax"))?) {
            let best = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let theirs = row.get(argmax as usize).copied().unwrap_or(f32::NEG_INFINITY);
            self.n_positions += 1;
            self.n_argmax += usize::from(best - theirs <= TIE_MARGIN);
        }
        let logprobs = expected.f32(&format!("{prefix}.logprob_actual"))?;
        for ((row, &next), expected) in rows.iter().zip(&ids[1..]).zip(logprobs) {
            self.logprob += (log_softmax(row, next as usize) - f64::from(expected)).abs();
            self.n_logprob += 1;
        }
        Ok(())
    }
}

fn log_softmax(logits: &[f32], id: usize) -> f64 {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let total: f64 = logits.iter().map(|&l| f64::from(l - max).exp()).sum();
    f64::from(logits[id] - max) - total.ln()
}
