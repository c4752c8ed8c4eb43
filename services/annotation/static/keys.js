// Keyboard shortcuts of the survey. While the reader types, only Ctrl+Enter works.
import { viewerKeys } from "./viewer_keys.js";

const ANSWERS = { 1: "yes", 2: "no", 3: "unsure" };
const REMEMBERED = "primitives.keys";

export function startKeys(root, form, { gallery, viewer }) {
  const help = root.querySelector("#shortcuts");
  const on = root.querySelector("#shortcuts-on");
  help.hidden = false;
  on.checked = localStorage.getItem(REMEMBERED) !== "off";
  on.addEventListener("change", () => localStorage.setItem(REMEMBERED, on.checked ? "on" : "off"));

  root.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      form.requestSubmit();
    } else if (on.checked && !event.ctrlKey && !event.metaKey && !event.altKey && !isTyping(event.target)) {
      if (act(event)) event.preventDefault();
    }
  });

  const actOnViewer = viewerKeys(viewer);

  function act(event) {
    if (actOnViewer(event)) return true;
    if (event.key in ANSWERS) choose(ANSWERS[event.key]);
    else if (event.key === "j" || isArrow(event, "ArrowRight")) gallery.step(1);
    else if (event.key === "k" || isArrow(event, "ArrowLeft")) gallery.step(-1);
    else if (event.key === "n") root.querySelector("#next-unit")?.click();
    else if (event.key === "p") root.querySelector("#previous-unit")?.click();
    else return false;
    return true;
  }

  function choose(answer) {
    const choice = form.querySelector(`[name=recognizable][value=${answer}]`);
    choice.checked = true;
    choice.dispatchEvent(new Event("input", { bubbles: true }));
  }
}

// In a group of radio buttons, the arrow keys change the choice.
export function isArrow(event, key) {
  return event.key === key && !event.target.matches("input");
}

export function isTyping(target) {
  return target.matches("textarea, input:not([type=radio], [type=checkbox], [type=range]), select, [contenteditable]");
}
