//! The documents and the brains behind a command: those of the server that runs on the data directory, or our own.
//!
//! Everything is answered in the wire's types, so that a command prints the same either way.

use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;

use assistant::{Ask, AskError, Assistant, Wanted};
use engine::{Engine, EngineConfig, SpillConfig};
use knowledge::dictionary::Dictionary;
use knowledge::ocr::Ocr;
use knowledge::read::Passwords;
use knowledge::{
    Access, Analysis, AsOf, Embed, PostgresAddress, ReadOptions, Reader, Rerank, Store, StoreError,
    StoreStatus,
};
use model::{CrossEncoder, LoadError, LoadOptions, Model, PackOptions, TextEncoder};
use server::local::{Call, Client, ClientError, EventLine, Outcome};
use server::wire::{AsOfJson, AskJson, AskStreamEvent, DateJson, TurnJson};

use crate::args::AsOfArgs;
use crate::embedder::Embedder;
use crate::exit::{Failure, OrFail, Result, chain};
use crate::models::Finder;
use crate::print;
use crate::reranker::Reranker;
use crate::settings::{Settings, Source};

/// Who answers.
pub(crate) enum House {
    /// The server that runs on this data directory, asked with these rights.
    Served(PathBuf, Reader),
    /// This process.
    Own(Box<Assistant>, Reader),
}

/// One question with what was said before.
pub(crate) struct Question {
    /// The question.
    pub(crate) text: String,
    /// Earlier turns, oldest first.
    pub(crate) history: Vec<TurnJson>,
    /// Answer by quoting alone.
    pub(crate) extractive: bool,
    /// Which documents are looked at.
    pub(crate) as_of: AsOfJson,
}

impl House {
    /// The running server, unless another model than its own was asked for; else this process.
    pub(crate) fn for_questions(settings: &Settings, extractive: bool) -> Result<Self> {
        let own_model = settings.source("model") == Source::Flag && !extractive;
        if !own_model && Client::connect(&settings.data_dir).is_some() {
            return Ok(Self::Served(settings.data_dir.clone(), settings.reader.clone()));
        }
        let store = Arc::new(open(settings, Access::Read)?);
        let assistant = Box::new(assistant(settings, store, extractive)?);
        Ok(Self::Own(assistant, settings.reader.clone()))
    }

    /// Asks; `on_event` sees each verified sentence as soon as it stands.
    pub(crate) fn ask(
        &self,
        question: Question,
        on_event: &mut dyn FnMut(AskStreamEvent) -> Wanted,
    ) -> Result<AskJson> {
        match self {
            Self::Served(data_dir, reader) => {
                let client = Client::connect(data_dir)
                    .ok_or_else(|| Failure::environment("the running server ended").hint("ask again"))?;
                let call = Call::Ask {
                    question: question.text,
                    history: question.history,
                    extractive: question.extractive,
                    as_of: question.as_of,
                };
                let outcome = client.call(call, reader.to_stated(), &mut |line| match line {
                    EventLine::Ask(event) => on_event(event),
                    EventLine::Ingest(_) | EventLine::Reindex(_) => Wanted::Yes,
                });
                match outcome.map_err(refused)? {
                    Outcome::Ask(answer) => Ok(*answer),
                    other => Err(unexpected(&other)),
                }
            }
            Self::Own(assistant, reader) => {
                let ask = Ask {
                    question: question.text,
                    history: question.history.into_iter().map(Into::into).collect(),
                    extractive: question.extractive,
                    reader: reader.clone(),
                    as_of: question.as_of.into(),
                    ..Ask::default()
                };
                let answer = assistant.ask(&ask, &mut |event| on_event((&event).into()));
                answer.map(|answer| (&answer).into()).map_err(not_asked)
            }
        }
    }
}

/// Makes `call` to the server that runs on the data directory, if one does.
pub(crate) fn served(settings: &Settings, call: Call) -> Option<Result<Outcome>> {
    served_with(settings, call, &mut |_| Wanted::Yes)
}

/// Like [`served`], with the events on the way.
pub(crate) fn served_with(
    settings: &Settings,
    call: Call,
    on_event: &mut dyn FnMut(EventLine) -> Wanted,
) -> Option<Result<Outcome>> {
    let client = Client::connect(&settings.data_dir)?;
    Some(
        client
            .call(call, settings.reader.to_stated(), on_event)
            .map_err(refused),
    )
}

