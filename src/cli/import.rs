//! `hearken import FILE.onnx -o MODEL.onnx`

use std::io::Write;
use std::path::{Path, PathBuf};

use super::{Outcome, Stop, check_output};
use crate::error::{self, Error, Stage};
use crate::onnx::import::{ImportOptions, import_file, parse_features, parse_tokens};
use crate::onnx::{OnnxFile, write_file};
use crate::output::printable;
use crate::train::recipe::NetworkTable;

/// Convert a foreign ONNX file to a model of hearken's own, which can be trained further and exported again.
///
/// The file must contain a stack of RNN, GRU or LSTM layers exported by PyTorch or Keras, or be an export of hearken's, with any
/// cells.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: hearken import torch.onnx --tokens tokens.txt -o model.onnx")]
pub(super) struct Args {
    /// Foreign ONNX file.
    #[arg(value_name = "FILE.onnx")]
    file: PathBuf,

    /// Output file.
    #[arg(short, long, value_name = "MODEL.onnx")]
    out: PathBuf,

    /// Tokens by id: a line `symbol id` for each, or a JSON list.
    #[arg(long, value_name = "FILE")]
    tokens: Option<PathBuf>,

    /// Features that the model was trained on: kaldi, wenet, JSON, or a JSON file.
    #[arg(long, value_name = "FEATURES")]
    features: Option<String>,

    /// Number of feature frames that are stacked before they are passed to the graph.
    #[arg(long, default_value_t = 1, value_name = "S", value_parser = clap::value_parser!(u16).range(1..=1000))]
    subsampling: u16,
}

/// Maximum size of a file of tokens or features, bytes.
const MAX_TEXT: u64 = 1 << 26;

pub(super) fn run(args: &Args) -> Result<Outcome, Stop> {
    check_output(&args.out, std::iter::once(&args.file).chain(&args.tokens))?;
    let tokens = match &args.tokens {
        Some(path) => Some(parse_tokens(&text(path)?).map_err(|e| e.in_file(path))?),
        None => None,
    };
    let features = match &args.features {
        Some(given) if Path::new(given).is_file() => {
            Some(parse_features(&text(Path::new(given))?).map_err(|e| e.in_file(given))?)
        }
        // A file name rather than features.
        Some(given) if given.ends_with(".json") || !given.trim().starts_with('{') && given.contains('/') => {
            let problem = "the file of features does not exist";
            return Err(Error::new(Stage::Usage, problem).in_file(given).into());
        }
        Some(given) => Some(parse_features(given)?),
        None => None,
    };
    let options = ImportOptions {
        tokens,
        tokens_from: args.tokens.clone(),
        features,
        subsampling: args.subsampling.into(),
    };
    let file = OnnxFile::read(&args.file)?;
    let imported = import_file(&file, &options).map_err(|e| e.in_file(&args.file))?;
    let folder = args.out.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).map_err(|e| error::io(Stage::Output, folder, e))?;
    write_file(&args.out, &imported.network, &imported.metadata)?;
    let mut err = std::io::stderr();
    for note in &imported.notes {
        // Standard error may be closed.
        let _ = writeln!(err, "hearken: {}", printable(note));
    }
    let layers: Vec<String> =
        imported.network.config.layers.iter().map(|l| format!("{} {}", l.cell.family(), l.hidden)).collect();
    let config = &imported.network.config;
    writeln!(
        std::io::stdout(),
        "{}: {} features, {} parameters, {}, {} tokens",
        crate::fs::quoted(&args.out),
        config.num_features,
        imported.network.num_parameters(),
        layers.join(" + "),
        config.num_tokens
    )
    .map_err(|e| Stop::output(&args.out, e))?;
    let table = NetworkTable::from_config(config).to_toml()?;
    writeln!(
        std::io::stdout(),
        "\nthe table of the network in a recipe, for `hearken train --from {}`:\n\n{table}",
        crate::fs::quoted(&args.out)
    )
    .map_err(|e| Stop::output(&args.out, e))?;
    Ok(Outcome::Done)
}

fn text(path: &Path) -> Result<String, Error> {
    use std::io::Read;
    let failed = |e| error::io(Stage::Model, path, e);
    let mut text = String::new();
    std::fs::File::open(path).map_err(failed)?.take(MAX_TEXT).read_to_string(&mut text).map_err(failed)?;
    Ok(text)
}
