/* What is wrong with how a page looks: a list of sentences. For the picture test. */
() => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  /** A color of the style sheet, whatever it is written in, as red, green, blue and alpha. */
  const parse = (color) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = color;
    canvas.fillRect(0, 0, 1, 1);
    const [red, green, blue, alpha] = canvas.getImageData(0, 0, 1, 1).data;
    return [red, green, blue, alpha / 255];
  };
  const over = (top, below) => [0, 1, 2].map((part) => top[part] * top[3] + below[part] * (1 - top[3]));
  const behind = (element) => {
    const chain = [];
    for (let at = element; at; at = at.parentElement) chain.unshift(parse(getComputedStyle(at).backgroundColor));
    return chain.reduce((below, top) => over(top, below), [255, 255, 255]);
  };
  const light = (color) => {
    const part = (value) => (value / 255 <= 0.03928 ? value / 255 / 12.92 : ((value / 255 + 0.055) / 1.055) ** 2.4);
    return 0.2126 * part(color[0]) + 0.7152 * part(color[1]) + 0.0722 * part(color[2]);
  };
  const contrast = (one, other) => {
    const [first, second] = [light(one), light(other)];
    return (Math.max(first, second) + 0.05) / (Math.min(first, second) + 0.05);
  };
  const open = document.querySelector("dialog[open]");
  const shown = (element) => element.checkVisibility({ checkOpacity: true, checkVisibilityCSS: true })
    && element.getBoundingClientRect().width > 1 && (!open || open.contains(element));
  const name = (element) => `<${element.tagName.toLowerCase()}> ${(element.getAttribute("aria-label") || element.textContent || element.id).trim().slice(0, 60)}`;
  const wrong = [];
  const all = [...document.body.querySelectorAll("*")].filter(shown);

  for (const element of all) {
    const style = getComputedStyle(element);
    const text = [...element.childNodes].some((child) => child.nodeType === 3 && child.textContent.trim());
    if (text && element.namespaceURI.endsWith("/svg")) {
      // White letters with a border in the color of the class: they are read by their border.
      const found = contrast(parse(style.fill), parse(style.stroke));
      if (element.tagName === "text" && found < 3) wrong.push(`a contrast of ${found.toFixed(1)} to its border: ${name(element)}`);
    } else if (text && !element.closest(":disabled")) {
      const ground = behind(element);
      const found = contrast(over(parse(style.color), ground), ground);
      if (found < 4.5) wrong.push(`a contrast of ${found.toFixed(1)}: ${name(element)}`);
    }
    const { left, right, width } = element.getBoundingClientRect();
    const scrolls = [element, ...function* () { for (let at = element.parentElement; at; at = at.parentElement) yield at; }()]
      .some((at) => ["auto", "scroll", "hidden"].includes(getComputedStyle(at).overflowX) && at !== document.body && at !== element);
    if (!scrolls && (left < -1 || right > window.innerWidth + 1)) wrong.push(`out of the window (${Math.round(left)} to ${Math.round(right)}): ${name(element)}`);
    if (text && element.scrollWidth > element.clientWidth + 1 && style.overflowX === "hidden" && width > 1) wrong.push(`cut: ${name(element)}`);
  }

  for (const element of document.querySelectorAll(".scroll")) {
    if (shown(element) && element.scrollWidth > element.clientWidth + 1) wrong.push(`wider than the window: ${name(element)}`);
  }

  const controls = all.filter((element) => element.matches("a, button, input, select, summary"));
  const boxes = controls.map((element) => [element, [...element.getClientRects()]]);
  for (const [element, rects] of boxes) {
    // WCAG 2.2, 2.5.8: a finger meets 24 pixels; links in a text are exempt.
    const { width, height } = element.getBoundingClientRect();
    const room = element.matches("input[type=checkbox]") ? element.closest("label").getBoundingClientRect().height : height;
    if (!element.matches("a") && (width < 13 || room < 24)) wrong.push(`too small (${Math.round(width)} by ${Math.round(height)}): ${name(element)}`);
    for (const [other, others] of boxes) {
      if (element === other || element.contains(other) || other.contains(element) || controls.indexOf(other) < controls.indexOf(element)) continue;
      const meet = rects.some((one) => others.some((two) => Math.min(one.right, two.right) - Math.max(one.left, two.left) > 1
        && Math.min(one.bottom, two.bottom) - Math.max(one.top, two.top) > 1));
      if (meet) wrong.push(`over each other: ${name(element)} and ${name(other)}`);
    }
    const label = element.getAttribute("aria-label") || element.textContent.trim() || element.labels?.[0]?.textContent.trim();
    if (!label) wrong.push(`without a name: ${element.outerHTML.slice(0, 80)}`);
  }
  return [...new Set(wrong)];
}
