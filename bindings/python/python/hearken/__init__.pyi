"""hearken, a streaming speech recognizer.

Times are in seconds from the first sample of the stream, confidences from 0 to 1. All objects may be used from any
thread; calls that compute release the GIL, and end early at Ctrl-C. Results are immutable.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, Literal, TypeAlias, final

import numpy as np
import numpy.typing as npt

__version__: str

StrPath: TypeAlias = str | PathLike[str]
#: Samples ``[samples]`` or ``[frames, channels]`` as float32 or float64 (full scale 1) or int16, or bytes of 16-bit PCM.
Samples: TypeAlias = (
    npt.NDArray[np.float32] | npt.NDArray[np.float64] | npt.NDArray[np.int16] | Sequence[float] | bytes | bytearray
)
FormatName: TypeAlias = Literal["txt", "json", "jsonl", "srt", "vtt", "ctm", "tsv", "textgrid"]

class HearkenError(Exception):
    """Base of all errors of hearken. Its text names file and place, what was expected and found, and what to do."""

    #: The part of the library that failed: ``"usage"``, ``"audio"``, ``"model"``, ``"text"``, ``"train"`` …
    stage: str | None
    #: The file concerned.
    file: Path | None
    #: The place inside the file, such as ``line 3``.
    place: str | None
    #: What is wrong, without file, place and advice.
    problem: str

class UsageError(HearkenError, ValueError):
    """Wrong arguments of a call."""

class InputError(HearkenError):
    """A file or samples that cannot be used as they are."""

class IoError(HearkenError, OSError):
    """A refusal of the operating system: a disk that is full, a file without permission."""

class MissingFileError(IoError, FileNotFoundError):
    """A file that does not exist."""

@final
class Word:
    """A recognized word."""

    @property
    def word(self) -> str: ...
    @property
    def start(self) -> float: ...
    @property
    def end(self) -> float: ...
    @property
    def confidence(self) -> float: ...

@final
class PhraseMatch:
    """A recognized phrase of ``Recognizer(phrases=…)``."""

    @property
    def text(self) -> str: ...
    @property
    def intent(self) -> str | None: ...
    @property
    def slots(self) -> list[tuple[str, str]]:
        """Names and values, in the order of the phrase."""

@final
class Alternative:
    """One of the likeliest texts of a segment, with ``nbest`` above 1."""

    @property
    def text(self) -> str: ...
    @property
    def confidence(self) -> float:
        """Probability among the alternatives of the segment."""
    @property
    def score(self) -> float:
        """Score above that of the best alternative, nats: 0 for the best, below 0 for the others."""
    @property
    def words(self) -> list[Word]: ...

class Segment:
    """A segment of a stream: the common base of `Partial` and `Final`."""

    @property
    def text(self) -> str: ...
    @property
    def start(self) -> float: ...
    @property
    def end(self) -> float: ...
    @property
    def words(self) -> list[Word]: ...
    @property
    def phrases(self) -> list[PhraseMatch]: ...
    @property
    def alternatives(self) -> list[Alternative]: ...
    def to_json(self) -> str:
        """The event as a JSON object, as ``hearken transcribe --json`` prints it."""

@final
class Partial(Segment):
    """Words of the current segment, which may still change."""

@final
class Final(Segment):
    """A complete segment."""

@final
class EndpointRules:
    """Rules for the ends of utterances, in seconds, those of Kaldi; ``float("inf")`` disables a rule.

    Rule 1 is the silence that ends an utterance without words, rule 2 the silence that ends one with words, rule 3 the
    length at which any utterance ends. ``reset_state`` is whether the network's state is reset at an endpoint in
    silence; ``None`` for the model's own setting.
    """

    def __init__(
        self,
        *,
        rule1_min_trailing_silence: float = 2.4,
        rule2_min_trailing_silence: float = 1.2,
        rule3_min_utterance_length: float = 20.0,
        reset_state: bool | None = None,
    ) -> None: ...
    @property
    def rule1_min_trailing_silence(self) -> float: ...
    @property
    def rule2_min_trailing_silence(self) -> float: ...
    @property
    def rule3_min_utterance_length(self) -> float: ...
    @property
    def reset_state(self) -> bool | None: ...

@final
class Stream:
    """One audio stream, created by `Recognizer.stream`. Calls from several threads wait for each other."""

    def accept_waveform(self, samples: Samples, sample_rate: int | None = None) -> list[Partial | Final]:
        """Accepts any number of samples, which need no particular division, and returns the events that they cause.

        Other sample rates (Hz) than the model's are converted; a stream has one rate. Several channels are averaged.
        Without ``sample_rate``, it is that of the call before, or else the model's. Raises `InputError` if a sample is
        not finite or the stream was finished.
        """

    def finish(self) -> list[Partial | Final]:
        """Ends the input and returns the last events, of which the very last is a `Final`; later calls return none."""

    def end_segment(self) -> list[Partial | Final]:
        """Ends the segment with a `Final`; the stream continues."""

    def reset(self) -> None:
        """Resets everything: the next sample is the first of a new stream."""

    @property
    def seconds(self) -> float:
        """Duration of the audio so far."""

@final
class Transcript:
    """The transcript of a recording."""

    @property
    def path(self) -> str:
        """The recording; empty for samples in memory."""
    @property
    def text(self) -> str:
        """The texts of the segments, joined by spaces."""
    @property
    def duration(self) -> float: ...
    @property
    def segments(self) -> list[Final]: ...
    @property
    def words(self) -> list[Word]: ...
    @property
    def warnings(self) -> list[str]:
        """Damage that was found in the recording."""
    @property
    def error(self) -> HearkenError | None:
        """Why the recording was not transcribed, with ``errors="return"``."""
    def to_format(self, name: FormatName) -> str:
        """The content of a file of this format: subtitles, CTM, JSON …"""

@final
class Events(Iterator[Partial | Final]):
    """The events of a file, as they come. Damage in the recording raises `InputError` after the last one."""

    def __next__(self) -> Partial | Final: ...

@final
class Transcripts(Iterator[Transcript]):
    """The transcripts of files in their order, while threads transcribe the next ones."""

    def __next__(self) -> Transcript: ...
    def __len__(self) -> int:
        """Number of recordings."""

@final
class AlignedToken:
    """A token of an aligned word: a phone, letter or piece of a word."""

    @property
    def token(self) -> str: ...
    @property
    def start(self) -> float: ...
    @property
    def end(self) -> float: ...
    @property
    def confidence(self) -> float: ...

@final
class AlignedWord:
    """A word of the text with its times."""

    @property
    def word(self) -> str: ...
    @property
    def start(self) -> float: ...
    @property
    def end(self) -> float: ...
    @property
    def confidence(self) -> float: ...
    @property
    def fits(self) -> bool:
        """Whether the confidence reaches ``min_confidence``."""
    @property
    def tokens(self) -> list[AlignedToken]: ...

@final
class Alignment:
    """A text aligned with a recording."""

    @property
    def path(self) -> str: ...
    @property
    def text(self) -> str: ...
    @property
    def duration(self) -> float: ...
    @property
    def log_prob(self) -> float:
        """Log-probability of the best path (natural logarithm)."""
    @property
    def fits(self) -> bool:
        """Whether all words fit and the text covers all speech."""
    @property
    def words(self) -> list[AlignedWord]: ...
    @property
    def unmatched(self) -> list[tuple[float, float]]:
        """Start and end of speech that is not in the text."""
    @property
    def guessed(self) -> list[str]:
        """Words whose pronunciations were guessed."""
    @property
    def warnings(self) -> list[str]:
        """Damage that was found in the recording."""
    def to_format(self, name: FormatName) -> str: ...

@final
class UtteranceScore:
    """The result of one utterance of a manifest."""

    @property
    def path(self) -> str: ...
    @property
    def reference(self) -> str: ...
    @property
    def hypothesis(self) -> str: ...
    @property
    def errors(self) -> int:
        """Number of wrong, missing and added words."""
    @property
    def seconds(self) -> float: ...

@final
class Evaluation:
    """The scores of a manifest."""

    @property
    def wer(self) -> float | None:
        """Word error rate as a fraction; ``None`` without words."""
    @property
    def cer(self) -> float | None: ...
    @property
    def substitutions(self) -> int: ...
    @property
    def deletions(self) -> int: ...
    @property
    def insertions(self) -> int: ...
    @property
    def reference_words(self) -> int: ...
    @property
    def correct(self) -> int:
        """Number of utterances without errors."""
    @property
    def confusions(self) -> list[tuple[str, str, int]]:
        """Word of the reference, recognized word and count, most frequent first; one is empty if there is no other."""
    @property
    def seconds(self) -> float:
        """Duration of the audio."""
    @property
    def rtf(self) -> float:
        """Time spent divided by the duration of the audio."""
    @property
    def utterances(self) -> list[UtteranceScore]: ...
    @property
    def failed(self) -> list[tuple[str, HearkenError]]:
        """Recordings that could not be read or are damaged, which are not scored."""

@final
class Recognizer:
    """A speech recognizer: a loaded model, shared by any number of streams and threads.

    ``model`` is a file of hearken, a foreign ONNX file with states, a folder of sherpa-onnx, or the embedded model
    ``"digits"`` or ``"english"``; by default english with ``phrases``, ``lm`` or ``wake_words``, else digits.

    - ``phrases``: a file or list of phrases, which alone are recognized or, with ``lm``, in dictation;
    - ``lm``: an n-gram language model, whose words are recognized;
    - ``hotwords``: a file or list of words and phrases that are boosted, by ``hotwords_score`` nats for each word;
    - ``lexicon``: a file of pronunciations that take precedence over the English ones;
    - ``wake_words``: words to wait for; ``wake_threshold`` is the expected number of false detections in an hour;
    - ``numbers``: ``"words"``, ``"digits"`` or ``"all"``, which numbers are written in digits;
    - ``engine``: ``"native"`` or ``"ort"`` (onnxruntime, found in this Python environment);
    - ``tokens``: the tokens of a foreign model, by default ``tokens.txt`` beside it.

    Notes about the model and its words are logged as warnings of the logger ``hearken``.
    """

    def __init__(
        self,
        model: StrPath | None = None,
        *,
        phrases: StrPath | Sequence[str] | None = None,
        lm: StrPath | None = None,
        hotwords: StrPath | Sequence[str] | None = None,
        hotwords_score: float = 2.0,
        lexicon: StrPath | None = None,
        wake_words: Sequence[str] | None = None,
        wake_threshold: float = 0.5,
        numbers: Literal["words", "digits", "all"] = "words",
        engine: Literal["native", "ort"] | None = None,
        tokens: StrPath | None = None,
    ) -> None: ...
    @property
    def sample_rate(self) -> int:
        """The model's sample rate, Hz."""
    @property
    def notes(self) -> list[str]:
        """Notes about the model and its words, such as guessed pronunciations."""
    @property
    def words(self) -> list[str]:
        """The words that can be recognized, if they are those of a lexicon; else empty."""
    def stream(
        self, *, endpoint: bool | EndpointRules | None = None, partials: bool = True, nbest: int = 1
    ) -> Stream:
        """Creates a stream; without ``endpoint`` it is one segment. ``nbest`` is the number of alternatives."""

    def events(
        self,
        path: StrPath,
        *,
        endpoint: bool | EndpointRules | None = None,
        partials: bool = True,
        nbest: int = 1,
        max_seconds: float = 86400.0,
    ) -> Events:
        """The events of a recording of any format. One longer than a minute is divided into utterances by default.

        What comes after ``max_seconds`` of audio is not read, which raises `InputError` after the last event; 0 is no limit.
        """

    def transcribe(
        self,
        paths: StrPath | Iterable[StrPath],
        *,
        threads: int | None = None,
        endpoint: bool | EndpointRules | None = None,
        nbest: int = 1,
        errors: Literal["raise", "return"] = "raise",
        max_seconds: float = 86400.0,
    ) -> Transcripts:
        """Transcribes recordings, several at a time (by default as many as there are cores).

        A recording that fails raises when its turn comes, after which the iteration can be continued with ``next``; with
        ``errors="return"`` it is a `Transcript` with an ``error``. What comes after ``max_seconds`` of audio is not read, and
        ``warnings`` says so; 0 is no limit.
        """

    def transcribe_samples(
        self,
        samples: Samples,
        sample_rate: int | None = None,
        *,
        endpoint: bool | EndpointRules | None = None,
        nbest: int = 1,
    ) -> Transcript:
        """Transcribes a recording in memory."""

    def align(
        self, path: StrPath, text: str, *, min_confidence: float = 0.1, lexicon: StrPath | None = None
    ) -> Alignment:
        """Finds the times of the words of a known text. Words with a confidence below ``min_confidence`` do not fit."""

    def evaluate(self, manifest: StrPath, *, equal: Sequence[str] = ()) -> Evaluation:
        """Scores the recognizer on a manifest; ``equal`` has pairs of words that count as the same, ``"oh=zero"``."""

