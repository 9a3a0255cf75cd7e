/* A second implementation of the inference of SPEC.md in C99, written from its text alone; but for take_channels, which
 * was added by somebody who knew the package.
 *
 * Headings and comments name the sections of SPEC.md that are spelt out; names are those of its tables. It is plain
 * on purpose, to be read beside the text. Left out: the digital baseline, thresholds and measured ADCs, gains and
 * offsets of one's own that differ from column to column, measured devices, g_step other than 2^-9 uS.
 *
 * A network comes as flat bytes, written by flatten.py. All numbers are little-endian; u32 is unsigned:
 *
 *   "pcmflat1"
 *   u32 height, width, channels of the input;  float64 full_scale, mean[channels], std[channels]
 *   u32 number of nodes;  then each node:
 *       u32 operation, in the order of the table in section 2, from 0
 *       u32 number of inputs;  u32 each input: 0 the input of the network, k the node that stands k-th
 *       all numbers of the operation in the order of the table: integers, true and false u32, others float64;
 *           kernels, strides and dilations of both axes, paddings of all sides, equal or not
 *       its tensors in the order of the table:  u32 number of axes (0: none), u32 their lengths, float32 elements
 *   u32 number of presets with stored ranges;  then each, in the order of the file:
 *       u32 rows and columns of a tile (0: all);  for each crossbar layer  float64 input_top, sum_top
 *   u32 number of images, then their uint8 pixels;  the same for the calibration images
 *
 * What is written is little-endian, too. --out: float32 logits, image after image. --codes: the bytes whose SHA-256 is
 * `devices` in appendix A.3. --corrections: float64 gains of all columns of each crossbar layer, then mean and var of
 * each batch normalisation. `second functions NUMBERS RESULTS` gives ln, exp and quantile of float64 numbers.
 *
 * Compile with -std=c99 -ffp-contract=off: no product and sum may be fused. */
#include <errno.h>
#include <float.h>
#include <math.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#if FLT_EVAL_METHOD != 0
#error "float and double must be evaluated in their own formats (section 1)"
#endif

static const double G_STEP = 0x1p-9, V_STEP = 0x1p-12; /* section 7, uS and uS^2 */

/* ---- Memory, errors, bytes ---- */

static void die(const char *message, ...)
{
    va_list list;
    va_start(list, message);
    fputs("second: ", stderr);
    vfprintf(stderr, message, list);
    fputc('\n', stderr);
    va_end(list);
    exit(1);
}

/* What belongs together is released together. */
typedef union Chunk {
    union Chunk *next;
    double aligned;
} Chunk;

typedef struct {
    Chunk *last;
} Memory;

static void *zeros(Memory *memory, size_t count, size_t size)
{
    if (count > (SIZE_MAX - sizeof(Chunk)) / size)
        die("%zu elements of %zu bytes are too many", count, size);
    Chunk *chunk = calloc(1, sizeof *chunk + count * size);
    if (!chunk)
        die("no memory for %zu elements of %zu bytes", count, size);
    chunk->next = memory->last;
    memory->last = chunk;
    return chunk + 1;
}

static void release(Memory *memory)
{
    while (memory->last) {
        Chunk *chunk = memory->last;
        memory->last = chunk->next;
        free(chunk);
    }
}

typedef struct {
    const uint8_t *bytes;
    size_t length, position;
    Memory *memory; /* of what is read */
} Reader;

static const uint8_t *take(Reader *from, size_t count)
{
    if (count > from->length - from->position)
        die("the network ends too early, at byte %zu", from->length);
    const uint8_t *here = from->bytes + from->position;
    from->position += count;
    return here;
}

static uint64_t read_bits(Reader *from, size_t count)
{
    const uint8_t *bytes = take(from, count);
    uint64_t bits = 0;
    for (size_t i = count; i-- > 0;)
        bits = bits << 8 | bytes[i];
    return bits;
}

static size_t read_u32(Reader *from, size_t low, size_t high, const char *what)
{
    size_t value = (size_t)read_bits(from, 4);
    if (value < low || value > high)
        die("%s is %zu, not from %zu to %zu", what, value, low, high);
    return value;
}

static double read_f64(Reader *from, double low, double high, const char *what)
{
    uint64_t bits = read_bits(from, 8);
    double value;
    memcpy(&value, &bits, sizeof value);
    if (!(value >= low && value <= high))
        die("%s is %g, not from %g to %g", what, value, low, high);
    return value;
}

static float read_f32(Reader *from)
{
    uint32_t bits = (uint32_t)read_bits(from, 4);
    float value;
    memcpy(&value, &bits, sizeof value);
    if (!isfinite(value))
        die("a tensor has a number that is not finite");
    return value;
}

static void write_bits(FILE *to, uint64_t bits, size_t count)
{
    for (size_t i = 0; i < count; i++, bits >>= 8)
        if (fputc((int)(bits & 255), to) == EOF)
            die("cannot write: %s", strerror(errno));
}

static void write_f64(FILE *to, double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    write_bits(to, bits, 8);
}

static void write_f32(FILE *to, float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    write_bits(to, bits, 4);
}

/* ---- Section 3: elementary functions ---- */

static double clip(double x, double low, double high) { return fmin(fmax(x, low), high); }

/* Section 1: Horner's rule, the coefficient of the highest power first. */
static double polynomial(double x, const double *coefficients, size_t count)
{
    double sum = coefficients[0];
    for (size_t i = 1; i < count; i++)
        sum = sum * x + coefficients[i];
    return sum;
}

static double natural_log(double x)
{
    static const double P[] = {1.0 / 23, 1.0 / 21, 1.0 / 19, 1.0 / 17, 1.0 / 15, 1.0 / 13,
                               1.0 / 11, 1.0 / 9,  1.0 / 7,  1.0 / 5,  1.0 / 3};
    int exponent;
    double f = frexp(x, &exponent);
    if (f < 0x1.6a09e667f3bcdp-1) {
        f = f + f;
        exponent--;
    }
    double e = exponent, s = (f - 1) / (f + 1), s2 = s * s;
    double tail = (s * s2) * polynomial(s2, P, 11);
    return e * 0x1.62e42feep-1 + ((s + s) + ((tail + tail) + e * 0x1.a39ef35793c76p-33));
}

static double exponential(double x)
{
    static const double P[] = {1.0 / 87178291200, 1.0 / 6227020800, 1.0 / 479001600, 1.0 / 39916800, 1.0 / 3628800,
                               1.0 / 362880,      1.0 / 40320,      1.0 / 5040,      1.0 / 720,      1.0 / 120,
                               1.0 / 24,          1.0 / 6,          1.0 / 2,         1.0,            1.0};
    x = clip(x, -700, 700);
    double k = rint(x * 0x1.71547652b82fep+0);
    double rest = (x - k * 0x1.62e42feep-1) - k * 0x1.a39ef35793c76p-33;
    return ldexp(polynomial(rest, P, 15), (int)k);
}

static double power(double base, double exponent) { return exponential(exponent * natural_log(base)); }

static double quantile(double u)
{
    static const double centre_num[] = {2.5090809287301226727e3, 3.3430575583588128105e4, 6.7265770927008700853e4,
                                        4.5921953931549871457e4, 1.3731693765509461125e4, 1.9715909503065514427e3,
                                        1.3314166789178437745e2, 3.3871328727963666080e0};
    static const double centre_den[] = {5.2264952788528545610e3, 2.8729085735721942674e4, 3.9307895800092710610e4,
                                        2.1213794301586595867e4, 5.3941960214247511077e3, 6.8718700749205790830e2,
                                        4.2313330701600911252e1, 1.0};
    static const double near_num[] = {7.7454501427834140764e-4, 2.27238449892691845833e-2, 2.41780725177450611770e-1,
                                      1.27045825245236838258e0, 3.64784832476320460504e0,  5.76949722146069140550e0,
                                      4.63033784615654529590e0, 1.42343711074968357734e0};
    static const double near_den[] = {1.05075007164441684324e-9, 5.475938084995344946e-4,   1.51986665636164571966e-2,
                                      1.48103976427480074590e-1, 6.89767334985100004550e-1, 1.67638483018380384940e0,
                                      2.05319162663775882187e0,  1.0};
    static const double far_num[] = {2.01033439929228813265e-7, 2.71155556874348757815e-5, 1.24266094738807843860e-3,
                                     2.65321895265761230930e-2, 2.96560571828504891230e-1, 1.78482653991729133580e0,
                                     5.46378491116411436990e0,  6.65790464350110377720e0};
    static const double far_den[] = {2.04426310338993978564e-15, 1.42151175831644588870e-7, 1.84631831751005468180e-5,
                                     7.86869131145613259100e-4,  1.48753612908506148525e-2, 1.36929880922735805310e-1,
                                     5.99832206555887937690e-1,  1.0};
    double h = u - 0.5;
    if (fabs(h) <= 0.425) {
        double x = 0.180625 - h * h;
        return h * (polynomial(x, centre_num, 8) / polynomial(x, centre_den, 8));
    }
    double s = sqrt(-natural_log(fmin(u, 1 - u))), z;
    if (s <= 5)
        z = polynomial(s - 1.6, near_num, 8) / polynomial(s - 1.6, near_den, 8);
    else
        z = polynomial(s - 5, far_num, 8) / polynomial(s - 5, far_den, 8);
    return h < 0 ? -z : z;
}

/* ---- Section 4: draws ---- */

enum Purpose { PROGRAM = 1, CONVERGENCE, READ, PRODUCT, CALIBRATION };

typedef struct {
    uint32_t word[4];
} Block;

typedef struct {
    uint32_t word[2];
} Key;

static Block philox(Block counter, Key key)
{
    uint32_t *w = counter.word;
    for (int i = 0; i < 10; i++) {
        uint64_t p0 = (uint64_t)0xD2511F53 * w[0], p1 = (uint64_t)0xCD9E8D57 * w[2];
        Block next = {{(uint32_t)(p1 >> 32) ^ w[1] ^ key.word[0], (uint32_t)p1,
                       (uint32_t)(p0 >> 32) ^ w[3] ^ key.word[1], (uint32_t)p0}};
        counter = next;
        key.word[0] += 0x9E3779B9;
        key.word[1] += 0xBB67AE85;
    }
    return counter;
}

