//! Small dictionaries in MeCab's format, made here so that tests know every word of them.
//!
//! Only the writing half: what a dictionary means is the reader's business, in `knowledge`.

use std::collections::BTreeMap;
use std::path::Path;

use stdx::fs::{self, FsError};

/// "MeCab" tables of words begin with their own length, mixed with this.
pub const MAGIC: u32 = 0xef71_8f77;
/// Bytes of a table of words before its trie.
pub const HEADER: usize = 72;
/// Characters that have a kind of their own.
const N_CHARS: usize = 0xffff;

/// What a spelling may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    /// How it is written; of unknown words the kind of characters.
    pub surface: String,
    /// Its class for what stands before it.
    pub left: u16,
    /// Its class for what comes after it.
    pub right: u16,
    /// The number of its part of speech.
    pub part: u16,
    /// What it costs by itself.
    pub cost: i16,
    /// What is said of it, separated by commas.
    pub features: String,
}

/// Characters that belong together in words that are not known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CharKind {
    /// Its name.
    pub name: &'static str,
    /// Up to how many of them may be a word; at most 15.
    pub length: u32,
    /// Whether a run of them may be a word.
    pub groups: bool,
    /// Whether unknown words are thought of even where there are known ones.
    pub always: bool,
    /// Which characters are of it, from and to. All others are of the first kind.
    pub chars: Vec<(char, char)>,
}

/// A dictionary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mecab {
    /// Its words.
    pub words: Vec<Word>,
    /// What unknown words may be.
    pub unknown: Vec<Word>,
    /// The kinds of characters; the second is white space.
    pub kinds: Vec<CharKind>,
    /// Classes of words to the left and to the right of a seam.
    pub classes: (u16, u16),
    /// What seams cost: by the class to the right, then the one to the left.
    pub costs: Vec<i16>,
    /// `dicrc`.
    pub manner: String,
}

/// A word of class 1 on both sides.
pub fn word(surface: &str, cost: i16, features: &str) -> Word {
    Word {
        surface: surface.to_owned(),
        left: 1,
        right: 1,
        part: 1,
        cost,
        features: features.to_owned(),
    }
}

impl Mecab {
    /// Some Korean words with particles, a verb in two forms and a compound. Particles have a class and a part of speech of
    /// their own, and a space before one costs.
    pub fn korean() -> Self {
        let noun = |surface: &str| word(surface, 100, &format!("NNG,*,T,{surface},*,*,*,*"));
        let particle = |surface: &str| Word {
            left: 2,
            right: 2,
            part: 2,
            ..word(surface, 50, &format!("JX,*,T,{surface},*,*,*,*"))
        };
        let mut words: Vec<Word> = [
            "계약",
            "해지",
            "위약금",
            "휴가",
            "급여",
            "보안",
            "서버",
            "보증",
            "임대",
            "위약",
            "물",
        ]
        .map(noun)
        .into();
        words.extend(["은", "는", "이", "가", "을", "를", "의", "에"].map(particle));
        words.push(word(
            "계약서",
            150,
            "NNG,*,F,계약서,Compound,*,*,계약/NNG/*+서/NNG/*",
        ));
        words.push(word(
            "갔다",
            120,
            "VV+EP+EF,*,F,갔다,Inflect,VV,EF,가/VV/*+았/EP/*+다/EF/*",
        ));
        words.push(word(
            "가서",
            120,
            "VV+EC,*,F,가서,Inflect,VV,EC,가/VV/*+아서/EC/*",
        ));
        let unknown = |kind: &str, tag: &str| word(kind, 4_000, &format!("{tag},*,*,*,*,*,*,*"));
        Self {
            words,
            unknown: vec![
                unknown("DEFAULT", "SY"),
                unknown("SPACE", "SP"),
                unknown("HANGUL", "UNKNOWN"),
                unknown("ALPHA", "SL"),
                unknown("NUMERIC", "SN"),
            ],
            kinds: kinds(),
            classes: (3, 3),
            // A particle behind a word is cheap, a word behind a word is not, a particle behind a particle is dear.
            costs: vec![0, 0, 0, 0, 300, 100, 900, -200, 800],
            manner: "; made for tests\ncost-factor = 800\nleft-space-penalty-factor = 2,3000\n".to_owned(),
        }
    }

    /// Its files by name, in the order `sys.dic`, `unk.dic`, `char.bin`, `matrix.bin`, `dicrc`.
    pub fn files(&self) -> [(&'static str, Vec<u8>); 5] {
        [
            ("sys.dic", self.table(&self.words, 0)),
            ("unk.dic", self.table(&self.unknown, 2)),
            ("char.bin", self.characters()),
            ("matrix.bin", self.matrix()),
            ("dicrc", self.manner.clone().into_bytes()),
        ]
    }

    /// Writes its files into a folder, which is made.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn write(&self, folder: &Path) -> Result<(), FsError> {
        fs::create_dir_all(folder)?;
        for (name, bytes) in self.files() {
            fs::write(folder.join(name), bytes)?;
        }
        Ok(())
    }

