// The survey page: the mammogram of a picture, the questions that depend on each other, and the keys.
import { startForm } from "./form.js";
import { startGallery } from "./gallery.js";
import { startKeys } from "./keys.js";

const form = document.querySelector("form.answer");
if (form !== null) {
  const gallery = startGallery(document);
  startForm(form);
  startKeys(document, form, gallery);
}
