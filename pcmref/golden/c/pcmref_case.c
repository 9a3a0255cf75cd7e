#include "pcmref_case.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pcmref.h"
#include "pcmref_error.h"
#include "pcmref_json.h"
#include "pcmref_sha256.h"

/* Files larger than these are not read. */
#define DOCUMENT_MOST (1L << 26)
#define ARRAY_MOST (1L << 30)
/* Beyond these, float64 arithmetic would not be exact (SPEC.md, section 8). */
#define OFFSET_MOST (1LL << 52)
#define GAIN_LEAST 7.8886090522101181e-31 /* 2^-100 */
#define GAIN_MOST 1.2676506002282294e30   /* 2^100 */

static int no_memory(void) { return pcmref_failed(PCMREF_NO_MEMORY, "memory: expected some, found none left"); }

static int bad(const char *where, const char *expected, const char *found) {
    return pcmref_failed(PCMREF_BAD_FILE, "%s: expected %s, found %s", where, expected, found);
}

/* Files */

/* Return the content of FOLDER/SECTION/NAME.SUFFIX, and a 0 after it; NULL if it cannot be read. */
static char *content_of(const char *path, long most, size_t *size) {
    FILE *file = fopen(path, "rb");
    char *bytes = NULL;
    long length = -1;
    if (file == NULL) {
        bad(path, "a file of a case", strerror(errno));
        return NULL;
    }
    if (fseek(file, 0, SEEK_END) == 0) length = ftell(file);
    if (length < 0 || length > most)
        bad(path, "a file of a reasonable size", length < 0 ? "none" : "a larger one");
    else if ((bytes = (char *)malloc((size_t)length + 1)) == NULL)
        no_memory();
    else {
        rewind(file);
        *size = fread(bytes, 1, (size_t)length, file);
        bytes[*size] = 0;
        if (*size != (size_t)length) {
            bad(path, "all of the file", "a read error");
            free(bytes);
            bytes = NULL;
        }
    }
    fclose(file);
    return bytes;
}

/* An array as case.json describes it */

typedef struct {
    pcmref_json name, section, sha256;
    int is_float, is_signed, bits, axes;
    long long shape[4], count;
} description;

static int item_size(const description *said) {
    return said->bits <= 8 ? 1 : said->bits <= 16 ? 2 : said->bits <= 32 ? 4 : 8;
}

static int described(pcmref_json entry, description *said) {
    pcmref_json number, is_signed, bits, shape, place = {NULL, NULL};
    long long value;
    if (!pcmref_json_member(entry, "name", &said->name) || !pcmref_json_member(entry, "section", &said->section) ||
        !pcmref_json_member(entry, "sha256", &said->sha256) || !pcmref_json_member(entry, "number", &number) ||
        !pcmref_json_member(entry, "signed", &is_signed) || !pcmref_json_member(entry, "bits", &bits) ||
        !pcmref_json_member(entry, "shape", &shape) || !pcmref_json_integer(bits, 1, 64, &value))
        return 0;
    said->bits = (int)value;
    said->is_float = pcmref_json_is(number, "float");
    said->is_signed = pcmref_json_is(is_signed, "true");
    said->axes = 0;
    said->count = 1;
    while (pcmref_json_next(shape, &place)) {
        if (said->axes == 4 || !pcmref_json_integer(place, 1, 1LL << 31, &said->shape[said->axes])) return 0;
        said->count *= said->shape[said->axes++];
        if (said->count > 1LL << 31) return 0;
    }
    return !said->is_float || said->bits == 32 || said->bits == 64;
}

