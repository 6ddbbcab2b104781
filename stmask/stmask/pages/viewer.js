// One image of a result file with its detections: viewer?config=NAME&idx=N.

import { colorOf } from "./colors.js";
import { decodeMask } from "./rle.js";
import { loadSettings, saveSettings } from "./settings.js";

const element = (id) => document.getElementById(id);
const canvas = element("canvas");
const context = canvas.getContext("2d");
const settings = loadSettings();
const query = new URLSearchParams(location.search);
const config = query.get("config") ?? "";

let images = [];
let place = 0;
let picture = null;
let layers = new Map();
let shown = 0;

function say(text) {
  element("message").textContent = text;
}

/** The numbers of the detections that are drawn, worst first so that the best lie on top. */
function chosen(detections) {
  const count = Math.min(settings.topk, detections.length);
  if (settings.single) return count ? [count - 1] : [];
  return Array.from({ length: count }, (_, i) => count - 1 - i);
}

/** A canvas with the pixels of a mask in the colour of its object. */
function layerOf(number) {
  if (layers.has(number)) return layers.get(number);
  const detection = images[place].dets[number];
  let layer = null;
  if (detection.mask) {
    const [height, width] = detection.mask.size;
    const pixels = decodeMask(detection.mask);
    const content = new ImageData(width, height);
    const [red, green, blue] = colorOf(detection.id ?? number);
    for (let i = 0; i < pixels.length; i++) {
      if (pixels[i]) content.data.set([red, green, blue, 255], 4 * i);
    }
    layer = Object.assign(document.createElement("canvas"), { width, height });
    layer.getContext("2d").putImageData(content, 0, 0);
  }
  layers.set(number, layer);
  return layer;
}

function drawLabel(detection, number) {
  const words = [];
  if (settings.class) words.push(detection.category);
  if (settings.score) words.push(detection.score.toFixed(2));
  if (detection.id !== undefined && words.length) words.push(detection.id);
  if (!words.length) return;
  const text = words.join(": ");
  const size = Math.max(12, Math.round(canvas.height / 30));
  context.font = `${size}px sans-serif`;
  const width = context.measureText(text).width + 6;
  const left = Math.max(0, Math.min(detection.bbox[0], canvas.width - width));
  const top = Math.max(0, detection.bbox[1] - size - 4);
  context.fillStyle = `rgb(${colorOf(detection.id ?? number)})`;
  context.fillRect(left, top, width, size + 4);
  context.fillStyle = "white";
  context.fillText(text, left + 3, top + size);
}

function draw() {
  const { dets } = images[place];
  context.globalAlpha = 1;
  context.clearRect(0, 0, canvas.width, canvas.height);
  if (picture) context.drawImage(picture, 0, 0);
  const numbers = chosen(dets);
  if (settings.mask) {
    context.globalAlpha = settings.alpha / 255;
    for (const number of numbers) {
      const layer = layerOf(number);
      if (layer) context.drawImage(layer, 0, 0);
    }
    context.globalAlpha = 1;
  }
  for (const number of numbers) {
    const detection = dets[number];
    if (settings.box) {
      context.strokeStyle = `rgb(${colorOf(detection.id ?? number)})`;
      context.lineWidth = Math.max(2, Math.round(canvas.height / 240));
      context.strokeRect(...detection.bbox);
    }
    drawLabel(detection, number);
  }
  element("place").textContent = `image ${place + 1} of ${images.length}, ${dets.length} detections`;
  document.body.dataset.drawn = `${place}/${numbers.length}`;
}

function loadPicture(id) {
  return new Promise((resolve) => {
    const loading = new Image();
    loading.onload = () => resolve(loading);
    loading.onerror = () => resolve(null);
    loading.src = `image${id}?config=${encodeURIComponent(config)}`;
  });
}

/** Shows an image; numbers beyond an end wrap around. */
async function show(index) {
  const ticket = ++shown;
  const wanted = ((index % images.length) + images.length) % images.length;
  const image = images[wanted];
  const loaded = await loadPicture(image.image_id);
  // A later click may have been answered first.
  if (ticket !== shown) return;
  place = wanted;
  picture = loaded;
  layers = new Map();
  const size = image.dets.find((detection) => detection.mask)?.mask.size ?? [360, 640];
  canvas.width = picture?.naturalWidth ?? size[1];
  canvas.height = picture?.naturalHeight ?? size[0];
  say(picture ? "" : `The server has no image ${image.image_id}; detections are shown on grey.`);
  query.set("idx", place);
  history.replaceState(null, "", `?${query}`);
  redraw();
}

function redraw() {
  if (!images.length) return;
  try {
    draw();
  } catch (error) {
    say(`Cannot draw image ${images[place].image_id}: ${error.message}`);
  }
}

function connect() {
  for (const key of ["topk", "alpha"]) {
    const update = () => { element(`${key}-value`).textContent = settings[key]; };
    element(key).value = settings[key];
    update();
    element(key).addEventListener("input", () => {
      settings[key] = Number(element(key).value);
      update();
      saveSettings(settings);
      redraw();
    });
  }
  for (const key of ["single", "box", "class", "score", "mask"]) {
    element(key).checked = settings[key];
    element(key).addEventListener("change", () => {
      settings[key] = element(key).checked;
      saveSettings(settings);
      redraw();
    });
  }
  element("prev").addEventListener("click", () => show(place - 1));
  element("next").addEventListener("click", () => show(place + 1));
  document.addEventListener("keydown", (event) => {
    if (event.target.tagName === "INPUT" && event.target.type === "range") return;
    if (event.key === "ArrowLeft") show(place - 1);
    if (event.key === "ArrowRight") show(place + 1);
  });
}

function showInfo(info) {
  for (const [key, value] of Object.entries(info?.Config ?? {})) {
    const row = element("info").insertRow();
    row.insertCell().textContent = key;
    row.insertCell().textContent = typeof value === "string" ? value : JSON.stringify(value);
  }
}

async function start() {
  element("title").textContent = config;
  const response = await fetch(`dets/${encodeURIComponent(config)}.json`);
  if (!response.ok) throw new Error(`there is no result file ${config}`);
  const content = await response.json();
  images = content.images;
  showInfo(content.info);
  if (!images.length) throw new Error("the result file holds no images");
  connect();
  const idx = Number(query.get("idx") ?? 0);
  await show(Number.isInteger(idx) ? idx : 0);
}

start().catch((error) => say(`Cannot show ${config || "the file"}: ${error.message}`));
