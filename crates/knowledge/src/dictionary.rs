//! A dictionary in MeCab's format, such as mecab-ko-dic: which words a sentence is made of, and what part of speech each
//! of them is.
//!
//! A reader of our own, held to what MeCab makes of the same files. A dictionary comes from elsewhere, so nothing in it is
//! believed: a file that is damaged or made to do harm is refused by its name, or read as words that make no sense, and
//! never costs more than its own size. The files are read into memory: whoever replaces them does not change what answers.
//!
//! Which of the words become terms of the index is decided in `content` and by the analysis.

pub(crate) mod content;
mod costs;
mod entries;
mod kinds;
mod lattice;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::{Path, PathBuf};

use stdx::fs::{self, FsError};
use stdx::hash::sha256_hex;
use thiserror::Error;

use costs::{Costs, Manner};
use entries::{Entries, Token, Use};
use kinds::{Kind, Kinds};
use lattice::Lattice;

/// A file of a dictionary that is longer is not one.
const FILE_BYTES_MAX: u64 = 1 << 30;
/// A longer line is read in parts.
const SENTENCE_BYTES_MAX: usize = 4_096;
/// Where packages have the files, below their own folder.
const PACKAGED_IN: &str = "dictionary";

/// One of the files that make a dictionary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DictionaryFile {
    /// `sys.dic`: the words.
    Words,
    /// `unk.dic`: what unknown words may be.
    Unknown,
    /// `char.bin`: kinds of characters.
    Characters,
    /// `matrix.bin`: what it costs that words stand side by side.
    Costs,
    /// `dicrc`: how all that is to be used.
    Manner,
}

impl DictionaryFile {
    /// All of them, in the order of [`DictionaryFiles`].
    pub const ALL: [Self; 5] = [
        Self::Words,
        Self::Unknown,
        Self::Characters,
        Self::Costs,
        Self::Manner,
    ];

    /// The file's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Words => "sys.dic",
            Self::Unknown => "unk.dic",
            Self::Characters => "char.bin",
            Self::Costs => "matrix.bin",
            Self::Manner => "dicrc",
        }
    }
}

/// The contents of a dictionary's files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DictionaryFiles {
    /// `sys.dic`.
    pub words: Vec<u8>,
    /// `unk.dic`.
    pub unknown: Vec<u8>,
    /// `char.bin`.
    pub characters: Vec<u8>,
    /// `matrix.bin`.
    pub costs: Vec<u8>,
    /// `dicrc`.
    pub manner: Vec<u8>,
}

/// Why a file cannot be used.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("{}: {what}", file.name())]
pub struct Fault {
    /// The file.
    pub file: DictionaryFile,
    /// What is wrong with it.
    pub what: String,
}

fn bad(file: DictionaryFile, what: impl Into<String>) -> Fault {
    Fault {
        file,
        what: what.into(),
    }
}

/// Why a folder cannot be used as a dictionary.
#[derive(Debug, Error)]
pub enum DictionaryError {
    /// A file is not there or cannot be read.
    #[error(
        "`{}` holds no dictionary in MeCab's format (sys.dic, unk.dic, char.bin, matrix.bin and dicrc, as in the package \
         python-mecab-ko-dic)",
        folder.display()
    )]
    File {
        /// The folder.
        folder: PathBuf,
        /// The file system's reason.
        source: FsError,
    },
    /// A file is not what it should be.
    #[error("the dictionary in `{}` cannot be used", folder.display())]
    Bad {
        /// The folder.
        folder: PathBuf,
        /// The file and what is wrong with it.
        source: Fault,
    },
}

/// A word as it stands in a sentence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Morpheme<'a> {
    /// Where it begins, in bytes.
    pub start: usize,
    /// Where it ends.
    pub end: usize,
    /// What the dictionary says of it, separated by commas; the part of speech comes first.
    pub features: &'a str,
    /// Whether the dictionary has it.
    pub is_known: bool,
}

/// A dictionary, ready to be asked.
pub struct Dictionary {
    sha256: String,
    known: Entries,
    unknown: Entries,
    /// What unknown words of each kind of characters may be.
    of_kinds: Vec<Vec<Token>>,
    kinds: Kinds,
    space: Kind,
    costs: Costs,
    manner: Manner,
}

impl fmt::Debug for Dictionary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dictionary")
            .field("sha256", &self.sha256)
            .finish_non_exhaustive()
    }
}

