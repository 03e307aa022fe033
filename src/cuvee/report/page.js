"use strict";
// Tables can be sorted by any column, within their groups; numbers say where they come from; figures can be touched.
// Without this script the page has everything but these.

function sort(button) {
  const header = button.parentElement, table = header.closest("table"), column = header.cellIndex;
  const down = header.getAttribute("aria-sort") !== "descending";
  for (const other of header.parentElement.cells) {
    if (other.hasAttribute("aria-sort")) other.setAttribute("aria-sort", "none");
  }
  header.setAttribute("aria-sort", down ? "descending" : "ascending");
  const key = (row) => {
    const cell = row.cells[column], value = cell.dataset.value;
    return value === undefined ? cell.textContent.trim() : Number(value);
  };
  for (const body of table.tBodies) {
    const rows = [...body.rows].filter((row) => !row.classList.contains("group"));
    rows.sort((one, other) => {
      const a = key(one), b = key(other);
      if (a === "" || b === "") return a === b ? 0 : a === "" ? 1 : -1;
      const order = typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b));
      return down ? -order : order;
    });
    body.append(...rows);
  }
}

const origin = document.getElementById("origin");
function tell(cell) {
  origin.textContent = cell.dataset.origin;
  origin.hidden = false;
}
document.addEventListener("click", (event) => {
  const button = event.target.closest("thead button"), cell = event.target.closest("td[data-origin]");
  if (button) sort(button);
  if (cell) tell(cell);
  else origin.hidden = true;
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") origin.hidden = true;
  if (event.key === "Enter" && event.target.matches("td[data-origin]")) tell(event.target);
});

function draw() {
  const style = getComputedStyle(document.documentElement);
  const ink = style.getPropertyValue("--ink").trim(), line = style.getPropertyValue("--line").trim();
  for (const place of document.querySelectorAll(".plot")) {
    const { data, layout } = JSON.parse(document.getElementById(place.dataset.plot).textContent);
    for (const axis of [layout.xaxis, layout.yaxis]) Object.assign(axis, { gridcolor: line, zerolinecolor: line });
    Object.assign(layout, { paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { color: ink } });
    Plotly.react(place, data, layout, { responsive: true, displayModeBar: false, scrollZoom: false });
  }
}
if (window.Plotly) {
  draw();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
}
