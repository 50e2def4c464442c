/* A small interpreter of networks in float32, for WebAssembly with SIMD. `tools/engine.py` makes engine.wasm of it.

   A network is a list of steps, each of which makes one map of one or two. A map lies in the arena row by row, a
   position's channels side by side, as many floats a position as the next multiple of four has ("room"). Weights lie
   in the order in which a step reads them; `flyweight/export/demo/packed.py` lays them out and says what a step's
   numbers are. Nothing here allocates memory, and nothing is kept between two calls but what lies in the arena. */
#include <stdint.h>
#include <wasm_simd128.h>

typedef v128_t vector;
#define EXPORT(name) __attribute__((export_name(name)))
#define INLINE static inline __attribute__((always_inline))
#define POSITIONS 4 /* that a convolution computes at once, eight channels of each */

enum { PIXELS, CONVOLUTION, DEPTHWISE, ADD, MULTIPLY, CLAMP, SIGMOID, AFFINE, MAXIMUM, AVERAGE, MEAN, CONCATENATE };

/* Places are floats from the beginning of the arena, weights from that of all weights; -1: there are none. */
struct step {
    int32_t kind, first, second, target;
    int32_t height, width, channels, room; /* of the first source */
    int32_t rows, columns, outputs, outroom; /* of the target */
    int32_t kernel_rows, kernel_columns, down, right, spread_rows, spread_columns, above, left;
    int32_t groups, weight, bias, scale, shift;
    int32_t aside, option; /* room for a padded source; what a kind makes of it stands with the kind */
    int32_t bounded; /* whether a number is kept between the two bounds */
    float low, high;
};

INLINE vector load(const float *from) { return wasm_v128_load(from); }
INLINE vector splat(const float *from) { return wasm_v128_load32_splat(from); }
INLINE void store(float *to, vector what) { wasm_v128_store(to, what); }
INLINE vector add(vector a, vector b) { return wasm_f32x4_add(a, b); }
INLINE vector mul(vector a, vector b) { return wasm_f32x4_mul(a, b); }

/* What follows a sum of products: bounds, as ReLU has them, then factor and summand of each channel. */
struct behind {
    int bounded;
    vector low, high;
    const float *scale, *shift;
};

static struct behind behind(const struct step *step, const float *weights)
{
    struct behind found = {step->bounded, wasm_f32x4_splat(step->low), wasm_f32x4_splat(step->high), 0, 0};
    if (step->scale >= 0) found.scale = weights + step->scale, found.shift = weights + step->shift;
    return found;
}

INLINE vector finish(vector what, const struct behind *behind, int at)
{
    if (behind->bounded) what = wasm_f32x4_pmin(wasm_f32x4_pmax(what, behind->low), behind->high);
    if (behind->scale) what = add(mul(what, load(behind->scale + at)), load(behind->shift + at));
    return what;
}

INLINE void copy(float *to, const float *from, int count)
{
    __builtin_memcpy(to, from, (unsigned long)count * sizeof(float));
}

INLINE void clear(float *to, int count) { __builtin_memset(to, 0, (unsigned long)count * sizeof(float)); }

/* The source with zeros around it, as far as the taps reach; *width: positions in a row of it. */
static const float *padded(const struct step *step, float *arena, int *width)
{
    const float *from = arena + step->first;
    int high = (step->rows - 1) * step->down + (step->kernel_rows - 1) * step->spread_rows + 1;
    int wide = (step->columns - 1) * step->right + (step->kernel_columns - 1) * step->spread_columns + 1;
    int inside, room = step->room;
    float *to = arena + step->aside;
    *width = step->width;
    if (step->aside < 0) return from;
    inside = wide - step->left < step->width ? wide - step->left : step->width;
    clear(to, high * wide * room);
    for (int y = 0; y < step->height && y + step->above < high; y++) {
        copy(to + ((y + step->above) * wide + step->left) * room, from + y * step->width * room, inside * room);
    }
    *width = wide;
    return to;
}

