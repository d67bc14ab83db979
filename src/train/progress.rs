//! The events that a training run reports.

use serde::{Deserialize, Serialize};

use super::score::DevScore;

/// The receiver of a run's events.
pub(super) type Report<'r> = &'r mut dyn FnMut(Progress);

/// An event of a training run.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Progress {
    /// Number of recordings read, and of all recordings.
    Loading(usize, usize),
    /// A recording is left out: manifest, line, and reason.
    LeftOut(String),
    /// Something about the data that the author of the recipe may not have intended.
    Note(String),
    /// The data are loaded and the first update begins.
    Started(Start),
    /// An update is done: its number, and the number of all updates.
    Updated(u64, u64),
    /// Statistics of the last updates, every `log_interval` updates.
    Step(Step),
    /// Number of dev sets scored, and of all dev sets.
    Scoring(usize, usize),
    /// All dev sets are scored.
    Scores(Scores),
    /// The run has ended.
    Done(Ended),
}

/// The start of a run.
#[derive(Clone, Debug)]
pub struct Start {
    /// Number of parameters of the network, including those used in training only.
    pub parameters: usize,
    /// Number of distinct recordings.
    pub recordings: usize,
    /// Total duration of the recordings, hours.
    pub hours: f64,
    /// Number of updates done before; more than 0 if the run is resumed.
    pub step: u64,
    /// Number of updates of the whole run.
    pub steps: u64,
}

/// Statistics over the updates since the previous event of this kind.
#[derive(Clone, Debug)]
pub struct Step {
    /// Number of updates done.
    pub step: u64,
    /// Number of updates of the whole run.
    pub steps: u64,
    /// Mean CTC loss per label, nats.
    pub loss: f64,
    /// Mean CTC loss of the auxiliary output per label, if there is one.
    pub auxiliary_loss: Option<f64>,
    /// Mean MMI loss per utterance, if that criterion is used.
    pub mmi_loss: Option<f64>,
    /// Mean consistency loss per label, if that criterion is used.
    pub consistency_loss: Option<f64>,
    /// Mean norm of the gradient before clipping.
    pub gradient_norm: f64,
    /// Learning rate of the last update.
    pub learning_rate: f64,
    /// Fraction of time steps whose most probable token is the blank.
    pub blank_share: f64,
    /// Training speed, utterances per second.
    pub utterances_per_second: f64,
    /// Norms of the last update by layer, from the input to the outputs.
    pub layers: Vec<LayerNorms>,
}

/// Norms of one update of a layer's parameters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LayerNorms {
    /// `input`, `layer 1` and so on, `output`, `auxiliary`.
    pub name: String,
    /// Norm of the gradient before clipping.
    pub gradient: f64,
    /// Norm of the change of the weights.
    pub update: f64,
    /// Norm of the weights after it.
    pub weights: f64,
}

/// The scores of the dev sets after an update.
#[derive(Clone, Debug)]
pub struct Scores {
    /// Number of updates done.
    pub step: u64,
    /// The scores in the order of the recipe's `[[data.dev]]`.
    pub sets: Vec<DevScore>,
    /// Their weighted sum, lower being better; `None` if nothing is scored.
    pub total: Option<f64>,
    /// Whether this is the best score of the run so far.
    pub best: bool,
    /// Whether the dev sets contain words but the model output none.
    pub outputs_nothing: bool,
}

/// The result of a run.
#[derive(Clone, Debug)]
pub struct Ended {
    /// Number of updates done.
    pub step: u64,
    /// The best score (`None` if nothing is scored) and the number of the update that reached it.
    pub best: Option<(Option<f64>, u64)>,
    /// Whether the best model outputs no words, as far as that was scored in this session.
    pub outputs_nothing: bool,
    /// Whether it was stopped before its last update.
    pub stopped: bool,
    /// Whether it ended before its last update because of [`super::recipe::EarlyStopping`].
    pub ended_early: bool,
}
