//! The word index (tantivy): BM25 over passages and what stands around them, with their titles and headings.
//!
//! Derived from the catalog and never the truth: missing, damaged or made by another analyser, it is made again. An index by
//! another analysis than the present one (see [`crate::analysis`]) answers as far as both agree until it is made again.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use stdx::fs;
use tantivy::schema::{
    FAST, Field, INDEXED, IndexRecordOption, STRING, Schema, TextFieldIndexing, TextOptions,
};
use tantivy::tokenizer::TextAnalyzer;
use tantivy::{Index, IndexReader, IndexWriter, ReloadPolicy, Searcher, TantivyDocument, TantivyError, Term};

use crate::analyser::{ANALYSER_NAME, Analyser};
use crate::analysis::{Analysis, MORPHEMES_NAME, MorphemeTokenizer, has_morphemes};
use crate::catalog::{AudienceSet, Catalog, StoredPassage};
use crate::error::StoreError;
use crate::exact::Article;
use crate::failpoint::{FailPoint, pass};
use crate::question::Question;
use crate::suggest::Typed;

mod classes;
mod closeness;
mod phrase;
pub(crate) mod rank;
mod score;
mod shadow;
mod skim;
mod titled;

use classes::Classes;
use rank::{AROUND_BOOST, EXACT_BOOST, HEADING_BOOST, MORPHEME_BOOST, TITLE_BOOST, Terms, rarest};
use score::{Scored, Scorer};
pub(crate) use shadow::Shadow;

/// Memory in which entries are gathered before they are written as a segment.
const WRITER_BYTES: usize = 48 << 20;
/// Checksums of an index up to this size are compared when it is opened for writing.
const VERIFIED_BYTES_MAX: u64 = 256 << 20;

#[derive(Clone, Copy)]
struct Fields {
    passage: Field,
    audience: Field,
    document: Field,
    title: Field,
    headings: Field,
    around: Field,
    text: Field,
    /// What the passage names exactly, under one name however it is written.
    exact: Field,
    /// Where a dictionary is in force.
    morphemes: Option<MorphemeFields>,
}

/// The same texts once more, as morphemes.
#[derive(Clone, Copy)]
struct MorphemeFields {
    title: Field,
    headings: Field,
    text: Field,
}

/// The index, open for searching.
pub(crate) struct Lexical {
    dir: PathBuf,
    /// Who made its terms.
    analyser: String,
    /// Who makes terms now.
    analysis: Arc<Analysis>,
    index: Index,
    reader: IndexReader,
    fields: Fields,
    /// The manifest of the commit that the reader shows; `None` in memory.
    seen: Option<Mutex<Vec<u8>>>,
    classes: Classes,
}

/// The index, open for writing.
pub(crate) struct LexicalWriter {
    dir: PathBuf,
    writer: IndexWriter,
    fields: Fields,
    /// Who made the terms of the index as a whole.
    analyser: String,
    /// The number of the last change of the catalog that a commit held.
    seq: i64,
}

/// Whether the checksums of the index's files are compared when it is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verify {
    No,
    /// Of an index that is read in a moment.
    Small,
}

/// What an index by an analysis of this name holds.
fn schema(analyser: &str) -> (Schema, Fields) {
    let text = |tokenizer, recorded| {
        let indexing = TextFieldIndexing::default().set_tokenizer(tokenizer);
        TextOptions::default().set_indexing_options(indexing.set_index_option(recorded))
    };
    let words = || text(ANALYSER_NAME, IndexRecordOption::WithFreqs);
    let mut builder = Schema::builder();
    let mut fields = Fields {
        passage: builder.add_u64_field("passage", FAST | INDEXED),
        audience: builder.add_u64_field("audience", FAST),
        document: builder.add_text_field("document", STRING),
        title: builder.add_text_field("title", words()),
        headings: builder.add_text_field("headings", words()),
        around: builder.add_text_field("around", words()),
        text: builder.add_text_field(
            "text",
            text(ANALYSER_NAME, IndexRecordOption::WithFreqsAndPositions),
        ),
        exact: builder.add_text_field("exact", text("raw", IndexRecordOption::WithFreqs)),
        morphemes: None,
    };
    if has_morphemes(analyser) {
        let morphemes = || text(MORPHEMES_NAME, IndexRecordOption::WithFreqs);
        fields.morphemes = Some(MorphemeFields {
            title: builder.add_text_field("title_morphemes", morphemes()),
            headings: builder.add_text_field("headings_morphemes", morphemes()),
            text: builder.add_text_field("text_morphemes", morphemes()),
        });
    }
    (builder.build(), fields)
}

