// A click on a column's heading sorts its table: numbers by data-value, words as words, empty cells last.
for (const button of document.querySelectorAll("th button")) {
  button.addEventListener("click", () => {
    const head = button.closest("th");
    const body = head.closest("table").tBodies[0];
    const place = head.cellIndex;
    const falling = head.getAttribute("aria-sort") === "ascending";
    const key = (row) => row.cells[place].dataset.value ?? row.cells[place].textContent.trim();
    const order = (a, b) => {
      const [x, y] = [key(a), key(b)];
      if (x === "" || y === "") return (x === "") - (y === "");
      const both = x !== "" && y !== "" && !isNaN(x) && !isNaN(y);
      return (both ? x - y : x.localeCompare(y)) * (falling ? -1 : 1);
    };
    for (const other of head.parentNode.cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", falling ? "descending" : "ascending");
    body.append(...[...body.rows].sort(order));
  });
}
