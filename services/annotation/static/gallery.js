// Pictures, and the position in the mammogram where each was cut. A mammogram loads when the reader points at a picture.
const POINTING_MS = 90; // moving quickly over pictures loads nothing
const narrow = window.matchMedia("(max-width: 63.99rem)");

// `view` shows the current picture, and enlarges one.
export function startGallery(root, view = startFrames(root)) {
  const pictures = () => [...root.querySelectorAll(".picture")].filter((one) => one.offsetParent !== null);
  let current = null;
  let pointing = 0;

  for (const picture of root.querySelectorAll(".picture")) {
    picture.tabIndex = -1;
    picture.addEventListener("pointerenter", (event) => {
      if (event.pointerType === "mouse") {
        pointing = window.setTimeout(() => show(picture), POINTING_MS);
      }
    });
    picture.addEventListener("pointerleave", () => window.clearTimeout(pointing));
    picture.addEventListener("focus", () => show(picture));
    picture.addEventListener("click", () => enlarge(picture));
    picture.addEventListener("keydown", (event) => moveInGrid(event, picture));
  }
  if (pictures().length > 0) pictures()[0].tabIndex = 0;
  const pointedAt = root.querySelector(".picture:hover"); // the pointer was there before this script ran
  if (pointedAt !== null) show(pointedAt);

  function show(picture) {
    current?.classList.remove("current");
    if (current !== null) current.tabIndex = -1;
    current = picture;
    picture.classList.add("current");
    picture.tabIndex = 0;
    view.show(picture);
  }

  function enlarge(picture) {
    show(picture);
    view.enlarge(picture);
  }

  function step(by) {
    const all = pictures();
    const at = all.indexOf(current);
    const next = all[Math.min(Math.max(at === -1 ? 0 : at + by, 0), all.length - 1)];
    next?.focus();
    if (view.isEnlarged() && next !== undefined) enlarge(next);
  }

  function moveInGrid(event, picture) {
    const columns = getComputedStyle(picture.closest(".grid")).gridTemplateColumns.split(" ").length;
    const by = { ArrowUp: -columns, ArrowDown: columns }[event.key];
    if (by !== undefined && !event.ctrlKey && !event.metaKey && !event.altKey) {
      event.preventDefault();
      step(by);
    }
  }

  return { step, showFirst: () => current === null && pictures().length > 0 && show(pictures()[0]) };
}

// A pane with the preview of the mammogram, and a dialog with the same, larger.
function startFrames(root) {
  const pane = root.querySelector("#pane");
  const dialog = root.querySelector("#enlarged");
  pane.hidden = false;
  dialog.querySelector("#enlarged-close").addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());

  function show(picture) {
    if (narrow.matches) return;
    pane.querySelector(".placeholder").hidden = picture.dataset.box !== undefined;
    pane.querySelector(".placeholder").textContent = "The data set has no full mammogram of this patch.";
    outline(pane.querySelector(".frame"), picture);
    pane.querySelector("figcaption").replaceChildren(...captionOf(picture));
  }

  function enlarge(picture) {
    if (picture.dataset.box === undefined) return;
    outline(dialog.querySelector(".frame"), picture);
    dialog.querySelector("#enlarged-caption").replaceChildren(...captionOf(picture));
    if (!dialog.open) dialog.showModal();
  }

  return { show, enlarge, isEnlarged: () => dialog.open };
}

// The content security policy refuses style attributes, so this sets the styles of the box by script.
function outline(frame, picture) {
  frame.hidden = picture.dataset.box === undefined;
  if (frame.hidden) return;
  const [top, left, height, width] = picture.dataset.box.split(" ");
  const image = frame.querySelector("img");
  if (image.getAttribute("src") !== picture.dataset.mammogram) {
    image.src = picture.dataset.mammogram;
    image.alt = `Full mammogram, ${picture.dataset.caption}`;
  }
  Object.assign(frame.querySelector(".box").style, {
    top: `${top}%`,
    left: `${left}%`,
    height: `${height}%`,
    width: `${width}%`,
  });
}

export function captionOf(picture) {
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
