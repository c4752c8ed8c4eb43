// The survey page: pictures with their mammogram, the form, and keyboard shortcuts.
import { startForm } from "./form.js";
import { startGallery } from "./gallery.js";
import { startKeys } from "./keys.js";

const form = document.querySelector("form.answer");
if (form !== null) {
  const gallery = startGallery(document);
  startForm(form);
  startKeys(document, form, gallery);
}