/* Check the header of an .npy file against what case.json says; return where its elements begin, or NULL. */
static const char *elements_of(const description *said, const char *bytes, size_t size) {
    char type[32], shape[128], kind = said->is_float ? 'f' : said->is_signed ? 'i' : 'u';
    size_t length, used = 0;
    int axis;
    if (size < 10 || memcmp(bytes, "\x93NUMPY\x01\x00", 8) != 0) return NULL;
    length = 10 + (size_t)(unsigned char)bytes[8] + 256 * (size_t)(unsigned char)bytes[9];
    if (length > size || bytes[length - 1] != '\n') return NULL;
    snprintf(type, sizeof type, "'descr': '%c%c%d'", item_size(said) == 1 ? '|' : '<', kind, item_size(said));
    used = (size_t)snprintf(shape, sizeof shape, "'shape': (");
    for (axis = 0; axis < said->axes; axis++)
        used += (size_t)snprintf(shape + used, sizeof shape - used, axis == 0 ? "%lld" : ", %lld", said->shape[axis]);
    snprintf(shape + used, sizeof shape - used, said->axes == 1 ? ",)" : ")");
    if (strstr(bytes + 10, type) == NULL || strstr(bytes + 10, shape) == NULL ||
        strstr(bytes + 10, "'fortran_order': False") == NULL)
        return NULL;
    return size - length == (size_t)said->count * (size_t)item_size(said) ? bytes + length : NULL;
}

static uint64_t little_endian(const unsigned char *bytes, int size) {
    uint64_t word = 0;
    while (size-- > 0) word = word << 8 | bytes[size];
    return word;
}

static int convert(const description *said, const unsigned char *bytes, pcmref_case_array *array) {
    int size = item_size(said);
    long long i;
    if (said->is_float)
        array->x = (double *)malloc((size_t)said->count * sizeof *array->x);
    else
        array->n = (long long *)malloc((size_t)said->count * sizeof *array->n);
    if (array->x == NULL && array->n == NULL) return no_memory();
    for (i = 0; i < said->count; i++) {
        uint64_t word = little_endian(bytes + i * size, size), sign = 1ULL << (8 * size - 1);
        if (said->is_float && size == 4) {
            uint32_t half = (uint32_t)word;
            float x;
            memcpy(&x, &half, sizeof x);
            array->x[i] = (double)x;
        } else if (said->is_float)
            memcpy(&array->x[i], &word, sizeof word);
        else if (said->is_signed && (word & sign) != 0)
            array->n[i] = -(long long)(sign - (word & (sign - 1)) - 1) - 1;
        else
            array->n[i] = (long long)(word & 0x7fffffffffffffffULL);
    }
    return 0;
}

static int read_array(const char *folder, const description *said, pcmref_case_array *array) {
    char *path, *bytes, digits[65];
    const char *elements;
    size_t size = 0, room = strlen(folder) + (size_t)(said->name.end - said->name.begin) + 32;
    int status = 0;
    if ((path = (char *)malloc(room)) == NULL) return no_memory();
    snprintf(path, room, "%s/%.*s/%.*s.npy", folder, (int)(said->section.end - said->section.begin) - 2,
             said->section.begin + 1, (int)(said->name.end - said->name.begin) - 2, said->name.begin + 1);
    bytes = content_of(path, ARRAY_MOST, &size);
    if (bytes == NULL)
        status = PCMREF_BAD_FILE;
    else if ((elements = elements_of(said, bytes, size)) == NULL)
        status = bad(path, "an .npy file of the type and shape that case.json says", "another");
    else {
        pcmref_sha256((const unsigned char *)elements, size - (size_t)(elements - bytes), digits);
        if (!pcmref_json_is(said->sha256, digits))
            status = bad(path, "elements with the SHA-256 that case.json says", digits);
        else
            status = convert(said, (const unsigned char *)elements, array);
    }
    free(bytes);
    free(path);
    return status;
}

/* All arrays of the tile */

static int is_matrix(const pcmref_case_array *array) { return strncmp(array->name, "g-", 2) == 0; }

/* The name without its tile, or NULL if it is another tile's. */
static char *own_name(pcmref_json name, const char *tile) {
    size_t prefix = strlen(tile) + 2, size = (size_t)(name.end - name.begin);
    char *own;
    if (size < prefix + 2 || memcmp(name.begin + 1, tile, prefix - 2) != 0 || name.begin[prefix - 1] != '/') return NULL;
    if ((own = (char *)malloc(size - prefix)) == NULL) return NULL;
    memcpy(own, name.begin + prefix, size - prefix - 1);
    own[size - prefix - 1] = 0;
    return own;
}