static Key stream(uint64_t seed, enum Purpose purpose, size_t layer, uint32_t read, double t)
{
    uint64_t bits;
    t = t + 0.0; /* -0.0 is 0.0 */
    memcpy(&bits, &t, sizeof bits);
    if (purpose == PROGRAM || purpose == CONVERGENCE)
        read = 0, bits = 0;
    Block counter = {{(uint32_t)purpose + 256 * (uint32_t)layer, read, (uint32_t)bits, (uint32_t)(bits >> 32)}};
    Key key = {{(uint32_t)seed, (uint32_t)(seed >> 32)}};
    Block block = philox(counter, key);
    Key derived = {{block.word[0], block.word[1]}};
    return derived;
}

static double uniform(uint32_t word) { return (word + 0.5) * 0x1p-32; }
static double normal(uint32_t word) { return quantile(uniform(word)); }

/* ---- Section 5: the device ---- */

typedef struct {
    enum { POLYNOMIAL, LOGARITHM, POWER } kind;
    double c[4]; /* rising powers; or slope, offset, low, high; or factor, exponent, high */
} Piece;

typedef struct {
    double split; /* below applies to g < split */
    Piece below, above;
} Law;

typedef struct {
    const char *name;
    double g_max, t_c, t_read, t_offset;
    Law sigma_p, mu, sigma, q;
    bool absolute, of_programmed, programs_zero;
} Model;

#define POLY(...) {POLYNOMIAL, {__VA_ARGS__}}
#define LOG(...) {LOGARITHM, {__VA_ARGS__}}
#define NONE {POLYNOMIAL, {0}}
#define N19_SIGMA_P {0, NONE, POLY(0.2635, 1.9650, -1.1731)}
#define N19_MU {0, NONE, LOG(-0.0155, 0.0244, 0.049, 0.1)}
#define N19_SIGMA {0, NONE, LOG(-0.0125, -0.0059, 0.008, 0.045)}
#define N19_Q {0, NONE, {POWER, {0.0088, -0.65, 0.2}}}
#define L23_MU {0.0945, LOG(-0.0387, -0.0182, 0.0720, 0.13), POLY(0.0736, -0.0126, -0.0436)}

static const Model MODELS[] = {
    {"NANDAKUMAR_2019", 25, 20, 250e-9, 0, N19_SIGMA_P, N19_MU, N19_SIGMA, N19_Q, false, false, false},
    {"AIHWKIT", 25, 20, 250e-9, 20, {0, NONE, POLY(0.26348, 1.9650, -1.1731)}, N19_MU, N19_SIGMA, N19_Q,
     true, true, true},
    {"JOSHI_2020", 25, 27.36, 250e-9, 0, {0, NONE, POLY(0.28638599, 0.07585724 * 25, -0.00178767 * 625)},
     {0, NONE, POLY(0.06)}, N19_SIGMA, N19_Q, false, false, false},
    {"HERMES_1", 10.35, 200, 512e-9, 200, {0, NONE, POLY(0.15781817, 2.32443916, -2.16310839, 0.68841818)}, L23_MU,
     {0.3039, LOG(-0.0120, -0.0023, 0.0124, 0.04), POLY(0.0104, 0.0116, -0.0165)},
     {0.1591, LOG(-0.0078, 0.0038, 0.0179, 0.04), POLY(0.0088, 0.0768, -0.1352, 0.0664)}, true, true, true},
    {"HERMES_2", 20.7, 300, 512e-9, 300, {0, NONE, POLY(0.16603222, 4.71806468, -8.48101252, 4.68961419)}, L23_MU,
     {0.3055, LOG(-0.0117, -0.0057, 0.0091, 0.04), POLY(0.0073, 0.0093, -0.0118)},
     {0.16, LOG(-0.0117, -0.0069, 0.015, 0.04), POLY(0.0123, 0.0211, -0.0280, 0.0069)}, true, true, true},
};

static double law(const Law *of, double g)
{
    const Piece *piece = g < of->split ? &of->below : &of->above;
    const double *c = piece->c, floored = fmax(g, 1e-7);
    if (piece->kind == LOGARITHM)
        return clip(c[0] * natural_log(floored) + c[1], c[2], c[3]);
    if (piece->kind == POWER)
        return fmin(c[0] * power(floored, c[1]), c[2]);
    return fmax(((c[3] * g + c[2]) * g + c[1]) * g + c[0], 0);
}

/* What was asked of a chip. */
typedef struct {
    const Model *model;
    uint64_t seed;
    double share, t;
    uint32_t read;
    bool by_column, ideal; /* ideal: without noise and drift (section 11) */
    size_t slices, significance[16], total;
} Chip;

typedef struct {
    int16_t mean, read, variance;
} Device;

static int16_t on_grid(double x) { return (int16_t)fmin(rint(x), 32767); }

/* Sections 5 and 7: one device at time t, programmed, drifted, read and rounded. index is 0 for +, 1 for -. */
static Device device(const Chip *chip, double target, size_t index, Block program, Block converge, Block read)
{
    const Model *m = chip->model;
    Device off = {0, 0, 0};
    if (target == 0 && (!m->programs_zero || chip->ideal))
        return off;
    if (chip->ideal) {
        Device exact = {on_grid(target / G_STEP), on_grid(target / G_STEP), 0};
        return exact;
    }
    double g = target / m->g_max, g_p;
    if (target > 0 && uniform(converge.word[index]) < chip->share) {
        g_p = uniform(converge.word[2 + index]) * m->g_max;
        g = g_p / m->g_max;
    } else {
        g_p = fmax(target + law(&m->sigma_p, g) * normal(program.word[index]), 0);
    }
    double nu = law(&m->mu, g) + law(&m->sigma, g) * normal(program.word[2 + index]);
    if (m->absolute)
        nu = fabs(nu);
    double t = chip->t + m->t_offset;
    double g_d = g_p * exponential(-nu * natural_log(t / m->t_c));
    double q = law(&m->q, m->of_programmed ? g_p / m->g_max : g);
    double sigma_r = g_d * (q * sqrt(natural_log((t + m->t_read) / (2 * m->t_read))));
    double g_read = fmax(g_d + sigma_r * normal(read.word[index]), 0);
    Device result = {on_grid(g_d / G_STEP), on_grid(g_read / G_STEP), on_grid(sigma_r * sigma_r / V_STEP)};
    return result;
}

/* ---- Section 2: the network ---- */

enum Operation {
    CONV,
    LINEAR,
    BATCH_NORM,
    AFFINE,
    RELU,
    SIGMOID,
    TANH,
    LEAKY_RELU,
    CLIP,
    HARD_SIGMOID,
    LOCAL_RESPONSE_NORM,
    ADD,
    MULTIPLY,
    CONCAT,
    PAD_SHORTCUT,
    CHANNEL_SHUFFLE,
    TAKE_CHANNELS,
    FLATTEN,
    MAX_POOL,
    AVERAGE_POOL,
    GLOBAL_AVERAGE_POOL,
    OPERATIONS
};

typedef struct {
    size_t height, width, channels;
} Shape; /* a vector is a map of one pixel */

typedef struct {
    size_t in, out, kernel, stride, dilation, padding[2]; /* above and below, or left and right */
} Axis;

typedef struct {
    enum Operation op;
    size_t *input, inputs, last_use;
    size_t layer, address; /* layer: which of the crossbar layers, digital ones not counted */
    Axis axis[2];          /* vertical, horizontal */
    size_t before, after, groups, first, count, size, digital, ceil, count_padding;
    double number[3];                                 /* those that are no integers, in the order of the table */
    float *weight, *bias, *gamma, *beta, *mean, *var; /* of affine, gamma is scale and beta is shift */
    Shape in, out;
} Node;

typedef struct {
    double input_top, *sum_top;
} Range; /* sum_top of each column, that of its group */

typedef struct {
    size_t tile_rows, tile_columns; /* 0: all */
    double *tops;                   /* input_top and sum_top of each layer */
} Stored;

typedef struct {
    Shape input;
    double full_scale, *mean, *std;
    size_t nodes, addresses, layers, presets, classes, images, calibration_images;
    Node *node; /* node[0] stands for the input */
    const Node **layer;
    Stored *stored;
    const uint8_t *image, *calibration_image;
} Network;

static size_t size_of(Shape shape) { return shape.height * shape.width * shape.channels; }
static bool has_matrix(const Node *node) { return node->op == CONV || node->op == LINEAR; }
static bool is_crossbar(const Node *node) { return has_matrix(node) && !node->digital; }
static bool is_pool(const Node *node) { return node->op == MAX_POOL || node->op == AVERAGE_POOL; }

static float *read_tensor(Reader *from, size_t axes, size_t *lengths, bool optional)
{
    size_t count = 1, found = read_u32(from, 0, 4, "a number of axes");
    if (optional && found == 0)
        return NULL;
    if (found != axes)
        die("a tensor has %zu axes, not %zu", found, axes);
    for (size_t i = 0; i < axes; i++) {
        size_t length = read_u32(from, 1, UINT32_MAX, "a length of an axis");
        if (lengths[i] && length != lengths[i])
            die("a tensor has an axis of %zu, not %zu", length, lengths[i]);
        if (length > (from->length - from->position) / 4 / count)
            die("a tensor is larger than the file");
        lengths[i] = length;
        count *= length;
    }
    float *tensor = zeros(from->memory, count, sizeof *tensor);
    for (size_t i = 0; i < count; i++)
        tensor[i] = read_f32(from);
    return tensor;
}

/* The row or column of the input that a window sees at a position of its kernel, or PADDING. */
static const size_t PADDING = SIZE_MAX;

static size_t seen(const Axis *axis, size_t window, size_t position)
{
    size_t padded = axis->stride * window + axis->dilation * position, first = axis->padding[0];
    return padded >= first && padded - first < axis->in ? padded - first : PADDING;
}

/* The element of the input that a window sees: of this channel, at a position of the kernel in raster order. */
static size_t element_seen(const Node *node, size_t pixel, size_t position, size_t channel)
{
    const Axis *down = &node->axis[0], *across = &node->axis[1];
    size_t row = seen(down, pixel / node->out.width, position / across->kernel);
    size_t column = seen(across, pixel % node->out.width, position % across->kernel);
    if (row == PADDING || column == PADDING)
        return PADDING;
    return (row * node->in.width + column) * node->in.channels + channel;
}

static void count_windows(Axis *axis, const Node *node)
{
    size_t padded = axis->in + axis->padding[0] + axis->padding[1], extent = axis->dilation * (axis->kernel - 1) + 1;
    if (padded < extent)
        die("a window does not fit into its input");
    axis->out = (padded - extent) / axis->stride + 1;
    if (node->ceil && (padded - extent) % axis->stride != 0 && axis->out * axis->stride < axis->padding[0] + axis->in)
        axis->out++;
    for (size_t window = 0; window < axis->out && is_pool(node); window++) {
        size_t i = 0;
        while (i < axis->kernel && seen(axis, window, i) == PADDING)
            i++;
        if (i == axis->kernel)
            die("a window of a pooling sees no pixel of its input");
    }
}

