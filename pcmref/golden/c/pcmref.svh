// pcmref in SystemVerilog, by DPI: pcmref.h says what each function does.
//
// Include it in a module that has the localparams ROWS, COLUMNS and CONVERSIONS; tile0.svh, which `pcmref export --hex`
// writes, has them.  Give pcmref*.c, but for pcmref_check.c, to the simulator, and let it compile with -O3.
import "DPI-C" function int pcmref_open(input string folder, input string tile);
import "DPI-C" function int pcmref_close(input int handle);
import "DPI-C" function longint pcmref_size(input int handle, input int what);
import "DPI-C" function int pcmref_matrix_of(input int handle, input longint number);
import "DPI-C" function int pcmref_select(input int handle, input int matrix);
import "DPI-C" function int pcmref_element(input int handle, input string name, input longint index, output longint n);
import "DPI-C" function longint pcmref_replay(input int handle);
import "DPI-C" function int pcmref_spec();
import "DPI-C" function string pcmref_error();

// conductance codes, row by row; where each line has its ADC, of the + devices, then of the - devices
`ifndef PCMREF_LINES
`define PCMREF_LINES 1
`endif
import "DPI-C" function int pcmref_load(input int handle, input shortint g[`PCMREF_LINES*ROWS*COLUMNS], input longint gs);

// one vector; `noises` is 0 if the tile is not noisy, whatever `noise` is
import "DPI-C" function int pcmref_product(
    input int handle, input shortint code[ROWS], input longint codes,
    input longint noise[CONVERSIONS*COLUMNS], input longint noises, output longint d[COLUMNS], input longint ds);

localparam int PCMREF_ROWS = 0, PCMREF_COLUMNS = 1, PCMREF_LINES = 2, PCMREF_CONVERSIONS = 3, PCMREF_NOISY = 4,
               PCMREF_CODE_HIGH = 5, PCMREF_CODES_BELOW = 6, PCMREF_MATRICES = 7, PCMREF_VECTORS = 8;
