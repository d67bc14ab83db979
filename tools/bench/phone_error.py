#!/usr/bin/env python3
"""Phone error rate of models of phones on manifests: best path, whole files.

    tools/bench/phone_error.py --dictionary cmudict.txt MODEL.onnx MANIFEST.jsonl... [--most 60]

The reference is the first pronunciation of each word; words that are not in the dictionary are skipped and counted.
Needs numpy, onnxruntime, soundfile and kaldi-native-fbank. Prints a JSON line for each manifest.
"""
import argparse
import json
import lzma
import pathlib
import re

import kaldi_native_fbank as knf
import numpy as np
import onnxruntime
import soundfile

RATE = 16_000
FLUSH = int(0.48 * RATE)  # the silence that a stream's end appends


def dictionary(path):
    words = {}
    opened = lzma.open if str(path).endswith(".xz") else open
    with opened(path, "rt", encoding="latin-1") as lines:
        for line in lines:
            parts = line.split()
            if len(parts) > 1 and not line.startswith(";;;"):
                phones = [re.sub(r"\d", "", phone) for phone in parts[1:]]
                words.setdefault(re.sub(r"\(\d+\)$", "", parts[0]).lower(), [phone for phone in phones if phone])
    return words


def features(samples):
    options = knf.FbankOptions()
    options.frame_opts.dither = 0
    options.frame_opts.snip_edges = False
    options.frame_opts.samp_freq = RATE
    options.mel_opts.num_bins = 80
    options.mel_opts.high_freq = -400
    fbank = knf.OnlineFbank(options)
    fbank.accept_waveform(RATE, samples.tolist())
    fbank.input_finished()
    return np.stack([fbank.get_frame(i) for i in range(fbank.num_frames_ready)]).astype(np.float32)


class Model:
    def __init__(self, path):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        about = self.session.get_modelmeta().custom_metadata_map
        self.tokens, self.step = json.loads(about["tokens"]), int(about["subsampling"])

    def phones(self, samples):
        frames = features(np.concatenate([samples, np.zeros(FLUSH, np.float32)]))
        first, *states = self.session.get_inputs()
        feed = {first.name: frames[None, : len(frames) // self.step * self.step]}
        for state in states:
            feed[state.name] = np.zeros([1 if isinstance(d, str) else d for d in state.shape], np.float32)
        best = self.session.run([self.session.get_outputs()[0].name], feed)[0][0].argmax(-1)
        starts = best[np.flatnonzero(np.diff(best, prepend=-1))]
        return [self.tokens[k] for k in starts if k != 0]


def read(path):
    """Samples at 16 kHz."""
    samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    samples = samples.mean(axis=1)
    if rate == 48_000:  # what libopus decodes to
        taps = np.sinc(np.arange(-96, 97) / 3) / 3 * np.hamming(193)
        return np.convolve(samples, taps, "same")[::3].astype(np.float32)
    if rate != RATE:
        raise SystemExit(f"{path}: expected 16 or 48 kHz, found {rate} Hz")
    return samples


def words_of(text):
    return re.sub(r"[^a-z' ]", " ", text.lower()).split()


def edits(wanted, found):
    row = list(range(len(found) + 1))
    for i, a in enumerate(wanted, 1):
        diagonal, row[0] = row[0], i
        for j, b in enumerate(found, 1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (a != b))
    return row[-1]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model")
    parser.add_argument("manifests", nargs="+", type=pathlib.Path, metavar="MANIFEST")
    parser.add_argument("--dictionary", required=True)
    parser.add_argument("--most", type=int, help="the first so many recordings of each manifest")
    options = parser.parse_args()
    words, model = dictionary(options.dictionary), Model(options.model)
    for manifest in options.manifests:
        errors = phones = unknown = 0
        lines = manifest.read_text().splitlines()[: options.most]
        for line in lines:
            entry = json.loads(line)
            samples = read(manifest.parent / entry["audio_filepath"])
            said = words_of(entry["text"])
            unknown += sum(word not in words for word in said)
            wanted = [phone for word in said for phone in words.get(word, [])]
            errors += edits(wanted, model.phones(samples))
            phones += len(wanted)
        print(json.dumps({"manifest": manifest.name, "phone_error": round(errors / max(phones, 1), 4), "phones": phones,
                          "utterances": len(lines), "unknown_words": unknown}), flush=True)


if __name__ == "__main__":
    main()