    fn table(&self, words: &[Word], kind: u32) -> Vec<u8> {
        let mut by_surface: BTreeMap<&[u8], Vec<&Word>> = BTreeMap::new();
        for word in words {
            by_surface.entry(word.surface.as_bytes()).or_default().push(word);
        }
        let (mut tokens, mut features) = (Vec::new(), Vec::new());
        let mut values = Vec::with_capacity(by_surface.len());
        for (surface, words) in &by_surface {
            let first = tokens.len() / 16;
            for word in words {
                for number in [word.left, word.right, word.part] {
                    tokens.extend(number.to_le_bytes());
                }
                tokens.extend(word.cost.to_le_bytes());
                tokens.extend((features.len() as u32).to_le_bytes());
                tokens.extend(0_u32.to_le_bytes());
                features.extend(word.features.as_bytes());
                features.push(0);
            }
            values.push((surface.to_vec(), (first << 8 | words.len()) as u32));
        }
        let trie = Trie::of(&values);
        let length = HEADER + trie.len() + tokens.len() + features.len();
        let header = [
            MAGIC ^ length as u32,
            102,
            kind,
            words.len() as u32,
            u32::from(self.classes.0),
            u32::from(self.classes.1),
            trie.len() as u32,
            tokens.len() as u32,
            features.len() as u32,
            0,
        ];
        let mut bytes: Vec<u8> = header.iter().flat_map(|number| number.to_le_bytes()).collect();
        bytes.extend(b"UTF-8");
        bytes.resize(HEADER, 0);
        [bytes, trie, tokens, features].concat()
    }

    fn characters(&self) -> Vec<u8> {
        let mut bytes = (self.kinds.len() as u32).to_le_bytes().to_vec();
        for kind in &self.kinds {
            let mut name = kind.name.as_bytes().to_vec();
            name.resize(32, 0);
            bytes.extend(name);
        }
        let bits = |number: usize| {
            let kind = &self.kinds[number];
            1_u32 << number
                | (number as u32) << 18
                | kind.length << 26
                | u32::from(kind.groups) << 30
                | u32::from(kind.always) << 31
        };
        let mut of_chars = vec![bits(0); N_CHARS];
        for (number, kind) in self.kinds.iter().enumerate() {
            for (from, to) in &kind.chars {
                of_chars[*from as usize..=*to as usize].fill(bits(number));
            }
        }
        bytes.extend(of_chars.iter().flat_map(|kind| kind.to_le_bytes()));
        bytes
    }

    fn matrix(&self) -> Vec<u8> {
        let mut bytes = self.classes.0.to_le_bytes().to_vec();
        bytes.extend(self.classes.1.to_le_bytes());
        bytes.extend(self.costs.iter().flat_map(|cost| cost.to_le_bytes()));
        bytes
    }
}

fn kinds() -> Vec<CharKind> {
    let kind = |name, length, groups, always, chars: &[(char, char)]| CharKind {
        name,
        length,
        groups,
        always,
        chars: chars.to_vec(),
    };
    vec![
        kind("DEFAULT", 1, false, false, &[]),
        kind("SPACE", 0, true, false, &[(' ', ' '), ('\t', '\t')]),
        kind("HANGUL", 2, true, false, &[('가', '힣')]),
        kind("ALPHA", 0, true, true, &[('A', 'Z'), ('a', 'z')]),
        kind("NUMERIC", 0, true, true, &[('0', '9')]),
    ]
}

/// A double array: a unit's children lie behind the base that it states, and state that base themselves.
struct Trie {
    units: Vec<(i32, u32)>,
    used: Vec<bool>,
}

impl Trie {
    /// The bytes of a trie with these values; keys in order, none twice.
    fn of(values: &[(Vec<u8>, u32)]) -> Vec<u8> {
        let mut trie = Self {
            units: vec![(0, 0)],
            used: Vec::new(),
        };
        let base = if values.is_empty() {
            1
        } else {
            trie.place(values, 0)
        };
        trie.units[0].0 = base;
        // No unit is looked for behind the end.
        trie.units.resize(trie.units.len() + 257, (0, 0));
        let bytes = trie.units.iter().flat_map(|(base, check)| {
            let base = base.to_le_bytes();
            base.into_iter().chain(check.to_le_bytes())
        });
        bytes.collect()
    }

    /// Places what stands behind the first `depth` bytes of these keys; returns the base.
    fn place(&mut self, values: &[(Vec<u8>, u32)], depth: usize) -> i32 {
        // Code 0 is the end of a key.
        let code = |key: &[u8]| key.get(depth).map_or(0, |byte| u32::from(*byte) + 1);
        let children: Vec<&[(Vec<u8>, u32)]> = values.chunk_by(|a, b| code(&a.0) == code(&b.0)).collect();
        let codes: Vec<u32> = children.iter().map(|some| code(&some[0].0)).collect();
        let base = (1_u32..)
            .find(|base| {
                let is_free = |code: &u32| {
                    let at = (base + code) as usize;
                    self.units.get(at).is_none_or(|unit| unit.1 == 0)
                };
                !self.used.get(*base as usize).is_some_and(|used| *used) && codes.iter().all(is_free)
            })
            .expect("there is always room behind");
        let end = (base + codes.iter().max().copied().unwrap_or(0)) as usize + 1;
        self.units.resize(self.units.len().max(end), (0, 0));
        self.used.resize(self.used.len().max(base as usize + 1), false);
        self.used[base as usize] = true;
        for code in &codes {
            self.units[(base + code) as usize].1 = base;
        }
        for (some, code) in children.into_iter().zip(&codes) {
            self.units[(base + code) as usize].0 = match code {
                0 => -(some[0].1 as i32) - 1,
                _ => self.place(some, depth + 1),
            };
        }
        base as i32
    }
}
