//! Checkpoints: the state of a run, from which it can resume as if it had never stopped. A checkpoint is
//! written to a new file, flushed and renamed, so that a complete one exists at any moment. The last two
//! are kept.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::adaptive::Adaptive;
use super::optimizer::AdamW;
use crate::error::{Error, Result, Stage, io};
use crate::fs;

const MAGIC: &[u8; 8] = b"hearken\x01";

/// File names of the last checkpoint and of the previous one.
pub const NAMES: [&str; 2] = ["checkpoint.bin", "checkpoint-previous.bin"];

/// The best dev score so far (`None` if nothing is scored) and the number of the update that reached it.
pub type Best = (Option<f64>, u64);

/// The metadata of a checkpoint, stored as JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Header {
    /// Number of updates done.
    pub step: u64,
    /// The recipe as TOML.
    pub recipe: String,
    /// Number of threads that the run was started with.
    pub threads: usize,
    /// The best dev score so far; `None` before the first evaluation.
    pub best: Option<Best>,
    /// The bits of the best score, because JSON does not keep the last bit of a number.
    #[serde(default)]
    best_bits: Option<u64>,
    /// What depends on dev scores and on divergence.
    #[serde(default)]
    pub adaptive: Adaptive,
    /// Whether each parameter is frozen, so that the optimizer has no state for it; empty if none is.
    #[serde(default)]
    frozen: Vec<bool>,
    /// Length of each parameter.
    lengths: Vec<usize>,
    /// Length of the feature statistics.
    features: usize,
}

impl Header {
    /// A header, whose lengths [`Checkpoint::new`] fills in.
    pub fn new(step: u64, recipe: String, threads: usize, best: Option<Best>) -> Self {
        Self {
            step,
            recipe,
            threads,
            best,
            best_bits: best.and_then(|(score, _)| score).map(f64::to_bits),
            adaptive: Adaptive::default(),
            frozen: Vec::new(),
            lengths: Vec::new(),
            features: 0,
        }
    }
}

/// A run's state between two updates.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    /// Step, recipe and best score.
    pub header: Header,
    /// The values of each parameter, in the network's order.
    pub parameters: Vec<Vec<f32>>,
    /// The state of the optimizer.
    pub adam: AdamW,
    /// Mean of the features, `[F]`.
    pub mean: Vec<f32>,
    /// Scale of the features, `[F]`.
    pub scale: Vec<f32>,
}

/// Whether a folder contains a checkpoint to resume from.
pub fn exists(folder: &Path) -> bool {
    NAMES.iter().any(|name| folder.join(name).exists())
}

/// Saves `checkpoint` as the last one of the folder; the one that was last becomes the previous one, or is replaced if
/// not `keeps_last`.
///
/// # Errors
/// When it cannot be written or contains numbers that are not finite; the folder is then unchanged.
pub fn save(folder: &Path, checkpoint: &Checkpoint, keeps_last: bool) -> Result<()> {
    let [last, previous] = NAMES.map(|name| folder.join(name));
    if !checkpoint.is_finite() {
        return Err(
            Error::new(Stage::Train, "the weights are no longer finite; they are not saved").in_file(last)
        );
    }
    let beside = folder.join("checkpoint-new.bin");
    checkpoint.write(&beside)?;
    if last.exists() && keeps_last {
        std::fs::rename(&last, &previous).map_err(|e| io(Stage::Train, &previous, e))?;
    }
    std::fs::rename(&beside, &last).map_err(|e| io(Stage::Train, &last, e))
}

/// Reads the last checkpoint of a folder, or the previous one if a run was killed while saving.
///
/// # Errors
/// As [`Checkpoint::read`].
pub fn last(folder: &Path) -> Result<Checkpoint> {
    let [last, previous] = NAMES.map(|name| folder.join(name));
    let path = if last.exists() || !previous.exists() { &last } else { &previous };
    Checkpoint::read(path).map_err(|error| match previous.exists() {
        true if path == &last => error.hint(format!("{} is the previous checkpoint", previous.display())),
        _ => error,
    })
}

