import { about, ask, badge, bar, dagRunLink, element, link, problem, progressText, rowBar, runName, whole } from "./page.js";
import { agreement } from "./agreement.js";
import { asked, standing, status, summary, tile } from "./items.js";
import { enlarge } from "./large.js";
import { byClass, classOf } from "./shapes.js";

const A_PAGE = 12;

function fact(name, value) {
  return element("li", {}, element("b", {}, value), element("span", {}, name));
}

function showRun({ run }) {
  const title = document.getElementById("title");
  title.textContent = runName(run);
  title.title = run.run_key || run.title;
  document.title = `${runName(run)} · Annotation`;
  const links = element("p", {}, badge(run.state), " ", link(run.url, "Open project"));
  const dagRun = dagRunLink(run.dag_run);
  if (dagRun) links.append(" · DAG run ", dagRun);
  document.getElementById("run").replaceChildren(
    links,
    element("p", {}, progressText(run), bar(run)),
    element("ul", { class: "facts" },
      fact("submissions", whole(run.annotations)),
      fact("left to label", whole(run.left)),
      ...Object.entries(run.statuses).sort().map(([name, count]) => fact(name.replaceAll("_", " "), whole(count)))));
}

function counts(title, rows, withColor) {
  const most = Math.max(...rows.map((row) => row.count), 1);
  const lines = rows.slice(0, 15).map((row) => element("tr", {}, element("td", {}, row.name),
    element("td", { class: "number" }, whole(row.count)), element("td", {}, rowBar(row.count / most, withColor ? byClass.color(row.name) : null))));
  const rest = rows.length > 15 ? element("p", { class: "note" }, `and ${whole(rows.length - 15)} more`) : null;
  return element("div", {}, title, element("table", {}, element("tbody", {}, ...lines)), rest);
}

const heading = (name) => element("h2", {}, name);

function labeled(fields) {
  return element("div", {}, heading("What is labeled"),
    ...fields.map(({ field, classes }) => counts(element("h3", {}, field), classes, true)));
}

const lasting = (hours) => (hours >= 1 ? `${about(hours)} hours` : `${about(60 * hours)} minutes`);

/** Return a text that says how fast people work, and how much work is left at that pace. */
function paceText(pace, run) {
  if (!run || !run.left) return run && run.skipped && run.completed < run.total ? "Only skipped items are left." : "";
  if (!pace) return "Too few items are completed yet to say how fast it goes.";
  const since = new Date(pace.since).toLocaleString([], { dateStyle: "medium", timeStyle: "short" });
  return `About ${lasting(run.left / pace.per_hour)} of work are left, at ${about(pace.per_hour)} items an hour. `
    + `That is the pace of ${whole(pace.items)} items completed in ${lasting(pace.hours)} of work since ${since}, pauses of over an hour left out.`;
}

/** Return a list to choose one of the items' values. There is no list if there are fewer than two values. */
function choice(name, values, show) {
  const options = [...new Set(values)].sort();
  if (options.length < 2) return { element: null, value: () => "" };
  const select = element("select", {}, element("option", { value: "" }, "all"), ...options.map((value) => element("option", { value }, value)));
  select.addEventListener("change", show);
  return { element: element("label", {}, `${name} `, select), value: () => select.value };
}

/** Return the items' tiles, some at a time, with filters. */
function tiles(items) {
  const list = element("ul", { class: "items" });
  const more = element("button", { type: "button" });
  const said = element("p", { class: "note", role: "status" });
  let most = A_PAGE;
  const show = () => {
    const chosen = items.filter((item) => (!classes.value() || item.labels.some((label) => classOf(label) === classes.value()))
      && (!people.value() || item.annotators.includes(people.value())) && (!statuses.value() || status(item) === statuses.value()));
    const there = new Set(list.children);
    const wanted = chosen.slice(0, most).map((item) => made(item));
    for (const child of there) if (!wanted.includes(child)) child.remove();
    wanted.forEach((child, at) => { if (list.children[at] !== child) list.insertBefore(child, list.children[at] ?? null); });
    more.hidden = chosen.length <= most;
    more.textContent = `Show ${whole(Math.min(A_PAGE, chosen.length - most))} more`;
    said.textContent = chosen.length === items.length ? "" : `${whole(chosen.length)} of the ${whole(items.length)} items that were labeled last.`;
    shown = chosen;
  };
  let shown = items;
  const known = new Map();
  const made = (item) => {
    if (!known.has(item)) {
      known.set(item, tile(item, byClass, [element("div", {}, summary(item)),
        element("small", {}, standing(item))], () => enlarge(item, shown, byClass)));
    }
    return known.get(item);
  };
  const fresh = () => { most = A_PAGE; show(); };
  const classes = choice("Class", items.flatMap((item) => item.labels.map(classOf)), fresh);
  const people = choice("Person", items.flatMap((item) => item.annotators), fresh);
  const statuses = choice("Status", items.map(status), fresh);
  more.addEventListener("click", () => { most += A_PAGE; show(); });
  show();
  return [heading("Labeled last"), element("div", { class: "filters" }, classes.element, people.element, statuses.element), said, list, more];
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
    element("div", { class: "columns" }, counts(heading("Who labeled last"), sample.people, false), labeled(sample.fields)));
  document.getElementById("items").replaceChildren(...tiles(sample.items));
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
reading.then((answer) => {
  // If no item can have a second submission, do not ask for the agreement.
  if (answer && answer.run.annotations <= answer.run.completed - answer.run.skipped) return;
  fill("agreement", (found) => document.getElementById("agreement").replaceChildren(...agreement(found, enlarge)), "agreement");
});
