// Tables that sort by a click on a heading, and the controls of the leaderboard.
const valueOf = (cell) => {
  const text = cell?.dataset.order ?? cell?.textContent ?? "";
  return text === "" || Number.isNaN(Number(text)) ? text : Number(text);
};
// missing values come last in either direction
const compare = (sign) => (a, b) => {
  if (a === "" || b === "") return (a === "") - (b === "");
  if (typeof a === "number" && typeof b === "number") return sign * (a - b);
  return sign * String(a).localeCompare(String(b));
};
const sortBy = (table, heading) => {
  const sign = heading.getAttribute("aria-sort") === "ascending" ? -1 : 1;
  for (const each of table.tHead.rows[0].cells) each.removeAttribute("aria-sort");
  heading.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
  const key = (row) => valueOf(row.cells[heading.cellIndex]);
  const ordered = compare(sign);
  const rows = [...table.tBodies[0].rows].sort((a, b) => ordered(key(a), key(b)));
  table.tBodies[0].append(...rows);
};
/** Turn the headings of a table into buttons that sort its rows. */
const makeSortable = (table) => {
  for (const heading of table.tHead?.rows[0].cells ?? []) {
    const button = make("button", { type: "button" });
    button.append(...heading.childNodes);
    heading.append(button);
    button.addEventListener("click", () => sortBy(table, heading));
  }
};
document.querySelectorAll("table.sortable").forEach(makeSortable);

const board = byId("board");
/** Let values wrap if the columns are wider than the room for them, by default the screen. */
const fitBoard = (room = board.parentElement.clientWidth) => {
  board.classList.remove("dense");
  board.style.width = "min-content";
  const wide = board.offsetWidth > room;
  board.style.width = "";
  board.classList.toggle("dense", wide);
};
const chooseView = (view) => {
  for (const cell of board.querySelectorAll("[data-views]")) {
    cell.hidden = !cell.dataset.views.split(" ").includes(view);
  }
  fitBoard();
};
for (const choice of document.querySelectorAll('input[name="view"]')) {
  choice.addEventListener("change", () => chooseView(choice.value));
  choice.closest("fieldset").hidden = false;
  if (choice.checked) chooseView(choice.value);
}

const filter = byId("filter");
filter.parentElement.hidden = board.tBodies[0].rows.length < 2;
filter.addEventListener("input", () => {
  for (const row of board.tBodies[0].rows) {
    row.hidden = !row.textContent.toLowerCase().includes(filter.value.toLowerCase());
  }
});

const baseline = byId("baseline");
const relative = JSON.parse(byId("relative").textContent);
baseline?.addEventListener("change", () => {
  for (const title of board.querySelectorAll("[data-relative-title]")) {
    title.textContent = title.dataset.relativeTitle + baseline.value;
  }
  for (const cell of board.querySelectorAll("[data-relative]")) {
    const model = cell.closest("tr").dataset.model;
    const found = relative[baseline.value]?.[model]?.[cell.dataset.relative];
    cell.dataset.order = found?.order ?? "";
    cell.replaceChildren(found?.text ?? "–", make("small", { textContent: found?.interval ?? "" }));
  }
});

for (const choice of document.querySelectorAll("select[data-shows]")) {
  const show = () => {
    for (const part of document.querySelectorAll(`[data-shown-by="${choice.id}"]`)) {
      part.hidden = part.dataset.value !== choice.value;
    }
  };
  choice.addEventListener("change", show);
  choice.parentElement.hidden = false;
  show();
}
