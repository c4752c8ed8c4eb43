// Window and level of the patches and of the mammogram, as brightness and contrast of the displayed pictures.
const STEP = 10;

export function startWindow(root) {
  const controls = root.querySelector(".window");
  const level = root.querySelector("#level");
  const width = root.querySelector("#window");
  const sheet = new CSSStyleSheet();
  document.adoptedStyleSheets = [...document.adoptedStyleSheets, sheet];
  controls.hidden = false;
  for (const slider of [level, width]) slider.addEventListener("input", apply);
  root.querySelector("#reset-window").addEventListener("click", reset);

  function apply() {
    const filter = `brightness(${level.value}%) contrast(${width.value}%)`;
    sheet.replaceSync(`.picture img, .frame img { filter: ${filter}; }`);
  }

  function change(by) {
    level.value = Number(level.value) + by * STEP;
    apply();
  }

  function reset() {
    level.value = 100;
    width.value = 100;
    apply();
  }

  return { change, reset };
}
