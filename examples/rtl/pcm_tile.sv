// One crossbar tile: a row each clock, all columns at once; SPEC.md, section 8.
//
// Conductances are loaded row by row.  A vector is ROWS codes, one a clock, then its D of all columns is there for one
// clock.  The next vector may follow at once.  Column c of a packed bus is bits [c*WIDTH +: WIDTH].
module pcm_tile #(
    parameter integer ROWS        = 256,
    parameter integer COLUMNS     = 64,
    parameter integer CODE_BITS   = 8,   // DAC code, two's complement
    parameter integer G_BITS      = 16,  // conductance code of a pair, two's complement
    parameter integer SUM_BITS    = 32,  // accumulator, two's complement
    parameter integer NOISE_BITS  = 32,  // read noise, two's complement; tie it to 0 where it is frozen in g
    parameter integer OFFSET_BITS = 32,
    parameter integer MULT_BITS   = 16,
    parameter integer SHIFT       = 33,
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
    // gain and offset of each column's ADC
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
    logic [COLUMNS*SUM_BITS-1:0] sums;
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
        logic signed [SUM_BITS-1:0]         sum, start, total;
        logic signed [CODE_BITS+G_BITS-1:0] product;

        assign product = $signed(code) * $signed(row_g[c*G_BITS +: G_BITS]);
        assign start   = row == '0 ? '0 : sum;
        assign total   = start + SUM_BITS'(product);
        assign sums[c*SUM_BITS +: SUM_BITS] = total + SUM_BITS'($signed(noise[c*NOISE_BITS +: NOISE_BITS]));

        always_ff @(posedge clk) if (code_valid) sum <= total;

        pcm_adc #(
            .SUM_BITS(SUM_BITS), .OFFSET_BITS(OFFSET_BITS), .MULT_BITS(MULT_BITS), .SHIFT(SHIFT),
            .D_BITS(D_BITS), .LOW(LOW), .HIGH(HIGH), .ROUNDING(ROUNDING)
        ) adc (
            .sum(sums[c*SUM_BITS +: SUM_BITS]),
            .offset(offset[c*OFFSET_BITS +: OFFSET_BITS]),
            .mult(mult[c*MULT_BITS +: MULT_BITS]),
            .d(codes[c*D_BITS +: D_BITS])
        );
    end
endmodule
