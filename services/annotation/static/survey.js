// The survey page: pictures with their viewer, the form, and keyboard shortcuts.
import { startForm } from "./form.js";
import { startGallery } from "./gallery.js";
import { startKeys } from "./keys.js";
import { startViewer } from "./viewer.js";

const form = document.querySelector("form.answer");
if (form !== null) {
  const viewer = startViewer(document);
  const gallery = startGallery(document, viewer);
  gallery.showFirst();
  startForm(form);
  startKeys(document, form, { gallery, viewer });
}
