// Unfinished answers. Each change goes to the service, and to this browser until the service has it, so that a lost
// connection or an ended session loses no word. The service keeps drafts as history; they are no answers.
const PREFIX = "primitives.draft.";
const WAIT_MS = 1200;
const RETRY_MS = 5000;
const IDLE_MS = 30000; // without a key or click for so long, the reader is away

export function startDrafts(form) {
  const kept = PREFIX + form.dataset.reading;
  const state = form.querySelector("#draft-state");
  const shownAt = performance.now();
  let active = 0;
  let lastAction = shownAt;
  let timer = 0;
  let sending = false;
  let changed = form.dataset.typed !== undefined;

  forgetSent();
  restore();
  for (const type of ["keydown", "pointerdown"]) document.addEventListener(type, countAction, true);
  document.addEventListener("input", onInput);
  window.addEventListener("online", send);
  form.addEventListener("submit", (event) => {
    if (sending) {
      event.preventDefault();
      return;
    }
    if (!navigator.onLine) {
      event.preventDefault();
      show("No connection. Your answer is kept in this browser; please save it again when you are connected.");
      return;
    }
    sending = true;
    window.clearTimeout(timer);
    countAction();
    form.elements.active_s.value = (active / 1000).toFixed(3);
    form.querySelector("#save").setAttribute("aria-disabled", "true");
    remember(true);
  });
  window.addEventListener("pageshow", () => {
    sending = false;
    form.querySelector("#save").removeAttribute("aria-disabled");
  });
  window.addEventListener("beforeunload", (event) => {
    if (changed && !sending) event.preventDefault();
  });
  document.querySelector("#keep-saved")?.addEventListener("click", forget);

  function countAction() {
    const now = performance.now();
    if (form.elements.first_action_s.value === "") form.elements.first_action_s.value = ((now - shownAt) / 1000).toFixed(3);
    active += Math.min(now - lastAction, IDLE_MS);
    lastAction = now;
  }

  function onInput(event) {
    if (event.target.form !== form || event.target.name === "") return;
    changed = true;
    remember();
    show("");
    window.clearTimeout(timer);
    timer = window.setTimeout(send, WAIT_MS);
  }

  function fields() {
    return [...new FormData(form)].filter(([name]) => name === "misfit" || name.startsWith("answer."));
  }

  function remember(sent = false) {
    localStorage.setItem(kept, JSON.stringify({ base: form.elements.base_version.value, fields: fields(), sent }));
  }

  // The page of another reading means that what was sent has been saved.
  function forgetSent() {
    for (const name of Object.keys(localStorage).filter((one) => one.startsWith(PREFIX) && one !== kept)) {
      if (JSON.parse(localStorage.getItem(name)).sent) localStorage.removeItem(name);
    }
  }

  function forget() {
    changed = false;
    localStorage.removeItem(kept);
  }

  // What this browser kept is newer than the page if the answer has not been saved since.
  function restore() {
    const text = localStorage.getItem(kept);
    if (text === null) return;
    const { base, fields: saved } = JSON.parse(text);
    if (base !== form.elements.base_version.value) {
      localStorage.removeItem(kept);
      return;
    }
    if (JSON.stringify(saved) === JSON.stringify(fields())) return;
    const values = new Map();
    for (const [name, value] of saved) values.set(name, [...(values.get(name) ?? []), value]);
    for (const field of form.elements) {
      if (field.type === "radio" || field.type === "checkbox") field.checked = (values.get(field.name) ?? []).includes(field.value);
      else if (field.name.startsWith("answer.")) field.value = (values.get(field.name) ?? [""])[0];
    }
    form.dispatchEvent(new Event("input"));
    changed = true;
    show("Restored what you typed before.");
  }

  async function send() {
    if (!changed || sending) return;
    const body = new URLSearchParams([...fields(), ["csrf", form.elements.csrf.value], ["base_version", form.elements.base_version.value]]);
    const answer = await fetch(`${form.getAttribute("action")}/draft`, { method: "POST", body }).catch(() => null);
    if (sending) return;
    if (answer === null || answer.status >= 500) {
      show("No connection. What you typed is kept in this browser.");
      timer = window.setTimeout(send, RETRY_MS);
    } else if (answer.ok && !answer.redirected) {
      show("Draft kept");
    } else if (answer.status === 409) {
      show("This answer was changed elsewhere. Saving shows both.");
    } else {
      show("Your session has ended. Save to sign in again; nothing is lost.");
    }
  }

  function show(text) {
    state.textContent = text;
  }
}
