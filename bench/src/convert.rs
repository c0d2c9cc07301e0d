//! Whether llama.cpp reads the files that `hanok convert` writes, and computes with them what it should.
//!
//! Small models of every family are converted in every way there is (types, recipes, importance, folders and files in
//! parts, without a tokenizer) and loaded in llama.cpp. Three references, none of which can repeat an error of the
//! converter: logits that another implementation computed from the folder, our f32 arithmetic on the folder, and on the
//! file. What is compared has bounds; a file beyond them fails the command. Not a measure of speed.

mod folder;
mod row;

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use model::convert::{Options as Conversion, Rule, convert, dtype_by_name};
use model::importance::Importance;
use model::tokenizer::Tokenizer;
use model::{Decoder, DecoderOptions, LoadOptions, Model, Precision};
use serde::Serialize;
use weights::gguf::{Gguf, Writer};
use weights::safetensors::SafeTensors;

use crate::agree::{ours, theirs};
use crate::peer::{self, Peer, Settings};
use folder::Folder;
use row::{Bounds, Reference, Row, median_error};

/// What is tokenised in both programs, and computed with: scripts, digits, marks, white space, tokens as a whole.
const TEXT: &str = "Hello, world! I'll pay 1234567.89 €  for\n\n\tthat:   ABC's don't\r\n x=[1,22,333]; \
                    한국어 문장은 조사가 붙어 길어진다. 연차 휴가는 15일, 이월은 3일까지이다. \
                    <|im_start|>user\n안녕하세요? naïve café — 中文字 ١٢٣ 🙂👍🏽<|im_end|>\n<tool>f(x)</tool> \
                    _snake_case  the theory of the thing <|endoftext|>   end ";
/// Tokens that logits are compared on.
const N_TOKENS: usize = 96;
/// Types of most weights that every family is converted to.
const TYPES: [&str; 5] = ["f32", "q8_0", "q6_k", "q4_k", "q4_0"];
/// Exceptions by name: experts or the dense layer, one whole layer, the embedding.
const RECIPE: [&str; 3] = ["ffn_down=q8_0", "blk.1.*=f16", "token_embd=q4_1"];
/// What the converter notes about a model that llama.cpp cannot compute.
const BEYOND: &str = "llama.cpp does not";

/// What to check.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Folder of tiny checkpoints with `expected.safetensors` that another implementation computed
    #[arg(long)]
    fixtures: PathBuf,
    /// A released OLMoE's `tokenizer.json`
    #[arg(long)]
    tokenizer: Option<PathBuf>,
    /// Where the models are made; emptied first, removed afterwards
    #[arg(long)]
    folder: PathBuf,
    /// Threads
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Write the result here
    #[arg(long)]
    json: Option<PathBuf>,
}

#[derive(Serialize)]
struct Report {
    schema: u32,
    peer: &'static str,
    rows: Vec<Row>,
}

/// Converts, loads, compares; an error if any file is not as it should be.
pub(crate) fn run(options: &Options) -> Result<()> {
    if stdx::fs::metadata(&options.folder).is_ok() {
        stdx::fs::remove_dir_all(&options.folder)?;
    }
    stdx::fs::create_dir_all(&options.folder)?;
    let mut check = Check {
        folder: &options.folder,
        threads: options.threads,
        rows: Vec::new(),
    };
    check.checkpoints(&options.fixtures)?;
    for folder in Folder::all() {
        check.family(&folder)?;
    }
    for folder in Folder::beyond_others() {
        check.beyond_others(&folder)?;
    }
    match &options.tokenizer {
        Some(tokenizer) => check.released_tokenizer(tokenizer)?,
        None => println!("no released tokenizer was named: that of OLMoE is not checked"),
    }
    let rows = check.rows;
    let n_bad = rows.iter().filter(|row| !row.faults.is_empty()).count();
    println!(
        "{} of {} files are read by llama.cpp as they should be",
        rows.len() - n_bad,
        rows.len()
    );
    if let Some(path) = &options.json {
        let report = Report {
            schema: 1,
            peer: peer::VERSION,
            rows,
        };
        stdx::fs::write(path, serde_json::to_vec_pretty(&report)?)?;
    }
    stdx::fs::remove_dir_all(&options.folder)?;
    if n_bad > 0 {
        bail!("{n_bad} converted files are not read as they should be");
    }
    Ok(())
}

