//! Exports for other systems.

use std::path::{Path, PathBuf};

use hearken::error::Stage;
use hearken::onnx::targets::{self, ExportOptions, Target};
use hearken::onnx::{self, Precision};
use hearken::recognizer::Embedded;
use hearken::{Error, error, fs};
use pyo3::prelude::*;

use crate::errors::{raise, usage};
use crate::recognizer::{choose, embedded};

/// Exports a model; returns the written files.
#[pyfunction]
#[pyo3(signature = (model, target, out, *, precision = "fp32", with_frontend = false, chunk_frames = None,
                    name = None))]
#[expect(clippy::too_many_arguments, reason = "keyword arguments of Python")]
pub fn export(
    py: Python<'_>,
    model: PathBuf,
    target: &str,
    out: PathBuf,
    precision: &str,
    with_frontend: bool,
    chunk_frames: Option<usize>,
    name: Option<String>,
) -> PyResult<Vec<PathBuf>> {
    let target = choose("target", target, &Target::ALL, Target::name)?;
    let precision = choose("precision", precision, &Precision::ALL, Precision::name)?;
    if name.is_some() && target != Target::Triton {
        return Err(usage("name has no effect on this target: it is for triton only"));
    }
    if chunk_frames.is_some() && !matches!(target, Target::SherpaOnnx | Target::Triton) {
        return Err(usage(
            "chunk_frames has no effect on this target: it is for sherpa-onnx and triton only",
        ));
    }
    let plain = ExportOptions::new(target);
    let stem = model.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let options = ExportOptions {
        precision,
        with_frontend,
        chunk_frames: chunk_frames.unwrap_or(plain.chunk_frames),
        name: name.unwrap_or(stem),
        ..plain
    };
    let inside = embedded(&model);
    let (files, notes) = py.detach(|| write(&model, inside, &options, &out)).map_err(raise)?;
    let logger = py.import("logging")?.call_method1("getLogger", ("hearken",))?;
    for note in notes {
        logger.call_method1("warning", ("%s", note))?;
    }
    Ok(files)
}

/// Writes the files; returns their paths and notes for the user.
fn write(
    model: &Path,
    inside: Option<Embedded>,
    options: &ExportOptions,
    out: &Path,
) -> Result<(Vec<PathBuf>, Vec<String>), Error> {
    let (network, metadata) = match inside {
        Some(inside) => onnx::read(inside.model()?)?,
        None => onnx::read_file(model)?,
    };
    let export = targets::export(&network, &metadata, options)?;
    let is_file = out.extension().is_some_and(|extension| extension == "onnx");
    if is_file && options.target == Target::Triton {
        let problem = "expected the folder of a model repository, found the name of a file";
        return Err(Error::new(Stage::Usage, problem).in_file(out));
    }
    let path = |(i, file): (usize, &targets::ExportFile)| match (is_file, i) {
        (true, 0) => out.to_path_buf(),
        (true, _) => out.with_file_name(&file.path),
        (false, _) => out.join(&file.path),
    };
    let paths: Vec<PathBuf> = export.files.iter().enumerate().map(path).collect();
    // `None` for a file that does not exist yet.
    let real = |path: &Path| std::fs::canonicalize(path).ok();
    let source = real(model).filter(|_| inside.is_none());
    for (file, path) in export.files.iter().zip(&paths) {
        if source.is_some() && real(path) == source {
            let problem = "the export would be written over the model itself";
            return Err(Error::new(Stage::Usage, problem).in_file(path).hint("choose another name"));
        }
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder).map_err(|e| error::io(Stage::Output, folder, e))?;
        fs::write(path, &file.bytes).map_err(|e| error::io(Stage::Output, path, e))?;
    }
    Ok((paths, export.notes))
}
