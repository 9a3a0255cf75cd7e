// The ADC of one column by thresholds: LOW plus the number of thresholds that are at most the sum.
// SPEC.md, section 8.  Combinational: a binary search, one comparison for each bit of the number.
module pcm_threshold_adc #(
    parameter integer SUM_BITS       = 32,  // the sum that the ADC sees, two's complement
    parameter integer THRESHOLD_BITS = 32,  // a threshold, two's complement
    parameter integer D_BITS         = 8,   // the code, two's complement
    parameter integer LOW            = -127,
    parameter integer HIGH           = 127
) (
    input  logic signed [SUM_BITS-1:0]                  sum,
    input  logic        [(HIGH-LOW)*THRESHOLD_BITS-1:0] thresholds,  // they do not fall; the lowest in the low bits
    output logic signed [D_BITS-1:0]                    d
);
    localparam integer STEPS = HIGH - LOW;
    localparam integer COMPARED_BITS = SUM_BITS > THRESHOLD_BITS ? SUM_BITS : THRESHOLD_BITS;

    integer                           reached, more;  // how many thresholds are, so far; and with one bit more
    logic signed [THRESHOLD_BITS-1:0] threshold;

    always_comb begin
        reached = 0;
        for (integer b = $clog2(STEPS + 1) - 1; b >= 0; b = b - 1) begin
            more      = reached + (1 << b);
            threshold = thresholds[(more - 1)*THRESHOLD_BITS +: THRESHOLD_BITS];
            if (more <= STEPS && COMPARED_BITS'(sum) >= COMPARED_BITS'(threshold)) reached = more;
        end
    end

    assign d = D_BITS'(LOW + reached);
endmodule
