/* Shows items of all kinds with their labels, each in a tile. */
import { ask, download, element, link, loadMedia, whole } from "./page.js";
import { plots } from "./series.js";
import { byPerson, drawn, isDrawn, paint } from "./shapes.js";

export const asked = Object.fromEntries(new URLSearchParams(window.location.search));

const place = (item) => ({ ...asked, item: item.item_id, ...(item.target ? { target: item.target } : {}) });

const note = (text) => element("p", { class: "note" }, text);

export const nameOf = (item) => item.item_key.split("/").pop() || item.item_key;

/** Return a box that looks like loading, and a function that ends this look. */
function loading(name, shown) {
  const frame = element("div", { class: `${name} loading`, "aria-busy": "true" }, shown);
  const done = () => {
    frame.classList.remove("loading");
    frame.removeAttribute("aria-busy");
  };
  return { frame, done };
}

/** Return a box with media that load. If they do not load, the box has a note. */
function showing(name, shown, path, item, ready, more = {}) {
  const { frame, done } = loading(name, shown);
  const fail = () => {
    done();
    frame.replaceChildren(note(`The ${name} cannot be shown here.`));
  };
  shown.addEventListener("error", fail);
  shown.addEventListener(ready, done, { once: true });
  loadMedia(shown, path, { ...place(item), ...more }).catch(fail);
  return frame;
}

function picture(item, look, large) {
  const image = element("img", { alt: item.item_key, loading: "lazy", referrerpolicy: "no-referrer" });
  const frame = showing("picture", image, "image", item, "load", large ? {} : { size: "small" });
  image.addEventListener("load", () => frame.append(
    drawn(item.labels, item.width || image.naturalWidth, item.height || image.naturalHeight, look, frame.clientWidth)));
  return frame;
}

/** Return a video that stands at the frame of its drawn labels. The labels go when somebody plays it. */
function video(item, look) {
  const shown = element("video", { controls: "", muted: "", playsinline: "", preload: "metadata", "aria-label": item.item_key });
  const frame = showing("video", shown, "media", item, "loadedmetadata");
  shown.addEventListener("loadedmetadata", () => {
    if (item.shown_at) shown.currentTime = item.shown_at;
    const labels = drawn(item.labels, item.width || shown.videoWidth, item.height || shown.videoHeight, look, frame.clientWidth);
    frame.append(labels);
    shown.addEventListener("play", () => labels.remove(), { once: true });
  }, { once: true });
  return frame;
}

const seconds = (time) => time.toFixed(1);

/** List labels with a beginning and an end, for media that cannot show them as marks. */
function ranges(labels, look, unit = " s") {
  if (!labels.length) return [];
  return [element("ul", { class: "ranges" }, ...labels.map((label) => {
    const where = label.time !== undefined ? `${seconds(label.time)}–${seconds(label.time_end ?? label.time)}${unit}`
      : label.times ? label.times.join(" – ") : label.text;
    const on = label.page === undefined ? "" : ` (page ${label.page + 1})`;
    return element("li", { "--color": paint(look, label) }, element("b", {}, label.label || label.field), where ? ` ${where}` : null, on);
  }))];
}

function sound(item, look) {
  const shown = element("audio", { controls: "", preload: "metadata", "aria-label": item.item_key });
  const frame = showing("audio", shown, "media", item, "loadedmetadata");
  return element("div", {}, frame, ...ranges(item.labels.filter((label) => label.time !== undefined), look));
}

/** Return a text with its spans marked, with a line for each. If spans overlap, the shortest one gives the color. */
function marked(letters, spans, look) {
  const ends = [...new Set([0, letters.length, ...spans.flatMap((span) => [span.start, span.end])])].sort((a, b) => a - b);
  return ends.slice(0, -1).flatMap((start, at) => {
    const text = letters.slice(start, ends[at + 1]).join("");
    const over = spans.filter((span) => span.start <= start && span.end > start)
      .sort((a, b) => (a.end - a.start) - (b.end - b.start));
    if (!over.length) return [text];
    const names = over.map(({ label }) => look === byPerson ? `${label.label || label.field} (${label.annotator})` : label.label || label.field);
    const colors = [...new Set(over.map(({ label }) => paint(look, label)))];
    const made = element("mark", { title: names.join(", "), "--color": colors[0] }, text);
    made.style.boxShadow = colors.map((color, line) => `0 ${2 * line + 2}px ${color}`).join(", ");
    const ended = over.filter((span) => span.end === ends[at + 1]);
    return [made, ...ended.map(({ label }) => element("small", { class: "class", "--color": paint(look, label) }, label.label || label.field))];
  });
}

/** Return where a span of a conversation is in the text of all messages, null if it is not found. */
function findSaid({ messages: [first, last], span_start: start, span_end: end, text }, letters, starts) {
  const found = { start: starts[first] + start, end: starts[last] + end };
  if (!(found.end > found.start) || found.end > letters.length) return null;
  return first !== last || letters.slice(found.start, found.end).join("") === text ? found : null;
}

/** Return where a span is in a text, in characters, null if it is not found. Some tools count an emoji as two. */
function find(span, { text, letters, starts }) {
  const [start, end] = [span.span_start, span.span_end];
  if (span.messages) return findSaid(span, letters, starts);
  if (start === undefined || end <= start) return null;
  if (letters.length >= end && (span.text === undefined || letters.slice(start, end).join("") === span.text)) return { start, end };
  if (span.text === undefined || text.slice(start, end) !== span.text) return null;
  const before = [...text.slice(0, start)].length;
  return { start: before, end: before + [...span.text].length };
}

