//! Dictionaries made here, so that every word of them is known: what is read of a sentence, what is refused by name, and
//! that no damage does harm.

use proptest::prelude::*;
use proptest::sample::Index as Pick;
use stdx::clock::Stopwatch;
use testkit::mecab::{HEADER, MAGIC, Mecab, Word, word};

use super::*;

fn files(mecab: &Mecab) -> DictionaryFiles {
    let [words, unknown, characters, costs, manner] = mecab.files().map(|(_, bytes)| bytes);
    DictionaryFiles {
        words,
        unknown,
        characters,
        costs,
        manner,
    }
}

fn dictionary(mecab: &Mecab) -> Dictionary {
    Dictionary::from_files(files(mecab)).unwrap()
}

/// Words with their parts of speech.
fn read(mecab: &Mecab, sentence: &str) -> Vec<(String, String)> {
    let dictionary = dictionary(mecab);
    let morphemes = dictionary.morphemes(sentence);
    let shown = morphemes.iter().map(|m| {
        let tag = m.features.split(',').next().unwrap();
        (sentence[m.start..m.end].to_owned(), tag.to_owned())
    });
    shown.collect()
}

fn shown(mecab: &Mecab, sentence: &str) -> String {
    let words: Vec<String> = read(mecab, sentence)
        .into_iter()
        .map(|(word, tag)| format!("{word}/{tag}"))
        .collect();
    words.join(" ")
}

#[test]
fn a_sentence_is_read_as_its_cheapest_words() {
    let korean = Mecab::korean();
    let cases = [
        ("계약을 해지", "계약/NNG 을/JX 해지/NNG"),
        ("계약서의 보증", "계약서/NNG 의/JX 보증/NNG"),
        ("  계약  ", "계약/NNG"),
        ("서버에 갔다", "서버/NNG 에/JX 갔다/VV+EP+EF"),
        // Unknown ones by their kind of characters.
        ("abc 계약 2024", "abc/SL 계약/NNG 2024/SN"),
        ("꽥꽥", "꽥꽥/UNKNOWN"),
        ("계약!?", "계약/NNG !/SY ?/SY"),
        ("\u{1F3E0}\u{FFFF}", "\u{1F3E0}/SY \u{FFFF}/SY"),
        ("", ""),
        (" \t ", ""),
    ];
    for (sentence, expected) in cases {
        assert_eq!(shown(&korean, sentence), expected, "{sentence:?}");
    }
}

#[test]
fn a_space_before_a_particle_costs_what_the_dictionary_says() {
    let mut mecab = Mecab::korean();
    mecab.words.push(word("이", 2_000, "NNG,*,F,이,*,*,*,*"));
    assert_eq!(shown(&mecab, "물이"), "물/NNG 이/JX");
    assert_eq!(shown(&mecab, "물 이"), "물/NNG 이/NNG");
    mecab.manner.clear();
    assert_eq!(shown(&mecab, "물 이"), "물/NNG 이/JX");
}

#[test]
fn a_run_that_is_too_long_is_no_word() {
    let mut mecab = Mecab::korean();
    mecab.manner = "max-grouping-size = 3\n".to_owned();
    assert_eq!(shown(&mecab, "abcd"), "abcd/SL");
    assert_eq!(shown(&mecab, "abcde"), "a/SL bcde/SL");
}

