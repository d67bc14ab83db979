#!/usr/bin/env python3
"""Measures the capacity of `hearken serve`.

    python tools/bench/serve_load.py streams  [--peer]   number of real-time streams, also of sherpa-onnx's server
    python tools/bench/serve_load.py latency  [--words]  time from the end of a word to its first appearance
    python tools/bench/serve_load.py connects [--count]  connections opened and closed while a stream stays open
    python tools/bench/serve_load.py soak     [--hours]  hours of streams as fast as possible: memory and times

Server and client run on a core each (--cores SERVER,CLIENT); nothing else should run. Needs numpy, soundfile
and websockets; --peer also sherpa-onnx-bin.

The lag of a letter of the text is its delay compared with an idle server. In a first run a single stream, sent
in real time, shows after which chunk of audio each letter appears; in the other runs time counts from when that
chunk was due. So the lag has the delay of the server and not that of its algorithm, and is comparable between
servers. A letter that is late because the client sent late counts as late too; the lateness of the client is
printed. The streams begin and end at different times, each replaced by a new one, and n of them are open
whenever lags are measured.
"""

import argparse
import asyncio
import base64
import contextlib
import heapq
import json
import math
import os
import platform
import shutil
import struct
import subprocess
import sys
import tempfile
import time

import numpy as np
import soundfile
import websockets

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "check"))
from serve_clients import Server, own, pieces, s16, transcribe

RATE = 16000
PIECE_MS = 100
# How long streams continue after the measured time, until its last words are received.
AFTER_S = 2.0


# ------------------------------------------------------------------ audio

