// The plots that all sections share, and the choice of the models in them.
const drawers = {};
const NARROW = 600;
// the width of a sheet of A4 without its margins, in pixels
const PAPER = 710;
// the size of the values of the leaderboard on paper, relative to that on the screen
const SMALLER = 0.57;
let printing = false;
// plots that do not depend on the choice of models
const OF_ALL = ["ranking", "pairs"];

/** Give a plot its alternative text, instead of those of its parts. */
const describe = (svg, text) => {
  for (const part of svg.querySelectorAll("[aria-label]")) part.removeAttribute("aria-label");
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", text);
};

/** Draw a plot into each of its places, as wide as the place or the paper. */
const draw = (name) => {
  for (const place of document.querySelectorAll(`[data-plot="${name}"]`)) {
    const width = printing ? PAPER : Math.floor(place.clientWidth);
    if (width <= 0 || !(name in drawers)) continue;
    const drawn = shown.size || OF_ALL.includes(name) ? drawers[name](width) : "No model is chosen.";
    if (drawn instanceof SVGElement) {
      describe(drawn, place.nextElementSibling.textContent);
    }
    place.replaceChildren(drawn ?? "");
  }
};
const drawAll = () => Object.keys(drawers).forEach(draw);

const axis = (label) => ({ label, labelAnchor: "center", labelArrow: "none" });
/** Return bounds with some room around shares. */
const spanOf = (values) => {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const room = 0.08 * (high - low) + 0.01;
  return [Math.max(0, low - room), Math.min(1, high + room)];
};

const plot = (width, options) =>
  Plot.plot({
    width,
    marginTop: 24,
    marginBottom: 38,
    marginLeft: 54,
    marginRight: 14,
    style: { fontSize: "12px", overflow: "visible" },
    color: { type: "identity" },
    ...options,
  });

/** Return facets that wrap: the place of each name, and the number of rows. */
const wrapped = (names, width, least) => {
  const most = Math.max(1, Math.min(names.length, Math.floor(width / least)));
  const columns = Math.ceil(names.length / Math.ceil(names.length / most));
  const rows = Math.ceil(names.length / columns);
  const place = new Map(names.map((name, i) => [name, i]));
  // a single panel would leave the room between panels around itself
  const gap = (panels, share) => ({ axis: null, paddingInner: panels > 1 ? share : 0, paddingOuter: 0 });
  return {
    rows,
    columns,
    facets: (key) => ({
      fx: (row) => place.get(key(row)) % columns,
      fy: (row) => Math.floor(place.get(key(row)) / columns),
    }),
    titles: Plot.text(names, {
      fx: (_, i) => i % columns,
      fy: (_, i) => Math.floor(i / columns),
      text: (name) => name,
      frameAnchor: "top-left",
      dy: -14,
      fontWeight: 600,
      fill: "currentColor",
    }),
    options: { fx: gap(columns, 0.1), fy: gap(rows, 0.22) },
  };
};

/** Return a line per model, the baseline first so that the others cover it. */
const lines = (rows, options) =>
  unique([data.baseline, ...data.models])
    .filter((model) => shown.has(model))
    .map((model) =>
      Plot.line(rows.filter((row) => row.model === model), {
        stroke: styleOf(model).colour,
        strokeDasharray: styleOf(model).dash,
        strokeWidth: model === data.baseline ? 2.5 : 1.7,
        ...options,
      }),
    );
const tips = (rows, options) => Plot.tip(rows, Plot.pointer({ fontSize: 12, ...options }));