#[test]
fn content_is_nouns_and_stems_in_their_parts() {
    let of = |surface, features| {
        let mut found = Vec::new();
        content::each(surface, features, |word| found.push(word.to_owned()));
        found
    };
    assert_eq!(of("계약", "NNG,*,T,계약,*,*,*,*"), ["계약"]);
    assert!(of("을", "JKO,*,T,을,*,*,*,*").is_empty());
    assert!(of(".", "SF,*,*,*,*,*,*,*").is_empty());
    assert_eq!(
        of("계약서", "NNG,*,F,계약서,Compound,*,*,계약/NNG/*+서/NNG/*"),
        ["계약", "서"]
    );
    assert_eq!(
        of("갔다", "VV+EP+EF,*,F,갔다,Inflect,VV,EF,가/VV/*+았/EP/*+다/EF/*"),
        ["가"]
    );
    assert!(of("lte", "SL,*,*,*,*,*,*,*").is_empty());
    assert_eq!(of("約", "SH,*,F,약,*,*,*,*"), ["約"]);
    assert_eq!(of("꽥", "UNKNOWN,*,*,*,*,*,*,*"), ["꽥"]);
    // Features that are none.
    for broken in ["", ",", "NNG", "NNG,,,,Compound,,,///+/NNG", "Inflect"] {
        assert!(of("x", broken).len() <= 1, "{broken}");
    }
}

#[test]
fn a_text_is_read_line_by_line_and_long_lines_in_parts() {
    assert_eq!(sentences("a b\n\nc\r\n").collect::<Vec<_>>(), ["a b", "c"]);
    for long in ["가".repeat(5_000), "가나 ".repeat(3_000), " ".repeat(9_000)] {
        let parts: Vec<&str> = sentences(&long).collect();
        assert_eq!(parts.concat(), long);
        assert!(
            parts
                .iter()
                .all(|part| part.len() <= SENTENCE_BYTES_MAX && !part.is_empty())
        );
    }
}

#[test]
fn a_folder_is_opened_where_packages_have_it_and_named_where_it_is_none() {
    let folder = tempfile::tempdir().unwrap();
    let below = folder.path().join(PACKAGED_IN);
    let error = Dictionary::open(folder.path()).unwrap_err();
    assert!(error.to_string().contains("python-mecab-ko-dic"), "{error}");
    Mecab::korean().write(&below).unwrap();
    let packaged = Dictionary::open(folder.path()).unwrap();
    let itself = Dictionary::open(&below).unwrap();
    assert_eq!(packaged.sha256(), itself.sha256());
    fs::write(below.join("dicrc"), "").unwrap();
    assert_ne!(Dictionary::open(&below).unwrap().sha256(), itself.sha256());
    fs::write(below.join("unk.dic"), "").unwrap();
    let error = Dictionary::open(&below).unwrap_err();
    let DictionaryError::Bad { source, .. } = &error else {
        panic!("{error}");
    };
    assert_eq!(source.file, DictionaryFile::Unknown);
    fs::remove_file(below.join("matrix.bin")).unwrap();
    assert!(matches!(
        Dictionary::open(&below).unwrap_err(),
        DictionaryError::File { .. }
    ));
}

/// Writes a number into a header.
fn put(bytes: &mut [u8], at: usize, number: u32) {
    bytes[at * 4..at * 4 + 4].copy_from_slice(&number.to_le_bytes());
}

#[test]
fn what_cannot_be_used_is_refused_by_name() {
    type Harm = fn(&mut DictionaryFiles);
    let harms: [(Harm, DictionaryFile, &str); 14] = [
        (|f| f.words.truncate(40), DictionaryFile::Words, "header"),
        (|f| f.words.push(0), DictionaryFile::Words, "not whole"),
        (
            |f| put(&mut f.words, 1, 99),
            DictionaryFile::Words,
            "layout is 99",
        ),
        (|f| put(&mut f.words, 2, 2), DictionaryFile::Words, "another use"),
        (
            |f| put(&mut f.words, 6, u32::MAX),
            DictionaryFile::Words,
            "do not fit its length",
        ),
        (
            |f| put(&mut f.words, 4, 70_000),
            DictionaryFile::Words,
            "too many classes",
        ),
        (
            |f| f.words[40..45].copy_from_slice(b"EUCKR"),
            DictionaryFile::Words,
            "`EUCKR`",
        ),
        (
            |f| *f.words.last_mut().unwrap() = b'x',
            DictionaryFile::Words,
            "do not end",
        ),
        (
            |f| {
                let n = f.words.len();
                f.words[n - 3] = 0xff;
            },
            DictionaryFile::Words,
            "UTF-8",
        ),
        (|f| put(&mut f.unknown, 4, 2), DictionaryFile::Unknown, "class"),
        (
            |f| f.characters.truncate(99),
            DictionaryFile::Characters,
            "length",
        ),
        (|f| f.costs.truncate(6), DictionaryFile::Costs, "length"),
        (|f| f.costs = vec![0; 4], DictionaryFile::Costs, "no classes"),
        (
            |f| f.manner = b"left-space-penalty-factor = 1,2,3".to_vec(),
            DictionaryFile::Manner,
            "left-space-penalty-factor",
        ),
    ];
    for (harm, file, said) in harms {
        let mut files = files(&Mecab::korean());
        harm(&mut files);
        let fault = Dictionary::from_files(files).unwrap_err();
        assert_eq!(fault.file, file, "{fault}");
        assert!(fault.to_string().contains(said), "{fault}");
    }
    let mut mecab = Mecab::korean();
    mecab.unknown.remove(2);
    let fault = Dictionary::from_files(files(&mecab)).unwrap_err();
    assert!(fault.to_string().contains("`HANGUL`"), "{fault}");
    let mut mecab = Mecab::korean();
    mecab.words[0].right = 3;
    assert!(Dictionary::from_files(files(&mecab)).is_err());
}

