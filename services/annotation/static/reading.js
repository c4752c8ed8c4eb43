// The page of a reading: patches with their mammogram, the questions, unfinished answers, and keyboard shortcuts.
import { startDrafts } from "./drafts.js";
import { startGallery } from "./gallery.js";
import { startQuestions } from "./questions.js";
import { startReadingKeys } from "./reading_keys.js";
import { startViewer } from "./viewer.js";

const viewer = startViewer(document);
const gallery = startGallery(document, viewer);
gallery.showFirst();
const form = document.querySelector("#questions");
if (form !== null) {
  const questions = startQuestions(form);
  startDrafts(form);
  startReadingKeys(document, form, { gallery, questions, viewer });
}

// The pictures of the next item are fetched while the reader judges this one.
const upcoming = document.querySelector("#upcoming");
if (upcoming !== null) {
  window.requestIdleCallback?.(async () => {
    const page = await fetch(upcoming.href).catch(() => null);
    if (page === null || !page.ok) return;
    const next = new DOMParser().parseFromString(await page.text(), "text/html");
    for (const image of next.querySelectorAll(".picture img")) new Image().src = image.getAttribute("src");
    const source = next.querySelector(".picture")?.dataset.source;
    if (source !== undefined) await fetch(source).catch(() => null);
  });
}
