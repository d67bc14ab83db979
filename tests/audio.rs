//! Reading and resampling of all audio formats, and refusal of other files.

use std::f64::consts::TAU;
use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};

use hearken::Result;
use hearken::audio::{
    self, Encoding, Problems, RawFormat, Resampler, Source, WavEncoding, resampled_len, write_wav,
};
use proptest::prelude::*;

fn clip(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("audio").join(name)
}

fn tone(hz: f64, rate: u32, samples: usize) -> Vec<f32> {
    (0..samples).map(|i| (0.5 * (TAU * hz * i as f64 / f64::from(rate)).sin()) as f32).collect()
}

fn drain(source: &mut dyn Source, chunk: usize) -> Result<(Vec<f32>, Problems)> {
    let mut samples = Vec::new();
    while source.read(&mut samples, chunk)? > 0 {}
    Ok((samples, source.problems()))
}

fn open_bytes(bytes: Vec<u8>, rate: u32) -> Result<(Vec<f32>, Problems)> {
    let mut source = audio::open_reader(Box::new(Cursor::new(bytes)), "input", rate)?;
    drain(source.as_mut(), 1000)
}

/// Ratio of the mean square of the difference to that of the signal, in dB, without a margin at both ends.
fn noise_db(found: &[f32], wanted: &[f32], margin: usize) -> f64 {
    let n = found.len().min(wanted.len()) - margin;
    let square = |x: f32| f64::from(x) * f64::from(x);
    let noise: f64 = (margin..n).map(|i| square(found[i] - wanted[i])).sum();
    let signal: f64 = (margin..n).map(|i| square(wanted[i])).sum();
    10.0 * (noise / signal).log10()
}

/// Number of samples by which `b` lags behind `a`: the maximum of their correlation.
fn lag(a: &[f32], b: &[f32], max_lag: usize) -> i64 {
    let max_lag = max_lag as i64;
    let score = |lag: i64| -> f64 {
        a.iter()
            .enumerate()
            .filter_map(|(i, x)| b.get(usize::try_from(i as i64 + lag).ok()?).map(|y| f64::from(x * y)))
            .sum()
    };
    (-max_lag..=max_lag).max_by(|x, y| score(*x).total_cmp(&score(*y))).unwrap()
}

// WAV

/// A WAV file with any format tag, extensible or not, and any length in its header.
fn wav(
    tag: u16,
    channels: u16,
    rate: u32,
    bits: u16,
    extensible: bool,
    data: &[u8],
    declared_len: u32,
) -> Vec<u8> {
    let block = channels * bits.div_ceil(8);
    let mut fmt = Vec::new();
    fmt.extend(if extensible { 0xfffe } else { tag }.to_le_bytes());
    fmt.extend(channels.to_le_bytes());
    fmt.extend(rate.to_le_bytes());
    fmt.extend((rate.wrapping_mul(u32::from(block))).to_le_bytes());
    fmt.extend(block.to_le_bytes());
    fmt.extend(bits.to_le_bytes());
    if extensible {
        fmt.extend([22, 0]);
        fmt.extend(bits.to_le_bytes());
        fmt.extend([0; 4]);
        fmt.extend(tag.to_le_bytes());
        fmt.extend([0, 0, 0, 0, 0x10, 0, 0x80, 0, 0, 0xaa, 0, 0x38, 0x9b, 0x71]);
    }
    let mut file = b"RIFF".to_vec();
    file.extend((20 + fmt.len() as u32).saturating_add(declared_len).to_le_bytes());
    file.extend(b"WAVEfmt ");
    file.extend((fmt.len() as u32).to_le_bytes());
    file.extend(fmt);
    // A chunk of odd length before the samples, with its byte of padding.
    file.extend(b"LIST\x03\0\0\0abc\0data");
    file.extend(declared_len.to_le_bytes());
    file.extend(data);
    file
}

fn whole_wav(tag: u16, channels: u16, rate: u32, bits: u16, extensible: bool, data: &[u8]) -> Vec<u8> {
    wav(tag, channels, rate, bits, extensible, data, data.len() as u32)
}