#[test]
fn a_dictionary_that_demands_too_much_is_not_waited_for() {
    let mut mecab = Mecab::korean();
    mecab.words = (1..=60)
        .flat_map(|n| std::iter::repeat_n(word(&"가".repeat(n), 1, "NNG"), 200))
        .collect();
    let dictionary = dictionary(&mecab);
    let watch = Stopwatch::start();
    assert!(dictionary.morphemes(&"가".repeat(1_300)).is_empty());
    assert!(watch.s() < 20.0, "{}", watch.s());
}

/// Words over three letters with random classes and costs; what is said of each is its number.
fn random_dictionary() -> impl Strategy<Value = Mecab> {
    let words = prop::collection::vec(
        ("[가나다]{1,3}", 0_u16..3, 0_u16..3, 1_u16..4, -300_i16..300),
        1..14,
    );
    let costs = prop::collection::vec(-400_i16..400, 9);
    (words, costs, 0_u32..3, any::<bool>()).prop_map(|(words, costs, length, always)| {
        let mut mecab = Mecab::korean();
        mecab.words = words
            .into_iter()
            .enumerate()
            .map(|(i, (surface, left, right, part, cost))| Word {
                surface,
                left,
                right,
                part,
                cost,
                features: i.to_string(),
            })
            .collect();
        mecab.costs = costs;
        mecab.kinds[2].length = length;
        mecab.kinds[2].groups = false;
        mecab.kinds[2].always = always;
        for (i, unknown) in mecab.unknown.iter_mut().enumerate() {
            unknown.features = (1_000 + i).to_string();
        }
        mecab
    })
}

/// All ways to read the rest of a sentence behind a word of this class, and the cheapest of their costs.
fn cheapest(mecab: &Mecab, rest: &[char], class: u16) -> Option<i64> {
    let seam = |left: u16, right: u16| i64::from(mecab.costs[usize::from(left + 3 * right)]);
    let n_spaces = rest.iter().take_while(|c| **c == ' ').count();
    let rest_of_word = &rest[n_spaces..];
    if rest_of_word.is_empty() {
        return Some(seam(class, 0));
    }
    let text: String = rest_of_word.iter().collect();
    let mut candidates: Vec<(&Word, usize)> = Vec::new();
    for word in &mecab.words {
        if text.starts_with(&word.surface) {
            candidates.push((word, word.surface.chars().count()));
        }
    }
    let kind = &mecab.kinds[2];
    if candidates.is_empty() || kind.always {
        let n_alike = rest_of_word.iter().take_while(|c| **c != ' ').count();
        for n in 1..=n_alike.min(kind.length as usize) {
            candidates.push((&mecab.unknown[2], n));
        }
        if candidates.is_empty() {
            candidates.push((&mecab.unknown[2], 1));
        }
    }
    let ways = candidates.into_iter().filter_map(|(word, n)| {
        let spaced = if n_spaces > 0 && word.part == 2 { 3_000 } else { 0 };
        let behind = cheapest(mecab, &rest_of_word[n..], word.right)?;
        Some(seam(class, word.left) + i64::from(word.cost) + spaced + behind)
    });
    ways.min()
}

