"use strict";
// Figures, by plotly. They are drawn one after the other once the tables stand, so that the page opens at once.

const SYMBOLS = ["circle", "square", "diamond", "triangle-up", "x", "star", "triangle-down", "cross", "pentagon", "hexagon"];
const PATTERNS = { solid: "", dash: "/", dot: ".", dashdot: "x" }; // bars have no dashes
let queue = [];

function loadPlotly() {
  if (window.Plotly) return;
  const script = document.createElement("script");
  script.textContent = $("plotly").textContent;
  document.head.append(script);
}

/** Draw soon; a later request for the same figure replaces the earlier. */
function soon(...tasks) {
  if (!queue.length) setTimeout(drawNext, 30);
  queue = [...queue.filter((task) => !tasks.includes(task)), ...tasks];
}
function drawNext() {
  const task = queue.shift();
  if (!task) return;
  task();
  if (queue.length) setTimeout(drawNext);
  else document.documentElement.dataset.drawn = "true";
}

const small = matchMedia("(max-width: 640px)"); // as in page.css
const narrow = () => small.matches;
small.addEventListener("change", () => drawAll()); // a phone is turned: bars lie or stand
const drawAll = () => soon(costFigure, curveFigure, barFigure, heatFigure, pseudoFigures, drawPictures, confusionFigure);
const drawChosen = () => soon(curveFigure, barFigure, pseudoFigures, drawPictures);

function layout(height, more) {
  const axis = { gridcolor: themed("line"), linecolor: themed("line"), zerolinecolor: themed("line"), automargin: true };
  const { xaxis, yaxis, ...rest } = more;
  for (const one of [xaxis, yaxis]) if (one.title) one.title.standoff = 10;
  return {
    height, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", showlegend: false, hovermode: "closest",
    font: { family: getComputedStyle(document.body).fontFamily, size: narrow() ? 12 : 13, color: themed("ink") },
    margin: { l: 50, r: 16, t: 14, b: 46 }, dragmode: matchMedia("(pointer: coarse)").matches ? false : "zoom",
    hoverlabel: { bgcolor: themed("card"), bordercolor: themed("line"), font: { color: themed("ink") } },
    xaxis: { ...axis, ...xaxis }, yaxis: { ...axis, ...yaxis }, ...rest,
  };
}

function draw(id, traces, plan, empty) {
  const box = $(id);
  if (!traces.length) {
    if (box.data) Plotly.purge(box);
    box.style.height = "";
    box.replaceChildren(make("p", { class: "empty" }, empty));
    return;
  }
  loadPlotly();
  if (!box.data) box.replaceChildren();
  box.style.height = `${plan.height + 18}px`; // with padding and border
  Plotly.react(box, traces, plan, { responsive: true, displaylogo: false, displayModeBar: narrow() ? false : undefined,
    modeBarButtonsToRemove: ["lasso2d", "select2d", "autoScale2d"], toImageButtonOptions: { scale: 3, filename: id } });
}

const faded = (colour, alpha) => {
  const [r, g, b] = [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));
  return `rgba(${r},${g},${b},${alpha})`;
};
const plain = (text) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;"); // plotly reads <b> and the like in names
const percent = (values) => values.map((value) => (value === null ? null : 100 * value));

// ---- cost ------------------------------------------------------------------------------------------------------

