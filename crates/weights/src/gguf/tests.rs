//! Round trips, hand-made hostile files (one per mistake that broke other readers), flipped bits.

use std::io::Cursor;

use proptest::prelude::*;

use super::*;

/// Builds files byte by byte, honest or not.
struct Bytes(Vec<u8>);

impl Bytes {
    fn header(n_tensors: u64, n_kv: u64) -> Self {
        Self(b"GGUF".to_vec()).u32(3).u64(n_tensors).u64(n_kv)
    }

    fn u32(self, value: u32) -> Self {
        self.raw(&value.to_le_bytes())
    }

    fn u64(self, value: u64) -> Self {
        self.raw(&value.to_le_bytes())
    }

    fn text(self, text: &str) -> Self {
        self.u64(text.len() as u64).raw(text.as_bytes())
    }

    fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    fn info(self, name: &str, dims: &[u64], ty: u32, offset: u64) -> Self {
        let start = self.text(name).u32(dims.len() as u32);
        dims.iter()
            .fold(start, |bytes, dim| bytes.u64(*dim))
            .u32(ty)
            .u64(offset)
    }

    /// Pads to the default alignment and appends `n` bytes of data.
    fn data(mut self, n: usize) -> Self {
        self.0.resize(self.0.len().next_multiple_of(32) + n, 7);
        self
    }

    fn refused(self) -> String {
        match parse(&self.0) {
            Ok(_) => panic!("accepted"),
            Err(error) => error.to_string(),
        }
    }
}

fn parse(bytes: &[u8]) -> Result<Gguf, GgufError> {
    Gguf::parse(Cursor::new(bytes.to_vec()), bytes.len() as u64)
}

/// A small valid file with every value type and tensors of three types, nothing after the last tensor.
fn sample() -> Vec<u8> {
    let mut writer = Writer::new();
    writer
        .set("general.architecture", "olmoe")
        .set("n", 7u32)
        .set("minus", -7i64)
        .set("eps", 1e-5f32);
    writer
        .set("yes", true)
        .set("wide", u64::MAX)
        .set("tiny", 3u8)
        .set("f", 0.5f64);
    writer
        .set("tokens", Array::Text(vec!["a".into(), "한국".into()]))
        .set("types", Array::I32(vec![1, -3]));
    writer.set(
        "nested",
        Array::Array(vec![Array::U8(vec![1, 2]), Array::Bool(vec![true])]),
    );
    writer.tensor("q", &[64, 3], GgmlType::Q4_0).unwrap();
    writer.tensor("f", &[5], GgmlType::F32).unwrap();
    writer.tensor("h", &[16, 2], GgmlType::F16).unwrap();
    let mut body = writer.begin(Vec::new()).unwrap();
    while let Some(info) = body.current() {
        let bytes: Vec<u8> = (0..info.n_bytes).map(|i| i as u8).collect();
        let (head, tail) = bytes.split_at(bytes.len() / 2);
        body.write(head).unwrap();
        body.write(tail).unwrap();
    }
    body.finish().unwrap()
}

#[test]
fn what_is_written_is_read() {
    let file = parse(&sample()).unwrap();
    let metadata = file.metadata();
    assert_eq!(metadata.text("general.architecture").unwrap(), "olmoe");
    assert_eq!(metadata.u32("n").unwrap(), 7);
    assert_eq!(metadata.u64("wide").unwrap(), u64::MAX);
    assert_eq!(metadata.f32("f").unwrap(), 0.5);
    assert!(metadata.bool("yes").unwrap());
    assert_eq!(metadata.texts("tokens").unwrap(), ["a", "한국"]);
    assert_eq!(metadata.opt_integers("types").unwrap(), Some(vec![1, -3]));
    assert_eq!(metadata.opt_u64("absent").unwrap(), None);
    let info = file.tensor("q").unwrap();
    assert_eq!(
        (info.shape(), info.n_bytes, info.n_elements()),
        (vec![3, 64], 108, 192)
    );
    for info in file.tensors() {
        assert!(info.offset.is_multiple_of(32));
        let mut buffer = vec![0; info.n_bytes as usize];
        file.read_tensor(info, &mut buffer).unwrap();
        assert_eq!(buffer, (0..info.n_bytes).map(|i| i as u8).collect::<Vec<_>>());
    }
    let mut part = [0; 4];
    file.read_part(info, 100, &mut part).unwrap();
    assert_eq!(part, [100, 101, 102, 103]);
    assert!(file.read_part(info, 105, &mut part).is_err());
    assert!(file.read_part(info, u64::MAX, &mut part).is_err());
}