/* The inputs of a node; those after the first must have its shape, or what of it the operation asks for. */
static void read_inputs(Reader *from, Network *net, Node *node, size_t number)
{
    size_t most = node->op == CONCAT ? UINT32_MAX : node->op == ADD || node->op == MULTIPLY ? 2 : 1;
    node->inputs = read_u32(from, most < 2 ? 1 : 2, most, "a number of inputs");
    if (node->inputs > (from->length - from->position) / 4)
        die("the network ends before its inputs do");
    node->input = zeros(from->memory, node->inputs, sizeof *node->input);
    for (size_t i = 0; i < node->inputs; i++) {
        node->input[i] = read_u32(from, 0, number - 1, "an input");
        net->node[node->input[i]].last_use = number;
        Shape first = net->node[node->input[0]].out, other = net->node[node->input[i]].out;
        bool factors = node->op == MULTIPLY && other.height * other.width == 1;
        bool fits = factors || (other.height == first.height && other.width == first.width);
        if (!fits || (node->op != CONCAT && other.channels != first.channels))
            die("node %zu has inputs of shapes that do not go together", number);
        node->out.channels += i && node->op != CONCAT ? 0 : other.channels;
    }
    node->in = net->node[node->input[0]].out;
    node->out.height = node->in.height;
    node->out.width = node->in.width;
}

static double read_number(Reader *from, double low, const char *what) { return read_f64(from, low, 0x1p100, what); }

/* The numbers of an operation; the order of these lines is that of each row of the table. */
static void read_numbers(Reader *from, Node *node)
{
    Axis *down = &node->axis[0], *across = &node->axis[1];
    enum Operation op = node->op;
    bool window = op == CONV || is_pool(node);
    down->in = node->in.height;
    across->in = node->in.width;
    for (size_t i = 0; i < 2; i++)
        node->axis[i].kernel = is_pool(node) ? read_u32(from, 1, 65536, "a kernel") : 1;
    for (size_t i = 0; i < 2; i++)
        node->axis[i].stride = window || op == PAD_SHORTCUT ? read_u32(from, 1, 65536, "a stride") : 1;
    for (size_t i = 0; i < 4; i++) /* top, left, bottom, right */
        node->axis[i % 2].padding[i / 2] = window ? read_u32(from, 0, 65536, "a padding") : 0;
    for (size_t i = 0; i < 2; i++)
        node->axis[i].dilation = op == CONV || op == MAX_POOL ? read_u32(from, 1, 65536, "a dilation") : 1;
    node->before = op == PAD_SHORTCUT ? read_u32(from, 0, 65536, "before") : 0;
    node->after = op == PAD_SHORTCUT ? read_u32(from, 0, 65536, "after") : 0;
    node->groups = op == CONV || op == CHANNEL_SHUFFLE ? read_u32(from, 1, 65536, "groups") : 1;
    node->first = op == TAKE_CHANNELS ? read_u32(from, 0, 65536, "first") : 0;
    node->count = op == TAKE_CHANNELS ? read_u32(from, 1, 65536, "count") : 0;
    node->digital = has_matrix(node) ? read_u32(from, 0, 1, "digital") : 0;
    node->ceil = is_pool(node) ? read_u32(from, 0, 1, "ceil") : 0;
    node->count_padding = op == AVERAGE_POOL ? read_u32(from, 0, 1, "count_padding") : 0;
    if (node->in.channels % node->groups != 0)
        die("%zu groups of %zu channels", node->groups, node->in.channels);
    if (node->first + node->count > node->in.channels)
        die("%zu channels from %zu on of %zu", node->count, node->first, node->in.channels);
    if (op == BATCH_NORM)
        node->number[0] = read_f64(from, 0x1p-1074, 1 - DBL_EPSILON / 2, "eps");
    if (op == LEAKY_RELU || op == HARD_SIGMOID)
        node->number[0] = read_number(from, -0x1p100, "a slope");
    if (op == HARD_SIGMOID)
        node->number[1] = read_number(from, -0x1p100, "an offset");
    if (op == CLIP) {
        node->number[0] = read_number(from, -0x1p100, "low");
        node->number[1] = read_number(from, node->number[0], "high");
    }
    if (op == LOCAL_RESPONSE_NORM) {
        node->size = read_u32(from, 1, 65536, "a size");
        node->number[0] = read_number(from, 0, "alpha");
        node->number[1] = read_number(from, -0x1p100, "beta");
        node->number[2] = read_number(from, 0x1p-100, "bias");
    }
}

static void read_tensors(Reader *from, Node *node)
{
    if (has_matrix(node)) {
        size_t lengths[4] = {0, node->in.channels / node->groups, 0, 0};
        if (node->op == LINEAR && node->in.height * node->in.width != 1)
            die("a linear layer whose input is no vector");
        node->weight = read_tensor(from, node->op == CONV ? 4 : 2, lengths, false);
        for (size_t i = 0; i < 2 && node->op == CONV; i++)
            node->axis[i].kernel = lengths[2 + i];
        if (lengths[0] % node->groups != 0)
            die("%zu groups of %zu output channels", node->groups, lengths[0]);
        node->out.channels = lengths[0];
        node->bias = read_tensor(from, 1, lengths, true);
    }
    float **tensors[4] = {&node->gamma, &node->beta, &node->mean, &node->var};
    for (size_t i = 0; i < (node->op == BATCH_NORM ? 4 : node->op == AFFINE ? 2 : 0); i++)
        *tensors[i] = read_tensor(from, 1, &node->in.channels, false);
    for (size_t c = 0; c < node->in.channels && node->op == BATCH_NORM; c++)
        if (node->var[c] < 0)
            die("a negative variance");
}

static void read_node(Reader *from, Network *net, size_t number)
{
    Node *node = &net->node[number];
    Axis *down = &node->axis[0], *across = &node->axis[1];
    node->op = (enum Operation)read_u32(from, 0, OPERATIONS - 1, "an operation");
    read_inputs(from, net, node, number);
    read_numbers(from, node);
    read_tensors(from, node);
    Shape in = node->in, *out = &node->out;
    node->address = net->addresses;
    net->addresses += has_matrix(node);
    node->layer = net->layers;
    if (is_crossbar(node))
        net->layer[net->layers++] = node;
    if (node->op == GLOBAL_AVERAGE_POOL || node->op == FLATTEN)
        out->height = out->width = 1;
    if (node->op == FLATTEN)
        out->channels = size_of(in);
    if (node->op == CONV || is_pool(node)) {
        count_windows(down, node);
        count_windows(across, node);
        out->height = down->out;
        out->width = across->out;
    }
    if (node->op == PAD_SHORTCUT) {
        out->height = (in.height - 1) / down->stride + 1;
        out->width = (in.width - 1) / across->stride + 1;
        out->channels = node->before + in.channels + node->after;
    }
    if (node->op == TAKE_CHANNELS)
        out->channels = node->count;
    size_t limit = 1 << 26, padded_h = in.height + down->padding[0] + down->padding[1];
    size_t padded_w = in.width + across->padding[0] + across->padding[1];
    if (out->height > limit / out->width / out->channels || padded_h > limit / padded_w / in.channels)
        die("node %zu has too large a map", number);
}

static const uint8_t *read_images(Reader *from, Shape shape, size_t *count)
{
    *count = read_u32(from, 0, UINT32_MAX, "a number of images");
    if (*count > (from->length - from->position) / size_of(shape))
        die("the network ends before its images do");
    return take(from, *count * size_of(shape));
}

static Network read_network(Reader *from)
{
    Network net = {{0, 0, 0}, 0, NULL, NULL, 0, 0, 0, 0, 0, 0, 0, NULL, NULL, NULL, NULL, NULL};
    if (memcmp(take(from, 8), "pcmflat1", 8) != 0)
        die("this is no flat network");
    net.input.height = read_u32(from, 1, 65536, "the height");
    net.input.width = read_u32(from, 1, 65536, "the width");
    net.input.channels = read_u32(from, 1, 65536, "the channels");
    net.full_scale = read_f64(from, 0x1p-1074, DBL_MAX, "full_scale");
    double **both[2] = {&net.mean, &net.std};
    for (size_t k = 0; k < 2; k++) {
        *both[k] = zeros(from->memory, net.input.channels, sizeof(double));
        for (size_t c = 0; c < net.input.channels; c++)
            (*both[k])[c] = read_f64(from, k ? 0x1p-1074 : -DBL_MAX, DBL_MAX, k ? "std" : "mean");
    }
    net.nodes = read_u32(from, 1, 1 << 13, "the number of nodes");
    net.node = zeros(from->memory, net.nodes + 1, sizeof *net.node);
    net.layer = zeros(from->memory, net.nodes, sizeof *net.layer);
    net.node[0].out = net.input;
    for (size_t k = 1; k <= net.nodes; k++)
        read_node(from, &net, k);
    Shape last = net.node[net.nodes].out;
    if (last.height * last.width != 1)
        die("the output is no vector");
    net.classes = last.channels;
    net.presets = read_u32(from, 0, 16, "the number of presets");
    net.stored = zeros(from->memory, net.presets, sizeof *net.stored);
    for (size_t k = 0; k < net.presets; k++) {
        net.stored[k].tile_rows = read_u32(from, 0, UINT32_MAX, "rows of a tile");
        net.stored[k].tile_columns = read_u32(from, 0, UINT32_MAX, "columns of a tile");
        net.stored[k].tops = zeros(from->memory, 2 * net.layers, sizeof(double));
        for (size_t i = 0; i < 2 * net.layers; i++)
            net.stored[k].tops[i] = read_f64(from, i % 2 ? 0x1p-126 : 0x1p-100, 0x1p100, "a full scale");
    }
    net.image = read_images(from, net.input, &net.images);
    net.calibration_image = read_images(from, net.input, &net.calibration_images);
    if (from->position != from->length)
        die("the network goes on after its end");
    return net;
}

/* ---- Section 6: mapping; section 7: snapshots ---- */

typedef struct {
    size_t rows, columns, slices; /* rows of one slice */
    Device *device[2];            /* + and -, in the order of `weight` in section 4 */
    double *weight_per_us;
} Devices;

