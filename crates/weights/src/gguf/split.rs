//! A model in several files: `NAME-00001-of-00005.gguf` and so on, each with the keys `split.no`, `split.count`
//! and `split.tensors.count`.
//!
//! The names are derived from the one given, so no path in a file is ever followed. Keys other than those three
//! are taken from the first part alone. Not here: splitting.

use std::path::Path;

use super::{Gguf, GgufError, MAX_PARTS, MAX_TENSORS, Metadata};

const NUMBER_KEY: &str = "split.no";
const COUNT_KEY: &str = "split.count";
const TENSORS_KEY: &str = "split.tensors.count";
/// Digits of a number in a name.
const DIGITS: usize = 5;

/// How many parts the model of this file has; 1 for a file on its own.
pub(super) fn count(metadata: &Metadata) -> Result<u64, GgufError> {
    Ok(metadata.opt_u64(COUNT_KEY)?.unwrap_or(1))
}

/// A name of the form `STEM-00002-of-00005.gguf`, taken apart.
struct PartName<'a> {
    stem: &'a str,
    count: u64,
}

impl<'a> PartName<'a> {
    fn parse(name: &'a str) -> Option<Self> {
        let rest = name.strip_suffix(".gguf")?;
        let (rest, count) = rest.rsplit_once("-of-")?;
        let (stem, number) = rest.rsplit_once('-')?;
        let digits = |text: &str| {
            let whole = text.len() == DIGITS && text.bytes().all(|byte| byte.is_ascii_digit());
            whole.then(|| text.parse::<u64>().ok()).flatten()
        };
        let (number, count) = (digits(number)?, digits(count)?);
        (1..=count).contains(&number).then_some(Self { stem, count })
    }

    fn file_name(&self, number: u64) -> String {
        format!("{}-{number:05}-of-{:05}.gguf", self.stem, self.count)
    }
}

/// Opens all parts of the set to which `given` belongs.
pub(super) fn open(given: &Path) -> Result<Gguf, GgufError> {
    let stated = count(Gguf::open_one(given)?.metadata())?;
    let name = given.file_name().and_then(|name| name.to_str());
    let name = name
        .and_then(PartName::parse)
        .ok_or_else(|| GgufError::PartName {
            path: given.to_owned(),
            count: stated,
        })?;
    if name.count > MAX_PARTS {
        return Err(GgufError::Limit {
            what: "the number of parts".to_owned(),
            offset: 0,
            found: name.count,
            limit: MAX_PARTS,
        });
    }
    let path = |number| given.with_file_name(name.file_name(number));
    // All of them before any is read: what is missing is the first thing to know.
    for number in 1..=name.count {
        if stdx::fs::metadata(path(number)).is_err() {
            return Err(GgufError::MissingPart {
                path: path(number),
                number,
                count: name.count,
            });
        }
    }
    let mut set = part(&path(1), 1, name.count)?;
    let n_tensors = set.metadata.u64(TENSORS_KEY)?;
    for number in 2..=name.count {
        let next = part(&path(number), number, name.count)?;
        let found = next.metadata.u64(TENSORS_KEY)?;
        agree(&path(number), "the number of all tensors", found, n_tensors)?;
        add(&mut set, next)?;
    }
    if set.tensors.len() as u64 != n_tensors {
        return Err(GgufError::PartTensors {
            count: name.count,
            found: set.tensors.len() as u64,
            expected: n_tensors,
        });
    }
    Ok(set)
}

/// One part, checked against its name.
fn part(path: &Path, number: u64, n_parts: u64) -> Result<Gguf, GgufError> {
    let file = Gguf::open_one(path).map_err(|source| GgufError::Part {
        path: path.to_owned(),
        source: Box::new(source),
    })?;
    agree(path, "the number of parts", count(&file.metadata)?, n_parts)?;
    // In files they are numbered from 0, in names from 1.
    let stated = file.metadata.u64(NUMBER_KEY)?.saturating_add(1);
    agree(path, "its own number", stated, number)?;
    Ok(file)
}

