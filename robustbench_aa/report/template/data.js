// The data of the plots, the models that they show, and their colours.
const data = JSON.parse(document.getElementById("data").textContent);

const columnOf = (column) =>
  column.places ? column.places.map((place) => column.values[place]) : column;

/** Return the rows of a table as objects. */
const rowsOf = (name) => {
  const columns = Object.entries(data.tables[name] ?? {}).map(([key, c]) => [key, columnOf(c)]);
  const row = (_, place) => Object.fromEntries(columns.map(([key, c]) => [key, c[place]]));
  return Array.from({ length: columns[0]?.[1].length ?? 0 }, row);
};
const tables = Object.fromEntries(Object.keys(data.tables).map((name) => [name, rowsOf(name)]));

const unique = (values) => [...new Set(values)];
const percent = (value, digits = 1) => `${(100 * value).toFixed(digits)}%`;
const byId = (id) => document.getElementById(id);

/** Create an element with properties and children. */
const make = (tag, properties = {}, ...children) => {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
};

/** Return the text of a name and places where it may break. */
const breakable = (name) =>
  name.split(/(?<=[_:@/])(?=\w)|(?=\+)/).flatMap((part, place) => (place ? [make("wbr"), part] : [part]));

const COLOURS = 8;
const others = data.models.filter((model) => model !== data.baseline);
const styleOf = (model) => {
  if (model === data.baseline) return { colour: "var(--base)", dash: "none" };
  const place = others.indexOf(model);
  const dash = ["none", "5 3", "1.5 2.5"][Math.floor(place / COLOURS) % 3];
  return { colour: `var(--c${place % COLOURS})`, dash };
};
const colourOf = (row) => styleOf(row.model).colour;

// all of a few models; of many, the baseline and the best
const SHOWN = 6;
const shown = new Set(
  data.models.length <= COLOURS
    ? data.models
    : [...others.slice(0, SHOWN), data.baseline].filter((model) => model !== null),
);
// a network of several training seeds belongs to a model
const isShown = ({ model }) => shown.has(model) || shown.has(model.replace(/-seed\d+$/, ""));