static float weight_at(const Node *node, size_t row, size_t column)
{
    size_t channels = node->in.channels / node->groups, positions = node->axis[0].kernel * node->axis[1].kernel;
    if (row == positions * channels)
        return node->bias[column];
    return node->weight[(column * channels + row % channels) * positions + row / channels];
}

static Devices snapshot(Memory *memory, const Chip *chip, const Node *node)
{
    size_t inputs = node->axis[0].kernel * node->axis[1].kernel * (node->in.channels / node->groups);
    Devices d = {inputs + (node->bias != NULL), node->out.channels, chip->slices, {NULL, NULL}, NULL};
    size_t weights = d.rows * d.columns;
    const Model *m = chip->model;
    Key program = stream(chip->seed, PROGRAM, node->address, 0, 0);
    Key convergence = stream(chip->seed, CONVERGENCE, node->address, 0, 0);
    Key read = stream(chip->seed, READ, node->address, chip->read, chip->t);
    double *w_max = zeros(memory, d.columns, sizeof *w_max), largest = 0;
    for (size_t i = 0; i < weights; i++) {
        double size = fabs((double)weight_at(node, i / d.columns, i % d.columns));
        w_max[i % d.columns] = fmax(w_max[i % d.columns], size);
        largest = fmax(largest, size);
    }
    d.weight_per_us = zeros(memory, d.columns, sizeof *d.weight_per_us);
    for (size_t c = 0; c < d.columns; c++) {
        w_max[c] = chip->by_column ? w_max[c] : largest;
        if (w_max[c] == 0)
            w_max[c] = 1;
        d.weight_per_us[c] = w_max[c] / (m->g_max * (double)chip->total);
    }
    for (size_t i = 0; i < 2; i++)
        d.device[i] = zeros(memory, weights * chip->slices, sizeof **d.device);
    for (size_t weight = 0; weight < weights * chip->slices; weight++) {
        size_t row = weight / d.columns % d.rows, column = weight % d.columns;
        double g_t = (double)weight_at(node, row, column) * (m->g_max / w_max[column]);
        Block counter = {{(uint32_t)weight, 0, 0, 0}};
        Block words[3] = {philox(counter, program), philox(counter, convergence), philox(counter, read)};
        for (size_t i = 0; i < 2; i++)
            d.device[i][weight] = device(chip, fmax(i ? -g_t : g_t, 0), i, words[0], words[1], words[2]);
    }
    return d;
}

/* Section 10: R of each column, before the columns of a layer are added. */
enum GdcReadout { ABSOLUTE, ONES, COLUMN };

static int64_t *gdc_sums(Memory *memory, const Devices *d, enum GdcReadout readout)
{
    int64_t *sums = zeros(memory, d->columns, sizeof *sums), total = 0;
    for (size_t i = 0; i < d->rows * d->slices * d->columns; i++) {
        int plus = d->device[0][i].read, minus = d->device[1][i].read;
        int code = readout == ONES ? plus + minus : abs(plus - minus);
        sums[i % d->columns] += code;
        total += code;
    }
    for (size_t c = 0; c < d->columns && readout != COLUMN; c++)
        sums[c] = total;
    return sums;
}

static double *gdc_gains(Memory *memory, const Devices *now, const Devices *reference, enum GdcReadout readout)
{
    double *gain = zeros(memory, now->columns, sizeof *gain);
    int64_t *r = gdc_sums(memory, now, readout), *r_ref = gdc_sums(memory, reference, readout);
    for (size_t c = 0; c < now->columns; c++)
        gain[c] = r[c] && r_ref[c] ? (double)r_ref[c] / (double)r[c] : 1;
    return gain;
}

/* ---- Section 8: a product ---- */

enum Codes { SYMMETRIC, SIGNED, OFFSET, UNSIGNED };
enum Drive { PARALLEL, TWO_PHASE, BIT_SERIAL };
enum Beyond { AS_WIDE_AS_IT_TAKES, ERROR, SATURATE, WRAP };
enum Rounding { HALF_EVEN, HALF_AWAY, HALF_UP, FLOOR, TOWARD_ZERO };
enum Gain { OF_RANGE, OF_RANGE_FIXED, OWN, OWN_FIXED };

typedef struct { /* integers and the enumerations above */
    int64_t dac_bits, codes, drive, separate, tile_rows, tile_columns, fresh; /* tiles: 0 for all rows or columns */
    int64_t register_bits, beyond, adc, adc_low, adc_high, adc_offset, rounding, gain, gain_bits, mult, shift;
    double own_gain;
} Readout;

typedef struct {
    int low, high, offset, largest_level; /* of the DAC; the offset is dac_offset */
    size_t phases, lines, tile_rows, tiles, conversions;
} Drives;

static Drives drives(const Readout *r, size_t rows, size_t slices)
{
    int half = 1 << (r->dac_bits - 1);
    Drives d = {-half, half - 1, r->codes == OFFSET ? half : 0, 0, 1, r->separate ? 2 : 1, (size_t)r->tile_rows, 0, 0};
    if (r->codes == SYMMETRIC)
        d.low = -d.high;
    if (r->codes == UNSIGNED)
        d.low = 0, d.high = 2 * half - 1;
    d.largest_level = r->codes == OFFSET ? 2 * half - 1 : -d.low > d.high ? -d.low : d.high;
    if (r->drive == BIT_SERIAL)
        d.largest_level = 1, d.phases = (size_t)r->dac_bits;
    if (r->drive == TWO_PHASE)
        d.phases = 2;
    if (d.tile_rows == 0 || d.tile_rows > rows)
        d.tile_rows = rows;
    d.tiles = slices * ((rows + d.tile_rows - 1) / d.tile_rows);
    d.conversions = d.tiles * d.lines * d.phases;
    return d;
}

static int level_of(const Readout *r, int driven, size_t phase)
{
    if (r->drive == BIT_SERIAL)
        return (int)((uint32_t)driven >> phase & 1);
    if (r->drive == TWO_PHASE)
        return phase == 0 ? (driven > 0 ? driven : 0) : (driven < 0 ? -driven : 0);
    return driven;
}

static int64_t phase_factor(const Readout *r, size_t phase)
{
    if (r->drive == TWO_PHASE)
        return phase == 0 ? 1 : -1;
    if (r->drive != BIT_SERIAL)
        return 1;
    bool negative = phase + 1 == (size_t)r->dac_bits && (r->codes == SYMMETRIC || r->codes == SIGNED);
    return (int64_t)(negative ? -1 : 1) * ((int64_t)1 << phase);
}

/* An arithmetic shift on any machine. */
static int64_t shift_right(int64_t x, int64_t by) { return x >= 0 ? x >> by : ~(~x >> by); }

/* The nearest mult / 2^shift of gain_bits bits. */
static void nearest_gain(double gain, int64_t gain_bits, int64_t *mult, int64_t *shift)
{
    int e;
    double f = frexp(gain, &e);
    *mult = (int64_t)rint(ldexp(f, (int)gain_bits));
    *shift = gain_bits - e;
    if (*mult == (int64_t)1 << gain_bits) {
        *mult = (int64_t)1 << (gain_bits - 1);
        *shift -= 1;
    }
}

static void check_shift(const Readout *r, int64_t shift)
{
    int64_t top = (-r->adc_low > r->adc_high ? -r->adc_low : r->adc_high) + 1;
    if (shift < 0 || shift > 52 || ldexp((double)top, (int)shift) > 0x1p53)
        die("a gain has a shift of %d, which is refused", (int)shift);
}

static int64_t round_fixed(int64_t p, int64_t shift, int64_t rounding)
{
    if (shift == 0)
        return p;
    int64_t half = (int64_t)1 << (shift - 1), negative = p < 0;
    if (rounding == HALF_EVEN)
        p += half - 1 + (shift_right(p, shift) & 1);
    else if (rounding == HALF_AWAY)
        p += half - negative;
    else if (rounding == HALF_UP)
        p += half;
    else if (rounding == TOWARD_ZERO)
        p += negative * (2 * half - 1);
    return shift_right(p, shift);
}

static double round_float(double v, int64_t rounding)
{
    double below = floor(v);
    if (rounding == HALF_EVEN)
        return rint(v);
    if (rounding == HALF_AWAY)
        return round(v);
    if (rounding == HALF_UP) /* v + 1/2 might round up to an integer; v - floor(v) is exact */
        return v - below >= 0.5 ? below + 1 : below;
    return rounding == TOWARD_ZERO ? trunc(v) : below;
}

/* A crossbar layer, ready for images. The arrays of matrices and of V are those of the lines. */
typedef struct {
    size_t rows, columns, groups; /* rows of one slice and of one group */
    const size_t *significance;
    int16_t *code[2], *v[2];
    bool ranges;
    float top, *unit;
    double *adc_gain;
    int64_t *mult, *shift, *zero; /* zero: D0 of each conversion and column */
    Drives drives;
    Key key[2]; /* of the streams PRODUCT and CALIBRATION */
} Crossbar;

static int64_t in_register(const Readout *r, int64_t a)
{
    if (r->beyond == AS_WIDE_AS_IT_TAKES)
        return a;
    int64_t size = (int64_t)1 << (r->register_bits - 1);
    if (a >= -size && a < size)
        return a;
    if (r->beyond == ERROR)
        die("a sum of %lld is more than the register holds", (long long)a);
    if (r->beyond == SATURATE)
        return a < 0 ? -size : size - 1;
    return (int64_t)(((uint64_t)a + (uint64_t)size) & (2 * (uint64_t)size - 1)) - size;
}

static int64_t convert(const Readout *r, const Crossbar *x, size_t column, int64_t a)
{
    if (!r->adc)
        return a;
    a += r->adc_offset;
    if (r->gain == OF_RANGE || r->gain == OWN) {
        double v = round_float((double)a * x->adc_gain[column], r->rounding);
        return (int64_t)clip(v, (double)r->adc_low, (double)r->adc_high);
    }
    int64_t mult = x->mult[column], enough = ((int64_t)1 << 53) / mult; /* |P| > 2^53: D is a limit, whatever P is */
    if (a > enough || a < -enough)
        return a < 0 ? r->adc_low : r->adc_high;
    int64_t d = round_fixed(a * mult, x->shift[column], r->rounding);
    return d < r->adc_low ? r->adc_low : d > r->adc_high ? r->adc_high : d;
}

/* The largest input and the largest sums of an image, in units of the layer's weights (section 11). */
typedef struct {
    double input, *sum; /* of each column */
} Largest;

/* A and, with fresh read noise, B of one conversion: rows from `first` on of a line, driven by the levels of the rows
 * of each group. */
