// Checks pcm_tile against pcmref in C, product by product: with the vectors of a golden case, then with random ones.
//
//   $ pcmref export case --tile 32x8 --gain 640/2^24 --hex && pcmref dpi dpi && make -C dpi
//   $ verilator --binary --timing -Icase/hex -Idpi --top dpi_tb pcm_*.sv dpi_tb.sv $PWD/dpi/libpcmref.a
//   $ obj_dir/Vdpi_tb +case=case +random=10000 +seed=1
//
// Prints the first mismatch and how many there are; ends with $fatal, hence an exit status, if there is one.
module dpi_tb;
    import pcm_bench::*;
    `include "tile0.svh"
    `include "pcmref.svh"

    localparam int ROW_BITS = ROWS > 1 ? $clog2(ROWS) : 1;

    string   folder;
    int      tile, random = 10000, seed = 1, wrong = 0, products = 0, low, high;
    longint  found[COLUMNS], noises[CONVERSIONS*COLUMNS];
    shortint codes[ROWS], cells[ROWS*COLUMNS];

    logic                           clk = 1'b0, rst = 1'b1, g_write = 1'b0, code_valid = 1'b0;
    logic [ROW_BITS-1:0]            g_row = '0;
    logic [COLUMNS*G_BITS-1:0]      g = '0;
    logic [COLUMNS*MULT_BITS-1:0]   mult = '0;
    logic [COLUMNS*OFFSET_BITS-1:0] offset = '0;
    logic [COLUMNS*NOISE_BITS-1:0]  noise = '0;
    logic [CODE_BITS-1:0]           code = '0;
    logic                           d_valid;
    logic [COLUMNS*D_BITS-1:0]      d;

    pcm_tile #(
        .ROWS(ROWS), .COLUMNS(COLUMNS), .CODE_BITS(CODE_BITS), .CODE_SIGNED(CODE_SIGNED), .G_BITS(G_BITS),
        .SUM_BITS(SUM_BITS), .HELD_BITS(HELD_BITS), .NOISE_BITS(NOISE_BITS), .OFFSET_BITS(OFFSET_BITS),
        .MULT_BITS(MULT_BITS), .SHIFTS(SHIFTS), .D_BITS(D_BITS), .LOW(ADC_LOW), .HIGH(ADC_HIGH), .ROUNDING(ROUNDING)
    ) dut (
        .clk(clk), .rst(rst), .g_write(g_write), .g_row(g_row), .g(g), .mult(mult), .offset(offset), .noise(noise),
        .code_valid(code_valid), .code(code), .d_valid(d_valid), .d(d)
    );

    task tick;
        #1 clk = 1'b1;
        #1 clk = 1'b0;
    endtask

    // what a function of pcmref returns is an error if it is negative
    function void must(input longint status);
        if (status < 0) $fatal(1, "%s", pcmref_error());
    endfunction

    function longint element(input string name, input int index);
        longint n;
        must(longint'(pcmref_element(tile, name, longint'(index), n)));
        return n;
    endfunction

    // one of the ends, or anything between
    function int drawn(input int least, input int most);
        case ($urandom % 4)
            0: return least;
            1: return most;
            default: return least + int'($urandom % (most - least + 1));
        endcase
    endfunction

    task set_adcs;
        for (int column = 0; column < COLUMNS; column++) begin
            mult[column*MULT_BITS +: MULT_BITS] = MULT_BITS'(element("multiplier", column));
            if (HAS_OFFSET != 0) offset[column*OFFSET_BITS +: OFFSET_BITS] = OFFSET_BITS'(element("offset", column));
        end
    endtask

    // the matrix that pcmref multiplies with, for the tile
    task load;
        g_write = 1'b1;
        for (int row = 0; row < ROWS; row++) begin
            g_row = ROW_BITS'(row);
            for (int column = 0; column < COLUMNS; column++)
                g[column*G_BITS +: G_BITS] = G_BITS'(element("g", row*COLUMNS + column));
            tick;
        end
        g_write = 1'b0;
    endtask

    // the vector in `codes` and `noises` through both
    task automatic multiply;
        must(longint'(pcmref_product(tile, codes, longint'(ROWS), noises, longint'(HAS_NOISE*COLUMNS), found,
                                     longint'(COLUMNS))));
        for (int column = 0; column < COLUMNS; column++) noise[column*NOISE_BITS +: NOISE_BITS] = NOISE_BITS'(noises[column]);
        code_valid = 1'b1;
        for (int row = 0; row < ROWS; row++) begin
            code = CODE_BITS'(codes[row]);
            tick;
        end
        code_valid = 1'b0;
        if (!d_valid) $fatal(1, "product %0d: no answer", products);
        for (int column = 0; column < COLUMNS; column++) begin
            logic [D_BITS-1:0] expected = D_BITS'(found[column]);
            if (d[column*D_BITS +: D_BITS] !== expected) begin
                if (wrong == 0)
                    $display("product %0d, column %0d: expected %h, found %h", products, column, expected,
                             d[column*D_BITS +: D_BITS]);
                wrong++;
            end
        end
        products++;
    endtask

    task automatic multiply_vectors_of_the_case;
        int matrix = -1;
        for (int vector = 0; vector < VECTORS; vector++) begin
            if (matrix != pcmref_matrix_of(tile, longint'(vector))) begin
                matrix = pcmref_matrix_of(tile, longint'(vector));
                must(longint'(pcmref_select(tile, matrix)));
                load;
            end
            for (int row = 0; row < ROWS; row++) codes[row] = shortint'(element("code", vector*ROWS + row));
            for (int column = 0; column < COLUMNS; column++)
                noises[column] = HAS_NOISE != 0 ? element("noise", vector*COLUMNS + column) : 0;
            multiply;
            for (int column = 0; column < COLUMNS; column++)
                if (found[column] != element("answer", vector*COLUMNS + column))
                    $fatal(1, "vector %0d, column %0d: pcmref in C does not give the answer of the case", vector, column);
        end
    endtask

    task automatic multiply_random_vectors;
        for (int vector = 0; vector < random; vector++) begin
            if (vector % 100 == 0) begin
                for (int i = 0; i < ROWS*COLUMNS; i++) cells[i] = shortint'(drawn(-32767, 32767));
                must(longint'(pcmref_load(tile, cells, longint'(ROWS*COLUMNS))));
                load;
            end
            for (int row = 0; row < ROWS; row++) codes[row] = shortint'(drawn(low, high));
            for (int column = 0; column < COLUMNS; column++)
                noises[column] = HAS_NOISE != 0 ? longint'(drawn(-100000, 100000)) : 0;
            multiply;
        end
    endtask

    initial begin
        refuse(LINES, DRIVE, CODE_OFFSET, HAS_ADC, FIXED_POINT, THRESHOLD_BITS, D_BITS);
        if (FIXED_POINT == 0) $fatal(1, "this bench is for gains in fixed point");
        if (!$value$plusargs("case=%s", folder)) folder = "case";
        void'($value$plusargs("random=%d", random));
        void'($value$plusargs("seed=%d", seed));
        void'($urandom(seed));
        tile = pcmref_open(folder, "tile0");
        must(longint'(tile));
        low = -int'(pcmref_size(tile, PCMREF_CODES_BELOW));
        high = int'(pcmref_size(tile, PCMREF_CODE_HIGH));
        set_adcs;
        tick;
        rst = 1'b0;
        multiply_vectors_of_the_case;
        multiply_random_vectors;
        must(longint'(pcmref_close(tile)));
        if (wrong != 0) $fatal(1, "%0d of %0d codes differ", wrong, products*COLUMNS);
        $display("all %0d codes of %0d products are equal", products*COLUMNS, products);
        $finish;
    end
endmodule