static int read_arrays(const char *folder, const char *tile, pcmref_json list, pcmref_case *read) {
    pcmref_json place = {NULL, NULL};
    long long count = 0;
    while (pcmref_json_next(list, &place)) count++;
    read->arrays = (pcmref_case_array *)calloc((size_t)count + 1, sizeof *read->arrays);
    read->matrix_arrays = (int *)calloc((size_t)count + 1, sizeof *read->matrix_arrays);
    if (read->arrays == NULL || read->matrix_arrays == NULL) return no_memory();
    place.begin = place.end = NULL;
    while (pcmref_json_next(list, &place)) {
        pcmref_case_array *array = read->arrays + read->array_count;
        description said;
        int status;
        if (!described(place, &said)) return bad(folder, "arrays that case.json describes", "one that it does not");
        if ((array->name = own_name(said.name, tile)) == NULL) continue;
        if (is_matrix(array)) read->matrix_arrays[read->matrices++] = (int)read->array_count;
        read->array_count++;
        array->expected = pcmref_json_is(said.section, "expected");
        array->axes = said.axes;
        array->count = said.count;
        memcpy(array->shape, said.shape, sizeof said.shape);
        if ((status = read_array(folder, &said, array)) != 0) return status;
    }
    return 0;
}

const pcmref_case_array *pcmref_case_find(const pcmref_case *read, const char *name) {
    long long number;
    for (number = 0; number < read->array_count; number++)
        if (strcmp(read->arrays[number].name, name) == 0) return read->arrays + number;
    return NULL;
}

/* The readout */

/* Return which of these words a member is; -1 if none. */
static int one_of(pcmref_json object, const char *name, const char *const *words) {
    pcmref_json value;
    int number;
    if (!pcmref_json_member(object, name, &value)) return -1;
    for (number = 0; words[number] != NULL; number++)
        if (pcmref_json_is(value, words[number])) return number;
    return -1;
}

static int number_of(pcmref_json object, const char *name, long long low, long long high, int *n) {
    pcmref_json value;
    long long found;
    if (!pcmref_json_member(object, name, &value) || !pcmref_json_integer(value, low, high, &found)) return 0;
    *n = (int)found;
    return 1;
}

static int is_null(pcmref_json object, const char *name) {
    pcmref_json value;
    return pcmref_json_member(object, name, &value) && pcmref_json_is(value, "null");
}

static int read_dac(pcmref_json dac, pcmref_tile *tile) {
    static const char *const codes[] = {"symmetric", "signed", "offset", "unsigned", NULL};
    static const char *const drives[] = {"parallel", "two-phase", "bit-serial", NULL};
    int kind = one_of(dac, "codes", codes);
    tile->drive = one_of(dac, "drive", drives);
    if (kind < 0 || tile->drive < 0 || !number_of(dac, "bits", 2, kind == 0 ? 16 : 15, &tile->bits)) return 0;
    if (kind >= 2 && tile->drive == PCMREF_TWO_PHASE) return 0;
    tile->code_high = (1 << (tile->bits - (kind != 3))) - 1;
    tile->code_low = kind == 0 ? -tile->code_high : kind == 3 ? 0 : -(1 << (tile->bits - 1));
    tile->code_offset = kind == 2 ? -tile->code_low : 0;
    return 1;
}

static int read_register(pcmref_json readout, pcmref_tile *tile) {
    static const char *const beyond[] = {"error", "saturate", "wrap", NULL};
    pcmref_json found;
    if (!pcmref_json_member(readout, "accumulator", &found)) return 0;
    if (pcmref_json_is(found, "null")) return 1;
    tile->beyond = one_of(found, "beyond", beyond);
    return tile->beyond >= 0 && number_of(found, "bits", 2, 60, &tile->register_bits);
}

/* The rounding of the layer's measured ADCs, which is one for all of them, or that of the readout's. */
static int rounding_of(pcmref_json readout, pcmref_json adc, const char *tile) {
    static const char *const roundings[] = {"half-even", "half-away", "half-up", "floor", "toward-zero", NULL};
    pcmref_json measured, place = {NULL, NULL};
    const char *slash = strrchr(tile, '/');
    char layer[256];
    if (slash != NULL && (size_t)(slash - tile) < sizeof layer && pcmref_json_member(readout, "measured", &measured)) {
        memcpy(layer, tile, (size_t)(slash - tile));
        layer[slash - tile] = 0;
        if (pcmref_json_member(measured, layer, &measured))
            return one_of(pcmref_json_next(measured, &place) ? place : measured, "rounding", roundings);
    }
    return one_of(adc, "rounding", roundings);
}

