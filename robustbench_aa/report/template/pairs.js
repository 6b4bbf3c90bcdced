// The difference between any two models, and the choice of the models in all plots.
const pairModel = byId("pair-model");
const pairOther = byId("pair-other");

/** Return the differences a − b, turning those of b − a around. */
const differencesOf = (a, b) =>
  (tables.differences ?? [])
    .filter((row) => (row.model === a && row.other === b) || (row.model === b && row.other === a))
    .map((row) =>
      row.model === a
        ? row
        : { ...row, model: a, other: b, value: row.other_value, other_value: row.value,
            difference: 0 - row.difference, low: 0 - row.high, high: 0 - row.low },
    );
const WORSE_IF_MORE = { error: "error", flip_probability: "flip probability" };

const pairPlot = (rows, metric, width) => {
  const drawn = rows.filter((row) => row.metric === metric && row.distortion !== "");
  if (!drawn.length) return null;
  const colour = (row) =>
    row.p_holm < 0.05 ? (row.difference < 0 ? "var(--cool)" : "var(--heat)") : "var(--base)";
  const title = (row) =>
    `${row.distortion}\n${(100 * row.difference).toFixed(2)} points ` +
    `(${(100 * row.low).toFixed(2)} to ${(100 * row.high).toFixed(2)})`;
  return plot(width, {
    height: 24 * drawn.length + 66,
    marginLeft: 122,
    marginTop: 22,
    x: { percent: true, nice: true, grid: true, ticks: width / 90,
         ...axis(`difference in ${WORSE_IF_MORE[metric]} (points)`) },
    y: { type: "band", domain: drawn.map((row) => row.distortion), label: null, tickSize: 0 },
    marks: [
      Plot.ruleX([0], { stroke: "currentColor" }),
      Plot.link(drawn, { x1: "low", x2: "high", y1: "distortion", y2: "distortion", stroke: colour,
                         strokeWidth: 2.5 }),
      Plot.dot(drawn, { x: "difference", y: "distortion", r: 4.5, stroke: colour, strokeWidth: 2,
                        fill: (row) => (row.p_holm < 0.05 ? colour(row) : "var(--paper)") }),
      Plot.text([`← ${WORSE_IF_MORE[metric]}: less`], { frameAnchor: "top-left", dy: -14, fill: "var(--faint)" }),
      Plot.text(["more →"], { frameAnchor: "top-right", dy: -14, fill: "var(--faint)" }),
      tips(drawn, { x: "difference", y: "distortion", title }),
    ],
  });
};
drawers.pairs = (width) => {
  const rows = differencesOf(pairModel.value, pairOther.value);
  const names = [pairModel.value, pairOther.value];
  if (!rows.length) {
    const why = names[0] === names[1] ? "Choose two different models." :
      "These two were not compared: of many models, each is compared with the baseline alone.";
    return make("p", { textContent: why });
  }
  const each = width < 900 ? width : Math.floor(width / 2) - 12;
  const plots = Object.keys(WORSE_IF_MORE).map((metric) => pairPlot(rows, metric, each));
  for (const svg of plots.filter(Boolean)) {
    describe(svg, `Differences between ${names[0]} and ${names[1]}; the numbers are in the table.`);
  }
  return make("div", { className: "side" }, ...plots.filter(Boolean));
};

const drawPairTable = () => {
  const rows = differencesOf(pairModel.value, pairOther.value);
  const columns = ["value", "other_value", "difference", "low", "high", "p", "p_holm"];
  const titles = ["metric", "distortion", "model", "other", "difference", "low", "high", "p", "p_holm"];
  const number = (value, column) => {
    const text = value === null ? "" : value.toFixed(4);
    const cell = make("td", { textContent: text });
    cell.dataset.order = value === null ? "" : value.toFixed(6);
    cell.dataset.column = column;
    return cell;
  };
  const body = rows.map((row) =>
    make("tr", {},
      make("th", { scope: "row", className: "name", textContent: row.metric }),
      make("td", { className: "name", textContent: row.distortion || "–" }),
      ...columns.map((column) => number(row[column], column))),
  );
  const head = titles.map((title, place) =>
    make("th", { scope: "col", className: place < 2 ? "name" : "", textContent: title }));
  const table = byId("pair-table");
  table.replaceChildren(make("thead", {}, make("tr", {}, ...head)), make("tbody", {}, ...body));
  makeSortable(table);
};
if (pairModel) {
  for (const select of [pairModel, pairOther]) {
    select.append(...data.models.map((model) => make("option", { textContent: model })));
    select.addEventListener("change", () => {
      draw("pairs");
      drawPairTable();
    });
  }
  pairOther.value = data.baseline ?? data.models[1];
  pairModel.value = data.models.find((model) => model !== pairOther.value);
  drawPairTable();
}

/** Return the line of a model in the plots, and its name. */
const labelOf = (model) => {
  const { colour, dash } = styleOf(model);
  const swatch = make("span", { className: "swatch" });
  const line = dash === "none" ? "solid" : dash === "5 3" ? "dashed" : "dotted";
  swatch.style.borderTop = `3px ${line} ${colour}`;
  return [swatch, model === data.baseline ? `${model} (baseline)` : model];
};
const drawLegend = () => {
  const models = data.models.filter((model) => shown.has(model));
  byId("legend").replaceChildren(...models.map((model) => make("span", {}, ...labelOf(model))));
};
const choices = byId("model-choices");
if (choices) {
  byId("models").hidden = false;
  for (const model of data.models) {
    const box = make("input", { type: "checkbox", checked: shown.has(model), value: model });
    box.addEventListener("change", () => {
      if (box.checked) shown.add(model);
      else shown.delete(model);
      drawLegend();
      drawAll();
    });
    choices.append(make("label", {}, box, ...labelOf(model)));
  }
  drawLegend();
}
