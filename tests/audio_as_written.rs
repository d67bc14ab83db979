//! Recordings as other programs write them, from a file, from memory and as a stream.

use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};

use hearken::Result;
use hearken::audio::{self, Problems, Source};

fn clip(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("audio").join(name)
}

fn drain(source: Result<Box<dyn Source>>) -> (Vec<f32>, Problems) {
    let mut source = source.unwrap();
    let mut samples = Vec::new();
    while source.read(&mut samples, 4000).unwrap() > 0 {}
    (samples, source.problems())
}

fn in_memory(bytes: &[u8]) -> (Vec<f32>, Problems) {
    drain(audio::open_bytes(bytes.to_vec(), "input", 16_000))
}

fn streamed(bytes: &[u8]) -> (Vec<f32>, Problems) {
    drain(audio::open_reader(Box::new(Cursor::new(bytes.to_vec())), "input", 16_000))
}

/// Name, seconds, and whether the recording is complete.
const RECORDINGS: [(&str, f64, bool); 8] = [
    // Variable bit rate, and no header with the length.
    ("talk_lame2.mp3", 13.401, true),
    // Two files joined; the header counts only the frames of the first.
    ("cat_two.mp3", 7.905, true),
    // A header that counts no frames.
    ("xing_0.mp3", 5.043, true),
    // Unknown sizes, as written by browsers and into pipes.
    ("live.webm", 2.873, true),
    ("piped.mka", 2.873, true),
    // Granule positions that begin at one hour.
    ("off.opus", 2.87, true),
    // One channel, then two.
    ("join_modes.mp3", 7.967, true),
    ("cut.opus", 0.994, false),
];

#[test]
fn recordings_are_read_completely_from_files_memory_and_streams() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/audio");
    for (name, seconds, whole) in RECORDINGS {
        let bytes = fs::read(folder.join(name)).unwrap();
        let (samples, problems) = drain(audio::open(&folder.join(name), 16_000));
        let found = samples.len() as f64 / 16_000.0;
        assert!((found - seconds).abs() < 0.03, "{name}: {found} s");
        assert_eq!(problems.is_empty(), whole, "{name}: {problems:?}");
        assert_eq!(problems.messages().is_empty(), whole, "{name}: {problems:?}");
        assert_eq!(in_memory(&bytes), (samples.clone(), problems), "{name} in memory");
        assert_eq!(streamed(&bytes), (samples, problems), "{name} as a stream");
    }
}

/// A mono WAV file of 16 bits, with a block size and sizes of the data and of the file as they are given.
fn wav(block: u8, riff_size: u32, data_size: u32, data: &[u8]) -> Vec<u8> {
    let mut file = b"RIFF".to_vec();
    file.extend(riff_size.to_le_bytes());
    file.extend(b"WAVEfmt \x10\0\0\0\x01\0\x01\0\x80\x3e\0\0\0\x7d\0\0");
    file.extend([block, 0, 16, 0]);
    file.extend(b"data");
    file.extend(data_size.to_le_bytes());
    file.extend(data);
    file
}

#[test]
fn samples_after_zero_sizes_are_read() {
    let samples = [0, 0x40].repeat(8);
    for riff_size in [0, 36] {
        assert_eq!(streamed(&wav(2, riff_size, 0, &samples)), (vec![0.5; 8], Problems::default()));
    }
}

#[test]
fn the_bits_per_sample_override_a_wrong_block_size() {
    assert_eq!(streamed(&wav(4, 40, 4, &[0, 0x40, 0, 0xe0])), (vec![0.5, -0.25], Problems::default()));
}

#[test]
fn bw64_sizes_are_read_from_the_ds64_chunk() {
    let mut file = b"BW64\xff\xff\xff\xffWAVEds64\x1c\0\0\0".to_vec();
    for size in [0u64, 4, 2] {
        file.extend(size.to_le_bytes());
    }
    file.extend([0; 4]);
    file.extend(b"fmt \x10\0\0\0\x01\0\x01\0\x80\x3e\0\0\0\x7d\0\0\x02\0\x10\0data\xff\xff\xff\xff");
    file.extend([0, 0x40, 0, 0xe0]);
    file.extend(b"LIST\x04\0\0\0abcd");
    assert_eq!(streamed(&file), (vec![0.5, -0.25], Problems::default()));
}

#[test]
fn long_tags_are_skipped_by_their_size() {
    // A picture of 3 MiB whose bytes look like MP3 frames.
    let mut tag = b"ID3\x04\0\0\x01\x40\0\0".to_vec();
    tag.extend([0xff, 0xfb, 0x90, 0x64].repeat(10 << 18 >> 4));
    tag.resize(10 + (1 << 21) + (64 << 14), 0);
    let size = (tag.len() - 10) as u32;
    for (i, shift) in [21, 14, 7, 0].into_iter().enumerate() {
        tag[6 + i] = (size >> shift & 0x7f) as u8;
    }
    for name in ["pi.mp3", "golden.flac"] {
        let sound = fs::read(clip(name)).unwrap();
        let (wanted, tagged) = (streamed(&sound), [&tag[..], &sound[..]].concat());
        assert_eq!(streamed(&tagged), wanted, "{name} as a stream");
        assert_eq!(in_memory(&tagged), wanted, "{name} in memory");
    }
}

#[test]
fn missing_and_damaged_pages_of_ogg_are_reported() {
    let bytes = fs::read(clip("voice-note.opus")).unwrap();
    let starts: Vec<usize> = (0..bytes.len() - 4).filter(|&i| &bytes[i..i + 4] == b"OggS").collect();
    // Two pages of headers, one page that is removed, and one after it.
    assert!(starts.len() > 3, "{starts:?}");
    let cut = [&bytes[..starts[2]], &bytes[starts[3]..]].concat();
    let mut flipped = bytes.clone();
    flipped[starts[2] + 60] ^= 1;
    for damaged in [cut, flipped] {
        let (_, problems) = streamed(&damaged);
        assert!(problems.gaps == 1 && !problems.truncated, "{problems:?}");
    }
}

#[test]
fn an_ogg_chain_of_two_sample_rates_is_read_to_its_end() {
    let (first, second) = (fs::read(clip("pi.ogg")).unwrap(), fs::read(clip("voice-note.opus")).unwrap());
    let alone = streamed(&first).0.len() + streamed(&second).0.len();
    let (samples, problems) = streamed(&[first, second].concat());
    assert!(samples.len().abs_diff(alone) < 16, "{} for {alone}", samples.len());
    assert_eq!(problems, Problems::default());
}

#[test]
fn an_unknown_codec_is_named() {
    // An Ogg page with the head of a Speex stream, and its checksum.
    let speex = b"OggS\0\x02\0\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0";
    let mut page = speex.to_vec();
    let body = b"Speex   1.2";
    page.extend([0, 0, 0, 0, 1, body.len() as u8]);
    page.extend(body);
    let crc = page.iter().fold(0u32, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte) << 24, |crc, _| {
            crc << 1 ^ if crc >> 31 == 1 { 0x04c1_1db7 } else { 0 }
        })
    });
    page[22..26].copy_from_slice(&crc.to_le_bytes());
    let error = audio::open_bytes(page, "input", 16_000).err().unwrap();
    assert!(error.to_string().contains("found Speex"), "{error}");
}
