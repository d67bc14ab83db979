//! Model files: written, read, written again; and what is refused.

use crate::common::networks::{CELLS, config, metadata, random};
use hearken::model::CellKind;
use hearken::onnx::{Metadata, proto, read, read_file, write, write_file};
use proptest::prelude::*;
use prost::Message;

fn small() -> (Vec<u8>, Metadata) {
    let config = config(&[(CellKind::Gru, 8), (CellKind::Gru, 8)], true, true);
    let metadata = metadata(&config);
    (write(&random(&config, 1), &metadata).expect("a good network"), metadata)
}

/// The file with a change in its protobuf messages.
fn changed(change: impl FnOnce(&mut proto::ModelProto)) -> Vec<u8> {
    let mut model = proto::decode(&small().0).expect("a model");
    change(&mut model);
    model.encode_to_vec()
}

fn refusal(bytes: &[u8]) -> String {
    read(bytes).map(|_| ()).expect_err("the file is bad").to_string()
}

#[test]
fn every_architecture_comes_back_and_gives_the_same_bytes() {
    let mixed = [(CellKind::Gru, 8), (CellKind::Lstm, 5), (CellKind::RnnRelu, 5)];
    let more = [(CellKind::MinGru, 8), (CellKind::Gru, 8), (CellKind::MinGru, 5)];
    let blocks =
        [(CellKind::Conv, 8), (CellKind::Attention, 8), (CellKind::Conv, 5), (CellKind::Attention, 6)];
    let mut stacks: Vec<Vec<(CellKind, usize)>> = vec![mixed.to_vec(), more.to_vec(), blocks.to_vec()];
    for cell in CELLS {
        stacks.extend((1..=3).map(|n| vec![(cell, 8); n]));
    }
    for (seed, layers) in stacks.iter().enumerate() {
        for (layer_norm, residual) in [(false, false), (true, false), (false, true), (true, true)] {
            for subsampling in [1, 4] {
                let mut config = config(layers, layer_norm, residual);
                config.subsampling = subsampling;
                let (network, metadata) = (random(&config, seed as u64), metadata(&config));
                let bytes = write(&network, &metadata).expect("a good network");
                let (network2, metadata2) = read(&bytes).expect("our own file");
                assert_eq!(network2, network);
                assert_eq!(metadata2, metadata);
                assert_eq!(write(&network2, &metadata2).expect("read back"), bytes);
            }
        }
    }
}

#[test]
fn a_file_is_written_whole_and_read_back() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("model.onnx");
    let config = config(&[(CellKind::Lstm, 4)], true, false);
    let network = random(&config, 3);
    write_file(&path, &network, &metadata(&config)).expect("written");
    assert_eq!(read_file(&path).expect("read").0, network);
    assert_eq!(std::fs::read_dir(dir.path()).expect("listed").count(), 1, "nothing is left beside it");
    let error = read_file(dir.path()).expect_err("a directory").to_string();
    assert!(error.contains(&dir.path().display().to_string()), "{error}");
    assert!(write_file(&dir.path().join("no/such/model.onnx"), &network, &metadata(&config)).is_err());
}

#[test]
fn inconsistent_networks_are_not_written() {
    let config = config(&[(CellKind::Gru, 8)], true, true);
    let good = random(&config, 1);
    let mut bad = good.clone();
    bad.parameters[4].data[3] = f32::NAN;
    let error = write(&bad, &metadata(&config)).expect_err("NaN").to_string();
    assert!(error.contains("layers.0.gru.W") && error.contains("index 3"), "{error}");
    let mut bad = good.clone();
    bad.parameters[0].data.pop();
    assert!(write(&bad, &metadata(&config)).is_err());
    let mut other = metadata(&config);
    other.decoder.min_confidence = f32::NAN;
    assert!(write(&good, &other).is_err());
    let mut other = metadata(&config);
    other.other.push(("tokens".into(), "[]".into()));
    assert!(write(&good, &other).is_err());
}

