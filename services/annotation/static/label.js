// The page of a label: patches with their mammogram, and the questions.
import { startGallery } from "./gallery.js";
import { startQuestions } from "./questions.js";

startGallery(document);
startQuestions(document.querySelector("#questions"));
