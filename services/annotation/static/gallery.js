// The pictures of a page, of which one is the current one: by pointing, by keyboard, or by a click, which enlarges it.
const POINTING_MS = 90; // moving quickly over pictures loads nothing

// `viewer` shows the current picture, and enlarges one.
export function startGallery(root, viewer) {
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
    viewer.show(picture);
  }

  function enlarge(picture) {
    show(picture);
    viewer.enlarge(picture);
  }

  function step(by) {
    const all = pictures();
    const at = all.indexOf(current);
    const next = all[Math.min(Math.max(at === -1 ? 0 : at + by, 0), all.length - 1)];
    next?.focus();
    if (viewer.isEnlarged() && next !== undefined) enlarge(next);
  }

  function moveInGrid(event, picture) {
    const columns = getComputedStyle(picture.closest(".grid")).gridTemplateColumns.split(" ").length;
    const by = { ArrowUp: -columns, ArrowDown: columns }[event.key];
    if (by !== undefined && !event.shiftKey && !event.ctrlKey && !event.metaKey && !event.altKey) {
      event.preventDefault();
      step(by);
    }
  }

  return { step, showFirst: () => current === null && pictures().length > 0 && show(pictures()[0]) };
}