static void add_rows(const Crossbar *x, size_t line, size_t first, size_t count, const int *level, bool fresh,
                     int64_t *a, int64_t *b)
{
    size_t of_group = x->columns / x->groups;
    memset(a, 0, x->columns * sizeof *a);
    memset(b, 0, x->columns * sizeof *b);
    for (size_t i = 0; i < count * x->groups; i++) {
        size_t row = first + i % count, begin = i / count * of_group, end = begin + of_group;
        if (level[i] == 0)
            continue;
        const int16_t *code = x->code[line] + row * x->columns, *v = x->v[line] + row * x->columns;
        for (size_t c = begin; c < end; c++)
            a[c] += level[i] * code[c];
        int64_t square = (int64_t)level[i] * level[i];
        for (size_t c = begin; c < end && fresh; c++)
            b[c] += square * v[c];
    }
}

/* All conversions of one output pixel, driven in the rows of each group: adds up factor * (D - D0), or keeps D0 itself
 * where `zero` says so. */
static void convert_pixel(const Crossbar *x, const Readout *r, const int *driven, size_t pixel, uint64_t image,
                          const Key *key, int64_t *work, int64_t *output, int64_t *zero, Largest *largest)
{
    const Drives *d = &x->drives;
    int64_t *a = work, *b = work + x->columns;
    int *level = (int *)(work + 2 * x->columns);
    size_t tiles_of_slice = (x->rows + d->tile_rows - 1) / d->tile_rows;
    memset(output, 0, x->columns * sizeof *output);
    for (size_t n = 0; n < d->conversions; n++) {
        size_t phase = n % d->phases, line = n / d->phases % d->lines, tile = n / d->phases / d->lines;
        size_t slice = tile / tiles_of_slice, first = tile % tiles_of_slice * d->tile_rows;
        size_t count = x->rows - first < d->tile_rows ? x->rows - first : d->tile_rows;
        int64_t factor = (int64_t)x->significance[slice] * (line ? -1 : 1) * phase_factor(r, phase);
        for (size_t i = 0; i < count * x->groups; i++)
            level[i] = level_of(r, driven[i / count * x->rows + first + i % count], phase);
        add_rows(x, line, slice * x->rows + first, count, level, key && r->fresh, a, b);
        Block block = {{0, 0, 0, 0}};
        for (size_t c = 0; c < x->columns; c++) {
            if (largest)
                largest->sum[c] = fmax(largest->sum[c], (double)llabs((long long)a[c]));
            if (key && r->fresh) {
                size_t number = pixel * x->columns + c;
                if (c == 0 || number % 4 == 0) {
                    Block counter = {{(uint32_t)(number / 4), (uint32_t)n, (uint32_t)image, (uint32_t)(image >> 32)}};
                    block = philox(counter, *key);
                }
                a[c] += (int64_t)rint(normal(block.word[number % 4]) * sqrt(64 * (double)b[c]));
            }
            int64_t code = convert(r, x, c, in_register(r, a[c]));
            if (zero)
                zero[n * x->columns + c] = code;
            else
                output[c] += factor * (code - x->zero[n * x->columns + c]);
        }
    }
}

static void check_sizes(const Crossbar *x, bool fresh)
{
    const Drives *d = &x->drives;
    double level = d->largest_level;
    for (size_t line = 0; line < d->lines; line++)
        for (size_t tile = 0; tile < d->tiles; tile++)
            for (size_t c = 0; c < x->columns; c++) {
                size_t tiles_of_slice = (x->rows + d->tile_rows - 1) / d->tile_rows, sum = 0, v = 0;
                size_t from = tile % tiles_of_slice * d->tile_rows, to = from + d->tile_rows;
                for (size_t row = from; row < to && row < x->rows; row++) {
                    size_t i = (tile / tiles_of_slice * x->rows + row) * x->columns + c;
                    sum += (size_t)abs(x->code[line][i]);
                    v += (size_t)x->v[line][i];
                }
                if ((double)sum * level >= 0x1p52 || (fresh && (double)v * level * level >= 0x1p63))
                    die("a column of a tile is too large to be summed");
            }
}

static void *work_of(Memory *memory, const Crossbar *x)
{
    return zeros(memory, 2 * x->columns * sizeof(int64_t) + x->groups * x->rows * sizeof(int), 1);
}

/* A layer's devices, converters and digital scale. `gain` may be NULL: 1; so may range: without. */
static Crossbar prepare(Memory *memory, const Chip *chip, const Readout *r, const Node *node, const Devices *d,
                        const Range *range, const double *gain)
{
    Crossbar x;
    memset(&x, 0, sizeof x);
    size_t cells = d->rows * d->slices * d->columns;
    x.rows = d->rows;
    x.columns = d->columns;
    x.groups = node->groups;
    x.significance = chip->significance;
    x.drives = drives(r, d->rows, d->slices);
    for (size_t line = 0; line < x.drives.lines; line++) {
        x.code[line] = zeros(memory, cells, sizeof **x.code);
        x.v[line] = zeros(memory, cells, sizeof **x.v);
        for (size_t i = 0; i < cells; i++) {
            Device plus = d->device[0][i], minus = d->device[1][i], one = line ? minus : plus;
            int pair = r->fresh ? plus.mean - minus.mean : plus.read - minus.read, v = plus.variance + minus.variance;
            int single = r->fresh ? one.mean : one.read;
            x.code[line][i] = (int16_t)(r->separate ? single : pair);
            x.v[line][i] = (int16_t)(r->separate ? one.variance : v < 32767 ? v : 32767);
        }
    }
    check_sizes(&x, r->fresh);
    x.key[0] = stream(chip->seed, PRODUCT, node->address, chip->read, chip->t);
    x.key[1] = stream(chip->seed, CALIBRATION, node->address, chip->read, chip->t);
    x.ranges = range != NULL;
    x.top = range ? (float)range->input_top : 0;
    x.unit = zeros(memory, x.columns, sizeof *x.unit);
    x.adc_gain = zeros(memory, x.columns, sizeof *x.adc_gain);
    x.mult = zeros(memory, x.columns, sizeof *x.mult);
    x.shift = zeros(memory, x.columns, sizeof *x.shift);
    for (size_t c = 0; c < x.columns; c++) {
        double lsb = G_STEP;
        if (r->adc) {
            double unit_sum = (double)(x.top / (float)x.drives.high) * G_STEP;
            bool own = r->gain == OWN || r->gain == OWN_FIXED;
            x.mult[c] = r->mult;
            x.shift[c] = r->shift;
            x.adc_gain[c] = r->gain == OWN_FIXED ? ldexp((double)r->mult, (int)-r->shift) : r->own_gain;
            lsb = own ? unit_sum / x.adc_gain[c] : range->sum_top[c] / (double)r->adc_high;
            if (!own)
                x.adc_gain[c] = unit_sum / lsb;
            if (r->gain == OF_RANGE_FIXED)
                nearest_gain(x.adc_gain[c], r->gain_bits, &x.mult[c], &x.shift[c]);
            if (r->gain == OF_RANGE_FIXED || r->gain == OWN_FIXED)
                check_shift(r, x.shift[c]);
        }
        double unit = lsb * d->weight_per_us[c] * (gain ? gain[c] : 1);
        x.unit[c] = (float)unit;
        if (unit != 0 && fabsf(x.unit[c]) < FLT_MIN)
            die("the unit of an output code is too small");
    }
    x.zero = zeros(memory, x.drives.conversions * x.columns, sizeof *x.zero);
    if (r->codes == OFFSET) {
        int64_t *work = work_of(memory, &x), *output = zeros(memory, x.columns, sizeof *output);
        int *driven = zeros(memory, x.groups * x.rows, sizeof *driven);
        for (size_t row = 0; row < x.groups * x.rows; row++)
            driven[row] = x.drives.offset;
        convert_pixel(&x, r, driven, 0, 0, NULL, work, output, x.zero, NULL);
    }
    return x;
}

static int dac_code(const Drives *d, float x, float dac_gain)
{
    float code = rintf(x * dac_gain);
    return code >= (float)d->high ? d->high : code > (float)d->low ? (int)code : d->low;
}

/* One image through one crossbar layer, from activations to activations. */
static void product(const Crossbar *x, const Readout *r, const Node *node, const float *input, uint64_t image,
                    const Key *key, float *y, Largest *largest)
{
    const Drives *d = &x->drives;
    size_t size = size_of(node->in), channels = node->in.channels / node->groups;
    float top = x->top;
    if (!x->ranges) {
        top = node->bias ? 1 : 0;
        for (size_t i = 0; i < size; i++)
            top = fmaxf(top, fabsf(input[i]));
    }
    float dac_gain = top < 0x1p-100f ? 0 : (float)d->high / top, step = top < 0x1p-100f ? 0 : top / (float)d->high;
    Memory memory = {NULL};
    int *code = zeros(&memory, size, sizeof *code), *driven = zeros(&memory, x->groups * x->rows, sizeof *driven);
    int bias = dac_code(d, 1, dac_gain), largest_code = node->bias ? abs(bias) : 0;
    for (size_t i = 0; i < size; i++) {
        code[i] = dac_code(d, input[i], dac_gain);
        largest_code = abs(code[i]) > largest_code ? abs(code[i]) : largest_code;
    }
    int64_t *work = work_of(&memory, x), *output = zeros(&memory, x->columns, sizeof *output);
    for (size_t pixel = 0; pixel < node->out.height * node->out.width; pixel++) {
        for (size_t i = 0; i < x->groups * x->rows; i++) {
            size_t row = i % x->rows, channel = i / x->rows * channels + row % channels;
            size_t at = element_seen(node, pixel, row / channels, channel);
            driven[i] = d->offset + (node->bias && row + 1 == x->rows ? bias : at == PADDING ? 0 : code[at]);
        }
        convert_pixel(x, r, driven, pixel, image, key, work, output, NULL, largest);
        for (size_t c = 0; c < x->columns; c++)
            y[pixel * x->columns + c] = (float)output[c] * (r->adc ? x->unit[c] : step * x->unit[c]);
    }
    if (largest) {
        largest->input = largest_code * (double)step;
        for (size_t c = 0; c < x->columns; c++)
            largest->sum[c] = largest->sum[c] * ((double)step * G_STEP);
    }
    release(&memory);
}

/* ---- Section 9: digital periphery ---- */

static void batch_norm(const Node *node, const double *mean, const double *var, const float *x, float *y, size_t count)
{
    size_t channels = node->in.channels;
    for (size_t c = 0; c < channels; c++) {
        double a = (double)node->gamma[c] / sqrt(var[c] + node->number[0]), b = (double)node->beta[c] - mean[c] * a;
        for (size_t i = c; i < count * channels; i += channels) {
            float scaled = x[i] * (float)a;
            y[i] = scaled + (float)b;
        }
    }
}