static int read_readout(pcmref_json readout, const char *name, pcmref_case *read) {
    static const char *const lines[] = {"pair", "separate", NULL}, *const noises[] = {"frozen", "fresh", NULL};
    pcmref_json dac, adc;
    pcmref_tile *tile = &read->tile;
    tile->lines = one_of(readout, "lines", lines) + 1;
    read->noisy = one_of(readout, "read_noise", noises);
    if (tile->lines < 1 || read->noisy < 0 || !pcmref_json_member(readout, "dac", &dac) || !read_dac(dac, tile) ||
        !read_register(readout, tile) || !pcmref_json_member(readout, "adc", &adc))
        return 0;
    tile->converter = PCMREF_NO_ADC;
    if (is_null(readout, "adc")) return 1;
    tile->converter = PCMREF_FIXED_POINT;
    tile->rounding = rounding_of(readout, adc, name);
    return tile->rounding >= 0 && number_of(adc, "low", -(1 << 24), 0, &tile->low) &&
           number_of(adc, "high", 1, 1 << 24, &tile->high) && tile->high - tile->low < 1 << 24;
}

/* Sizes, and the settings of the ADCs */

static int all_within(const pcmref_case_array *array, long long low, long long high) {
    long long i;
    for (i = 0; i < array->count; i++)
        if (array->n[i] < low || array->n[i] > high) return 0;
    return 1;
}

/* Return a setting of (columns) or (lines, columns), or these with another axis of `each`; *wrong if it has another form. */
static const pcmref_case_array *setting(const pcmref_case *read, const char *name, long long each, int *wrong) {
    const pcmref_case_array *found = pcmref_case_find(read, name);
    const pcmref_tile *tile = &read->tile;
    if (found == NULL) return NULL;
    if (found->count != tile->columns * each * (tile->per_line ? tile->lines : 1) ||
        (found->x != NULL) != (strcmp(name, "gain") == 0))
        *wrong = 1;
    return found;
}

static int read_converters(pcmref_case *read) {
    pcmref_tile *tile = &read->tile;
    const pcmref_case_array *mult, *shift, *gain, *offset, *table;
    long long most = (tile->high > -tile->low ? tile->high : -tile->low) + 1, i, places;
    int wrong = 0;
    if (tile->converter == PCMREF_NO_ADC) return 1;
    mult = pcmref_case_find(read, "multiplier");
    gain = pcmref_case_find(read, "gain");
    table = pcmref_case_find(read, "thresholds");
    tile->per_line = (mult != NULL && mult->axes == 2) || (gain != NULL && gain->axes == 2) || (table != NULL && table->axes == 3);
    places = tile->columns * (tile->per_line ? tile->lines : 1);
    mult = setting(read, "multiplier", 1, &wrong);
    shift = setting(read, "shift", 1, &wrong);
    gain = setting(read, "gain", 1, &wrong);
    offset = setting(read, "offset", 1, &wrong);
    table = setting(read, "thresholds", tile->high - tile->low, &wrong);
    if (wrong || (table == NULL) + (gain == NULL) + (mult == NULL || shift == NULL) != 2) return 0;
    if ((tile->offset = (long long *)calloc((size_t)places, sizeof *tile->offset)) == NULL) return 0;
    if (offset != NULL) {
        if (!all_within(offset, 1 - OFFSET_MOST, OFFSET_MOST - 1)) return 0;
        memcpy(tile->offset, offset->n, (size_t)places * sizeof *tile->offset);
    }
    if (table != NULL) {
        tile->converter = PCMREF_THRESHOLDS;
        tile->thresholds = table->n;
        for (i = 1; i < table->count; i++)
            if (i % (tile->high - tile->low) != 0 && table->n[i] < table->n[i - 1]) return 0;
        return all_within(table, 1 - OFFSET_MOST, OFFSET_MOST - 1);
    }
    if (gain != NULL) {
        tile->converter = PCMREF_FLOAT64;
        tile->gain = gain->x;
        for (i = 0; i < places; i++)
            if (!(gain->x[i] >= GAIN_LEAST && gain->x[i] <= GAIN_MOST)) return 0;
        return 1;
    }
    tile->multiplier = mult->n;
    tile->shift = shift->n;
    if (!all_within(mult, 1, 0x7fffffff) || !all_within(shift, 0, 52)) return 0;
    for (i = 0; i < places; i++)
        if (most > (1LL << 53) >> shift->n[i]) return 0;
    return 1;
}