#[test]
fn wav_agrees_with_hound_at_every_depth_and_channel_count() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x.wav");
    for bits in [8u16, 16, 24, 32] {
        for channels in [1u16, 2, 6] {
            let spec = hound::WavSpec {
                channels,
                sample_rate: 16_000,
                bits_per_sample: bits,
                sample_format: hound::SampleFormat::Int,
            };
            let full = f64::from(1u32 << (bits - 1));
            let mut writer = hound::WavWriter::create(&path, spec).unwrap();
            let mut wanted = Vec::new();
            for i in 0..500 {
                let mut sum = 0.0;
                for c in 0..channels {
                    let value = (full * 0.9 * (f64::from(i) * 0.1 + f64::from(c)).sin()) as i32;
                    sum += f64::from(value) / full;
                    writer.write_sample(value).unwrap();
                }
                wanted.push((sum / f64::from(channels)) as f32);
            }
            writer.finalize().unwrap();
            let found = audio::read_all(&path, 16_000).unwrap();
            assert_eq!(found.len(), wanted.len(), "{bits} bits, {channels} channels");
            for (f, w) in found.iter().zip(&wanted) {
                assert!((f - w).abs() < 1e-6, "{bits} bits, {channels} channels: {f} for {w}");
            }
        }
    }
}

#[test]
fn wav_floats_companding_and_extensible() {
    let floats: Vec<u8> = [0.5f32, -0.25].iter().flat_map(|x| x.to_le_bytes()).collect();
    let doubles: Vec<u8> = [0.5f64, -0.25].iter().flat_map(|x| x.to_le_bytes()).collect();
    for extensible in [false, true] {
        let read = |tag, bits, data: &[u8]| {
            open_bytes(whole_wav(tag, 1, 16_000, bits, extensible, data), 16_000).unwrap().0
        };
        assert_eq!(read(3, 32, &floats), [0.5, -0.25]);
        assert_eq!(read(3, 64, &doubles), [0.5, -0.25]);
        assert_eq!(read(1, 16, &[0, 0x40, 0, 0xe0]), [0.5, -0.25]);
        assert_eq!(read(7, 8, &[0x80]), [32124.0 / 32768.0]);
        assert_eq!(read(6, 8, &[0xaa]), [32256.0 / 32768.0]);
    }
    // Samples of 20 bits are the upper bits of three bytes.
    let twenty = whole_wav(1, 1, 16_000, 20, true, &[0, 0, 0x40]);
    assert_eq!(open_bytes(twenty, 16_000).unwrap().0, [0.5]);
}

#[test]
fn wav_of_unknown_length_is_read_to_its_end() {
    for declared_len in [u32::MAX, 0x7fff_ffff] {
        let file = wav(1, 1, 16_000, 16, false, &[0, 0x40, 0, 0x40], declared_len);
        let (samples, problems) = open_bytes(file, 16_000).unwrap();
        assert_eq!((samples.len(), problems.truncated), (2, false), "claim {declared_len:x}");
    }
}

#[test]
fn truncated_wav_is_read_and_reported() {
    // The header specifies more than a gigabyte.
    let file = wav(1, 1, 16_000, 16, false, &[0, 0x40, 0, 0x40, 7], 0x5000_0000);
    let (samples, problems) = open_bytes(file, 16_000).unwrap();
    assert_eq!(samples, [0.5, 0.5]);
    assert!(problems.truncated);
}

#[test]
fn chunks_after_the_samples_are_not_samples() {
    let mut file = whole_wav(1, 1, 16_000, 16, false, &[0, 0x40]);
    file.extend(b"LIST\x04\0\0\0abcd");
    assert_eq!(open_bytes(file, 16_000).unwrap(), (vec![0.5], Problems::default()));
}

// Files that are not audio

fn refused(bytes: Vec<u8>) -> String {
    let error = open_bytes(bytes, 16_000).expect_err("must be refused");
    assert_eq!(error.exit_code(), 1);
    assert_eq!(error.file(), Some(Path::new("input")), "{error}");
    error.to_string()
}

#[test]
fn a_limit_on_the_length_is_reported_only_if_it_is_exceeded() {
    let recording = || whole_wav(1, 1, 16_000, 16, false, &[0; 2000]);
    for (seconds, samples, longer_than) in [(0.05, 800, Some(0.05)), (0.0625, 1000, None), (9.0, 1000, None)]
    {
        let source = hearken::audio::open_bytes(recording(), "input", 16_000).expect("a recording");
        let mut source = hearken::audio::limited(source, seconds);
        let mut read = Vec::new();
        while source.read(&mut read, 300).expect("samples") > 0 {}
        assert_eq!((read.len(), source.problems().longer_than), (samples, longer_than));
    }
}

