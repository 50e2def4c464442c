/* The page: images in, answers out. */
"use strict";

const network = JSON.parse(document.getElementById("network").textContent);
const $ = (id) => document.getElementById(id);
const TOP = 5;
const SIDE = 720; // of the canvas, in its own pixels
const percent = (share) => `${(100 * share).toFixed(1)} %`;
// what is shown: the image, the pixels of it that the network was given, its answer, the class whose map is drawn
const shown = {};
let turn = 0;

class Unreadable extends Error {}

/* An image that the browser has decoded, turned as its EXIF says. */
async function decoded(blob, name) {
  if (blob.size === 0) throw new Unreadable(`${name} is empty.`);
  try {
    return await createImageBitmap(blob, { imageOrientation: "from-image", premultiplyAlpha: "none", colorSpaceConversion: "none" });
  } catch {
    throw new Unreadable(
      (await holdsText(blob))
        ? `${name} holds text and is no image. Choose a PNG, JPEG, WebP, AVIF, GIF or BMP file.`
        : `${name} cannot be opened as an image: it is damaged, or of a kind that this browser does not know. PNG, JPEG, WebP, GIF and BMP work.`,
    );
  }
}

async function holdsText(blob) {
  const start = await blob.slice(0, 512).arrayBuffer();
  try {
    const text = new TextDecoder("utf-8", { fatal: true }).decode(start, { stream: true });
    return !/[\u0000-\u0008\u000e-\u001f]/.test(text);
  } catch {
    return false;
  }
}

function canvasOf(width, height) {
  return Object.assign(document.createElement("canvas"), { width, height });
}

/* The pixels of an image, strip by strip. */
function source(bitmap) {
  let context = null;
  return {
    width: bitmap.width,
    height: bitmap.height,
    rows(first, count) {
      if (!context || context.canvas.height < count) {
        context = canvasOf(bitmap.width, count).getContext("2d", { willReadFrequently: true });
      }
      context.clearRect(0, 0, bitmap.width, count);
      context.drawImage(bitmap, 0, first, bitmap.width, count, 0, 0, bitmap.width, count);
      return context.getImageData(0, 0, bitmap.width, count).data;
    },
  };
}

/* What the network says of pixels. */
function asked(engine, pixels) {
  const start = performance.now();
  const logits = engine.logits(pixels);
  const milliseconds = performance.now() - start;
  const probabilities = softmax(logits, network.temperature);
  const order = probabilities.map((_, label) => label).sort((a, b) => probabilities[b] - probabilities[a] || a - b);
  const none = network.threshold !== null && probabilities[order[0]] < network.threshold;
  return { probabilities, order, none, milliseconds };
}

async function look(blob, name, label) {
  const mine = ++turn;
  try {
    const [engine, bitmap] = await Promise.all([ready, decoded(blob, name)]);
    if (mine !== turn) return;
    const start = performance.now();
    const pixels = prepared(source(bitmap), network.size, network.resize, network.tall);
    const answer = asked(engine, pixels);
    Object.assign(shown, { bitmap, pixels, answer, name, label, chosen: answer.order[0], engine });
    shown.whole = performance.now() - start;
    problem("");
    show();
  } catch (error) {
    if (mine === turn) problem(error instanceof Unreadable ? error.message : `${name} could not be looked at: ${error.message}`);
  }
}

function problem(text) {
  $("problem").hidden = !text;
  $("problem").textContent = text;
}

function show() {
  const { answer, name, label } = shown;
  const best = network.classes[answer.order[0]];
  const share = percent(answer.probabilities[answer.order[0]]);
  $("verdict").textContent = answer.none ? "none of my classes" : best;
  $("verdict").parentElement.classList.toggle("none", answer.none);
  $("share").textContent = answer.none ? "" : share;
  const guess = answer.none ? `Its likeliest is ${best}, and ${share} is too little to say so.` : "";
  const truth = label === undefined ? "" : label === answer.order[0] ? "That is right." : `In truth it is ${network.classes[label]}.`;
  $("aside").textContent = [guess, truth].filter(Boolean).join(" ");
  $("time").textContent = `${duration(answer.milliseconds)} for the network, ${duration(shown.whole)} with resizing.`;
  $("bars").replaceChildren(...answer.order.slice(0, TOP).map(bar));
  const others = answer.order.slice(1, 3).map((one) => `${network.classes[one]} ${percent(answer.probabilities[one])}`);
  const said = answer.none ? `none of my classes; likeliest ${best} ${share}` : `${best} ${share}`;
  $("status").textContent = `${name}: ${said}. Then ${others.join(", ")}. ${truth}`;
  draw();
}

