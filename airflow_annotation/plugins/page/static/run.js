import { about, ask, badge, bar, dagRunLink, drawing, element, link, loadImage, problem, progressText, whole } from "./page.js";

const asked = Object.fromEntries(new URLSearchParams(window.location.search));
const COLOURS = ["#e4572e", "#2e86ab", "#f2b134", "#5aae61", "#9b5de5", "#00a6a6", "#d1495b", "#6b7a8f"];
const colours = new Map();

function colour(label) {
  if (!colours.has(label)) colours.set(label, COLOURS[colours.size % COLOURS.length]);
  return colours.get(label);
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

function counts(title, rows, withColour) {
  const most = Math.max(...rows.map((row) => row.count), 1);
  const lines = rows.slice(0, 15).map((row) => {
    const part = drawing("rect", { class: "done", x: 0, y: 0, width: (100 * row.count) / most, height: 1 });
    if (withColour) part.setAttribute("fill", colour(row.name));
    if (withColour) part.removeAttribute("class");
    const shown = drawing("svg", { class: "row-bar", viewBox: "0 0 100 1", preserveAspectRatio: "none", "aria-hidden": "true" }, part);
    return element("tr", {}, element("td", {}, row.name), element("td", { class: "number" }, whole(row.count)), element("td", {}, shown));
  });
  const rest = rows.length > 15 ? element("p", { class: "note" }, `and ${whole(rows.length - 15)} more`) : null;
  return element("div", {}, element("h2", {}, title), element("table", {}, element("tbody", {}, ...lines)), ...(rest ? [rest] : []));
}

/** What a label draws, coordinates in pixels of the item. */
function shapes(label, width, height) {
  const name = label.label || label.type;
  const paint = { stroke: colour(name), fill: colour(name), class: "shape" };
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

function picture(item) {
  const frame = element("div", { class: "picture" });
  if (item.media_type !== "image") {
    frame.append(element("p", { class: "note" }, item.media_type));
    return frame;
  }
  const image = element("img", { alt: item.item_key, loading: "lazy", referrerpolicy: "no-referrer" });
  const fail = () => frame.replaceChildren(element("p", { class: "note" }, "The picture cannot be shown here."));
  image.addEventListener("error", fail);
  image.addEventListener("load", () => {
    const [width, height] = [item.width || image.naturalWidth, item.height || image.naturalHeight];
    const drawn = item.labels.flatMap((label) => shapes(label, width, height));
    frame.append(drawing("svg", { viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none" }, ...drawn));
  });
  frame.append(image);
  loadImage(image, { ...asked, item: item.item_id, target: item.target }).catch(fail);
  return frame;
}

function words(label) {
  if (label.bbox || label.points || label.polygons) return null;
  return label.label || label.text || (label.number ?? null);
}

function card(item) {
  const said = [...new Set(item.labels.map(words).filter((word) => word !== null))].slice(0, 8).join(", ");
  const objects = item.labels.filter((label) => words(label) === null).length;
  const summary = [said, objects ? `${whole(objects)} drawn` : null].filter(Boolean).join(" · ") || "nothing there";
  const name = item.item_key.split("/").pop() || item.item_key;
  return element("li", {}, picture(item), element("div", { class: "caption" },
    item.url ? link(item.url, name) : name, item.target ? ` · ${item.target}` : null, element("div", {}, summary),
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
    element("div", { class: "columns" }, counts("Who labels", sample.people, false), counts("What is labeled", sample.classes, true)),
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
