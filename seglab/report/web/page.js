"use strict";
// The page's state, its tables and texts. figures.js draws with plotly, pictures.js on canvas.

const DATA = JSON.parse(document.getElementById("data").textContent);
const GLYPHS = ["●", "■", "◆", "▲", "✖", "★", "▼", "✚", "⬟", "⬢"]; // as SYMBOLS in figures.js
const CROWD = 6; // so many methods are shown at first; a click shows more
let benchmark = DATA.benchmarks[0];
let shown = new Set();

const $ = (id) => document.getElementById(id);

/** An element; text children are text, never markup. */
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== undefined && value !== null) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

const points = (value) => (value === null || value === undefined ? "–" : (100 * value).toFixed(DATA.digits));
const signed = (value) => `${value < 0 ? "−" : "+"}${Math.abs(100 * value).toFixed(DATA.digits)}`;

/** Colours of the theme; black and yellow of the palette are moved away from black and white paper. */
const themed = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
const isDark = () => document.documentElement.dataset.theme === "dark";
function ink(method) {
  if (method.colour === "#000000") return themed("ink");
  if (method.colour === "#F0E442" && !isDark()) return "#a89a00";
  if (method.colour === "#0072B2" && isDark()) return "#3d94d1";
  return method.colour;
}
const chosen = () => benchmark.methods.filter((method) => shown.has(method.name));
const glyph = (method) => {
  const mark = make("span", { class: "mark", "aria-hidden": "true", "data-method": method.name }, GLYPHS[method.symbol % GLYPHS.length]);
  mark.style.color = ink(method);
  return mark;
};
const methodOf = (name) => benchmark.methods.find((method) => method.name === name);

// ---- tables ----------------------------------------------------------------------------------------------------

/** A table whose headings sort it. columns: {title, hint, text, low, value(row), cell(row)}; empty values come last. */
function sortable(table, columns, rows, by, descending) {
  const body = make("tbody");
  const headings = columns.map((column, index) => {
    const button = make("button", { type: "button", title: column.hint, onclick: () => sort(index) }, column.title);
    return make("th", { scope: "col", class: column.text ? "text" : null }, button);
  });
  let order = { by, descending };
  const sort = (index) => {
    const first = !columns[index].text && !columns[index].low;
    order = { by: index, descending: order.by === index ? !order.descending : first };
    fill();
  };
  const fill = () => {
    const { value } = columns[order.by];
    const sign = order.descending ? -1 : 1;
    const missing = (row) => value(row) === null || value(row) === undefined;
    const compare = (a, b) => {
      if (missing(a) || missing(b)) return missing(a) - missing(b);
      return sign * (typeof value(a) === "string" ? value(a).localeCompare(value(b)) : value(a) - value(b));
    };
    headings.forEach((th, index) => {
      if (index === order.by) th.setAttribute("aria-sort", order.descending ? "descending" : "ascending");
      else th.removeAttribute("aria-sort");
    });
    body.replaceChildren(...[...rows].sort(compare).map((row) => make("tr", {}, ...columns.map((c) => c.cell(row)))));
  };
  table.replaceChildren(make("thead", {}, make("tr", {}, ...headings)), body);
  fill();
}

function nameCell(row) {
  const badges = row.badges.map((badge) => make("span", { class: badge.warn ? "badge warn" : "badge", title: badge.hint }, badge.text));
  return make("th", { scope: "row" }, glyph(methodOf(row.method)), make("span", { class: "name" }, row.method), ...badges);
}

function scoreCell(score, main) {
  if (!score || score.mean === null) return make("td", {}, "–");
  const spread = score.std === null ? [] : [make("span", { class: "spread" }, ` ± ${points(score.std)}`)];
  const count = main ? [make("span", { class: "count" }, ` (${score.n})`)] : [];
  return make("td", { class: main ? "main" : null, title: score.hint }, points(score.mean), ...spread, ...count);
}

/** The range that the bars of all rows share; intervals of two seeds can be huge and are cut. */
function barRange() {
  const found = benchmark.rows.map((row) => row.difference).filter((d) => d && d.mean !== null);
  const longest = Math.max(0.01, ...found.map((d) => 2 * Math.abs(d.mean)));
  const ends = found.flatMap((d) => [d.mean, d.low ?? 0, d.high ?? 0]);
  return [Math.max(-longest, Math.min(-0.001, ...ends)), Math.min(longest, Math.max(0.001, ...ends))];
}

