// Checks pcm_tile against a golden case, without Python: reads the words that `pcmref export --hex` writes.
//
//   $ pcmref export case --tile 256x64 --gain 40960/2^33 --hex
//   $ verilator --binary --timing -Icase/hex --top tile_tb pcm_*.sv tile_tb.sv
//   $ obj_dir/Vtile_tb +case=case/hex
//   $ iverilog -g2012 -I case/hex -s tile_tb -o tb pcm_*.sv tile_tb.sv && vvp -n tb +case=case/hex
//
// Prints the first mismatch and how many there are; ends with $fatal, hence an exit status, if there is one.  +got=FILE
// writes the answers, one word a line, vector by vector, column 0 first, for `pcmref check case --got FILE`.  +gaps
// leaves clocks without a code between the others.  Converters that the tile does not have are refused by name.
module tile_tb;
    import pcm_bench::*;
    `include "tile0.svh"

    localparam integer STEPS = ADC_HIGH - ADC_LOW;
    localparam integer STEP_BITS = THRESHOLD_BITS > 0 ? THRESHOLD_BITS : 1;
    localparam integer ADC_BITS = THRESHOLD_BITS > 0 ? STEPS*THRESHOLD_BITS : MULT_BITS;  // of a column's settings
    localparam integer ROW_BITS = ROWS > 1 ? $clog2(ROWS) : 1;

    reg [CODE_BITS-1:0]   codes      [0:VECTORS*ROWS-1];
    reg [G_BITS-1:0]      weights    [0:LOADS*ROWS*COLUMNS-1];
    reg [MULT_BITS-1:0]   gains      [0:COLUMNS-1];
    reg [OFFSET_BITS-1:0] offsets    [0:COLUMNS-1];
    reg [STEP_BITS-1:0]   thresholds [0:(THRESHOLD_BITS > 0 ? COLUMNS*STEPS : 1)-1];
    reg [NOISE_BITS-1:0]  noises     [0:(HAS_NOISE != 0 ? VECTORS*COLUMNS : 1)-1];
    reg [D_BITS-1:0]      expected   [0:VECTORS*COLUMNS-1];
    string                folder, answers;

    reg                            clk = 1'b0, rst = 1'b1, g_write = 1'b0, code_valid = 1'b0;
    reg  [ROW_BITS-1:0]            g_row = '0;
    reg  [COLUMNS*G_BITS-1:0]      g = 0;
    reg  [COLUMNS*ADC_BITS-1:0]    mult = 0;
    reg  [COLUMNS*OFFSET_BITS-1:0] offset = 0;
    reg  [COLUMNS*NOISE_BITS-1:0]  noise = 0;
    reg  [CODE_BITS-1:0]           code = '0;
    wire                           d_valid;
    wire [COLUMNS*D_BITS-1:0]      d;

    pcm_tile #(
        .ROWS(ROWS), .COLUMNS(COLUMNS), .CODE_BITS(CODE_BITS), .CODE_SIGNED(CODE_SIGNED), .G_BITS(G_BITS),
        .SUM_BITS(SUM_BITS), .HELD_BITS(HELD_BITS), .NOISE_BITS(NOISE_BITS), .OFFSET_BITS(OFFSET_BITS),
        .MULT_BITS(ADC_BITS), .SHIFTS(SHIFTS), .THRESHOLD_BITS(THRESHOLD_BITS), .D_BITS(D_BITS),
        .LOW(ADC_LOW), .HIGH(ADC_HIGH), .ROUNDING(ROUNDING)
    ) tile (
        .clk(clk), .rst(rst), .g_write(g_write), .g_row(g_row), .g(g), .mult(mult), .offset(offset), .noise(noise),
        .code_valid(code_valid), .code(code), .d_valid(d_valid), .d(d)
    );

    integer load, vector, row, column, wrong = 0, seen = 0, file = 0, gaps = 0;

    // one clock; the answers come a clock after the last code
    task tick;
        begin
            #1 clk = 1'b1;
            #1 clk = 1'b0;
            if (d_valid) begin
                for (column = 0; column < COLUMNS; column = column + 1) begin
                    if (file != 0) $fdisplay(file, "%h", d[column*D_BITS +: D_BITS]);
                    if (d[column*D_BITS +: D_BITS] !== expected[seen*COLUMNS + column]) begin
                        if (wrong == 0)
                            $display("vector %0d, column %0d: expected %0d (%h), found %0d (%h)", seen, column,
                                $signed(expected[seen*COLUMNS + column]), expected[seen*COLUMNS + column],
                                $signed(d[column*D_BITS +: D_BITS]), d[column*D_BITS +: D_BITS]);
                        wrong = wrong + 1;
                    end
                end
                seen = seen + 1;
            end
        end
    endtask

    // what the ADC of each column is set to; without one, D is the sum
    task set_adcs;
        integer step;
        begin
            if (HAS_ADC == 0)
                for (column = 0; column < COLUMNS; column = column + 1) mult[column*MULT_BITS +: MULT_BITS] = 1;
            if (FIXED_POINT != 0) begin
                need({folder, "/prompt/tile0/multiplier.hex"}, COLUMNS, MULT_BITS);
                $readmemh({folder, "/prompt/tile0/multiplier.hex"}, gains);
                for (column = 0; column < COLUMNS; column = column + 1)
                    mult[column*MULT_BITS +: MULT_BITS] = gains[column];
            end
            if (THRESHOLD_BITS > 0) begin
                need({folder, "/prompt/tile0/thresholds.hex"}, COLUMNS*STEPS, THRESHOLD_BITS);
                $readmemh({folder, "/prompt/tile0/thresholds.hex"}, thresholds);
                for (step = 0; step < COLUMNS*STEPS; step = step + 1)
                    mult[step*STEP_BITS +: STEP_BITS] = thresholds[step];
            end
            if (HAS_OFFSET != 0) begin
                need({folder, "/prompt/tile0/offset.hex"}, COLUMNS, OFFSET_BITS);
                $readmemh({folder, "/prompt/tile0/offset.hex"}, offsets);
                for (column = 0; column < COLUMNS; column = column + 1)
                    offset[column*OFFSET_BITS +: OFFSET_BITS] = offsets[column];
            end
        end
    endtask

    initial begin
        refuse(LINES, DRIVE, CODE_OFFSET, HAS_ADC, FIXED_POINT, THRESHOLD_BITS, D_BITS);
        if (!$value$plusargs("case=%s", folder)) folder = ".";
        if ($test$plusargs("gaps")) gaps = 1;
        need({folder, "/prompt/tile0/code.hex"}, VECTORS*ROWS, CODE_BITS);
        need({folder, "/prompt/tile0/g.hex"}, LOADS*ROWS*COLUMNS, G_BITS);
        need({folder, "/expected/tile0/D.hex"}, VECTORS*COLUMNS, D_BITS);
        $readmemh({folder, "/prompt/tile0/code.hex"}, codes);
        $readmemh({folder, "/prompt/tile0/g.hex"}, weights);
        $readmemh({folder, "/expected/tile0/D.hex"}, expected);
        set_adcs;
        if (HAS_NOISE != 0) begin
            need({folder, "/prompt/tile0/noise.hex"}, VECTORS*COLUMNS, NOISE_BITS);
            $readmemh({folder, "/prompt/tile0/noise.hex"}, noises);
        end
        if ($value$plusargs("got=%s", answers)) begin
            file = $fopen(answers, "w");
            if (file == 0) $fatal(1, "%s cannot be written", answers);
        end
        tick;
        rst = 1'b0;
        vector = 0;
        for (load = 0; load < LOADS; load = load + 1) begin
            g_write = 1'b1;
            for (row = 0; row < ROWS; row = row + 1) begin
                g_row = row[ROW_BITS-1:0];
                for (column = 0; column < COLUMNS; column = column + 1)
                    g[column*G_BITS +: G_BITS] = weights[(load*ROWS + row)*COLUMNS + column];
                tick;
            end
            g_write = 1'b0;
            while (vector < LOAD_END[32*load +: 32]) begin
                if (HAS_NOISE != 0)
                    for (column = 0; column < COLUMNS; column = column + 1)
                        noise[column*NOISE_BITS +: NOISE_BITS] = noises[vector*COLUMNS + column];
                for (row = 0; row < ROWS; row = row + 1) begin
                    code = ~codes[vector*ROWS + row];
                    code_valid = 1'b0;
                    while (gaps != 0 && $urandom%4 == 0) tick;
                    code = codes[vector*ROWS + row];
                    code_valid = 1'b1;
                    tick;
                end
                vector = vector + 1;
            end
            code_valid = 1'b0;
        end
        tick;
        if (file != 0) $fclose(file);
        if (seen != VECTORS) $fatal(1, "%0d answers to %0d vectors", seen, VECTORS);
        if (wrong != 0) $fatal(1, "%0d of %0d codes differ", wrong, VECTORS*COLUMNS);
        $display("all %0d codes of %0d vectors are equal", VECTORS*COLUMNS, VECTORS);
        $finish;
    end
endmodule
