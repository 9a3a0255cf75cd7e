// pcm_conv with a clock of its own, so that Python speaks once an image.
//
// Python fills the buses and turns `go` over; when the conductances are loaded, if they are to be, and the output codes of
// all pixels are there, `done` follows; also when none has come for long.  With `gaps`, pixels and answers are held back
// now and then.  Element i of a packed bus is bits [i*WIDTH +: WIDTH]: row by row, pixel by pixel.
module conv_harness #(
    parameter integer HEIGHT         = 8,
    parameter integer WIDTH          = 8,
    parameter integer CHANNELS       = 56,
    parameter integer KERNEL_HEIGHT  = 3,
    parameter integer KERNEL_WIDTH   = 3,
    parameter integer STRIDE         = 1,
    parameter integer PADDING        = 1,
    parameter integer BIAS           = 0,
    parameter integer BIAS_CODE      = 127,
    parameter integer COLUMNS        = 56,
    parameter integer PIXELS         = 64,  // of an output image
    parameter integer ROWS           = 504,
    parameter integer TILES          = 2,
    parameter integer TILE_ROWS      = 256,
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
    parameter integer ROUNDING       = 0,
    parameter integer OUT_BITS       = 9
);
    localparam integer SUMS = TILES*COLUMNS;  // of an output pixel
    localparam integer INPUTS = HEIGHT*WIDTH;
    localparam integer LONGEST = ROWS < TILE_ROWS ? ROWS : TILE_ROWS;
    localparam integer ROW_BITS = LONGEST > 1 ? $clog2(LONGEST) : 1;
    localparam integer PATIENCE = 100*(LONGEST + (HEIGHT + 2*PADDING)*(WIDTH + 2*PADDING));  // clocks

    // what Python writes
    logic                                 load /* verilator public_flat_rw */;
    logic                                 gaps /* verilator public_flat_rw */;
    logic [ROWS*COLUMNS*G_BITS-1:0]       conductance /* verilator public_flat_rw */;
    logic [SUMS*MULT_BITS-1:0]            mult /* verilator public_flat_rw */;
    logic [SUMS*OFFSET_BITS-1:0]          offset /* verilator public_flat_rw */;
    logic [INPUTS*CHANNELS*CODE_BITS-1:0] codes /* verilator public_flat_rw */;
    logic [PIXELS*SUMS*NOISE_BITS-1:0]    noises /* verilator public_flat_rw */;
    logic                                 go /* verilator public_flat_rw */;
    // what it reads
    logic [PIXELS*COLUMNS*OUT_BITS-1:0]   answers /* verilator public_flat_rw */;
    logic [31:0]                          seen /* verilator public_flat_rw */;  // how many answers
    logic                                 done /* verilator public_flat_rw */;

    logic                                 clk = 1'b0, rst = 1'b1, busy = 1'b0;
    logic [TILES-1:0]                     g_write = '0;
    logic [ROW_BITS-1:0]                  g_row;
    logic [COLUMNS*G_BITS-1:0]            g;
    logic [SUMS*MULT_BITS-1:0]            layer_mult;
    logic [SUMS*OFFSET_BITS-1:0]          layer_offset;
    logic                                 in_valid = 1'b0, in_ready, noise_taken, out_valid, out_ready = 1'b0;
    logic [CHANNELS*CODE_BITS-1:0]        in_codes;
    logic [SUMS*NOISE_BITS-1:0]           noise;
    logic [COLUMNS*OUT_BITS-1:0]          out_codes;
    logic                                 shows;  // a pixel is given, if there is room
    integer                               loaded, given, noisy, idle;

    pcm_conv #(
        .HEIGHT(HEIGHT), .WIDTH(WIDTH), .CHANNELS(CHANNELS), .KERNEL_HEIGHT(KERNEL_HEIGHT), .KERNEL_WIDTH(KERNEL_WIDTH),
        .STRIDE(STRIDE), .PADDING(PADDING), .BIAS(BIAS), .BIAS_CODE(BIAS_CODE), .COLUMNS(COLUMNS), .TILE_ROWS(TILE_ROWS),
        .CODE_BITS(CODE_BITS), .CODE_SIGNED(CODE_SIGNED), .G_BITS(G_BITS), .SUM_BITS(SUM_BITS), .HELD_BITS(HELD_BITS),
        .NOISE_BITS(NOISE_BITS), .OFFSET_BITS(OFFSET_BITS), .MULT_BITS(MULT_BITS), .SHIFT(SHIFT),
        .THRESHOLD_BITS(THRESHOLD_BITS), .D_BITS(D_BITS), .LOW(LOW), .HIGH(HIGH), .ROUNDING(ROUNDING),
        .OUT_BITS(OUT_BITS)
    ) layer (
        .clk(clk), .rst(rst), .g_write(g_write), .g_row(g_row), .g(g), .mult(layer_mult), .offset(layer_offset),
        .in_valid(in_valid), .in_ready(in_ready), .in_codes(in_codes), .noise(noise), .noise_taken(noise_taken),
        .out_valid(out_valid), .out_ready(out_ready), .out_codes(out_codes)
    );

    initial begin
        go = 1'b0;
        done = 1'b0;
    end

    always #1 clk = !clk;

    always @(posedge clk) begin
        rst <= 1'b0;
        g_write <= '0;
        shows = given < INPUTS && (!gaps || $urandom%4 == 0);
        if (!busy && go != done) begin
            busy <= 1'b1;
            loaded <= load ? 0 : ROWS;
            given <= 0;
            noisy <= 0;
            seen <= 0;
            idle <= 0;
            layer_mult <= mult;
            layer_offset <= offset;
            noise <= noises[0 +: SUMS*NOISE_BITS];
        end else if (busy && loaded < ROWS) begin
            g_write[loaded/TILE_ROWS] <= 1'b1;
            g_row <= ROW_BITS'(loaded%TILE_ROWS);
            g <= conductance[loaded*COLUMNS*G_BITS +: COLUMNS*G_BITS];
            loaded <= loaded + 1;
        end else if (busy) begin
            if (!in_valid || in_ready) in_valid <= shows;
            if (shows && (!in_valid || in_ready)) begin
                in_codes <= codes[given*CHANNELS*CODE_BITS +: CHANNELS*CODE_BITS];
                given <= given + 1;
            end
            if (noise_taken && noisy < PIXELS - 1) begin
                noise <= noises[(noisy + 1)*SUMS*NOISE_BITS +: SUMS*NOISE_BITS];
                noisy <= noisy + 1;
            end
            out_ready <= !gaps || $urandom%16 == 0;
            idle <= idle + 1;
            if (out_valid && out_ready) begin
                if (seen < PIXELS) answers[seen*COLUMNS*OUT_BITS +: COLUMNS*OUT_BITS] = out_codes;
                seen <= seen + 1;
                idle <= 0;
            end
            if (idle == PATIENCE || (seen == PIXELS && given == INPUTS && !in_valid)) begin
                busy <= 1'b0;
                done <= go;
                out_ready <= 1'b0;
            end
        end
    end
endmodule
