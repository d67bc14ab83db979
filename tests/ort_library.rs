//! What is said when onnxruntime is not to be had. A program of its own: a process that has loaded
//! one onnxruntime keeps it.
#![cfg(feature = "ort")]

#[path = "common/networks.rs"]
mod networks;

use hearken::engine::{EngineKind, EngineOptions, LibrarySearch, load};
use hearken::model::CellKind;
use hearken::onnx::write;
use networks::{config, metadata, random};

#[test]
fn a_missing_onnxruntime_is_told_with_path_and_need() {
    let config = config(&[(CellKind::Gru, 8)], true, true);
    let network = random(&config, 1);
    let bytes = write(&network, &metadata(&config)).expect("a good network");
    let dir = tempfile::tempdir().expect("a directory");
    let fake = dir.path().join("libonnxruntime.so");
    std::fs::write(&fake, b"not a library").expect("written");
    for path in [dir.path().join("absent.so"), dir.path().to_path_buf(), fake] {
        let search = LibrarySearch { explicit: Some(path.clone()), ..Default::default() };
        let options = EngineOptions { ort_library: search, threads: 1 };
        let error =
            load(EngineKind::Ort, &bytes, network.clone(), &options).map(|_| ()).expect_err("no library");
        let text = error.to_string();
        assert!(text.contains(&path.display().to_string()) && text.contains("1.17"), "{text}");
    }
    let options = EngineOptions::default();
    assert!(load(EngineKind::Ort, &bytes, network, &options).is_err());
}
