//! The errors for a missing or old onnxruntime. They run in separate processes, because a process cannot unload
//! an onnxruntime.

use std::process::Command;

use crate::common::alone::run_in_own_process;

use crate::common::networks::{config, metadata, random};
use hearken::engine::{EngineKind, EngineOptions, LibrarySearch, load};
use hearken::model::CellKind;
use hearken::onnx::{OnnxFile, write};

#[test]
fn the_error_for_a_missing_onnxruntime_names_path_and_remedy() {
    run_in_own_process("ort_library::the_error_for_a_missing_onnxruntime_names_path_and_remedy", missing);
}

fn missing() {
    let config = config(&[(CellKind::Gru, 8)], true, true);
    let network = random(&config, 1);
    let bytes = write(&network, &metadata(&config)).expect("a good network");
    let file = OnnxFile::from_bytes(bytes).expect("an ONNX file");
    let dir = tempfile::tempdir().expect("a directory");
    let fake = dir.path().join("libonnxruntime.so");
    std::fs::write(&fake, b"not a library").expect("written");
    for path in [dir.path().join("absent.so"), dir.path().to_path_buf(), fake] {
        let search = LibrarySearch { explicit: Some(path.clone()), ..Default::default() };
        let options = EngineOptions { ort_library: search, ..EngineOptions::default() };
        let error =
            load(EngineKind::Ort, &file, network.clone(), &options).map(|_| ()).expect_err("no library");
        let text = error.to_string();
        assert!(text.contains(&path.display().to_string()) && text.contains("1.17"), "{text}");
    }
    let options = EngineOptions::default();
    assert!(load(EngineKind::Ort, &file, network, &options).is_err());
}

/// A library that reports version 1.16.3, and whose API must not be requested.
#[test]
fn an_old_onnxruntime_is_refused_by_its_version() {
    run_in_own_process("ort_library::an_old_onnxruntime_is_refused_by_its_version", old);
}

fn old() {
    let dir = tempfile::tempdir().expect("a directory");
    let (source, library) = (dir.path().join("old.c"), dir.path().join("libonnxruntime.so"));
    let code = "struct base { const void *(*api)(unsigned); const char *(*version)(void); };\n\
                static const void *api(unsigned v) { (void)v; __builtin_trap(); }\n\
                static const char *version(void) { return \"1.16.3\"; }\n\
                static const struct base b = { api, version };\n\
                const struct base *OrtGetApiBase(void) { return &b; }\n";
    std::fs::write(&source, code).expect("written");
    let built = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source).status();
    if !built.is_ok_and(|status| status.success()) {
        eprintln!("skipped: no C compiler to build an old onnxruntime with");
        return;
    }
    let config = config(&[(CellKind::Gru, 8)], true, true);
    let network = random(&config, 1);
    let bytes = write(&network, &metadata(&config)).expect("a good network");
    let file = OnnxFile::from_bytes(bytes).expect("an ONNX file");
    let search = LibrarySearch { executable_dir: Some(dir.path().into()), ..Default::default() };
    let options = EngineOptions { ort_library: search, ..EngineOptions::default() };
    let error = load(EngineKind::Ort, &file, network, &options).map(|_| ()).expect_err("too old");
    let text = error.to_string();
    for part in [&library.display().to_string(), "1.16.3", "1.17", "ORT_DYLIB_PATH"] {
        assert!(text.contains(part), "{text}");
    }
}