impl Dictionary {
    /// Reads the dictionary in a folder, or in the folder `dictionary` below it, where packages have it.
    ///
    /// # Errors
    /// [`DictionaryError`] names the file that is missing or that cannot be used.
    pub fn open(folder: &Path) -> Result<Self, DictionaryError> {
        let below = folder.join(PACKAGED_IN);
        let has_words = |folder: &Path| fs::metadata(folder.join(DictionaryFile::Words.name())).is_ok();
        let folder = if !has_words(folder) && has_words(&below) {
            below
        } else {
            folder.to_owned()
        };
        let mut contents = Vec::with_capacity(DictionaryFile::ALL.len());
        for file in DictionaryFile::ALL {
            contents.push(read(&folder, file)?);
        }
        let mut contents = contents.into_iter();
        let mut next = || contents.next().unwrap_or_default();
        let files = DictionaryFiles {
            words: next(),
            unknown: next(),
            characters: next(),
            costs: next(),
            manner: next(),
        };
        Self::from_files(files).map_err(|source| DictionaryError::Bad { folder, source })
    }

    /// The dictionary that these files make.
    ///
    /// # Errors
    /// [`Fault`] for a file that is not what it should be, or does not fit the others.
    pub fn from_files(files: DictionaryFiles) -> Result<Self, Fault> {
        let sha256 = identity(&files);
        let known = Entries::parse(DictionaryFile::Words, files.words, Use::Known)?;
        let unknown = Entries::parse(DictionaryFile::Unknown, files.unknown, Use::Unknown)?;
        let kinds = Kinds::parse(files.characters)?;
        let costs = Costs::parse(files.costs)?;
        let manner = Manner::parse(&files.manner)?;
        for (file, entries) in [
            (DictionaryFile::Words, &known),
            (DictionaryFile::Unknown, &unknown),
        ] {
            if entries.classes != costs.classes {
                return Err(bad(file, "its classes of words are not those of matrix.bin"));
            }
        }
        let mut of_kinds = Vec::with_capacity(kinds.names().len());
        for name in kinds.names() {
            let name_shown = || String::from_utf8_lossy(name).into_owned();
            let tokens = unknown.exactly(name).ok_or_else(|| {
                let what = format!("it does not know the kind `{}` of char.bin", name_shown());
                bad(DictionaryFile::Unknown, what)
            })?;
            of_kinds.push(tokens);
        }
        Ok(Self {
            sha256,
            known,
            unknown,
            of_kinds,
            space: kinds.of(' '),
            kinds,
            costs,
            manner,
        })
    }

    /// What tells it from any other: a SHA-256 over those of its files.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// The words of a sentence. One without end is not read as one: see [`sentences`].
    pub fn morphemes<'a>(&'a self, sentence: &'a str) -> Vec<Morpheme<'a>> {
        Lattice::read(self, sentence)
    }
}

/// What is read as one: each line, a very long one in parts, between words if there are any.
pub fn sentences(text: &str) -> impl Iterator<Item = &str> {
    text.lines().flat_map(|line| {
        let mut rest = line;
        std::iter::from_fn(move || {
            let cut = rest.len().min(SENTENCE_BYTES_MAX);
            let end = if cut == rest.len() {
                cut
            } else {
                let whole = rest.floor_char_boundary(cut);
                rest[..whole].rfind(' ').filter(|&at| at > 0).unwrap_or(whole)
            };
            let (sentence, behind) = rest.split_at(end);
            rest = behind;
            (!sentence.is_empty()).then_some(sentence)
        })
    })
}

fn identity(files: &DictionaryFiles) -> String {
    let contents = [
        &files.words,
        &files.unknown,
        &files.characters,
        &files.costs,
        &files.manner,
    ];
    let lines: Vec<String> = DictionaryFile::ALL
        .iter()
        .zip(contents)
        .map(|(file, bytes)| format!("{} {}\n", file.name(), sha256_hex(bytes)))
        .collect();
    sha256_hex(lines.concat().as_bytes())
}

fn read(folder: &Path, file: DictionaryFile) -> Result<Vec<u8>, DictionaryError> {
    let fail = |source| DictionaryError::File {
        folder: folder.to_owned(),
        source,
    };
    let path = folder.join(file.name());
    let length = fs::metadata(&path).map_err(fail)?.len();
    if length > FILE_BYTES_MAX {
        let what = format!("it has {length} bytes, and no dictionary has more than {FILE_BYTES_MAX}");
        return Err(DictionaryError::Bad {
            folder: folder.to_owned(),
            source: bad(file, what),
        });
    }
    fs::read(&path).map_err(fail)
}
