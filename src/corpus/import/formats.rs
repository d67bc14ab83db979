//! The table of formats.

use super::listing::Listing;
use super::reader::Reader;
use super::{beside, json_lines, kaldi, labels, librispeech, table, textgrid, word_folders};

/// A format of a corpus.
#[derive(Debug)]
pub struct Format {
    /// Its name on the command line.
    pub name: &'static str,
    /// What it consists of.
    pub about: &'static str,
    /// Whether a folder seems to have it.
    pub(super) detect: fn(&Listing) -> bool,
    /// Reads all recordings.
    pub(super) read: fn(&mut Reader<'_>),
}

/// All formats, the most specific first: a folder is read in the first one that it has.
pub const FORMATS: [Format; 11] = [
    Format {
        name: "kaldi",
        about: "a Kaldi data folder: wav.scp, text, and perhaps utt2spk and segments",
        detect: kaldi::detect,
        read: kaldi::read,
    },
    Format {
        name: "common-voice",
        about: "Common Voice: clips/ and files such as validated.tsv",
        detect: table::common_voice_detect,
        read: table::common_voice_read,
    },
    Format {
        name: "ljspeech",
        about: "LJ Speech: wavs/ and metadata.csv with `name|text`",
        detect: table::ljspeech_detect,
        read: table::ljspeech_read,
    },
    Format {
        name: "librispeech",
        about: "LibriSpeech: files *.trans.txt beside recordings",
        detect: librispeech::detect,
        read: librispeech::read,
    },
    Format {
        name: "lhotse",
        about: "Lhotse: cuts.jsonl, or recordings.jsonl and supervisions.jsonl",
        detect: json_lines::lhotse_detect,
        read: json_lines::lhotse_read,
    },
    Format {
        name: "nemo",
        about: "NeMo: JSON lines with audio_filepath and text",
        detect: json_lines::nemo_detect,
        read: json_lines::nemo_read,
    },
    Format {
        name: "table",
        about: "a CSV or TSV file with a column of recordings and a column of texts",
        detect: table::detect,
        read: table::read,
    },
    Format {
        name: "textgrid",
        about: "Praat: x.TextGrid beside x.wav",
        detect: textgrid::detect,
        read: textgrid::read,
    },
    Format {
        name: "audacity",
        about: "Audacity: x.txt with labels (start, end, text) beside x.wav",
        detect: labels::detect,
        read: labels::read,
    },
    Format {
        name: "text-files",
        about: "x.txt or x.lab with the text beside x.wav",
        detect: beside::detect,
        read: beside::read,
    },
    Format {
        name: "word-folders",
        about: "a folder of recordings for each word, as in Speech Commands",
        detect: word_folders::detect,
        read: word_folders::read,
    },
];
