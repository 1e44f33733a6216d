// Draws the table #flow as a chart, and again whenever it comes anew. Without this the table is
// what is seen; with it the table is for screen readers.
"use strict";

(() => {
  const HEIGHT = 240;
  const DAY = 86400;
  const TIME = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
  const DATE = new Intl.DateTimeFormat(undefined, { month: "short", day: "numeric" });
  const INSTANT = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
  // A line each: colour and dashes, so that nobody has to tell colours apart.
  const LINES = {
    Accepted: { color: "--muted", dash: [2, 3] },
    Sent: { color: "--accent", fill: "--accent-wash" },
    Deferred: { color: "--wait", dash: [6, 3] },
    Failed: { color: "--bad", width: 2.5 },
  };
  let plot = null;
  let box = null;

  const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  const read = (table) => {
    const rows = [...table.tBodies[0].rows];
    const columns = [...table.tHead.rows[0].cells].slice(1);
    return {
      names: columns.map((cell) => cell.textContent.trim()),
      data: [
        rows.map((row) => Number(row.dataset.at)),
        ...columns.map((_, index) => rows.map((row) => Number(row.cells[index + 1].textContent))),
      ],
    };
  };

  // What the legend says: of where the pointer is or, without one, the newest.
  const now = (chart, value, series) => value ?? chart.data[series].at(-1);

  const line = (name) => {
    const { color: stroke, fill, dash, width = 1.5 } = LINES[name] ?? { color: "--text" };
    return {
      label: name,
      stroke: () => color(stroke),
      fill: fill && (() => color(fill)),
      dash,
      width,
      points: { show: false },
      value: now,
    };
  };

  const axis = (more) => ({
    stroke: () => color("--muted"),
    grid: { stroke: () => color("--edge"), width: 1 },
    ticks: { show: false },
    ...more,
  });

  const draw = () => {
    const table = document.getElementById("flow");
    const place = document.querySelector("[data-chart=flow]");
    if (!table || !place || !window.uPlot) return;
    document.documentElement.dataset.charts = "";
    place.hidden = false;
    const { names, data } = read(table);
    if (plot && box === place) {
      plot.setData(data);
      return;
    }
    plot?.destroy();
    box = place;
    const width = () => place.clientWidth - 32;
    plot = new uPlot(
      {
        width: width(),
        height: HEIGHT,
        cursor: { y: false, drag: { x: false, y: false } },
        scales: { y: { range: (_, low, high) => [0, Math.max(high * 1.1, 5)] } },
        series: [{ label: "From", value: (...where) => INSTANT.format(now(...where) * 1000) }, ...names.map(line)],
        padding: [null, 28, null, null], // room for the last label
        axes: [
          axis({ space: 70, values: (_, ticks, __, ___, step) => ticks.map((at) => (step < DAY ? TIME : DATE).format(at * 1000)) }),
          axis({ size: 56, values: (_, ticks) => ticks.map((one) => one.toLocaleString()) }),
        ],
      },
      data,
      place,
    );
    new ResizeObserver(() => plot.setSize({ width: width(), height: HEIGHT })).observe(place);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => plot.redraw());
  };

  document.addEventListener("htmx:after:swap", draw);
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", draw);
  else draw();
})();
