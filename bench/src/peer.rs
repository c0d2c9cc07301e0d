//! llama.cpp through its raw bindings: load, one prompt, one token at a time, always the most likely one.
//!
//! Raw rather than through the safe crate, because that one hides `use_extra_bufts`, which switches the
//! repacking of weights for the CPU and decides which figure llama.cpp is best at.

use std::ffi::{CStr, CString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::ptr::NonNull;

use anyhow::{Context as _, Result, bail};
use llama_cpp_2::llama_backend::LlamaBackend;
use llama_cpp_sys_2 as sys;

/// The bindings' release, which pins the llama.cpp that is built.
pub(crate) const VERSION: &str = "llama-cpp-2 0.1.160";

/// Longer than any token of the models compared.
const TOKEN_BYTES_MAX: usize = 4096;

/// A loaded model with one context. The drop order is context, model, backend.
pub(crate) struct Peer {
    context: NonNull<sys::llama_context>,
    model: NonNull<sys::llama_model>,
    n_vocab: usize,
    _backend: LlamaBackend,
}

/// How llama.cpp is set up.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Settings {
    pub(crate) n_threads: i32,
    pub(crate) n_context: u32,
    /// Repack weights into the layout the CPU's kernels like best, beside the mapped file.
    pub(crate) repack: bool,
    /// Sequences that may run at once, all in one cache.
    pub(crate) n_sequences: u32,
    /// Attention in tiles, as the library chooses by itself, or by whole rows of scores.
    pub(crate) flash_attention: bool,
}

impl Peer {
    pub(crate) fn load(path: &Path, settings: Settings) -> Result<Self> {
        let mut backend = LlamaBackend::init()?;
        backend.void_logs();
        let file = CString::new(path.as_os_str().as_bytes())?;
        // SAFETY: the call takes nothing and returns a plain struct.
        let mut params = unsafe { sys::llama_model_default_params() };
        params.use_extra_bufts = settings.repack;
        params.n_gpu_layers = 0;
        // SAFETY: `file` is a C string that outlives the call; `params` holds the library's own defaults.
        let model = unsafe { sys::llama_model_load_from_file(file.as_ptr(), params) };
        let model = NonNull::new(model).with_context(|| format!("llama.cpp refuses {}", path.display()))?;
        // SAFETY: `model` was just loaded and not freed; the vocabulary belongs to it.
        let n_vocab = unsafe { sys::llama_vocab_n_tokens(sys::llama_model_get_vocab(model.as_ptr())) };
        // SAFETY: the call takes nothing and returns a plain struct.
        let mut params = unsafe { sys::llama_context_default_params() };
        params.n_ctx = settings.n_context;
        params.n_batch = settings.n_context;
        params.n_ubatch = 512;
        // One cache for all sequences: a single one may then use all of the context.
        params.n_seq_max = settings.n_sequences;
        params.kv_unified = true;
        params.n_threads = settings.n_threads;
        params.n_threads_batch = settings.n_threads;
        params.flash_attn_type = if settings.flash_attention {
            sys::LLAMA_FLASH_ATTN_TYPE_AUTO
        } else {
            sys::LLAMA_FLASH_ATTN_TYPE_DISABLED
        };
        // SAFETY: `model` is loaded; `params` holds the library's defaults with valid numbers.
        let context = unsafe { sys::llama_init_from_model(model.as_ptr(), params) };
        let context = NonNull::new(context).context("llama.cpp cannot make a context")?;
        Ok(Self {
            context,
            model,
            n_vocab: usize::try_from(n_vocab)?,
            _backend: backend,
        })
    }

    /// Forgets every token seen.
    pub(crate) fn clear(&mut self) {
        // SAFETY: the context lives as long as `self`; its memory belongs to it.
        unsafe { sys::llama_memory_clear(sys::llama_get_memory(self.context.as_ptr()), true) };
    }