function duration(milliseconds) {
  return `${milliseconds < 10 ? milliseconds.toFixed(1) : Math.round(milliseconds)} ms`;
}

function element(kind, className, text) {
  return Object.assign(document.createElement(kind), { className, textContent: text ?? "" });
}

function bar(label) {
  const share = shown.answer.probabilities[label];
  const button = document.createElement(network.map ? "button" : "div");
  if (network.map) {
    button.type = "button";
    button.setAttribute("aria-pressed", String(label === shown.chosen));
    button.setAttribute("aria-label", `${network.classes[label]}, ${percent(share)}: show where it looks for it`);
    button.addEventListener("click", () => choose(label));
  }
  const track = element("span", "track");
  const fill = element("span", "fill");
  fill.style.width = `${100 * share}%`;
  track.append(fill);
  button.append(element("span", "name", network.classes[label]), element("span", "number", percent(share)), track);
  const item = document.createElement("li");
  item.append(button);
  return item;
}

/* Draw the map of another class. */
function choose(label) {
  shown.chosen = label;
  $("heat").checked = true;
  [...$("bars").querySelectorAll("button")].forEach((button, place) =>
    button.setAttribute("aria-pressed", String(shown.answer.order[place] === label)),
  );
  draw();
}

function draw() {
  const { width, height } = network.size;
  const canvas = $("canvas");
  const scale = SIDE / Math.max(width, height);
  canvas.width = Math.round(width * scale);
  canvas.height = Math.round(height * scale);
  const context = canvas.getContext("2d");
  if ($("grain").checked) grain(context);
  else image(context);
  // the engine keeps the maps of one image, and another one may have been asked about since
  shown.engine.logits(shown.pixels);
  const heat = $("heat").checked ? shown.engine.heat(shown.chosen) : null;
  if (heat) glow(context, heat);
  const what = network.classes[shown.chosen];
  $("looking").textContent = !network.map
    ? "Where it looks cannot be shown: this network does not end with a mean of a map and one linear layer."
    : !$("heat").checked
      ? ""
      : heat.some((one) => one > 0)
        ? `Bright is what speaks for ${what}.`
        : `Nothing here speaks for ${what}.`;
  canvas.setAttribute("aria-label", `${shown.name}${heat ? `, with what speaks for ${what} brightened` : ""}`);
}

/* The part of an image that the network is given, in the image's own pixels. */
function image(context) {
  const { width, height } = network.size;
  const { bitmap } = shown;
  const { box, place } = fitted(bitmap.width, bitmap.height, network.size, network.resize);
  const scale = context.canvas.width / width;
  context.fillStyle = "rgb(128 128 128)";
  context.fillRect(0, 0, context.canvas.width, context.canvas.height);
  const to = place.map((one) => one * scale);
  context.fillStyle = "white";
  context.fillRect(...to);
  context.imageSmoothingEnabled = box[2] - box[0] > 2 * width || box[3] - box[1] > 2 * height;
  context.imageSmoothingQuality = "high";
  if (network.size.channels === 1) context.filter = "grayscale(1)";
  context.drawImage(bitmap, box[0], box[1], box[2] - box[0], box[3] - box[1], ...to);
  context.filter = "none";
}

/* The very pixels that the network is given. */
function grain(context) {
  const { channels, width, height } = network.size;
  const small = canvasOf(width, height);
  const data = new ImageData(width, height);
  for (let p = 0; p < width * height; p++) {
    for (let c = 0; c < 3; c++) data.data[4 * p + c] = shown.pixels[p * channels + (channels === 1 ? 0 : c)];
    data.data[4 * p + 3] = 255;
  }
  small.getContext("2d").putImageData(data, 0, 0);
  context.imageSmoothingEnabled = false;
  context.drawImage(small, 0, 0, context.canvas.width, context.canvas.height);
}

