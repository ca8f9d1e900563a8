// Reads values off the curves under the pointer, and copies commands; all of it stands in tables too.
"use strict";

(() => {
  const SVG = "http://www.w3.org/2000/svg";

  // [x, y] of a step line, in the picture's units, as "M x y H x V y ..." draws it.
  const points = (path) => {
    const found = [];
    const numbers = path.getAttribute("d").match(/[MHV]|-?[\d.]+/g) || [];
    let x = 0, y = 0;
    for (let i = 0; i < numbers.length; i += 1) {
      if (numbers[i] === "M") { x = +numbers[i + 1]; y = +numbers[i + 2]; i += 2; }
      else if (numbers[i] === "H") { x = +numbers[i + 1]; i += 1; continue; }
      else if (numbers[i] === "V") { y = +numbers[i + 1]; i += 1; }
      found.push([x, y]);
    }
    return found;
  };

  const words = (value, unit) => unit === "%"
    ? `${(100 * value).toFixed(1)} %`
    : `${Number(value.toPrecision(3))}${unit ? ` ${unit}` : ""}`;

  document.querySelectorAll("svg.curves[data-frame]").forEach((svg) => {
    const [xLow, xHigh, yLow, yHigh] = svg.dataset.frame.split(" ").map(Number);
    const [left, right, bottom, top] = svg.dataset.box.split(" ").map(Number);
    const lines = [...svg.querySelectorAll("path[data-name]")]
      .map((path) => ({ name: path.dataset.name, points: points(path) }));
    if (!lines.length) return;
    const cursor = document.createElementNS(SVG, "path");
    cursor.setAttribute("class", "cursor");
    const read = document.createElement("p");
    read.className = "read";
    read.setAttribute("aria-hidden", "true"); // the table of values says the same
    svg.closest("figure").append(read);
    svg.addEventListener("pointermove", (event) => {
      const box = svg.getBoundingClientRect();
      const across = (event.clientX - box.left) / box.width * svg.viewBox.baseVal.width;
      const at = Math.min(Math.max(across, left), right);
      cursor.setAttribute("d", `M${at} ${top}V${bottom}`);
      svg.append(cursor);
      const x = xLow + (at - left) / (right - left) * (xHigh - xLow);
      const values = lines.map((line) => {
        const here = line.points.filter((point) => point[0] <= at + 0.05).pop();
        if (!here) return `${line.name} none yet`;
        const y = yLow + (bottom - here[1]) / (bottom - top) * (yHigh - yLow);
        return `${line.name} ${words(y, svg.dataset.unit)}`;
      });
      read.textContent = `${Number(x.toPrecision(3))} ${svg.dataset.across}: ${values.join(", ")}`;
    });
    svg.addEventListener("pointerleave", () => { cursor.remove(); read.textContent = ""; });
  });

  if (navigator.clipboard) {
    document.querySelectorAll("pre.command").forEach((pre) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = "Copy";
      button.addEventListener("click", () => {
        navigator.clipboard.writeText(pre.textContent).then(() => { button.textContent = "Copied"; });
      });
      pre.after(button);
    });
  }

  // A link to a line inside something folded opens it.
  const unfold = () => {
    const target = document.getElementById(location.hash.slice(1));
    const folded = target && target.closest("details:not([open])");
    if (folded) { folded.open = true; target.scrollIntoView(); }
  };
  addEventListener("hashchange", unfold);
  unfold();
})();
