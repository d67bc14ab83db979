//! `hearken export MODEL --for TARGET -o OUT`

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::{Outcome, Stop};
use crate::error::{Error, Stage, io as io_error};
use crate::onnx::export::write_bytes;
use crate::onnx::{self, Export, ExportOptions, Precision, Target, targets};
use crate::output::printable;
use crate::recognizer::embedded;

/// Write a model for another system.
///
/// onnxruntime: the plain graph, states in and out. sherpa-onnx: a streaming zipformer2-CTC model
/// and its tokens.txt. triton: a model repository, sequence batching with implicit state. whole:
/// no states, lengths instead, for whole recordings.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  hearken export model.onnx --for sherpa-onnx -o sherpa/\n  \
    hearken export model.onnx --for onnxruntime --precision int8 -o small.onnx\n  \
    hearken export --for triton --with-frontend --name digits -o repository/")]
pub(super) struct Args {
    /// The model; without it the digits model inside the program.
    #[arg(value_name = "MODEL")]
    model: Option<PathBuf>,

    /// The system: onnxruntime, sherpa-onnx, triton or whole.
    #[arg(long = "for", value_name = "TARGET")]
    target: String,

    /// A folder (made if it is not there); or, but for triton, the model's file, ending in .onnx,
    /// beside which the others go.
    #[arg(short, long, value_name = "OUT")]
    out: PathBuf,

    /// How weights are stored: fp32, fp16, int8 (both computed in float32), or int8-dynamic
    /// (linear layers computed in integers).
    #[arg(long, default_value = "fp32", value_name = "PRECISION")]
    precision: String,

    /// Put the front end into the graph: it takes samples instead of features.
    #[arg(long)]
    with_frontend: bool,

    /// Feature frames that sherpa-onnx or Triton feed at a time.
    #[arg(long, default_value_t = 32, value_name = "N")]
    chunk_frames: usize,

    /// The model's name in a Triton repository; without it the model file's.
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
}

pub(super) fn run(args: &Args) -> std::result::Result<Outcome, Stop> {
    let target: Target = args.target.parse()?;
    let precision: Precision = args.precision.parse()?;
    let (network, metadata) = match &args.model {
        Some(path) => onnx::read_file(path)?,
        None => onnx::read(embedded::digits())?,
    };
    let stem = args.model.as_deref().map_or(Some("digits".into()), |m| m.file_stem().map(|s| s.to_owned()));
    let name = args.name.clone().or(stem.map(|s| s.to_string_lossy().into_owned())).unwrap_or_default();
    let options = ExportOptions {
        target,
        precision,
        with_frontend: args.with_frontend,
        chunk_frames: args.chunk_frames,
        name,
    };
    let export = targets::export(&network, &metadata, &options)?;
    let out = io::stdout().lock();
    write(args, target, &export, out)
}

fn write(
    args: &Args,
    target: Target,
    export: &Export,
    mut out: impl Write,
) -> std::result::Result<Outcome, Stop> {
    let is_file = args.out.extension().is_some_and(|e| e == "onnx");
    if is_file && target == Target::Triton {
        let problem = "expected the folder of a model repository, found a file's name";
        return Err(Error::new(Stage::Usage, problem).in_file(&args.out).into());
    }
    for (i, file) in export.files.iter().enumerate() {
        let path = match (is_file, i) {
            (true, 0) => args.out.clone(),
            (true, _) => args.out.with_file_name(&file.path),
            (false, _) => args.out.join(&file.path),
        };
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        fs::create_dir_all(folder).map_err(|e| io_error(Stage::Output, folder, e))?;
        write_bytes(&path, &file.bytes)?;
        writeln!(out, "{}  {} bytes", printable(&path.to_string_lossy()), file.bytes.len())
            .map_err(|e| Stop::output(Path::new("standard output"), e))?;
    }
    for note in &export.notes {
        // Nobody may be there to read it.
        let _ = writeln!(io::stderr(), "hearken: note: {note}");
    }
    Ok(Outcome::Done)
}