/// A result of another kind than the call's: the server is of another version.
pub(crate) fn unexpected(outcome: &Outcome) -> Failure {
    let kind = match outcome {
        Outcome::Ask(_) => "an answer",
        Outcome::Search(_) => "a search",
        Outcome::Suggest(_) => "suggestions",
        Outcome::Ingest(_) => "an ingest",
        Outcome::Show(_) => "a text",
        Outcome::Documents(_) => "a list",
        Outcome::Remove(_) => "a removal",
        Outcome::Forget(_) => "a folder",
        Outcome::Reindex(_) => "a new index",
        Outcome::Status(_) => "a status",
    };
    Failure::environment(format!(
        "the running server answered with {kind}, which was not asked for"
    ))
    .hint("it is of another version: restart it")
}

fn refused(error: ClientError) -> Failure {
    match &error {
        ClientError::Refused(body) if body.kind == "invalid_request_error" => {
            Failure::misuse(body.message.clone())
        }
        ClientError::Cancelled => Failure::interrupted("stopped"),
        _ => Failure::environment(chain(&error)),
    }
}

fn not_asked(error: AskError) -> Failure {
    match &error {
        AskError::EmptyQuestion | AskError::QuestionTooLong { .. } => Failure::misuse(chain(&error)),
        AskError::Cancelled => Failure::closed_pipe(),
        AskError::Store(inner) if inner.is_bad_input() => Failure::misuse(chain(&error)),
        _ => Failure::environment(chain(&error)),
    }
}

/// Opens the store of the data directory.
pub(crate) fn open(settings: &Settings, access: Access) -> Result<Store> {
    let options = read_options(settings, access)?;
    let store = try_open(settings, access)?.map_err(not_stored)?;
    store.configure(options);
    Ok(store)
}

/// Like [`open`], with what the store says where it cannot be opened.
pub(crate) fn try_open(
    settings: &Settings,
    access: Access,
) -> Result<std::result::Result<Store, StoreError>> {
    Ok(match database(settings)? {
        None => Store::open_with(&settings.data_dir, access, analysis(settings)?),
        Some(_) if settings.dictionary.is_some() => {
            return Err(
                Failure::misuse("documents are kept in PostgreSQL, where words are indexed without a dictionary").hint(
                    "leave the setting `dictionary` out (`--dictionary none`), or keep documents in the data directory",
                ),
            );
        }
        Some(address) => Store::open_postgres(&settings.data_dir, access, address),
    })
}

/// How words are indexed: with the dictionary that the settings name, if they name one.
pub(crate) fn analysis(settings: &Settings) -> Result<Analysis> {
    let Some(folder) = &settings.dictionary else {
        return Ok(Analysis::default());
    };
    let dictionary = Dictionary::open(folder).map_err(|error| {
        Failure::environment(chain(&error))
            .hint("name the folder in which `sys.dic` is, or leave the setting `dictionary` out")
    })?;
    Ok(Analysis::with_dictionary(dictionary))
}

/// The database that the settings name, if any, with its password from the environment or a file.
fn database(settings: &Settings) -> Result<Option<PostgresAddress>> {
    let Some(url) = &settings.store else {
        return Ok(None);
    };
    let from_file = match &settings.store_password_file {
        Some(path) => Some(stdx::fs::read_to_string(path).or_environment()?),
        None => None,
    };
    let from_file = from_file
        .as_deref()
        .map(|text| text.trim_end_matches(['\r', '\n']));
    let password = settings.environment.var("HANOK_STORE_PASSWORD").or(from_file);
    PostgresAddress::parse(url, password).map(Some).map_err(|what| {
        Failure::misuse(format!("the setting `store` cannot be used: {what}")).hint(
            "`store = \"embedded\"` keeps documents in the data directory; docs/postgresql.md says more",
        )
    })
}

/// How documents are read.
pub(crate) fn read_options(settings: &Settings, access: Access) -> Result<ReadOptions> {
    // Only who takes documents in recognises text.
    let ocr = match (&settings.ocr, access) {
        (Some(languages), Access::Write) => Some(Ocr::installed(languages).or_environment()?),
        _ => None,
    };
    Ok(ReadOptions {
        worker_exe: this_program(),
        passwords: passwords(settings)?,
        ocr,
        ..ReadOptions::default()
    })
}

/// This program, to be started again as the reader of hostile formats. Where the system has a name for "the program that
/// runs", that one holds even when the file has been replaced by a newer version meanwhile.
fn this_program() -> Option<PathBuf> {
    let running = PathBuf::from("/proc/self/exe");
    match stdx::fs::symlink_metadata(&running) {
        Ok(_) => Some(running),
        Err(_) => std::env::current_exe().ok(),
    }
}

