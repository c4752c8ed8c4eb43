// Curves over epochs. Colours are those of the page, in light and dark; uPlot draws (static/vendor/uplot).
const INKS = ["--accent", "--outline", "--good", "--bad", "--soft", "--ink"];
const DASHES = [[], [6, 4], [], [6, 4], [2, 3], [10, 4]];
const HEIGHT = 240;

// Draw series of one chart; returns a function that draws them again with other data.
export function drawChart(element, series) {
  const colour = (name) => getComputedStyle(element).getPropertyValue(name).trim();
  // At most four significant digits, and as many as it takes: a learning rate is no 0.000.
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
  tellIfEmpty(first);
  new ResizeObserver(() => chart.setSize({ width: element.clientWidth, height: HEIGHT })).observe(element);
  return (newest) => {
    const data = table(newest);
    chart.setData(data);
    tellIfEmpty(data);
  };

  function tellIfEmpty([epochs]) {
    element.classList.toggle("empty", epochs.length === 0);
  }
}

// Columns as uPlot takes them: the epochs of all series, and each series' value there, or null.
function table(series) {
  const epochs = [...new Set(series.flatMap(({ points }) => points.map(([epoch]) => epoch)))].sort((a, b) => a - b);
  const columns = series.map(({ points }) => {
    const values = new Map(points);
    return epochs.map((epoch) => values.get(epoch) ?? null);
  });
  return [epochs, ...columns];
}
