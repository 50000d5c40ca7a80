"use strict";
// Predictions side by side: masks arrive as grey PNGs whose value is the class index, colours are put on here.

const IGNORED = 255;
const view = { zoom: 1, x: 0, y: 0 }; // x, y: where the picture's corner lies, in widths and heights of its box
let tiles = []; // {indices, hover} of the pictures on show
let request = 0; // the newest drawing wins where images are still being decoded

async function pixels(uri) {
  const image = new Image();
  image.src = uri;
  await image.decode();
  const canvas = new OffscreenCanvas(image.naturalWidth, image.naturalHeight);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(image, 0, 0);
  return context.getImageData(0, 0, canvas.width, canvas.height);
}

/** Class indices of a grey PNG: its red channel. */
async function indices(uri) {
  const { data } = await pixels(uri);
  return Uint8Array.from({ length: data.length / 4 }, (_, at) => data[4 * at]);
}

/** A canvas of the photograph with colour(at) -> [r, g, b, share] laid over it. */
function painted(photo, colour) {
  const canvas = make("canvas", { width: photo.width, height: photo.height });
  const picture = new ImageData(new Uint8ClampedArray(photo.data), photo.width, photo.height);
  for (let at = 0; at < photo.width * photo.height; at++) {
    const [r, g, b, share] = colour(at);
    [r, g, b].forEach((value, c) => (picture.data[4 * at + c] += share * (value - picture.data[4 * at + c])));
  }
  canvas.getContext("2d").putImageData(picture, 0, 0);
  return canvas;
}

function tile(title, mark, ...canvases) {
  const hover = make("span", { class: "hover" });
  const caption = make("figcaption", {}, make("span", {}, ...(mark ? [mark] : []), title), hover);
  return { hover, figure: make("figure", { class: "tile" }, caption, ...canvases.map((canvas) => make("div", { class: "view" }, canvas))) };
}

async function drawPictures() {
  const { pictures } = benchmark;
  const image = pictures?.images[Number($("picture").value) || 0];
  if (!image) {
    tiles = [];
    $("pictures").replaceChildren(make("p", { class: "card empty" }, pictures.empty));
    return;
  }
  const mine = ++request;
  const network = $("network").value;
  const found = chosen().map((method) => ({ method, files: image.predictions[method.name] })).filter(({ files }) => files);
  const [photo, truth, ...predictions] = await Promise.all([pixels(image.image), indices(image.truth),
    ...found.map(({ files }) => indices(files[network] ?? files.student))]);
  if (mine !== request) return;
  const share = Number($("blend").value) / 100;
  const black = [0, 0, 0];
  const paper = isDark() ? [24, 28, 32] : [255, 255, 255];
  const classes = (mask) => painted(photo, (at) => [...(pictures.palette[mask[at]] ?? black), mask[at] === IGNORED ? 0.8 : share]);
  const errors = (mask) => painted(photo, (at) => truth[at] === IGNORED ? [128, 128, 128, 0.85] : mask[at] === truth[at] ? [...paper, 0.72] : [213, 94, 0, 0.92]);
  const shownTiles = [
    { ...tile("Image and ground truth", null, painted(photo, () => [0, 0, 0, 0]), classes(truth)), indices: truth },
    ...found.map(({ method, files }, index) => {
      const other = network !== "student" && !files[network] ? " (student)" : "";
      return { ...tile(method.name + other, glyph(method), classes(predictions[index]), errors(predictions[index])), indices: predictions[index] };
    }),
  ];
  tiles = shownTiles.map((one) => ({ ...one, truth, size: [photo.width, photo.height] }));
  $("pictures").replaceChildren(...tiles.map((one) => one.figure));
  const present = new Set(tiles.flatMap((one) => (one.indices ? [...new Set(one.indices)] : [])));
  const key = (colour, text) => make("span", {}, Object.assign(make("i"), { style: `background:rgb(${colour})` }), text);
  $("class-legend").replaceChildren(...pictures.classes.map((name, index) => present.has(index) && key(pictures.palette[index], name)).filter(Boolean),
    key([213, 94, 0], "wrong"), key([128, 128, 128], "not counted"));
}

// ---- zoom, shared by all pictures ------------------------------------------------------------------------------

function move(change) {
  Object.assign(view, change);
  view.zoom = Math.min(16, Math.max(1, view.zoom));
  view.x = Math.min(0, Math.max(1 - view.zoom, view.x));
  view.y = Math.min(0, Math.max(1 - view.zoom, view.y));
  const grid = $("pictures");
  grid.classList.toggle("zoomed", view.zoom > 1);
  grid.style.setProperty("--zoom", view.zoom);
  grid.style.setProperty("--x", `${100 * view.x}%`);
  grid.style.setProperty("--y", `${100 * view.y}%`);
}