/// The checkpoint to go on from after update `step` of a run diverged. A later one, whose weights led to it, is discarded.
/// So is one that is not at a multiple of `interval`, because an uninterrupted run does not have it. `None` if none is left.
///
/// # Errors
/// When the files cannot be read or moved.
pub fn before(folder: &Path, step: u64, interval: u64) -> Result<Option<Checkpoint>> {
    let [last, previous] = NAMES.map(|name| folder.join(name));
    let is_good = |checkpoint: &Checkpoint| {
        checkpoint.header.step < step && checkpoint.header.step.is_multiple_of(interval)
    };
    if !last.exists() && previous.exists() {
        // A run was killed while saving.
        std::fs::rename(&previous, &last).map_err(|e| io(Stage::Train, &last, e))?;
    }
    while last.exists() {
        let checkpoint = Checkpoint::read(&last)?;
        if is_good(&checkpoint) {
            return Ok(Some(checkpoint));
        }
        if previous.exists() {
            std::fs::rename(&previous, &last).map_err(|e| io(Stage::Train, &last, e))?;
        } else {
            std::fs::remove_file(&last).map_err(|e| io(Stage::Train, &last, e))?;
        }
    }
    Ok(None)
}

impl Checkpoint {
    /// Assembles the state of a run.
    pub fn new(
        mut header: Header,
        parameters: &[Vec<f32>],
        adam: &AdamW,
        mean: &[f32],
        scale: &[f32],
    ) -> Self {
        header.lengths = parameters.iter().map(Vec::len).collect();
        header.frozen = (0..parameters.len()).map(|i| adam.is_frozen(i)).collect();
        if !header.frozen.contains(&true) {
            header.frozen = Vec::new();
        }
        header.features = mean.len();
        Self {
            header,
            parameters: parameters.to_vec(),
            adam: adam.clone(),
            mean: mean.to_vec(),
            scale: scale.to_vec(),
        }
    }

    /// Whether all weights are finite.
    pub fn is_finite(&self) -> bool {
        self.blocks().flatten().all(|value| value.is_finite())
    }

    fn blocks(&self) -> impl Iterator<Item = &Vec<f32>> {
        let adam = &self.adam;
        self.parameters
            .iter()
            .chain(&adam.first)
            .chain(&adam.second)
            .chain(&adam.average)
            .chain([&self.mean, &self.scale])
    }

    /// Writes the checkpoint atomically.
    ///
    /// # Errors
    /// When the file cannot be written; an existing file is then unchanged.
    pub fn write(&self, path: &Path) -> Result<()> {
        let header = serde_json::to_vec(&self.header).map_err(|e| Error::new(Stage::Train, e.to_string()))?;
        let mut bytes = Vec::new();
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&(header.len() as u64).to_le_bytes());
        bytes.extend_from_slice(&header);
        for value in self.blocks().flatten() {
            bytes.extend_from_slice(&value.to_le_bytes());
        }
        bytes.extend_from_slice(&checksum(&bytes).to_le_bytes());
        fs::write(path, &bytes).map_err(|e| io(Stage::Train, path, e))
    }

    /// Reads a checkpoint.
    ///
    /// # Errors
    /// When the file is not a checkpoint, is truncated or was changed.
    pub fn read(path: &Path) -> Result<Self> {
        let mut bytes = Vec::new();
        File::open(path)
            .and_then(|mut f| f.read_to_end(&mut bytes))
            .map_err(|e| io(Stage::Train, path, e))?;
        Self::decode(&bytes).ok_or_else(|| {
            Error::new(Stage::Train, "expected a complete checkpoint of hearken").in_file(path)
        })
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (body, sum) = bytes.split_last_chunk::<8>()?;
        if u64::from_le_bytes(*sum) != checksum(body) {
            return None;
        }
        let (length, rest) = body.strip_prefix(MAGIC)?.split_first_chunk::<8>()?;
        let length = usize::try_from(u64::from_le_bytes(*length)).ok()?;
        let mut header: Header = serde_json::from_slice(rest.get(..length)?).ok()?;
        if let (Some((Some(score), _)), Some(bits)) = (&mut header.best, header.best_bits) {
            *score = f64::from_bits(bits);
        }
        let values: Vec<f32> =
            rest[length..].as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
        let is_frozen = |i: usize| header.frozen.get(i).copied().unwrap_or(false);
        let trained: Vec<usize> =
            header.lengths.iter().enumerate().map(|(i, &n)| if is_frozen(i) { 0 } else { n }).collect();
        let total = header.lengths.iter().sum::<usize>() + 3 * trained.iter().sum::<usize>();
        if values.len() != total + 2 * header.features {
            return None;
        }
        let mut at = 0;
        let mut take = |n: usize| {
            at += n;
            values[at - n..at].to_vec()
        };
        let mut list = |lengths: &[usize]| lengths.iter().map(|&n| take(n)).collect::<Vec<_>>();
        let (parameters, first) = (list(&header.lengths), list(&trained));
        let (second, average) = (list(&trained), list(&trained));
        let (mean, scale) = (take(header.features), take(header.features));
        Some(Self { header, parameters, adam: AdamW { first, second, average }, mean, scale })
    }
}

