#!/usr/bin/env python3
"""Compare hearken's Opus decoder with libopus: the samples, and the processor time of both in one run.

    cargo build --release --example decode_audio
    tools/check/opus.py [--program target/release/examples/decode_audio] [OGG_OPUS_FILE...]

Needs numpy and the shared library of libopus (Debian: libopus0). Without files it encodes a clip of
audio/ in every mode, frame length and number of channels, with silences under DTX, with packets left out
and with two streams in a row; where ffmpeg is there, in WebM and MP4 too.
"""
import argparse
import ctypes
import ctypes.util
import resource
import shutil
import struct
import subprocess
import sys
import tempfile
import time
import wave
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
RATE, LONGEST = 48_000, 5_760
# Tolerance for rounding in floating point; wrong samples differ much more.
LEAST_SNR_DB = 80.0
FORCE_MODE, SET_BITRATE, SET_DTX, SET_FEC, SET_LOSS = 11002, 4002, 4016, 4012, 4014
MODES = {"silk": 1000, "hybrid": 1001, "celt": 1002}


def library():
    name = ctypes.util.find_library("opus") or "libopus.so.0"
    opus = ctypes.CDLL(name)
    for make in (opus.opus_encoder_create, opus.opus_decoder_create):
        make.restype = ctypes.c_void_p
    return opus


OPUS = library()


def crc(page):
    value = 0
    for byte in page:
        value ^= byte << 24
        for _ in range(8):
            value = (value << 1) ^ (0x04C11DB7 if value & 0x80000000 else 0)
        value &= 0xFFFFFFFF
    return value


