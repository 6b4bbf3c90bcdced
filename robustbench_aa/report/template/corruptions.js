// Errors by corruption: small multiples, and a heat map of models and corruptions.
const datasetsOf = new Map();
for (const row of tables.corruptions) {
  datasetsOf.set(row.corruption, (datasetsOf.get(row.corruption) ?? new Set()).add(row.dataset));
}
/** Return a row whose corruption is named with its data set, if several have that corruption. */
const labelled = (row) =>
  datasetsOf.get(row.corruption)?.size > 1 && row.corruption !== "clean"
    ? { ...row, corruption: `${row.corruption} (${row.dataset})` }
    : row;

drawers.corruptions = (width) => {
  const rows = tables.corruptions.filter((row) => isShown(row) && row.error !== null);
  const corrupted = rows.filter((row) => row.severity > 0);
  const names = unique(corrupted.map((row) => labelled(row).corruption));
  // every line begins at the error on clean images, of the same data set if it has them
  const clean = rows.filter((row) => row.severity === 0);
  const drawn = names.flatMap((name) => {
    const same = corrupted.map(labelled).filter((row) => row.corruption === name);
    const own = clean.filter((row) => row.dataset === same[0].dataset);
    const first = own.length ? own : clean.filter((row) => row.dataset === clean[0].dataset);
    return [...first.map((row) => ({ ...row, corruption: name })), ...same];
  });
  const least = printing ? 135 : width < NARROW ? 165 : 195;
  const { rows: count, facets, titles, options } = wrapped(names, width, least);
  const facet = facets((row) => row.corruption);
  const title = (row) =>
    `${row.model}\n${row.severity ? `${row.corruption}, severity ${row.severity}` : "clean"}: ` +
    `${percent(row.error)} (${percent(row.error_low)} to ${percent(row.error_high)})`;
  return plot(width, {
    ...options,
    height: 150 * count + 46,
    x: { ticks: [0, 1, 2, 3, 4, 5], tickFormat: "d", ...axis("severity (0: clean)") },
    y: { percent: true, grid: true, ticks: 4, nice: true, zero: true, ...axis("error (%)") },
    marks: [
      titles,
      Plot.ruleY([0], { stroke: "var(--line)" }),
      ...lines(drawn, { ...facet, x: "severity", y: "error" }),
      tips(drawn, { ...facet, x: "severity", y: "error", title }),
    ],
  });
};

const heat = byId("heat");
const differenceFrom = (reference) => {
  const found = new Map();
  for (const row of tables.differences ?? []) {
    if (row.metric !== "error" || row.distortion === "") continue;
    const sure = row.p_holm < 0.05;
    if (row.other === reference) {
      found.set(`${row.model}\n${row.distortion}`, { value: row.difference, sure });
    } else if (row.model === reference) {
      found.set(`${row.other}\n${row.distortion}`, { value: 0 - row.difference, sure });
    }
  }
  return found;
};
/** Return the choices of values: a name, the cells by model and corruption, and how to show them. */
const heatChoices = () => {
  const keyed = (rows, column, value) =>
    new Map(rows.map((row) => [`${row.model}\n${row[column]}`, { value: row[value] }]));
  const share = { text: (value) => (100 * value).toFixed(1), key: "%", diverging: false };
  const found = [
    { name: "error, mean over severities", cells: keyed(tables.corruption_means.map(labelled), "corruption", "error"), ...share },
  ];
  for (const severity of unique(tables.corruptions.map((row) => row.severity)).filter(Boolean)) {
    const rows = tables.corruptions.filter((row) => row.severity === severity).map(labelled);
    found.push({ name: `error, severity ${severity}`, cells: keyed(rows, "corruption", "error"), ...share });
  }
  const errors = tables.normalised?.filter((row) => row.metric === "ce") ?? [];
  for (const base of unique(errors.map((row) => row.baseline))) {
    const rows = errors.filter((row) => row.baseline === base);
    found.push({ name: `CE relative to ${base}`, cells: keyed(rows, "distortion", "value"),
                 text: (value) => value.toFixed(0), key: "% of the baseline's errors", diverging: 100 });
  }
  for (const reference of data.models) {
    const cells = differenceFrom(reference);
    if (!cells.size) continue;
    const text = (value) => `${value > 0 ? "+" : ""}${(100 * value).toFixed(1)}`;
    found.push({ name: `difference from ${reference}`, cells, text,
                 key: "points; bold: significant", diverging: 0 });
  }
  return found;
};

/** Return the background of a cell: one hue for shares, two around the middle of differences. */
const shadeOf = (value, { diverging }, largest) => {
  const middle = diverging === false ? 0 : diverging;
  const strength = Math.min(1, Math.abs(value - middle) / largest);
  const hue = diverging !== false && value < middle ? "var(--cool)" : "var(--heat)";
  return `color-mix(in srgb, ${hue} calc(${strength.toFixed(3)} * var(--most)), transparent)`;
};
const drawHeat = (choice) => {
  const names = unique([...choice.cells.keys()].map((key) => key.split("\n").slice(-1)[0]));
  const middle = choice.diverging === false ? 0 : choice.diverging;
  const values = [...choice.cells.values()].map((cell) => Math.abs((cell.value ?? middle) - middle));
  const largest = Math.max(1e-9, ...values);
  const cellOf = (model, name) => {
    const found = choice.cells.get(`${model}\n${name}`);
    const missing = found === undefined || found.value === null;
    const cell = make("td", { textContent: missing ? "" : choice.text(found.value) });
    cell.dataset.order = missing ? "" : found.value.toFixed(6);
    if (!missing) cell.style.background = shadeOf(found.value, choice, largest);
    if (found?.sure) cell.className = "sure";
    return cell;
  };
  const heading = (name) => make("th", { scope: "col" }, make("span", { textContent: name }));
  const first = make("th", { scope: "col", className: "name", textContent: "model" });
  const rows = data.models.map((model) => {
    const title = make("th", { scope: "row", className: "name" }, ...breakable(model));
    return make("tr", {}, title, ...names.map((name) => cellOf(model, name)));
  });
  heat.replaceChildren(
    make("thead", {}, make("tr", {}, first, ...names.map(heading))),
    make("tbody", {}, ...rows),
  );
  makeSortable(heat);
  byId("heat-key").textContent = choice.key;
};
if (heat) {
  const choices = heatChoices();
  const select = byId("heat-value");
  select.append(...choices.map(({ name }, place) => make("option", { value: place, textContent: name })));
  select.addEventListener("change", () => drawHeat(choices[select.value]));
  drawHeat(choices[0]);
}
