"""Compares a model exported for sherpa-onnx, in sherpa-onnx, with `hearken transcribe`: tokens and times must be
equal, for whole recordings and chunks of 100 ms, for a single stream and four at the same time.

    hearken export model.onnx --for sherpa-onnx -o sherpa/
    python tools/check/sherpa_exports.py --hearken target/release/hearken model.onnx sherpa/ audio/*.wav

A third, simple recognizer (onnxruntime on features by kaldi-native-fbank, greedy search in numpy) connects the
two, because sherpa-onnx reports the beginning of a token and hearken its end. All three process the recording
with the silence at the end that the export requires; hearken, which adds its own silence, gives the same text
without it (except for random models, which output tokens in silence: --random; the example random_model writes
such models). For a model with a lexicon the labels (phones) are compared: hearken runs a copy of the model
without the lexicon, in which each label is a word.

Needs numpy, soundfile, onnx, onnxruntime, kaldi-native-fbank, sherpa-onnx. Recordings are 16 kHz, mono.
Exits with 1 if something differs. Checked with sherpa-onnx 2.0.1 and 1.13.8.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile

import kaldi_native_fbank
import numpy
import onnx
import onnxruntime
import sherpa_onnx
import soundfile

PUSH = 1600


def features(samples):
    o = kaldi_native_fbank.FbankOptions()
    o.frame_opts.dither = 0
    o.frame_opts.snip_edges = False
    o.mel_opts.num_bins = 80
    o.mel_opts.low_freq, o.mel_opts.high_freq = 20, -400
    fbank = kaldi_native_fbank.OnlineFbank(o)
    fbank.accept_waveform(16000, samples.tolist())
    fbank.input_finished()
    return numpy.array([fbank.get_frame(k) for k in range(fbank.num_frames_ready)], numpy.float32)


class Plain:
    """The plain model in onnxruntime: (token, first step, step after the last) of each run."""

    def __init__(self, path):
        self.session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        self.metadata = self.session.get_modelmeta().custom_metadata_map
        self.tokens = json.loads(self.metadata["tokens"])
        self.blank = int(self.metadata["blank"])

    def tokens_of(self, samples):
        x = features(samples)
        step = int(self.metadata["subsampling"])
        x = x[: len(x) // step * step][None]
        inputs = {"x": x}
        for i in self.session.get_inputs()[1:]:
            inputs[i.name] = numpy.zeros([d if isinstance(d, int) else 1 for d in i.shape], numpy.float32)
        best = self.session.run(["log_probs"], inputs)[0][0].argmax(-1)
        runs, previous = [], self.blank
        for at, token in enumerate(best):
            if token != self.blank and token == previous:
                runs[-1][2] = at + 1
            elif token != self.blank:
                runs.append([self.tokens[token], at, at + 1])
            previous = token
        return runs


class Sherpa:
    def __init__(self, folder):
        self.recognizer = sherpa_onnx.OnlineRecognizer.from_zipformer2_ctc(
            tokens=folder + "/tokens.txt", model=folder + "/model.onnx", num_threads=1
        )

    def result(self, stream):
        r = self.recognizer
        tokens = [t.replace(" ", "▁").lstrip("▁") for t in r.tokens(stream)]
        return list(zip(tokens, [round(t / 0.04) for t in r.timestamps(stream)]))

    def whole(self, samples):
        stream = self.recognizer.create_stream()
        stream.accept_waveform(16000, samples)
        stream.input_finished()
        while self.recognizer.is_ready(stream):
            self.recognizer.decode_stream(stream)
        return self.result(stream)

    def pushed(self, recordings):
        """All at once, in pushes, each beginning a little later; decoded together when ready."""
        streams = [self.recognizer.create_stream() for _ in recordings]
        at, tick, sizes = [0] * len(recordings), 0, set()
        while any(a < len(r) for a, r in zip(at, recordings)):
            for i, samples in enumerate(recordings):
                if tick >= 3 * i and at[i] < len(samples):
                    streams[i].accept_waveform(16000, samples[at[i] : at[i] + PUSH])
                    at[i] += PUSH
                    if at[i] >= len(samples):
                        streams[i].input_finished()
            while ready := [s for s in streams if self.recognizer.is_ready(s)]:
                sizes.add(len(ready))
                self.recognizer.decode_streams(ready)
            tick += 1
        return [self.result(s) for s in streams], sizes


def without_lexicon(path, place):
    """The model, or a copy of it whose words are its labels."""
    model = onnx.load(path)
    entries = {p.key: p for p in model.metadata_props}
    decoder = json.loads(entries["hearken.decoder"].value)
    if not decoder.get("lexicon"):
        return path
    entries["hearken.decoder"].value = json.dumps({**decoder, "lexicon": [], "rejection": None})
    tokens = json.loads(entries["tokens"].value)
    blank = int(entries["blank"].value)
    tokens = [t if i == blank else "▁" + t for i, t in enumerate(tokens)]
    entries["tokens"].value = json.dumps(tokens, ensure_ascii=False)
    copy = os.path.join(place, "labels.onnx")
    onnx.save(model, copy)
    return copy


def by_hearken(hearken, model, path, chunk):
    command = [hearken, "transcribe", "--model", model, "--chunk-ms", str(chunk), "--json", path]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    events = [json.loads(line) for line in result.stdout.splitlines()]
    return [(w["word"], w["end"]) for e in events if e["type"] == "final" for w in e["words"]]


def matches(found, ends, seconds):
    """Checks that hearken's words are equal, except for more words in the silence that it adds at the end."""
    if [w for w, _ in found[: len(ends)]] != [w for w, _ in ends]:
        return False
    # The last word may continue into that silence.
    exact = all(abs(a[1] - b[1]) < 1e-6 for a, b in list(zip(found, ends))[:-1])
    return exact and all(end >= seconds - 0.1 for _, end in found[len(ends) :])


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--hearken", default="hearken", help="the program")
    parser.add_argument("--random", action="store_true", help="the model speaks in silence")
    parser.add_argument("model", help="the model that was exported")
    parser.add_argument("folder", help="what it was exported to")
    parser.add_argument("audio", nargs="+")
    args = parser.parse_args()
    plain, sherpa = Plain(args.model), Sherpa(args.folder)
    copies = tempfile.TemporaryDirectory()
    heard_by = without_lexicon(args.model, copies.name)
    flush = json.loads(plain.metadata["hearken.decoder"])["flush_ms"]
    metadata = onnxruntime.InferenceSession(args.folder + "/model.onnx").get_modelmeta().custom_metadata_map
    # As in the note of the export: the model's silence at the end, and the frames that sherpa-onnx drops.
    tail = numpy.zeros(16 * flush + 160 * (int(metadata["T"]) + 1), numpy.float32)
    failed, recordings, expected, tokens = False, [], [], 0
    for path in args.audio:
        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
        if rate != 16000 or samples.shape[1] != 1:
            print(f"{path}: skipped: not 16 kHz mono")
            continue
        samples = numpy.concatenate([samples[:, 0], tail])
        seconds = len(samples) / rate
        runs = plain.tokens_of(samples)
        want = [(t.lstrip("▁"), begin) for t, begin, _ in runs]
        ends = [(t.lstrip("▁"), min(end * 0.04, seconds)) for t, _, end in runs]
        problems = []
        if sherpa.whole(samples) != want:
            problems.append(f"sherpa-onnx whole: {sherpa.whole(samples)}")
        if sherpa.pushed([samples])[0][0] != want:
            problems.append("sherpa-onnx pushed")
        with tempfile.TemporaryDirectory() as place:
            padded = os.path.join(place, "padded.wav")
            soundfile.write(padded, samples, 16000, subtype="FLOAT")
            for chunk in (100, 60000):
                found = by_hearken(args.hearken, heard_by, padded, chunk)
                if not matches(found, ends, seconds):
                    problems.append(f"hearken in chunks of {chunk} ms: {found}")
        found = [w for w, _ in by_hearken(args.hearken, heard_by, path, 100)]
        if not args.random and found != [w for w, _ in ends]:
            problems.append(f"hearken without the silence: {found}")
        tokens += len(want)
        text = " ".join(t for t, _ in want)
        print(f"{path}: {text}" + "".join(f"\n  DIFFERS: {p}, expected {runs}" for p in problems), flush=True)
        failed |= bool(problems)
        recordings.append(samples)
        expected.append(want)
    for begin in range(0, len(recordings), 4):
        found, sizes = sherpa.pushed(recordings[begin : begin + 4])
        same = found == expected[begin : begin + 4]
        failed |= not same
        print(f"streams at once, batches of {sorted(sizes)}: {'the same' if same else f'DIFFERS: {found}'}")
    print(f"sherpa-onnx {sherpa_onnx.__version__}: {tokens} tokens of {len(recordings)} recordings")
    sys.exit(failed or tokens == 0)


main()
