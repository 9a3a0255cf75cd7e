// pcm_tile with a clock of its own, so that Python speaks once for many products.
//
// Python fills the buses and turns `go` over; when the conductances are loaded, if they are to be, and the answers to all
// vectors are there, `done` follows.  Element i of a packed bus is bits [i*WIDTH +: WIDTH]: row by row, vector by vector.
module tile_harness #(
    parameter integer VECTORS        = 64,  // most at a time
    parameter integer ROWS           = 256,
    parameter integer COLUMNS        = 64,
    parameter integer CODE_BITS      = 8,
    parameter integer CODE_SIGNED    = 1,
    parameter integer G_BITS         = 16,
    parameter integer SUM_BITS       = 32,
    parameter integer HELD_BITS      = 32,
    parameter integer NOISE_BITS     = 32,
    parameter integer OFFSET_BITS    = 32,
    parameter integer MULT_BITS      = 16,
    parameter integer SHIFT          = 33,
    parameter integer THRESHOLD_BITS = 0,
    parameter integer D_BITS         = 8,
    parameter integer LOW            = -127,
    parameter integer HIGH           = 127,
    parameter integer ROUNDING       = 0
);
    localparam integer ROW_BITS = ROWS > 1 ? $clog2(ROWS) : 1;

    // what Python writes
    logic                                  load /* verilator public_flat_rw */;
    logic [ROWS*COLUMNS*G_BITS-1:0]        conductance /* verilator public_flat_rw */;
    logic [COLUMNS*MULT_BITS-1:0]          mult /* verilator public_flat_rw */;
    logic [COLUMNS*OFFSET_BITS-1:0]        offset /* verilator public_flat_rw */;
    logic [31:0]                           vectors /* verilator public_flat_rw */;
    logic [VECTORS*ROWS*CODE_BITS-1:0]     codes /* verilator public_flat_rw */;
    logic [VECTORS*COLUMNS*NOISE_BITS-1:0] noises /* verilator public_flat_rw */;
    logic                                  go /* verilator public_flat_rw */;
    // what it reads
    logic [VECTORS*COLUMNS*D_BITS-1:0]     answers /* verilator public_flat_rw */;
    logic [31:0]                           seen /* verilator public_flat_rw */;  // how many answers
    logic                                  done /* verilator public_flat_rw */;

    logic                           clk = 1'b0, rst = 1'b1, busy = 1'b0, g_write = 1'b0, code_valid = 1'b0, d_valid;
    logic [COLUMNS*MULT_BITS-1:0]   tile_mult;
    logic [COLUMNS*OFFSET_BITS-1:0] tile_offset;
    logic [ROW_BITS-1:0]            g_row;
    logic [COLUMNS*G_BITS-1:0]      g;
    logic [CODE_BITS-1:0]           code;
    logic [COLUMNS*NOISE_BITS-1:0]  noise;
    logic [COLUMNS*D_BITS-1:0]      d;
    integer                         loaded, vector, row;

    pcm_tile #(
        .ROWS(ROWS), .COLUMNS(COLUMNS), .CODE_BITS(CODE_BITS), .CODE_SIGNED(CODE_SIGNED), .G_BITS(G_BITS),
        .SUM_BITS(SUM_BITS), .HELD_BITS(HELD_BITS), .NOISE_BITS(NOISE_BITS), .OFFSET_BITS(OFFSET_BITS),
        .MULT_BITS(MULT_BITS), .SHIFT(SHIFT), .THRESHOLD_BITS(THRESHOLD_BITS), .D_BITS(D_BITS),
        .LOW(LOW), .HIGH(HIGH), .ROUNDING(ROUNDING)
    ) tile (
        .clk(clk), .rst(rst), .g_write(g_write), .g_row(g_row), .g(g), .mult(tile_mult), .offset(tile_offset),
        .code_valid(code_valid), .code(code), .noise(noise), .d_valid(d_valid), .d(d)
    );

    initial begin
        go = 1'b0;
        done = 1'b0;
    end

    always #1 clk = !clk;

    always @(posedge clk) begin
        rst <= 1'b0;
        g_write <= 1'b0;
        code_valid <= 1'b0;
        if (!busy && go != done) begin
            busy <= 1'b1;
            loaded <= load ? 0 : ROWS;
            vector <= 0;
            row <= 0;
            seen <= 0;
            answers = 0;
            tile_mult <= mult;
            tile_offset <= offset;
        end else if (busy && loaded < ROWS) begin
            g_write <= 1'b1;
            g_row <= ROW_BITS'(loaded);
            g <= conductance[loaded*COLUMNS*G_BITS +: COLUMNS*G_BITS];
            loaded <= loaded + 1;
        end else if (busy && vector < vectors) begin
            code_valid <= 1'b1;
            code <= codes[(vector*ROWS + row)*CODE_BITS +: CODE_BITS];
            if (row == 0) noise <= noises[vector*COLUMNS*NOISE_BITS +: COLUMNS*NOISE_BITS];
            row <= row == ROWS - 1 ? 0 : row + 1;
            if (row == ROWS - 1) vector <= vector + 1;
        end else if (busy && !code_valid && !d_valid) begin  // answers come a clock after the last code
            busy <= 1'b0;
            done <= go;
        end
        if (busy && d_valid) begin
            if (seen < vectors) answers[seen*COLUMNS*D_BITS +: COLUMNS*D_BITS] = d;
            seen <= seen + 1;
        end
    end
endmodule
