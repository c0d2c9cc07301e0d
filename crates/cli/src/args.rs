//! The command line as types. Nothing here acts.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use knowledge::shard::Shard;

/// An organisation's AI under its own roof: answers from its own documents, with every source shown.
#[derive(Debug, Parser)]
#[command(name = "hanok", version, max_term_width = 100)]
#[command(
    after_help = "Exit codes: 0 done, 1 the answer is \"no\", 2 misuse or bad input, 3 a file, model or \
                        port is missing or broken, 70 a bug of Hanok.\nFirst steps: `hanok demo`, or \
                        `hanok pull`, `hanok ingest FOLDER`, `hanok ask \"…\"`. If something is missing: \
                        `hanok doctor`."
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) settings: SettingArgs,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Settings: each is also an environment variable `HANOK_…` and a key of the configuration file.
#[derive(Debug, Default, Clone, Args)]
#[command(next_help_heading = "Settings (also HANOK_… and keys of the configuration file)")]
pub(crate) struct SettingArgs {
    /// Print one JSON object on stdout
    #[arg(long, global = true, help_heading = "Options")]
    pub(crate) json: bool,
    /// Configuration file [default: $XDG_CONFIG_HOME/hanok/config.toml] [env: HANOK_CONFIG]
    #[arg(long, global = true, value_name = "FILE", help_heading = "Options")]
    pub(crate) config: Option<PathBuf>,
    /// Where documents and index are kept
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) data_dir: Option<String>,
    /// Where documents are kept: `embedded` in the data directory, or the address of a PostgreSQL database with pgvector,
    /// such as `postgresql://hanok@localhost/hanok`, which several processes share
    #[arg(long, global = true, value_name = "STORE")]
    pub(crate) store: Option<String>,
    /// File with the password of that database (or set HANOK_STORE_PASSWORD)
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) store_password_file: Option<String>,
    /// Where `pull` puts models
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) models_dir: Option<String>,
    /// Language model: a name, a GGUF file, a folder, or `none`
    #[arg(long, global = true, value_name = "FILE or NAME")]
    pub(crate) model: Option<String>,
    /// Embedding model: a name, a file, or `none`
    #[arg(long, global = true, value_name = "FILE or NAME")]
    pub(crate) embedder: Option<String>,
    /// Model that reads the best passages again: a name, a file, a folder, or `none` (the default)
    #[arg(long, global = true, value_name = "FILE or NAME")]
    pub(crate) reranker: Option<String>,
    /// Threads; 0 takes one for each core
    #[arg(long, global = true, value_name = "N")]
    pub(crate) threads: Option<String>,
    /// Kernels: `auto`, or a level that `doctor` lists
    #[arg(long, global = true, value_name = "LEVEL")]
    pub(crate) kernels: Option<String>,
    /// Context in tokens; 0 takes the model's own, at most 8192
    #[arg(long, global = true, value_name = "TOKENS")]
    pub(crate) context: Option<String>,
    /// `auto` packs large models once for fast starts and shared memory; `off` never does
    #[arg(long, global = true, value_name = "MODE")]
    pub(crate) pack: Option<String>,
    /// Keys and values as `f16`, or as `q8_0` in about half the memory
    #[arg(long, global = true, value_name = "TYPE")]
    pub(crate) kv_cache: Option<String>,
    /// Memory that the model may take, such as `2GiB`; experts that do not fit are read when needed
    #[arg(long, global = true, value_name = "SIZE")]
    pub(crate) memory_budget: Option<String>,
    /// Disk for beginnings of prompts, such as `4GB`, so that they need not be processed again after a restart; it
    /// holds what they said
    #[arg(long, global = true, value_name = "SIZE")]
    pub(crate) prompt_cache: Option<String>,
    /// Mission to answer in
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) mission: Option<String>,
    /// Address to serve at
    #[arg(long, global = true, value_name = "IP")]
    pub(crate) address: Option<String>,
    /// Port to serve at
    #[arg(long, global = true, value_name = "PORT")]
    pub(crate) port: Option<String>,
    /// Token that HTTP clients must send (better set as HANOK_TOKEN: other users can see flags)
    #[arg(long, global = true, value_name = "TOKEN")]
    pub(crate) token: Option<String>,
    /// Groups whose documents may be read, such as `hr,board`; `*` reads everything. Unless set: what everyone may
    /// read. For the server: the rights of callers without an entry in the file of callers
    #[arg(long, global = true, value_name = "GROUPS")]
    pub(crate) groups: Option<String>,
    /// File of callers with tokens and groups of their own, for the server
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) callers: Option<String>,
    /// `on` (or the flag alone): the server keeps ingested folders and the configuration's sources in step
    #[arg(long, global = true, value_name = "MODE", num_args = 0..=1, require_equals = true, default_missing_value = "on")]
    pub(crate) watch: Option<String>,
    /// How often the server looks at all of them anyway, such as `15min`
    #[arg(long, global = true, value_name = "TIME")]
    pub(crate) sync_every: Option<String>,
    /// What `serve` remembers of refused questions for `knowledge quality`: `words` that the documents lack, `questions`
    /// too, or `off`
    #[arg(long, global = true, value_name = "WHAT")]
    pub(crate) refusals: Option<String>,
    /// File with the passwords of encrypted PDF files, one on each line
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) pdf_passwords: Option<String>,
    /// `on` (or the flag alone): text in pictures is recognised by an installed Tesseract, in Korean and English; or other
    /// languages of it, such as `eng+deu`
    #[arg(long, global = true, value_name = "LANGUAGES", num_args = 0..=1, require_equals = true, default_missing_value = "on")]
    pub(crate) ocr: Option<String>,
    /// Folder of a dictionary in MeCab's format, such as that of the package python-mecab-ko-dic: morphemes of Korean are
    /// indexed beside pairs of characters; `none` for none
    #[arg(long, global = true, value_name = "FOLDER")]
    pub(crate) dictionary: Option<String>,
    /// What to log: error, warn, info, debug, trace, or a filter such as `warn,server=info`
    #[arg(long, global = true, value_name = "FILTER")]
    pub(crate) log: Option<String>,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Fetch models, check their hash and record their licence
    Pull(PullArgs),
    /// Take documents in: files and folders; only what changed is read again
    Ingest(IngestArgs),
    /// Bring all ingested folders, and the sources that the configuration names, up to date
    Sync(SyncArgs),
    /// Ask one question; the answer shows its sources
    Ask(AskArgs),
    /// Ask in turns
    Chat(ChatArgs),
    /// Find passages without answering
    Search(SearchArgs),
    /// Titles and headings that what is typed may become
    Suggest(SuggestArgs),
    /// Print the stored text of a document, or exactly a part of it
    Show(ShowArgs),
    /// List the documents
    Documents,
    /// Remove a document with all its versions
    Remove(RemoveArgs),
    /// Copy everything that cannot be made again to a new folder, while it is in use
    Backup(BackupArgs),
    /// Make a new data directory out of a backup
    Restore(RestoreArgs),
    /// Compare database, word index and vectors with each other
    Verify(VerifyArgs),
    /// Print every document with its text, one JSON object a line
    Export,
    /// Look at the documents as a whole
    #[command(subcommand)]
    Knowledge(KnowledgeCommand),
    /// Serve the page and the HTTP interface
    Serve,
    /// Continue a text with a model: raw, without documents and without sources
    Generate(GenerateArgs),
    /// Print the token ids of a text
    Tokenize(TokenizeArgs),
    /// Check every part and say how to mend what is missing
    Doctor,
    /// Print the settings in force and where each comes from
    Config,
    /// Fetch models and demo documents, answer three questions, serve the page
    Demo(DemoArgs),
    /// Write a model file of a known shape with random weights (for measurements)
    Synth(SynthArgs),
    /// Convert a model to a GGUF file of other weight types
    Convert(ConvertArgs),
    /// Find out on a text which weights matter (for `convert --importance`)
    Importance(ImportanceArgs),
    /// Say what a model is and needs, without loading it
    Inspect(InspectArgs),
    /// Measure on given questions
    #[command(subcommand)]
    Trial(TrialCommand),
}

