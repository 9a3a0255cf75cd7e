// Checks pcm_conv against the golden case of a layer, without Python: reads the words that `pcmref export --hex` makes.
//
//   $ pcmref export case --network resnet32-cifar10 --layer stage3.block1.conv2 --hex
//   $ verilator --binary --timing -Icase/hex/stage3.block1.conv2 --top conv_tb pcm_*.sv conv_tb.sv
//   $ obj_dir/Vconv_tb +case=case/hex
//   $ iverilog -g2012 -I case/hex/LAYER -s conv_tb -o tb pcm_*.sv conv_tb.sv && vvp -n tb +case=case/hex
//
// Streams all images one after another.  Prints the first mismatch and how many there are; ends with $fatal, hence an
// exit status, if there is one.  +got=FILE writes the output codes, one word a line.  +gaps holds pixels and answers
// back now and then.  Converters that the tiles do not have are refused by name.
module conv_tb;
    import pcm_bench::*;
    `include "layer.svh"

    localparam integer STEPS = ADC_HIGH - ADC_LOW;
    localparam integer STEP_BITS = THRESHOLD_BITS > 0 ? THRESHOLD_BITS : 1;
    localparam integer ADC_BITS = THRESHOLD_BITS > 0 ? STEPS*THRESHOLD_BITS : MULT_BITS;  // of a column's settings
    localparam integer SUMS = TILES*COLUMNS;  // of an output pixel
    localparam integer ROW_BITS = TILE_ROWS > 1 ? $clog2(TILE_ROWS) : 1;
    localparam integer INPUTS = IMAGES*HEIGHT*WIDTH;
    localparam integer OUTPUTS = IMAGES*PIXELS;
    localparam integer FILLED_HEIGHT = HEIGHT + 2*PADDING;
    localparam integer FILLED_WIDTH = WIDTH + 2*PADDING;
    localparam integer WORDS = IMAGES*FILLED_HEIGHT*FILLED_WIDTH*FILLED_CHANNELS;

    reg [CODE_BITS-1:0]   codes      [0:WORDS-1];
    reg [G_BITS-1:0]      weights    [0:TILES*TILE_ROWS*COLUMNS-1];
    reg [MULT_BITS-1:0]   gains      [0:SUMS-1];
    reg [OFFSET_BITS-1:0] offsets    [0:SUMS-1];
    reg [STEP_BITS-1:0]   thresholds [0:(THRESHOLD_BITS > 0 ? SUMS*STEPS : 1)-1];
    reg [NOISE_BITS-1:0]  noises     [0:(HAS_NOISE != 0 ? TILES*OUTPUTS*COLUMNS : 1)-1];
    reg [OUT_BITS-1:0]    expected   [0:OUTPUTS*COLUMNS-1];
    string                folder, prompt, wanted, answers;

    reg                           clk = 1'b0, rst = 1'b1, in_valid = 1'b0, out_ready = 1'b0;
    reg  [TILES-1:0]              g_write = '0;
    reg  [ROW_BITS-1:0]           g_row = '0;
    reg  [COLUMNS*G_BITS-1:0]     g = 0;
    reg  [SUMS*ADC_BITS-1:0]      mult = 0;
    reg  [SUMS*OFFSET_BITS-1:0]   offset = 0;
    reg  [CHANNELS*CODE_BITS-1:0] in_codes = 0;
    reg  [SUMS*NOISE_BITS-1:0]    noise = 0;
    wire                          in_ready, noise_taken, out_valid;
    wire [COLUMNS*OUT_BITS-1:0]   out_codes;

    pcm_conv #(
        .HEIGHT(HEIGHT), .WIDTH(WIDTH), .CHANNELS(CHANNELS), .KERNEL_HEIGHT(KERNEL_HEIGHT), .KERNEL_WIDTH(KERNEL_WIDTH),
        .STRIDE(STRIDE), .PADDING(PADDING), .BIAS(BIAS), .BIAS_CODE(BIAS_CODE),
        .COLUMNS(COLUMNS), .TILE_ROWS(TILE_ROWS),
        .CODE_BITS(CODE_BITS), .CODE_SIGNED(CODE_SIGNED), .G_BITS(G_BITS), .SUM_BITS(SUM_BITS), .HELD_BITS(HELD_BITS),
        .NOISE_BITS(NOISE_BITS), .OFFSET_BITS(OFFSET_BITS), .MULT_BITS(ADC_BITS), .SHIFTS(SHIFTS),
        .THRESHOLD_BITS(THRESHOLD_BITS), .D_BITS(D_BITS), .LOW(ADC_LOW), .HIGH(ADC_HIGH), .ROUNDING(ROUNDING),
        .OUT_BITS(OUT_BITS)
    ) layer (
        .clk(clk), .rst(rst), .g_write(g_write), .g_row(g_row), .g(g), .mult(mult), .offset(offset),
        .in_valid(in_valid), .in_ready(in_ready), .in_codes(in_codes), .noise(noise), .noise_taken(noise_taken),
        .out_valid(out_valid), .out_ready(out_ready), .out_codes(out_codes)
    );

    integer tile, row, column, step, words;
    integer file = 0, gaps = 0, given = 0, noisy = 0, seen = 0, wrong = 0, clocks = 0, idle = 0;

    function integer own(input [32*TILES-1:0] numbers);
        own = numbers[32*tile +: 32];
    endfunction

    // the next pixel's codes, from the padded ones of the case
    task show_pixel;
        integer image, y, x, channel, first;
        begin
            image = given/(HEIGHT*WIDTH);
            y     = given/WIDTH%HEIGHT + PADDING;
            x     = given%WIDTH + PADDING;
            first = ((image*FILLED_HEIGHT + y)*FILLED_WIDTH + x)*FILLED_CHANNELS;
            for (channel = 0; channel < CHANNELS; channel = channel + 1)
                in_codes[channel*CODE_BITS +: CODE_BITS] = codes[first + channel];
        end
    endtask

    // the noise of the next output pixel: each tile has a width of its own
    task show_noise;
        begin
            for (tile = 0; tile < TILES; tile = tile + 1)
                for (column = 0; column < COLUMNS; column = column + 1)
                    noise[(tile*COLUMNS + column)*NOISE_BITS +: NOISE_BITS] = NOISE_BITS'(
                        extended(64'(noises[(tile*OUTPUTS + noisy)*COLUMNS + column]), own(NOISE_BITS_OF)));
        end
    endtask

    task check_pixel;
        begin
            for (column = 0; column < COLUMNS; column = column + 1) begin
                if (file != 0) $fdisplay(file, "%h", out_codes[column*OUT_BITS +: OUT_BITS]);
                if (out_codes[column*OUT_BITS +: OUT_BITS] !== expected[seen*COLUMNS + column]) begin
                    if (wrong == 0)
                        $display("image %0d, pixel %0d, column %0d: expected %0d (%h), found %0d (%h)",
                            seen/PIXELS, seen%PIXELS, column,
                            $signed(expected[seen*COLUMNS + column]), expected[seen*COLUMNS + column],
                            $signed(out_codes[column*OUT_BITS +: OUT_BITS]), out_codes[column*OUT_BITS +: OUT_BITS]);
                    wrong = wrong + 1;
                end
            end
            seen = seen + 1;
        end
    endtask

    // one clock; what is valid and ready before its edge passes
    task tick;
        reg pixel_passes, noise_passes;
        begin
            #1 pixel_passes = in_valid && in_ready;
            noise_passes = noise_taken;
            idle = idle + 1;
            if (out_valid && out_ready) begin
                if (seen == OUTPUTS) $fatal(1, "more answers than the %0d output pixels", OUTPUTS);
                check_pixel;
                idle = 0;
            end
            clk = 1'b1;
            #1 clk = 1'b0;
            clocks = clocks + 1;
            if (pixel_passes) begin
                given    = given + 1;
                in_valid = 1'b0;
                in_codes = ~in_codes;
            end
            if (noise_passes && HAS_NOISE != 0) begin
                noisy = noisy + 1;
                if (noisy < OUTPUTS) show_noise;
            end
        end
    endtask

    task read_tile;
        string path;
        begin
            path  = $sformatf("%s/tile%0d", prompt, tile);
            words = own(ROWS_OF)*COLUMNS;
            need({path, "/g.hex"}, words, G_BITS);
            $readmemh({path, "/g.hex"}, weights, tile*TILE_ROWS*COLUMNS, tile*TILE_ROWS*COLUMNS + words - 1);
            if (THRESHOLD_BITS == 0) begin
                need({path, "/multiplier.hex"}, COLUMNS, own(MULT_BITS_OF));
                $readmemh({path, "/multiplier.hex"}, gains, tile*COLUMNS, (tile + 1)*COLUMNS - 1);
                for (column = tile*COLUMNS; column < (tile + 1)*COLUMNS; column = column + 1)
                    mult[column*MULT_BITS +: MULT_BITS] = gains[column];
            end else begin
                need({path, "/thresholds.hex"}, COLUMNS*STEPS, own(THRESHOLD_BITS_OF));
                $readmemh({path, "/thresholds.hex"}, thresholds, tile*COLUMNS*STEPS, (tile + 1)*COLUMNS*STEPS - 1);
                for (step = tile*COLUMNS*STEPS; step < (tile + 1)*COLUMNS*STEPS; step = step + 1)
                    mult[step*STEP_BITS +: STEP_BITS]
                        = STEP_BITS'(extended(64'(thresholds[step]), own(THRESHOLD_BITS_OF)));
            end
            if (own(OFFSET_BITS_OF) != 0) begin
                need({path, "/offset.hex"}, COLUMNS, own(OFFSET_BITS_OF));
                $readmemh({path, "/offset.hex"}, offsets, tile*COLUMNS, (tile + 1)*COLUMNS - 1);
                for (column = tile*COLUMNS; column < (tile + 1)*COLUMNS; column = column + 1)
                    offset[column*OFFSET_BITS +: OFFSET_BITS]
                        = OFFSET_BITS'(extended(64'(offsets[column]), own(OFFSET_BITS_OF)));
            end
            if (HAS_NOISE != 0) begin
                need({path, "/noise.hex"}, OUTPUTS*COLUMNS, own(NOISE_BITS_OF));
                $readmemh({path, "/noise.hex"}, noises, tile*OUTPUTS*COLUMNS, (tile + 1)*OUTPUTS*COLUMNS - 1);
            end
        end
    endtask

    task load_tile;
        begin
            g_write[tile] = 1'b1;
            for (row = 0; row < own(ROWS_OF); row = row + 1) begin
                g_row = row[ROW_BITS-1:0];
                for (column = 0; column < COLUMNS; column = column + 1)
                    g[column*G_BITS +: G_BITS] = weights[(tile*TILE_ROWS + row)*COLUMNS + column];
                tick;
            end
            g_write = '0;
        end
    endtask

    initial begin
        refuse(LINES, DRIVE, CODE_OFFSET, HAS_ADC, FIXED_POINT, THRESHOLD_BITS, D_BITS);
        if (HAS_ADC == 0) $fatal(1, "this bench is for tiles with ADCs");
        if (SLICES != 1) $fatal(1, "pcm_conv has no slices of a weight");
        if (!$value$plusargs("case=%s", folder)) folder = ".";
        if ($test$plusargs("gaps")) gaps = 1;
        prompt = {folder, "/prompt/", LAYER};
        wanted = {folder, "/expected/", LAYER, "/output-code.hex"};
        need({prompt, "/code.hex"}, WORDS, CODE_BITS);
        need(wanted, OUTPUTS*COLUMNS, OUT_BITS);
        $readmemh({prompt, "/code.hex"}, codes);
        $readmemh(wanted, expected);
        for (tile = 0; tile < TILES; tile = tile + 1) read_tile;
        if ($value$plusargs("got=%s", answers)) begin
            file = $fopen(answers, "w");
            if (file == 0) $fatal(1, "%s cannot be written", answers);
        end
        tick;
        rst = 1'b0;
        for (tile = 0; tile < TILES; tile = tile + 1) load_tile;
        if (HAS_NOISE != 0) show_noise;
        clocks = 0;
        idle = 0;
        while (seen < OUTPUTS || given < INPUTS) begin
            if (!in_valid && given < INPUTS && !(gaps != 0 && $urandom%4 != 0)) begin
                show_pixel;
                in_valid = 1'b1;
            end
            out_ready = !(gaps != 0 && $urandom%16 != 0);
            tick;
            if (idle > 100*(TILE_ROWS + FILLED_WIDTH*FILLED_HEIGHT)) $fatal(1, "no answer after %0d of them", seen);
        end
        $display("%0d vectors in %0d clocks", OUTPUTS, clocks);
        out_ready = 1'b1;
        while (idle < 2*TILE_ROWS + FILLED_WIDTH*FILLED_HEIGHT) tick;  // nobody asks for more
        if (file != 0) $fclose(file);
        if (wrong != 0) $fatal(1, "%0d of %0d codes differ", wrong, OUTPUTS*COLUMNS);
        $display("all %0d codes of %0d output pixels are equal", OUTPUTS*COLUMNS, OUTPUTS);
        $finish;
    end
endmodule
