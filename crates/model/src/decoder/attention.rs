//! Attention of one layer: projections, norms of queries and keys, rotation, cache, scores, output.

use compute::{AttentionJob, MatrixRef, attention, matmul, matmul_many, ops};

use super::{Decoder, Input, Layer, Scratch, add_bias, for_each_row, resize};

impl Decoder {
    /// projected = output(attention(query(normed), key(normed), value(normed))).
    pub(super) fn attend(
        &self,
        index: usize,
        layer: &Layer,
        inputs: &mut [Input<'_>],
        scratch: &mut Scratch,
    ) {
        let config = &self.config;
        let n = scratch.normed.len() / config.d_model;
        self.project(layer, n, scratch);
        self.rotate(layer, inputs, scratch);

        let Scratch {
            key,
            value,
            query,
            attended,
            projected,
            compute,
            ..
        } = scratch;
        let (mut key, mut value) = (&key[..], &value[..]);
        for input in inputs.iter_mut() {
            let (k, v);
            (k, key) = key.split_at(input.tokens.len() * config.kv_width());
            (v, value) = value.split_at(input.tokens.len() * config.kv_width());
            input.cache.kv.push_in(&self.pool, index, k, v);
        }

        resize(attended, n * config.q_width()); // (T, H·S)
        let mut jobs = Vec::with_capacity(inputs.len());
        let (mut query, mut rest) = (&query[..], &mut attended[..]);
        for input in inputs.iter() {
            let n = input.tokens.len();
            let (q, out);
            (q, query) = query.split_at(n * config.q_width());
            (out, rest) = rest.split_at_mut(n * config.q_width());
            jobs.push(AttentionJob {
                q,
                n,
                n_heads: config.n_heads,
                kv: input.cache.kv.layer(index),
                start: input.cache.len(),
                scale: 1.0 / (config.head_dim as f32).sqrt(),
                out,
            });
        }
        attention(&self.pool, &mut jobs);

        resize(projected, n * config.d_model); // (T, D)
        matmul(
            &self.pool,
            layer.output.matrix.as_ref(),
            attended,
            n,
            projected,
            self.precision,
            compute,
        );
        add_bias(layer.output.bias.as_deref(), projected);
    }

    /// query, key, value = their projections of normed, with biases.
    fn project(&self, layer: &Layer, n: usize, scratch: &mut Scratch) {
        let Scratch {
            normed,
            query,
            key,
            value,
            compute,
            ..
        } = scratch;
        resize(query, n * self.config.q_width()); // (T, H·S)
        resize(key, n * self.config.kv_width()); // (T, G·S)
        resize(value, n * self.config.kv_width()); // (T, G·S)
        let mut products: [(MatrixRef<'_>, &mut [f32]); 3] = [
            (layer.query.matrix.as_ref(), query),
            (layer.key.matrix.as_ref(), key),
            (layer.value.matrix.as_ref(), value),
        ];
        matmul_many(&self.pool, &mut products, normed, n, self.precision, compute);
        add_bias(layer.query.bias.as_deref(), query);
        add_bias(layer.key.bias.as_deref(), key);
        add_bias(layer.value.bias.as_deref(), value);
    }

    /// Norm, clamp and rotation of queries and keys; clamp of values. The clamp comes after the norm, as in
    /// Hugging Face's implementation of OLMoE.
    fn rotate(&self, layer: &Layer, inputs: &[Input<'_>], scratch: &mut Scratch) {
        let Scratch {
            query,
            key,
            value,
            positions,
            ..
        } = scratch;
        positions.clear();
        for input in inputs {
            positions.extend(input.cache.len()..input.cache.len() + input.tokens.len());
        }
        let (config, positions) = (&self.config, &positions[..]);
        let finish = |norm: Option<&[f32]>, row: &mut [f32], position: usize| {
            if let Some(weight) = norm {
                // One weight for each value of the row, or for each value of a head: both are runs.
                ops::rms_norm_rows(row, weight, config.rms_eps);
            }
            clamp(config.clip_qkv, row);
            self.rope.apply(self.rope_style, row, config.head_dim, position);
        };
        let (query_norm, key_norm) = (layer.query_norm.as_deref(), layer.key_norm.as_deref());
        for_each_row(&self.pool, query, config.q_width(), |i, row| {
            finish(query_norm, row, positions[i])
        });
        for_each_row(&self.pool, key, config.kv_width(), |i, row| {
            finish(key_norm, row, positions[i])
        });
        clamp(config.clip_qkv, value);
    }
}

fn clamp(limit: Option<f32>, values: &mut [f32]) {
    if let Some(limit) = limit {
        values.iter_mut().for_each(|v| *v = v.clamp(-limit, limit));
    }
}
