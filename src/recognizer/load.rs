//! Loading of models of any kind: detection of the kind of file or folder, and choice of the engine.

use std::cell::OnceCell;
use std::path::{Path, PathBuf};

use crate::engine::{self, Engine, EngineKind, EngineOptions};
use crate::error::{Error, Result, Stage};
use crate::model::Network;
use crate::onnx::{self, Metadata, OnnxFile};

/// A loaded model: the engine and the metadata.
pub(super) struct Loaded {
    pub engine: Box<dyn Engine>,
    pub metadata: Metadata,
    /// Notes for the user: the engine that is used as a fallback, guessed states.
    pub notes: Vec<String>,
}

/// The kind of a model file.
enum ModelFile {
    /// A model of hearken.
    Own(Network<f32>, Metadata),
    /// Exported by hearken for another system.
    Exported(Metadata),
    /// Another program's model, with the file of its tokens.
    Foreign(PathBuf),
}

/// Path and options of a model to be loaded.
pub(super) struct Loader<'a> {
    path: &'a Path,
    /// Requested engine; `None` for native with models of hearken and [`engine::graph::default_kind`] with others.
    kind: Option<EngineKind>,
    tokens: Option<&'a Path>,
    options: &'a EngineOptions,
    /// The engine for graphs, with the reason why it is not onnxruntime. Chosen only when needed, since that loads
    /// onnxruntime's library.
    chosen: OnceCell<(EngineKind, Option<Error>)>,
}

impl<'a> Loader<'a> {
    pub fn new(
        path: &'a Path,
        kind: Option<EngineKind>,
        tokens: Option<&'a Path>,
        options: &'a EngineOptions,
    ) -> Self {
        Self { path, kind, tokens, options, chosen: OnceCell::new() }
    }

    /// Opens a model file of hearken, a file that hearken exported, a folder of sherpa-onnx, or a foreign ONNX
    /// file with states and tokens.
    ///
    /// # Errors
    /// When it is none of these, or the engine cannot run it; the error names file and place.
    pub fn load(&self) -> Result<Loaded> {
        if self.path.is_dir() {
            return self.folder();
        }
        let file = OnnxFile::read(self.path)?;
        let graphs = || self.graphs();
        let (engine, metadata) = match self.detect(&file)? {
            ModelFile::Own(network, metadata) => {
                let kind = self.kind.unwrap_or_default();
                let engine = engine::load(kind, &file, network, self.options)?;
                return Ok(Loaded { engine, metadata, notes: Vec::new() });
            }
            ModelFile::Exported(metadata) => {
                engine::sherpa::open_exported(&file, metadata, graphs(), self.options)
            }
            ModelFile::Foreign(path) => {
                let tokens = (engine::sherpa::read_tokens(&path)?, path.as_path());
                engine::sherpa::open_file(&file, tokens, graphs(), self.options)
            }
        }
        .map_err(|e| self.named(e))?;
        let guessed = file.interface(&self.options.states)?.states_note;
        Ok(Loaded { engine, metadata, notes: self.fallback_note().into_iter().chain(guessed).collect() })
    }

    /// Adds the path to an error and, if tract was the fallback, the reason why onnxruntime was not used.
    pub fn named(&self, error: Error) -> Error {
        let error = match self.chosen.get() {
            Some((_, Some(missing))) if error.stage() == Stage::Engine => {
                error.hint(format!("tract was used, since onnxruntime is not available: {missing}"))
            }
            _ => error,
        };
        if error.stage() == Stage::Usage { error } else { error.in_file(self.path) }
    }

    fn folder(&self) -> Result<Loaded> {
        if self.tokens.is_some() {
            return Err(self.unused("tokens", "a folder of sherpa-onnx has its own tokens.txt"));
        }
        let opened = engine::sherpa::open(self.path, self.graphs(), self.options);
        let (engine, metadata) = opened.map_err(|e| self.named(e))?;
        Ok(Loaded { engine, metadata, notes: self.fallback_note().into_iter().collect() })
    }

    /// Detects the kind of file, and rejects options that have no effect on it.
    fn detect(&self, file: &OnnxFile) -> Result<ModelFile> {
        let own = onnx::load::read_model(file);
        let exported = onnx::targets::exported_metadata(file);
        if own.is_ok() || exported.is_some() {
            let what = "the file was written by hearken and contains this information";
            let given = [("tokens", self.tokens.is_some()), ("states", !self.options.states.is_empty())];
            if let Some((setting, _)) = given.into_iter().find(|(_, is_given)| *is_given) {
                return Err(self.unused(setting, what));
            }
        }
        let beside = self.path.with_file_name("tokens.txt");
        let tokens = self.tokens.or_else(|| beside.is_file().then_some(beside.as_path()));
        match (own, exported, tokens) {
            (Ok((network, metadata)), ..) => Ok(ModelFile::Own(network, metadata)),
            (Err(_), Some(metadata), _) => Ok(ModelFile::Exported(metadata)),
            (Err(_), None, Some(path)) => Ok(ModelFile::Foreign(path.to_path_buf())),
            // A damaged file of hearken: the error of reading it as such is the relevant one.
            (Err(error), None, None) if file.is_hearken_model() => Err(self.named(error)),
            (Err(_), None, None) => {
                let problem = "the file is not a model of hearken, and no file of its tokens was found";
                let hint = "import it, or give its tokens";
                Err(self.named(Error::new(Stage::Model, problem).hint(hint).remedy("tokens")))
            }
        }
    }

    /// The engine for graphs that the native engine cannot run.
    fn graphs(&self) -> EngineKind {
        let choose = || match self.kind {
            Some(kind) => (kind, None),
            None => engine::graph::default_kind(self.options),
        };
        self.chosen.get_or_init(choose).0
    }

    /// A note if tract is used instead of onnxruntime.
    fn fallback_note(&self) -> Option<String> {
        let (_, missing) = self.chosen.get()?;
        missing
            .as_ref()
            .map(|missing| format!("tract runs the model, since onnxruntime is not available: {missing}"))
    }

    fn unused(&self, setting: &'static str, why: &str) -> Error {
        let problem = format!("a setting has no effect: {why}");
        Error::new(Stage::Usage, problem).in_file(self.path).hint("leave it out").remedy(setting)
    }
}