/** Zoom and leave the point (u, v) of the box, in [0, 1], where it is. */
function zoomBy(factor, u = 0.5, v = 0.5) {
  const zoom = Math.min(16, Math.max(1, view.zoom * factor));
  const ratio = zoom / view.zoom;
  move({ zoom, x: u - ratio * (u - view.x), y: v - ratio * (v - view.y) });
}

const within = (event, box) => {
  const { left, top, width, height } = box.getBoundingClientRect();
  return [(event.clientX - left) / width, (event.clientY - top) / height];
};

function hover(event) {
  const canvas = event.target.closest("canvas");
  if (!canvas) return;
  const [u, v] = within(event, canvas);
  tiles.forEach(({ indices: mask, hover: label, truth, size }) => {
    const at = Math.floor(v * size[1]) * size[0] + Math.floor(u * size[0]);
    if (!mask || !(at < truth.length)) return;
    const known = truth[at] !== IGNORED;
    label.textContent = mask[at] === IGNORED ? "not counted" : (benchmark.pictures.classes[mask[at]] ?? `class ${mask[at]}`);
    label.classList.toggle("wrong", known && mask[at] !== truth[at]);
  });
}

const fingers = new Map(); // pointer -> its last event, of those that are down

function drag(event) {
  const before = fingers.get(event.pointerId);
  const box = event.target.closest(".view");
  if (!before || !box) return;
  const distance = () => { const [a, b] = [...fingers.values()]; return Math.hypot(a.clientX - b.clientX, a.clientY - b.clientY); };
  if (fingers.size === 2) {
    const old = distance();
    fingers.set(event.pointerId, event);
    zoomBy(distance() / old, ...within(event, box));
    return;
  }
  fingers.set(event.pointerId, event);
  move({ x: view.x + (event.clientX - before.clientX) / box.clientWidth, y: view.y + (event.clientY - before.clientY) / box.clientHeight });
}

function key(event) {
  const step = 0.15;
  const keys = {
    "+": () => zoomBy(1.5), "=": () => zoomBy(1.5), "-": () => zoomBy(1 / 1.5), 0: () => move({ zoom: 1 }),
    ArrowLeft: () => move({ x: view.x + step }), ArrowRight: () => move({ x: view.x - step }),
    ArrowUp: () => move({ y: view.y + step }), ArrowDown: () => move({ y: view.y - step }),
  };
  const moves = event.key.startsWith("Arrow");
  if (!keys[event.key] || event.ctrlKey || event.metaKey || (moves && view.zoom === 1)) return;
  event.preventDefault();
  keys[event.key]();
}

function pictureChoices() {
  const images = benchmark.pictures.images;
  options($("picture"), { "": images.map((image, index) => [String(index), image.key]) });
  const networks = new Set(images.flatMap((image) => Object.values(image.predictions).flatMap(Object.keys)));
  options($("network"), { "": [...networks].map((name) => [name, name]) });
  $("network").parentElement.hidden = networks.size < 2;
  $("predictions").querySelector(".choices").hidden = !images.length;
  $("pictures-caption").textContent = benchmark.pictures.caption;
  if (!images.length) $("class-legend").replaceChildren();
}

function pictureControls() {
  const grid = $("pictures");
  for (const id of ["picture", "network", "blend"]) $(id).addEventListener("change", () => soon(drawPictures));
  $("zoom-in").addEventListener("click", () => zoomBy(1.5));
  $("zoom-out").addEventListener("click", () => zoomBy(1 / 1.5));
  $("zoom-reset").addEventListener("click", () => move({ zoom: 1 }));
  grid.addEventListener("keydown", key);
  grid.addEventListener("dblclick", (event) => event.target.closest(".view") && zoomBy(2, ...within(event, event.target.closest(".view"))));
  grid.addEventListener("wheel", (event) => {
    const box = event.target.closest(".view");
    if (!box || !event.ctrlKey) return; // a bare wheel scrolls the page; pinching on a touchpad arrives with ctrl
    event.preventDefault();
    zoomBy(Math.exp(-event.deltaY / 200), ...within(event, box));
  }, { passive: false });
  grid.addEventListener("pointerdown", (event) => fingers.set(event.pointerId, event));
  for (const end of ["pointerup", "pointercancel", "pointerleave"]) window.addEventListener(end, (event) => fingers.delete(event.pointerId));
  grid.addEventListener("pointermove", (event) => { hover(event); drag(event); });
}

pictureControls();
start();
