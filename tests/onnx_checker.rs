//! Exported files before ONNX's own checker and onnxruntime (tools/check/onnx_files.py), where Python
//! has them: `HEARKEN_PYTHON` names the interpreter.

use std::path::Path;
use std::process::Command;

use crate::common::networks::{CELLS, config, metadata, random};
use hearken::model::CellKind;
use hearken::onnx::write_file;

#[test]
fn every_cell_passes_the_checker() {
    let Some(python) = std::env::var_os("HEARKEN_PYTHON") else {
        eprintln!("skipped: HEARKEN_PYTHON names no Python with onnx and onnxruntime");
        return;
    };
    let dir = tempfile::tempdir().expect("a directory");
    let mut files = Vec::new();
    let mut add = |name: String, layers: &[(CellKind, usize)], layer_norm: bool, subsampling: usize| {
        let mut config = config(layers, layer_norm, true);
        config.subsampling = subsampling;
        let path = dir.path().join(format!("{name}.onnx"));
        write_file(&path, &random(&config, 5), &metadata(&config)).expect("written");
        files.push(path);
    };
    for cell in CELLS {
        for layers in 1..=3 {
            add(format!("{cell:?}-{layers}"), &vec![(cell, 8); layers], layers != 2, 4);
        }
    }
    let mixed =
        [(CellKind::Gru, 8), (CellKind::Lstm, 5), (CellKind::MinGru, 5), (CellKind::GruResetBefore, 6)];
    add("mixed".into(), &mixed, true, 3);
    add(
        "blocks".into(),
        &[(CellKind::Conv, 8), (CellKind::MinGru, 5), (CellKind::Conv, 6), (CellKind::Attention, 8)],
        true,
        4,
    );
    add("factorized".into(), &[(CellKind::Tdnnf, 8), (CellKind::RgLru, 8), (CellKind::Lstmp, 6)], true, 4);
    add("every-frame".into(), &mixed[..1], true, 1);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tools/check/onnx_files.py");
    let output = Command::new(python).arg(script).args(&files).output().expect("python starts");
    let text = String::from_utf8_lossy(&output.stdout);
    eprintln!("{text}");
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
}
