// The answers along sequences, and an image of the data set with the answers of every model.
const pictured = (tables.answers ?? []).filter((row) => row.frame === 0);
const sequences = (() => {
  const frames = (tables.answers ?? []).filter((row) => row.frame > 0);
  return new Set(frames.map((row) => `${row.dataset}\n${row.distortion}`));
})();

/** Return whether an answer is right, wrong or unknown: images may have no labels. */
const verdictOf = (row) =>
  row.true_class === null ? "unknown" : row.predicted_class === row.true_class ? "right" : "wrong";

const strip = byId("strip-perturbation");
/** Return the answers that differ from that on the frame before. Rows are in order. */
const changesOf = (rows) =>
  rows.filter((row, place) => row.frame > 0 &&
    rows[place - 1].frame === row.frame - 1 &&
    rows[place - 1].predicted_class !== row.predicted_class);
drawers.strips = (width) => {
  const rows = tables.answers.filter((row) =>
    sequences.has(`${row.dataset}\n${row.distortion}`) && row.distortion === strip.value && isShown(row));
  if (!rows.length) return null;
  const models = unique(rows.map((row) => row.model));
  const images = unique(rows.map((row) => row.image));
  const frames = Math.max(...rows.map((row) => row.frame)) + 1;
  const changes = changesOf(rows);
  const room = (width - 30) / frames;
  const longest = Math.max(...rows.map((row) => String(row.predicted_class).length));
  const title = (row) =>
    `${row.model}\nframe ${row.frame + 1}: class ${row.predicted_class} (true: ${row.true_class ?? "unknown"}), ` +
    percent(row.probability);
  return plot(width, {
    height: models.length * (images.length * 20 + 34) + 40,
    marginLeft: 8,
    marginTop: 22,
    fy: { domain: models, axis: null, padding: 0.34 },
    y: { type: "band", domain: images, axis: null, padding: 0.12 },
    x: { domain: [-0.5, frames - 0.5], ticks: Math.min(frames, width / 40),
         tickFormat: (frame) => (Number.isInteger(frame) ? String(frame + 1) : ""), ...axis("frame") },
    marks: [
      Plot.rectX(rows, { fy: "model", y: "image", x1: (row) => row.frame - 0.5,
        x2: (row) => row.frame + 0.5, inset: 0.5,
        fill: (row) => `var(--${verdictOf(row)})` }),
      Plot.tickX(changes, { fy: "model", y: "image", x: (row) => row.frame - 0.5,
        stroke: "currentColor", strokeWidth: 2.5 }),
      room > 7 * longest + 4 &&
        Plot.text(rows, { fy: "model", y: "image", x: "frame", text: "predicted_class",
                          fontSize: 11, fill: "currentColor" }),
      Plot.text(models, { fy: (model) => model, text: (model) => model, frameAnchor: "top-left",
                          dy: -14, fontWeight: 600, textOverflow: "ellipsis", lineWidth: width / 8 }),
      tips(rows, { fy: "model", y: "image", x: "frame", title }),
    ].filter(Boolean),
  });
};
if (strip) {
  const names = unique((tables.answers ?? [])
    .filter((row) => sequences.has(`${row.dataset}\n${row.distortion}`))
    .map((row) => row.distortion));
  const flips = changesOf(tables.answers).map((row) => row.distortion);
  const countOf = (name) => flips.filter((each) => each === name).length;
  byId("strips").hidden = !names.length;
  strip.append(...names.map((name) => make("option", { textContent: name })));
  strip.addEventListener("change", () => draw("strips"));
  strip.value = names.reduce((best, name) => (countOf(name) > countOf(best) ? name : best), names[0]);
  if (!names.length) delete drawers.strips;
}

const dialog = byId("sample");
/** Return the table of what every model answered, a column for each severity. */
const answersTable = (rows) => {
  const severities = unique(rows.map((row) => row.severity)).sort((a, b) => a - b);
  const heading = (text, className = "") => make("th", { scope: "col", textContent: text, className });
  const cellOf = (row) => {
    if (!row) return make("td");
    const cell = make("td", { className: verdictOf(row) },
      `class ${row.predicted_class}`, make("small", { textContent: percent(row.probability) }));
    cell.dataset.order = row.probability.toFixed(6);
    return cell;
  };
  const body = unique(rows.map((row) => row.model)).map((model) =>
    make("tr", {},
      make("th", { scope: "row", className: "name" }, ...breakable(model)),
      ...severities.map((severity) =>
        cellOf(rows.find((row) => row.model === model && row.severity === severity)))));
  const titles = severities.map((severity) => heading(severity ? `severity ${severity}` : "answer"));
  return [
    make("caption", { textContent: `Answers and their probabilities; the true class is ${rows[0].true_class ?? "unknown"}.` }),
    make("thead", {}, make("tr", {}, heading("model", "name"), ...titles)),
    make("tbody", {}, ...body),
  ];
};
for (const button of document.querySelectorAll("button.sample")) {
  button.addEventListener("click", () => {
    const { dataset, distortion } = button.dataset;
    const sequence = sequences.has(`${dataset}\n${distortion}`);
    const rows = pictured.filter((row) =>
      !sequence && row.dataset === dataset && row.distortion === distortion);
    byId("sample-title").textContent = `${dataset}: ${distortion}`;
    const images = [...button.querySelectorAll("img")].map((image, place, all) =>
      make("img", { src: image.src, alt: `${distortion}, image ${place + 1} of ${all.length}` }));
    byId("sample-pictures").replaceChildren(...images);
    byId("sample-pictures").className = sequence || images.length === 1 ? "single" : "";
    byId("sample-answers").replaceChildren(...(rows.length ? answersTable(rows) : []));
    dialog.showModal();
  });
}
byId("sample-close")?.addEventListener("click", () => dialog.close());

let width = innerWidth;
addEventListener("resize", () => {
  if (innerWidth !== width) {
    width = innerWidth;
    fitBoard();
    drawAll();
  }
});
const drawFor = (paper) => () => {
  printing = paper;
  fitBoard(paper ? PAPER / SMALLER : undefined);
  drawAll();
};
addEventListener("beforeprint", drawFor(true));
addEventListener("afterprint", drawFor(false));
drawAll();