/// Gives an index by an analysis of this name what makes terms of what is added now.
fn register(index: &Index, analyser: &str, analysis: &Arc<Analysis>) {
    let tokenizers = index.tokenizers();
    tokenizers.register(ANALYSER_NAME, TextAnalyzer::from(Analyser::new()));
    let same = (analyser == analysis.name()).then(|| Arc::clone(analysis));
    tokenizers.register(MORPHEMES_NAME, TextAnalyzer::from(MorphemeTokenizer::new(same)));
}

/// What a commit says about who made its terms, and how far it follows the catalog.
fn payload(analyser: &str, seq: i64) -> String {
    format!("analyser {analyser} seq {seq}")
}

/// Who made the terms of a commit, and how far it follows the catalog.
fn parse_payload(payload: &str) -> Option<(&str, i64)> {
    let (analyser, seq) = payload.strip_prefix("analyser ")?.split_once(" seq ")?;
    Some((analyser, seq.parse().ok()?))
}

/// The word index of that number in a data directory.
pub(crate) fn folder(data: &Path, number: i64) -> PathBuf {
    match number {
        0 => data.join(FOLDER),
        n => data.join(format!("{FOLDER}-{n}")),
    }
}

/// Every folder of a data directory in which a word index may be, whole or not.
pub(crate) fn folders(data: &Path) -> Vec<PathBuf> {
    let mut found = fs::read_dir(data).unwrap_or_default();
    found.retain(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let rest = name.strip_prefix(FOLDER);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['-', '.'])) && path.is_dir()
    });
    found
}

impl Lexical {
    /// Opens the index in `dir` as it is; `None` if it must be made again.
    pub(crate) fn open(
        dir: &Path,
        catalog: &Catalog,
        verify: Verify,
        analysis: &Arc<Analysis>,
    ) -> Option<Self> {
        // A new store, or a restored one: nothing to warn of.
        if !Self::is_in(dir) {
            return None;
        }
        let opened = catch_unwind(AssertUnwindSafe(|| {
            Self::try_open(dir, catalog, verify, analysis)
        }));
        match opened {
            Ok(Ok(lexical)) => Some(lexical),
            Ok(Err(reason)) => {
                tracing::warn!(dir = %dir.display(), reason, "the word index cannot be used as it is");
                None
            }
            Err(_) => {
                tracing::warn!(dir = %dir.display(), "the word index is damaged");
                None
            }
        }
    }

    /// The index's list of its files as it stands on the disk; `None` where there is no index.
    pub(crate) fn list_of_files(dir: &Path) -> Option<Vec<u8>> {
        fs::read(dir.join(MANIFEST)).ok()
    }

    /// Whether there is an index, sound or not.
    pub(crate) fn is_in(dir: &Path) -> bool {
        fs::metadata(dir.join(MANIFEST)).is_ok()
    }

    fn try_open(
        dir: &Path,
        catalog: &Catalog,
        verify: Verify,
        analysis: &Arc<Analysis>,
    ) -> Result<Self, String> {
        let say = |error: TantivyError| error.to_string();
        let index = Index::open_in_dir(dir).map_err(say)?;
        let other = || "it was made by another version".to_owned();
        let found = index.load_metas().map_err(say)?.payload;
        let (analyser, seq) = found.as_deref().and_then(parse_payload).ok_or_else(other)?;
        let (schema, fields) = schema(analyser);
        if index.schema() != schema {
            return Err(other());
        }
        // Its number is read first: the catalog is always written before the index.
        if seq > catalog.index_seq().map_err(|error| error.to_string())? {
            return Err("it knows of changes that the database does not have".to_owned());
        }
        if verify == Verify::Small && folder_bytes(dir) <= VERIFIED_BYTES_MAX {
            check_files(&index)?;
        }
        Self::with_index(index, fields, dir, analyser, analysis).map_err(say)
    }

    fn with_index(
        index: Index,
        fields: Fields,
        dir: &Path,
        analyser: &str,
        analysis: &Arc<Analysis>,
    ) -> tantivy::Result<Self> {
        register(&index, analyser, analysis);
        let seen = Self::list_of_files(dir).map(Mutex::new);
        let reader = index
            .reader_builder()
            .reload_policy(ReloadPolicy::Manual)
            .try_into()?;
        Ok(Self {
            dir: dir.to_owned(),
            analyser: analyser.to_owned(),
            analysis: Arc::clone(analysis),
            index,
            reader,
            fields,
            seen,
            classes: Classes::default(),
        })
    }

    /// Compares the checksums of all its files, and what its list of files says of them.
    pub(crate) fn check(&self) -> Result<(), String> {
        catch_unwind(AssertUnwindSafe(|| check_files(&self.index)))
            .unwrap_or_else(|_| Err("its files are damaged".to_owned()))
    }

