"""Fixtures: the recordings of the repository and recognizers."""

import wave
from pathlib import Path

import hearken
import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="session")
def audio():
    return ROOT / "audio"


@pytest.fixture(scope="session")
def digits():
    return hearken.Recognizer()


@pytest.fixture(scope="session")
def pi(audio):
    """Samples of `pi.wav` as int16."""
    with wave.open(str(audio / "pi.wav")) as file:
        return np.frombuffer(file.readframes(file.getnframes()), "<i2")