/// FNV-1a over 8-byte words, which detects truncated and damaged files.
fn checksum(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let mut hash = 0xcbf2_9ce4_8422_2325u64;
    for word in words {
        hash = (hash ^ u64::from_le_bytes(*word)).wrapping_mul(0x0100_0000_01b3);
    }
    for &byte in rest {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    hash ^ bytes.len() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_is_read_back_and_a_truncated_one_is_refused() {
        let parameters = vec![vec![1.0f32, -2.5], vec![0.25; 3]];
        let mut adam = AdamW::new(&parameters);
        adam.second[1][2] = 7.0;
        let header = Header::new(12, "[run]".into(), 2, Some((Some(0.5), 10)));
        let whole = Checkpoint::new(header, &parameters, &adam, &[1.0, 2.0], &[3.0, 4.0]);
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("checkpoint.bin");
        whole.write(&path).expect("space on the disk");
        assert_eq!(Checkpoint::read(&path).expect("a whole file"), whole);
        let bytes = std::fs::read(&path).expect("the file");
        for cut in [0, 7, 20, bytes.len() - 1] {
            assert!(Checkpoint::decode(&bytes[..cut]).is_none(), "cut at {cut}");
        }
        let mut changed = bytes.clone();
        changed[bytes.len() / 2] ^= 1;
        assert!(Checkpoint::decode(&changed).is_none());
    }

    fn at(step: u64, weight: f32) -> Checkpoint {
        let parameters = vec![vec![weight]];
        let header = Header::new(step, String::new(), 1, None);
        Checkpoint::new(header, &parameters, &AdamW::new(&parameters), &[0.0], &[1.0])
    }

    #[test]
    fn the_previous_checkpoint_is_kept_and_one_that_is_not_finite_is_not_saved() {
        let folder = tempfile::tempdir().expect("a folder");
        let step = || last(folder.path()).map(|checkpoint| checkpoint.header.step);
        for (number, weight) in [(1, 0.5), (2, 0.25)] {
            save(folder.path(), &at(number, weight), true).expect("saved");
        }
        for weight in [f32::NAN, f32::INFINITY] {
            assert!(save(folder.path(), &at(3, weight), true).is_err());
        }
        assert_eq!(step().expect("there"), 2);
        // The run was killed between the two renames.
        std::fs::remove_file(folder.path().join(NAMES[0])).expect("there");
        assert_eq!(step().expect("there"), 1);
        save(folder.path(), &at(4, 1.0), true).expect("saved");
        save(folder.path(), &at(5, 1.0), false).expect("saved");
        save(folder.path(), &at(6, 1.0), false).expect("saved");
        // The weights of update 6 diverged.
        let good = |step, interval| {
            before(folder.path(), step, interval).expect("read").map(|checkpoint| checkpoint.header.step)
        };
        assert_eq!((good(6, 1), step().expect("there")), (Some(1), 1));
        assert_eq!((good(6, 2), exists(folder.path())), (None, false), "update 1 is not at the interval");
    }

    #[test]
    fn the_state_of_frozen_parameters_is_not_stored() {
        let parameters = vec![vec![1.0f32, -2.5], vec![0.25; 3]];
        let mut adam = AdamW::new(&parameters);
        adam.freeze(&parameters, &[true, false]);
        let whole =
            Checkpoint::new(Header::new(2, String::new(), 1, None), &parameters, &adam, &[1.0], &[3.0]);
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("checkpoint.bin");
        whole.write(&path).expect("space on the disk");
        let mut read = Checkpoint::read(&path).expect("a whole file");
        assert_eq!(read, whole);
        assert!(read.adam.first[0].is_empty() && read.adam.averages(&parameters).eq(&parameters));
        read.adam.freeze(&parameters, &[false, false]);
        assert_eq!(read.adam, AdamW::new(&parameters), "trained again");
    }
}
