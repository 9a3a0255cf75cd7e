// One crossbar tile: a row each clock, all columns at once; SPEC.md, section 8.
//
// Conductances are loaded row by row.  A vector is ROWS codes, one a clock, then its D of all columns is there for one
// clock.  The next vector may follow at once.  Column c of a packed bus is bits [c*WIDTH +: WIDTH].
module pcm_tile #(
    parameter integer ROWS        = 256,
    parameter integer COLUMNS     = 64,
    parameter integer CODE_BITS   = 8,   // DAC code
    parameter integer CODE_SIGNED = 1,   // two's complement; 0: unsigned
    parameter integer G_BITS      = 16,  // conductance code of a pair, two's complement
    parameter integer SUM_BITS    = 32,  // accumulator, two's complement; it wraps
    parameter integer HELD_BITS   = SUM_BITS,  // of the sum with its noise; fewer: it saturates, once
    parameter integer NOISE_BITS  = 32,  // read noise, two's complement; tie it to 0 where it is frozen in g
    parameter integer OFFSET_BITS = 32,
    parameter integer MULT_BITS   = 16,  // multiplier of a gain, unsigned; or all thresholds of a column
    parameter integer SHIFT       = 33,
    parameter [6*COLUMNS-1:0] SHIFTS = {COLUMNS{6'(SHIFT)}},  // of each column
    parameter integer THRESHOLD_BITS = 0,  // above 0: thresholds, HIGH - LOW a column, in place of gain and offset
    parameter integer D_BITS      = 8,
    parameter integer LOW         = -127,
    parameter integer HIGH        = 127,
    parameter integer ROUNDING    = 0,
    parameter integer ROW_BITS    = ROWS > 1 ? $clog2(ROWS) : 1
) (
    input  logic                           clk,
    input  logic                           rst,
    // conductances
    input  logic                           g_write,
    input  logic [ROW_BITS-1:0]            g_row,
    input  logic [COLUMNS*G_BITS-1:0]      g,
    // multiplier, or thresholds, and offset of each column's ADC
    input  logic [COLUMNS*MULT_BITS-1:0]   mult,
    input  logic [COLUMNS*OFFSET_BITS-1:0] offset,
    // a vector; the noise of its sums comes with the last code
    input  logic                           code_valid,
    input  logic [CODE_BITS-1:0]           code,
    input  logic [COLUMNS*NOISE_BITS-1:0]  noise,
    // its answer
    output logic                           d_valid,
    output logic [COLUMNS*D_BITS-1:0]      d
);
    logic [COLUMNS*G_BITS-1:0]   weights [0:ROWS-1];
    logic [COLUMNS*G_BITS-1:0]   row_g;
    logic [COLUMNS*D_BITS-1:0]   codes;
    logic [ROW_BITS-1:0]         row;
    logic                        last;

    always_ff @(posedge clk) if (g_write) weights[g_row] <= g;

    assign row_g = weights[row];
    assign last  = row == ROW_BITS'(ROWS - 1);

    always_ff @(posedge clk) begin
        if (rst) row <= '0;
        else if (code_valid) row <= last ? '0 : row + 1'b1;
        d_valid <= !rst && code_valid && last;
        if (code_valid && last) d <= codes;
    end

    for (genvar c = 0; c < COLUMNS; c = c + 1) begin : column
        logic signed [SUM_BITS-1:0]       sum, start, total, noisy;
        logic signed [CODE_BITS:0]        level;
        logic signed [CODE_BITS+G_BITS:0] product;
        logic signed [HELD_BITS-1:0]      held;

        assign level   = {CODE_SIGNED != 0 && code[CODE_BITS-1], code};
        assign product = level * $signed(row_g[c*G_BITS +: G_BITS]);
        assign start   = row == '0 ? '0 : sum;
        assign total   = start + SUM_BITS'(product);
        assign noisy   = total + SUM_BITS'($signed(noise[c*NOISE_BITS +: NOISE_BITS]));

        always_ff @(posedge clk) if (code_valid) sum <= total;

        if (HELD_BITS < SUM_BITS) begin : saturating
            logic fits;  // all bits above those that are held are copies of the sign
            assign fits = noisy[SUM_BITS-1:HELD_BITS-1] == {(SUM_BITS - HELD_BITS + 1) {noisy[SUM_BITS-1]}};
            assign held = fits ? noisy[HELD_BITS-1:0] : {noisy[SUM_BITS-1], {(HELD_BITS - 1) {!noisy[SUM_BITS-1]}}};
        end else begin : wide
            assign held = noisy;
        end

        if (THRESHOLD_BITS > 0) begin : by_thresholds
            pcm_threshold_adc #(
                .SUM_BITS(HELD_BITS), .THRESHOLD_BITS(THRESHOLD_BITS), .D_BITS(D_BITS), .LOW(LOW), .HIGH(HIGH)
            ) adc (
                .sum(held),
                .thresholds(mult[c*MULT_BITS +: MULT_BITS]),
                .d(codes[c*D_BITS +: D_BITS])
            );

            logic unused;  // thresholds have the offset in them
            assign unused = &{1'b0, offset[c*OFFSET_BITS +: OFFSET_BITS]};
        end else begin : by_gain
            pcm_adc #(
                .SUM_BITS(HELD_BITS), .OFFSET_BITS(OFFSET_BITS), .MULT_BITS(MULT_BITS), .SHIFT(32'(SHIFTS[6*c +: 6])),
                .D_BITS(D_BITS), .LOW(LOW), .HIGH(HIGH), .ROUNDING(ROUNDING)
            ) adc (
                .sum(held),
                .offset(offset[c*OFFSET_BITS +: OFFSET_BITS]),
                .mult(mult[c*MULT_BITS +: MULT_BITS]),
                .d(codes[c*D_BITS +: D_BITS])
            );
        end
    end
endmodule
