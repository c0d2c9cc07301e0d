//! What a running server holds: the assistant, its limits, its counters, its jobs, and whether the model answers.

use std::path::PathBuf;
use std::sync::{Arc, RwLock};

use assistant::Assistant;
use engine::Places;
use knowledge::Reader;
use knowledge::quality::Refusals;
use thiserror::Error;
use tokio::sync::Semaphore;

use crate::jobs::Jobs;
use crate::metrics::Metrics;
use crate::page::Templates;
use crate::pictures::Pictures;
use crate::reindex::Reindexer;
use crate::wire::StatusJson;

/// Questions and generations that may be in work or waiting at once, those of one caller as [`Places`] says; one more
/// gets a 429.
const N_REQUESTS_MAX: usize = 68;

/// Questions answered at once; more wait. The engine batches on its own: this bounds threads.
const N_ASKS_RUNNING_MAX: usize = 8;

/// Embedding requests at once: each keeps all cores busy.
const N_EMBEDDINGS_RUNNING_MAX: usize = 1;

/// Reports on quality at once: each walks over all documents.
const N_REPORTS_RUNNING_MAX: usize = 1;
/// Pages drawn at once: each keeps a core busy in a process of its own.
const N_DRAWINGS_MAX: usize = 2;

/// Somebody with a token of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// For people and for its session.
    pub name: String,
    /// SHA-256 of its token, in hexadecimal digits.
    pub token_sha256: String,
    /// What it may read.
    pub rights: Reader,
}

/// How a server is set up.
pub struct AppConfig {
    /// Answers the questions.
    pub assistant: Arc<Assistant>,
    /// The model id of raw completions; `None` takes the model's own name.
    pub model_name: Option<String>,
    /// Whether a configured model must pass a short generation before `/health` says ok.
    pub self_test: bool,
    /// What clients must present; needed for any address but loopback.
    pub token: Option<String>,
    /// What those may read who present that token, or none where none is needed.
    pub rights: Reader,
    /// Callers with tokens and rights of their own.
    pub callers: Vec<Caller>,
    /// Further host names under which a loopback server may be addressed (a reverse proxy's name).
    pub allowed_hosts: Vec<String>,
    /// Where uploaded files are kept.
    pub uploads_dir: PathBuf,
    /// Largest uploaded file.
    pub max_upload_bytes: u64,
    /// What is remembered of refused questions.
    pub refusals: Refusals,
}

impl AppConfig {
    /// Largest uploaded file unless set otherwise.
    pub const MAX_UPLOAD_BYTES: u64 = 256 << 20;

    /// The usual set-up: self-test on, no token, loopback names only.
    pub fn new(assistant: Arc<Assistant>, uploads_dir: PathBuf) -> Self {
        Self {
            assistant,
            model_name: None,
            self_test: true,
            token: None,
            rights: Reader::anyone(),
            callers: Vec::new(),
            allowed_hosts: Vec::new(),
            uploads_dir,
            max_upload_bytes: Self::MAX_UPLOAD_BYTES,
            refusals: Refusals::default(),
        }
    }
}

/// Why a server could not be set up.
#[derive(Debug, Error)]
pub enum AppError {
    /// The operating system gave no randomness for session keys.
    #[error("cannot make a session key")]
    Secret(#[source] stdx::fs::FsError),
    /// A thread could not be started.
    #[error("cannot start the thread that takes in documents")]
    Thread(#[source] std::io::Error),
}

/// Whether the model answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Generation {
    /// No model is configured; answers are quoted.
    None,
    /// The self-test is under way.
    Starting,
    /// The model has answered.
    Ready,
    /// The model loads but does not answer.
    Failed(String),
}

impl Generation {
    pub(crate) fn as_str(&self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Failed(_) => "failed",
        }
    }
}

/// What all clones of an [`App`] share; opaque outside this crate.
pub struct Shared {
    pub(crate) assistant: Arc<Assistant>,
    pub(crate) model_name: Option<String>,
    pub(crate) token: Option<String>,
    pub(crate) rights: Reader,
    pub(crate) callers: Vec<Caller>,
    pub(crate) session: String,
    pub(crate) allowed_hosts: Vec<String>,
    pub(crate) uploads_dir: PathBuf,
    pub(crate) max_upload_bytes: u64,
    pub(crate) started_s: i64,
    pub(crate) metrics: Metrics,
    pub(crate) jobs: Jobs,
    pub(crate) reindexer: Reindexer,
    pub(crate) templates: Templates,
    pub(crate) requests: Places,
    pub(crate) asks: Arc<Semaphore>,
    pub(crate) embeddings: Arc<Semaphore>,
    pub(crate) quality: Arc<Semaphore>,
    pub(crate) drawings: Arc<Semaphore>,
    pub(crate) pictures: Pictures,
    generation: RwLock<Generation>,
}