drawers.ranking = (width) => {
  const { rows, higher, title } = data.ranking;
  const drawn = rows.map((row, place) => ({ ...row, first: row.group === place + 1 }));
  const base = drawn.find((row) => row.model === data.baseline);
  const wide = width > NARROW + 100; // names beside the intervals, otherwise above
  const longest = Math.max(...rows.map((row) => row.model.length));
  const room = Math.min(0.4 * width, 7.6 * longest + 16);
  const name = { y: "model", text: "model", frameAnchor: "left", fontSize: 13, fill: "currentColor",
                 textOverflow: "ellipsis" };
  const dy = wide ? 0 : 8;
  const stroke = (row) => (isShown(row) ? colourOf(row) : "var(--muted)");
  return plot(width, {
    height: (wide ? 30 : 44) * rows.length + 50,
    marginLeft: wide ? room : 8,
    marginRight: 56,
    marginTop: 4,
    y: { type: "band", domain: rows.map((row) => row.model), axis: null },
    x: { percent: true, grid: true, nice: true, ticks: width / 90,
         ...axis(`${title} (%), ${higher ? "higher" : "lower"} is better`) },
    marks: [
      base && Plot.ruleX([base.value], { stroke: "var(--base)", strokeDasharray: "3 3" }),
      Plot.link(drawn, { x1: "low", x2: "high", y1: "model", y2: "model", stroke,
                         strokeWidth: 3, dy }),
      Plot.dot(drawn, { x: "value", y: "model", r: 5, stroke, strokeWidth: 2, dy,
                        fill: (row) => (row.first ? stroke(row) : "var(--paper)") }),
      Plot.text(drawn, { x: "high", y: "model", dx: 8, dy, textAnchor: "start", fontWeight: 600,
                         text: (row) => percent(row.value) }),
      wide
        ? Plot.text(drawn, { ...name, textAnchor: "end", dx: -10, lineWidth: room / 13 })
        : Plot.text(drawn, { ...name, textAnchor: "start", dy: -9, lineWidth: width / 13,
                             stroke: "var(--paper)", strokeWidth: 4 }),
    ].filter(Boolean),
  });
};

drawers.worst_case = (width) => {
  const rows = tables.consistency.filter((row) => isShown(row) && row.accuracy_worst != null && row.accuracy != null);
  if (!rows.length) return null;
  const key = (row) => row.protocol;
  const { columns, facets, titles, options } = wrapped(unique(rows.map(key)), width, 330);
  const facet = facets(key);
  const title = (row) =>
    `${row.model}\naccuracy ${percent(row.accuracy)}\nworst case ${percent(row.accuracy_worst)} ` +
    `(${percent(row.accuracy_worst_low)} to ${percent(row.accuracy_worst_high)})`;
  const ends = ["accuracy", "accuracy_worst_low", "accuracy_worst_high"];
  const span = spanOf(rows.flatMap((row) => ends.map((end) => row[end])));
  const scale = { percent: true, domain: span.map((end) => 100 * end), ticks: 5 };
  return plot(Math.min(width, 400 * columns + 68), {
    ...options,
    aspectRatio: 1,
    x: { ...scale, ...axis("accuracy, mean over shifts (%)") },
    y: { ...scale, grid: true, ...axis("accuracy at the worst shift (%)") },
    marks: [
      titles,
      Plot.frame({ stroke: "var(--line)" }),
      Plot.link([span], { x1: "0", y1: "0", x2: "1", y2: "1", stroke: "var(--faint)",
                        strokeDasharray: "2 3" }),
      Plot.ruleX(rows, { ...facet, x: "accuracy", y1: "accuracy_worst_low",
                         y2: "accuracy_worst_high", stroke: colourOf, strokeWidth: 2 }),
      Plot.dot(rows, { ...facet, x: "accuracy", y: "accuracy_worst", r: 5, fill: colourOf }),
      tips(rows, { ...facet, x: "accuracy", y: "accuracy_worst", title }),
    ].filter(Boolean),
  });
};

drawers.diagonal = (width) => {
  const rows = (tables.diagonal ?? []).filter(isShown);
  return plot(Math.min(width, 760), {
    height: 280,
    x: { ...axis("offset along the diagonal (px)") },
    y: { percent: true, grid: true, nice: true, ...axis("probability of the true class (%)") },
    marks: [
      ...lines(rows, { x: "offset", y: "label_probability" }),
      tips(rows, { x: "offset", y: "label_probability",
                   title: (row) => `${row.model}\n${percent(row.label_probability)}` }),
    ],
  });
};

