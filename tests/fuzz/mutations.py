"""Changes of bytes and of JSON, drawn from a generator of random numbers."""

import json
import math

#: Numbers at which readers break.
EDGES = [
    0,
    1,
    2,
    3,
    7,
    8,
    127,
    128,
    255,
    256,
    32767,
    65535,
    65536,
    (1 << 24) - 1,
    (1 << 31) - 1,
    1 << 31,
    (1 << 32) - 1,
]
EDGES += [1 << 32, (1 << 53) + 1, (1 << 63) - 1, 1 << 63, (1 << 64) - 1, -1, -2, -512, -(1 << 31), -(1 << 63)]
#: Values that may stand where another one should.
STRANGE = [
    None,
    True,
    False,
    0.0,
    -0.0,
    1.5,
    1e308,
    math.nan,
    math.inf,
    "",
    "a",
    "\0",
    "é",
    "x" * 300,
    [],
    {},
    [[]],
    [1],
]
STRANGE += [{"a": 1}, 10**30, "input", "0" * 64]


def changed_bytes(rng, raw, others=(b"",)):
    """Change some of `raw`: bits, bytes, numbers, pieces; or splice it with one of `others`."""
    data = bytearray(raw)
    for _ in range(rng.choice((1, 1, 1, 2, 4, 8))):
        place = rng.randrange(len(data) + 1)
        length = min(rng.choice((1, 1, 2, 4, 8, 16, 64, 512)), len(data) - place)
        match rng.randrange(8):
            case 0 if place < len(data):
                data[place] ^= 1 << rng.randrange(8)
            case 1 if place < len(data):
                data[place] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
            case 2:
                width = rng.choice((1, 2, 4, 8))
                number = (rng.choice(EDGES) + rng.choice((0, 0, -1, 1))) % (1 << 8 * width)
                data[place : place + width] = number.to_bytes(width, rng.choice(("little", "big")))
            case 3:
                del data[place : place + length]
            case 4:
                data[place:place] = rng.randbytes(length)
            case 5:
                data[place:place] = data[place : place + length] * rng.choice((1, 2, 100))
            case 6:
                other = rng.choice(others)
                begin = rng.randrange(len(other) + 1)
                data[place : place + length] = other[begin : begin + length]
            case 7 if rng.random() < 0.1:
                del data[place:]
    return bytes(data)


def changed_json(rng, value):
    """Change a JSON value somewhere: a value for another, a name for another, an element more or less."""
    if not isinstance(value, (dict, list)) or not value or rng.random() < 0.15:
        if isinstance(value, (int, float)) and rng.random() < 0.6:
            return rng.choice(
                (rng.choice(EDGES), -value, value + 1, value / 2, float(value) if abs(value) < 1e300 else 0)
            )
        return rng.choice(STRANGE + EDGES)
    value = dict(value) if isinstance(value, dict) else list(value)
    keys = list(value) if isinstance(value, dict) else range(len(value))
    key = rng.choice(keys)
    match rng.randrange(8):
        case 0:
            del value[key]
        case 1 if isinstance(value, list):
            value.insert(key, value[rng.choice(keys)])
        case 1:
            value[rng.choice(("more", "", "a/b", "\0"))] = value[key]
        case 2 if isinstance(value, dict):
            value[rng.choice(keys)] = value[key]
        case 2:
            rng.shuffle(value)
        case _:
            value[key] = changed_json(rng, value[key])
    return value


def changed_text(rng, text):
    """Change a JSON text, as a value or as bytes."""
    if rng.random() < 0.3:
        return changed_bytes(rng, text.encode())
    return json.dumps(changed_json(rng, json.loads(text))).encode(errors="replace")