struct Check<'a> {
    folder: &'a Path,
    threads: usize,
    rows: Vec<Row>,
}

impl Check<'_> {
    /// Prints and keeps a row.
    fn add(&mut self, row: Row) {
        println!("  {row}");
        self.rows.push(row);
    }

    /// Has llama.cpp compute and judges it; what stops it is a fault like any other.
    fn row(
        &self,
        file: &str,
        types: String,
        path: &Path,
        texts: &[Vec<u32>],
        reference: &Reference<'_>,
    ) -> Row {
        let n_tokens = texts.iter().map(Vec::len).sum();
        match theirs(path, texts, self.threads, true) {
            Ok(theirs) => Row::judged(file, types, n_tokens, &theirs, reference),
            Err(error) => Row::stopped(file, format!("{error:#}")),
        }
    }

    /// Checkpoints without a tokenizer, against what another implementation computed from them.
    fn checkpoints(&mut self, fixtures: &Path) -> Result<()> {
        let mut n = 0;
        for folder in stdx::fs::read_dir(fixtures)? {
            let has = |name: &str| folder.join(name).is_file();
            if has("config.json") && has("expected.safetensors") {
                n += 1;
                self.checkpoint(&folder)?;
            }
        }
        if n == 0 {
            bail!("{} holds no checkpoint to convert", fixtures.display());
        }
        Ok(())
    }

    fn checkpoint(&mut self, folder: &Path) -> Result<()> {
        let name = folder.file_name().unwrap_or_default().to_string_lossy();
        let path = self.folder.join(format!("{name}.fixture.gguf"));
        let mut conversion = self.conversion("f32")?;
        conversion.without_tokenizer = true;
        let (types, notes) = converted(folder, &path, &conversion)?;
        let Expected { texts, logits } = Expected::read(&folder.join("expected.safetensors"))?;
        let reference = Reference {
            name: "another implementation on the folder",
            logits: &logits,
            bounds: Bounds::EXACT,
        };
        let row = self.row(&format!("{name} (fixture)"), types, &path, &texts, &reference);
        // No key that llama.cpp reads holds what such a model has.
        let is_beyond = notes.iter().any(|note| note.contains(BEYOND));
        self.add(if is_beyond { row.excused() } else { row });
        Ok(())
    }

    /// Every type; of one dense and one sparse family every other way too.
    fn family(&mut self, made: &Folder) -> Result<()> {
        let source = self.source(made)?;
        for name in TYPES {
            self.one(&source, &source.folder, name, &self.conversion(name)?);
        }
        if matches!(made.name, "olmoe" | "llama") {
            self.other_ways(&source)?;
        }
        Ok(())
    }

    /// A recipe, importance, and files instead of the folder: one, and one in parts.
    fn other_ways(&mut self, source: &Source) -> Result<()> {
        let mut recipe = self.conversion("q4_0")?;
        let rules = RECIPE.iter().map(|rule| Rule::parse(rule));
        recipe.rules = rules.collect::<Result<_, _>>()?;
        self.one(source, &source.folder, "q4_0-recipe", &recipe);
        for name in ["q4_k", "q4_0"] {
            let mut conversion = self.conversion(name)?;
            conversion.importance = Some(self.importance(source)?);
            let label = format!("{name}-importance");
            self.one(source, &source.folder, &label, &conversion);
            if same(&self.path(source, name), &self.path(source, &label))? {
                self.fault("importance changed nothing");
            }
        }
        let whole = self.path(source, "f32");
        self.one(source, &whole, "f32-to-q4_k", &self.conversion("q4_k")?);
        let parts = split(&whole, 3)?;
        let last = parts.last().context("there are parts")?;
        self.one(source, last, "parts-to-q8_0", &self.conversion("q8_0")?);
        if !same(&self.path(source, "parts-to-q8_0"), &self.path(source, "q8_0"))? {
            self.fault("the parts do not become the file that the folder becomes");
        }
        Ok(())
    }

    /// A model that no file can make llama.cpp compute rightly: the converter must say so, and be right.
    fn beyond_others(&mut self, made: &Folder) -> Result<()> {
        let source = self.source(made)?;
        let path = self.path(&source, "f32");
        let (types, notes) = converted(&source.folder, &path, &self.conversion("f32")?)?;
        let reference = source.reference();
        let texts = std::slice::from_ref(&source.tokens);
        let mut row = self
            .row(&format!("{}.f32", made.name), types, &path, texts, &reference)
            .excused();
        if !notes.iter().any(|note| note.contains(BEYOND)) {
            row.faults.push("the converter does not say so".to_owned());
        }
        self.add(row);
        Ok(())
    }

    /// OLMoE's own vocabulary and merges.
    fn released_tokenizer(&mut self, path: &Path) -> Result<()> {
        let made = Folder::with_released_tokenizer();
        let folder = self.folder.join(made.name);
        let json = serde_json::from_slice(&stdx::fs::read(path)?)?;
        made.write_with(&folder, &json, folder::END_OF_TEXT, 50_304)?;
        let source = Source::of(made, folder, self.threads)?;
        self.one(&source, &source.folder, "q8_0", &self.conversion("q8_0")?);
        Ok(())
    }

    fn source(&self, made: &Folder) -> Result<Source> {
        let folder = self.folder.join(made.name);
        made.write(&folder, TEXT)?;
        Source::of(*made, folder, self.threads)
    }

    /// One conversion of `input`, judged.
    fn one(&mut self, source: &Source, input: &Path, label: &str, conversion: &Conversion) {
        let file = format!("{}.{label}", source.made.name);
        let row = self.judged(source, input, &file, label, conversion);
        self.add(row.unwrap_or_else(|error| Row::stopped(&file, format!("{error:#}"))));
    }

    fn judged(
        &self,
        source: &Source,
        input: &Path,
        file: &str,
        label: &str,
        conversion: &Conversion,
    ) -> Result<Row> {
        let path = self.path(source, label);
        let (types, _) = converted(input, &path, conversion)?;
        let texts = std::slice::from_ref(&source.tokens);
        if !conversion.dtype.is_quantised() {
            let mut row = self.row(file, types, &path, texts, &source.reference());
            row.faults.extend(self.vocabulary_faults(source, &path)?);
            return Ok(row);
        }
        let reference = Reference {
            name: "our f32 on the file",
            logits: &ours(&path, texts, self.threads, Precision::F32)?,
            bounds: Bounds::rounded(source.made.is_sparse),
        };
        let theirs = theirs(&path, texts, self.threads, true)?;
        let n_tokens = source.tokens.len();
        let mut row = Row::judged(file, types, n_tokens, &theirs, &reference);
        let error = median_error(&source.exact, &theirs, n_tokens);
        if error > cost(label) {
            let bound = cost(label) * 100.0;
            row.faults.push(format!("more than {bound} % from the folder"));
        }
        row.error_to_folder = Some(error);
        row.faults.extend(self.vocabulary_faults(source, &path)?);
        Ok(row)
    }

    /// What llama.cpp reads otherwise of the tokenizer than the folder says.
    fn vocabulary_faults(&self, source: &Source, path: &Path) -> Result<Vec<String>> {
        let model = Model::load(path, &LoadOptions::default())?;
        let settings = Settings {
            n_threads: i32::try_from(self.threads)?,
            n_context: 64,
            repack: false,
            n_sequences: 1,
            flash_attention: true,
        };
        let peer = Peer::load(path, settings)?;
        let mut faults = Vec::new();
        let n_rows = model.decoder().config().vocab_size;
        if peer.n_vocabulary() != n_rows {
            faults.push(format!(
                "llama.cpp sees {} tokens of {n_rows}",
                peer.n_vocabulary()
            ));
        }
        let expected = source.tokenizer.encode(TEXT);
        for (who, ids) in [
            ("llama.cpp", peer.tokenize(TEXT)?),
            ("the file", model.tokenizer().encode(TEXT)),
        ] {
            if let Some(at) = difference(&expected, &ids) {
                faults.push(format!("{who} splits the text otherwise from token {at} on"));
            }
        }
        let ids = 0..u32::try_from(n_rows)?;
        let mut odd_bytes = Vec::new();
        for id in ids.clone().filter(|id| !source.tokenizer.is_special(*id)) {
            if peer.token_bytes(id)? != source.tokenizer.token_bytes(id) {
                odd_bytes.push(id);
            }
        }
        let odd_ends: Vec<u32> = ids
            .filter(|id| peer.ends_a_text(*id) != model.is_end_of_sequence(*id))
            .collect();
        for (what, ids) in [("bytes", odd_bytes), ("end of a text", odd_ends)] {
            if !ids.is_empty() {
                faults.push(format!("llama.cpp sees other {what} in tokens {ids:?}"));
            }
        }
        if peer.adds_bos() != adds_bos(model.tokenizer()) {
            faults.push("llama.cpp puts another token in front".to_owned());
        }
        Ok(faults)
    }

    /// Importance as `hanok importance` gathers it, by way of its file.
    fn importance(&self, source: &Source) -> Result<Importance> {
        let options = DecoderOptions {
            threads: self.threads,
            precision: Precision::F32,
            ..DecoderOptions::default()
        };
        let decoder = Decoder::open(&source.folder, &options)?;
        let mut go_on = |_, _| ControlFlow::Continue(());
        let gathered = Importance::gather(&decoder, &source.tokens, 32, &mut go_on)?;
        let path = self.folder.join("importance.gguf");
        gathered.write(&path, "the text of the check")?;
        Ok(Importance::open(&path)?)
    }

    fn conversion(&self, dtype: &str) -> Result<Conversion> {
        Ok(Conversion {
            dtype: dtype_by_name(dtype)?,
            rules: Vec::new(),
            importance: None,
            without_tokenizer: false,
            threads: self.threads,
        })
    }

    fn path(&self, source: &Source, label: &str) -> PathBuf {
        self.folder.join(format!("{}.{label}.gguf", source.made.name))
    }

    /// Something wrong about the last file.
    fn fault(&mut self, what: &str) {
        println!("  FAILED: {what}");
        if let Some(row) = self.rows.last_mut() {
            row.faults.push(what.to_owned());
        }
    }
}