    /// Makes the index in `dir` anew from the catalog: beside the old one, then in its place.
    pub(crate) fn rebuild(
        dir: &Path,
        catalog: &Catalog,
        analysis: &Arc<Analysis>,
    ) -> Result<Self, StoreError> {
        let fresh = dir.with_extension("new");
        remove_if_there(&fresh)?;
        fs::create_dir_all(&fresh).map_err(StoreError::file)?;
        let fail = |error| StoreError::index("rebuild", dir, error);
        let (schema, fields) = schema(analysis.name());
        let index = Index::create_in_dir(&fresh, schema).map_err(fail)?;
        register(&index, analysis.name(), analysis);
        fill(&index, fields, &fresh, catalog, analysis)?;
        drop(index);
        pass(FailPoint::IndexFilled);
        remove_if_there(dir)?;
        pass(FailPoint::IndexRemoved);
        fs::rename(&fresh, dir).map_err(StoreError::file)?;
        fs::sync_parent(dir).map_err(StoreError::file)?;
        pass(FailPoint::IndexSwapped);
        let index = Index::open_in_dir(dir).map_err(fail)?;
        Self::with_index(index, fields, dir, analysis.name(), analysis).map_err(fail)
    }

    /// An index of the catalog in memory, for when the one on disk cannot be used or made.
    pub(crate) fn in_memory(
        dir: &Path,
        catalog: &Catalog,
        analysis: &Arc<Analysis>,
    ) -> Result<Self, StoreError> {
        let fail = |error| StoreError::index("build in memory", dir, error);
        let (schema, fields) = schema(analysis.name());
        let index = Index::create_in_ram(schema);
        register(&index, analysis.name(), analysis);
        fill(&index, fields, dir, catalog, analysis)?;
        let reader = index
            .reader_builder()
            .reload_policy(ReloadPolicy::Manual)
            .try_into()
            .map_err(fail)?;
        Ok(Self {
            dir: dir.to_owned(),
            analyser: analysis.name().to_owned(),
            analysis: Arc::clone(analysis),
            index,
            reader,
            fields,
            seen: None,
            classes: Classes::default(),
        })
    }

    pub(crate) fn is_in_memory(&self) -> bool {
        self.seen.is_none()
    }

    /// Where it is.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Who made its terms, if it is not who makes them now: what is asked may be cut otherwise than what it knows.
    pub(crate) fn other_analyser(&self) -> Option<&str> {
        (self.analyser != self.analysis.name()).then_some(&self.analyser)
    }

    /// The fields that are asked: morphemes only of an index that the present dictionary made.
    fn scored(&self) -> Vec<Scored> {
        self.fields.scored(self.analyser == self.analysis.name())
    }

    /// Its size on the disk.
    pub(crate) fn bytes(&self) -> u64 {
        folder_bytes(&self.dir)
    }

    /// The writer. Files that a killed process left uncommitted are cleared away first: their names would be used
    /// again.
    pub(crate) fn writer(&self) -> Result<LexicalWriter, StoreError> {
        let analyser = self.analysis.name_when_added_to(&self.analyser);
        let writer = writer(&self.index, self.fields, &self.dir, &analyser)?;
        let cleared = writer.writer.garbage_collect_files().wait();
        cleared.map_err(|error| StoreError::index("clear up", &self.dir, error))?;
        Ok(writer)
    }

    /// The last committed state, also another process's.
    fn searcher(&self) -> Searcher {
        if let Some(seen) = &self.seen {
            let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
            let manifest = fs::read(self.dir.join(MANIFEST)).unwrap_or_default();
            if !manifest.is_empty() && *seen != manifest {
                match self.reader.reload() {
                    Ok(()) => *seen = manifest,
                    // The state before is still open and complete; the next search tries again.
                    Err(error) => tracing::warn!(%error, "the word index cannot be reloaded"),
                }
            }
        }
        self.reader.searcher()
    }

    /// Every passage with its audience, as the index has them.
    pub(crate) fn contents(&self) -> Result<Vec<(u64, u32)>, StoreError> {
        self.guarded("read through", |lexical| {
            let (searcher, fields) = (lexical.searcher(), lexical.scored());
            let classes = lexical.classes.of(&searcher, &fields)?;
            Ok(classes.iter().flat_map(|segment| segment.contents()).collect())
        })
    }

