//! Checkpoints: all that a run needs to go on as if it had never stopped. Written beside, flushed,
//! renamed: a kill at any moment leaves the last good one.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::optimizer::AdamW;
use crate::error::{Error, Result, Stage, io};
use crate::fs;

const MAGIC: &[u8; 8] = b"hearken\x01";

/// The readable part.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Header {
    /// Updates done.
    pub step: u64,
    /// The recipe as it was read.
    pub recipe: String,
    pub threads: usize,
    /// The best dev score so far, and the update that made it.
    pub best: Option<(f64, u64)>,
    /// Length of each parameter.
    lengths: Vec<usize>,
    /// Length of the feature statistics.
    features: usize,
}

/// A run's state between two updates.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    pub header: Header,
    pub parameters: Vec<Vec<f32>>,
    pub adam: AdamW,
    /// Mean and scale of the features.
    pub mean: Vec<f32>,
    pub scale: Vec<f32>,
}

impl Checkpoint {
    /// Puts a state together.
    pub fn new(
        (step, recipe, threads, best): (u64, &str, usize, Option<(f64, u64)>),
        parameters: &[Vec<f32>],
        adam: &AdamW,
        (mean, scale): (&[f32], &[f32]),
    ) -> Self {
        let lengths = parameters.iter().map(Vec::len).collect();
        Self {
            header: Header { step, recipe: recipe.into(), threads, best, lengths, features: mean.len() },
            parameters: parameters.to_vec(),
            adam: adam.clone(),
            mean: mean.to_vec(),
            scale: scale.to_vec(),
        }
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

    /// Writes the checkpoint; the file at `path` is whole at any moment.
    ///
    /// # Errors
    /// When the disk does not take it; what was there stays.
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
    /// When the file is not one, is cut short or was changed.
    pub fn read(path: &Path) -> Result<Self> {
        let mut bytes = Vec::new();
        File::open(path)
            .and_then(|mut f| f.read_to_end(&mut bytes))
            .map_err(|e| io(Stage::Train, path, e))?;
        Self::decode(&bytes).ok_or_else(|| {
            Error::new(Stage::Train, "this is not a whole checkpoint of hearken").in_file(path)
        })
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (body, sum) = bytes.split_last_chunk::<8>()?;
        if u64::from_le_bytes(*sum) != checksum(body) {
            return None;
        }
        let (length, rest) = body.strip_prefix(MAGIC)?.split_first_chunk::<8>()?;
        let length = usize::try_from(u64::from_le_bytes(*length)).ok()?;
        let header: Header = serde_json::from_slice(rest.get(..length)?).ok()?;
        let values: Vec<f32> =
            rest[length..].as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
        let total: usize = header.lengths.iter().sum();
        if values.len() != 4 * total + 2 * header.features {
            return None;
        }
        let mut at = 0;
        let mut take = |n: usize| {
            at += n;
            values[at - n..at].to_vec()
        };
        let mut list = || header.lengths.iter().map(|&n| take(n)).collect::<Vec<_>>();
        let (parameters, first, second, average) = (list(), list(), list(), list());
        let (mean, scale) = (take(header.features), take(header.features));
        Some(Self { header, parameters, adam: AdamW { first, second, average }, mean, scale })
    }
}

/// FNV-1a over 8-byte words: notices cut and changed files, not attackers.
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
    fn a_checkpoint_comes_back_and_a_cut_one_is_refused() {
        let parameters = vec![vec![1.0f32, -2.5], vec![0.25; 3]];
        let mut adam = AdamW::new(&parameters);
        adam.second[1][2] = 7.0;
        let whole = Checkpoint::new(
            (12, "[run]", 2, Some((0.5, 10))),
            &parameters,
            &adam,
            (&[1.0, 2.0], &[3.0, 4.0]),
        );
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("checkpoint.bin");
        whole.write(&path).expect("room on the disk");
        assert_eq!(Checkpoint::read(&path).expect("a whole file"), whole);
        let bytes = std::fs::read(&path).expect("the file");
        for cut in [0, 7, 20, bytes.len() - 1] {
            assert!(Checkpoint::decode(&bytes[..cut]).is_none(), "cut at {cut}");
        }
        let mut changed = bytes.clone();
        changed[bytes.len() / 2] ^= 1;
        assert!(Checkpoint::decode(&changed).is_none());
    }
}