/** Difference, its interval in numbers, and both as a bar. */
function differenceCell(difference, [from, to]) {
  if (!difference || difference.mean === null) return make("td", {}, "–");
  const { mean, low, high } = difference;
  const at = (value) => `${(100 * (Math.min(to, Math.max(from, value)) - from)) / (to - from)}%`;
  const side = low === null ? "" : low > 0 ? "up" : high < 0 ? "down" : "";
  const bar = make("span", { class: `interval ${side}`, "aria-hidden": "true" }, make("s"), make("i"), make("b"));
  bar.children[0].style.left = at(0);
  bar.children[2].style.left = at(mean);
  if (low !== null) {
    bar.children[1].style.left = at(low);
    bar.children[1].style.right = `calc(100% - ${at(high)})`;
  }
  const range = low === null ? " one seed" : ` [${signed(low)}, ${signed(high)}]`;
  return make("td", { title: difference.hint }, signed(mean), make("span", { class: "spread" }, range), bar);
}

function scoresTable() {
  const range = barRange();
  const columns = [
    { title: "Method", text: true, value: (row) => row.method.toLowerCase(), cell: nameCell },
    ...benchmark.columns.map((column) => {
      const of = (row) => row.cells[column.key];
      if (column.kind === "difference") {
        return { ...column, value: (row) => row.difference?.mean, cell: (row) => differenceCell(row.difference, range) };
      }
      if (column.kind === "score") {
        return { ...column, value: (row) => of(row)?.mean, cell: (row) => scoreCell(of(row), column.main) };
      }
      return { ...column, value: (row) => of(row)?.mean, cell: (row) => make("td", {}, of(row)?.text ?? "–") };
    }),
  ];
  sortable($("table"), columns, benchmark.rows, 1, true);
  $("scores-caption").textContent = benchmark.caption;
}

function attention() {
  const lists = DATA.attention.map((part) =>
    make("div", { class: "notice" }, make("h3", {}, part.title), make("ul", {}, ...part.items.map((item) => make("li", {}, item)))));
  $("attention").replaceChildren(...lists);
}

/** Methods x benchmarks, where there are several. */
function overview() {
  const several = DATA.benchmarks.length > 1;
  $("overview").hidden = !several;
  if (!several) return;
  const found = (name, b) => b.rows.find((row) => row.method === name)?.cells[b.columns[0].key];
  const rows = [...new Set(DATA.benchmarks.flatMap((b) => b.rows.map((row) => row.method)))];
  const named = (name) => DATA.benchmarks.flatMap((b) => b.methods).find((method) => method.name === name);
  const columns = [
    { title: "Method", text: true, value: (name) => name.toLowerCase(), cell: (name) => make("th", { scope: "row" }, glyph(named(name)), name) },
    ...DATA.benchmarks.map((b) => ({ title: b.name, value: (name) => found(name, b)?.mean, cell: (name) => scoreCell(found(name, b), true) })),
  ];
  sortable($("overview-table"), columns, rows, 1, true);
  $("overview-caption").textContent = `${benchmark.columns[0].title} of each benchmark: mean ± standard deviation (seeds).`;
}

// ---- configs and commands --------------------------------------------------------------------------------------

function copyable(text) {
  const button = make("button", { type: "button" }, "Copy");
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = "Copied";
    } catch { // a browser that forbids it: the text is selected instead
      getSelection().selectAllChildren(button.nextElementSibling);
      button.textContent = "Selected";
    }
    setTimeout(() => (button.textContent = "Copy"), 1500);
  });
  return make("div", { class: "card copyable" }, button, make("pre", { tabindex: "0" }, text));
}

/** A closed block whose content is made when it is opened. */
function folded(title, note, content) {
  const block = make("details", {}, make("summary", {}, title, make("span", { class: "soft" }, note)));
  block.addEventListener("toggle", () => block.children.length > 1 || block.append(make("div", {}, content())));
  return block;
}