#[test]
fn files_that_are_not_audio_are_refused_with_the_reason() {
    assert!(refused(vec![]).contains("empty file"));
    assert!(refused(b"hello there".to_vec()).contains("text: `hello there`"));
    assert!(refused(vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0]).contains("7f 45 4c 46"));
    let silence = refused(vec![0; 5000]);
    assert!(silence.contains("no valid frame") && silence.contains("raw PCM"), "{silence}");
    assert!(refused(whole_wav(1, 1, 0, 16, false, &[0, 0])).contains("found 0 Hz"));
    assert!(refused(whole_wav(1, 1, 4_000_000_000, 16, false, &[0, 0])).contains("4000000000 Hz"));
    assert!(refused(whole_wav(1, 0, 16_000, 16, false, &[0, 0])).contains("channels, found 0"));
    assert!(refused(whole_wav(1, 60_000, 16_000, 8, false, &[0, 0])).contains("channels, found 60000"));
    assert!(refused(whole_wav(1, 1, 16_000, 0, false, &[0, 0])).contains("0 bits"));
    assert!(refused(whole_wav(1, 1, 16_000, 16, false, &[])).contains("without any samples"));
    assert!(refused(b"RIFF\x24\0\0\0WAVEfmt \x10\0\0\0\x01\0".to_vec()).contains("end of the file"));
    assert!(refused(b"RIFF\x24\0\0\0WAVEfmt \xff\xff\xff\xff\x01\0".to_vec()).contains("end of the file"));
    assert!(refused(b"RIFF\x24\0\0\0WAVEdata\x02\0\0\0\0\0".to_vec()).contains("format before the samples"));
    refused(b"OggS and nothing of the kind after it".to_vec());
    refused(b"fLaC".to_vec());
    refused(b"ID3\x04\0\0\x7f\x7f\x7f\x7f".to_vec());
    refused(b"\xff\xfb\x90\x64".to_vec());
}

#[test]
fn samples_that_are_not_numbers_are_named() {
    for (bad, found) in [(f32::NAN, "NaN"), (f32::INFINITY, "inf"), (f32::NEG_INFINITY, "-inf")] {
        let mut samples = vec![0.1f32; 16_000];
        samples[12_000] = bad;
        let data: Vec<u8> = samples.iter().flat_map(|x| x.to_le_bytes()).collect();
        let message = refused(whole_wav(3, 1, 16_000, 32, false, &data));
        assert!(message.contains("sample 12000 (0.750 s)"), "{message}");
        assert!(message.contains(&format!("found {found}")), "{message}");
    }
}

#[test]
fn missing_files_and_directories_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let missing = directory.path().join("missing.wav");
    assert_eq!(audio::open(&missing, 16_000).err().unwrap().file(), Some(missing.as_path()));
    let error = audio::open(directory.path(), 16_000).err().unwrap();
    assert!(error.to_string().contains("a folder"), "{error}");
    assert!(audio::open(&clip("pi.wav"), 0).is_err());
}

// Compressed formats

#[test]
fn every_format_gives_the_same_words_at_the_same_time() {
    let reference = audio::read_all(&clip("pi.wav"), 16_000).unwrap();
    // For each format: the samples that it adds to the length, and its lag.
    for (name, longest, lags) in
        [("pi.mp3", 1200, 0..=0), ("pi.ogg", 0, 0..=0), ("pi.m4a", 2100, 0..=1024), ("pi.webm", 200, -1..=1)]
    {
        let mut source = audio::open(&clip(name), 16_000).unwrap();
        let (found, problems) = drain(source.as_mut(), 777).unwrap();
        assert_eq!(problems, Problems::default(), "{name}");
        assert!((0..=longest).contains(&found.len().abs_diff(reference.len())), "{name}: {}", found.len());
        let lag = lag(&reference, &found, 1200);
        assert!(lags.contains(&lag), "{name} lags by {lag}");
    }
}

#[test]
fn flac_and_opus_have_the_length_that_was_encoded() {
    assert_eq!(audio::read_all(&clip("golden.flac"), 16_000).unwrap().len(), 40_021);
    let mut opus = audio::open(&clip("voice-note.opus"), 16_000).unwrap();
    let (samples, problems) = drain(opus.as_mut(), 4000).unwrap();
    assert_eq!(problems, Problems::default());
    let loud = samples.iter().filter(|x| x.abs() > 0.05).count();
    assert!(loud > samples.len() / 20, "{loud} of {}", samples.len());
}

#[test]
fn the_format_is_detected_by_content_without_seeking() {
    let directory = tempfile::tempdir().unwrap();
    for name in ["pi.wav", "golden.flac", "voice-note.opus", "pi.mp3", "pi.ogg", "stereo-48k-24bit.wav"] {
        let wanted = audio::read_all(&clip(name), 16_000).unwrap();
        let misnamed = directory.path().join("x.txt");
        fs::copy(clip(name), &misnamed).unwrap();
        assert_eq!(audio::read_all(&misnamed, 16_000).unwrap(), wanted, "{name} misnamed");
        let (streamed, _) = open_bytes(fs::read(clip(name)).unwrap(), 16_000).unwrap();
        assert_eq!(streamed.len(), wanted.len(), "{name} streamed");
        assert!(noise_db(&streamed, &wanted, 0) < -100.0, "{name} streamed");
    }
}

