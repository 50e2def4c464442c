/* An image to a network's size, as Pillow does it: bicubic with antialiasing, two passes of whole numbers in 8 bits
   (src/libImaging/Resample.c), and `flyweight/images/decode.py` around it. */
"use strict";

const PRECISION = 22; // bits behind the point of a factor
const GREY = 128; // around an image that is padded

function bicubic(x) {
  const a = -0.5;
  x = Math.abs(x);
  if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  return x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0;
}

/* What each pixel of a line reads: where it begins, and the factors of what follows. start, end: in single precision. */
function readings(length, start, end, made) {
  start = Math.fround(start);
  const scale = Math.fround(Math.fround(end) - start) / made;
  const wide = Math.max(scale, 1);
  const support = 2 * wide;
  const found = [];
  for (let place = 0; place < made; place++) {
    const centre = start + (place + 0.5) * scale;
    const first = Math.max(0, Math.trunc(centre - support + 0.5));
    const count = Math.min(length, Math.trunc(centre + support + 0.5)) - first;
    const factors = Float64Array.from({ length: count }, (_, x) => bicubic((x + first - centre + 0.5) * (1 / wide)));
    const sum = factors.reduce((total, one) => total + one, 0);
    const whole = Int32Array.from(factors, (one) => {
      const shifted = (sum === 0 ? one : one / sum) * 2 ** PRECISION;
      return Math.trunc(shifted < 0 ? shifted - 0.5 : shifted + 0.5);
    });
    found.push({ first, factors: whole });
  }
  return found;
}

/* Half to even, as Python rounds. */
function rounded(x) {
  const down = Math.floor(x);
  if (x - down !== 0.5) return Math.round(x);
  return down % 2 === 0 ? down : down + 1;
}

/* Which part of an image goes where in what a network takes: `box` of the image to `place` (left, top, width, height). */
function fitted(width, height, size, resize) {
  const all = { box: [0, 0, width, height], place: [0, 0, size.width, size.height] };
  if (resize === "pad") {
    const scale = Math.min(size.width / width, size.height / height);
    const [wide, high] = [width, height].map((side) => Math.max(1, rounded(side * scale)));
    all.place = [rounded((size.width - wide) / 2), rounded((size.height - high) / 2), wide, high];
  } else if (resize === "crop") {
    const ratio = size.width / size.height;
    const [wide, high] =
      width / height === ratio ? [width, height] : width / height > ratio ? [ratio * height, height] : [width, width / ratio];
    const [left, top] = [(width - wide) * 0.5, (height - high) * 0.5];
    all.box = [left, top, left + wide, top + high];
  }
  return all;
}

/* Colours on white, three bytes a pixel; as Pillow's alpha_composite rounds. */
function onWhite(rgba, to, at) {
  for (let from = 0; from < rgba.length; from += 4, at += 3) {
    const alpha = rgba[from + 3];
    for (let c = 0; c < 3; c++) {
      if (alpha === 255) {
        to[at + c] = rgba[from + c];
        continue;
      }
      const sum = rgba[from + c] * alpha * 128 + 255 * (255 - alpha) * 128 + 128 * 128;
      to[at + c] = ((sum >> 8) + sum) >> 15;
    }
  }
}

/* One pass over lines of pixels. step: from one pixel of a line to the next, in bytes; lines: where each one begins. */
function resampled(from, to, reads, step, fromLines, toLines) {
  for (let line = 0; line < fromLines.length; line++) {
    let at = toLines[line];
    for (const { first, factors } of reads) {
      let [red, green, blue] = [1 << (PRECISION - 1), 1 << (PRECISION - 1), 1 << (PRECISION - 1)];
      let place = fromLines[line] + first * step;
      for (let x = 0; x < factors.length; x++, place += step) {
        red += from[place] * factors[x];
        green += from[place + 1] * factors[x];
        blue += from[place + 2] * factors[x];
      }
      to[at] = Math.min(255, Math.max(0, red >> PRECISION));
      to[at + 1] = Math.min(255, Math.max(0, green >> PRECISION));
      to[at + 2] = Math.min(255, Math.max(0, blue >> PRECISION));
      at += toLines.step;
    }
  }
}