#[test]
fn missing_metadata_is_named_all_at_once() {
    let bytes =
        changed(|m| m.metadata_props.retain(|e| !["features", "tokens", "recipe"].contains(&e.key.as_str())));
    assert!(refusal(&bytes).contains("missing metadata: features, tokens, recipe"), "{}", refusal(&bytes));
    let bytes = changed(|m| {
        for entry in m.metadata_props.iter_mut().filter(|e| e.key == "features") {
            entry.value = entry.value.replace("\"snip_edges\":false,", "");
        }
    });
    assert!(refusal(&bytes).contains("snip_edges"), "{}", refusal(&bytes));
}

type Change = fn(&mut proto::ModelProto);

#[test]
fn bad_files_are_refused_by_name() {
    let cases: [(&str, Change); 11] = [
        ("state.0", |m| drop(m.graph.as_mut().expect("graph").input.pop())),
        ("next_state.0", |m| drop(m.graph.as_mut().expect("graph").output.pop())),
        ("log_probs", |m| drop(m.graph.as_mut().expect("graph").node.pop())),
        ("layers.0.gru.R", |m| {
            m.graph.as_mut().expect("graph").initializer.retain(|t| t.name != "layers.0.gru.R")
        }),
        ("layers.0.gru", |m| {
            let node = m.graph.as_mut().expect("graph").node.iter_mut().find(|n| n.op_type == "GRU");
            node.expect("a GRU").attribute[0].i = Some(9);
        }),
        ("input.weight", |m| tensor(m, "input.weight").dims = vec![1 << 31, 1 << 31]),
        ("output.weight", |m| tensor(m, "output.weight").dims = vec![i64::MAX, i64::MAX]),
        ("output.bias", |m| tensor(m, "output.bias").data_location = 1),
        ("stacked_shape", |m| tensor(m, "stacked_shape").raw_data = Some(vec![0; 24].into())),
        ("mean", |m| tensor(m, "mean").dims = vec![2, 3]),
        ("input.bias", |m| tensor(m, "input.bias").raw_data = Some([0, 0, 192, 127].repeat(8).into())),
    ];
    for (name, change) in cases {
        let error = refusal(&changed(change));
        assert!(error.contains(name), "{name}: {error}");
    }
    let error = refusal(&changed(|m| m.opset_import[0].version = Some(99)));
    assert!(error.contains("operator set"), "{error}");
}

fn tensor<'a>(model: &'a mut proto::ModelProto, name: &str) -> &'a mut proto::TensorProto {
    let graph = model.graph.as_mut().expect("graph");
    graph.initializer.iter_mut().find(|t| t.name == name).expect("the tensor")
}

#[test]
fn every_truncation_is_an_error() {
    let bytes = small().0;
    for end in (0..bytes.len()).step_by(7).chain(bytes.len() - 40..bytes.len()) {
        assert!(read(&bytes[..end]).is_err(), "cut at {end} of {}", bytes.len());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..Default::default() })]

    /// A file with changed bytes is an error or another valid model, never a panic.
    #[test]
    fn mutated_files_do_not_panic(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12)) {
        let mut bytes = small().0;
        for (index, value) in changes {
            let at = index.index(bytes.len());
            bytes[at] = value;
        }
        if let Ok((network, metadata)) = read(&bytes) {
            prop_assert!(write(&network, &metadata).is_ok());
        }
    }

    /// As above, in the first bytes of the graph, where nodes and attributes are.
    #[test]
    fn mutated_nodes_do_not_panic(changes in prop::collection::vec((0usize..2500, any::<u8>()), 1..4)) {
        let mut bytes = small().0;
        for (at, value) in changes {
            let at = at.min(bytes.len() - 1);
            bytes[at] = value;
        }
        let _ = read(&bytes);
    }

    #[test]
    fn random_bytes_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(read(&bytes).is_err());
    }
}
