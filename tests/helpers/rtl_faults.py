"""The faults of `pcmref.golden.faults` in SystemVerilog: small changes of the sources in examples/rtl."""

from __future__ import annotations

from typing import NamedTuple

TILE, ADC, THRESHOLDS, BENCH = "pcm_tile.sv", "pcm_adc.sv", "pcm_threshold_adc.sv", "tile_tb.sv"


class Mutant(NamedTuple):
    """A faulty tile: what stands in place of each text, which the file has once, and a kind of tile that shows it."""

    fault: str
    changes: dict[str, str]
    tile: str = "plain"
    file: str = TILE


ROUNDING = ".ROUNDING(ROUNDING)"
HIGHER, LOWER = (
    "code > PRODUCT_BITS'(HIGH) ? D_BITS'(HIGH)",
    "code < PRODUCT_BITS'(LOW)  ? D_BITS'(LOW)",
)
LIMITED = f"{LOWER}\n                : {HIGHER} : code[D_BITS-1:0];"
SHIFT = "32'(SHIFTS[6*c +: 6])"
MULT = "{1'b0}}, mult}"
OFFSET = "offset[c*OFFSET_BITS +: OFFSET_BITS]),"
HELD = "assign held = noisy;"
NOISE = "$signed(noise[c*NOISE_BITS +: NOISE_BITS])"
NOISY = f"total + SUM_BITS'({NOISE})"
LEVEL = "{CODE_SIGNED != 0 && code[CODE_BITS-1], code}"
STALE_LEVEL = LEVEL.replace("code[", "stale[").replace("code}", "stale}")
G = "$signed(row_g[c*G_BITS +: G_BITS])"
ROW = "weights[row];"
ANSWER = "if (code_valid && last) d <= codes;"
COLUMNS = "    for (genvar c"


def stale_code(chosen):
    """A memory of the codes of the vector before, zeros before the first; `chosen` of it and the code drives a row."""
    return f"""    logic [CODE_BITS-1:0] earlier [0:ROWS-1];
    logic [CODE_BITS-1:0] stale;
    assign stale = {chosen};
    initial for (integer r = 0; r < ROWS; r = r + 1) earlier[r] = '0;
    always_ff @(posedge clk) if (code_valid) earlier[row] <= code;

{COLUMNS}"""