    /// Keeps the first `n` tokens seen.
    pub(crate) fn forget_from(&mut self, n: usize) -> Result<()> {
        if n == 0 {
            self.clear();
            return Ok(());
        }
        let n = i32::try_from(n)?;
        // SAFETY: the context lives as long as `self`; its memory belongs to it.
        let done =
            unsafe { sys::llama_memory_seq_rm(sys::llama_get_memory(self.context.as_ptr()), 0, n, -1) };
        if !done {
            bail!("llama.cpp cannot forget what follows token {n}");
        }
        Ok(())
    }

    /// Processes `tokens` after those seen so far and returns the most likely next one.
    pub(crate) fn step(&mut self, tokens: &[u32]) -> Result<u32> {
        let mut ids: Vec<sys::llama_token> = tokens.iter().map(|&id| id.cast_signed()).collect();
        let n_tokens = i32::try_from(ids.len())?;
        // SAFETY: the batch borrows `ids`, which outlives its only use below.
        let batch = unsafe { sys::llama_batch_get_one(ids.as_mut_ptr(), n_tokens) };
        // SAFETY: context and batch are valid; the call copies what it keeps.
        let code = unsafe { sys::llama_decode(self.context.as_ptr(), batch) };
        if code != 0 {
            bail!("llama_decode of {n_tokens} tokens failed with {code}");
        }
        self.best(-1)
    }

    /// Processes `tokens` as the beginning of a sequence and returns the most likely next one.
    pub(crate) fn start_sequence(&mut self, sequence: usize, tokens: &[u32]) -> Result<u32> {
        let places: Vec<(u32, usize, usize)> = tokens
            .iter()
            .enumerate()
            .map(|(position, &id)| (id, position, sequence))
            .collect();
        self.decode(&places, tokens.len() - 1)?;
        self.best(-1)
    }

    /// One token more for every sequence, all at `position`; `last` becomes the most likely next ones.
    pub(crate) fn step_together(&mut self, last: &mut [u32], position: usize) -> Result<()> {
        let places: Vec<(u32, usize, usize)> = last
            .iter()
            .enumerate()
            .map(|(sequence, &id)| (id, position, sequence))
            .collect();
        self.decode(&places, 0)?;
        for (sequence, id) in last.iter_mut().enumerate() {
            *id = self.best(i32::try_from(sequence)?)?;
        }
        Ok(())
    }

    /// Processes tokens `(id, position, sequence)`; those from `first_wanted` on get logits.
    fn decode(&mut self, places: &[(u32, usize, usize)], first_wanted: usize) -> Result<()> {
        let n = i32::try_from(places.len())?;
        // SAFETY: plain allocation of a batch for `n` tokens of one sequence each; freed below.
        let mut batch = unsafe { sys::llama_batch_init(n, 0, 1) };
        for (i, &(id, position, sequence)) in places.iter().enumerate() {
            let (position, sequence) = (i32::try_from(position)?, i32::try_from(sequence)?);
            // SAFETY: the batch has room for `n` tokens in each of its arrays, and `i` is below `n`.
            unsafe {
                *batch.token.add(i) = id.cast_signed();
                *batch.pos.add(i) = position;
                *batch.n_seq_id.add(i) = 1;
                **batch.seq_id.add(i) = sequence;
                *batch.logits.add(i) = i8::from(i >= first_wanted);
            }
        }
        batch.n_tokens = n;
        // SAFETY: context and batch are valid; the call copies what it keeps.
        let code = unsafe { sys::llama_decode(self.context.as_ptr(), batch) };
        // SAFETY: made by `llama_batch_init` above and not used again.
        unsafe { sys::llama_batch_free(batch) };
        if code != 0 {
            bail!("llama_decode of {n} tokens failed with {code}");
        }
        Ok(())
    }

    /// Logits after each of `tokens`, one row after another.
    pub(crate) fn all_logits(&mut self, tokens: &[u32]) -> Result<Vec<f32>> {
        let places: Vec<(u32, usize, usize)> = tokens
            .iter()
            .enumerate()
            .map(|(position, &id)| (id, position, 0))
            .collect();
        self.decode(&places, 0)?;
        let mut all = Vec::with_capacity(tokens.len() * self.n_vocab);
        for place in 0..tokens.len() {
            all.extend_from_slice(self.logits(i32::try_from(place)?)?);
        }
        Ok(all)
    }

