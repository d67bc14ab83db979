//! `hearken export MODEL --for TARGET -o OUT`

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::model::{ModelSource, print_note, read_own};
use super::{Outcome, Stop};
use crate::error::{Error, Result, Stage, io as io_error};
use crate::fs;
use crate::onnx::targets::ExportFile;
use crate::onnx::{self, Export, ExportOptions, Metadata, Precision, Target, targets};
use crate::recognizer::{Embedded, PhraseOptions};
use crate::text::phrases::Phrases;

/// Export a model for another system.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  hearken export model.onnx --for sherpa-onnx -o sherpa/\n  \
    hearken export model.onnx --for onnxruntime --precision int8 -o small.onnx\n  \
    hearken export --for sherpa-onnx --phrases lamps.txt -o lamps/\n  \
    hearken export --for triton --with-frontend --name digits -o repository/")]
pub(super) struct Args {
    /// Model to export: a file, or the embedded model `digits` or `english` [default: english with
    /// `--phrases`, else digits].
    #[arg(value_name = "MODEL")]
    model: Option<PathBuf>,

    /// Target system.
    #[arg(long = "for", value_name = "TARGET")]
    target: Target,

    /// Output folder, created if it does not exist; or, except for triton, the name of the model's file,
    /// ending in .onnx, with further files in the same folder.
    #[arg(short, long, value_name = "OUT")]
    out: PathBuf,

    /// Precision of the weights.
    #[arg(long, default_value = "fp32", value_name = "PRECISION")]
    precision: Precision,

    /// Include the feature extraction in the graph, so that its input is samples instead of features.
    #[arg(long)]
    with_frontend: bool,

    /// Feature frames in each call of the network, for sherpa-onnx and Triton [default: 32].
    #[arg(long, value_name = "N")]
    chunk_frames: Option<usize>,

    /// File of phrases (docs/words.md), for sherpa-onnx: the decoding graph that is written recognizes them. Requires a model
    /// whose tokens are the phones of English.
    #[arg(long, value_name = "FILE")]
    phrases: Option<PathBuf>,

    /// File of pronunciations of words of the phrases, a line each: `WORD  P R O N`. It takes precedence over the embedded
    /// English.
    #[arg(long, value_name = "FILE", requires = "phrases")]
    lexicon: Option<PathBuf>,

    /// Name of the model in a Triton repository [default: the name of the model file].
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
}

pub(super) fn run(args: &Args) -> std::result::Result<Outcome, Stop> {
    let (target, precision) = (args.target, args.precision);
    check_options(args, target)?;
    let default = if args.phrases.is_some() { Embedded::English } else { Embedded::Digits };
    let (stem, (network, mut metadata)) = match ModelSource::new(args.model.as_deref(), default) {
        ModelSource::Path(path) => (path.file_stem().unwrap_or_default().to_string_lossy(), read_own(path)?),
        ModelSource::Embedded(model) => (model.name().into(), onnx::read(model.model()?)?),
    };
    let name = args.name.clone().unwrap_or_else(|| stem.into_owned());
    let phrases = args.phrases.as_deref().map(|path| read_phrases(args, path, &mut metadata)).transpose()?;
    let plain = ExportOptions::new(target);
    let options = ExportOptions {
        precision,
        with_frontend: args.with_frontend,
        chunk_frames: args.chunk_frames.unwrap_or(plain.chunk_frames),
        name,
        phrases,
        ..plain
    };
    let export = targets::export(&network, &metadata, &options)?;
    let out = io::stdout().lock();
    write(args, &export, out)
}

/// Reads a file of phrases, and makes their words the lexicon of the model; prints the file's warnings.
fn read_phrases(args: &Args, path: &Path, metadata: &mut Metadata) -> Result<Arc<Phrases>> {
    let phrases = Phrases::read(path)?;
    phrases.warnings().iter().for_each(|warning| super::say(&format!("warning: {warning}")));
    let pronouncer = super::pronounce::open(None, args.lexicon.as_deref())?;
    metadata.decoder = PhraseOptions::default().decoder(metadata, &phrases, &pronouncer)?;
    Ok(Arc::new(phrases))
}

/// Refuses options without effect on the target, and outputs that an export cannot be written to.
fn check_options(args: &Args, target: Target) -> Result<()> {
    let unused = |option: &str, users: &str| {
        let problem = format!("`{option}` has no effect on the target {target}");
        Error::new(Stage::Usage, problem).hint(format!("it is for {users} only"))
    };
    if args.name.is_some() && target != Target::Triton {
        return Err(unused("--name", "triton"));
    }
    if args.phrases.is_some() && target != Target::SherpaOnnx {
        return Err(unused("--phrases", "sherpa-onnx"));
    }
    if args.chunk_frames.is_some() && !matches!(target, Target::SherpaOnnx | Target::Triton) {
        return Err(unused("--chunk-frames", "sherpa-onnx and triton"));
    }
    if args.out == Path::new("-") {
        let problem = "an export cannot be written to standard output";
        return Err(Error::new(Stage::Usage, problem).hint("name a folder, or a file ending in .onnx"));
    }
    if is_file(&args.out) && target == Target::Triton {
        let problem = "expected the folder of a model repository, found the name of a file";
        return Err(Error::new(Stage::Usage, problem).in_file(&args.out));
    }
    Ok(())
}

fn is_file(out: &Path) -> bool {
    out.extension().is_some_and(|e| e == "onnx")
}

/// The paths of the exported files, in their order; refuses to overwrite the model.
fn paths(args: &Args, export: &Export) -> Result<Vec<PathBuf>> {
    let path = |(i, file): (usize, &ExportFile)| match (is_file(&args.out), i) {
        (true, 0) => args.out.clone(),
        (true, _) => args.out.with_file_name(&file.path),
        (false, _) => args.out.join(&file.path),
    };
    let paths: Vec<PathBuf> = export.files.iter().enumerate().map(path).collect();
    // `None` for a file that does not exist yet.
    let real = |path: &Path| std::fs::canonicalize(path).ok();
    let model = args.model.as_deref().and_then(real);
    match paths.iter().find(|path| model.is_some() && real(path) == model) {
        Some(path) => {
            let problem = "the export would be written over the model itself";
            Err(Error::new(Stage::Usage, problem).in_file(path).hint("choose another `-o`"))
        }
        None => Ok(paths),
    }
}

fn write(args: &Args, export: &Export, mut out: impl Write) -> std::result::Result<Outcome, Stop> {
    let paths = paths(args, export)?;
    if !is_file(&args.out) && std::fs::metadata(&args.out).is_ok_and(|found| !found.is_dir()) {
        let problem = "expected a folder, or the name of a file ending in .onnx, found another file";
        return Err(Error::new(Stage::Usage, problem).in_file(&args.out).into());
    }
    for (file, path) in export.files.iter().zip(&paths) {
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder).map_err(|e| io_error(Stage::Output, folder, e))?;
        fs::write(path, &file.bytes).map_err(|e| io_error(Stage::Output, path, e))?;
        writeln!(out, "{}  {} bytes", fs::quoted(path), file.bytes.len())
            .map_err(|e| Stop::output(Path::new("standard output"), e))?;
    }
    for note in &export.notes {
        print_note(note);
    }
    Ok(Outcome::Done)
}