#[test]
fn truncated_files_never_panic_and_are_reported_as_truncated() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("cut");
    for name in ["pi.wav", "golden.flac", "voice-note.opus", "pi.mp3", "pi.ogg", "pi.m4a", "pi.webm"] {
        let bytes = fs::read(clip(name)).unwrap();
        for tenths in 0..10 {
            fs::write(&path, &bytes[..bytes.len() * tenths / 10]).unwrap();
            let Ok(mut source) = audio::open(&path, 16_000) else { continue };
            let Ok((samples, problems)) = drain(source.as_mut(), 4000) else { continue };
            assert!(!samples.is_empty(), "{name}");
            // MP3 and WebM need not announce their length.
            if !matches!(name, "pi.mp3" | "pi.webm") {
                assert!(problems.truncated, "{name} cut to {tenths} tenths");
            }
        }
    }
}

#[test]
fn damaged_packets_are_skipped_and_the_rest_is_decoded() {
    let mut bytes = fs::read(clip("golden.flac")).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 8].fill(0xff);
    let (samples, problems) = open_bytes(bytes, 16_000).unwrap();
    assert!(samples.len() > 20_000, "{}", samples.len());
    assert!(problems.skipped_packets > 0 || problems.truncated, "{problems:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn bytes_changed_anywhere_never_panic(
        file in 0usize..8,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..40),
        at_the_start in any::<bool>(),
    ) {
        let names = [
            "pi.mp3", "pi.ogg", "pi.m4a", "pi.webm", "golden.flac", "voice-note.opus", "telephone-8k.wav",
            "stereo-48k-24bit.wav",
        ];
        let mut bytes = fs::read(clip(names[file])).unwrap();
        let reach = if at_the_start { 600 } else { bytes.len() };
        for (index, value) in changes {
            bytes[index.index(reach)] = value;
        }
        let _ = open_bytes(bytes, 16_000);
    }

    #[test]
    fn resampling_does_not_depend_on_chunks(
        rates in prop::sample::select(vec![
            (8000, 16_000), (11_025, 16_000), (44_100, 16_000), (48_000, 16_000), (16_000, 44_100),
            (17_777, 16_000), (192_000, 16_000), (16_000, 16_000),
        ]),
        chunks in prop::collection::vec(0usize..3000, 1..12),
    ) {
        let (from, to) = rates;
        let total: usize = chunks.iter().sum();
        let input: Vec<f32> =
            (0..total as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 8) as f32 / 16_777_216.0 - 0.5).collect();
        let mut resampler = Resampler::new(from, to).unwrap();
        let mut whole = Vec::new();
        resampler.push(&input, &mut whole).unwrap();
        resampler.finish(&mut whole).unwrap();
        prop_assert_eq!(whole.len() as u64, resampled_len(total as u64, from, to));

        resampler.reset();
        let (mut parts, mut at) = (Vec::new(), 0);
        for n in chunks {
            resampler.push(&input[at..at + n], &mut parts).unwrap();
            at += n;
        }
        resampler.finish(&mut parts).unwrap();
        prop_assert_eq!(whole, parts);
    }
}

// Resampling

fn resample(input: &[f32], from: u32, to: u32) -> Vec<f32> {
    let mut resampler = Resampler::new(from, to).unwrap();
    let mut out = Vec::new();
    resampler.push(input, &mut out).unwrap();
    resampler.finish(&mut out).unwrap();
    out
}

#[test]
fn a_tone_keeps_frequency_amplitude_and_phase() {
    // The difference from a tone at the new rate contains all three, and any shift in time.
    for from in [8000, 11_025, 17_777, 22_050, 32_000, 44_100, 48_000, 96_000, 192_000] {
        for hz in [100.0, 1000.0, 3000.0] {
            let found = resample(&tone(hz, from, from as usize), from, 16_000);
            assert_eq!(found.len(), 16_000, "{from} Hz");
            let db = noise_db(&found, &tone(hz, 16_000, 16_000), 500);
            assert!(db < -50.0, "{hz} Hz at {from} Hz: error {db:.1} dB");
        }
    }
}