/* One block of channels of a convolution, for all positions. vectors: 1 or 2, of four channels each. */
INLINE void block(const struct step *step, const float *from, int width, const float *weight, const float *bias,
                  const struct behind *after, int at, float *to, int vectors, int count)
{
    int inputs = step->channels / step->groups, room = step->room, last = step->rows * step->columns - 1;
    for (int p = 0; p <= last; p += POSITIONS) {
        const float *base[POSITIONS], *w = weight;
        vector sum[POSITIONS][2];
        for (int i = 0; i < POSITIONS; i++) {
            /* past the end the last position is computed again */
            int position = p + i < last ? p + i : last;
            int y = position / step->columns, x = position % step->columns;
            base[i] = from + (y * step->down * width + x * step->right) * room;
            for (int v = 0; v < vectors; v++) sum[i][v] = load(bias + at + 4 * v);
        }
        for (int ky = 0; ky < step->kernel_rows; ky++) {
            for (int kx = 0; kx < step->kernel_columns; kx++) {
                int offset = (ky * step->spread_rows * width + kx * step->spread_columns) * room;
                for (int c = offset; c < offset + inputs; c++) {
                    vector w0 = load(w), w1 = vectors > 1 ? load(w + 4) : w0;
                    w += 4 * vectors;
                    for (int i = 0; i < POSITIONS; i++) {
                        vector x = splat(base[i] + c);
                        sum[i][0] = add(sum[i][0], mul(x, w0));
                        if (vectors > 1) sum[i][1] = add(sum[i][1], mul(x, w1));
                    }
                }
            }
        }
        for (int i = 0; i < POSITIONS; i++) {
            int position = p + i < last ? p + i : last;
            float *place = to + position * step->outroom;
            for (int v = 0; v < vectors; v++) {
                vector done = finish(sum[i][v], after, at + 4 * v);
                if (count - 4 * v >= 4) {
                    store(place + 4 * v, done);
                } else {
                    float four[4];
                    store(four, done);
                    for (int j = 0; j < count - 4 * v; j++) place[4 * v + j] = four[j];
                }
            }
        }
    }
}

static void convolution(const struct step *step, float *arena, const float *weights)
{
    int width, inputs = step->channels / step->groups, outputs = step->outputs / step->groups, at = 0;
    int taps = step->kernel_rows * step->kernel_columns * inputs;
    const float *from = padded(step, arena, &width), *weight = weights + step->weight;
    struct behind after = behind(step, weights);
    for (int group = 0; group < step->groups; group++) {
        for (int o = 0; o < outputs; o += 8) {
            int left = outputs - o, vectors = left > 4 ? 2 : 1;
            float *to = arena + step->target + group * outputs + o;
            if (vectors > 1) {
                block(step, from + group * inputs, width, weight, weights + step->bias, &after, at, to, 2, left);
            } else {
                block(step, from + group * inputs, width, weight, weights + step->bias, &after, at, to, 1, left);
            }
            weight += 4 * vectors * taps, at += 4 * vectors;
        }
    }
}

static void depthwise(const struct step *step, float *arena, const float *weights)
{
    int width, room = step->room;
    const float *from = padded(step, arena, &width), *weight = weights + step->weight;
    struct behind after = behind(step, weights);
    for (int y = 0; y < step->rows; y++) {
        for (int x = 0; x < step->columns; x++) {
            const float *base = from + (y * step->down * width + x * step->right) * room;
            float *to = arena + step->target + (y * step->columns + x) * room;
            for (int c = 0; c < room; c += 4) {
                vector sum = load(weights + step->bias + c);
                const float *w = weight + c;
                for (int ky = 0; ky < step->kernel_rows; ky++) {
                    for (int kx = 0; kx < step->kernel_columns; kx++) {
                        int offset = (ky * step->spread_rows * width + kx * step->spread_columns) * room + c;
                        sum = add(sum, mul(load(base + offset), load(w)));
                        w += room;
                    }
                }
                store(to + c, finish(sum, &after, c));
            }
        }
    }
}

/* e to the power of a number: Cephes' expf, right to two units in the last place. */
static float exponential(float x)
{
    union { float number; int32_t bits; } power;
    x = x > 88.0f ? 88.0f : x < -87.0f ? -87.0f : x;
    float n = __builtin_floorf(1.44269504088896341f * x + 0.5f);
    x -= n * 0.693359375f;
    x -= n * -2.12194440e-4f;
    float y = 1.9875691500e-4f;
    y = y * x + 1.3981999507e-3f;
    y = y * x + 8.3334519073e-3f;
    y = y * x + 4.1665795894e-2f;
    y = y * x + 1.6666665459e-1f;
    y = y * x + 5.0000001201e-1f;
    power.bits = ((int32_t)n + 127) << 23;
    return (y * x * x + x + 1.0f) * power.number;
}