static void affine(const Node *node, const float *x, float *y)
{
    for (size_t i = 0; i < size_of(node->out); i++) {
        float scaled = x[i] * node->gamma[i % node->in.channels];
        y[i] = scaled + node->beta[i % node->in.channels];
    }
}

/* The operations that make one number of one number. */
static float activation(const Node *node, float x)
{
    float first = (float)node->number[0], second = (float)node->number[1], y = x * first;
    double wide = (double)x, size = fabs(wide), e;
    switch (node->op) {
    case RELU:
        return x > 0 ? x : 0;
    case LEAKY_RELU:
        return x > 0 ? x : y;
    case CLIP:
        return x < first ? first : x > second ? second : x;
    case HARD_SIGMOID:
        y = y + second;
        return y < 0 ? 0 : y > 1 ? 1 : y;
    case SIGMOID:
        return (float)(1 / (1 + exponential(-wide)));
    case TANH:
        e = exponential(-2 * size);
        return (float)copysign(size < 0x1p-12 ? size : (1 - e) / (1 + e), wide);
    default:
        die("this is no operation of one number");
        return 0;
    }
}

static void local_response_norm(const Node *node, const float *x, float *y)
{
    size_t channels = node->in.channels, below = (node->size - 1) / 2, above = node->size / 2;
    double alpha = node->number[0], beta = node->number[1], bias = node->number[2];
    for (size_t i = 0; i < size_of(node->out); i++) {
        size_t c = i % channels, first = c > below ? c - below : 0;
        double squares = 0;
        for (size_t k = first; k <= c + above && k < channels; k++)
            squares += (double)x[i - c + k] * (double)x[i - c + k];
        y[i] = (float)((double)x[i] / power(bias + alpha / (double)node->size * squares, beta));
    }
}

/* One input of a concatenation, whose first channel of the output is `first`. */
static void concat(const Node *node, const float *x, size_t channels, size_t first, float *y)
{
    for (size_t pixel = 0; pixel < node->out.height * node->out.width; pixel++)
        memcpy(y + pixel * node->out.channels + first, x + pixel * channels, channels * sizeof *y);
}

static void channel_shuffle(const Node *node, const float *x, float *y)
{
    size_t channels = node->in.channels, of_group = channels / node->groups;
    for (size_t i = 0; i < size_of(node->out); i++) {
        size_t c = i % channels, k = c / node->groups, q = c % node->groups;
        y[i] = x[i - c + q * of_group + k];
    }
}

static void take_channels(const Node *node, const float *x, float *y)
{
    for (size_t pixel = 0; pixel < node->out.height * node->out.width; pixel++)
        memcpy(y + pixel * node->count, x + pixel * node->in.channels + node->first, node->count * sizeof *y);
}

static void flatten(const Node *node, const float *x, float *y)
{
    size_t channels = node->in.channels, pixels = node->in.height * node->in.width;
    for (size_t i = 0; i < size_of(node->out); i++)
        y[i] = x[i % pixels * channels + i / pixels];
}

/* How many positions of its kernel a window has within the padded input. */
static size_t within(const Axis *axis, size_t window)
{
    size_t i = 0, padded = axis->in + axis->padding[0] + axis->padding[1];
    while (i < axis->kernel && axis->stride * window + axis->dilation * i < padded)
        i++;
    return i;
}

static void pool(const Node *node, const float *x, float *y)
{
    const Axis *down = &node->axis[0], *across = &node->axis[1];
    for (size_t i = 0; i < size_of(node->out); i++) {
        size_t pixel = i / node->in.channels, c = i % node->in.channels, count = 0;
        float largest = -INFINITY;
        double sum = 0;
        for (size_t position = 0; position < down->kernel * across->kernel; position++) {
            size_t at = element_seen(node, pixel, position, c);
            if (at == PADDING)
                continue;
            largest = fmaxf(largest, x[at]);
            sum += (double)x[at];
            count++;
        }
        if (node->count_padding)
            count = within(down, pixel / node->out.width) * within(across, pixel % node->out.width);
        y[i] = node->op == AVERAGE_POOL ? (float)(sum / (double)count) : largest == 0 ? 0 : largest;
    }
}

/* A layer that is not on a crossbar. */
static void digital(const Node *node, const float *x, float *y)
{
    size_t channels = node->in.channels / node->groups, columns = node->out.channels;
    size_t rows = node->axis[0].kernel * node->axis[1].kernel * channels;
    for (size_t i = 0; i < size_of(node->out); i++) {
        size_t pixel = i / columns, c = i % columns, group = c / (columns / node->groups);
        float sum = 0;
        for (size_t row = 0; row < rows; row++) {
            size_t at = element_seen(node, pixel, row / channels, group * channels + row % channels);
            float product = weight_at(node, row, c) * (at == PADDING ? 0 : x[at]);
            sum = sum + product;
        }
        y[i] = node->bias ? sum + node->bias[c] : sum;
    }
}

static void pad_shortcut(const Node *node, const float *x, float *y)
{
    for (size_t i = 0; i < node->out.height * node->out.width; i++) {
        size_t row = i / node->out.width * node->axis[0].stride, column = i % node->out.width * node->axis[1].stride;
        memcpy(y + i * node->out.channels + node->before, x + (row * node->in.width + column) * node->in.channels,
               node->in.channels * sizeof *y);
    }
}

static void global_average_pool(const Node *node, const float *x, float *y)
{
    size_t pixels = node->in.height * node->in.width, channels = node->in.channels;
    for (size_t c = 0; c < channels; c++) {
        double sum = (double)x[c];
        for (size_t pixel = 1; pixel < pixels; pixel++)
            sum += (double)x[pixel * channels + c];
        y[c] = (float)(sum / (double)pixels);
    }
}

/* An image through a node that is neither a crossbar layer nor a batch normalisation. The maps are of all images. */
static void periphery(const Network *net, const Node *node, float *const *map, size_t image, float *y)
{
    const float *x = map[node->input[0]] + image * size_of(node->in);
    size_t second = node->input[node->inputs - 1], size = size_of(node->out);
    size_t others = size_of(net->node[second].out); /* of the second input, where there is one */
    const float *other = map[second] + image * others;
    switch (node->op) {
    case CONV:
    case LINEAR:
        digital(node, x, y);
        break;
    case AFFINE:
        affine(node, x, y);
        break;
    case LOCAL_RESPONSE_NORM:
        local_response_norm(node, x, y);
        break;
    case ADD:
        for (size_t i = 0; i < size; i++)
            y[i] = x[i] + other[i];
        break;
    case MULTIPLY: /* the factors of a vector are those of the channels, which are innermost */
        for (size_t i = 0; i < size; i++)
            y[i] = x[i] * other[i % others];
        break;
    case CONCAT:
        for (size_t i = 0, first = 0; i < node->inputs; i++) {
            Shape shape = net->node[node->input[i]].out;
            concat(node, map[node->input[i]] + image * size_of(shape), shape.channels, first, y);
            first += shape.channels;
        }
        break;
    case PAD_SHORTCUT:
        pad_shortcut(node, x, y);
        break;
    case CHANNEL_SHUFFLE:
        channel_shuffle(node, x, y);
        break;
    case TAKE_CHANNELS:
        take_channels(node, x, y);
        break;
    case FLATTEN:
        flatten(node, x, y);
        break;
    case MAX_POOL:
    case AVERAGE_POOL:
        pool(node, x, y);
        break;
    case GLOBAL_AVERAGE_POOL:
        global_average_pool(node, x, y);
        break;
    default:
        for (size_t i = 0; i < size; i++)
            y[i] = activation(node, x[i]);
    }
}

/* Section 10: mean and variance of a mini-batch. */
static void batch_statistics(const Node *node, const float *x, size_t images, double *mean, double *var)
{
    size_t pixels = node->in.height * node->in.width, channels = node->in.channels;
    double count = (double)images * (double)pixels;
    for (size_t c = 0; c < channels; c++) {
        double sum = 0, squares = 0;
        for (size_t image = 0; image < images; image++) {
            double of_image = 0, squares_of_image = 0;
            for (size_t pixel = 0; pixel < pixels; pixel++) {
                double value = (double)x[(image * pixels + pixel) * channels + c];
                of_image = pixel ? of_image + value : value;
                squares_of_image = pixel ? squares_of_image + value * value : value * value;
            }
            sum = image ? sum + of_image : of_image;
            squares = image ? squares + squares_of_image : squares_of_image;
        }
        mean[c] = sum / count;
        var[c] = fmax(squares / count - mean[c] * mean[c], 0);
    }
}

typedef struct {
    double **mean, **var; /* of each node that is a batch normalisation */
} Statistics;

static Statistics stored_statistics(Memory *memory, const Network *net)
{
    Statistics s = {zeros(memory, net->nodes + 1, sizeof *s.mean), zeros(memory, net->nodes + 1, sizeof *s.var)};
    for (size_t k = 1; k <= net->nodes; k++) {
        const Node *node = &net->node[k];
        s.mean[k] = zeros(memory, node->in.channels, sizeof **s.mean);
        s.var[k] = zeros(memory, node->in.channels, sizeof **s.var);
        for (size_t c = 0; c < node->in.channels && node->op == BATCH_NORM; c++) {
            s.mean[k][c] = (double)node->mean[c];
            s.var[k][c] = (double)node->var[c];
        }
    }
    return s;
}

/* Images through all nodes, node by node. With `update` batch normalisations use the statistics of these images
 * (AdaBS). With `largest`, of each layer, one image is looked at for ranges. Logits may be NULL. */