/// A folder, and what is right about it.
struct Source {
    made: Folder,
    folder: PathBuf,
    tokenizer: Tokenizer,
    tokens: Vec<u32>,
    /// Our f32 arithmetic on the folder.
    exact: Vec<f32>,
}

impl Source {
    fn of(made: Folder, folder: PathBuf, threads: usize) -> Result<Self> {
        let tokenizer = Tokenizer::from_json_file(folder.join("tokenizer.json"))?;
        let mut tokens = tokenizer.encode(TEXT);
        tokens.truncate(N_TOKENS);
        let texts = std::slice::from_ref(&tokens);
        Ok(Self {
            exact: ours(&folder, texts, threads, Precision::F32)?,
            made,
            folder,
            tokenizer,
            tokens,
        })
    }

    fn reference(&self) -> Reference<'_> {
        Reference {
            name: "our f32 on the folder",
            logits: &self.exact,
            bounds: Bounds::EXACT,
        }
    }
}

/// What another implementation computed from a checkpoint.
struct Expected {
    texts: Vec<Vec<u32>>,
    logits: Vec<f32>,
}

impl Expected {
    fn read(path: &Path) -> Result<Self> {
        let file = SafeTensors::open(path)?;
        let numbers = |name: &str| -> Result<Vec<u8>> {
            let info = file.tensor(name);
            let info = info.with_context(|| format!("{} has no `{name}`", path.display()))?;
            let mut bytes = vec![0; usize::try_from(info.n_bytes)?];
            file.read_tensor(info, &mut bytes)?;
            Ok(bytes)
        };
        let ids = numbers("input_ids")?;
        let ids = ids.as_chunks::<8>().0.iter();
        let ids = ids.map(|id| u32::try_from(i64::from_le_bytes(*id)));
        let ids: Vec<u32> = ids.collect::<Result<_, _>>()?;
        let shape = file.tensor("input_ids").map(|info| info.shape.as_slice());
        let Some([_, n_tokens]) = shape else {
            bail!("the ids in {} are no texts", path.display());
        };
        let logits = numbers("logits")?;
        let logits = logits.as_chunks::<4>().0.iter();
        Ok(Self {
            texts: ids
                .chunks(usize::try_from(*n_tokens)?.max(1))
                .map(<[u32]>::to_vec)
                .collect(),
            logits: logits.map(|logit| f32::from_le_bytes(*logit)).collect(),
        })
    }
}