/* Dark where nothing speaks for the class, as it is where much does. */
function glow(context, heat) {
  const { width, height } = network.size;
  const small = canvasOf(width, height);
  const data = new ImageData(width, height);
  heat.forEach((one, p) => data.data.set([8, 12, 28, 190 * (1 - one) ** 1.5], 4 * p));
  small.getContext("2d").putImageData(data, 0, 0);
  context.imageSmoothingEnabled = true;
  context.imageSmoothingQuality = "high";
  context.drawImage(small, 0, 0, context.canvas.width, context.canvas.height);
}

function pick(place) {
  const sample = network.samples[place];
  [...$("samples").querySelectorAll("button")].forEach((button, at) => button.setAttribute("aria-pressed", String(at === place)));
  const blob = new Blob([bytesOf(sample.image.split(",")[1])], { type: "image/png" });
  return look(blob, `Test image ${place + 1}`, sample.label);
}

function given(blob, name) {
  if ($("samples")) [...$("samples").querySelectorAll("button")].forEach((button) => button.setAttribute("aria-pressed", "false"));
  return look(blob, name);
}

function listen() {
  for (const id of ["file", "camera"]) {
    $(id).addEventListener("change", (event) => {
      const [file] = event.target.files;
      if (file) given(file, file.name);
      event.target.value = ""; // so that the same file can be chosen again
    });
  }
  $("samples")?.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    pick(Number(button.dataset.sample));
    const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
    $("view").scrollIntoView({ block: "nearest", behavior: still ? "auto" : "smooth" });
  });
  for (const id of ["heat", "grain"]) $(id).addEventListener("change", () => shown.engine && draw());
  let inside = 0;
  const dropping = (on) => document.body.classList.toggle("dropping", on);
  addEventListener("dragenter", () => dropping(++inside > 0));
  addEventListener("dragleave", () => dropping(--inside > 0));
  addEventListener("dragover", (event) => event.preventDefault());
  addEventListener("drop", (event) => {
    event.preventDefault();
    dropping((inside = 0));
    const [file] = event.dataTransfer.files;
    if (file) given(file, file.name);
    else problem("What was dropped is no file: save the image first, then drop or choose it.");
  });
  addEventListener("paste", (event) => {
    const files = [...(event.clipboardData?.files ?? [])];
    const file = files.find((one) => one.type.startsWith("image/")) ?? files[0];
    if (file) given(file, "The pasted image");
    else problem("There is no image in what was pasted.");
  });
}

/* The median of some passes, once the browser has compiled what is run often. */
function speed(engine) {
  const pixels = shown.pixels ?? new Uint8Array(network.size.channels * network.size.height * network.size.width);
  const times = Array.from({ length: 9 }, () => asked(engine, pixels).milliseconds).sort((a, b) => a - b);
  $("speed").textContent = duration(times[4]);
}

async function start() {
  try {
    const engine = await Engine.open(network);
    // the browser compiles what runs often once more, and better
    for (let pass = 0; pass < 3; pass++) engine.logits(new Uint8Array(network.size.channels * network.size.height * network.size.width));
    return engine;
  } catch (error) {
    problem(`This browser cannot run it: WebAssembly with SIMD is needed, which Chrome 91, Firefox 89 and Safari 16.4 have. (${error.message})`);
    throw error;
  }
}

const ready = start();
ready.catch(() => {});
/* For programs: what the network says of an image file's bytes. */
window.flyweight = {
  ready,
  async classify(bytes) {
    const engine = await ready;
    const pixels = prepared(source(await decoded(new Blob([bytes]), "The image")), network.size, network.resize, network.tall);
    return { ...asked(engine, pixels), pixels };
  },
};
$("heat-option").hidden = !network.map;
$("camera-option").hidden = navigator.maxTouchPoints === 0;
listen();
ready.then(async (engine) => {
  if (network.samples.length) await pick(0);
  setTimeout(() => speed(engine), 300);
}, () => {});