    /// In how many texts of permitted passages a term occurs.
    pub(crate) fn passage_frequency(&self, term: &str, allowed: &AudienceSet) -> Result<u64, StoreError> {
        self.guarded("look up a word", |lexical| {
            let (searcher, fields) = (lexical.searcher(), lexical.scored());
            let classes = lexical.classes.of(&searcher, &fields)?;
            Scorer::new(&searcher, classes, allowed, &fields).frequency(lexical.fields.text, term)
        })
    }

    /// The best permitted passages with their scores, best first, equal ones by id.
    pub(crate) fn search(
        &self,
        question: &str,
        limit: usize,
        allowed: &AudienceSet,
    ) -> Result<Vec<(u64, f32)>, StoreError> {
        let question = Question::parse_with(question, &self.analysis);
        self.guarded("search", |lexical| {
            let (searcher, fields) = (lexical.searcher(), lexical.scored());
            let classes = lexical.classes.of(&searcher, &fields)?;
            let scorer = Scorer::new(&searcher, classes, allowed, &fields);
            let question = Question {
                terms: rarest(question.terms, |term| scorer.frequency(lexical.fields.text, term))?,
                ..question
            };
            scorer.best(&question, lexical.fields.text, limit.max(1))
        })
    }

    /// Permitted passages by what is typed of a title or heading, the shortest ones first.
    pub(crate) fn titled(
        &self,
        typed: &Typed,
        limit: usize,
        allowed: &AudienceSet,
    ) -> Result<Vec<u64>, StoreError> {
        self.guarded("look up titles", |lexical| {
            let (searcher, fields) = (lexical.searcher(), lexical.scored());
            let classes = lexical.classes.of(&searcher, &fields)?;
            let scorer = Scorer::new(&searcher, classes, allowed, &fields);
            scorer.titled(&[lexical.fields.title, lexical.fields.headings], typed, limit)
        })
    }

    /// Runs `query`; a damaged index may make the library panic, which is an error here like any other.
    fn guarded<T>(
        &self,
        doing: &'static str,
        query: impl FnOnce(&Self) -> tantivy::Result<T>,
    ) -> Result<T, StoreError> {
        let result = catch_unwind(AssertUnwindSafe(|| query(self)))
            .unwrap_or_else(|_| Err(TantivyError::InternalError("the index is damaged".to_owned())));
        result.map_err(|error| StoreError::index(doing, &self.dir, error))
    }
}

impl Fields {
    /// Any of the words must stand in the passage, its title or its headings; those around it only add to it.
    fn scored(&self, with_morphemes: bool) -> Vec<Scored> {
        let words = |field, boost, is_own| Scored {
            field,
            boost,
            is_own,
            terms: Terms::Words,
        };
        let mut scored = vec![
            words(self.text, 1.0, true),
            words(self.title, TITLE_BOOST, true),
            words(self.headings, HEADING_BOOST, true),
            words(self.around, AROUND_BOOST, false),
            Scored {
                field: self.exact,
                boost: EXACT_BOOST,
                is_own: true,
                terms: Terms::Exact,
            },
        ];
        if let Some(morphemes) = self.morphemes.filter(|_| with_morphemes) {
            let fields = [
                (morphemes.text, 1.0),
                (morphemes.title, TITLE_BOOST),
                (morphemes.headings, HEADING_BOOST),
            ];
            scored.extend(fields.map(|(field, boost)| Scored {
                field,
                boost: boost * MORPHEME_BOOST,
                is_own: true,
                terms: Terms::Morphemes,
            }));
        }
        scored
    }
}

/// What folders of word indexes are called, with a number behind it from the second on.
const FOLDER: &str = "lexical";
/// Tantivy's commit record.
const MANIFEST: &str = "meta.json";

fn writer(index: &Index, fields: Fields, dir: &Path, analyser: &str) -> Result<LexicalWriter, StoreError> {
    let writer = index
        .writer_with_num_threads(1, WRITER_BYTES)
        .map_err(|error| StoreError::index("open for writing", dir, error))?;
    let committed = index.load_metas().ok().and_then(|metas| metas.payload);
    let seq = committed.as_deref().and_then(parse_payload).map(|(_, seq)| seq);
    Ok(LexicalWriter {
        dir: dir.to_owned(),
        writer,
        fields,
        analyser: analyser.to_owned(),
        seq: seq.unwrap_or(0),
    })
}

/// Adds everything in the catalog and commits.
fn fill(
    index: &Index,
    fields: Fields,
    dir: &Path,
    catalog: &Catalog,
    analysis: &Analysis,
) -> Result<(), StoreError> {
    let seq = catalog.index_seq()?;
    let mut writer = writer(index, fields, dir, analysis.name())?;
    for id in catalog.document_ids()? {
        writer.add_all(&catalog.passages_of(&id)?)?;
    }
    writer.commit(seq)?;
    writer.finish();
    Ok(())
}