def scene(paths, seconds):
    """The recordings one after the other with half a second of silence between, over and over."""
    parts = []
    for path in paths:
        samples, rate = soundfile.read(path, dtype="float32")
        assert rate == RATE and samples.ndim == 1, f"{path}: 16 kHz mono, please"
        parts += [samples, np.zeros(RATE // 2, np.float32)]
    once = np.concatenate(parts)
    return np.tile(once, math.ceil(seconds * RATE / len(once)))[: int(seconds * RATE)]


def frame(opcode, payload):
    """A websocket frame. The mask is zero, which is allowed and costs nothing."""
    n = len(payload)
    if n < 126:
        head = struct.pack("!BB", 0x80 | opcode, 0x80 | n)
    elif n < 1 << 16:
        head = struct.pack("!BBH", 0x80 | opcode, 0x80 | 126, n)
    else:
        head = struct.pack("!BBQ", 0x80 | opcode, 0x80 | 127, n)
    return head + b"\0\0\0\0" + payload


DONE = frame(1, b"Done")


# ------------------------------------------------------------------ many streams in real time

class Stream(asyncio.Protocol):
    """A client of sherpa-onnx's protocol that costs little, so that one core holds many."""

    def __init__(self, frames):
        self.frames = frames
        self.buffer = bytearray()
        self.open = False
        self.appeared = []  # when the n-th letter was there
        self.segments = {}
        self.done = asyncio.get_running_loop().create_future()

    def connection_made(self, transport):
        self.transport = transport
        key = base64.b64encode(os.urandom(16)).decode()
        transport.write(
            f"GET /sherpa HTTP/1.1\r\nhost: localhost\r\nupgrade: websocket\r\nconnection: Upgrade\r\n"
            f"sec-websocket-key: {key}\r\nsec-websocket-version: 13\r\n\r\n".encode()
        )

    def data_received(self, data):
        self.buffer += data
        if not self.open:
            end = self.buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            if b" 101 " not in self.buffer[:32]:
                return self.transport.abort()
            self.open = True
            del self.buffer[: end + 4]
        while (message := self.message()) is not None:
            self.hear(message)

    def message(self):
        buffer = self.buffer
        if len(buffer) < 2:
            return None
        n, at = buffer[1] & 127, 2
        if n == 126:
            if len(buffer) < 4:
                return None
            n, at = struct.unpack_from("!H", buffer, 2)[0], 4
        elif n == 127:
            if len(buffer) < 10:
                return None
            n, at = struct.unpack_from("!Q", buffer, 2)[0], 10
        if len(buffer) < at + n:
            return None
        opcode, payload = buffer[0] & 15, bytes(buffer[at : at + n])
        del buffer[: at + n]
        return opcode, payload

    def hear(self, message):
        opcode, payload = message
        if opcode == 9:
            self.transport.write(frame(10, payload))
        if opcode == 8:
            return self.transport.close()
        if opcode != 1:
            return
        if payload == b"Done!":
            return self.finish()
        result = json.loads(payload)
        self.segments[result["segment"]] = result["text"].lower()
        # By letters: sherpa-onnx writes a model of phones without spaces between words.
        count = sum(len("".join(text.split())) for text in self.segments.values())
        now = time.perf_counter()
        while len(self.appeared) < count:
            self.appeared.append(now)

    def finish(self):
        if not self.done.done():
            self.done.set_result(True)
        self.transport.close()

    def connection_lost(self, _):
        if not self.done.done():
            self.done.set_result(False)

    def text(self):
        return " ".join(" ".join(self.segments[k].split()) for k in sorted(self.segments)).strip()


async def connect(port, frames):
    _, stream = await asyncio.get_running_loop().create_connection(lambda: Stream(frames), "127.0.0.1", port)
    return stream


async def run_alone(port, frames):
    """Sends one stream in real time; returns it and when each chunk was due."""
    stream = await connect(port, frames)
    while not stream.open:
        await asyncio.sleep(0.01)
    start = time.perf_counter() + 0.1
    due = [start + (i + 1) * PIECE_MS / 1000 for i in range(len(frames))]
    for at, data in zip(due, frames):
        await asyncio.sleep(max(0.0, at - time.perf_counter()))
        stream.transport.write(data)
    stream.transport.write(DONE)
    await asyncio.wait([stream.done], timeout=20)
    return stream, due


class Load:
    """n concurrent streams at different positions of the recording: each of n slots runs one stream after
    another. The first round starts them evenly spaced; the second is measured."""

    def __init__(self, port, frames, n):
        self.port, self.frames, self.n = port, frames, n
        self.seconds = len(frames) * PIECE_MS / 1000
        self.heard = []  # of each stream: itself and when its first piece begins
        self.late = []

    async def run(self):
        begin = time.perf_counter() + 0.5
        self.window = begin + self.seconds, begin + 2 * self.seconds
        ends = self.window[1] + AFTER_S
        # (due time, slot, number of the chunk, stream)
        queue = [(begin + self.seconds * i / self.n, i, 0, None) for i in range(self.n)]
        heapq.heapify(queue)
        while queue[0][0] < ends:
            due, place, piece, stream = queue[0]
            wait = due - time.perf_counter()
            if wait > 0.0005 or piece == 0:
                await asyncio.sleep(max(wait, 0.0))
            if piece == 0:
                stream = await connect(self.port, self.frames)
                self.heard.append((stream, due))
            else:
                self.late.append(time.perf_counter() - due)
                if not stream.transport.is_closing():
                    stream.transport.write(self.frames[piece - 1])
                    if piece == len(self.frames):
                        stream.transport.write(DONE)
            following = (due, place, 0, None) if piece == len(self.frames) else \
                (due + PIECE_MS / 1000, place, piece + 1, stream)
            heapq.heapreplace(queue, following)
            if len(self.late) % 16 == 0:
                await asyncio.sleep(0)
        self.stopped = time.perf_counter()
        for stream, _ in self.heard:
            stream.transport.abort()

    def lags(self, pieces_of):
        """Lags of the letters due in the measured round; a missing letter counts as one second after the end."""
        lags = []
        for stream, begun in self.heard:
            for letter, piece in enumerate(pieces_of):
                due = begun + (piece + 1) * PIECE_MS / 1000
                if self.window[0] <= due < self.window[1]:
                    appeared = stream.appeared[letter] if letter < len(stream.appeared) else self.stopped + 1.0
                    lags.append(appeared - due)
        return lags


def measure(port, frames, n, baseline):
    """Percentiles of the lag of n streams' text, the client's own, and how many texts differ."""
    begun, wall = os.times(), time.perf_counter()
    load = Load(port, frames, n)
    asyncio.run(load.run())
    wall, cpu = time.perf_counter() - wall, sum(os.times()[:2]) - sum(begun[:2])
    pieces_of, text = baseline
    lags = load.lags(pieces_of)
    over = [stream for stream, begun in load.heard if begun + load.seconds < load.window[1]]
    return {
        "streams": n,
        "lag_p50_ms": 1000 * float(np.percentile(lags, 50)),
        "lag_p99_ms": 1000 * float(np.percentile(lags, 99)),
        "client_late_p99_ms": 1000 * float(np.percentile(load.late, 99)),
        "client_cpu": cpu / wall,
        "differing": sum(stream.text() != text for stream in over),
    }


def baseline(port, frames):
    """The chunk after which each letter appears on an idle server, and the text."""
    stream, due = asyncio.run(run_alone(port, frames))
    text = stream.text()
    assert text, "nothing was heard"
    return [max(0, int(np.searchsorted(due, at, "right")) - 1) for at in stream.appeared], text


def most_streams(name, port, frames, args):
    """Doubles the number of streams until the lag is too long, then bisects."""
    base = baseline(port, frames)
    print(f"\n{name}: {len(base[0])} letters, {base[1][:60]}…")
    good, bad, n, rows = 0, None, args.first, []
    while bad is None or bad - good > max(10, good * args.resolution):
        row = measure(port, frames, n, base)
        rows.append(row)
        print("  {streams:5d} streams: lag p50 {lag_p50_ms:7.1f} ms, p99 {lag_p99_ms:8.1f} ms;"
              " client late p99 {client_late_p99_ms:6.1f} ms, cpu {client_cpu:4.0%};"
              " {differing} texts differ".format(**row), flush=True)
        fits = row["lag_p99_ms"] <= args.limit_ms and row["differing"] == 0
        good, bad = (n, bad) if fits else (good, n)
        if good >= args.most:
            break
        n = min(2 * n, args.most) if bad is None else (good + bad) // 2
    return good, rows


@contextlib.contextmanager
def on_core(core):
    """Processes started within this context run on this core, and create their threads accordingly."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


class Sherpa:
    """sherpa-onnx's own server with the exported model."""

    def __init__(self, args, folder):
        export = [args.hearken, "export", args.model, "--for", "sherpa-onnx", "-o", folder]
        subprocess.run(export, check=True, capture_output=True)
        model = next(f for f in os.listdir(folder) if f.endswith(".onnx"))
        program = args.sherpa_server
        site = subprocess.run([sys.executable, "-c", "import sherpa_onnx; print(sherpa_onnx.__path__[0])"],
                              capture_output=True, text=True, check=False).stdout.strip()
        environment = dict(os.environ, LD_LIBRARY_PATH=f"{site}/lib:{os.environ.get('LD_LIBRARY_PATH', '')}")
        self.port = 16006
        self.log = open(os.path.join(folder, "log"), "w")  # noqa: SIM115 (the server's, as long as it runs)
        with on_core(args.cores[0]):
            self.process = subprocess.Popen(
                [program, f"--port={self.port}", f"--tokens={folder}/tokens.txt",
                 f"--zipformer2-ctc-model={folder}/{model}", "--enable-endpoint=false", "--num-io-threads=1",
                 "--num-work-threads=1", "--num-threads=1", f"--max-batch-size={args.sherpa_batch}",
                 "--loop-interval-ms=10", f"--log-file={folder}/sherpa.log"],
                stdout=self.log, stderr=self.log, env=environment)
        for _ in range(100):
            time.sleep(0.1)
            with open(self.log.name) as log:
                if "Listening" in log.read() or self.process.poll() is not None:
                    break
        if self.process.poll() is not None:
            with open(self.log.name) as log:
                raise SystemExit("sherpa-onnx's server did not start: " + log.read()[-2000:])
        time.sleep(1)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(20)


def processor():
    with open("/proc/cpuinfo") as info:
        names = [line.split(":")[1].strip() for line in info if line.startswith("model name")]
    return f"{names[0] if names else platform.processor()}, {os.cpu_count()} cores, {platform.system()}"


def server(args, *options):
    wide = ["--connect-rate", "1000000", "--max-connections", "100000", "--max-streams", "100000"]
    with on_core(args.cores[0]):
        return Server(args.hearken, args.model, "--threads", "1", *wide, *options)


def streams(args):
    samples = scene(args.recordings, args.seconds)
    frames = [frame(2, piece) for piece in pieces(samples.astype("<f4").tobytes(), 4 * RATE * PIECE_MS // 1000)]
    table = []
    for name, options in [("hearken, batches", ["--batch", "64"]), ("hearken, one by one", ["--batch", "1"])]:
        with server(args, "--endpoint", "off", *options) as hearken:
            table.append((name, *most_streams(name, int(hearken.http.rsplit(":", 1)[1]), frames, args)))
    if args.peer:
        with tempfile.TemporaryDirectory() as folder, Sherpa(args, folder) as peer:
            name = f"sherpa-onnx, batches of {args.sherpa_batch}"
            table.append((name, *most_streams(name, peer.port, frames, args)))
    print(f"\n{processor()}; server and client on one core each; pieces of {PIECE_MS} ms\n")
    print(f"| server | real-time streams with p99 lag ≤ {args.limit_ms} ms | p50 ms | p99 ms |\n|---|---|---|---|")
    for name, most, rows in table:
        at = next((r for r in rows if r["streams"] == most), None)
        numbers = f"{at['lag_p50_ms']:.0f} | {at['lag_p99_ms']:.0f}" if at else "- | -"
        print(f"| {name} | {most} | {numbers} |")


# ------------------------------------------------------------------ latency

def spoken_words(manifest, vocabulary, count):
    """Recordings of single words of the vocabulary between silences, and where each word begins and
    ends: a word is over at the last hundredth of a second that is less than 25 dB below its loudest."""
    with open(manifest) as lines:
        entries = [entry for line in lines if (entry := json.loads(line))["text"] in vocabulary]
    entries = entries[:: max(1, len(entries) // count)][:count]
    parts, words, at = [], [], 0
    for entry in entries:
        samples, rate = soundfile.read(os.path.join(os.path.dirname(manifest), entry["audio_filepath"]), dtype="float32")
        if rate != RATE:
            moments = np.arange(int(len(samples) * RATE / rate)) * rate / RATE
            samples = np.interp(moments, np.arange(len(samples)), samples).astype(np.float32)
        hundredths = samples[: len(samples) // 160 * 160].reshape(-1, 160)
        level = 10 * np.log10((hundredths**2).mean(axis=1) + 1e-10)
        last = np.nonzero(level > level.max() - 25)[0][-1] + 1
        words.append((entry["text"], at / RATE, at / RATE + last / 100))
        parts += [samples, np.zeros(RATE * 8 // 10, np.float32)]
        at += len(parts[-2]) + len(parts[-1])
    return np.concatenate(parts), words


def after_ends(seen, words):
    """How long after a word's end it was first there, ms."""
    found = []
    for text, start, end in words:
        there = [clock for word, middle, clock in seen if word == text and start - 0.1 < middle < end + 0.3]
        found += [1000 * (there[0] - end) for _ in there[:1]]
    return found


async def appearances(uri, samples, piece_ms):
    """Each word of each event, as the text grows, in real time: the word, the middle of its time in the
    audio, and when it came, seconds after the stream began."""
    seen = []
    async with websockets.connect(uri + "/v1/stream", max_size=None) as socket:
        await socket.send(json.dumps({"type": "start", "sample_rate": RATE}))
        start = time.perf_counter()

        async def send():
            for i, piece in enumerate(pieces(s16(samples), 2 * RATE * piece_ms // 1000)):
                await asyncio.sleep(max(0, start + (i + 1) * piece_ms / 1000 - time.perf_counter()))
                await socket.send(piece)
            await socket.send('{"type":"finish"}')

        sender = asyncio.create_task(send())
        async for message in socket:
            event, clock = json.loads(message), time.perf_counter() - start
            if event["type"] == "end":
                break
            seen += [(w["word"], (w["start"] + w["end"]) / 2, clock) for w in event.get("words", [])]
        await sender
    return seen


def latency(args):
    samples, words = spoken_words(args.words, set(args.vocabulary.split()), args.count_words)
    print(f"{processor()}; {len(words)} single words of {os.path.basename(args.words)}, in real time\n")
    print("| pieces | words heard | p50 ms | p95 ms |\n|---|---|---|---|")
    for piece_ms in (10, 20, 100):
        with server(args) as hearken:
            delays = after_ends(asyncio.run(appearances(hearken.ws, samples, piece_ms)), words)
        print(f"| {piece_ms} ms | {len(delays)} | {np.percentile(delays, 50):.0f} | {np.percentile(delays, 95):.0f} |", flush=True)


# ------------------------------------------------------------------ coming and going

async def come_and_go(ws, host, port, count, kinds):
    gate = asyncio.Semaphore(50)

    async def once(i):
        async with gate:
            try:
                if i % kinds == 0:
                    _, writer = await asyncio.open_connection(host, port)
                    writer.close()
                elif i % kinds == 1:
                    async with websockets.connect(ws + "/") as socket:
                        await socket.send(b"\0" * 640)
                        socket.transport.abort()
                elif i % kinds == 2:
                    async with websockets.connect(ws + "/vosk") as socket:
                        await socket.send(b"\0" * 3200)
                        await socket.recv()
                else:
                    async with websockets.connect(ws + "/v1/stream") as socket:
                        await socket.send("garbage")
                        await socket.recv()
            except (OSError, websockets.WebSocketException):
                pass

    await asyncio.gather(*(once(i) for i in range(count)))


def connects(args):
    path = args.recordings[0]
    samples, rate = soundfile.read(path, dtype="float32")
    expected = transcribe(args.hearken, args.model, path)
    with server(args) as hearken:
        host, port = hearken.http.split("//")[1].split(":")

        async def both(count):
            good = asyncio.create_task(own(hearken.ws + "/", samples, rate, "s16le", 3200, 0.1))
            await come_and_go(hearken.ws, host, int(port), count, 4)
            return await good

        asyncio.run(both(args.count // 10))
        time.sleep(1)
        before, begun = hearken.metrics(), time.perf_counter()
        for _ in range(10):
            text = asyncio.run(both(args.count // 10))
            assert text == expected, f"{text!r} is not {expected!r}"
        seconds = time.perf_counter() - begun
        time.sleep(1)
        after = hearken.metrics()
        print(f"{args.count} connections in {seconds:.1f} s; the text beside them was right each time")
        print(f"resident memory {before['hearken_resident_bytes'] / 2**20:.1f} MB before,"
              f" {after['hearken_resident_bytes'] / 2**20:.1f} MB after;"
              f" {after['hearken_streams']:.0f} streams, {after['hearken_connections']:.0f} connection (this one)")
        assert after["hearken_streams"] == 0 and after["hearken_connections"] <= 1
        grown = after["hearken_resident_bytes"] - before["hearken_resident_bytes"]
        assert grown < 8 << 20, f"memory grew by {grown} bytes"


# ------------------------------------------------------------------ soak

async def long_stream(ws, once, seconds, expected):
    """One stream of many hours, sent as fast as it is taken; texts and times must not drift."""
    period = len(once) / RATE
    count = math.ceil(seconds / period)
    data = s16(once)
    async with websockets.connect(ws + "/v1/stream", max_size=None) as socket:
        await socket.send(json.dumps({"type": "start", "sample_rate": RATE, "partials": False}))

        async def send():
            for _ in range(count):
                for piece in pieces(data, 2 * RATE):
                    await socket.send(piece)
            await socket.send('{"type":"finish"}')

        sender = asyncio.create_task(send())
        heard, worst, first = [], 0.0, None
        async for message in socket:
            event = json.loads(message)
            if event["type"] == "final":
                heard += [(w["word"], w["end"]) for w in event["words"]]
                n = len(expected)
                while len(heard) >= n:
                    turn, heard = heard[:n], heard[n:]
                    assert [w for w, _ in turn] == expected, turn
                    ends = [end % period for _, end in turn]
                    first = first or ends
                    worst = max(worst, *(abs(a - b) for a, b in zip(ends, first)))
            elif event["type"] == "end":
                assert abs(event["seconds"] - count * period) < 0.01, event
                break
        await sender
        assert not heard, heard
        return count * period, worst


def soak(args):
    silence = np.zeros(2 * RATE, np.float32)
    once = np.concatenate([np.concatenate([soundfile.read(p, dtype="float32")[0], silence]) for p in args.recordings])
    once = once[: len(once) // RATE * RATE]
    with server(args, "--max-seconds", "1000000") as hearken:
        expected = None

        async def text():
            return await own(hearken.ws + "/", once, RATE, "s16le", 32000)

        expected = asyncio.run(text()).split()

        async def all_streams():
            each = args.hours * 3600 / args.streams
            tasks = [asyncio.create_task(long_stream(hearken.ws, once, each, expected)) for _ in range(args.streams)]
            begun, shown, levels = time.perf_counter(), 0, []
            while not all(t.done() for t in tasks):
                await asyncio.sleep(1)
                metrics = await asyncio.to_thread(hearken.metrics)
                levels.append(metrics["hearken_resident_bytes"] / 2**20)
                if time.perf_counter() - begun > shown:
                    shown += 30
                    print(f"  {metrics['hearken_audio_seconds_total'] / 3600:6.2f} h heard, {levels[-1]:.1f} MB", flush=True)
            return [t.result() for t in tasks], levels, time.perf_counter() - begun

        results, levels, seconds = asyncio.run(all_streams())
        heard = sum(s for s, _ in results)
        settled = levels[len(levels) // 5 :] or levels
        print(f"{heard / 3600:.2f} stream-hours in {seconds:.0f} s ({heard / seconds:.0f} times real time),"
              f" memory {settled[0]:.1f} MB settled, {max(settled):.1f} MB at the most, {levels[-1]:.1f} MB at last;"
              f" words at most {1000 * max(w for _, w in results):.0f} ms from where they were the first time")
        assert levels[-1] < settled[0] + 8, "memory grew"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["streams", "latency", "connects", "soak"])
    parser.add_argument("--hearken", default="target/release/hearken")
    parser.add_argument("--model", default="models/digits/digits.onnx")
    parser.add_argument("--recordings", nargs="+", default=["audio/pi.wav", "audio/e.wav", "audio/countdown.wav"])
    parser.add_argument("--cores", default="0,1", type=lambda t: [int(c) for c in t.split(",")])
    parser.add_argument("--seconds", type=float, default=15, help="length of the audio of a stream")
    parser.add_argument("--first", type=int, default=50, help="streams to begin with")
    parser.add_argument("--most", type=int, default=4000, help="streams to end with")
    parser.add_argument("--resolution", type=float, default=0.1, help="of the number of streams")
    parser.add_argument("--limit-ms", type=float, default=300)
    parser.add_argument("--peer", action="store_true", help="sherpa-onnx's server too")
    parser.add_argument("--sherpa-server", default=shutil.which("sherpa-onnx-online-websocket-server")
                        or os.path.join(os.path.dirname(sys.executable), "sherpa-onnx-online-websocket-server"))
    parser.add_argument("--sherpa-batch", type=int, default=64)
    parser.add_argument("--count", type=int, default=10_000, help="connections")
    parser.add_argument("--words", help="a manifest (JSON lines) of recordings of single words, for the latency")
    parser.add_argument("--count-words", type=int, default=100)
    parser.add_argument("--vocabulary", default="zero one two three four five six seven eight nine",
                        help="the words of --words to hear; others among them would be no string of digits")
    parser.add_argument("--hours", type=float, default=4, help="stream-hours")
    parser.add_argument("--streams", type=int, default=8, help="streams of the soak")
    args = parser.parse_args()
    args.cores = [core % (os.cpu_count() or 1) for core in args.cores]
    if args.what != "soak":
        os.sched_setaffinity(0, {args.cores[1]})
    globals()[args.what](args)


if __name__ == "__main__":
    main()
