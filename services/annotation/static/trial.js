// The page of a trial: the clock, keys, one answer that is sent until the service has it, and the pictures of the next
// trial. The service's clock alone decides whether an answer was in time; this one only shows it.
import { isTyping } from "./keys.js";

const PREFIX = "primitives.trial.";
const RETRY_MS = 1000;
const SETTLE_MS = 300; // a key that was meant for the trial before does not answer this one
const SOON_S = 5;

const form = document.querySelector("#trial");
if (form === null) {
  sendLate();
  (document.querySelector("#next") ?? document.querySelector("#back"))?.focus();
} else {
  startTrial(form);
}

function startTrial(trial) {
  const kept = PREFIX + trial.dataset.trial;
  const state = document.querySelector("#trial-state");
  const pause = document.querySelector("#pause");
  const shownAt = performance.now();
  const remaining = Number(trial.dataset.remaining);
  const unsent = localStorage.getItem(kept); // an answer that this browser could not send before
  let choice = null;
  let over = false;

  forgetOthers(kept);
  prefetch(trial);
  window.setTimeout(() => trial.classList.add("ready"), SETTLE_MS);
  trial.addEventListener("submit", (event) => {
    event.preventDefault();
    answer(event.submitter?.value);
  });
  document.addEventListener("keydown", (event) => {
    if (event.repeat || event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target)) return;
    if (event.key === "p") pause.checked = !pause.checked;
    else if (/^[1-9]$/.test(event.key) && Number(event.key) <= Number(trial.dataset.options)) answer(event.key);
    else return;
    event.preventDefault();
  });
  const ticking = window.setInterval(tick, 100);
  tick();
  if (unsent !== null) answer(unsent);

  function tick() {
    const left = Math.max(0, remaining - (performance.now() - shownAt) / 1000);
    document.querySelector("#seconds").textContent = String(Math.ceil(left));
    document.querySelector("#time").value = left;
    document.querySelector(".clock").classList.toggle("soon", left <= SOON_S);
    if (left > 0) return;
    window.clearInterval(ticking);
    over = true;
    if (choice === null) end();
  }

  // The patches disappear with the time, as they do for a reader who opens the page again.
  function end() {
    trial.hidden = true;
    document.querySelector("#ended").hidden = false;
    (document.querySelector("#next") ?? document.querySelector("#back")).focus();
  }

  function answer(value) {
    const isEarly = !trial.classList.contains("ready") && unsent === null;
    if (choice !== null || over || isEarly || value === undefined) return;
    choice = value;
    localStorage.setItem(kept, value);
    trial.setAttribute("aria-busy", "true");
    trial.querySelector(`.option[value="${value}"]`).classList.add("chosen");
    send();
  }

  async function send() {
    const fields = [["csrf", trial.elements.csrf.value], ["choice", choice]];
    if (pause.checked) fields.push(["pause", "yes"]);
    const action = trial.getAttribute("action");
    const found = await fetch(action, { method: "POST", body: new URLSearchParams(fields) }).catch(() => null);
    if (found === null || found.status >= 500) {
      show(`No connection. Your answer, patch ${choice}, is sent again until it is saved; it counts if it arrives in time.`);
      window.setTimeout(send, RETRY_MS);
    } else if (found.ok) {
      localStorage.removeItem(kept);
      window.location.replace(found.url);
    } else if (found.status === 401) {
      show("Your session has ended. Sign in and open this trial again: your answer is kept in this browser.");
    } else if (found.status === 403 && unsent === null) {
      window.location.reload(); // the page belongs to an earlier session; the new one sends the answer
    } else {
      localStorage.removeItem(kept);
      window.location.replace(action);
    }
  }

  function show(text) {
    state.textContent = text;
    state.hidden = false;
  }
}

function prefetch(trial) {
  if (trial.dataset.next === undefined) return;
  const numbers = Array.from({ length: Number(trial.dataset.options) }, (_, at) => at + 1);
  window.addEventListener("load", () => {
    for (const number of numbers) new Image().src = `${trial.dataset.next}/pictures/${number}.jpg`;
  });
}

// An answer that this browser could not send in time is recorded as late.
function sendLate() {
  const late = document.querySelector("#late");
  const kept = late === null ? "" : PREFIX + late.dataset.trial;
  const choice = localStorage.getItem(kept);
  forgetOthers("");
  if (choice === null) return;
  late.elements.choice.value = choice;
  late.submit();
}

// The page of another trial means that what was sent has been saved, or that its time has passed.
function forgetOthers(kept) {
  for (const name of Object.keys(localStorage)) {
    if (name.startsWith(PREFIX) && name !== kept) localStorage.removeItem(name);
  }
}
