"""Writes subtitles beside all recordings of a folder.

python folder.py RECORDINGS [MODEL]
"""

import sys
from pathlib import Path

import hearken

ENDINGS = {".wav", ".flac", ".mp3", ".m4a", ".ogg", ".opus", ".webm"}


def main() -> int:
    folder = Path(sys.argv[1])
    model = sys.argv[2] if len(sys.argv) > 2 else None
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in ENDINGS)
    recognizer = hearken.Recognizer(model)
    failed = 0
    for transcript in recognizer.transcribe(paths, endpoint=True, errors="return"):
        if transcript.error is not None:
            print(transcript.error, file=sys.stderr)
            failed += 1
            continue
        for warning in transcript.warnings:
            print(f"{transcript.path}: {warning}", file=sys.stderr)
        Path(transcript.path).with_suffix(".srt").write_text(transcript.to_format("srt"), encoding="utf-8")
        print(transcript.path, transcript.text, sep="\t")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