/// Arguments of `pull`.
#[derive(Debug, Args)]
pub(crate) struct PullArgs {
    /// Names (`smollm2`, `e5`, `olmoe`) or ORG/REPOSITORY:FILE.gguf of a hub; without one: the default models
    #[arg(value_name = "NAME")]
    pub(crate) names: Vec<String>,
    /// List the names and what each is
    #[arg(long)]
    pub(crate) list: bool,
}

/// Arguments of `ingest`.
#[derive(Debug, Args)]
pub(crate) struct IngestArgs {
    /// Files and folders
    #[arg(required_unless_present_any = ["commit", "publish_rules"], value_name = "PATH")]
    pub(crate) paths: Vec<PathBuf>,
    /// Read only this part of the files, such as `2/8`, into a segment in the folder that `--to` names; takes nothing in
    #[arg(long, value_name = "I/N", requires = "to", conflicts_with_all = ["retry", "report"])]
    pub(crate) shard: Option<Shard>,
    /// Where segments are made; all parts of one run share it
    #[arg(long, value_name = "FOLDER", requires = "shard")]
    pub(crate) to: Option<PathBuf>,
    /// Take in all segments in this folder, or nothing
    #[arg(long, value_name = "FOLDER", conflicts_with_all = ["paths", "shard", "retry", "report"])]
    pub(crate) commit: Option<PathBuf>,
    /// Make the rules of this data directory (`access.toml`, `validity.toml`) those of all who share the database
    #[arg(long)]
    pub(crate) publish_rules: bool,
    /// Leave the vectors for later (`serve` makes them in the background)
    #[arg(long)]
    pub(crate) no_vectors: bool,
    /// Write one line of JSON for each file to this file: path, stage, outcome, reason, seconds, bytes, pages, passages
    #[arg(long, value_name = "FILE")]
    pub(crate) report: Option<PathBuf>,
    /// Try files again that were set aside because the reader died of them
    #[arg(long)]
    pub(crate) retry: bool,
}