static int is_matrix_of(const pcmref_case *read, const pcmref_case_array *array) {
    const pcmref_tile *tile = &read->tile;
    return array->n != NULL && array->axes == tile->lines + 1 && (tile->lines == 1 || array->shape[0] == 2) &&
           array->shape[array->axes - 2] == tile->rows && array->shape[array->axes - 1] == tile->columns &&
           all_within(array, tile->lines == 2 ? 0 : -PCMREF_G_MOST, PCMREF_G_MOST);
}

/* Set the sizes, and check that arrays are as large as they say together. */
static int read_sizes(pcmref_case *read) {
    pcmref_tile *tile = &read->tile;
    const pcmref_case_array *code = pcmref_case_find(read, "code"), *noise = pcmref_case_find(read, "noise"), *first;
    int number;
    if (read->matrices == 0 || code == NULL || code->n == NULL || code->axes < 2) return 0;
    first = read->arrays + read->matrix_arrays[0];
    if (first->axes != tile->lines + 1) return 0;
    tile->rows = first->shape[first->axes - 2];
    tile->columns = first->shape[first->axes - 1];
    if (tile->rows > PCMREF_ROWS_MOST || tile->columns > PCMREF_COLUMNS_MOST || code->shape[code->axes - 1] != tile->rows)
        return 0;
    read->vectors = code->count / tile->rows;
    for (number = 0; number < read->matrices; number++)
        if (!is_matrix_of(read, read->arrays + read->matrix_arrays[number])) return 0;
    if (!all_within(code, tile->code_low, tile->code_high)) return 0;
    if (!read->noisy) return noise == NULL;
    return noise != NULL && noise->n != NULL && all_within(noise, 1 - PCMREF_NOISE_MOST, PCMREF_NOISE_MOST - 1) &&
           noise->count == pcmref_conversions(tile) * read->vectors * tile->columns;
}

/* Groups: which vectors meet which matrix */

static int read_groups(pcmref_json list, pcmref_case *read) {
    pcmref_json place = {NULL, NULL}, first, last, matrix;
    long long count = 0;
    while (pcmref_json_next(list, &place)) count++;
    if ((read->groups = (pcmref_case_group *)calloc((size_t)count + 1, sizeof *read->groups)) == NULL) return 0;
    place.begin = place.end = NULL;
    while (pcmref_json_next(list, &place)) {
        pcmref_case_group *group = read->groups + read->group_count++;
        if (!pcmref_json_member(place, "first", &first) || !pcmref_json_member(place, "last", &last) ||
            !pcmref_json_member(place, "conductance", &matrix) ||
            !pcmref_json_integer(first, 0, read->vectors - 1, &group->first) ||
            !pcmref_json_integer(last, group->first + 1, read->vectors, &group->last))
            return 0;
        for (group->matrix = 0; group->matrix < read->matrices; group->matrix++)
            if (pcmref_json_is(matrix, read->arrays[read->matrix_arrays[group->matrix]].name + 2)) break;
        if (group->matrix == read->matrices) return 0;
    }
    return 1;
}

int pcmref_case_matrix_of(const pcmref_case *read, long long vector) {
    long long number;
    for (number = 0; number < read->group_count; number++)
        if (vector >= read->groups[number].first && vector < read->groups[number].last) return read->groups[number].matrix;
    return 0;
}

/* All of it */

/* Whether case.json is the one that was written: its digest is that of the rest, sorted by names and without spaces. */
static int is_whole(pcmref_json document) {
    static const char *const without[] = {"digest", "command", NULL};
    pcmref_json said;
    char digits[65], *out = (char *)malloc((size_t)(document.end - document.begin) + 1), *end;
    int whole = 0;
    if (out == NULL) return 0;
    if ((end = pcmref_json_sorted(document, without, out)) != NULL && pcmref_json_member(document, "digest", &said)) {
        pcmref_sha256((const unsigned char *)out, (size_t)(end - out), digits);
        whole = pcmref_json_is(said, digits);
    }
    free(out);
    return whole;
}