function costFigure() {
  const axis = benchmark.cost.axes[Number($("cost-axis").value) || 0];
  const all = benchmark.methods.map((method) => ({ method, ...benchmark.cost.points[method.name] }))
    .filter((point) => point.score && point.score.mean !== null && axis && point[axis.key] !== null);
  const at = (point) => point[axis.key];
  const price = (point) => (axis.low ? at(point) : -at(point));
  const beats = (q, p) => q.score.mean >= p.score.mean && price(q) <= price(p) && (q.score.mean > p.score.mean || price(q) < price(p));
  const front = all.filter((p) => !all.some((q) => beats(q, p))).sort((p, q) => price(p) - price(q));
  const line = front.length > 1 ? [{ x: front.map(at), y: percent(front.map((p) => p.score.mean)), mode: "lines", hoverinfo: "skip",
    line: { color: themed("soft"), width: 1.5, dash: "dot", shape: "hv" } }] : [];
  const crowded = all.length > 8; // then only the front is named; the marks are those of the table
  const dots = all.map((point) => ({
    x: [at(point)], y: [100 * point.score.mean], mode: crowded && !front.includes(point) ? "markers" : "markers+text", name: point.method.name, text: [plain(point.method.name)],
    textposition: line.length && point !== front[0] ? "top left" : "top center", cliponaxis: false, textfont: { size: 12, color: themed(front.includes(point) ? "ink" : "soft") },
    error_y: { type: "data", array: [100 * (point.score.std ?? 0)], thickness: 1.2, width: 3, color: ink(point.method) },
    marker: { color: ink(point.method), symbol: SYMBOLS[point.method.symbol % SYMBOLS.length], size: 11, line: { width: 1, color: themed("card") } },
    hovertemplate: `<b>%{text}</b><br>%{y:.2f} ${plain(benchmark.metric)}<br>%{x:.3~g} ${axis.unit}<extra></extra>`,
  }));
  const wide = all.length > 1 && Math.max(...all.map(at)) > 20 * Math.min(...all.map(at)) && Math.min(...all.map(at)) > 0;
  const range = wide || !all.length ? {} : { range: [0, 1.1 * Math.max(...all.map(at))] };
  draw("cost-figure", [...line, ...dots], layout(narrow() ? 380 : 440, {
    xaxis: { title: { text: axis?.title }, type: wide ? "log" : "linear", ...range }, yaxis: { title: { text: `${plain(benchmark.metric)}, %` } },
  }), "No finished run says what it cost.");
}

// ---- curves ----------------------------------------------------------------------------------------------------

/** Mean and band of one metric as plotly traces; style: {name, colour, dash, symbol}. */
function curve(line, style, scale) {
  const steps = benchmark.steps[line[0]];
  const mean = line[1].map((value) => (value === null ? null : scale * value));
  const spread = (sign) => mean.map((value, index) => (value === null ? null : value + sign * scale * (line[2][index] ?? 0)));
  const few = steps.length <= 25;
  const band = line[2].some((value) => value) ? [{
    x: [...steps, ...[...steps].reverse()], y: [...spread(1), ...spread(-1).reverse()], fill: "toself", mode: "lines",
    line: { width: 0 }, fillcolor: faded(style.colour, 0.14), hoverinfo: "skip", legendgroup: style.name,
  }] : [];
  return [...band, {
    x: steps, y: mean, name: style.name, mode: few ? "lines+markers" : "lines", customdata: line[2].map((value) => scale * (value ?? 0)),
    line: { color: style.colour, dash: style.dash, width: 2 }, marker: { size: 7, symbol: SYMBOLS[style.symbol % SYMBOLS.length] },
    hovertemplate: `<b>${plain(style.name)}</b><br>step %{x}: %{y:.4~g} ± %{customdata:.2~g}<extra></extra>`,
  }];
}
const styled = (method) => ({ ...method, colour: ink(method) });
const isScore = (name) => /mIoU|IoU\/|accuracy|coverage/.test(name);

function curveFigure() {
  const metric = $("curve-metric").value;
  const lines = benchmark.curves[metric] ?? {};
  const traces = chosen().filter((method) => lines[method.name]).flatMap((method) => curve(lines[method.name], styled(method), isScore(metric) ? 100 : 1));
  draw("curve-figure", traces, layout(narrow() ? 340 : 420, { xaxis: { title: { text: "step" } }, yaxis: { title: { text: plain(metric) + (isScore(metric) ? ", %" : "") } } }),
    "None of the chosen methods logged this.");
}