#[test]
fn frequencies_above_the_new_nyquist_frequency_are_suppressed() {
    for from in [22_050, 44_100, 48_000, 47_777, 192_000] {
        let hz = 9_000.0;
        let found = resample(&tone(hz, from, from as usize), from, 16_000);
        let inside = &found[500..15_500];
        let power: f64 = inside.iter().map(|x| f64::from(x * x)).sum::<f64>() / inside.len() as f64;
        let db = 10.0 * (power / 0.125).log10();
        assert!(db < -70.0, "{hz} Hz at {from} Hz is left with {db:.1} dB");
    }
}

#[test]
fn the_first_and_last_samples_are_in_place() {
    for from in [8000, 44_100, 48_000, 17_777] {
        let n = from as usize / 2;
        for at in [0, n / 2, n - 1] {
            let mut click = vec![0.0; n];
            click[at] = 1.0;
            let found = resample(&click, from, 16_000);
            let peak = (0..found.len()).max_by(|a, b| found[*a].abs().total_cmp(&found[*b].abs())).unwrap();
            let wanted = at as f64 * 16_000.0 / f64::from(from);
            assert!((peak as f64 - wanted).abs() <= 1.0, "{from} Hz: {at} is at {peak}, not {wanted}");
        }
    }
}

#[test]
fn short_and_empty_input_resamples_to_its_length() {
    for n in [0, 1, 2, 3, 100, 481] {
        assert_eq!(
            resample(&vec![0.25; n], 48_000, 16_000).len() as u64,
            resampled_len(n as u64, 48_000, 16_000)
        );
    }
    assert_eq!([0, 1, 2, 3, 4].map(|n| resampled_len(n, 48_000, 16_000)), [0, 0, 1, 1, 1]);
}

// Spans, raw samples, writing

#[test]
fn spans_are_parts_of_the_whole() {
    for (name, seekable) in [("pi.wav", true), ("golden.flac", false)] {
        let whole = audio::read_all(&clip(name), 16_000).unwrap();
        let span = audio::read_span(&clip(name), 16_000, Some(0.5), Some(1.0)).unwrap();
        assert_eq!(span, whole[8000..24_000], "{name}, seekable {seekable}");
        let rest = audio::read_span(&clip(name), 16_000, Some(2.0), Some(1e9)).unwrap();
        assert_eq!(rest, whole[32_000..], "{name}");
        let error = audio::read_span(&clip(name), 16_000, Some(60.0), None).unwrap_err();
        assert!(error.to_string().contains("at 60 s"), "{error}");
        assert!(audio::read_span(&clip(name), 16_000, Some(f64::NAN), None).is_err());
        assert!(audio::read_span(&clip(name), 16_000, None, Some(-1.0)).is_err());
    }
}

#[test]
fn raw_samples_are_read_by_their_description() {
    let format = RawFormat { sample_rate: 16_000, channels: 2, encoding: Encoding::S16Le };
    let bytes = vec![0, 0x40, 0, 0, 0, 0xc0, 0, 0, 1];
    let mut source = audio::open_raw(Box::new(Cursor::new(bytes)), "-", format, 16_000).unwrap();
    let (samples, problems) = drain(source.as_mut(), 10).unwrap();
    assert_eq!(samples, [0.25, -0.25]);
    assert!(problems.truncated, "half a frame is left over");
    let none = RawFormat { channels: 0, ..format };
    assert!(audio::open_raw(Box::new(Cursor::new(vec![])), "-", none, 16_000).is_err());
}

#[test]
fn written_files_are_read_back_and_no_temporary_files_remain() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x.wav");
    let samples = tone(440.0, 16_000, 1600);
    write_wav(&path, &samples, 16_000, WavEncoding::Float32).unwrap();
    assert_eq!(audio::read_all(&path, 16_000).unwrap(), samples);
    write_wav(&path, &samples, 16_000, WavEncoding::Pcm16).unwrap();
    let found = audio::read_all(&path, 16_000).unwrap();
    assert!(found.iter().zip(&samples).all(|(f, s)| (f - s).abs() <= 0.5 / 32768.0));

    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    assert!(write_wav(&directory.path().join("none/x.wav"), &[0.0], 16_000, WavEncoding::Pcm16).is_err());
}

#[test]
fn clips_have_the_durations_of_the_manifest() {
    let manifest = fs::read_to_string(clip("manifest.jsonl")).unwrap();
    assert!(manifest.lines().count() >= 7);
    for line in manifest.lines() {
        let entry: serde_json::Value = serde_json::from_str(line).unwrap();
        let name = entry["audio_filepath"].as_str().unwrap();
        let seconds = audio::read_all(&clip(name), 16_000).unwrap().len() as f64 / 16_000.0;
        // M4A and MP3 files have the encoder's padding.
        assert!((seconds - entry["duration"].as_f64().unwrap()).abs() < 0.15, "{name}: {seconds} s");
    }
}