fn passwords(settings: &Settings) -> Result<Passwords> {
    let Some(path) = &settings.pdf_passwords else {
        return Ok(Passwords::default());
    };
    let text = stdx::fs::read_to_string(path).or_environment()?;
    Passwords::parse(&text).map_err(|what| {
        Failure::misuse(format!("the file of passwords `{}`: {what}", path.display()))
            .hint("it has one password on each line and nothing else")
    })
}

/// What a store holds, all of it, whenever it holds.
pub(crate) fn status(store: &Store) -> std::result::Result<StoreStatus, StoreError> {
    store.view_as_of(&Reader::keeper(), AsOf::ANY)?.status()
}

impl From<AsOfArgs> for AsOfJson {
    fn from(args: AsOfArgs) -> Self {
        Self {
            day: args.as_of.map(DateJson),
            include_expired: args.include_expired,
        }
    }
}

/// What the store refused: bad input, or something about the machine.
#[expect(clippy::needless_pass_by_value, reason = "it is what `map_err` hands over")]
pub(crate) fn not_stored(error: StoreError) -> Failure {
    if error.is_bad_input() {
        Failure::misuse(chain(&error))
    } else {
        Failure::environment(chain(&error))
    }
}

/// Loads model and embedder side by side and joins them with the documents.
pub(crate) fn assistant(settings: &Settings, store: Arc<Store>, extractive: bool) -> Result<Assistant> {
    let vectors = status(&store).map_or(0, |status| status.vectors);
    let embedder = match vectors {
        0 => None,
        _ => start_embedder(settings)?,
    };
    let engine = if extractive {
        None
    } else {
        engine_or_quotes(settings)?
    };
    use_reranker(settings, &store)?;
    let embedder = embedder.and_then(finish_embedder);
    if let Some(embedder) = &embedder {
        store.check_embedder(embedder.as_ref()).map_err(not_stored)?;
    }
    Ok(Assistant::new(store, engine, embedder))
}

/// How models are loaded.
pub(crate) fn load_options(settings: &Settings) -> LoadOptions {
    LoadOptions {
        threads: settings.threads,
        context: settings.context,
        pack: PackOptions {
            folder: settings.pack.then(|| settings.models_dir.join("packed")),
            notice: Some(say_packing),
            even_small: false,
        },
        kv: settings.kv_cache,
        memory_budget: settings.memory_budget,
        ..LoadOptions::default()
    }
}

/// How the engine runs.
pub(crate) fn engine_config(settings: &Settings) -> EngineConfig {
    EngineConfig {
        spill: settings.prompt_cache.map(|bytes_max| SpillConfig {
            folder: settings.data_dir.join("prompts"),
            bytes_max,
        }),
        ..EngineConfig::default()
    }
}

fn say_packing(n_bytes: u64) {
    print::stderr_line(&format!(
        "packing the model once for fast starts ({:.1} GB in the models folder; `--pack off` does without) …",
        n_bytes as f64 / 1e9
    ));
}

/// The engine; without a model, or with a default one that is broken, none and a line on stderr.
pub(crate) fn engine_or_quotes(settings: &Settings) -> Result<Option<Engine>> {
    let Some(path) = Finder::new(settings).language()? else {
        if settings.model.is_none() {
            print::stderr_line(
                "note: no language model is here, so answers are quotes; `hanok pull` fetches one",
            );
        }
        return Ok(None);
    };
    match Model::load(&path, &load_options(settings)) {
        Ok(model) => Ok(Some(Engine::start(model, engine_config(settings)))),
        Err(error) if settings.model.is_none() => {
            print::stderr_line(&format!(
                "note: the model `{}` cannot be used ({}), so answers are quotes; see `hanok doctor`",
                path.display(),
                chain(&error)
            ));
            Ok(None)
        }
        Err(error) => Err(not_loaded(&path, &error)),
    }
}

