// The questions: shows those that apply, filters the terms, and knows the current question.
export function startQuestions(form) {
  const all = [...form.querySelectorAll("[data-question]")];
  for (const question of all.filter((one) => one.classList.contains("terms"))) startTerms(question);
  form.addEventListener("input", showApplicable);
  showApplicable();
  form.querySelector("[aria-invalid=true]")?.focus();

  function showApplicable() {
    for (const question of all) {
      const applies = isApplicable(question);
      question.hidden = !applies;
      for (const field of question.querySelectorAll("input, textarea")) field.disabled = !applies;
    }
  }

  function isApplicable(question) {
    if (question.dataset.onlyIf === undefined) return true;
    const given = form.elements[`answer.${question.dataset.onlyIf}`]?.value;
    return question.dataset.among.split(" ").includes(given);
  }

  function shown() {
    return all.filter((question) => !question.hidden);
  }

  // The question that has the focus, or else the first one without a choice.
  function current() {
    const focused = shown().find((question) => question.contains(document.activeElement));
    return focused ?? shown().find((question) => !isAnswered(question)) ?? shown()[0];
  }

  function choose(number) {
    const question = current();
    const choice = question.querySelectorAll("input[type=radio]")[number - 1];
    if (choice === undefined) return;
    choice.checked = true;
    choice.dispatchEvent(new Event("input", { bubbles: true }));
    const next = shown()[shown().indexOf(question) + 1];
    if (next?.querySelector("input") != null) focusIn(next);
    else choice.focus(); // a text field would take the next keys as text
  }

  function step(by, from = current()) {
    const next = shown()[shown().indexOf(from) + by];
    if (next !== undefined) focusIn(next);
  }

  function findTerm() {
    const question = shown().find((one) => one.classList.contains("terms"));
    question?.querySelector(".find input").focus();
  }

  return { choose, findTerm, step };
}

function isAnswered(question) {
  return question.querySelector("input:checked") !== null || (question.querySelector("textarea")?.value ?? "") !== "";
}

function focusIn(question) {
  (question.querySelector("input:checked") ?? question.querySelector("input:not([type=hidden]), textarea")).focus();
}

function startTerms(question) {
  const find = question.querySelector(".find");
  const input = find.querySelector("input");
  const labels = [...question.querySelectorAll(".term-list label")];
  find.hidden = false;
  input.addEventListener("input", (event) => {
    event.stopPropagation(); // the filter is no answer
    filter();
  });
  input.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    const first = labels.find((label) => !label.hidden && input.value.trim() !== "");
    if (first === undefined) return;
    const box = first.querySelector("input");
    box.checked = !box.checked;
    input.value = "";
    filter();
    box.dispatchEvent(new Event("input", { bubbles: true }));
  });
  question.addEventListener("input", showChosenFirst);
  showChosenFirst();

  function filter() {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const label of labels) {
      const title = label.textContent.toLowerCase();
      label.hidden = !words.every((word) => title.includes(word));
    }
    for (const group of question.querySelectorAll(".term-group")) {
      group.hidden = group.querySelector("label:not([hidden])") === null;
    }
  }

  function showChosenFirst() {
    const chosen = labels.filter((label) => label.querySelector("input").checked);
    for (const label of labels) label.classList.toggle("chosen", chosen.includes(label));
    question.querySelector("legend").dataset.chosen = chosen.length === 0 ? "" : String(chosen.length);
  }
}