def page(flags, granule, serial, sequence, packets):
    sizes = b"".join(b"\xff" * (len(p) // 255) + bytes([len(p) % 255]) for p in packets)
    head = struct.pack("<4sBBqIIIB", b"OggS", 0, flags, granule, serial, sequence, 0, len(sizes))
    whole = bytearray(head + sizes + b"".join(packets))
    whole[22:26] = struct.pack("<I", crc(whole))
    return bytes(whole)


def ogg(packets, channels, pre_skip, frame, serial=1):
    head = struct.pack("<8sBBHIHB", b"OpusHead", 1, channels, pre_skip, RATE, 0, 0)
    pages = [page(2, 0, serial, 0, [head]), page(0, 0, serial, 1, [b"OpusTags" + struct.pack("<II", 0, 0)])]
    for i in range(0, len(packets), 4):
        some = packets[i : i + 4]
        flags = 4 if i + 4 >= len(packets) else 0
        pages.append(page(flags, (i + len(some)) * frame, serial, 2 + i // 4, some))
    return b"".join(pages)


def encode(samples, mode, milliseconds, bitrate, dtx=False):
    channels, frame = samples.shape[1], int(milliseconds * RATE / 1000)
    error = ctypes.c_int()
    encoder = ctypes.c_void_p(OPUS.opus_encoder_create(RATE, channels, 2048 if mode != "celt" else 2049, ctypes.byref(error)))
    for request, value in ((FORCE_MODE, MODES[mode]), (SET_BITRATE, bitrate), (SET_DTX, int(dtx)), (SET_FEC, 1), (SET_LOSS, 10)):
        OPUS.opus_encoder_ctl(encoder, ctypes.c_int(request), ctypes.c_int(value))
    packets, out = [], ctypes.create_string_buffer(4000)
    for at in range(0, len(samples) - frame + 1, frame):
        piece = np.ascontiguousarray(samples[at : at + frame], dtype=np.float32)
        size = OPUS.opus_encode_float(encoder, piece.ctypes.data_as(ctypes.c_void_p), frame, out, 4000)
        if size < 0:
            raise SystemExit(f"libopus does not encode {mode} {milliseconds} ms: {size}")
        packets.append(out.raw[:size])
    OPUS.opus_encoder_destroy(encoder)
    return packets, frame


def speech():
    with wave.open(str(ROOT / "audio" / "countdown.wav")) as clip:
        samples = np.frombuffer(clip.readframes(clip.getnframes()), dtype="<i2") / 32768.0
        factor = RATE // clip.getframerate()
    places = np.arange(len(samples) * factor) / factor
    return np.interp(places, np.arange(len(samples)), samples)


def special_cases(folder):
    mono = speech()[:, None]
    stereo = np.concatenate([mono, mono[::-1]], axis=1)
    quiet = np.concatenate([mono[:RATE], np.zeros((3 * RATE, 1)), mono[:RATE]])
    lengths = {"silk": (10, 20, 40, 60), "hybrid": (10, 20), "celt": (2.5, 5, 10, 20)}
    made = {}
    for mode, each in lengths.items():
        for milliseconds in each:
            for name, samples in (("mono", mono), ("stereo", stereo)):
                rate = 16_000 if mode == "silk" else 32_000 if mode == "hybrid" else 64_000
                packets, frame = encode(samples, mode, milliseconds, rate * samples.shape[1])
                made[f"{mode}-{milliseconds}-{name}"] = ogg(packets, samples.shape[1], 312, frame)
    packets, frame = encode(quiet, "silk", 20, 16_000, dtx=True)
    made["dtx"] = ogg(packets, 1, 312, frame)
    packets, frame = encode(mono, "hybrid", 20, 32_000)
    made["lost-packets"] = ogg([p for i, p in enumerate(packets) if i % 9 != 4], 1, 312, frame)
    made["chained"] = ogg(packets, 1, 312, frame) + ogg(packets, 1, 312, frame, serial=2)
    for name, data in made.items():
        (folder / f"{name}.opus").write_bytes(data)
    return sorted(folder.glob("*.opus"))


def streams(data):
    """The streams of an Ogg file: packets, channels, samples to skip, samples in all."""
    found, at, part, granule = [], 0, b"", 0
    while at + 27 <= len(data):
        flags, granule, count = data[at + 5], struct.unpack_from("<q", data, at + 6)[0], data[at + 26]
        sizes, body = data[at + 27 : at + 27 + count], at + 27 + count
        if flags & 2:
            found.append([[], 0, 0, 0])
        for size in sizes:
            part, body = part + data[body : body + size], body + size
            if size < 255:
                found[-1][0].append(part)
                part = b""
        if granule > 0:
            found[-1][3] = granule
        at = body
    for stream in found:
        head = stream[0][0]
        stream[1], stream[2] = head[9], struct.unpack_from("<H", head, 10)[0]
        stream[0] = stream[0][2:]
    return found


def reference(path):
    """The samples of a file decoded by libopus, mono, and the seconds it took."""
    pieces, seconds = [], 0.0
    for packets, channels, skip, total in streams(path.read_bytes()):
        error = ctypes.c_int()
        decoder = ctypes.c_void_p(OPUS.opus_decoder_create(RATE, channels, ctypes.byref(error)))
        out = np.zeros((LONGEST, channels), dtype=np.float32)
        pointer, decoded = out.ctypes.data_as(ctypes.c_void_p), []
        for packet in packets:
            begin = time.process_time()
            count = OPUS.opus_decode_float(decoder, packet, len(packet), pointer, LONGEST, 0)
            seconds += time.process_time() - begin
            if count > 0:
                decoded.append(out[:count].mean(axis=1))
        OPUS.opus_decoder_destroy(decoder)
        pieces.append(np.concatenate(decoded)[skip:total])
    return np.concatenate(pieces), seconds


def ours(program, paths):
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    run = subprocess.run([program, str(RATE), *map(str, paths)], stdout=subprocess.PIPE, check=True)
    seconds = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before
    return np.frombuffer(run.stdout, dtype="<f4"), seconds


def compare(name, found, wanted):
    if len(found) != len(wanted):
        return f"{name}: {len(found)} samples, libopus has {len(wanted)}"
    noise = float(np.sum((found - wanted) ** 2))
    snr = 10 * np.log10(max(float(np.sum(wanted**2)), 1e-20) / max(noise, 1e-20))
    if snr < LEAST_SNR_DB:
        return f"{name}: {snr:.1f} dB between signal and difference, expected {LEAST_SNR_DB:.0f} or more"
    return None


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--program", default=str(ROOT / "target/release/examples/decode_audio"))
    arguments.add_argument("files", nargs="*", type=Path)
    arguments = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        files = arguments.files or special_cases(Path(folder))
        wrong, total, theirs, mine = [], 0, 0.0, 0.0
        for first in range(0, len(files), 200):
            some = files[first : first + 200]
            wanted = [reference(path) for path in some]
            theirs += sum(seconds for _, seconds in wanted)
            found, seconds = ours(arguments.program, some)
            mine += seconds
            at = 0
            for path, (samples, _) in zip(some, wanted):
                wrong.append(compare(path.name, found[at : at + len(samples)], samples))
                at += len(samples)
            if at != len(found):
                wrong.append(f"{len(found)} samples of {some[0].name} and what follows, libopus has {at}")
            total += at
        if not arguments.files and shutil.which("ffmpeg"):
            wrong += in_containers(arguments.program, Path(folder), files)
    wrong = [message for message in wrong if message]
    print("\n".join(wrong[:20]))
    print(f"{len(files)} files, {total / RATE:.0f} s of audio: {len(wrong)} differ from libopus")
    print(f"processor time: libopus {theirs:.2f} s, hearken (with reading) {mine:.2f} s, {mine / max(theirs, 1e-9):.2f} times")
    return 1 if wrong else 0


def in_containers(program, folder, files):
    """Checks that the same packets in WebM and MP4 have the same samples, except for trimming at the end."""
    for path in files:
        if path.stem not in ("silk-20-stereo", "hybrid-20-mono", "celt-10-mono"):
            continue
        wanted, _ = reference(path)
        for extension in ("webm", "mp4"):
            copy = folder / f"{path.stem}.{extension}"
            subprocess.run(["ffmpeg", "-v", "error", "-y", "-i", path, "-c", "copy", copy], check=True)
            found, _ = ours(program, [copy])
            shorter = min(len(found), len(wanted))
            if abs(len(found) - len(wanted)) > 960:
                yield f"{copy.name}: {len(found)} samples, libopus has {len(wanted)}"
            yield compare(copy.name, found[:shorter], wanted[:shorter])


if __name__ == "__main__":
    sys.exit(main())