#[test]
fn getters_name_the_key_and_the_type_expected() {
    let file = parse(&sample()).unwrap();
    let message = file.metadata().u32("absent").unwrap_err().to_string();
    assert!(message.contains("`absent` is missing (an integer"), "{message}");
    let message = file.metadata().u32("minus").unwrap_err().to_string();
    assert!(
        message.contains("`minus` holds an i64 where an integer"),
        "{message}"
    );
    assert!(file.metadata().texts("types").is_err());
    assert!(file.metadata().text("n").is_err());
}

#[test]
fn a_file_cut_off_anywhere_is_refused() {
    let bytes = sample();
    for n in 0..bytes.len() {
        assert!(parse(&bytes[..n]).is_err(), "{n} of {} bytes", bytes.len());
    }
}

#[test]
fn other_files_versions_and_byte_orders_are_refused_by_name() {
    assert!(
        Bytes(b"PK\x03\x04rest".to_vec())
            .refused()
            .contains("not a GGUF file")
    );
    assert!(
        Bytes(b"GGUF".to_vec())
            .u32(1)
            .u64(0)
            .u64(0)
            .refused()
            .contains("version 1")
    );
    assert!(
        Bytes(b"GGUF".to_vec())
            .u32(4)
            .u64(0)
            .u64(0)
            .refused()
            .contains("version 4")
    );
    assert!(
        Bytes(b"GGUF".to_vec())
            .raw(&3u32.to_be_bytes())
            .u64(0)
            .u64(0)
            .refused()
            .contains("big-endian")
    );
}

#[test]
fn version_2_is_read() {
    let mut bytes = sample();
    bytes[4] = 2;
    assert_eq!(parse(&bytes).unwrap().version(), 2);
}

#[test]
fn huge_counts_are_refused_before_anything_is_allocated() {
    for n in [MAX_KV + 1, u64::MAX, 1 << 40] {
        assert!(Bytes::header(0, n).refused().contains("number of keys"));
        assert!(
            Bytes::header(n.max(MAX_TENSORS + 1), 0)
                .refused()
                .contains("number of tensors")
        );
    }
    assert!(Bytes::header(0, MAX_KV).refused().contains("list of keys"));
    assert!(Bytes::header(MAX_TENSORS, 0).refused().contains("tensor table"));
}

#[test]
fn strings_longer_than_the_file_or_the_limit_are_refused() {
    assert!(
        Bytes::header(0, 1)
            .u64(u64::MAX)
            .data(64)
            .refused()
            .contains("limit")
    );
    assert!(
        Bytes::header(0, 1)
            .u64(1000)
            .data(64)
            .refused()
            .contains("remain")
    );
    let value = |n: u64| Bytes::header(0, 1).text("key").u32(8).u64(n).data(64).refused();
    assert!(value(MAX_STRING_BYTES + 1).contains("limit"));
    assert!(value(MAX_STRING_BYTES).contains("remain"));
    assert!(value(u64::MAX).contains("`key`"));
    assert!(
        Bytes::header(0, 1)
            .u64(2)
            .raw(b"\xff\xfe")
            .u32(4)
            .u32(0)
            .data(64)
            .refused()
            .contains("UTF-8")
    );
}

