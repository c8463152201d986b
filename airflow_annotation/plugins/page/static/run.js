import { about, ask, badge, bar, dagRunLink, drawing, element, link, loadMedia, problem, progressText, whole } from "./page.js";

const asked = Object.fromEntries(new URLSearchParams(window.location.search));
const COLORS = ["#e4572e", "#2e86ab", "#f2b134", "#5aae61", "#9b5de5", "#00a6a6", "#d1495b", "#6b7a8f"];
const colors = new Map();

function color(label) {
  if (!colors.has(label)) colors.set(label, COLORS[colors.size % COLORS.length]);
  return colors.get(label);
}

function fact(name, value) {
  return element("li", {}, element("b", {}, value), element("span", {}, name));
}

function showRun({ run }) {
  document.getElementById("title").textContent = run.run_key || run.title;
  document.title = `${run.run_key || run.title} · Annotation`;
  const links = element("p", {}, badge(run.state), " ", link(run.url, "Open project"));
  const dagRun = dagRunLink(run.dag_run);
  if (dagRun) links.append(" · DAG run ", dagRun);
  document.getElementById("run").replaceChildren(
    links,
    element("p", {}, progressText(run), bar(run.completed, run.skipped, run.total)),
    element("ul", { class: "facts" },
      fact("submissions", whole(run.annotations)),
      fact("left to label", whole(run.left)),
      ...Object.entries(run.statuses).sort().map(([name, count]) => fact(name.replaceAll("_", " "), whole(count)))));
}

function counts(title, rows, withColor) {
  const most = Math.max(...rows.map((row) => row.count), 1);
  const lines = rows.slice(0, 15).map((row) => {
    const part = drawing("rect", { class: "done", x: 0, y: 0, width: (100 * row.count) / most, height: 1 });
    if (withColor) part.setAttribute("fill", color(row.name));
    if (withColor) part.removeAttribute("class");
    const shown = drawing("svg", { class: "row-bar", viewBox: "0 0 100 1", preserveAspectRatio: "none", "aria-hidden": "true" }, part);
    return element("tr", {}, element("td", {}, row.name), element("td", { class: "number" }, whole(row.count)), element("td", {}, shown));
  });
  const rest = rows.length > 15 ? element("p", { class: "note" }, `and ${whole(rows.length - 15)} more`) : null;
  return element("div", {}, title, element("table", {}, element("tbody", {}, ...lines)), ...(rest ? [rest] : []));
}

const heading = (name) => element("h2", {}, name);

function labeled(fields) {
  return element("div", {}, heading("What is labeled"),
    ...fields.map(({ field, classes }) => counts(element("h3", {}, field), classes, true)));
}

/** What a label draws, coordinates in pixels of the item. */
function shapes(label, width, height) {
  const name = label.label || label.type;
  const paint = { stroke: color(name), fill: color(name), class: "shape" };
  const path = (ring) => ring.map(([x, y], index) => `${index ? "L" : "M"}${x * width} ${y * height}`).join("");
  const title = () => drawing("title", {}, name);
  if (label.polygons) {
    return [drawing("path", { ...paint, "fill-rule": "evenodd", d: label.polygons.flat().map((ring) => `${path(ring)}Z`).join("") }, title())];
  }
  if (label.points) {
    if (label.type === "keypoint") return label.points.map(([x, y]) => drawing("circle", { ...paint, cx: x * width, cy: y * height, r: Math.max(width, height) / 120 }, title()));
    if (label.type === "polyline") return [drawing("path", { ...paint, class: "line", d: path(label.points) }, title())];
    return [drawing("path", { ...paint, d: `${path(label.points)}Z` }, title())];
  }
  if (label.bbox) {
    const [x, y, w, h] = [label.bbox[0] * width, label.bbox[1] * height, label.bbox[2] * width, label.bbox[3] * height];
    const turn = label.rotation ? { transform: `rotate(${label.rotation} ${x} ${y})` } : {};
    if (label.type === "ellipse") return [drawing("ellipse", { ...paint, ...turn, cx: x + w / 2, cy: y + h / 2, rx: w / 2, ry: h / 2 }, title())];
    return [drawing("rect", { ...paint, ...turn, x, y, width: w, height: h }, title())];
  }
  return [];
}

