// The viewer: the current patch, and its mammogram with the patch outlined, in one window of grey levels.
import { drawGrey, loadGrey, ownWindow } from "./grey.js";
import { View } from "./view.js";

const SETTLED_MS = 200;
const GRID = 256; // parts of a mammogram begin and end at multiples of it, so that the browser's cache knows them
const narrow = window.matchMedia("(max-width: 63.99rem)");

export function startViewer(root) {
  const element = root.querySelector("#viewer");
  const dialog = root.querySelector("#enlarged");
  const home = element.parentElement;
  const follower = element.nextElementSibling;
  const [level, width] = [element.querySelector("#level"), element.querySelector("#window")];
  const shown = { picture: null, patch: null, overview: null, detail: null, region: "" };
  let waiting = 0;
  const onWindow = (across, up) => adjust(-up, 1 + across);
  const patch = new View(element.querySelector("#patch-view"), { onWindow });
  const mammogram = new View(element.querySelector("#mammogram-view"), { onWindow, onMove: () => laterDetail() });
  const views = { patch, overview: mammogram };
  const chosen = {}; // the window that the reader has chosen, by bits

  element.hidden = false;
  for (const slider of [level, width]) slider.addEventListener("input", () => choose(Number(level.value), Number(width.value)));
  element.querySelector("#reset-view").addEventListener("click", reset);
  element.querySelector("#enlarge-view").addEventListener("click", () => shown.picture !== null && enlarge(shown.picture));
  dialog.querySelector("#enlarged-close").addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  dialog.addEventListener("close", () => home.insertBefore(element, follower));

  // On a narrow screen, only the dialog shows the viewer, so nothing is loaded before.
  function show(picture) {
    if (shown.picture === picture || (narrow.matches && !dialog.open)) return;
    Object.assign(shown, { picture, patch: null, overview: null, detail: null, region: "" });
    element.querySelector("figcaption").replaceChildren(...captionOf(picture));
    load("patch", picture, picture.dataset.source ?? picture.querySelector("img").getAttribute("src"));
    const { mammogram: preview, mammogramSource: source, box } = picture.dataset;
    element.classList.toggle("alone", box === undefined);
    if (box === undefined) return;
    load("overview", picture, picture.dataset.deep === undefined ? preview : source);
    shown.isAimed = false;
  }

  async function load(part, picture, address) {
    const grey = await loadGrey(address).catch(() => null);
    if (shown.picture !== picture) return;
    shown[part] = grey;
    if (grey === null) views[part].show(1, 1, []); // nothing, rather than the picture before
    draw();
    if (part === "patch") next(picture);
  }

  // The patch after this one is fetched while the reader looks at this one.
  function next(picture) {
    const source = picture.closest("li")?.nextElementSibling?.querySelector(".picture")?.dataset.source;
    if (source !== undefined) window.requestIdleCallback?.(() => loadGrey(source).catch(() => null));
  }

  function draw() {
    if (shown.patch !== null) {
      const { height, width: across } = shown.patch;
      patch.show(height, across, [layerOf(shown.patch, { row: 0, column: 0, height, width: across })]);
    }
    if (shown.overview !== null) {
      const [height, across] = sizeOf(shown.picture);
      const layers = [layerOf(shown.overview, { row: 0, column: 0, height, width: across })];
      if (shown.detail !== null) layers.push(layerOf(shown.detail.grey, shown.detail.region));
      mammogram.show(height, across, layers, boxOf(shown.picture));
      if (!shown.isAimed) mammogram.aim(); // once for each patch: then the reader moves it
      shown.isAimed = true;
      laterDetail();
    }
    report();
  }

  function layerOf(grey, place) {
    return { canvas: drawGrey(grey, windowOf(grey)), ...place };
  }

  // The part of a mammogram that is shown takes the window of the whole one.
  function windowOf(grey) {
    const whole = grey === shown.detail?.grey ? shown.overview : grey;
    whole.own ??= ownWindow(whole);
    return chosen[grey.bits] ?? whole.own;
  }

  function report() {
    const grey = shown.patch ?? shown.overview;
    if (grey === null) return;
    const { centre, width: span } = windowOf(grey);
    const highest = grey.bits === 8 ? 255 : Math.ceil(grey.own.centre + grey.own.width);
    Object.assign(level, { max: Math.max(highest, Math.ceil(centre)), value: Math.round(centre) });
    Object.assign(width, { max: Math.max(highest + 1, Math.ceil(span)), value: Math.round(span) });
    element.querySelector("#window-text").textContent = `${Math.round(centre)} / ${Math.round(span)}, ${grey.bits} bits`;
  }

  function choose(centre, span, bits = (shown.patch ?? shown.overview)?.bits) {
    if (bits === undefined) return;
    chosen[bits] = { centre, width: Math.max(2, span) };
    draw();
  }

  // Moves the level by a part of the window, and multiplies the window, of patch and mammogram.
  function adjust(part, factor) {
    const seen = new Set();
    for (const grey of [shown.patch, shown.overview]) {
      if (grey === null || seen.has(grey.bits)) continue;
      seen.add(grey.bits);
      const { centre, width: span } = windowOf(grey);
      choose(centre + part * span, span * factor, grey.bits);
    }
  }

  // The mammogram where it is larger than its overview: from the full one, a moment after the last movement.
  function laterDetail() {
    window.clearTimeout(waiting);
    waiting = window.setTimeout(loadDetail, SETTLED_MS);
  }

  async function loadDetail() {
    const source = shown.picture?.dataset.mammogramSource;
    if (source === undefined || shown.overview === null || mammogram.zoom === 1) return;
    const [rows, columns] = sizeOf(shown.picture);
    if (mammogram.scale * window.devicePixelRatio < shown.overview.height / rows) return;
    const region = onGrid(mammogram.visible, rows, columns);
    const address = `${source}?region=${[region.row, region.column, region.height, region.width].join("-")}`;
    if (shown.region === address) return;
    shown.region = address;
    const grey = await loadGrey(address).catch(() => null);
    if (shown.region !== address || grey === null) return;
    shown.detail = { grey, region };
    draw();
  }

  function enlarge(picture) {
    if (!dialog.open) {
      dialog.append(element);
      dialog.showModal();
    }
    show(picture);
    dialog.querySelector("#enlarged-caption").replaceChildren(...captionOf(picture));
  }

  function reset() {
    for (const bits of [8, 16]) delete chosen[bits];
    patch.reset();
    mammogram.reset();
    draw();
  }

  // The view that keys act on: the one with the focus, or else the patch.
  function active() {
    return document.activeElement === mammogram.canvas ? mammogram : patch;
  }

  return {
    show,
    enlarge,
    isEnlarged: () => dialog.open,
    adjust,
    reset,
    zoom: (factor) => active().zoomIn(factor),
    pan: (across, down) => active().panBy(across * active().canvas.clientWidth, down * active().canvas.clientHeight),
    other: () => (active() === patch ? mammogram : patch).canvas.focus(),
  };
}

