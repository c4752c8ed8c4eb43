// The questions: disables those that do not apply, warns before typed text is lost, and sends the form once.
export function startForm(form) {
  const dependent = [...form.querySelectorAll("fieldset.dependent")];
  const text = form.querySelector("textarea");
  let changed = form.dataset.typed !== undefined;
  let sending = false;

  function disableDependent() {
    const no = form.elements.recognizable.value === "no";
    for (const fieldset of dependent) {
      fieldset.disabled = no;
      const notApplicable = fieldset.querySelector("[value=not_applicable]");
      if (no && !notApplicable.checked) {
        fieldset.earlierChoice = fieldset.querySelector(":checked");
        notApplicable.checked = true;
      } else if (!no && fieldset.earlierChoice !== undefined) {
        notApplicable.checked = false;
        if (fieldset.earlierChoice !== null) fieldset.earlierChoice.checked = true;
        fieldset.earlierChoice = undefined;
      }
    }
  }

  function showLength() {
    const longest = Number(text.dataset.longest);
    const length = [...text.value].length;
    counter.textContent = length > longest * 0.9 ? `${length} of ${longest} characters` : "";
  }

  const counter = document.createElement("p");
  counter.className = "facts counter";
  counter.setAttribute("aria-live", "polite");
  text.after(counter);

  form.addEventListener("input", () => {
    changed = true;
    disableDependent();
    showLength();
  });
  form.addEventListener("submit", (event) => {
    if (sending) event.preventDefault();
    sending = true;
    form.querySelector("#save").setAttribute("aria-disabled", "true");
  });
  window.addEventListener("pageshow", () => {
    sending = false;
    form.querySelector("#save").removeAttribute("aria-disabled");
  });
  window.addEventListener("beforeunload", (event) => {
    if (changed && !sending) event.preventDefault();
  });
  document.querySelector("#keep-saved")?.addEventListener("click", () => {
    changed = false;
  });
  disableDependent();
  showLength();
  form.querySelector("[aria-invalid=true]")?.focus();
}