/** Draw a share with its interval as a dot per model, in a row for each value of a column. */
const drawShares = (width, table, value, column, label, digits) => {
  const rows = table.filter((row) => isShown(row) && row[value] !== null);
  const models = data.models.filter((model) => shown.has(model));
  const names = unique(rows.map((row) => row[column]));
  const longest = Math.max(0, ...names.map((name) => name.length));
  const [low, high] = [`${value}_low`, `${value}_high`];
  const title = (row) =>
    `${row.model}\n${row[column]}: ${percent(row[value], digits)} ` +
    `(${percent(row[low], digits)} to ${percent(row[high], digits)})`;
  return plot(width, {
    height: names.length * Math.max(26, 9 * models.length + 8) + 60,
    marginLeft: Math.min(0.5 * width, 7 * longest + 20),
    marginTop: 6,
    fy: { domain: names, label: null, padding: 0.05 },
    y: { type: "point", domain: models, axis: null },
    x: { percent: true, grid: true, nice: true, ...axis(label), ticks: width / 90 },
    marks: [
      Plot.link(rows, { fy: column, x1: low, x2: high, y1: "model", y2: "model", stroke: colourOf,
                        strokeWidth: 2 }),
      Plot.dot(rows, { fy: column, x: value, y: "model", r: 3.5, fill: colourOf }),
      tips(rows, { fy: column, x: value, y: "model", title }),
    ],
  });
};
drawers.natural_shifts = (width) =>
  drawShares(width, tables.natural_shifts, "error", "dataset", "error (%)", 1);
drawers.perturbations = (width) =>
  drawShares(width, tables.perturbations, "flip_probability", "perturbation", "flip probability (%)", 2);

drawers.reliability = (width) => {
  const rows = tables.reliability.filter(isShown);
  const key = (row) => (row.severity ? `severity ${row.severity}` : "clean");
  const names = unique([...rows].sort((a, b) => a.severity - b.severity).map(key));
  const { rows: count, facets, titles, options } = wrapped(names, width, 190);
  const facet = facets(key);
  const title = (row) =>
    `${row.model}\nconfidence ${percent(row.confidence)}\naccuracy ${percent(row.accuracy)}\n` +
    `${row.predictions.toLocaleString("en")} predictions`;
  return plot(width, {
    ...options,
    height: 200 * count + 46,
    x: { percent: true, domain: [0, 100], ticks: 3, ...axis("confidence (%)") },
    y: { percent: true, domain: [0, 100], ticks: 5, grid: true, ...axis("accuracy (%)") },
    r: { range: [1.5, 6] },
    marks: [
      titles,
      Plot.frame({ stroke: "var(--line)" }),
      Plot.link([0], { x1: 0, y1: 0, x2: 1, y2: 1, stroke: "var(--faint)", strokeDasharray: "2 3" }),
      ...lines(rows, { ...facet, x: "confidence", y: "accuracy" }),
      Plot.dot(rows, { ...facet, x: "confidence", y: "accuracy", r: "predictions", fill: colourOf,
                       fillOpacity: 0.7 }),
      tips(rows, { ...facet, x: "confidence", y: "accuracy", title }),
    ],
  });
};

drawers.calibration = (width) => {
  const rows = tables.calibration.filter((row) => isShown(row) && row.ece !== null);
  return plot(Math.min(width, 760), {
    height: 260,
    marginLeft: 68,
    x: { ticks: [0, 1, 2, 3, 4, 5], tickFormat: "d", ...axis("severity (0: clean)") },
    y: { grid: true, zero: true, nice: true, ...axis("expected calibration error") },
    marks: [
      ...lines(rows, { x: "severity", y: "ece" }),
      Plot.dot(rows, { x: "severity", y: "ece", fill: colourOf, r: 3.5 }),
      tips(rows, { x: "severity", y: "ece", title: (row) => `${row.model}\n${row.ece.toFixed(4)}` }),
    ],
  });
};