fn agree(path: &Path, what: &'static str, found: u64, expected: u64) -> Result<(), GgufError> {
    if found == expected {
        return Ok(());
    }
    Err(GgufError::PartMismatch {
        path: path.to_owned(),
        what,
        found,
        expected,
    })
}

/// Appends a part's tensors; its keys are dropped, so memory stays bounded by one head and the tensor tables.
fn add(set: &mut Gguf, next: Gguf) -> Result<(), GgufError> {
    let found = set.tensors.len().saturating_add(next.tensors.len()) as u64;
    if found > MAX_TENSORS {
        return Err(GgufError::Limit {
            what: "the number of tensors of all parts".to_owned(),
            offset: 0,
            found,
            limit: MAX_TENSORS,
        });
    }
    let part = set.readers.len();
    for mut info in next.tensors {
        info.part = part;
        if set.index.insert(info.name.clone(), set.tensors.len()).is_some() {
            return Err(GgufError::DuplicateTensor { tensor: info.name });
        }
        set.tensors.push(info);
    }
    set.readers.extend(next.readers);
    set.paths.extend(next.paths);
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::Source;
    use crate::gguf::{GgmlType, Writer};

    /// What a part says about the set.
    struct Says {
        number: u16,
        count: u16,
        n_tensors: i32,
    }

    fn bytes(says: &Says, tensors: &[&str]) -> Vec<u8> {
        let mut writer = Writer::new();
        writer
            .set(NUMBER_KEY, says.number)
            .set(COUNT_KEY, says.count)
            .set(TENSORS_KEY, says.n_tensors);
        if says.number == 0 {
            writer.set("general.architecture", "olmoe");
        }
        for name in tensors {
            writer.tensor(name, &[4], GgmlType::F32).unwrap();
        }
        let mut body = writer.begin(Vec::new()).unwrap();
        for name in tensors {
            body.write(&name.repeat(16).as_bytes()[..16]).unwrap();
        }
        body.finish().unwrap()
    }

    /// Three parts; the first has no tensors, as some writers make it.
    fn parts() -> [Vec<u8>; 3] {
        let says = |number| Says {
            number,
            count: 3,
            n_tensors: 3,
        };
        [
            bytes(&says(0), &[]),
            bytes(&says(1), &["a", "b"]),
            bytes(&says(2), &["c"]),
        ]
    }

    fn written(parts: &[Vec<u8>]) -> (tempfile::TempDir, Vec<PathBuf>) {
        let dir = tempfile::tempdir().unwrap();
        let paths: Vec<PathBuf> = (1..=parts.len())
            .map(|number| dir.path().join(format!("big-{number:05}-of-00003.gguf")))
            .collect();
        for (path, part) in paths.iter().zip(parts) {
            stdx::fs::write(path, part).unwrap();
        }
        (dir, paths)
    }

    fn refusal(parts: &[Vec<u8>]) -> GgufError {
        let (_dir, paths) = written(parts);
        Gguf::open(&paths[0]).unwrap_err()
    }

    #[test]
    fn any_part_opens_the_whole_set() {
        let (_dir, paths) = written(&parts());
        for path in &paths {
            let file = Gguf::open(path).unwrap();
            assert_eq!(Source::names(&file), ["a", "b", "c"]);
            assert_eq!(file.metadata().text("general.architecture").unwrap(), "olmoe");
            assert_eq!(file.paths(), paths);
            for name in ["a", "b", "c"] {
                let mut buffer = [0; 16];
                Source::read(&file, name, &mut buffer).unwrap();
                assert_eq!(buffer, *name.repeat(16).as_bytes());
                Source::read_part(&file, name, 12, &mut buffer[..4]).unwrap();
                assert!(Source::read_part(&file, name, 13, &mut buffer[..4]).is_err());
            }
        }
    }

    #[test]
    fn a_missing_part_is_named() {
        let (_dir, paths) = written(&parts());
        stdx::fs::remove_file(&paths[1]).unwrap();
        let error = Gguf::open(&paths[2]).unwrap_err();
        assert!(
            matches!(&error, GgufError::MissingPart { path, number: 2, count: 3 } if *path == paths[1]),
            "{error}"
        );
        assert!(error.to_string().contains("big-00002-of-00003.gguf"), "{error}");
    }

    #[test]
    fn a_part_with_another_number_is_refused() {
        let [first, second, third] = parts();
        let error = refusal(&[first, third, second]);
        assert!(
            matches!(
                error,
                GgufError::PartMismatch {
                    found: 3,
                    expected: 2,
                    ..
                }
            ),
            "{error}"
        );
    }

    #[test]
    fn parts_of_different_sets_are_refused() {
        let [first, second, _] = parts();
        let of = |count, n_tensors| {
            bytes(
                &Says {
                    number: 2,
                    count,
                    n_tensors,
                },
                &["c"],
            )
        };
        let error = refusal(&[first.clone(), second.clone(), of(4, 3)]);
        assert!(
            error.to_string().contains("the number of parts is 4 where 3"),
            "{error}"
        );
        let error = refusal(&[first, second, of(3, 5)]);
        assert!(error.to_string().contains("all tensors is 5 where 3"), "{error}");
    }

    #[test]
    fn a_tensor_in_two_parts_is_refused() {
        let [first, second, _] = parts();
        let third = Says {
            number: 2,
            count: 3,
            n_tensors: 3,
        };
        let error = refusal(&[first, second, bytes(&third, &["b"])]);
        assert!(
            matches!(&error, GgufError::DuplicateTensor { tensor } if tensor == "b"),
            "{error}"
        );
    }

    #[test]
    fn a_wrong_total_of_tensors_is_refused() {
        let says = |number| Says {
            number,
            count: 3,
            n_tensors: 4,
        };
        let parts = [
            bytes(&says(0), &["a"]),
            bytes(&says(1), &["b"]),
            bytes(&says(2), &["c"]),
        ];
        let error = refusal(&parts);
        assert!(
            matches!(
                error,
                GgufError::PartTensors {
                    found: 3,
                    expected: 4,
                    ..
                }
            ),
            "{error}"
        );
    }

    #[test]
    fn a_part_that_is_no_gguf_or_no_part_is_named() {
        let [first, second, _] = parts();
        let error = refusal(&[first.clone(), second.clone(), b"PK\x03\x04".to_vec()]);
        assert!(matches!(&error, GgufError::Part { path, .. } if path.ends_with("big-00003-of-00003.gguf")));
        let plain = Writer::new().begin(Vec::new()).unwrap().finish().unwrap();
        let error = refusal(&[first, second, plain]);
        assert!(
            error.to_string().contains("the number of parts is 1 where 3"),
            "{error}"
        );
    }

    #[test]
    fn a_part_under_a_name_of_its_own_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        for name in [
            "model.gguf",
            "big-1-of-3.gguf",
            "big-00004-of-00003.gguf",
            "big-00000-of-00003.gguf",
            "big-0000１-of-00003.gguf",
        ] {
            let path = dir.path().join(name);
            stdx::fs::write(&path, &parts()[0]).unwrap();
            let error = Gguf::open(&path).unwrap_err();
            assert!(
                matches!(error, GgufError::PartName { count: 3, .. }),
                "{name}: {error}"
            );
        }
    }

    #[test]
    fn absurd_numbers_are_refused_before_files_are_opened() {
        let dir = tempfile::tempdir().unwrap();
        let says = Says {
            number: 0,
            count: u16::MAX,
            n_tensors: 1,
        };
        let path = dir.path().join("big-00001-of-65535.gguf");
        stdx::fs::write(&path, bytes(&says, &["a"])).unwrap();
        let error = Gguf::open(&path).unwrap_err();
        assert!(
            matches!(error, GgufError::Limit { limit: MAX_PARTS, .. }),
            "{error}"
        );
        let says = Says {
            number: 0,
            count: 1,
            n_tensors: -1,
        };
        let path = dir.path().join("big-00001-of-00001.gguf");
        stdx::fs::write(&path, bytes(&says, &["a"])).unwrap();
        assert_eq!(
            Gguf::open(&path).unwrap().tensors().len(),
            1,
            "a set of one is a file"
        );
    }
}