/// Arguments of `sync`.
#[derive(Debug, Args)]
pub(crate) struct SyncArgs {
    /// Only these: names of sources, or folders; without any: all
    #[arg(value_name = "SOURCE")]
    pub(crate) only: Vec<String>,
    /// Keep an ingested folder in step no more; its documents stay
    #[arg(long, value_name = "FOLDER", conflicts_with_all = ["only", "list"])]
    pub(crate) forget: Option<PathBuf>,
    /// Say which folders and sources there are, and reach none
    #[arg(long)]
    pub(crate) list: bool,
    /// Leave the vectors for later (`serve` makes them in the background)
    #[arg(long)]
    pub(crate) no_vectors: bool,
}

/// Arguments of `backup`.
#[derive(Debug, Args)]
pub(crate) struct BackupArgs {
    /// The folder to make
    #[arg(value_name = "FOLDER")]
    pub(crate) to: PathBuf,
}

/// Arguments of `restore`.
#[derive(Debug, Args)]
pub(crate) struct RestoreArgs {
    /// The backup; it goes to the data directory, which must be new or empty
    #[arg(value_name = "BACKUP")]
    pub(crate) backup: PathBuf,
}

/// Arguments of `verify`.
#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// Make again what can be: the word index, and vectors that are damaged
    #[arg(long)]
    pub(crate) mend: bool,
}

/// What to look at.
#[derive(Debug, Subcommand)]
pub(crate) enum KnowledgeCommand {
    /// What is out of date, doubled, contradictory, unreadable or without an owner, and what is asked for in vain
    Quality(QualityArgs),
    /// Make the index anew where another analyser, cutter or embedding model made it; the present one answers meanwhile
    Reindex(ReindexArgs),
}

/// Arguments of `knowledge reindex`.
#[derive(Debug, Args)]
pub(crate) struct ReindexArgs {
    /// Only say what would be made anew, and the disk that it takes
    #[arg(long)]
    pub(crate) check: bool,
}

/// Arguments of `knowledge quality`.
#[derive(Debug, Args)]
pub(crate) struct QualityArgs {
    /// Months without a change after which a document is out of date
    #[arg(long, value_name = "N", default_value_t = knowledge::quality::STALE_MONTHS)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1200))]
    pub(crate) months: u32,
}