static void forward(const Network *net, const Readout *r, const Crossbar *crossbars, const Statistics *statistics,
                    Statistics *update, double keep, const uint8_t *images, size_t n, uint64_t first, Largest *largest,
                    float *logits)
{
    Memory here = {NULL};
    Memory *of_map = zeros(&here, net->nodes + 1, sizeof *of_map); /* a map is released after its last use */
    float **map = zeros(&here, net->nodes + 1, sizeof *map);
    size_t pixels = size_of(net->input);
    map[0] = zeros(&of_map[0], n * pixels, sizeof **map);
    for (size_t i = 0; i < n * pixels; i++) { /* section 2 */
        size_t c = i % net->input.channels;
        map[0][i] = (float)(((double)images[i] / net->full_scale - net->mean[c]) / net->std[c]);
    }
    for (size_t k = 1; k <= net->nodes; k++) {
        const Node *node = &net->node[k];
        const float *x = map[node->input[0]];
        size_t in = size_of(node->in), out = size_of(node->out);
        float *y = map[k] = zeros(&of_map[k], n * out, sizeof *y);
        if (node->op == BATCH_NORM && update) {
            double *mean = zeros(&here, node->in.channels, sizeof *mean);
            double *var = zeros(&here, node->in.channels, sizeof *var);
            batch_statistics(node, x, n, mean, var);
            batch_norm(node, mean, var, x, y, n * out / node->in.channels);
            for (size_t c = 0; c < node->in.channels; c++) {
                update->mean[k][c] = keep * update->mean[k][c] + (1 - keep) * mean[c];
                update->var[k][c] = keep * update->var[k][c] + (1 - keep) * var[c];
            }
        } else if (node->op == BATCH_NORM) {
            batch_norm(node, statistics->mean[k], statistics->var[k], x, y, n * out / node->in.channels);
        }
        for (size_t i = 0; i < n && node->op != BATCH_NORM; i++) {
            const Crossbar *crossbar = is_crossbar(node) ? &crossbars[node->layer] : NULL;
            if (crossbar)
                product(crossbar, r, node, x + i * in, first + i, &crossbar->key[update != NULL], y + i * out,
                        largest ? &largest[node->layer] : NULL);
            else
                periphery(net, node, map, i, y + i * out);
        }
        for (size_t i = 0; i < node->inputs; i++)
            if (net->node[node->input[i]].last_use == k)
                release(&of_map[node->input[i]]);
    }
    if (logits)
        memcpy(logits, map[net->nodes], n * net->classes * sizeof *logits);
    for (size_t k = 0; k <= net->nodes; k++)
        release(&of_map[k]);
    release(&here);
}

/* Section 10: AdaBS, from the stored statistics to those of the inference. */
static void adabs(const Network *net, const Readout *r, const Crossbar *crossbars, Statistics *statistics)
{
    size_t batches = net->calibration_images / 200 < 13 ? net->calibration_images / 200 : 13;
    if (batches == 0)
        die("AdaBS needs 200 calibration images, not %zu", net->calibration_images);
    double keep = power(0.015, 1 / (double)batches);
    for (size_t i = 0; i < batches; i++)
        forward(net, r, crossbars, statistics, statistics, keep, net->calibration_image + i * 200 * size_of(net->input),
                200, i * 200, NULL, NULL);
}

/* ---- Section 11: ranges of converters ---- */

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values, size_t count)
{
    qsort(values, count, sizeof *values, by_size);
    return values[count / 2] == 0 ? 1 : values[count / 2];
}

static void calibrated_ranges(const Network *net, const Chip *chip, const Readout *readout, size_t images,
                              Range *ranges)
{
    Chip ideal = *chip;
    ideal.ideal = true;
    ideal.slices = ideal.total = ideal.significance[0] = 1;
    Readout r = *readout;
    r.dac_bits = r.drive == BIT_SERIAL ? r.dac_bits : 12;
    r.adc = r.fresh = false;
    r.beyond = AS_WIDE_AS_IT_TAKES;
    if (images == 0 || images > net->calibration_images)
        images = net->calibration_images;
    if (images == 0)
        die("the readout needs ranges, and there are no calibration images");
    Memory memory = {NULL};
    Crossbar *crossbars = zeros(&memory, net->layers, sizeof *crossbars);
    Largest *largest = zeros(&memory, net->layers, sizeof *largest);
    double **inputs = zeros(&memory, net->layers, sizeof *inputs), **sums = zeros(&memory, net->layers, sizeof *sums);
    for (size_t k = 0; k < net->layers; k++) {
        Devices d = snapshot(&memory, &ideal, net->layer[k]);
        crossbars[k] = prepare(&memory, &ideal, &r, net->layer[k], &d, NULL, NULL);
        largest[k].sum = zeros(&memory, crossbars[k].columns, sizeof(double));
        inputs[k] = zeros(&memory, images, sizeof **inputs);
        sums[k] = zeros(&memory, images * crossbars[k].columns, sizeof **sums);
    }
    Statistics statistics = stored_statistics(&memory, net);
    for (size_t i = 0; i < images; i++) {
        for (size_t k = 0; k < net->layers; k++)
            memset(largest[k].sum, 0, crossbars[k].columns * sizeof(double));
        forward(net, &r, crossbars, &statistics, NULL, 0, net->calibration_image + i * size_of(net->input), 1, i,
                largest, NULL);
        for (size_t k = 0; k < net->layers; k++) {
            size_t columns = crossbars[k].columns, group = r.tile_columns ? (size_t)r.tile_columns : columns;
            inputs[k][i] = largest[k].input;
            for (size_t c = 0; c < columns; c++) {
                double *top = &sums[k][c / group * group * images + i]; /* that of the first column of its group */
                *top = fmax(*top, largest[k].sum[c]);
            }
        }
    }
    for (size_t k = 0; k < net->layers; k++) {
        size_t columns = crossbars[k].columns, group = r.tile_columns ? (size_t)r.tile_columns : columns;
        ranges[k].input_top = median(inputs[k], images);
        for (size_t c = 0; c < columns; c++)
            ranges[k].sum_top[c] = c % group ? ranges[k].sum_top[c - 1] : median(&sums[k][c * images], images);
        r = *readout;
        r.beyond = AS_WIDE_AS_IT_TAKES;
        Devices d = snapshot(&memory, &ideal, net->layer[k]);
        prepare(&memory, &ideal, &r, net->layer[k], &d, &ranges[k], NULL); /* refuses a unit that is too small */
    }
    release(&memory);
}

/* The first stored ranges that fit, or NULL. Those of the presets have symmetric codes, parallel drive and pairs. */
static const Stored *fitting_ranges(const Network *net, const Chip *chip, const Readout *r)
{
    size_t widest = 0;
    for (size_t k = 0; k < net->layers; k++)
        widest = net->layer[k]->out.channels > widest ? net->layer[k]->out.channels : widest;
    if (chip->by_column || r->codes != SYMMETRIC || r->drive != PARALLEL || r->separate)
        return NULL;
    for (size_t k = 0; k < net->presets; k++) {
        size_t theirs = net->stored[k].tile_columns, ours = (size_t)r->tile_columns;
        bool both_all = (theirs == 0 || theirs >= widest) && (ours == 0 || ours >= widest);
        if (net->stored[k].tile_rows == (size_t)r->tile_rows && (theirs == ours || both_all))
            return &net->stored[k];
    }
    return NULL;
}

static Range *find_ranges(Memory *memory, const Network *net, const Chip *chip, const Readout *r, size_t images)
{
    Range *ranges = zeros(memory, net->layers, sizeof *ranges);
    const Stored *stored = fitting_ranges(net, chip, r);
    for (size_t k = 0; k < net->layers; k++) {
        size_t columns = net->layer[k]->out.channels;
        ranges[k].sum_top = zeros(memory, columns, sizeof(double));
        for (size_t c = 0; c < columns && stored; c++) {
            ranges[k].input_top = stored->tops[2 * k];
            ranges[k].sum_top[c] = stored->tops[2 * k + 1] * (chip->model->g_max / 25);
        }
    }
    if (!stored)
        calibrated_ranges(net, chip, r, images, ranges);
    for (size_t k = 0; k < net->layers && r->gain == OF_RANGE_FIXED; k++) {
        float step = (float)ranges[k].input_top / (float)drives(r, 1, 1).high;
        double unit_sum = (double)step * G_STEP, high = (double)r->adc_high;
        for (size_t c = 0; c < net->layer[k]->out.channels; c++) {
            int64_t mult, shift;
            nearest_gain(unit_sum / (ranges[k].sum_top[c] / high), r->gain_bits, &mult, &shift);
            ranges[k].sum_top[c] = high * (unit_sum / ldexp((double)mult, (int)-shift));
        }
    }
    return ranges;
}

/* ---- The command line ---- */

typedef struct {
    const char *network, *out, *codes, *corrections, *model, *preset, *significance;
    Chip chip;
    Readout readout;
    int64_t by_column, compensation, gdc, time_it, read, range_images;
    uint64_t first_image;
} Options;

static const Readout PRESETS[] = { /* in the order of the fields of a Readout */
    {12, SYMMETRIC, PARALLEL, 0, 0, 0, false, 0, AS_WIDE_AS_IT_TAKES, false, 0, 0, 0, HALF_EVEN, OF_RANGE, 0, 1, 0, 1},
    {8, SYMMETRIC, PARALLEL, 0, 256, 0, true, 0, AS_WIDE_AS_IT_TAKES, true, -127, 127, 0, HALF_EVEN, OF_RANGE, 0,
     1, 0, 1},
    {8, SYMMETRIC, PARALLEL, 0, 256, 256, false, 0, AS_WIDE_AS_IT_TAKES, true, -127, 127, 0, HALF_EVEN,
     OF_RANGE_FIXED, 16, 1, 0, 1},
};

static size_t choice(const char *value, const char *const *names, const char *option)
{
    for (size_t i = 0; names[i]; i++)
        if (strcmp(value, names[i]) == 0)
            return i;
    die("%s cannot be %s", option, value);
    return 0;
}

/* An option of the command line is a text, a choice, a number, or an integer of 64 bits: what `to` points to. */
typedef struct {
    const char *name;
    enum { TEXT, CHOICE, NUMBER, INTEGER, ADDRESS } kind;
    void *to;
    double low, high;
    const char *choices[6];
} Option;

static void set(const Option *option, const char *value)
{
    char *end = NULL;
    double x = 0;
    errno = 0;
    if (option->kind == TEXT)
        *(const char **)option->to = value;
    else if (option->kind == CHOICE)
        *(int64_t *)option->to = (int64_t)choice(value, option->choices, option->name);
    else if (option->kind == NUMBER)
        *(double *)option->to = x = strtod(value, &end);
    else if (option->kind == INTEGER)
        x = (double)(*(int64_t *)option->to = (int64_t)strtoll(value, &end, 10));
    else
        x = (double)(*(uint64_t *)option->to = (uint64_t)strtoull(value, &end, 10));
    bool bad = end && (end == value || *end || errno == ERANGE || !(x >= option->low && x <= option->high));
    if (bad || (option->kind == ADDRESS && *value == '-'))
        die("%s cannot be %s", option->name, value);
}