#[test]
fn lists_longer_than_the_file_are_refused_for_every_element_type() {
    for ty in 0..=12 {
        for n in [1000, 1 << 32, u64::MAX / 8 + 1, u64::MAX] {
            let message = Bytes::header(0, 1)
                .text("key")
                .u32(9)
                .u32(ty)
                .u64(n)
                .data(64)
                .refused();
            assert!(message.contains("`key`"), "{ty} {n}: {message}");
        }
    }
}

#[test]
fn a_long_file_cannot_ask_for_more_memory_than_the_limit() {
    let bytes = Bytes::header(0, 1)
        .text("key")
        .u32(9)
        .u32(0)
        .u64(1 << 40)
        .data(64)
        .0;
    // As if the file were a sparse one of two terabytes.
    let error = Gguf::parse(Cursor::new(bytes), 1 << 41).unwrap_err();
    assert!(
        matches!(
            error,
            GgufError::Limit {
                limit: MAX_HEAD_BYTES,
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn unknown_types_and_truth_values_are_refused() {
    assert!(
        Bytes::header(0, 1)
            .text("key")
            .u32(13)
            .data(64)
            .refused()
            .contains("value type 13")
    );
    assert!(
        Bytes::header(0, 1)
            .text("key")
            .u32(u32::MAX)
            .data(64)
            .refused()
            .contains("value type")
    );
    assert!(
        Bytes::header(0, 1)
            .text("key")
            .u32(9)
            .u32(13)
            .u64(1)
            .data(64)
            .refused()
            .contains("value type 13")
    );
    assert!(
        Bytes::header(0, 1)
            .text("key")
            .u32(7)
            .raw(&[2])
            .data(64)
            .refused()
            .contains("truth value 2")
    );
    for ty in [4, 5, 31, 36, 40, u32::MAX] {
        let message = Bytes::header(1, 0).info("t", &[32], ty, 0).data(64).refused();
        assert!(message.contains("unknown type"), "{message}");
    }
}

#[test]
fn nested_lists_are_refused_beyond_the_limit() {
    let nested = |depth: u32| {
        let start = Bytes::header(0, 1).text("key").u32(9);
        (0..depth)
            .fold(start, |bytes, _| bytes.u32(9).u64(1))
            .u32(0)
            .u64(0)
    };
    assert!(parse(&nested(1).data(64).0).is_ok());
    assert!(nested(2).data(64).refused().contains("nesting"));
    assert!(nested(100_000).data(64).refused().contains("nesting"));
}

#[test]
fn the_same_key_or_tensor_twice_is_refused() {
    let twice = Bytes::header(0, 2)
        .text("key")
        .u32(4)
        .u32(1)
        .text("key")
        .u32(4)
        .u32(1);
    assert!(twice.data(64).refused().contains("key `key` stands twice"));
    let twice = Bytes::header(2, 0).info("t", &[8], 0, 0).info("t", &[8], 0, 32);
    assert!(twice.data(64).refused().contains("tensor `t` stands twice"));
}

#[test]
fn impossible_alignments_are_refused() {
    for alignment in [0u32, 1, 3, 4, 33, 48, 1 << 17, u32::MAX] {
        let bytes = Bytes::header(0, 1)
            .text("general.alignment")
            .u32(4)
            .u32(alignment);
        assert!(bytes.data(64).refused().contains("alignment"), "{alignment}");
    }
    let bytes = Bytes::header(0, 1).text("general.alignment").u32(8).text("32");
    assert!(bytes.data(64).refused().contains("general.alignment"));
}

#[test]
fn impossible_extents_are_refused() {
    let refused = |dims: &[u64], ty: u32| Bytes::header(1, 0).info("t", dims, ty, 0).data(4096).refused();
    assert!(refused(&[0], 0).contains("extents"));
    assert!(refused(&[8, 0], 0).contains("extents"));
    assert!(refused(&[33], 2).contains("extents"));
    assert!(refused(&[128], 12).contains("extents"));
    assert!(refused(&[u64::MAX], 0).contains("extents"));
    assert!(refused(&[1 << 32, 1 << 32], 0).contains("extents"));
    assert!(refused(&[1 << 62, 4], 24).contains("extents"));
    // The product of bytes wraps to something small in 64 bits.
    assert!(refused(&[32, 1 << 59], 2).contains("extents"));
    assert!(refused(&[1 << 40], 0).contains("beyond the end"));
    let five = Bytes::header(1, 0)
        .text("t")
        .u32(5)
        .u64(1)
        .u64(1)
        .u64(1)
        .u64(1)
        .u64(1)
        .u32(0)
        .u64(0);
    assert!(five.data(64).refused().contains("dimensions"));
    assert!(
        Bytes::header(1, 0)
            .text("t")
            .u32(u32::MAX)
            .data(64)
            .refused()
            .contains("dimensions")
    );
}

#[test]
fn tensors_outside_the_file_unaligned_or_overlapping_are_refused() {
    let one = |offset: u64| Bytes::header(1, 0).info("t", &[8], 0, offset).data(64).refused();
    assert!(one(64).contains("beyond the end"));
    assert!(one(u64::MAX - 31).contains("beyond the end"));
    assert!(one(1).contains("multiple of the alignment"));
    let overlap = Bytes::header(2, 0)
        .info("a", &[16], 0, 0)
        .info("b", &[8], 0, 32)
        .data(64)
        .refused();
    assert!(overlap.contains("`a` and `b` overlap"), "{overlap}");
    let same = Bytes::header(2, 0)
        .info("a", &[8], 0, 0)
        .info("b", &[8], 0, 0)
        .data(64)
        .refused();
    assert!(same.contains("overlap"), "{same}");
}

#[test]
fn sizes_whose_sum_wraps_are_refused_however_long_the_file() {
    // 2^63 bytes each: together they are none in 64 bits, and each is less than the file says it has.
    let half = 1u64 << 61;
    for offset in [0, 1 << 62, 1 << 63, u64::MAX - 31] {
        let bytes = Bytes::header(2, 0)
            .info("a", &[half], 0, 0)
            .info("b", &[half], 0, offset)
            .data(64)
            .0;
        let error = Gguf::parse(Cursor::new(bytes), u64::MAX).unwrap_err().to_string();
        assert!(
            error.contains("beyond the end") || error.contains("overlap"),
            "{offset}: {error}"
        );
    }
}

#[test]
fn a_length_beyond_the_real_end_is_an_error_not_a_panic() {
    let bytes = sample();
    let n = bytes.len() as u64;
    let shorter = bytes[..bytes.len() - 40].to_vec();
    // The header is whole, but the data are not: the reader was told a wrong length.
    let file = Gguf::parse(Cursor::new(shorter), n).unwrap();
    let info = file.tensor("h").unwrap();
    assert!(
        file.read_tensor(info, &mut vec![0; info.n_bytes as usize])
            .is_err()
    );
    assert!(Gguf::parse(Cursor::new(Vec::new()), u64::MAX).is_err());
}

#[test]
fn folders_and_absent_files_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    assert!(
        Gguf::open(dir.path())
            .unwrap_err()
            .to_string()
            .contains("regular file")
    );
    assert!(
        Gguf::open(dir.path().join("absent"))
            .unwrap_err()
            .to_string()
            .contains("absent")
    );
}

#[test]
fn the_writer_refuses_what_the_reader_would() {
    let mut writer = Writer::new();
    assert!(writer.tensor("t", &[33], GgmlType::Q8_0).is_err());
    assert!(writer.tensor("t", &[1, 1, 1, 1, 1], GgmlType::F32).is_err());
    writer.tensor("t", &[2], GgmlType::F32).unwrap();
    assert!(writer.tensor("t", &[2], GgmlType::F32).is_err());
    assert!(
        writer
            .clone()
            .set("general.alignment", 24u32)
            .clone()
            .begin(Vec::new())
            .is_err()
    );
    let mut body = writer.clone().begin(Vec::new()).unwrap();
    assert!(body.write(&[0; 9]).is_err());
    body.write(&[0; 8]).unwrap();
    assert!(body.write(&[0]).is_err());
    assert!(writer.begin(Vec::new()).unwrap().finish().is_err());
}

#[test]
fn every_type_is_found_by_number_and_name() {
    for ty in GgmlType::ALL {
        assert_eq!(GgmlType::from_id(ty.id()), Some(*ty));
        assert_eq!(GgmlType::from_name(&ty.name().to_uppercase()), Some(*ty));
    }
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<u8>().prop_map(Value::U8),
        any::<i8>().prop_map(Value::I8),
        any::<u16>().prop_map(Value::U16),
        any::<i16>().prop_map(Value::I16),
        any::<u32>().prop_map(Value::U32),
        any::<i32>().prop_map(Value::I32),
        (-1e30f32..1e30).prop_map(Value::F32),
        any::<bool>().prop_map(Value::Bool),
        ".{0,12}".prop_map(Value::Text),
        any::<u64>().prop_map(Value::U64),
        any::<i64>().prop_map(Value::I64),
        (-1e30f64..1e30).prop_map(Value::F64),
        prop::collection::vec(".{0,5}", 0..5).prop_map(|v| Value::Array(Array::Text(v))),
        prop::collection::vec(any::<u16>(), 0..5).prop_map(|v| Value::Array(Array::U16(v))),
        prop::collection::vec(any::<bool>(), 0..5).prop_map(|v| Value::Array(Array::Bool(v))),
        prop::collection::vec(any::<i64>(), 0..5)
            .prop_map(|v| Value::Array(Array::Array(vec![Array::I64(v)]))),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn any_metadata_and_tensors_come_back(
        pairs in prop::collection::btree_map("[a-z.]{1,8}", value(), 0..8),
        shapes in prop::collection::vec((prop::collection::vec(1u64..5, 1..4), any::<prop::sample::Index>()), 0..5),
    ) {
        let mut writer = Writer::new();
        for (key, value) in &pairs {
            writer.set(key.clone(), value.clone());
        }
        for (i, (dims, ty)) in shapes.iter().enumerate() {
            let ty = *ty.get(GgmlType::ALL);
            let mut dims = dims.clone();
            dims[0] *= ty.block_len();
            writer.tensor(&format!("t{i}"), &dims, ty).unwrap();
        }
        let declared = writer.tensors().to_vec();
        let mut body = writer.begin(Vec::new()).unwrap();
        while let Some(info) = body.current() {
            let bytes = vec![info.name.len() as u8; info.n_bytes as usize];
            body.write(&bytes).unwrap();
        }
        let file = parse(&body.finish().unwrap()).unwrap();
        prop_assert_eq!(file.metadata().len(), pairs.len());
        for (key, value) in &pairs {
            prop_assert_eq!(file.metadata().get(key), Some(value));
        }
        prop_assert_eq!(file.tensors().len(), declared.len());
        for (read, declared) in file.tensors().iter().zip(&declared) {
            prop_assert_eq!((&read.name, &read.dims, read.ty, read.n_bytes),
                (&declared.name, &declared.dims, declared.ty, declared.n_bytes));
        }
    }

    #[test]
    fn flipped_bits_never_panic(flips in prop::collection::vec((0usize..1000, 0u8..8), 1..6)) {
        let mut bytes = sample();
        for (at, bit) in flips {
            let n = bytes.len();
            bytes[at % n] ^= 1 << bit;
        }
        if let Ok(file) = parse(&bytes) {
            for info in file.tensors() {
                let mut buffer = vec![0; info.n_bytes as usize];
                file.read_tensor(info, &mut buffer).unwrap();
            }
        }
    }

    #[test]
    fn random_bytes_after_the_magic_never_panic(tail in prop::collection::vec(any::<u8>(), 0..300)) {
        let mut bytes = b"GGUF\x03\0\0\0".to_vec();
        bytes.extend(tail);
        let _ = parse(&bytes);
    }
}
