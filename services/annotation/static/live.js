// Keeps a page right while it is open: a list, a build, an import, or the stages of a plan, by server-sent events.
const ENDED = ["completed", "failed", "cancelled"];

for (const list of document.querySelectorAll("[data-list]")) watch(list.dataset.list, (view) => showList(list, view));
for (const task of document.querySelectorAll("[data-task]")) watchTask(task);
for (const plan of document.querySelectorAll("[data-plan]")) watchPlan(plan);

// Shows the buttons that the state of a task allows.
export function showControls(state) {
  for (const form of document.querySelectorAll("#controls [data-states]")) {
    form.hidden = !form.dataset.states.split(" ").includes(state);
  }
}

function watch(address, show) {
  const events = new EventSource(address);
  events.addEventListener("message", ({ data }) => {
    const view = JSON.parse(data);
    show(view);
    if (view.over || ENDED.includes(view.state)) events.close();
  });
}

function showList(list, { runs }) {
  const shown = new Map([...list.querySelectorAll("[data-row]")].map((row) => [row.dataset.row, row]));
  for (const run of runs) {
    const row = shown.get(run.run_id);
    if (row === undefined) {
      document.querySelector("#newer").hidden = false;
      continue;
    }
    setText(row.querySelector("[data-cell=name]"), run.name || run.run_id);
    setText(row.querySelector("[data-cell=epochs]"), `${run.epochs} of ${run.of_epochs}`);
    setText(row.querySelector("[data-cell=auc]"), run.auc);
    showState(row.querySelector(".badge"), run.state);
  }
}

function watchTask(task) {
  if (ENDED.includes(task.dataset.state)) return;
  watch(task.dataset.task, (view) => {
    showStage(task, view);
    showControls(view.state);
    if (ENDED.includes(view.state)) window.location.reload();
  });
}

function watchPlan(plan) {
  if (plan.dataset.ended === "yes") return;
  watch(plan.dataset.plan, (view) => {
    for (const stage of view.stages) showStage(document.querySelector(`[data-stage=${stage.name}]`), stage);
    showControls(view.controlled);
    showState(document.querySelector("#plan-state .badge"), view.plan_state);
    if (view.finished) window.location.reload();
  });
}

function showStage(element, { state, error, progress }) {
  showState(element.querySelector(".badge"), state);
  const { phase, done, total, unit } = progress;
  const working = !ENDED.includes(state) && total > 0;
  setText(element.querySelector("[data-part=phase]"), working ? `${phase}: ${Math.round(done)} of ${total} ${unit}` : "");
  const bar = element.querySelector("progress");
  bar.hidden = !working;
  bar.max = Math.max(total, 1);
  bar.value = done;
  const trouble = element.querySelector("[data-part=error]");
  setText(trouble, error);
  trouble.hidden = error === "";
}

function showState(badge, state) {
  setText(badge, state);
  badge.className = `badge state-${state}`;
}

function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}