/** One class of all methods, or all classes of one method. */
function pseudoFigures() {
  const [kind, name] = JSON.parse($("pseudo-choice").value || '["class",""]');
  const styles = kind === "class" ? chosen().map(styled) : benchmark.classes.map(classStyle);
  const legend = styles.map((style) => make("span", {}, make("span", { class: "mark", style: `color:${style.colour}` }, GLYPHS[style.symbol % GLYPHS.length]), style.name));
  let drawn = new Set();
  for (const quantity of ["accuracy", "coverage"]) {
    const prefix = `train/pseudo/${quantity}`;
    const line = (style) => kind === "class" ? benchmark.curves[name ? `${prefix}/${name}` : prefix]?.[style.name] : benchmark.curves[`${prefix}/${style.name}`]?.[name];
    const present = styles.filter(line);
    present.forEach((style) => drawn.add(style.name));
    draw(`${quantity}-figure`, present.flatMap((style) => curve(line(style), style, 100)),
      layout(narrow() ? 280 : 360, { xaxis: { title: { text: "step" } }, yaxis: { title: { text: "%" }, range: [0, 102] } }),
      "None of the chosen methods logged pseudo-labels.");
  }
  $("pseudo-legend").replaceChildren(...(kind === "class" ? [] : legend.filter((_, index) => drawn.has(styles[index].name))));
}
const WHEEL = ["#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#888888"];
const classStyle = (name, index) => ({ name, colour: WHEEL[index % WHEEL.length], symbol: index, dash: Object.keys(PATTERNS)[Math.floor(index / WHEEL.length) % 4] });

// ---- classes ---------------------------------------------------------------------------------------------------

function barFigure() {
  const flat = narrow();
  const classes = benchmark.classes.map(plain);
  const traces = chosen().filter((method) => benchmark.iou[method.name]).map((method) => {
    const { mean, std } = benchmark.iou[method.name];
    const value = percent(mean);
    const error = { type: "data", array: percent(std), thickness: 1, width: 0, color: themed("soft") };
    return {
      type: "bar", name: method.name, orientation: flat ? "h" : "v", ...(flat ? { y: classes, x: value, error_x: error } : { x: classes, y: value, error_y: error }),
      marker: { color: ink(method), pattern: { shape: PATTERNS[method.dash], fgcolor: themed("card"), size: 6, solidity: 0.25 } },
      hovertemplate: `<b>${plain(method.name)}</b><br>%{${flat ? "y" : "x"}}: %{${flat ? "x" : "y"}:.2f}<extra></extra>`,
    };
  });
  const height = flat ? 90 + benchmark.classes.length * (12 + 7 * traces.length) : 420;
  const name = { type: "category", showgrid: false, ...(flat ? { autorange: "reversed" } : { tickangle: benchmark.classes.length > 8 ? -45 : 0 }) };
  const score = { title: { text: "IoU, %" }, rangemode: "nonnegative" };
  draw("bar-figure", traces, layout(height, { barmode: "group", bargap: 0.25, ...(flat ? { yaxis: name, xaxis: score } : { xaxis: name, yaxis: score }) }),
    "No scores by class yet.");
}

const diverging = () => [[0, themed("low")], [0.5, themed("middle")], [1, themed("high")]];

function heatFigure() {
  $("difference").hidden = !benchmark.baseline;
  if (!benchmark.baseline) return;
  $("difference-baseline").textContent = benchmark.baseline;
  const methods = benchmark.methods.filter((method) => benchmark.difference[method.name]).reverse();
  const values = methods.map((method) => percent(benchmark.difference[method.name]));
  const flat = narrow();
  const across = methods.map((method) => plain(method.name));
  const classes = benchmark.classes.map(plain);
  const cells = flat ? benchmark.classes.map((_, k) => values.map((row) => row[k]).reverse()) : values;
  const extreme = Math.max(1, ...values.flat().map((value) => Math.abs(value ?? 0)));
  const roomy = flat ? methods.length <= 5 : benchmark.classes.length <= 24;
  const trace = { type: "heatmap", z: cells, x: flat ? [...across].reverse() : classes, y: flat ? classes : across, zmin: -extreme, zmax: extreme, zmid: 0,
    colorscale: diverging(), xgap: 2, ygap: 2, hovertemplate: "%{y}, %{x}: %{z:+.2f}<extra></extra>", texttemplate: roomy ? "%{z:+.1f}" : undefined,
    textfont: { size: 11 }, colorbar: { thickness: 10, outlinewidth: 0, ticksuffix: "", len: 0.9 }, showscale: !flat };
  draw("heat-figure", methods.length ? [trace] : [], layout(flat ? 120 + 26 * benchmark.classes.length : 130 + 30 * methods.length, {
    xaxis: { tickangle: -45, showgrid: false }, yaxis: { showgrid: false, ...(flat ? { autorange: "reversed" } : {}) },
  }), `No method has seeds in common with ${benchmark.baseline}.`);
}