function sizeOf(picture) {
  return picture.dataset.size.split(" ").map(Number);
}

// The box of a patch in pixels of the mammogram.
function boxOf(picture) {
  const [row, column, height, width] = picture.dataset.box.split(" ").map(Number);
  return { row, column, height, width };
}

function onGrid({ row, column, height, width }, rows, columns) {
  const first = (at) => Math.floor(at / GRID) * GRID;
  const last = (at, most) => Math.min(most, Math.ceil(at / GRID) * GRID);
  const [top, left] = [first(row), first(column)];
  return { row: top, column: left, height: last(row + height, rows) - top, width: last(column + width, columns) - left };
}

function captionOf(picture) {
  const facts = [`Picture ${picture.dataset.rank}`];
  if (picture.dataset.caption) facts.push(picture.dataset.caption);
  if (picture.dataset.class !== undefined) {
    facts.push(picture.dataset.class);
    if (picture.dataset.phenomenon) facts.push(picture.dataset.phenomenon);
  }
  const nodes = [line(facts.join(" · "), "what")];
  if (picture.dataset.patch !== undefined) nodes.push(line(picture.dataset.patch, "patch-name"));
  return nodes;
}

function line(text, kind) {
  const node = document.createElement("span");
  node.className = kind;
  node.textContent = text;
  return node;
}
