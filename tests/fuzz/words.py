"""Files of words, as simulators write them."""

from pcmref.golden.memory import read_memory
from tests.fuzz.mutations import changed_bytes

CORPUS = [
    b"0a\n7f\n80\nff\n",
    b"// written by a simulator\n@0\n0a 7f\n@2\n80\r\nff // the last\n",
    b"0A\r\n7F\r\n80\r\nFF\r\n",
    b"xx\n0z\n@00000002\n@fffffffff\n_1\n",
]


def good():
    return {"words.hex": CORPUS[0]}


def changed(rng):
    return {"words.hex": changed_bytes(rng, rng.choice(CORPUS), CORPUS)}


def read(folder):
    read_memory(folder / "words.hex", bits=8, signed=True, count=4)
