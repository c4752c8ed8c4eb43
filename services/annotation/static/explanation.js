// The view of an explained mammogram: which outlines are shown, the probability map, and the zoom.
const film = document.querySelector(".film");
const picture = document.querySelector("#mammogram");

for (const box of document.querySelectorAll("[data-shows]")) {
  const outlines = picture.querySelector(`[data-unit="${box.dataset.shows}"]`);
  follow(box, (shown) => outlines.classList.toggle("shown", shown));
}
for (const part of ["map", "tile"]) {
  const element = picture.querySelector(`#${part}`);
  follow(document.querySelector(`#show-${part}`), (shown) => element.classList.toggle("shown", shown));
}
for (const button of document.querySelectorAll("[data-zoom]")) button.addEventListener("click", () => zoom(button));

function follow(box, show) {
  box.addEventListener("change", () => show(box.checked));
  show(box.checked); // a browser may restore the boxes of an earlier visit
}

// Enlarges the mammogram. The explained tile stays in the middle.
function zoom(chosen) {
  for (const button of document.querySelectorAll("[data-zoom]")) {
    button.setAttribute("aria-pressed", String(button === chosen));
  }
  picture.style.width = `${100 * Number(chosen.dataset.zoom)}%`;
  const { width, height } = picture.viewBox.baseVal;
  const shown = picture.getBoundingClientRect();
  film.scrollTo({
    left: (Number(picture.dataset.column) / width) * shown.width - film.clientWidth / 2,
    top: (Number(picture.dataset.row) / height) * shown.height - film.clientHeight / 2,
  });
}
