"""Prints words while they are spoken; Ctrl-C ends.

pip install sounddevice
python microphone.py [MODEL]
"""

import queue
import sys

import hearken
import sounddevice


def main() -> None:
    recognizer = hearken.Recognizer(sys.argv[1] if len(sys.argv) > 1 else None)
    stream = recognizer.stream(endpoint=True)
    chunks: queue.Queue = queue.Queue()

    def callback(samples, _frames, _time, status):
        if status:
            print(status, file=sys.stderr)  # audio that was lost
        chunks.put(samples.copy())

    rate = int(sounddevice.query_devices(kind="input")["default_samplerate"])
    try:
        with sounddevice.InputStream(samplerate=rate, blocksize=rate // 10, channels=1, callback=callback):
            while True:
                show(stream.accept_waveform(chunks.get(), rate))
    except KeyboardInterrupt:
        show(stream.finish())


def show(events) -> None:
    for event in events:
        end = "\n" if isinstance(event, hearken.Final) and event.text else "\r"
        print(f"\x1b[K{event.text}", end=end, flush=True)


if __name__ == "__main__":
    main()
