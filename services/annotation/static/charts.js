// Curves over epochs, drawn by uPlot (static/vendor/uplot) in the colours of the page, light or dark.
const INKS = ["--accent", "--outline", "--good", "--bad", "--soft", "--ink"];
const DASHES = [[], [6, 4], [], [6, 4], [2, 3], [10, 4]];
const HEIGHT = 240;

// Draws the series of one chart. Returns a function that redraws them with new data.
export function drawChart(element, series) {
  const colour = (name) => getComputedStyle(element).getPropertyValue(name).trim();
  // Up to four significant digits: a small learning rate must not become 0.000.
  const values = (_, ticks) => ticks.map((tick) => String(Number(tick.toPrecision(4))));
  const axis = { stroke: colour("--soft"), grid: { stroke: colour("--line"), width: 1 }, ticks: { stroke: colour("--line") } };
  const options = {
    width: element.clientWidth,
    height: HEIGHT,
    scales: { x: { time: false } },
    axes: [{ ...axis, label: "epoch", labelSize: 20, incrs: [1, 2, 5, 10, 20, 50, 100] }, { ...axis, size: 64, values }],
    series: [
      { label: "epoch" },
      ...series.map(({ label }, index) => ({
        label,
        stroke: colour(INKS[index % INKS.length]),
        dash: DASHES[index % DASHES.length],
        width: 2,
        points: { show: true, size: 6 },
        value: (_, value) => (value === null ? "–" : value.toPrecision(4)),
      })),
    ],
  };
  const first = table(series);
  const chart = new window.uPlot(options, first, element);
  markIfEmpty(first);
  new ResizeObserver(() => chart.setSize({ width: element.clientWidth, height: HEIGHT })).observe(element);
  return (newest) => {
    const data = table(newest);
    chart.setData(data);
    markIfEmpty(data);
  };

  function markIfEmpty([epochs]) {
    element.classList.toggle("empty", epochs.length === 0);
  }
}

// Columns for uPlot: the epochs of all series, then each series' values at these epochs, or null.
function table(series) {
  const epochs = [...new Set(series.flatMap(({ points }) => points.map(([epoch]) => epoch)))].sort((a, b) => a - b);
  const columns = series.map(({ points }) => {
    const values = new Map(points);
    return epochs.map((epoch) => values.get(epoch) ?? null);
  });
  return [epochs, ...columns];
}
