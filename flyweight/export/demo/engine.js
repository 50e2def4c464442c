/* The network in WebAssembly: engine.c with the steps and weights of this page in its memory. */
"use strict";

function bytesOf(base64) {
  return Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
}

class Engine {
  /* network: what `flyweight/export/demo/page.py` writes of it. */
  static async open(network) {
    const { instance } = await WebAssembly.instantiate(bytesOf(network.engine), {});
    return new Engine(network, instance.exports);
  }

  constructor(network, exports) {
    this.network = network;
    this.exports = exports;
    const base = Math.ceil(exports.__heap_base.value / 16) * 16;
    this.at = Object.fromEntries(Object.entries(network.layout).map(([name, place]) => [name, base + place]));
    const { channels, height, width } = network.size;
    const missing = this.at.image + channels * height * width - exports.memory.buffer.byteLength;
    if (missing > 0) exports.memory.grow(Math.ceil(missing / 65536));
    new Int32Array(exports.memory.buffer, this.at.steps).set(network.steps.flat());
    new Uint8Array(exports.memory.buffer).set(bytesOf(network.weights), this.at.arena);
    let [packed, weights] = [this.at.arena, this.at.weights];
    for (const [count, factor] of network.parts) {
      exports.unpack(packed, count, factor, weights);
      packed += 3 * count;
      weights += 4 * count;
    }
  }

  floats(start, place, count) {
    return new Float32Array(this.exports.memory.buffer, start + 4 * place, count);
  }

  /* pixels: rows of pixels, a byte a channel. Gives a number a class. */
  logits(pixels) {
    const { steps, logits, classes } = this.network;
    new Uint8Array(this.exports.memory.buffer).set(pixels, this.at.image);
    this.exports.run(this.at.steps, steps.length, this.at.weights, this.at.arena, this.at.image);
    return Array.from(this.floats(this.at.arena, logits, classes.length));
  }

  /* How much each pixel of the last image speaks for a class, 0 to 1: Grad-CAM, which before a mean and a linear layer
     is the map of the channels, each times its weight. None where the network has no such map. */
  heat(label) {
    const map = this.network.map;
    if (!map) return null;
    const values = this.floats(this.at.arena, map.place, map.height * map.width * map.room);
    // weights lie in blocks of eight classes, the last one of four where that is enough
    const block = label - (label % 8);
    const wide = this.network.classes.length - block > 4 ? 8 : 4;
    const weights = this.floats(this.at.weights, map.weights + block * map.channels, wide * map.channels);
    const speaks = new Float32Array(map.height * map.width);
    for (let p = 0; p < speaks.length; p++) {
      let sum = 0;
      for (let c = 0; c < map.channels; c++) sum += values[p * map.room + c] * weights[c * wide + label - block];
      speaks[p] = Math.max(0, sum);
    }
    // each place of the map speaks for the middle of what it sees; between them linearly
    const found = new Float32Array(map.rows.length * map.columns.length);
    map.rows.forEach((row, y) => {
      const [top, down] = [Math.floor(row), Math.min(Math.floor(row) + 1, map.height - 1)];
      map.columns.forEach((column, x) => {
        const [left, right] = [Math.floor(column), Math.min(Math.floor(column) + 1, map.width - 1)];
        const line = (at) =>
          speaks[at * map.width + left] * (1 - column + left) + speaks[at * map.width + right] * (column - left);
        found[y * map.columns.length + x] = line(top) * (1 - row + top) + line(down) * (row - top);
      });
    });
    const peak = found.reduce((most, one) => Math.max(most, one), 0);
    return peak > 0 ? found.map((one) => one / peak) : found;
  }
}

function softmax(logits, temperature) {
  const most = Math.max(...logits);
  const powers = logits.map((one) => Math.exp((one - most) / temperature));
  const sum = powers.reduce((total, one) => total + one, 0);
  return powers.map((one) => one / sum);
}

if (typeof module !== "undefined") module.exports = { Engine, softmax };
