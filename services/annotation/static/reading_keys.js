// Keyboard shortcuts of a reading. While the reader types, only Ctrl+Enter and Escape work.
import { isArrow, isTyping } from "./keys.js";
import { viewerKeys } from "./viewer_keys.js";

export function startReadingKeys(root, form, { gallery, questions, viewer }) {
  const dialog = root.querySelector("#keys");
  const help = root.querySelector("#help");
  help.hidden = false;
  help.addEventListener("click", () => dialog.showModal());
  dialog.querySelector("#keys-close").addEventListener("click", () => dialog.close());
  root.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      form.requestSubmit(root.querySelector("#save"));
    } else if (isTyping(event.target)) {
      if (event.key === "Escape") event.target.blur();
    } else if (!event.ctrlKey && !event.metaKey && !event.altKey && act(event)) {
      event.preventDefault();
    }
  });

  const actOnViewer = viewerKeys(viewer);
  const actions = {
    "[": () => questions.step(-1),
    "]": () => questions.step(1),
    t: () => questions.findTerm(),
    j: () => gallery.step(1),
    k: () => gallery.step(-1),
    x: toggleMisfit,
    s: () => root.querySelector("#skip")?.click(),
    n: () => root.querySelector("#next-unit")?.click(),
    p: () => root.querySelector("#previous-unit")?.click(),
    "?": () => dialog.showModal(),
  };

  function act(event) {
    if (actOnViewer(event)) return true;
    if (/^[1-9]$/.test(event.key)) questions.choose(Number(event.key));
    else if (isArrow(event, "ArrowRight")) gallery.step(1);
    else if (isArrow(event, "ArrowLeft")) gallery.step(-1);
    else if (event.key in actions) actions[event.key]();
    else return false;
    return true;
  }

  function toggleMisfit() {
    const box = root.querySelector(".picture.current")?.closest("li").querySelector("[name=misfit]");
    if (box === undefined || box.disabled) return;
    box.checked = !box.checked;
    box.dispatchEvent(new Event("input", { bubbles: true }));
  }
}