/// A server's state; clones share it.
#[derive(Clone)]
pub struct App(pub(crate) Arc<Shared>);

impl std::ops::Deref for App {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

impl App {
    /// Sets up the state, starts the self-test of a configured model and the thread that takes in documents.
    ///
    /// # Errors
    /// When the operating system gives no randomness or no thread.
    pub fn new(config: AppConfig) -> Result<Self, AppError> {
        let assistant = config.assistant;
        let engine = assistant.engine();
        let model_name = engine.map(|engine| {
            let own = engine.model().name().to_owned();
            config.model_name.unwrap_or(own)
        });
        let generation = match engine {
            None => Generation::None,
            Some(_) if config.self_test => Generation::Starting,
            Some(_) => Generation::Ready,
        };
        // A full disk is no reason not to serve.
        if let Err(error) = off_runtime(|| assistant.store().remember_refusals(config.refusals)) {
            tracing::warn!(
                "refused questions are kept as before: {}",
                crate::error::chain(&error)
            );
        }
        // It asks the store what had arrived before.
        let jobs = off_runtime(|| Jobs::start(Arc::clone(&assistant))).map_err(AppError::Thread)?;
        let reindexer =
            Reindexer::start(Arc::clone(&assistant), jobs.patience()).map_err(AppError::Thread)?;
        let app = Self(Arc::new(Shared {
            model_name,
            token: config.token,
            rights: config.rights,
            callers: config.callers,
            session: stdx::rng::secret_hex(32).map_err(AppError::Secret)?,
            allowed_hosts: config.allowed_hosts,
            uploads_dir: config.uploads_dir,
            max_upload_bytes: config.max_upload_bytes,
            started_s: stdx::clock::unix_s(),
            metrics: Metrics::default(),
            jobs,
            reindexer,
            templates: Templates::new(),
            requests: Places::new(N_REQUESTS_MAX),
            asks: Arc::new(Semaphore::new(N_ASKS_RUNNING_MAX)),
            embeddings: Arc::new(Semaphore::new(N_EMBEDDINGS_RUNNING_MAX)),
            quality: Arc::new(Semaphore::new(N_REPORTS_RUNNING_MAX)),
            drawings: Arc::new(Semaphore::new(N_DRAWINGS_MAX)),
            pictures: Pictures::default(),
            generation: RwLock::new(generation),
            assistant,
        }));
        if app.generation() == Generation::Starting {
            let tested = app.clone();
            std::thread::Builder::new()
                .name("self-test".into())
                .spawn(move || tested.set_generation(crate::selftest::run(&tested.assistant)))
                .map_err(AppError::Thread)?;
        }
        Ok(app)
    }

    /// Whether clients must present a token.
    pub fn needs_token(&self) -> bool {
        self.token.is_some() || !self.callers.is_empty()
    }

    pub(crate) fn generation(&self) -> Generation {
        match self.generation.read() {
            Ok(generation) => generation.clone(),
            Err(poisoned) => poisoned.into_inner().clone(),
        }
    }

    fn set_generation(&self, generation: Generation) {
        match self.generation.write() {
            Ok(mut present) => *present = generation,
            Err(poisoned) => *poisoned.into_inner() = generation,
        }
    }

    /// The state for the page, the socket and `/api/status`; reads the store, so call it off the reactor.
    pub(crate) fn status(&self, reader: &Reader) -> Result<StatusJson, knowledge::StoreError> {
        let mut status = StatusJson::of(&self.assistant.store().view(reader)?.status()?);
        self.generation().as_str().clone_into(&mut status.generation);
        status.model.clone_from(&self.model_name);
        status.embedder = self.assistant.embedder().map(|embedder| embedder.id().name);
        Ok(status)
    }
}

/// Runs `work` on a thread of its own and waits: the store may wait for a server itself, which cannot be done where a
/// runtime runs.
fn off_runtime<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    let done = std::thread::scope(|scope| scope.spawn(work).join());
    done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