/// A model that was asked for and does not load.
pub(crate) fn not_loaded(path: &std::path::Path, error: &LoadError) -> Failure {
    let text = chain(error);
    let shown = path.display().to_string();
    let message = if text.contains(&shown) {
        text
    } else {
        format!("the model `{shown}` cannot be used: {text}")
    };
    Failure::environment(message).hint(match error {
        LoadError::Budget {
            context_fits: Some(tokens),
            ..
        } => format!("`--context {tokens}` or less fits; `--kv-cache q8_0` halves what a context takes"),
        LoadError::Budget { .. } => "raise `--memory-budget`".to_owned(),
        LoadError::NotOnDemand { .. } | LoadError::NotApart { .. } => {
            "raise `--memory-budget`; only the experts of a large mixture are read on demand, and only from the packed \
             file (no `--pack off`)"
                .to_owned()
        }
        LoadError::Memory {
            context_fits: Some(tokens),
            ..
        } => format!("`--context {tokens}` or less fits, or take a file with smaller weights"),
        LoadError::Memory { .. } => "close other programs, take a file with smaller weights (`hanok convert` makes one), \
                                     or read experts when they are needed: `--memory-budget 2GiB`"
            .to_owned(),
        _ => "GGUF files of the families olmoe, olmo2, llama, qwen2, qwen3 and qwen3moe with F32, F16, BF16, Q4_0, Q4_1, \
              Q5_0, Q5_1, Q8_0 or Q2_K to Q6_K weights can be read"
            .to_owned(),
    })
}

type Loading = JoinHandle<Option<Arc<dyn Embed>>>;

/// Starts to load the embedder on a thread of its own; `None` where there is none.
fn start_embedder(settings: &Settings) -> Result<Option<Loading>> {
    let Some(path) = Finder::new(settings).embedder()? else {
        return Ok(None);
    };
    let threads = settings.threads;
    let loading = std::thread::Builder::new()
        .name("embedder".into())
        .spawn(move || match TextEncoder::load(&path, threads) {
            Ok(encoder) => Some(Arc::new(Embedder::new(encoder, path)) as Arc<dyn Embed>),
            Err(error) => {
                print::stderr_line(&format!(
                    "note: the embedding model cannot be used ({}); searching by words alone",
                    chain(&error)
                ));
                None
            }
        });
    loading.map(Some).or_environment()
}

fn finish_embedder(loading: Loading) -> Option<Arc<dyn Embed>> {
    loading.join().ok().flatten()
}

/// The embedder, if there is one that can be used.
pub(crate) fn embedder(settings: &Settings) -> Result<Option<Arc<dyn Embed>>> {
    Ok(start_embedder(settings)?.and_then(finish_embedder))
}

/// The model that reads passages again, if one is asked for.
pub(crate) fn reranker(settings: &Settings) -> Result<Option<Arc<dyn Rerank>>> {
    let Some(path) = Finder::new(settings).reranker()? else {
        return Ok(None);
    };
    match CrossEncoder::load(&path, settings.threads) {
        Ok(encoder) => Ok(Some(Arc::new(Reranker::new(encoder)))),
        Err(error) => Err(Failure::environment(format!(
            "the reranker `{}` cannot be used: {}",
            path.display(),
            chain(&error)
        ))
        .hint("`hanok pull reranker-en` fetches one for English; `--reranker none` goes without")),
    }
}

/// From now on the store's best passages are ordered by it, if one is asked for.
pub(crate) fn use_reranker(settings: &Settings, store: &Store) -> Result<()> {
    if let Some(reranker) = reranker(settings)? {
        store.rerank_with(reranker);
    }
    Ok(())
}

/// Who finds with vectors in a server, and who is to once there are vectors of it: the configured embedder, or beside it the
/// one that made the present vectors, if it is still where it was.
pub(crate) struct Embedders {
    /// Finds now.
    pub(crate) present: Option<Arc<dyn Embed>>,
    /// Is to find.
    pub(crate) next: Option<Arc<dyn Embed>>,
}

impl Embedders {
    /// Those of a store.
    pub(crate) fn of(settings: &Settings, store: &Store) -> Result<Self> {
        let configured = embedder(settings)?;
        let in_force = store.embedder_in_force().map_err(not_stored)?;
        let (Some(configured), Some((id, source))) = (&configured, in_force) else {
            return Ok(Self {
                present: configured,
                next: None,
            });
        };
        if store.check_embedder(configured.as_ref()).is_ok() {
            return Ok(Self {
                present: Some(Arc::clone(configured)),
                next: None,
            });
        }
        let before = TextEncoder::load(&source, settings.threads)
            .ok()
            .map(|encoder| Arc::new(Embedder::new(encoder, source)) as Arc<dyn Embed>)
            .filter(|before| store.check_embedder(before.as_ref()).is_ok());
        tracing::info!(
            present = id.name,
            "another embedding model is configured: vectors are made anew in the background, and until they are there {}",
            match before {
                Some(_) => "the present ones answer",
                None => "words alone answer, for the model that made the present ones is gone",
            }
        );
        Ok(Self {
            present: before,
            next: Some(Arc::clone(configured)),
        })
    }
}