const STRIP = 1 << 20; // pixels that are looked at together: a photograph need not be in memory as a whole

/* Where lines begin, and how far apart the pixels of one are. */
function lines(count, apart, step, start = 0) {
  return Object.assign(Array.from({ length: count }, (_, line) => start + line * apart), { step });
}

/* The columns first, strip by strip of rows, then the rows. */
function acrossFirst(source, across, down, width, height, same) {
  const first = down[0].first;
  const last = down[height - 1].first + down[height - 1].factors.length;
  const between = new Uint8Array(width * (last - first) * 3);
  const strip = Math.max(1, Math.floor(STRIP / source.width));
  const colours = new Uint8Array(Math.min(strip, last - first) * source.width * 3);
  for (let y = first; y < last; y += strip) {
    const count = Math.min(strip, last - y);
    onWhite(source.rows(y, count), colours, 0);
    const start = (y - first) * width * 3;
    if (same.across) between.set(colours.subarray(0, count * width * 3), start);
    else resampled(colours, between, across, 3, lines(count, source.width * 3, 3), lines(count, width * 3, 3, start));
  }
  if (same.down) return between;
  const made = new Uint8Array(width * height * 3);
  const reads = down.map((one) => ({ ...one, first: one.first - first }));
  resampled(between, made, reads, width * 3, lines(width, 3, width * 3), lines(width, 3, width * 3));
  return made;
}

/* The rows first: a row of the target is made of some rows of the source. */
function downFirst(source, across, down, width, height, same) {
  const wide = source.width * 3;
  const between = new Uint8Array(wide * height);
  const colours = new Uint8Array(wide * Math.max(...down.map((one) => one.factors.length)));
  down.forEach(({ first, factors }, y) => {
    onWhite(source.rows(first, factors.length), colours, 0);
    resampled(colours, between, [{ first: 0, factors }], wide, lines(source.width, 3, wide), lines(source.width, 3, 0, y * wide));
  });
  if (same.across) return between;
  const made = new Uint8Array(width * height * 3);
  resampled(between, made, across, 3, lines(height, wide, 3), lines(height, width * 3, 3));
  return made;
}

/* A part of an image in another size, three bytes a pixel.
   source: { width, height, rows(first, count) -> RGBA }; tall: see `prepared`. */
function scaled(source, box, width, height, tall) {
  const across = readings(source.width, box[0], box[2], width);
  const down = readings(source.height, box[1], box[3], height);
  const same = {
    across: width === source.width && box[0] === 0 && box[2] === width,
    down: height === source.height && box[1] === 0 && box[3] === height,
  };
  const less = source.height - height;
  const order = tall && less > 0 && less > 2 * (source.width - width) ? downFirst : acrossFirst;
  return order(source, across, down, width, height, same);
}

/* An image as a network takes it: rows of pixels of 1 or 3 bytes.
   size: { channels, height, width }; resize: what becomes of other proportions; tall: the rows of an image that loses
   many of them are computed first, as Pillow does since 13. */
function prepared(source, size, resize, tall) {
  const same = source.width === size.width && source.height === size.height;
  const { box, place } = fitted(source.width, source.height, size, same ? "squash" : resize);
  const [left, top, width, height] = place;
  const inner = scaled(source, box, width, height, tall);
  let colours = inner;
  if (width !== size.width || height !== size.height) {
    colours = new Uint8Array(size.width * size.height * 3).fill(GREY);
    for (let y = 0; y < height; y++) {
      colours.set(inner.subarray(y * width * 3, (y + 1) * width * 3), ((top + y) * size.width + left) * 3);
    }
  }
  if (size.channels === 3) return colours;
  const greys = new Uint8Array(size.width * size.height);
  for (let p = 0; p < greys.length; p++) {
    greys[p] = (colours[3 * p] * 19595 + colours[3 * p + 1] * 38470 + colours[3 * p + 2] * 7471 + 0x8000) >> 16;
  }
  return greys;
}

if (typeof module !== "undefined") module.exports = { fitted, prepared };
