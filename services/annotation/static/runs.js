// The pages of runs. The curves grow while a run is active.
import { drawChart } from "./charts.js";
import { showControls } from "./live.js";

const FIELDS = ["train_loss", "train_auc", "val_loss", "val_auc", "learning_rate"];
const ENDED = ["completed", "failed", "cancelled"];

const one = document.querySelector("#run");
const several = document.querySelector("#compared");
if (one !== null) showRun(one);
if (several !== null) compare(several);

function showRun(page) {
  const redraw = [...page.querySelectorAll("[data-chart]")].map((element) => {
    const names = element.dataset.chart.split(" ");
    const labels = element.dataset.labels.split(" ");
    const series = (epochs) => names.map((name, index) => ({ label: labels[index], points: points(epochs, name) }));
    const draw = drawChart(element, series(JSON.parse(page.dataset.curves).epochs));
    return (epochs) => draw(series(epochs));
  });
  if (ENDED.includes(page.dataset.state)) return;
  const events = new EventSource(page.dataset.events);
  events.addEventListener("message", ({ data }) => {
    const run = JSON.parse(data);
    redraw.forEach((draw) => draw(run.epochs));
    showProgress(run);
    if (ENDED.includes(run.state)) events.close();
  });
}

function compare(page) {
  const runs = [...page.querySelectorAll("[data-curves]")].map(({ dataset }) => JSON.parse(dataset.curves));
  for (const element of page.querySelectorAll("[data-chart]")) {
    const name = element.dataset.chart;
    drawChart(element, runs.map(({ name: label, epochs }) => ({ label, points: points(epochs, name) })));
  }
}

function points(epochs, name) {
  return epochs.filter((epoch) => epoch[name] !== null).map((epoch) => [epoch.epoch, epoch[name]]);
}

function showProgress(run) {
  const badge = document.querySelector("#state .badge");
  badge.textContent = run.state;
  badge.className = `badge state-${run.state}`;
  showControls(run.state);
  const { phase, done, total, unit } = run.progress;
  const ended = ENDED.includes(run.state);
  document.querySelector("#phase").textContent = ended
    ? (run.last_checkpoint ? "Reload the page to see the checkpoints." : "")
    : (total === 0 ? "" : `${phase}: ${done} of ${total} ${unit}`);
  const trouble = document.querySelector("#trouble");
  trouble.textContent = run.error;
  trouble.hidden = run.error === "";
  const bar = document.querySelector("#progress");
  bar.hidden = ended;
  bar.max = Math.max(total, 1);
  bar.value = done;
  const rows = document.querySelector("#epochs");
  for (const epoch of run.epochs.slice(rows.children.length)) rows.append(row(epoch));
}

function row(epoch) {
  const line = document.createElement("tr");
  const head = document.createElement("th");
  head.scope = "row";
  head.textContent = epoch.epoch;
  line.append(head);
  for (const name of FIELDS) {
    const cell = document.createElement("td");
    cell.className = "number";
    cell.textContent = epoch[name] === null ? "–" : Number(epoch[name].toPrecision(4)).toString();
    line.append(cell);
  }
  return line;
}
