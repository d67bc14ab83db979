//! What a run reports as it goes.

use super::score::DevScore;

/// News of a run.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Progress {
    /// Recordings read, of how many.
    Loading(usize, usize),
    /// A recording left out: manifest, line, and why.
    LeftOut(String),
    /// Something that may not be as the recipe's author meant it.
    Note(String),
    Started(Start),
    /// An update is done: its number, of how many.
    Updated(u64, u64),
    Step(Step),
    /// Dev sets scored, of how many.
    Scoring(usize, usize),
    Scores(Scores),
    Done(Ended),
}

/// What a run begins with.
#[derive(Clone, Debug)]
pub struct Start {
    pub parameters: usize,
    /// Distinct recordings, and how long they are together.
    pub recordings: usize,
    pub hours: f64,
    /// The first update, and the last one.
    pub step: u64,
    pub steps: u64,
}

/// Means over the updates since the last one of these.
#[derive(Clone, Debug)]
pub struct Step {
    pub step: u64,
    pub steps: u64,
    /// CTC's loss a label.
    pub loss: f64,
    /// That of the auxiliary output, if there is one.
    pub auxiliary_loss: Option<f64>,
    /// That of maximum mutual information an utterance, if it is on.
    pub mmi_loss: Option<f64>,
    /// The disagreement of two views a label, if there are two.
    pub consistency_loss: Option<f64>,
    /// Length of the gradient before it is clipped.
    pub gradient_norm: f64,
    pub learning_rate: f64,
    /// The share of steps whose likeliest token is the blank.
    pub blank_share: f64,
    pub utterances_per_second: f64,
}

/// The dev sets' scores after an update.
#[derive(Clone, Debug)]
pub struct Scores {
    pub step: u64,
    pub sets: Vec<DevScore>,
    /// Their weighted sum; `None` where nothing is scored.
    pub total: Option<f64>,
    pub best: bool,
    /// Words are said in the dev sets, and none was written.
    pub writes_nothing: bool,
}

/// How a run ended.
#[derive(Clone, Debug)]
pub struct Ended {
    /// Updates done.
    pub step: u64,
    /// The best score (`None` where nothing is scored) and the update that made it.
    pub best: Option<(Option<f64>, u64)>,
    /// The model of the best score writes nothing, as far as that was scored in this session.
    pub writes_nothing: bool,
    /// It was asked to stop before its last update.
    pub stopped: bool,
}