function showTexts(item, texts, look) {
  const shown = texts.map((one) => ({ ...one, letters: [...one.text], spans: [] }));
  // Look for a span in the text of its target, then in the others: some tools name targets not as the data.
  const lost = item.labels.filter((label) => label.type === "span").filter((span) => {
    const ordered = [...shown.filter(({ name }) => name === span.target), ...shown.filter(({ name }) => name !== span.target)];
    for (const text of ordered) {
      const found = find(span, text);
      if (found) {
        text.spans.push({ label: span, ...found });
        return false;
      }
    }
    return true;
  });
  const chosen = item.labels.filter((label) => label.type === "pairwise").map((label) => label.label);
  const blocks = shown.map(({ name, letters, spans }) => element("div", { class: chosen.includes(name) ? "chosen" : null },
    shown.length > 1 ? element("b", { class: "data-key" }, chosen.includes(name) ? `${name} · chosen` : name) : null,
    element("p", { class: "text", dir: "auto" }, ...marked(letters, spans, look))));
  return [...blocks, ...ranges(lost, look)];
}

/** Return a box that reads a file of the item, and then shows it. */
function read(item, path, show, labels, look) {
  const { frame, done } = loading("texts", note("Reading the file…"));
  const end = (...shown) => {
    done();
    frame.replaceChildren(...shown);
  };
  ask(path, { ...place(item), media_type: item.media_type }).then((answer) => {
    if (answer.url) end(element("p", {}, "It is at ", link(answer.url, new URL(answer.url).host), "."), ...ranges(labels, look));
    else end(...show(answer));
  }).catch((error) => end(note(error.message), ...ranges(labels, look)));
  return frame;
}

const spansOf = (item) => item.labels.filter((label) => label.type === "span");

function texts(item, look) {
  if (item.has_file && !item.texts.length) return read(item, "text", (answer) => showTexts(item, answer.texts, look), spansOf(item), look);
  const blocks = showTexts(item, item.texts, look);
  if (!item.texts.length) blocks.unshift(note(item.media_type.replaceAll("_", " ")));
  return element("div", { class: "texts" }, ...blocks);
}

function series(item, look) {
  if (!item.has_file) return texts(item, look);
  const spans = spansOf(item);
  return read(item, "series", (answer) => [plots(answer, spans, look), ...ranges(spans, look, "")], spans, look);
}

/** Return a link to a document, and empty pages with the labels drawn on them. The document itself is not shown. */
function pdf(item, look, large) {
  const pages = new Map();
  for (const label of item.labels.filter(isDrawn)) {
    const page = label.page ?? 0;
    pages.set(page, [...(pages.get(page) ?? []), label]);
  }
  const sheets = [...pages].sort(([one], [other]) => one - other).slice(0, 6).map(([page, labels]) => {
    const [width, height] = labels.find((label) => label.page_size)?.page_size ?? [595, 842];
    const sheet = drawn(labels, Number(width) || 595, Number(height) || 842, look, large ? 256 : 112);
    sheet.removeAttribute("preserveAspectRatio");
    return element("figure", { class: "sheet" }, sheet, element("figcaption", {}, `page ${page + 1}`));
  });
  const name = item.has_file ? download("document", place(item), "Download the PDF") : "PDF";
  return element("div", { class: "texts" }, element("p", {}, name),
    sheets.length ? element("div", { class: "sheets" }, ...sheets) : null, ...ranges(spansOf(item), look));
}

const SHOWN = { image: picture, video, audio: sound, time_series: series, pdf };

/** Return an item with its labels, shown in the way of its kind. */
export const show = (item, look, large = false) => (SHOWN[item.media_type] ?? texts)(item, look, large);

function words(label) {
  if (isDrawn(label) || label.type === "span" || label.type === "relation") return null;
  const answer = label.label ? [label.label, ...(label.labels ?? []).slice(label.type === "ranking" ? 0 : 1)] : (label.labels ?? []);
  const said = answer.length ? answer.join(label.type === "ranking" ? " › " : ", ") : label.text ?? label.number ?? null;
  return said === null ? null : `${label.field}: ${said}`;
}

/** Return the answers of labels that are not drawn or marked, as text. */
const answers = (labels) => [...new Set(labels.map(words).filter((word) => word !== null))].slice(0, 8).join(" · ");

export const answersOf = (item, person) => answers(item.labels.filter((label) => label.annotator === person));

export function summary(item) {
  const spans = spansOf(item).length;
  const parts = [answers(item.labels), item.drawn ? `${whole(item.drawn)} drawn` : null, spans ? `${whole(spans)} marked` : null];
  return parts.filter(Boolean).join(" · ") || "nothing there";
}

export const status = (item) => item.status.replaceAll("_", " ");

export const standing = (item) => `${status(item)} · ${item.annotators.join(", ")}`;

/** Return a tile. ``caption`` is a list of elements below the item; ``enlarge`` opens the item large. */
export function tile(item, look, caption, enlarge) {
  const shown = show(item, look);
  const larger = element("button", { type: "button", class: "enlarge", "aria-label": `Show ${nameOf(item)} large` }, "⤢");
  larger.addEventListener("click", enlarge);
  if (item.media_type === "image") shown.addEventListener("click", enlarge);
  return element("li", {}, shown, element("div", { class: "caption" }, larger,
    item.url ? link(item.url, nameOf(item)) : nameOf(item), item.target ? ` · ${item.target}` : null, ...caption));
}
