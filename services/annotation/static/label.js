// The page of a label: patches with their mammogram, and the questions.
import { startGallery } from "./gallery.js";
import { isTyping } from "./keys.js";
import { startQuestions } from "./questions.js";
import { startViewer } from "./viewer.js";
import { viewerKeys } from "./viewer_keys.js";

const viewer = startViewer(document);
startGallery(document, viewer).showFirst();
startQuestions(document.querySelector("#questions"));
const act = viewerKeys(viewer);
document.addEventListener("keydown", (event) => {
  const isShortcut = !event.ctrlKey && !event.metaKey && !event.altKey && !isTyping(event.target);
  if (isShortcut && act(event)) event.preventDefault();
});
