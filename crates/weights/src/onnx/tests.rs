//! Files written with the same messages, and bytes that are none.

use proptest::prelude::*;
use prost::Message as _;

use super::proto::{GraphProto, NodeProto};
use super::*;

fn tensor(name: &str, data_type: i32, dims: &[i64], raw: &[u8]) -> TensorProto {
    TensorProto {
        dims: dims.to_vec(),
        data_type,
        name: name.to_owned(),
        raw_data: raw.to_vec(),
        ..TensorProto::default()
    }
}

fn file(initializer: Vec<TensorProto>, node: Vec<NodeProto>) -> Vec<u8> {
    let graph = Some(GraphProto { node, initializer });
    ModelProto { graph }.encode_to_vec()
}

#[test]
fn tensors_constants_and_nodes_are_read() {
    let scale = TensorProto {
        data_type: 1,
        float_data: vec![0.5],
        name: "w_scale".to_owned(),
        ..TensorProto::default()
    };
    let zero = TensorProto {
        data_type: 3,
        int32_data: vec![-2],
        name: "w_zero_point".to_owned(),
        ..TensorProto::default()
    };
    let constant = NodeProto {
        op_type: "Constant".to_owned(),
        output: vec!["root".to_owned()],
        attribute: vec![AttributeProto {
            name: "value".to_owned(),
            t: Some(tensor("", 1, &[], &2.0f32.to_le_bytes())),
            ..AttributeProto::default()
        }],
        ..NodeProto::default()
    };
    let product = NodeProto {
        name: "/a/b/Gemm".to_owned(),
        op_type: "Gemm".to_owned(),
        input: vec!["x".to_owned(), "w".to_owned()],
        attribute: vec![AttributeProto {
            name: "transB".to_owned(),
            i: 1,
            t: None,
        }],
        ..NodeProto::default()
    };
    let truths = tensor("mask", 9, &[1], &[1]);
    let mut heads = tensor("heads", 7, &[1], &[]);
    heads.int64_data = vec![12];
    let bytes = file(
        vec![
            tensor("w", 3, &[2, 3], &[1, 2, 3, 4, 5, 255]),
            scale,
            zero,
            truths,
            heads,
        ],
        vec![constant, product],
    );
    let onnx = Onnx::parse(&bytes).unwrap();
    let w = onnx.tensor("w").unwrap();
    assert_eq!((w.shape.as_slice(), w.ty), ([2, 3].as_slice(), OnnxType::I8));
    assert_eq!(onnx.tensor("w_scale").unwrap().bytes, 0.5f32.to_le_bytes());
    assert_eq!(onnx.tensor("w_zero_point").unwrap().bytes, [0xfe]);
    assert_eq!(onnx.tensor("root").unwrap().bytes, 2.0f32.to_le_bytes());
    assert_eq!(onnx.tensor("heads").unwrap().bytes, 12i64.to_le_bytes());
    assert!(onnx.tensor("mask").is_none(), "truth values are not used");
    let [node] = onnx.nodes() else {
        panic!("{:?}", onnx.nodes());
    };
    assert!(node.transposes_b);
    assert_eq!((node.name.as_str(), node.inputs[1].as_str()), ("/a/b/Gemm", "w"));
}

#[test]
fn tensors_that_contradict_themselves_are_refused_by_name() {
    let mut elsewhere = tensor("e", 1, &[1], &[0; 4]);
    elsewhere.data_location = 1;
    for (bad, what) in [
        (tensor("short", 1, &[2], &[0; 4]), "4 bytes do not fill"),
        (tensor("minus", 1, &[-1], &[0; 4]), "no shape"),
        (tensor("vast", 1, &[i64::MAX, 4], &[0; 4]), "no shape"),
        (tensor("deep", 1, &[1; 17], &[0; 4]), "17 dimensions"),
        (elsewhere, "another file"),
    ] {
        let name = bad.name.clone();
        let error = Onnx::parse(&file(vec![bad], Vec::new())).unwrap_err().to_string();
        assert!(error.contains(&name) && error.contains(what), "{error}");
    }
    assert!(matches!(Onnx::parse(&[]), Err(OnnxError::NoGraph)));
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Onnx::parse(&bytes);
    }

    #[test]
    fn a_file_that_is_cut_or_changed_is_read_or_refused(cut in 0usize..80, at in 0usize..80, with in any::<u8>()) {
        let node = NodeProto { name: "/a/MatMul".to_owned(), op_type: "MatMul".to_owned(), ..NodeProto::default() };
        let mut bytes = file(vec![tensor("weights", 3, &[2, 3], &[1, 2, 3, 4, 5, 6])], vec![node]);
        if let Some(byte) = bytes.get_mut(at) {
            *byte = with;
        }
        bytes.truncate(bytes.len().saturating_sub(cut));
        let _ = Onnx::parse(&bytes);
    }
}
