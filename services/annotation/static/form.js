// The questions: what does not apply is put aside, nothing typed is left by accident, and a form is sent once.
export function startForm(form) {
  const dependent = [...form.querySelectorAll("fieldset.dependent")];
  const text = form.querySelector("textarea");
  let changed = form.dataset.typed !== undefined;
  let sending = false;

  function putAside() {
    const no = form.elements.recognizable.value === "no";
    for (const fieldset of dependent) {
      fieldset.disabled = no;
      const notApplicable = fieldset.querySelector("[value=not_applicable]");
      if (no && !notApplicable.checked) {
        fieldset.before_ = fieldset.querySelector(":checked");
        notApplicable.checked = true;
      } else if (!no && fieldset.before_ !== undefined) {
        notApplicable.checked = false;
        if (fieldset.before_ !== null) fieldset.before_.checked = true;
        fieldset.before_ = undefined;
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
    putAside();
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
  putAside();
  showLength();
  form.querySelector("[aria-invalid=true]")?.focus();
}
