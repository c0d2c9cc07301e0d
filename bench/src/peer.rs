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
        params.n_threads = settings.n_threads;
        params.n_threads_batch = settings.n_threads;
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
        // SAFETY: after a successful decode the last position has logits; the pointer is checked below.
        let logits = unsafe { sys::llama_get_logits_ith(self.context.as_ptr(), -1) };
        let logits = NonNull::new(logits).context("llama.cpp gave no logits")?;
        // SAFETY: the library keeps `n_vocab` floats there until the next decode, which needs `&mut self`.
        let logits = unsafe { std::slice::from_raw_parts(logits.as_ptr(), self.n_vocab) };
        let best = (0..logits.len()).max_by(|&a, &b| logits[a].total_cmp(&logits[b]));
        Ok(u32::try_from(best.context("the vocabulary is empty")?)?)
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