impl LexicalWriter {
    /// Replaces a document's entries.
    pub(crate) fn replace(
        &mut self,
        document_id: &str,
        passages: &[StoredPassage],
    ) -> Result<(), StoreError> {
        self.writer
            .delete_term(Term::from_field_text(self.fields.document, document_id));
        self.add_all(passages)
    }

    /// Adds a document's passages, which come in order.
    fn add_all(&mut self, passages: &[StoredPassage]) -> Result<(), StoreError> {
        let mut article = Article::default();
        for (i, passage) in passages.iter().enumerate() {
            let around: Vec<&str> = around(i, passages.len(), |at| passages[at].page)
                .map(|at| passages[at].text.as_str())
                .collect();
            let headings: Vec<&str> = passage.headings.lines().collect();
            let exact = article.terms_of_passage(&headings, &passage.text);
            self.add(passage, &around.join("\n"), &exact)?;
        }
        Ok(())
    }

    fn add(&mut self, passage: &StoredPassage, around: &str, exact: &[String]) -> Result<(), StoreError> {
        let mut entry = TantivyDocument::default();
        entry.add_u64(self.fields.passage, passage.passage_id);
        entry.add_u64(self.fields.audience, u64::from(passage.audience));
        entry.add_text(self.fields.document, &passage.document_id);
        entry.add_text(self.fields.title, &passage.title);
        entry.add_text(self.fields.headings, &passage.headings);
        entry.add_text(self.fields.around, around);
        entry.add_text(self.fields.text, &passage.text);
        if let Some(morphemes) = self.fields.morphemes {
            entry.add_text(morphemes.title, &passage.title);
            entry.add_text(morphemes.headings, &passage.headings);
            entry.add_text(morphemes.text, &passage.text);
        }
        for term in exact {
            entry.add_text(self.fields.exact, term);
        }
        let added = self.writer.add_document(entry);
        added
            .map(drop)
            .map_err(|error| StoreError::index("add a passage", &self.dir, error))
    }

    /// Makes everything since the last commit durable and visible: the catalog's changes up to number `seq`.
    pub(crate) fn commit(&mut self, seq: i64) -> Result<(), StoreError> {
        self.seq = self.seq.max(seq);
        let committed = self.writer.prepare_commit().and_then(|mut prepared| {
            prepared.set_payload(&payload(&self.analyser, self.seq));
            prepared.commit()
        });
        committed
            .map(drop)
            .map_err(|error| StoreError::index("commit", &self.dir, error))
    }

    /// Lets merges that are under way end, so that segments do not pile up.
    pub(crate) fn finish(self) {
        if let Err(error) = self.writer.wait_merging_threads() {
            tracing::warn!(%error, "segments of the word index were not merged");
        }
    }
}

/// The passages whose text is looked at with that of passage `i` of `n`: itself and what stands right beside it on its
/// page.
pub(crate) fn around(
    i: usize,
    n: usize,
    page_of: impl Fn(usize) -> Option<u32>,
) -> impl Iterator<Item = usize> {
    let page = page_of(i);
    (i.saturating_sub(1)..n.min(i + 2)).filter(move |&at| page_of(at) == page)
}

pub(crate) fn remove_if_there(dir: &Path) -> Result<(), StoreError> {
    if fs::symlink_metadata(dir).is_ok() {
        fs::remove_dir_all(dir).map_err(StoreError::file)?;
    }
    Ok(())
}

fn check_files(index: &Index) -> Result<(), String> {
    let damaged = index.validate_checksum().map_err(|error| error.to_string())?;
    if !damaged.is_empty() {
        return Err(format!("{} of its files are damaged", damaged.len()));
    }
    for segment in index.searchable_segments().map_err(|error| error.to_string())? {
        let meta = segment.meta();
        let reader = tantivy::SegmentReader::open(&segment).map_err(|error| error.to_string())?;
        let alive = reader
            .alive_bitset()
            .map_or(reader.max_doc(), |alive| alive.num_alive_docs() as u32);
        let ids = reader
            .fast_fields()
            .u64("passage")
            .map_err(|error| error.to_string())?;
        if ids.num_docs() != meta.max_doc() || alive != meta.num_docs() {
            return Err("its list of files does not fit them".to_owned());
        }
    }
    Ok(())
}

fn folder_bytes(dir: &Path) -> u64 {
    let entries = fs::read_dir(dir).unwrap_or_default();
    entries
        .iter()
        .filter_map(|path| fs::metadata(path).ok())
        .map(|file| file.len())
        .sum()
}
