//! Hand-made files, and what must be refused.

use std::io::Cursor;

use super::*;

fn file(json: &str, data: &[u8]) -> Vec<u8> {
    let mut out = (json.len() as u64).to_le_bytes().to_vec();
    out.extend(json.as_bytes());
    out.extend(data);
    out
}

fn parse(bytes: &[u8]) -> Result<SafeTensors, SafeTensorsError> {
    SafeTensors::parse(Cursor::new(bytes.to_vec()), bytes.len() as u64)
}

const GOOD: &str = r#"{"__metadata__":{"format":"pt"},"b":{"dtype":"F16","shape":[2,2],"data_offsets":[4,12]},"a":{"dtype":"F32","shape":[],"data_offsets":[0,4]}}  "#;

#[test]
fn reads_a_small_file() {
    let bytes = file(GOOD, &(0..12).collect::<Vec<u8>>());
    let parsed = parse(&bytes).unwrap();
    let info = parsed.tensor("b").unwrap();
    assert_eq!((info.dtype, info.shape.as_slice()), (Dtype::F16, &[2, 2][..]));
    let mut buffer = [0; 8];
    parsed.read_tensor(info, &mut buffer).unwrap();
    assert_eq!(buffer, [4, 5, 6, 7, 8, 9, 10, 11]);
    assert_eq!(parsed.metadata().get("format").map(String::as_str), Some("pt"));
    assert!(parsed.read_tensor(info, &mut [0; 7]).is_err());
}

#[test]
fn a_file_cut_off_anywhere_is_refused() {
    let bytes = file(GOOD, &[0; 12]);
    for n in 0..bytes.len() {
        assert!(parse(&bytes[..n]).is_err(), "{n} bytes");
    }
}

#[test]
fn impossible_headers_are_refused() {
    let entry = |body: &str| format!(r#"{{"a":{{{body}}}}}"#);
    let cases = [
        String::new(),
        "[]".to_owned(),
        " {}".to_owned(),
        entry(r#""dtype":"F99","shape":[1],"data_offsets":[0,4]"#),
        entry(r#""dtype":"F32","shape":[2],"data_offsets":[0,4]"#),
        entry(r#""dtype":"F32","shape":[1],"data_offsets":[4,0]"#),
        entry(r#""dtype":"F32","shape":[-1],"data_offsets":[0,4]"#),
        entry(r#""dtype":"F32","shape":[1],"data_offsets":[0,4],"more":1"#),
        entry(r#""dtype":"F32","shape":[1],"data_offsets":[18446744073709551612,18446744073709551616]"#),
        entry(r#""dtype":"F32","shape":[4294967296,4294967296,2],"data_offsets":[0,4]"#),
        entry(r#""dtype":"F32","shape":[1],"data_offsets":[18446744073709551611,18446744073709551615]"#),
        entry(r#""dtype":"F32","shape":[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1],"data_offsets":[0,4]"#),
        // The same name twice.
        r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#.to_owned(),
        // Overlap, hole.
        r#"{"a":{"dtype":"U8","shape":[3],"data_offsets":[0,3]},"b":{"dtype":"U8","shape":[2],"data_offsets":[2,4]}}"#.to_owned(),
        r#"{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"b":{"dtype":"U8","shape":[2],"data_offsets":[2,4]}}"#.to_owned(),
        // Bytes at the end that belong to nobody.
        r#"{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}"#.to_owned(),
        // Deep nesting.
        format!(r#"{{"a":{}"#, "[".repeat(100_000)),
    ];
    for json in cases {
        let error = parse(&file(&json, &[0; 4])).unwrap_err();
        assert!(!error.to_string().is_empty(), "{json}");
    }
}

#[test]
fn a_header_longer_than_the_limit_or_the_file_is_refused_before_it_is_allocated() {
    for n in [MAX_HEADER_BYTES + 1, u64::MAX, 1000] {
        let mut bytes = n.to_le_bytes().to_vec();
        bytes.extend(b"{}");
        assert!(parse(&bytes).is_err());
    }
}

fn put(folder: &Path, name: &str, bytes: &[u8]) {
    stdx::fs::write(folder.join(name), bytes).unwrap();
}

fn shard(name: &str, value: u8) -> Vec<u8> {
    file(
        &format!(r#"{{"{name}":{{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}}}"#),
        &[value],
    )
}

#[test]
fn reads_a_sharded_folder() {
    let dir = tempfile::tempdir().unwrap();
    put(dir.path(), "one.safetensors", &shard("a", 1));
    put(dir.path(), "two.safetensors", &shard("b", 2));
    put(
        dir.path(),
        INDEX_NAME,
        br#"{"weight_map":{"b":"two.safetensors","a":"one.safetensors"}}"#,
    );
    let parsed = SafeTensors::open(dir.path()).unwrap();
    for (name, value) in [("a", 1), ("b", 2)] {
        let mut buffer = [0];
        parsed
            .read_tensor(parsed.tensor(name).unwrap(), &mut buffer)
            .unwrap();
        assert_eq!(buffer, [value]);
    }
}

#[test]
fn an_index_that_lies_or_leads_out_of_the_folder_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    put(dir.path(), "one.safetensors", &shard("a", 1));
    for index in [
        r#"{"weight_map":{"b":"one.safetensors"}}"#,
        r#"{"weight_map":{"a":"absent.safetensors"}}"#,
        r#"{"weight_map":{"a":"../one.safetensors"}}"#,
        r#"{"weight_map":{"a":"/etc/passwd"}}"#,
        r#"{"weight_map":{"a":""}}"#,
        r#"{"weight_map":{"a":".."}}"#,
        r#"{"weight_map":[]}"#,
        "",
    ] {
        put(dir.path(), INDEX_NAME, index.as_bytes());
        assert!(SafeTensors::open(dir.path()).is_err(), "{index}");
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(400))]

    #[test]
    fn flipped_bits_never_panic(flips in proptest::collection::vec((0usize..400, 0u8..8), 1..6)) {
        let mut bytes = file(GOOD, &[7; 12]);
        for (at, bit) in flips {
            let n = bytes.len();
            bytes[at % n] ^= 1 << bit;
        }
        if let Ok(parsed) = parse(&bytes) {
            for info in parsed.tensors() {
                let mut buffer = vec![0; info.n_bytes as usize];
                parsed.read_tensor(info, &mut buffer).unwrap();
            }
        }
    }
}