/// What a type may cost: the largest median error, against the folder, of a file that is mostly of it.
fn cost(label: &str) -> f64 {
    if label.contains("q8_0") {
        0.08
    } else if label.contains("q6_k") {
        0.2
    } else {
        0.5
    }
}

/// Converts; the types of the file, and the converter's notes.
fn converted(input: &Path, output: &Path, conversion: &Conversion) -> Result<(String, Vec<String>)> {
    let report = convert(input, output, conversion, &mut |_| ControlFlow::Continue(()))?;
    if let Some(fallback) = report.fallbacks.first() {
        bail!(
            "{} did not get the type that it was to be checked in",
            fallback.tensor
        );
    }
    let types = report.tensors.iter().map(|(name, n)| format!("{n} {name}"));
    Ok((types.collect::<Vec<_>>().join(", "), report.notes))
}

/// Where two texts part.
fn difference(a: &[u32], b: &[u32]) -> Option<usize> {
    let n = a.len().max(b.len());
    (0..n).find(|at| a.get(*at) != b.get(*at))
}

/// A file in `n` parts, as `llama-gguf-split` makes them.
fn split(whole: &Path, n: usize) -> Result<Vec<PathBuf>> {
    let file = Gguf::open(whole)?;
    let n_tensors = file.tensors().len();
    let stem = whole.with_extension("");
    let mut paths = Vec::new();
    for (number, infos) in file.tensors().chunks(n_tensors.div_ceil(n)).enumerate() {
        let mut writer = Writer::new();
        if number == 0 {
            for (key, value) in file.metadata().iter() {
                writer.set(key, value.clone());
            }
        }
        writer
            .set("split.no", u16::try_from(number)?)
            .set("split.count", u16::try_from(n)?)
            .set("split.tensors.count", i32::try_from(n_tensors)?);
        for info in infos {
            writer.tensor(&info.name, &info.dims, info.ty)?;
        }
        let mut body = writer.begin(Vec::new())?;
        for info in infos {
            let mut bytes = vec![0; usize::try_from(info.n_bytes)?];
            file.read_tensor(info, &mut bytes)?;
            body.write(&bytes)?;
        }
        let path = PathBuf::from(format!("{}-{:05}-of-{n:05}.gguf", stem.display(), number + 1));
        stdx::fs::write(&path, body.finish()?)?;
        paths.push(path);
    }
    Ok(paths)
}

/// Whether two files have the same bytes.
fn same(a: &Path, b: &Path) -> Result<bool> {
    Ok(stdx::fs::read(a)? == stdx::fs::read(b)?)
}

/// Whether the begin token comes in front of raw text.
fn adds_bos(tokenizer: &Tokenizer) -> bool {
    tokenizer.encode_raw(TEXT).len() > tokenizer.encode_prompt(TEXT).len()
}