MUTANTS = (
    Mutant("rounds-half-even", {ROUNDING: ".ROUNDING(0)"}, "offsets, half-up"),
    Mutant("rounds-half-away", {ROUNDING: ".ROUNDING(1)"}),
    Mutant("rounds-half-up", {ROUNDING: ".ROUNDING(2)"}),
    Mutant("rounds-floor", {ROUNDING: ".ROUNDING(3)"}),
    Mutant("rounds-toward-zero", {ROUNDING: ".ROUNDING(4)"}),
    Mutant("saturation-missing", {LIMITED: "code[D_BITS-1:0];"}, file=ADC),
    Mutant("high-limit-one-more", {HIGHER: "code > HIGH + 1 ? D_BITS'(HIGH + 1)"}, file=ADC),
    Mutant("high-limit-one-less", {HIGHER: "code > HIGH - 1 ? D_BITS'(HIGH - 1)"}, file=ADC),
    Mutant("low-limit-one-less", {LOWER: "code < LOW - 1 ? D_BITS'(LOW - 1)"}, file=ADC),
    Mutant("low-limit-one-more", {LOWER: "code < LOW + 1 ? D_BITS'(LOW + 1)"}, file=ADC),
    Mutant("gain-doubled", {SHIFT: f"{SHIFT} - 1"}),
    Mutant("gain-halved", {SHIFT: f"{SHIFT} + 1"}),
    Mutant("multiplier-low-bit-lost", {MULT: "{1'b0}}, mult & ~MULT_BITS'(1)}"}, "odd multiplier", ADC),
    Mutant("multiplier-low-byte-lost", {MULT: "{1'b0}}, mult & ~MULT_BITS'(255)}"}, "odd multiplier", ADC),
    Mutant("converter-of-neighbour", {OFFSET: OFFSET.replace("c*", "(c + COLUMNS - 1)%COLUMNS*")}, "offsets, half-up"),
    Mutant("threshold-exceeded", {"(sum) >=": "(sum) >"}, "thresholds", THRESHOLDS),
    Mutant("offset-ignored", {" + MOVED_BITS'(offset)": ""}, "offsets, half-up", ADC),
    Mutant("offset-subtracted", {" + MOVED_BITS'(offset)": " - MOVED_BITS'(offset)"}, "offsets, half-up", ADC),
    Mutant("accumulator-one-bit-narrow", {HELD: "assign held = HELD_BITS'($signed(noisy[SUM_BITS-2:0]));"}),
    Mutant("accumulator-four-bits-narrow", {HELD: "assign held = HELD_BITS'($signed(noisy[SUM_BITS-5:0]));"}),
    Mutant("accumulator-wraps", {"fits ? noisy": "1'b1 ? noisy"}, "register saturates"),
    Mutant("accumulator-saturates", {".SUM_BITS(SUM_BITS)": ".SUM_BITS(SUM_BITS + 8)"}, "register wraps", BENCH),
    Mutant("noise-missing", {NOISY: "total"}, "fresh noise"),
    Mutant("noise-twice", {NOISY: f"total + 2*SUM_BITS'({NOISE})"}, "fresh noise"),
    Mutant("noise-subtracted", {NOISY: f"total - SUM_BITS'({NOISE})"}, "fresh noise"),
    Mutant("noise-of-neighbour", {NOISE: NOISE.replace("c*", "(c + COLUMNS - 1)%COLUMNS*")}, "fresh noise"),
    Mutant(
        "noise-stale",
        {
            NOISE: NOISE.replace("noise", "stale"),
            COLUMNS: f"""    logic [COLUMNS*NOISE_BITS-1:0] stale = 0;
    always_ff @(posedge clk) if (code_valid && last) stale <= noise;

{COLUMNS}""",
        },
        "fresh noise",
    ),
    Mutant(
        "noise-after-adc",
        {
            f"{NOISY};": f"""total;
        logic [D_BITS-1:0] early;
        integer            late;
        assign late = 32'($signed(early)) + 32'({NOISE});
        assign codes[c*D_BITS +: D_BITS] = D_BITS'(late > HIGH ? HIGH : late < LOW ? LOW : late);""",
            """.mult(mult[c*MULT_BITS +: MULT_BITS]),
                .d(codes[c*D_BITS +: D_BITS])""": ".mult(mult[c*MULT_BITS +: MULT_BITS]), .d(early)",
        },
        "fresh noise",
    ),
    Mutant(
        "accumulator-not-cleared",
        {
            "row == '0 ? '0 : sum;": "sum;",
            "if (code_valid) sum <= total;": "if (rst) sum <= '0; else if (code_valid) sum <= total;",
        },
    ),
    Mutant("products-cut", {"SUM_BITS'(product)": "(SUM_BITS'(product) & ~3)"}),
    Mutant("codes-unsigned", {LEVEL: "{1'b0, code}"}),
    Mutant("code-low-bit-lost", {LEVEL: LEVEL.replace(", code", ", code & ~CODE_BITS'(1)")}),
    Mutant(
        "lowest-code-lost",
        {LEVEL: LEVEL.replace(", code", ", code | CODE_BITS'(code == 1 << (CODE_BITS - 1))")},
        "signed codes",
    ),
    Mutant("conductance-unsigned", {G: "$signed({1'b0, row_g[c*G_BITS +: G_BITS]})"}),
    Mutant("conductance-8-bits", {G: "$signed(row_g[c*G_BITS +: 8])"}),
    Mutant("conductance-low-bit-lost", {G: "$signed(row_g[c*G_BITS +: G_BITS] & ~G_BITS'(1))"}),
    Mutant("lines-swapped", {"= level * ": "= -level * "}),
    Mutant("plus-line-only", {G: f"(row_g[(c + 1)*G_BITS - 1] ? G_BITS'(0) : {G})"}),
    Mutant("minus-line-only", {G: f"(row_g[(c + 1)*G_BITS - 1] ? {G} : G_BITS'(0))"}),
    Mutant("rows-reversed", {ROW: "weights[ROWS - 1 - row];"}),
    Mutant("first-rows-swapped", {ROW: "weights[row < 2 ? 1 - row : row];"}),
    Mutant("first-row-missing", {ROW: "row == 0 ? '0 : weights[row];"}),
    Mutant("last-row-missing", {ROW: "last ? '0 : weights[row];"}),
    Mutant(
        "columns-reversed",
        {
            ANSWER: """if (code_valid && last)
            for (integer c = 0; c < COLUMNS; c = c + 1)
                d[c*D_BITS +: D_BITS] <= codes[(COLUMNS - 1 - c)*D_BITS +: D_BITS];"""
        },
    ),
    Mutant("columns-shifted", {ANSWER: ANSWER.replace("codes", "{codes, codes[(COLUMNS-1)*D_BITS +: D_BITS]}")}),
    Mutant("vector-stale", {LEVEL: STALE_LEVEL, COLUMNS: stale_code("earlier[row]")}),
    Mutant("first-row-stale", {LEVEL: STALE_LEVEL, COLUMNS: stale_code("row == 0 ? earlier[row] : code")}),
    Mutant(
        "answer-stale",
        {
            ANSWER: "if (code_valid && last) begin d <= stale; stale <= codes; end",
            COLUMNS: f"    logic [COLUMNS*D_BITS-1:0] stale = 0;\n\n{COLUMNS}",
        },
    ),
)

#: Faults that this RTL cannot have, and what it does not have.
IMPOSSIBLE = {
    "gain-in-float32": "gains in float64",
    "lines-added": "an ADC on each line",
    "sign-of-phase-lost": "several phases",
    "planes-reversed": "bit planes",
    "zero-kept": "offset codes",
}