@final
class Training:
    """The result of a training run."""

    @property
    def model(self) -> Path:
        """The best model, or the last one if nothing was scored."""
    @property
    def step(self) -> int:
        """Number of updates done."""
    @property
    def best_score(self) -> float | None: ...
    @property
    def best_step(self) -> int | None: ...
    @property
    def outputs_nothing(self) -> bool:
        """Whether the best model outputs no words on the dev sets."""
    @property
    def stopped(self) -> bool:
        """Whether the run was stopped before its last update, by ``stop_after``."""

def train(
    recipe: StrPath,
    *,
    data: StrPath | None = None,
    out: StrPath | None = None,
    threads: int | None = None,
    resume: bool = False,
    overwrite: bool = False,
    accept_changes: bool = False,
    start_from: StrPath | None = None,
    stop_after: int | None = None,
    seed: int | None = None,
    progress: Callable[[dict[str, Any]], object] | None = None,
) -> Training:
    """Trains a model by a recipe (TOML), as ``hearken train``.

    ``data`` is the folder that the recipe's manifests are relative to (by default the current one), ``out`` the folder of
    the run (``runs/`` and the name of the recipe), ``start_from`` a model or the name of an embedded one.

    ``progress`` is called with a dictionary for each event. Its ``"type"`` is ``"loading"`` or ``"scoring"`` (``done``,
    ``total``), ``"left_out"`` or ``"note"`` (``text``), ``"started"`` (``parameters``, ``recordings``, ``hours``,
    ``step``, ``steps``), ``"updated"`` (``step``, ``steps``), ``"step"`` (``loss``, ``learning_rate``,
    ``gradient_norm``, …) or ``"scores"`` (``total``, ``best``, ``sets``). An exception that it raises, and Ctrl-C, end
    the run after the current update with a checkpoint, from which ``resume=True`` continues.
    """

def export(
    model: StrPath,
    target: Literal["onnxruntime", "sherpa-onnx", "triton", "whole"],
    out: StrPath,
    *,
    precision: Literal["fp32", "fp16", "int8", "int8-dynamic"] = "fp32",
    with_frontend: bool = False,
    chunk_frames: int | None = None,
    name: str | None = None,
) -> list[Path]:
    """Exports a model for another system, as ``hearken export``; returns the written files, the model first.

    ``out`` is a folder, or except for triton a file ending in ``.onnx``. Notes are logged as warnings of the logger
    ``hearken``.
    """