// ---- confusion -------------------------------------------------------------------------------------------------

function confusionFigure() {
  const found = benchmark.confusion[Number($("confusion-method").value) || 0];
  $("confusion-caption").textContent = found ? found.caption : "";
  $("confusion-method").parentElement.hidden = !found;
  const size = found ? found.classes.length : 0;
  const share = found ? found.rows.map((row) => row.map((value) => (value === null ? null : value / 10))) : [];
  const side = Math.min(760, $("confusion-figure").clientWidth - 16);
  const trace = { type: "heatmap", z: share, x: found?.classes.map(plain), y: found?.classes.map(plain), zmin: 0, zmax: 100, xgap: 1, ygap: 1,
    colorscale: [[0, themed("middle")], [1, themed("high")]], showscale: !narrow(), colorbar: { thickness: 10, outlinewidth: 0, ticksuffix: "%" },
    hovertemplate: "%{y} seen as %{x}: %{z:.1f} %<extra></extra>", text: share.map((row) => row.map((value) => (value >= 0.5 ? value.toFixed(0) : ""))), texttemplate: size <= 20 && !narrow() ? "%{text}" : undefined, textfont: { size: 10 } };
  const ticks = { showgrid: false, dtick: narrow() && size > 40 ? undefined : 1, tickfont: { size: narrow() && size > 12 ? 9 : 12 } };
  draw("confusion-figure", found ? [trace] : [], layout(narrow() ? side + 40 : Math.max(360, Math.min(side, 130 + 32 * size)), {
    xaxis: { title: { text: "prediction" }, tickangle: -60, ...ticks }, yaxis: { title: { text: "truth" }, autorange: "reversed", ...ticks },
  }), "No run has a confusion.json: it is written at each validation.");
}

// ---- choices ---------------------------------------------------------------------------------------------------

function figureChoices() {
  options($("cost-axis"), { "": benchmark.cost.axes.map((axis, index) => [String(index), axis.title]) });
  const groups = { Scores: [], Losses: [], "IoU by class": [], Other: [] };
  for (const name of Object.keys(benchmark.curves)) {
    if (name.startsWith("train/pseudo/")) continue;
    const group = name.includes("IoU/") ? "IoU by class" : name.startsWith("val") ? "Scores" : name.includes("loss") ? "Losses" : "Other";
    groups[group].push([name, name]);
  }
  options($("curve-metric"), groups);
  const have = new Set(Object.keys(benchmark.curves).filter((name) => name.startsWith("train/pseudo/")).flatMap((name) => Object.keys(benchmark.curves[name])));
  const choice = (kind, name, text) => [JSON.stringify([kind, name]), text];
  options($("pseudo-choice"), {
    "One class, chosen methods": [choice("class", "", "all classes"), ...benchmark.classes.map((name) => choice("class", name, name))],
    "All classes, one method": [...have].map((name) => choice("method", name, name)),
  });
  options($("confusion-method"), { "": benchmark.confusion.map((found, index) => [String(index), found.title]) });
  $("curves-caption").textContent = benchmark.curves_caption;
}

for (const [id, task] of [["cost-axis", costFigure], ["curve-metric", curveFigure], ["pseudo-choice", pseudoFigures], ["confusion-method", confusionFigure]]) {
  $(id).addEventListener("change", () => soon(task));
}
