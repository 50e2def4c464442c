"""The steps of a network in C. Each is written out only where the network has such a step."""

STRUCT = """\
struct layer {
    const int8_t *weight;
    const int32_t *bias, *multiplier;
    const uint8_t *shift;
    const int64_t *after; /* none: 0 */
    int height, width, channels; /* of the source */
    int rows, columns, outputs; /* of the target */
    int kernel, stride, dilation, padding;
    int zero; /* the level of 0 in the source */
    int to_zero, low, high; /* of the target */
};
"""

SETTLED = """\
/* The level of a number that a multiplier has gone into: shifted, rounded to the nearest, kept between two levels. */
static int32_t settled(int64_t number, int shift, int zero, int low, int high)
{
    number += (int64_t)1 << (shift - 1);
    /* what >> makes of a negative number is each compiler's own affair */
    number = (number < 0 ? ~(~number >> shift) : number >> shift) + zero;
    return (int32_t)(number < low ? low : number > high ? high : number);
}
"""

OUTPUT = """\
/* The level that a sum of products becomes in one channel of a layer. */
static int32_t output(const struct layer *layer, int32_t sum, int channel)
{
    int64_t number = sum;
    if (layer->after) {
        number = (number < 0 ? 0 : number) * layer->multiplier[channel] + layer->after[channel];
    } else {
        number *= layer->multiplier[channel];
    }
    return settled(number, layer->shift[channel], layer->to_zero, layer->low, layer->high);
}
"""

PRODUCTS = """\
static int32_t products(const int8_t *from, const int8_t *weight, int count, int32_t zero)
{
    int32_t sum = 0;
    int i;
    for (i = 0; i < count; i++) {
        sum += (from[i] - zero) * weight[i];
    }
    return sum;
}
"""

DENSE = """\
static void dense(const struct layer *layer, const int8_t *from, int8_t *to)
{
    int y, x, o, i, j;
    for (y = 0; y < layer->rows; y++) {
        for (x = 0; x < layer->columns; x++) {
            for (o = 0; o < layer->outputs; o++) {
                const int8_t *weight = layer->weight + (long)o * layer->kernel * layer->kernel * layer->channels;
                int32_t sum = layer->bias[o];
                for (i = 0; i < layer->kernel; i++) {
                    int row = y * layer->stride - layer->padding + i * layer->dilation;
                    for (j = 0; j < layer->kernel; j++, weight += layer->channels) {
                        int column = x * layer->stride - layer->padding + j * layer->dilation;
                        if (row >= 0 && row < layer->height && column >= 0 && column < layer->width) {
                            sum += products(from + ((long)row * layer->width + column) * layer->channels, weight,
                                            layer->channels, layer->zero);
                        }
                    }
                }
                *to++ = (int8_t)output(layer, sum, o);
            }
        }
    }
}
"""

POINTWISE = """\
/* The target may lie where the source lies: a position is copied before it is written. */
static void pointwise(const struct layer *layer, const int8_t *from, int8_t *to)
{
    int i, o;
    for (i = 0; i < layer->rows * layer->columns; i++, from += layer->channels) {
        memcpy(position, from, (size_t)layer->channels);
        for (o = 0; o < layer->outputs; o++) {
            int32_t sum = layer->bias[o] + products(position, layer->weight + (long)o * layer->channels,
                                                    layer->channels, layer->zero);
            *to++ = (int8_t)output(layer, sum, o);
        }
    }
}
"""

DEPTHWISE = """\
static void depthwise(const struct layer *layer, const int8_t *from, int8_t *to)
{
    int y, x, c, i, j;
    for (y = 0; y < layer->rows; y++) {
        for (x = 0; x < layer->columns; x++) {
            for (c = 0; c < layer->channels; c++) {
                int32_t sum = layer->bias[c];
                for (i = 0; i < layer->kernel; i++) {
                    int row = y * layer->stride - layer->padding + i * layer->dilation;
                    for (j = 0; j < layer->kernel; j++) {
                        int column = x * layer->stride - layer->padding + j * layer->dilation;
                        if (row >= 0 && row < layer->height && column >= 0 && column < layer->width) {
                            sum += (from[((long)row * layer->width + column) * layer->channels + c] - layer->zero)
                                   * layer->weight[(long)(i * layer->kernel + j) * layer->channels + c];
                        }
                    }
                }
                *to++ = (int8_t)output(layer, sum, c);
            }
        }
    }
}
"""

ADDED = """\
/* The target may lie where one of the sources lies. */
static void added(const int8_t *first, const int8_t *second, int8_t *to, long count, int zero, int other_zero,
                  int32_t multiplier, int32_t other_multiplier, int shift, int to_zero, int low)
{
    long i;
    for (i = 0; i < count; i++) {
        int64_t sum = (int64_t)(first[i] - zero) * multiplier + (int64_t)(second[i] - other_zero) * other_multiplier;
        to[i] = (int8_t)settled(sum, shift, to_zero, low, 127);
    }
}
"""

AVERAGED = """\
static void averaged(const int8_t *from, int8_t *to, int width, int channels, int rows, int columns, int high, int wide,
                     int stride, int zero, int32_t multiplier, int shift, int to_zero)
{
    int y, x, c, i, j;
    for (y = 0; y < rows; y++) {
        for (x = 0; x < columns; x++) {
            for (c = 0; c < channels; c++) {
                int32_t sum = 0;
                for (i = 0; i < high; i++) {
                    for (j = 0; j < wide; j++) {
                        sum += from[((long)(y * stride + i) * width + x * stride + j) * channels + c] - zero;
                    }
                }
                *to++ = (int8_t)settled((int64_t)sum * multiplier, shift, to_zero, -128, 127);
            }
        }
    }
}
"""

CLASSIFIED = """\
/* The last layer: one position, and logits of two bytes. */
static void classified(const struct layer *layer, const int8_t *from, int16_t *logits)
{
    int o;
    for (o = 0; o < layer->outputs; o++) {
        int32_t sum = layer->bias[o] + products(from, layer->weight + (long)o * layer->channels, layer->channels,
                                                layer->zero);
        logits[o] = (int16_t)output(layer, sum, o);
    }
}
"""