/// Which documents are looked at.
#[derive(Debug, Default, Clone, Copy, Args)]
pub(crate) struct AsOfArgs {
    /// Look at the documents that hold on this day instead of today
    #[arg(long, value_name = "YYYY-MM-DD")]
    pub(crate) as_of: Option<knowledge::Date>,
    /// Look also at documents that no longer hold or do not hold yet
    #[arg(long)]
    pub(crate) include_expired: bool,
}

/// Arguments of `ask`.
#[derive(Debug, Args)]
pub(crate) struct AskArgs {
    /// The question; `-` reads it from stdin
    #[arg(value_name = "QUESTION")]
    pub(crate) question: String,
    /// Answer by quoting alone, without the model
    #[arg(long)]
    pub(crate) extractive: bool,
    #[command(flatten)]
    pub(crate) as_of: AsOfArgs,
}

/// Arguments of `chat`.
#[derive(Debug, Args)]
pub(crate) struct ChatArgs {
    /// Answer by quoting alone, without the model
    #[arg(long)]
    pub(crate) extractive: bool,
    #[command(flatten)]
    pub(crate) as_of: AsOfArgs,
}

/// Arguments of `search`.
#[derive(Debug, Args)]
pub(crate) struct SearchArgs {
    /// What to look for
    #[arg(value_name = "QUESTION")]
    pub(crate) question: String,
    /// How many passages
    #[arg(short = 'k', value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(crate) k: u16,
    /// Which index
    #[arg(long, value_enum, default_value_t = Mode::Hybrid)]
    pub(crate) mode: Mode,
    #[command(flatten)]
    pub(crate) as_of: AsOfArgs,
}

/// Arguments of `suggest`.
#[derive(Debug, Args)]
pub(crate) struct SuggestArgs {
    /// What is typed so far; the last word may be unfinished
    #[arg(value_name = "BEGINNING")]
    pub(crate) beginning: String,
    /// How many
    #[arg(short = 'k', value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=50))]
    pub(crate) k: u16,
}

/// Which index answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mode {
    /// Words
    Lexical,
    /// Vectors
    Dense,
    /// Both
    Hybrid,
}

/// Arguments of `show`.
#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// The document's id, with `@VERSION` for an older version
    #[arg(value_name = "DOC[@VERSION]")]
    pub(crate) document: String,
    /// Characters from A up to, not including, B
    #[arg(long, value_name = "A..B")]
    pub(crate) span: Option<String>,
}

/// Arguments of `remove`.
#[derive(Debug, Args)]
pub(crate) struct RemoveArgs {
    /// The document's id
    #[arg(value_name = "DOC")]
    pub(crate) document: String,
}

/// Arguments of `generate`.
#[derive(Debug, Args)]
pub(crate) struct GenerateArgs {
    /// The text to continue
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    #[arg(required_unless_present = "ids", conflicts_with = "ids")]
    pub(crate) prompt: Option<String>,
    /// The token ids to continue
    #[arg(long, value_name = "1,2,3")]
    pub(crate) ids: Option<String>,
    /// Put the prompt into the model's chat template
    #[arg(long, conflicts_with = "ids")]
    pub(crate) chat: bool,
    /// Always take the most likely token (the same as --temperature 0)
    #[arg(long)]
    pub(crate) greedy: bool,
    /// Stop after so many new tokens
    #[arg(long, value_name = "N", default_value_t = 128)]
    pub(crate) max_tokens: usize,
    /// 0 is greedy; higher is more varied
    #[arg(long, value_name = "T", default_value_t = 0.7, conflicts_with = "greedy")]
    pub(crate) temperature: f32,
    /// Keep the N most likely tokens; 0 keeps all
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) top_k: usize,
    /// Keep the smallest set of tokens with this probability
    #[arg(long, value_name = "P", default_value_t = 1.0)]
    pub(crate) top_p: f32,
    /// Seed: the same seed gives the same text
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) seed: u64,
    /// Stop before this text; may be given several times
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub(crate) stop: Vec<String>,
    /// Write JSON for the JSON schema in FILE; room must be left for all of it
    #[arg(long, value_name = "FILE", group = "form")]
    pub(crate) schema: Option<PathBuf>,
    /// Write only what the whole of this regular expression matches
    #[arg(long, value_name = "REGEX", group = "form", allow_hyphen_values = true)]
    pub(crate) regex: Option<String>,
    /// Write only what the Lark grammar in FILE accepts; it begins with the rule `start`
    #[arg(long, value_name = "FILE", group = "form")]
    pub(crate) grammar: Option<PathBuf>,
    /// Do not guess ahead from the text so far (the output is the same, only slower or faster)
    #[arg(long)]
    pub(crate) no_lookup: bool,
}

