// The ADC of one column: clip(round((sum + offset) * mult / 2^SHIFT), LOW, HIGH), in integers.
// SPEC.md, section 8.  Combinational.
module pcm_adc #(
    parameter integer SUM_BITS    = 32,  // the sum that the ADC sees, two's complement
    parameter integer OFFSET_BITS = 32,  // the offset, two's complement
    parameter integer MULT_BITS   = 16,  // the multiplier, unsigned
    parameter integer SHIFT       = 33,
    parameter integer D_BITS      = 8,   // the code, two's complement
    parameter integer LOW         = -127,
    parameter integer HIGH        = 127,
    // 0 half to even, 1 half away from zero, 2 half up, 3 floor, 4 toward zero
    parameter integer ROUNDING    = 0
) (
    input  logic signed [SUM_BITS-1:0]    sum,
    input  logic signed [OFFSET_BITS-1:0] offset,
    input  logic        [MULT_BITS-1:0]   mult,
    output logic signed [D_BITS-1:0]      d
);
    localparam integer MOVED_BITS = (SUM_BITS > OFFSET_BITS ? SUM_BITS : OFFSET_BITS) + 1;
    localparam integer PRODUCT_BITS = MOVED_BITS + MULT_BITS + 1;

    localparam integer CUT = SHIFT > 0 ? SHIFT : 1;  // bits that are cut off; of a shift of 0, one that is 0

    logic signed [MOVED_BITS-1:0]   moved;
    logic signed [PRODUCT_BITS-1:0] product, down, code;
    logic        [CUT-1:0]          rest;
    logic                           half, more, up;

    assign moved   = MOVED_BITS'(sum) + MOVED_BITS'(offset);
    assign product = PRODUCT_BITS'(moved) * $signed({{(PRODUCT_BITS - MULT_BITS) {1'b0}}, mult});
    assign down    = product >>> SHIFT;
    // what is cut off, against one half
    assign rest    = SHIFT > 0 ? CUT'(product) : '0;
    assign half    = rest == {1'b1, {(CUT - 1) {1'b0}}};
    assign more    = rest[CUT-1] && !half;

    assign up = ROUNDING == 0 ? more || (half && down[0])
              : ROUNDING == 1 ? more || (half && !product[PRODUCT_BITS-1])
              : ROUNDING == 2 ? more || half
              : ROUNDING == 3 ? 1'b0
              :                 product[PRODUCT_BITS-1] && rest != '0;

    assign code = down + PRODUCT_BITS'({1'b0, up});
    assign d    = code < PRODUCT_BITS'(LOW)  ? D_BITS'(LOW)
                : code > PRODUCT_BITS'(HIGH) ? D_BITS'(HIGH) : code[D_BITS-1:0];
endmodule