function configs() {
  const { methods, differing, files } = benchmark.configs;
  const head = make("tr", {}, make("th", { scope: "col" }, "Key"), ...methods.map((name) => make("th", { scope: "col", class: "text" }, name)));
  const body = differing.map(([key, ...values]) =>
    make("tr", {}, make("th", { scope: "row" }, make("code", {}, key)), ...values.map((value) => make("td", { class: "text changed" }, value === null ? "–" : make("code", {}, value)))));
  $("config-table").parentElement.hidden = !differing.length;
  $("config-table").replaceChildren(make("thead", {}, head), make("tbody", {}, ...body));
  $("config-files").replaceChildren(...files.map((file) => folded(file.title, file.note, () => copyable(file.text))));
}

function commands() {
  $("commands").replaceChildren(...benchmark.commands.map((block) => folded(block.title, block.note, () => copyable(block.text))));
}

// ---- choices ---------------------------------------------------------------------------------------------------

/** Fill a select. groups: {label: [[value, text], ...]}; keeps the value chosen before where it still exists. */
function options(select, groups) {
  const before = select.value;
  const option = ([value, text]) => make("option", { value }, text);
  select.replaceChildren(...Object.entries(groups).filter(([, items]) => items.length)
    .flatMap(([label, items]) => (label ? [make("optgroup", { label }, ...items.map(option))] : items.map(option))));
  if ([...select.options].some((item) => item.value === before)) select.value = before;
}

function methodChips() {
  const chips = benchmark.methods.map((method) => {
    const chip = make("button", { type: "button", "aria-pressed": shown.has(method.name) }, glyph(method), method.name);
    chip.addEventListener("click", () => {
      if (!shown.delete(method.name)) shown.add(method.name);
      chip.setAttribute("aria-pressed", shown.has(method.name));
      drawChosen();
    });
    return chip;
  });
  const all = make("button", { type: "button", onclick: () => { choose(shown.size < benchmark.methods.length ? Infinity : 0); methodChips(); drawChosen(); } },
    shown.size < benchmark.methods.length ? "All" : "Fewer");
  $("methods").replaceChildren(...(benchmark.methods.length > CROWD ? [all] : []), ...chips);
}

/** Show the baseline and the best methods, ``count`` in all (0: the usual number). */
function choose(count) {
  const score = (method) => benchmark.rows.find((row) => row.method === method.name)?.cells[benchmark.columns[0].key]?.mean ?? -1;
  const best = [...benchmark.methods].sort((a, b) => (b.name === benchmark.baseline) - (a.name === benchmark.baseline) || score(b) - score(a));
  shown = new Set(best.slice(0, count || CROWD).map((method) => method.name));
}

function showBenchmark(index) {
  benchmark = DATA.benchmarks[index];
  choose(0);
  methodChips();
  for (const part of [scoresTable, attention, overview, configs, commands, figureChoices, pictureChoices]) part();
  drawAll();
}

function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  $("theme").textContent = theme === "dark" ? "Light" : "Dark";
}

/** The theme changed: what took its colours by script takes them again. */
function recolour() {
  document.querySelectorAll(".mark").forEach((mark) => {
    const method = DATA.benchmarks.flatMap((b) => b.methods).find((m) => m.name === mark.dataset.method);
    mark.style.color = ink(method);
  });
  drawAll();
}

function start() {
  const prefersDark = matchMedia("(prefers-color-scheme: dark)");
  setTheme(prefersDark.matches ? "dark" : "light");
  prefersDark.addEventListener("change", (event) => { setTheme(event.matches ? "dark" : "light"); recolour(); });
  $("theme").addEventListener("click", () => { setTheme(isDark() ? "light" : "dark"); recolour(); });
  $("made").textContent = DATA.made;
  $("notes-list").replaceChildren(...DATA.notes.map((note) => make("li", {}, note)));
  options($("benchmark"), { "": DATA.benchmarks.map((b, index) => [String(index), b.name]) });
  $("choose-benchmark").hidden = DATA.benchmarks.length < 2;
  $("benchmark").addEventListener("change", () => showBenchmark(Number($("benchmark").value)));
  showBenchmark(0);
}