/// Arguments of `tokenize`.
#[derive(Debug, Args)]
pub(crate) struct TokenizeArgs {
    /// The text; `-` reads it from stdin
    #[arg(value_name = "TEXT")]
    pub(crate) text: String,
}

/// Arguments of `demo`.
#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// End after the three answers
    #[arg(long)]
    pub(crate) no_serve: bool,
    /// Only gather the demo documents in DIR (for an archive)
    #[arg(long, value_name = "DIR")]
    pub(crate) documents_into: Option<PathBuf>,
}

/// Arguments of `synth`.
#[derive(Debug, Args)]
pub(crate) struct SynthArgs {
    /// The shape, for example `olmoe-1b-7b`
    #[arg(value_name = "SHAPE")]
    pub(crate) shape: String,
    /// Type of the weights, for example `q8_0`, `q6_k` or the mix `q4_k_m`
    #[arg(long = "type", value_name = "TYPE", default_value = "q4_0")]
    pub(crate) dtype: String,
    /// Seed: the same seed gives the same file
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) seed: u64,
    /// The file to write
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
}

/// Arguments of `convert`.
#[derive(Debug, Args)]
pub(crate) struct ConvertArgs {
    /// A folder with config.json and safetensors, or a GGUF file (of a split one any part)
    #[arg(value_name = "IN")]
    pub(crate) input: PathBuf,
    /// The GGUF file to write
    #[arg(value_name = "OUT")]
    pub(crate) output: PathBuf,
    /// Type of most weights; norms, biases and routers are f32
    #[arg(long = "type", value_name = "TYPE", default_value = "q8_0")]
    pub(crate) dtype: String,
    /// An exception by tensor name, a part of it or with * and ?; may be given several times, the last that matches counts
    #[arg(long, value_name = "PATTERN=TYPE")]
    pub(crate) recipe: Vec<String>,
    /// Importance of columns, from `hanok importance` or llama-imatrix (GGUF)
    #[arg(long, value_name = "FILE")]
    pub(crate) importance: Option<PathBuf>,
    /// Convert a folder that has no tokenizer.json
    #[arg(long)]
    pub(crate) no_tokenizer: bool,
}

/// Arguments of `importance`.
#[derive(Debug, Args)]
pub(crate) struct ImportanceArgs {
    /// The model: a GGUF file or a folder, best with unrounded weights
    #[arg(value_name = "MODEL")]
    pub(crate) input: PathBuf,
    /// A text file of the kind that the model will work on
    #[arg(value_name = "TEXT")]
    pub(crate) text: PathBuf,
    /// The file to write
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,
    /// Tokens that are read together
    #[arg(long, value_name = "TOKENS", default_value_t = 512, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) chunk: u32,
    /// Read at most so many chunks
    #[arg(long, value_name = "N")]
    pub(crate) chunks: Option<usize>,
}

/// Arguments of `inspect`.
#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    /// A GGUF file, a folder or a name; without one: the model in force
    #[arg(value_name = "MODEL")]
    pub(crate) file: Option<String>,
    /// Compute the SHA-256 of the files (reads them whole)
    #[arg(long)]
    pub(crate) hash: bool,
}

/// What to measure.
#[derive(Debug, Subcommand)]
pub(crate) enum TrialCommand {
    /// Whether the right page is found
    Retrieval(TrialRetrievalArgs),
}

/// Arguments of `trial retrieval`.
#[derive(Debug, Args)]
pub(crate) struct TrialRetrievalArgs {
    /// Pages, one JSON object a line, gzip or plain
    #[arg(long, value_name = "FILE")]
    pub(crate) pages: PathBuf,
    /// Questions, one JSON object a line
    #[arg(long, value_name = "FILE")]
    pub(crate) questions: PathBuf,
    /// Which index
    #[arg(long, value_enum, default_value_t = Mode::Hybrid)]
    pub(crate) mode: Mode,
}
