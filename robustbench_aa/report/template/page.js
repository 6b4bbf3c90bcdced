import DataTable from "datatables";

const dark = matchMedia("(prefers-color-scheme: dark)");
const followTheme = () => document.documentElement.classList.toggle("dark", dark.matches);
dark.addEventListener("change", followTheme);
followTheme();

// missing values come last in either direction
const ordered = (sign) => (a, b) => {
  if (a === "" || b === "") return (a === "") - (b === "");
  return sign * (parseFloat(a) - parseFloat(b));
};
DataTable.type("metric", {
  detect: () => false,
  order: { asc: ordered(1), desc: ordered(-1) },
});

const board = new DataTable("#board", {
  paging: false,
  info: false,
  order: [],
  autoWidth: false,
  columnDefs: [{ targets: "metric", type: "metric" }],
  layout: { topStart: "search", topEnd: null },
  language: { search: "Show models whose row contains" },
});

const baseline = document.getElementById("baseline");
const relative = JSON.parse(document.getElementById("relative").textContent);
const showBaseline = () => {
  for (const title of document.querySelectorAll("#board [data-relative-title]")) {
    title.textContent = title.dataset.relativeTitle + baseline.value;
  }
  for (const row of board.rows().nodes().toArray()) {
    for (const cell of row.querySelectorAll("[data-relative]")) {
      const found = relative[baseline.value]?.[row.dataset.model]?.[cell.dataset.relative];
      const small = document.createElement("small");
      small.textContent = found?.interval ?? "";
      cell.dataset.order = found?.order ?? "";
      cell.replaceChildren(found?.text ?? "–", small);
    }
  }
  board.rows().invalidate("dom").draw(false);
};
baseline?.addEventListener("change", showBaseline);

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