/** The name of a shape, beside it where there is room. */
function nameOf(label, width, height) {
  const points = label.polygons?.flat(2) ?? label.points ?? (label.bbox ? [label.bbox] : []);
  if (!label.label || !points.length) return [];
  const size = Math.max(width, height) / 20;
  const x = Math.min(...points.map((point) => point[0])) * width;
  const y = Math.max(Math.min(...points.map((point) => point[1])) * height - size / 4, size);
  const turn = label.rotation ? { transform: `rotate(${label.rotation} ${label.bbox[0] * width} ${label.bbox[1] * height})` } : {};
  return [drawing("text", { x, y, ...turn, "font-size": size, stroke: color(label.label), class: "name" }, label.label)];
}

function drawn(item, width, height) {
  const labels = item.labels.filter(isDrawn);
  return drawing("svg", { viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none" },
    ...labels.flatMap((label) => shapes(label, width, height)), ...labels.flatMap((label) => nameOf(label, width, height)));
}

const isDrawn = (label) => Boolean(label.bbox || label.points || label.polygons);

/** A box that what comes from elsewhere is shown in, with a note where it does not come. */
function showing(name, shown, path, item) {
  const frame = element("div", { class: name }, shown);
  const fail = () => frame.replaceChildren(element("p", { class: "note" }, `The ${name} cannot be shown here.`));
  shown.addEventListener("error", fail);
  loadMedia(shown, path, { ...asked, item: item.item_id, ...(item.target ? { target: item.target } : {}) }).catch(fail);
  return frame;
}

function picture(item) {
  const image = element("img", { alt: item.item_key, loading: "lazy", referrerpolicy: "no-referrer" });
  const frame = showing("picture", image, "image", item);
  image.addEventListener("load", () => frame.append(drawn(item, item.width || image.naturalWidth, item.height || image.naturalHeight)));
  return frame;
}

/** A video stands at the frame that its labels are drawn of, until somebody plays it. */
function video(item) {
  const shown = element("video", { controls: "", muted: "", playsinline: "", preload: "metadata", "aria-label": item.item_key });
  const frame = showing("video", shown, "media", item);
  shown.addEventListener("loadedmetadata", () => {
    if (item.shown_at) shown.currentTime = item.shown_at;
    const labels = drawn(item, item.width || shown.videoWidth, item.height || shown.videoHeight);
    frame.append(labels);
    shown.addEventListener("play", () => labels.remove(), { once: true });
  }, { once: true });
  return frame;
}

const seconds = (time) => time.toFixed(1);

/** Labels that begin and end somewhere, for what they cannot be marked in. */
function ranges(labels) {
  if (!labels.length) return [];
  return [element("ul", { class: "ranges" }, ...labels.map((label) => {
    const where = label.time === undefined ? label.text : `${seconds(label.time)}–${seconds(label.time_end ?? label.time)} s`;
    const name = element("b", {}, label.label || label.field);
    const line = element("li", {}, name, where ? ` ${where}` : null);
    line.style.setProperty("--color", color(label.label || label.field));
    return line;
  }))];
}

function sound(item) {
  const shown = element("audio", { controls: "", preload: "metadata", "aria-label": item.item_key });
  return element("div", {}, showing("audio", shown, "media", item), ...ranges(item.labels.filter((label) => label.time !== undefined)));
}

/** A text with its spans marked: of those that overlap, the shortest has the color, and all are named. */
function marked(letters, spans) {
  const ends = [...new Set([0, letters.length, ...spans.flatMap((span) => [span.span_start, span.span_end])])].sort((a, b) => a - b);
  return ends.slice(0, -1).flatMap((start, place) => {
    const text = letters.slice(start, ends[place + 1]).join("");
    const over = spans.filter((span) => span.span_start <= start && span.span_end > start)
      .sort((a, b) => (a.span_end - a.span_start) - (b.span_end - b.span_start));
    if (!over.length) return [text];
    const made = element("mark", { title: over.map((span) => span.label || span.field).join(", ") }, text);
    made.style.setProperty("--color", color(over[0].label || over[0].field));
    const ended = over.filter((span) => span.span_end === ends[place + 1]);
    return [made, ...ended.map((span) => element("small", { class: "class" }, span.label || span.field))];
  });
}

function texts(item) {
  const spans = item.labels.filter((label) => label.type === "span");
  const shown = item.texts.map(({ name, text }) => ({ name, letters: [...text], spans: [] }));
  // A span is in the text that has it, that of its target first: some tools name targets otherwise than data.
  const lost = spans.filter((span) => {
    if (span.span_start === undefined || span.span_end <= span.span_start) return true;
    const has = ({ letters }) => letters.length >= span.span_end
      && (span.text === undefined || letters.slice(span.span_start, span.span_end).join("") === span.text);
    const place = shown.find((text) => text.name === span.target && has(text)) ?? shown.find(has);
    place?.spans.push(span);
    return !place;
  });
  const chosen = item.labels.filter((label) => label.type === "pairwise").map((label) => label.label);
  const blocks = shown.map(({ name, letters, spans: within }) => element("div", { class: chosen.includes(name) ? "chosen" : null },
    shown.length > 1 ? element("b", { class: "data-key" }, chosen.includes(name) ? `${name} · chosen` : name) : null,
    element("p", { class: "text", dir: "auto" }, ...marked(letters, within))));
  if (!blocks.length) blocks.push(element("p", { class: "note" }, item.media_type.replaceAll("_", " ")));
  return element("div", { class: "texts" }, ...blocks, ...ranges(lost));
}

const SHOWN = { image: picture, video, audio: sound };

function words(label) {
  if (isDrawn(label) || label.type === "span" || label.type === "relation") return null;
  const answer = label.label ? [label.label, ...(label.labels ?? []).slice(label.type === "ranking" ? 0 : 1)] : (label.labels ?? []);
  const said = answer.length ? answer.join(label.type === "ranking" ? " › " : ", ") : label.text ?? label.number ?? null;
  return said === null ? null : `${label.field}: ${said}`;
}

function card(item) {
  const said = [...new Set(item.labels.map(words).filter((word) => word !== null))].slice(0, 8).join(" · ");
  const spans = item.labels.filter((label) => label.type === "span").length;
  const parts = [said, item.drawn ? `${whole(item.drawn)} drawn` : null, spans ? `${whole(spans)} marked` : null];
  const name = item.item_key.split("/").pop() || item.item_key;
  return element("li", {}, (SHOWN[item.media_type] ?? texts)(item), element("div", { class: "caption" },
    item.url ? link(item.url, name) : name, item.target ? ` · ${item.target}` : null,
    element("div", {}, parts.filter(Boolean).join(" · ") || "nothing there"),
    element("small", {}, `${item.status.replaceAll("_", " ")} · ${item.annotators.join(", ")}`)));
}

/** How fast it goes, and how much work is left at that pace. */
function paceText(pace, run) {
  if (!run || !run.left) return run && run.skipped && run.completed < run.total ? "Only skipped items are left." : "";
  if (!pace) return "Too few items are completed yet to say how fast it goes.";
  const since = new Date(pace.since).toLocaleString([], { dateStyle: "medium", timeStyle: "short" });
  return `About ${about(run.left / pace.per_hour)} hours of work are left, at ${about(pace.per_hour)} items an hour. `
    + `That is the pace of ${whole(pace.items)} items completed in ${about(pace.hours)} hours of work since ${since}, pauses of over an hour left out.`;
}

async function showSample(sample) {
  const place = document.getElementById("sample");
  if (!sample.counted) {
    place.replaceChildren(element("p", { class: "note" }, "Nobody has labeled anything yet."));
    return;
  }
  const run = await reading.then((answer) => answer?.run);
  const review = sample.waiting_for_review ? ` ${whole(sample.waiting_for_review)} of them wait for a reviewer.` : "";
  place.replaceChildren(
    element("p", { id: "pace" }, paceText(sample.pace, run)),
    element("p", { class: "note" }, `Of ${sample.counted === 1 ? "the item that was" : `the ${whole(sample.counted)} items that were`} labeled last.${review}`),
    element("div", { class: "columns" }, counts(heading("Who labels"), sample.people, false), labeled(sample.fields)),
    element("h2", {}, "Labeled last"),
    element("ul", { class: "items" }, ...sample.items.map(card)));
}

async function fill(path, show, place) {
  try {
    const answer = await ask(path, asked);
    await show(answer);
    return answer;
  } catch (error) {
    document.getElementById(place).replaceChildren(problem(error));
    return null;
  }
}

document.getElementById("sample").replaceChildren(element("p", { class: "note" }, "Reading what was labeled last…"));
const reading = fill("run", showRun, "run");
fill("sample", showSample, "sample");