/// What the words that were read cost.
fn cost(mecab: &Mecab, sentence: &str) -> i64 {
    let dictionary = dictionary(mecab);
    let seam = |left: u16, right: u16| i64::from(mecab.costs[usize::from(left + 3 * right)]);
    let (mut class, mut sum, mut end) = (0, 0, 0);
    for morpheme in dictionary.morphemes(sentence) {
        let number: usize = morpheme.features.parse().unwrap();
        let word = mecab
            .words
            .get(number)
            .unwrap_or_else(|| &mecab.unknown[number - 1_000]);
        let spaced = if morpheme.start > end && word.part == 2 {
            3_000
        } else {
            0
        };
        assert!(sentence[end..morpheme.start].trim().is_empty());
        sum += seam(class, word.left) + i64::from(word.cost) + spaced;
        (class, end) = (word.right, morpheme.end);
    }
    assert!(sentence[end..].trim().is_empty());
    sum + seam(class, 0)
}

/// What a reader does with any dictionary.
fn survive(files: DictionaryFiles) {
    let Ok(dictionary) = Dictionary::from_files(files) else {
        return;
    };
    for text in [
        "계약서를 해지하였다 abc 12",
        "위약금은 위약금",
        "가나다 \u{1F3E0}\u{0}",
        " ",
    ] {
        let mut end = 0;
        for morpheme in dictionary.morphemes(text) {
            assert!(morpheme.start >= end && morpheme.end > morpheme.start);
            end = morpheme.end;
            content::each(&text[morpheme.start..morpheme.end], morpheme.features, |_| {});
        }
    }
}

fn file(files: &mut DictionaryFiles, number: usize) -> &mut Vec<u8> {
    match number {
        0 => &mut files.words,
        1 => &mut files.unknown,
        2 => &mut files.characters,
        3 => &mut files.costs,
        _ => &mut files.manner,
    }
}

proptest! {
    #[test]
    fn the_words_that_are_read_are_the_cheapest_ones(mecab in random_dictionary(), sentence in "[가나다 ]{1,9}") {
        let chars: Vec<char> = sentence.chars().collect();
        prop_assert_eq!(Some(cost(&mecab, &sentence)), cheapest(&mecab, &chars, 0));
    }

    #[test]
    fn damage_never_does_harm(
        number in 0_usize..5,
        harms in prop::collection::vec((any::<Pick>(), any::<u8>(), 0_u8..4), 1..6),
    ) {
        let mut files = files(&Mecab::korean());
        let bytes = file(&mut files, number);
        for (at, byte, how) in harms {
            let at = at.index(bytes.len().max(1)).min(bytes.len());
            match how {
                _ if at == bytes.len() => bytes.push(byte),
                0 => bytes.truncate(at),
                1 => bytes.insert(at, byte),
                2 => bytes[at] ^= 1 << (byte % 8),
                _ => bytes[at] = byte,
            }
        }
        // With its length made right, what is behind the first check is reached.
        if number < 2 && bytes.len() >= 4 {
            let length = bytes.len() as u32;
            put(bytes, 0, MAGIC ^ length);
        }
        survive(files);
    }

    #[test]
    fn a_trie_of_anything_does_no_harm(units in prop::collection::vec((any::<u8>(), -40_i32..600), 1..200)) {
        let mut files = files(&Mecab::korean());
        for (at, number) in units {
            let at = HEADER / 4 + usize::from(at);
            if (at + 1) * 4 < files.words.len() {
                put(&mut files.words, at, number.cast_unsigned());
            }
        }
        survive(files);
    }
}