/* Number by number. option: the second source is one position that is taken for all. */
static void each(const struct step *step, float *arena, const float *weights)
{
    int room = step->room, positions = step->height * step->width;
    struct behind after = behind(step, weights);
    for (int p = 0; p < positions; p++) {
        const float *a = arena + step->first + p * room;
        const float *b = arena + step->second + (step->option ? 0 : p * room);
        float *to = arena + step->target + p * room;
        for (int c = 0; c < room; c += 4) {
            vector x = load(a + c);
            if (step->kind == ADD) x = add(x, load(b + c));
            if (step->kind == MULTIPLY) x = mul(x, load(b + c));
            if (step->kind == SIGMOID) {
                float four[4];
                store(four, x);
                for (int j = 0; j < 4; j++) four[j] = 1.0f / (1.0f + exponential(-four[j]));
                x = load(four);
            }
            store(to + c, finish(x, &after, c));
        }
    }
}

/* Over windows; what lies outside counts for nothing. option, of an average: as zeros, it does count. */
static void pooled(const struct step *step, float *arena)
{
    int room = step->room, whole = step->kernel_rows * step->kernel_columns;
    for (int y = 0; y < step->rows; y++) {
        for (int x = 0; x < step->columns; x++) {
            for (int c = 0; c < room; c += 4) {
                vector found = wasm_f32x4_splat(step->kind == MAXIMUM ? -__builtin_inff() : 0.0f);
                int seen = 0;
                for (int ky = 0; ky < step->kernel_rows; ky++) {
                    int row = y * step->down - step->above + ky * step->spread_rows;
                    for (int kx = 0; kx < step->kernel_columns; kx++) {
                        int column = x * step->right - step->left + kx * step->spread_columns;
                        if (row < 0 || row >= step->height || column < 0 || column >= step->width) continue;
                        vector one = load(arena + step->first + (row * step->width + column) * room + c);
                        found = step->kind == MAXIMUM ? wasm_f32x4_pmax(found, one) : add(found, one);
                        seen++;
                    }
                }
                if (step->kind == AVERAGE) {
                    found = mul(found, wasm_f32x4_splat(1.0f / (float)(step->option ? whole : seen)));
                }
                store(arena + step->target + (y * step->columns + x) * room + c, found);
            }
        }
    }
}

static void mean(const struct step *step, float *arena)
{
    int positions = step->height * step->width;
    for (int c = 0; c < step->room; c += 4) {
        vector sum = wasm_f32x4_splat(0.0f);
        for (int p = 0; p < positions; p++) sum = add(sum, load(arena + step->first + p * step->room + c));
        store(arena + step->target + c, mul(sum, wasm_f32x4_splat(1.0f / (float)positions)));
    }
}

/* option: the channel of the target at which the source's begin. */
static void concatenate(const struct step *step, float *arena)
{
    for (int p = 0; p < step->height * step->width; p++) {
        copy(arena + step->target + p * step->outroom + step->option, arena + step->first + p * step->room,
             step->channels);
    }
}

static void pixels(const struct step *step, float *arena, const float *weights, const uint8_t *image)
{
    const float *scale = weights + step->scale, *shift = weights + step->shift;
    for (int p = 0; p < step->rows * step->columns; p++) {
        for (int c = 0; c < step->outputs; c++) {
            arena[step->target + p * step->outroom + c] = shift[c] + (float)image[p * step->outputs + c] * scale[c];
        }
    }
}

/* Compute a network: the steps, one after the other. image: rows of pixels of so many bytes as there are channels. */
EXPORT("run") void run(const struct step *steps, int count, const float *weights, float *arena, const uint8_t *image)
{
    for (const struct step *step = steps; step < steps + count; step++) {
        switch (step->kind) {
        case PIXELS: pixels(step, arena, weights, image); break;
        case CONVOLUTION: convolution(step, arena, weights); break;
        case DEPTHWISE: depthwise(step, arena, weights); break;
        case MAXIMUM:
        case AVERAGE: pooled(step, arena); break;
        case MEAN: mean(step, arena); break;
        case CONCATENATE: concatenate(step, arena); break;
        default: each(step, arena, weights);
        }
    }
}

/* Whole numbers of three bytes, the lowest first, times a power of two: exact in a float. */
EXPORT("unpack") void unpack(const uint8_t *packed, int count, float scale, float *weights)
{
    for (int i = 0; i < count; i++, packed += 3) {
        uint32_t bits = packed[0] | packed[1] << 8 | packed[2] << 16;
        weights[i] = (float)((int32_t)(bits << 8) >> 8) * scale;
    }
}
