"""Changes of pickles, opcode by opcode."""

import pickletools
import struct

from tests.fuzz.mutations import EDGES, changed_bytes

#: Opcodes without an argument.
PLAIN = [bytes([opcode.code.encode("latin-1")[0]]) for opcode in pickletools.opcodes if opcode.arg is None]


def opcodes_of(raw):
    """The opcodes of a pickle, each with its argument."""
    places = [place for _, _, place in pickletools.genops(raw)]
    return [raw[a:b] for a, b in zip(places, [*places[1:], len(raw)], strict=True)]


def some_opcode(rng):
    number = rng.choice(EDGES)
    return rng.choice(
        (
            rng.choice(PLAIN),
            b"j" + struct.pack("<I", number % 2**32),
            b"r" + struct.pack("<I", number % 2**32),
            b"J" + struct.pack("<i", number % 2**31),
            b"\x8a\x09" + (number % 2**71).to_bytes(9, "little"),
            b"K" + bytes([number % 256]),
            b"h" + bytes([rng.randrange(8)]),
            b"U\x01a",
            b"X\x01\0\0\0b",
            b"cnumpy\nndarray\n",
            b"ccollections\nOrderedDict\n",
            b"ctorch\nFloatStorage\n",
            b"I%d\n" % number,
            b"G" + struct.pack(">d", rng.choice((0.0, float("nan"), 1e300))),
        )
    )


def changed_pickle(rng, raw):
    """Change a pickle: opcodes more, less, twice, in another order; or its bytes."""
    if rng.random() < 0.3:
        return changed_bytes(rng, raw, (raw,))
    codes = opcodes_of(raw)
    for _ in range(rng.choice((1, 1, 2, 4))):
        place = rng.randrange(len(codes))
        match rng.randrange(6):
            case 0 if len(codes) > 1:
                del codes[place]
            case 1:
                codes.insert(place, some_opcode(rng))
            case 2:
                codes[place] = some_opcode(rng)
            case 3:
                codes.insert(place, rng.choice(codes))
            case 4:
                other = rng.randrange(len(codes))
                codes[place], codes[other] = codes[other], codes[place]
            case 5:
                codes[place:place] = codes[place : place + rng.randrange(20)] * rng.choice((1, 1, 30))
    return b"".join(codes)
