// What a page lacks for people who cannot see it, see little, or use keys: sentences, none when
// nothing is missing. A browser test evaluates it in each page, in each scheme of colours.
() => {
  const found = [];
  const all = (words, root = document) => [...root.querySelectorAll(words)];
  const named = (element) => `${element.tagName.toLowerCase()}${element.id ? `#${element.id}` : ""} "${
    element.textContent.trim().replace(/\s+/g, " ").slice(0, 40)}"`;
  const shown = (element) => element.checkVisibility({ visibilityProperty: true, opacityProperty: true });

  // One page, one heading of the first level; no level is left out on the way down.
  const levels = all("h1, h2, h3, h4, h5, h6").filter(shown).map((one) => Number(one.tagName[1]));
  if (levels.filter((level) => level === 1).length !== 1) found.push("not one h1");
  levels.forEach((level, at) => {
    if (at && level > levels[at - 1] + 1) found.push(`h${level} comes after h${levels[at - 1]}`);
  });
  const ids = all("[id]").map((one) => one.id);
  ids.filter((id, at) => ids.indexOf(id) < at).forEach((id) => found.push(`the id ${id} is there twice`));
  all("[aria-labelledby], [aria-describedby], label[for]").forEach((one) => {
    const names = ["aria-labelledby", "aria-describedby", "for"].map((name) => one.getAttribute(name) || "");
    names.join(" ").split(" ").filter(Boolean).forEach((id) => {
      if (!document.getElementById(id)) found.push(`${named(one)} refers to ${id}, which is not there`);
    });
  });
  if (!document.documentElement.lang || !document.title) found.push("no language or no title");

  // Everything that is used has a name; tables say what they hold.
  all("input:not([type=hidden], [aria-hidden=true]), select, textarea").forEach((one) => {
    const words = [...one.labels].map((label) => label.textContent).join("") || one.getAttribute("aria-label");
    if (!words?.trim()) found.push(`${named(one)} has no label`);
  });
  all("a[href], button, summary").filter(shown).forEach((one) => {
    const words = one.textContent.trim() || one.getAttribute("aria-label") || one.querySelector("[aria-label]");
    if (!words) found.push(`${named(one)} has no name`);
    if (one.tabIndex > 0) found.push(`${named(one)} is out of the order of the page`);
  });
  all("table").forEach((table) => {
    if (!table.caption?.textContent.trim() && !table.getAttribute("aria-label")) found.push(`${named(table)} has no caption`);
    all("th", table).forEach((head) => {
      if (!head.scope) found.push(`the head ${named(head)} has no scope`);
      if (!head.textContent.trim()) found.push(`a head of ${named(table)} is empty`);
    });
  });
  all("img, svg").filter(shown).forEach((one) => {
    const said = one.getAttribute("aria-hidden") === "true" || one.getAttribute("aria-label") ||
      one.getAttribute("aria-labelledby") || one.querySelector("title") || one.closest("[aria-hidden=true]");
    if (!said) found.push(`${named(one)} says nothing to who cannot see it`);
  });

  // What scrolls can be reached by keys.
  all("main *").filter(shown).forEach((one) => {
    const scrolls = /auto|scroll/.test(getComputedStyle(one).overflow) &&
      (one.scrollWidth > one.clientWidth + 1 || one.scrollHeight > one.clientHeight + 1);
    if (scrolls && one.tagName !== "TEXTAREA" && one.tabIndex < 0 && !one.querySelector("a[href], button, input, summary")) {
      found.push(`${named(one)} scrolls, and no key reaches it`);
    }
  });

  // Contrast: 4.5 to 1, 3 to 1 for large text, against what lies behind.
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const colours = new Map();
  const rgba = (colour) => {
    if (!colours.has(colour)) {
      canvas.clearRect(0, 0, 1, 1);
      canvas.fillStyle = colour;
      canvas.fillRect(0, 0, 1, 1);
      const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
      colours.set(colour, [r, g, b, a / 255]);
    }
    return colours.get(colour);
  };
  const over = (top, under) => [0, 1, 2].map((k) => top[k] * top[3] + under[k] * (1 - top[3])).concat(1);
  const behind = (element) => {
    const layers = [];
    for (let one = element; one; one = one.parentElement) {
      const colour = rgba(getComputedStyle(one).backgroundColor);
      if (colour[3]) layers.push(colour);
      if (colour[3] === 1) break;
    }
    return layers.reverse().reduce((under, top) => over(top, under), [255, 255, 255, 1]);
  };
  const light = (colour) => colour.slice(0, 3).map((part) => {
    const share = part / 255;
    return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
  }).reduce((sum, part, k) => sum + part * [0.2126, 0.7152, 0.0722][k], 0);
  const seen = new Set();
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.textContent.trim() || seen.has(element) || !shown(element)) continue;
    seen.add(element);
    const style = getComputedStyle(element);
    if (element.closest(":disabled, script, style, option")) continue;
    const back = behind(element);
    const front = over(rgba(element.closest("svg") ? style.fill : style.color), back);
    const [high, low] = [light(front), light(back)].sort((a, b) => b - a);
    const size = parseFloat(style.fontSize);
    const large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
    const ratio = (high + 0.05) / (low + 0.05);
    if (ratio < (large ? 3 : 4.5)) found.push(`${named(element)} has a contrast of ${ratio.toFixed(2)}`);
  }
  return [...new Set(found)];
}