    /// The most likely token by the logits of the batch's `place`-th token; -1 is the last.
    fn best(&self, place: i32) -> Result<u32> {
        let logits = self.logits(place)?;
        let best = (0..logits.len()).max_by(|&a, &b| logits[a].total_cmp(&logits[b]));
        Ok(u32::try_from(best.context("the vocabulary is empty")?)?)
    }

    fn logits(&self, place: i32) -> Result<&[f32]> {
        // SAFETY: after a successful decode that position has logits; the pointer is checked below.
        let logits = unsafe { sys::llama_get_logits_ith(self.context.as_ptr(), place) };
        let logits = NonNull::new(logits).context("llama.cpp gave no logits")?;
        // SAFETY: the library keeps `n_vocab` floats there until the next decode, which needs `&mut self`.
        Ok(unsafe { std::slice::from_raw_parts(logits.as_ptr(), self.n_vocab) })
    }

    /// Rows of the embedding.
    pub(crate) fn n_vocabulary(&self) -> usize {
        self.n_vocab
    }

    fn vocabulary(&self) -> *const sys::llama_vocab {
        // SAFETY: the model lives as long as `self`; the vocabulary belongs to it.
        unsafe { sys::llama_model_get_vocab(self.model.as_ptr()) }
    }

    /// Ids of a text in which special tokens are recognised; nothing is put in front.
    pub(crate) fn tokenize(&self, text: &str) -> Result<Vec<u32>> {
        // A token has a byte at least.
        let mut ids: Vec<sys::llama_token> = vec![0; text.len()];
        let (n_bytes, n_max) = (i32::try_from(text.len())?, i32::try_from(ids.len())?);
        // SAFETY: the library reads `n_bytes` of the text and writes at most `n_max` ids; both buffers outlive the call.
        let n = unsafe {
            sys::llama_tokenize(
                self.vocabulary(),
                text.as_ptr().cast(),
                n_bytes,
                ids.as_mut_ptr(),
                n_max,
                false,
                true,
            )
        };
        ids.truncate(usize::try_from(n).context("llama.cpp cannot split the text into tokens")?);
        Ok(ids.into_iter().map(sys::llama_token::cast_unsigned).collect())
    }

    /// The bytes that a token stands for.
    pub(crate) fn token_bytes(&self, id: u32) -> Result<Vec<u8>> {
        let mut bytes = vec![0; TOKEN_BYTES_MAX];
        let n_max = i32::try_from(bytes.len())?;
        // SAFETY: the library writes at most `n_max` bytes into the buffer, which outlives the call, and checks the id.
        let n = unsafe {
            sys::llama_token_to_piece(
                self.vocabulary(),
                id.cast_signed(),
                bytes.as_mut_ptr().cast(),
                n_max,
                0,
                true,
            )
        };
        bytes.truncate(usize::try_from(n).with_context(|| format!("llama.cpp cannot write token {id}"))?);
        Ok(bytes)
    }

    /// Whether generation ends with the token, which must be below [`Self::n_vocabulary`].
    pub(crate) fn ends_a_text(&self, id: u32) -> bool {
        // SAFETY: the vocabulary lives as long as `self`; the call looks the id up in a set.
        unsafe { sys::llama_vocab_is_eog(self.vocabulary(), id.cast_signed()) }
    }

    /// Whether the begin token belongs in front of a text.
    pub(crate) fn adds_bos(&self) -> bool {
        // SAFETY: the vocabulary lives as long as `self`.
        unsafe { sys::llama_vocab_get_add_bos(self.vocabulary()) }
    }

    /// What the library says it was built for.
    pub(crate) fn system_info() -> String {
        // SAFETY: the library returns a pointer to a static, terminated string.
        let text = unsafe { CStr::from_ptr(sys::llama_print_system_info()) };
        text.to_string_lossy().trim().to_owned()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // SAFETY: both were made in `load`, are freed only here, and the context goes before its model.
        unsafe {
            sys::llama_free(self.context.as_ptr());
            sys::llama_model_free(self.model.as_ptr());
        }
    }
}
