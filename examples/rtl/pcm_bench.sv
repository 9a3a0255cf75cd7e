// What the benches share.
package pcm_bench;
    // a file that is missing or of another size would leave words that nobody has written
    task automatic need(input string path, input integer words, input integer bits);
        integer opened, size;
        opened = $fopen(path, "r");
        if (opened == 0) $fatal(1, "%s cannot be opened", path);
        if ($fseek(opened, 0, 2) != 0) $fatal(1, "%s has no size", path);
        size = $ftell(opened);
        $fclose(opened);
        if (size != words*((bits + 3)/4 + 1))
            $fatal(1, "%s: expected %0d words of %0d digits, one a line", path, words, (bits + 3)/4);
    endtask

    // a word of so many bits in two's complement, on 64
    function automatic [63:0] extended(input [63:0] word, input integer bits);
        extended = $signed(word << (64 - bits)) >>> (64 - bits);
    endfunction

    // converters that pcm_tile does not have
    task automatic refuse(input integer lines, input integer drive, input integer code_offset, input integer has_adc,
                          input integer fixed_point, input integer threshold_bits, input integer d_bits);
        if (lines != 1) $fatal(1, "pcm_tile has no separate lines");
        if (drive == 1) $fatal(1, "pcm_tile has no two-phase drive");
        if (drive == 2) $fatal(1, "pcm_tile has no bit-serial drive");
        if (code_offset != 0) $fatal(1, "pcm_tile has no offset codes");
        if (has_adc != 0 && fixed_point == 0 && threshold_bits == 0) $fatal(1, "pcm_tile has no gains in float64");
        if (has_adc == 0 && d_bits > 32) $fatal(1, "pcm_tile has no sums of more than 32 bits without an ADC");
    endtask
endpackage
