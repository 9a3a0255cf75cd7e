// A convolution layer on crossbar tiles, streaming; SPEC.md, sections 2, 6 and 8.
//
// The pixels of an image come in raster order, all channels in a beat; channel k is bits [k*CODE_BITS +: CODE_BITS].
// Lines of pixels and the window of one output pixel are held here, and padding, whose code is 0, is made here.  Tiles
// have TILE_ROWS rows each, the last one what is left; they run at once, a row each clock, and end together.  The
// output code of a pixel is the sum of their D, all columns in a beat: while it waits, the next vector runs up to its
// last row.  The next image may follow at once.
module pcm_conv #(
    parameter integer HEIGHT         = 8,   // of an image
    parameter integer WIDTH          = 8,
    parameter integer CHANNELS       = 56,
    parameter integer KERNEL_HEIGHT  = 3,
    parameter integer KERNEL_WIDTH   = 3,
    parameter integer STRIDE         = 1,
    parameter integer PADDING        = 1,
    parameter integer BIAS           = 0,   // 1: the last row is driven by BIAS_CODE
    parameter integer BIAS_CODE      = 127,
    parameter integer COLUMNS        = 56,
    parameter integer TILE_ROWS      = 256,
    // what follows from these
    parameter integer ROWS           = KERNEL_HEIGHT*KERNEL_WIDTH*CHANNELS + BIAS,
    parameter integer TILES          = (ROWS + TILE_ROWS - 1)/TILE_ROWS,
    parameter integer LONGEST        = ROWS < TILE_ROWS ? ROWS : TILE_ROWS,  // rows of the first tile
    parameter integer ROW_BITS       = LONGEST > 1 ? $clog2(LONGEST) : 1,
    // as of pcm_tile; number t*COLUMNS + c is column c of tile t
    parameter integer CODE_BITS      = 8,
    parameter integer CODE_SIGNED    = 1,
    parameter integer G_BITS         = 16,
    parameter integer SUM_BITS       = 32,
    parameter integer HELD_BITS      = SUM_BITS,
    parameter integer NOISE_BITS     = 32,
    parameter integer OFFSET_BITS    = 32,
    parameter integer MULT_BITS      = 16,
    parameter integer SHIFT          = 33,
    parameter [6*TILES*COLUMNS-1:0] SHIFTS = {TILES*COLUMNS{6'(SHIFT)}},
    parameter integer THRESHOLD_BITS = 0,
    parameter integer D_BITS         = 8,
    parameter integer LOW            = -127,
    parameter integer HIGH           = 127,
    parameter integer ROUNDING       = 0,
    parameter integer OUT_BITS       = D_BITS + $clog2(TILES)  // output code, two's complement if D is
) (
    input  logic                                 clk,
    input  logic                                 rst,
    // conductances: a bit for each tile
    input  logic [TILES-1:0]                     g_write,
    input  logic [ROW_BITS-1:0]                  g_row,
    input  logic [COLUMNS*G_BITS-1:0]            g,
    // what the ADCs are set to
    input  logic [TILES*COLUMNS*MULT_BITS-1:0]   mult,
    input  logic [TILES*COLUMNS*OFFSET_BITS-1:0] offset,
    // a pixel of DAC codes
    input  logic                                 in_valid,
    output logic                                 in_ready,
    input  logic [CHANNELS*CODE_BITS-1:0]        in_codes,
    // read noise of all sums of an output pixel; in the next clock that of the next pixel must be there
    input  logic [TILES*COLUMNS*NOISE_BITS-1:0]  noise,
    output logic                                 noise_taken,
    // a pixel of output codes
    output logic                                 out_valid,
    input  logic                                 out_ready,
    output logic [COLUMNS*OUT_BITS-1:0]          out_codes
);
    localparam integer LINE = WIDTH + 2*PADDING;  // pixels of a line and lines of an image, padding included
    localparam integer LINES = HEIGHT + 2*PADDING;
    localparam integer PLACE_BITS = $clog2((LINE > LINES ? LINE : LINES) + STRIDE + 1);
    localparam integer PIXEL_BITS = CHANNELS*CODE_BITS;
    localparam integer SEEN_BITS = KERNEL_WIDTH*PIXEL_BITS;  // a line of the window

    logic [PLACE_BITS-1:0]               y, x;            // of the next pixel, from that of the padding on
    logic [PLACE_BITS-1:0]               next_y, next_x;  // of the pixel that completes the next window
    logic [PIXEL_BITS-1:0]               pixel;
    logic [KERNEL_HEIGHT*PIXEL_BITS-1:0] column;          // it and those above it, the top one in the low bits
    logic [KERNEL_HEIGHT*SEEN_BITS-1:0]  window;          // line by line, each from left to right: in the order of rows
    logic [ROWS*CODE_BITS-1:0]           vector;
    logic                                of_image, shift, line_ends, image_ends, completes, waiting;
    logic                                busy, drive, last;  // a window is complete; a row is driven; the last one is
    logic [ROW_BITS-1:0]                 step;
    logic [TILES-1:0]                    d_valid;
    logic [TILES*COLUMNS*D_BITS-1:0]     d;

    // pixels: one is shifted in while no window is multiplied, or with its last row

    assign of_image   = y - PLACE_BITS'(PADDING) < PLACE_BITS'(HEIGHT)  // unsigned: what is before it is far beyond
                     && x - PLACE_BITS'(PADDING) < PLACE_BITS'(WIDTH);
    assign in_ready   = of_image && (!busy || noise_taken);
    assign shift      = of_image ? in_valid && in_ready : !busy || noise_taken;
    assign pixel      = of_image ? in_codes : PIXEL_BITS'(0);
    assign line_ends  = x == PLACE_BITS'(LINE - 1);
    assign image_ends = y == PLACE_BITS'(LINES - 1) && line_ends;
    assign completes  = y == next_y && x == next_x;

    always_ff @(posedge clk) begin
        if (rst || (shift && image_ends)) begin
            y      <= '0;
            next_y <= PLACE_BITS'(KERNEL_HEIGHT - 1);
        end else if (shift && line_ends) begin
            y <= y + 1'b1;
            if (y == next_y) next_y <= next_y + PLACE_BITS'(STRIDE);
        end
        if (rst || (shift && line_ends)) begin
            x      <= '0;
            next_x <= PLACE_BITS'(KERNEL_WIDTH - 1);
        end else if (shift) begin
            x <= x + 1'b1;
            if (x == next_x) next_x <= next_x + PLACE_BITS'(STRIDE);
        end
    end

    if (KERNEL_HEIGHT > 1) begin : several_lines
        localparam integer X_BITS = LINE > 1 ? $clog2(LINE) : 1;
        logic [(KERNEL_HEIGHT-1)*PIXEL_BITS-1:0] above [0:LINE-1];

        assign column = {pixel, above[x[X_BITS-1:0]]};
        always_ff @(posedge clk) if (shift) above[x[X_BITS-1:0]] <= column[KERNEL_HEIGHT*PIXEL_BITS-1:PIXEL_BITS];
    end else begin : one_line
        assign column = pixel;
    end

    for (genvar i = 0; i < KERNEL_HEIGHT; i = i + 1) begin : window_line
        logic [SEEN_BITS-1:0] seen;

        assign seen = window[i*SEEN_BITS +: SEEN_BITS];
        always_ff @(posedge clk)
            if (shift) window[i*SEEN_BITS +: SEEN_BITS]
                <= SEEN_BITS'({column[i*PIXEL_BITS +: PIXEL_BITS], seen} >> PIXEL_BITS);
    end

    assign vector = (ROWS*CODE_BITS)'({CODE_BITS'(BIAS_CODE), window});

    // rows: the last one is driven when the output codes of the pixel before are gone, or go

    assign last        = step == ROW_BITS'(LONGEST - 1);
    assign drive       = busy && !(last && out_valid && !out_ready);
    assign noise_taken = drive && last;

    always_ff @(posedge clk) begin
        if (rst) busy <= 1'b0;
        else if (shift && completes) busy <= 1'b1;
        else if (noise_taken) busy <= 1'b0;
        if (rst || noise_taken) step <= '0;
        else if (drive) step <= step + 1'b1;
    end

    for (genvar t = 0; t < TILES; t = t + 1) begin : tile
        localparam integer OWN_ROWS = t < TILES - 1 ? TILE_ROWS : ROWS - (TILES - 1)*TILE_ROWS;
        localparam integer OWN_BITS = OWN_ROWS > 1 ? $clog2(OWN_ROWS) : 1;
        localparam integer LATE = LONGEST - OWN_ROWS;  // clocks after the others that it starts
        localparam integer BUS = t*COLUMNS;

        pcm_tile #(
            .ROWS(OWN_ROWS), .COLUMNS(COLUMNS), .CODE_BITS(CODE_BITS), .CODE_SIGNED(CODE_SIGNED), .G_BITS(G_BITS),
            .SUM_BITS(SUM_BITS), .HELD_BITS(HELD_BITS), .NOISE_BITS(NOISE_BITS), .OFFSET_BITS(OFFSET_BITS),
            .MULT_BITS(MULT_BITS), .SHIFTS(SHIFTS[6*BUS +: 6*COLUMNS]), .THRESHOLD_BITS(THRESHOLD_BITS),
            .D_BITS(D_BITS), .LOW(LOW), .HIGH(HIGH), .ROUNDING(ROUNDING)
        ) crossbar (
            .clk(clk), .rst(rst), .g_write(g_write[t]), .g_row(g_row[OWN_BITS-1:0]), .g(g),
            .mult(mult[BUS*MULT_BITS +: COLUMNS*MULT_BITS]), .offset(offset[BUS*OFFSET_BITS +: COLUMNS*OFFSET_BITS]),
            .code_valid(drive && 32'(step) + OWN_ROWS >= LONGEST),
            .code(vector[(t*TILE_ROWS - LATE + 32'(step))*CODE_BITS +: CODE_BITS]),
            .noise(noise[BUS*NOISE_BITS +: COLUMNS*NOISE_BITS]),
            .d_valid(d_valid[t]), .d(d[BUS*D_BITS +: COLUMNS*D_BITS])
        );
    end

    // output codes: tiles keep their D until the next vector ends

    assign out_valid = &d_valid || waiting;
    always_ff @(posedge clk) waiting <= !rst && out_valid && !out_ready;

    for (genvar c = 0; c < COLUMNS; c = c + 1) begin : out_column
        logic [TILES*D_BITS-1:0] own;
        logic [OUT_BITS-1:0]     total;

        for (genvar t = 0; t < TILES; t = t + 1) begin : of_tile
            assign own[t*D_BITS +: D_BITS] = d[(t*COLUMNS + c)*D_BITS +: D_BITS];
        end
        always_comb begin
            total = '0;
            for (integer t = 0; t < TILES; t = t + 1)
                total = total + OUT_BITS'($signed({LOW < 0 && own[(t + 1)*D_BITS - 1], own[t*D_BITS +: D_BITS]}));
        end
        assign out_codes[c*OUT_BITS +: OUT_BITS] = total;
    end
endmodule