static void parse_significance(const char *text, Chip *chip)
{
    chip->slices = chip->total = 0;
    for (char *end = NULL; !end || *end == ','; text = end + 1) {
        unsigned long one = strtoul(text, &end, 10);
        if (end == text || (*end && *end != ',') || chip->slices == 16 || one < 1 || one > 32768)
            die("--significance takes up to 16 integers from 1 to 32768, with commas");
        chip->significance[chip->slices++] = one;
        chip->total += one;
    }
}

static Options parse(int count, char **words)
{
    static const char *const presets[] = {"paper", "chip8", "rtl8", NULL};
    static const char *const models[] = {"NANDAKUMAR_2019", "AIHWKIT", "JOSHI_2020", "HERMES_1", "HERMES_2", NULL};
    Options o;
    Readout *r = &o.readout;
    const Option options[] = {
        {"--out", TEXT, &o.out, 0, 0, {0}},
        {"--codes", TEXT, &o.codes, 0, 0, {0}},
        {"--corrections", TEXT, &o.corrections, 0, 0, {0}},
        {"--time-it", CHOICE, &o.time_it, 0, 0, {"no", "yes"}},
        {"--model", TEXT, &o.model, 0, 0, {0}},
        {"--seed", ADDRESS, &o.chip.seed, 0, 0x1p64, {0}},
        {"--time", NUMBER, &o.chip.t, 0, 1e12, {0}},
        {"--read", INTEGER, &o.read, 0, UINT32_MAX, {0}},
        {"--share", NUMBER, &o.chip.share, 0, 1, {0}},
        {"--scale", CHOICE, &o.by_column, 0, 0, {"layer", "column"}},
        {"--significance", TEXT, &o.significance, 0, 0, {0}},
        {"--compensation", CHOICE, &o.compensation, 0, 0, {"none", "gdc", "adabs", "gdc+adabs"}},
        {"--gdc-readout", CHOICE, &o.gdc, 0, 0, {"absolute", "ones", "column"}},
        {"--first-image", ADDRESS, &o.first_image, 0, 0x1p64, {0}},
        {"--range-images", INTEGER, &o.range_images, 1, 0x1p32, {0}},
        {"--preset", TEXT, &o.preset, 0, 0, {0}},
        {"--dac-bits", INTEGER, &r->dac_bits, 2, 16, {0}},
        {"--dac-codes", CHOICE, &r->codes, 0, 0, {"symmetric", "signed", "offset", "unsigned"}},
        {"--drive", CHOICE, &r->drive, 0, 0, {"parallel", "two-phase", "bit-serial"}},
        {"--tile-rows", INTEGER, &r->tile_rows, 0, 0x1p32, {0}},
        {"--tile-columns", INTEGER, &r->tile_columns, 0, 0x1p32, {0}},
        {"--lines", CHOICE, &r->separate, 0, 0, {"pair", "separate"}},
        {"--read-noise", CHOICE, &r->fresh, 0, 0, {"frozen", "fresh"}},
        {"--register-bits", INTEGER, &r->register_bits, 2, 60, {0}},
        {"--beyond", CHOICE, &r->beyond, 0, 0, {"as-wide-as-it-takes", "error", "saturate", "wrap"}},
        {"--adc-low", INTEGER, &r->adc_low, -0x1p24, 0, {0}},
        {"--adc-high", INTEGER, &r->adc_high, 1, 0x1p24, {0}},
        {"--adc-offset", INTEGER, &r->adc_offset, -0x1p52, 0x1p52, {0}},
        {"--rounding", CHOICE, &r->rounding, 0, 0, {"half-even", "half-away", "half-up", "floor", "toward-zero"}},
        {"--gain-of", CHOICE, &r->gain, 0, 0, {"range", "range-fixed", "own", "own-fixed"}},
        {"--gain-bits", INTEGER, &r->gain_bits, 2, 31, {0}},
        {"--gain", NUMBER, &r->own_gain, 0x1p-100, 0x1p100, {0}},
        {"--mult", INTEGER, &r->mult, 1, 0x1p31 - 1, {0}},
        {"--shift", INTEGER, &r->shift, 0, 52, {0}},
    };
    size_t known = sizeof options / sizeof *options;
    memset(&o, 0, sizeof o);
    o.chip.t = 25;
    o.range_images = 200;
    o.model = models[0];
    o.preset = presets[0];
    o.significance = "1";
    if (count < 2 || count % 2)
        die("usage: second NETWORK --out LOGITS [--OPTION VALUE ...], or second functions NUMBERS RESULTS");
    o.network = words[1];
    for (int pass = 0; pass < 2; pass++) { /* once for the preset, once for what changes it */
        for (int i = 2; i < count; i += 2) {
            size_t k = 0;
            while (k < known && strcmp(options[k].name, words[i]) != 0)
                k++;
            if (k == known)
                die("there is no option %s", words[i]);
            set(&options[k], words[i + 1]);
        }
        if (pass == 0)
            o.readout = PRESETS[choice(o.preset, presets, "--preset")];
    }
    o.chip.model = &MODELS[choice(o.model, models, "--model")];
    o.chip.read = (uint32_t)o.read;
    o.chip.by_column = o.by_column == 1;
    parse_significance(o.significance, &o.chip);
    if (o.chip.t < fmax(2 * o.chip.model->t_read - o.chip.model->t_offset, 0))
        die("the time is before the first read");
    if (!o.out)
        die("--out is missing");
    return o;
}

static Reader read_file(Memory *memory, const char *path)
{
    FILE *file = fopen(path, "rb");
    if (!file || fseek(file, 0, SEEK_END) != 0 || ftell(file) < 0)
        die("cannot open %s: %s", path, strerror(errno));
    size_t length = (size_t)ftell(file);
    uint8_t *bytes = zeros(memory, length, 1);
    rewind(file);
    if (fread(bytes, 1, length, file) != length)
        die("cannot read %s", path);
    fclose(file);
    Reader reader = {bytes, length, 0, memory};
    return reader;
}

static FILE *create(const char *path)
{
    FILE *file = path ? fopen(path, "wb") : NULL;
    if (path && !file)
        die("cannot write %s: %s", path, strerror(errno));
    return file;
}

static void finish(FILE *file, const char *path)
{
    if (file && fclose(file) != 0)
        die("cannot write %s: %s", path, strerror(errno));
}

/* Appendix A.3: the bytes of `devices`. */
static void write_codes(FILE *file, const Devices *d)
{
    for (size_t kind = 0; kind < 6; kind++)
        for (size_t i = 0; i < d->rows * d->slices * d->columns; i++) {
            Device one = d->device[kind % 2][i];
            write_bits(file, (uint64_t)(kind < 2 ? one.mean : kind < 4 ? one.read : one.variance), 2);
        }
    for (size_t c = 0; c < d->columns; c++)
        write_f64(file, d->weight_per_us[c]);
}

static void write_corrections(FILE *file, const Network *net, double **gain, const Statistics *statistics)
{
    for (size_t k = 0; k < net->layers; k++)
        for (size_t c = 0; c < net->layer[k]->out.channels; c++)
            write_f64(file, gain[k] ? gain[k][c] : 1);
    for (size_t k = 1; k <= net->nodes; k++)
        for (size_t i = 0; i < 2 * net->node[k].in.channels && net->node[k].op == BATCH_NORM; i++) {
            size_t channels = net->node[k].in.channels;
            write_f64(file, i < channels ? statistics->mean[k][i] : statistics->var[k][i - channels]);
        }
}

/* Section 3 by itself: ln, exp and, from 0 to 1, the quantile of each float64 number of a file. */
static int functions(const char *from, const char *to)
{
    Memory memory = {NULL};
    Reader reader = read_file(&memory, from);
    FILE *file = create(to);
    while (reader.position < reader.length) {
        double x = read_f64(&reader, -DBL_MAX, DBL_MAX, "a number");
        write_f64(file, x > 0 ? natural_log(x) : 0);
        write_f64(file, exponential(x));
        write_f64(file, x > 0 && x < 1 ? quantile(x) : 0);
    }
    finish(file, to);
    release(&memory);
    return 0;
}

static double seconds(void) { return (double)clock() / CLOCKS_PER_SEC; }

int main(int count, char **words)
{
    if (count == 4 && strcmp(words[1], "functions") == 0)
        return functions(words[2], words[3]);
    Options o = parse(count, words);
    Memory memory = {NULL};
    Reader reader = read_file(&memory, o.network);
    Network net = read_network(&reader);
    Crossbar *crossbars = zeros(&memory, net.layers, sizeof *crossbars);
    double **gain = zeros(&memory, net.layers, sizeof *gain), start = seconds();
    Chip reference = o.chip;
    reference.t = o.chip.model->t_c - o.chip.model->t_offset;
    reference.read = 0;
    Range *ranges = o.readout.adc ? find_ranges(&memory, &net, &o.chip, &o.readout, (size_t)o.range_images) : NULL;
    FILE *codes = create(o.codes), *corrections = create(o.corrections), *out = create(o.out);
    for (size_t k = 0; k < net.layers; k++) {
        Memory here = {NULL};
        Devices now = snapshot(&here, &o.chip, net.layer[k]);
        if (o.compensation % 2) { /* gdc or gdc+adabs */
            Devices before = snapshot(&here, &reference, net.layer[k]);
            gain[k] = gdc_gains(&memory, &now, &before, (enum GdcReadout)o.gdc);
        }
        if (codes)
            write_codes(codes, &now);
        crossbars[k] = prepare(&memory, &o.chip, &o.readout, net.layer[k], &now, ranges ? &ranges[k] : NULL, gain[k]);
        release(&here);
    }
    double prepared = seconds();
    Statistics statistics = stored_statistics(&memory, &net);
    if (o.compensation >= 2)
        adabs(&net, &o.readout, crossbars, &statistics);
    if (corrections)
        write_corrections(corrections, &net, gain, &statistics);
    double calibrated = seconds();
    float *logits = zeros(&memory, net.classes, sizeof *logits);
    for (size_t i = 0; i < net.images; i++) {
        forward(&net, &o.readout, crossbars, &statistics, NULL, 0, net.image + i * size_of(net.input), 1,
                o.first_image + i, NULL, logits);
        for (size_t c = 0; c < net.classes; c++)
            write_f32(out, logits[c]);
    }
    double images = seconds() - calibrated;
    finish(codes, o.codes);
    finish(corrections, o.corrections);
    finish(out, o.out);
    if (o.time_it)
        printf("%.3f s for the chip, %.3f s for AdaBS, %.3f ms an image\n", prepared - start, calibrated - prepared,
               net.images ? 1e3 * images / (double)net.images : 0);
    release(&memory);
    return 0;
}
