#!/usr/bin/env python3
"""Makes the data of the example `sequences`: an extract of books, and sentences about films.

    data.py books BOOKS.txt[.xz] 600000     > examples/sequences/data/books.txt
    data.py films movieReviewSnippets_GroundTruth.txt > examples/sequences/data/films.txt

BOOKS.txt has one sentence a line, of a to z, apostrophes and spaces; the extract is its first lines. The other file is
in the source package of vaderSentiment 2.5 (`pip download --no-deps --no-binary :all: vaderSentiment==2.5`), in
additional_resources/hutto_ICWSM_2014.tar.gz.
"""

import lzma
import re
import sys

# The mean of twenty ratings from -4 to 4 beyond which a sentence is clearly positive or negative.
CLEAR = 1.3


def books(path, size):
    opener = lzma.open if path.endswith(".xz") else open
    with opener(path, "rt", encoding="utf-8") as file:
        text = file.read(int(size))
    sys.stdout.write(text[: text.rfind("\n") + 1])


def films(path):
    with open(path, encoding="utf-8", errors="replace") as file:
        for line in file:
            parts = line.rstrip("\n").split("\t")
            if len(parts) != 3 or "\ufffd" in parts[2]:
                continue
            rating, text = float(parts[1]), " ".join(parts[2].replace("''", '"').split())
            if abs(rating) >= CLEAR and 4 <= len(text.split()) <= 30 and re.search("[A-Za-z]", text):
                print(f"{int(rating > 0)}\t{text}")


if __name__ == "__main__":
    {"books": books, "films": films}[sys.argv[1]](*sys.argv[2:])