static int read_document(const char *folder, const char *path, const char *tile, pcmref_json document, pcmref_case *read) {
    pcmref_json readout, arrays, groups;
    int version, spec, status;
    if (!pcmref_json_document(&document)) return bad(path, "valid JSON", "something else");
    if (!pcmref_json_member(document, "schema", &readout) || !pcmref_json_is(readout, "pcmref-case"))
        return bad(path, "the description of a golden case", "something else");
    if (!number_of(document, "version", 1, 1, &version)) return bad(path, "version 1 of the format", "another");
    if (!number_of(document, "spec", PCMREF_SPEC, PCMREF_SPEC, &spec))
        return bad(path, "a case of SPEC.md, version 3", "another version");
    if (!is_whole(document)) return bad(path, "the digest of what it says", "another: the file was changed");
    if (!pcmref_json_member(document, "readout", &readout) || !read_readout(readout, tile, read))
        return bad(path, "a readout of a tile", "none, or another");
    if (!pcmref_json_member(document, "arrays", &arrays) || !pcmref_json_member(document, "groups", &groups))
        return bad(path, "arrays and groups", "none");
    if ((status = read_arrays(folder, tile, arrays, read)) != 0) return status;
    if (read->array_count == 0) return pcmref_failed(PCMREF_BAD_ARGUMENT, "tile: expected one of %s, found %s", folder, tile);
    if (!read_sizes(read)) return bad(path, "codes, conductances and noise of one tile that fit each other", "others");
    if (!read_converters(read)) return bad(path, "the settings of each column's ADC", "others");
    if (!read_groups(groups, read)) return bad(path, "groups of the tile's vectors", "others");
    return 0;
}

static int make_room(pcmref_case *read) {
    pcmref_tile *tile = &read->tile;
    tile->stride = (tile->rows + 15) / 16 * 16;
    tile->g = (short *)calloc((size_t)(tile->lines * tile->columns * tile->stride), sizeof *tile->g);
    if (tile->code_offset != 0)
        tile->d0 = (long long *)calloc((size_t)(pcmref_conversions(tile) * tile->columns), sizeof *tile->d0);
    return tile->g != NULL && (tile->code_offset == 0 || tile->d0 != NULL) ? 0 : no_memory();
}

int pcmref_case_read(const char *folder, const char *tile, pcmref_case *read) {
    size_t size = 0, room = strlen(folder) + 16;
    char *path = (char *)malloc(room), *text = NULL;
    int status = 0;
    memset(read, 0, sizeof *read);
    if (path == NULL) return no_memory();
    snprintf(path, room, "%s/case.json", folder);
    if ((text = content_of(path, DOCUMENT_MOST, &size)) == NULL)
        status = PCMREF_BAD_FILE;
    else {
        pcmref_json document;
        document.begin = text;
        document.end = text + size;
        status = read_document(folder, path, tile, document, read);
    }
    free(text);
    free(path);
    if (status == 0) status = make_room(read);
    return status == 0 ? pcmref_case_select(read, 0) : status;
}

int pcmref_case_select(pcmref_case *read, int matrix) {
    const pcmref_case_array *array = read->arrays + read->matrix_arrays[matrix];
    short *g = (short *)malloc((size_t)array->count * sizeof *g);
    long long i;
    int loaded;
    if (g == NULL) return no_memory();
    for (i = 0; i < array->count; i++) g[i] = (short)array->n[i];
    loaded = pcmref_tile_load(&read->tile, g);
    free(g);
    read->selected = matrix;
    if (loaded) return 0;
    return pcmref_failed(PCMREF_REFUSED, "accumulator: expected sums of an input of zeros that fit %d bits, found others",
                         read->tile.register_bits);
}

void pcmref_case_free(pcmref_case *read) {
    long long number;
    for (number = 0; number < read->array_count; number++) {
        free(read->arrays[number].name);
        free(read->arrays[number].n);
        free(read->arrays[number].x);
    }
    free(read->arrays);
    free(read->matrix_arrays);
    free(read->groups);
    free(read->tile.g);
    free(read->tile.d0);
    free(read->tile.offset);
    memset(read, 0, sizeof *read);
}
