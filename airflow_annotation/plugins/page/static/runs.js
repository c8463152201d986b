import { ask, badge, bar, dagRunLink, element, link, problem, progressText, whole } from "./page.js";

const SHOWN = 100;
const place = document.getElementById("connections");
const find = document.getElementById("find");
const state = document.getElementById("state");
const seen = new Map();

function matches(run) {
  const words = find.value.trim().toLowerCase();
  const text = `${run.run_key || ""} ${run.title}`.toLowerCase();
  return (!words || text.includes(words)) && (!state.value || run.state === state.value);
}

function row(connection, run) {
  const details = `run?${new URLSearchParams({ conn_id: connection, project: run.project_id })}`;
  return element("tr", {},
    element("td", {}, element("a", { href: details }, run.run_key || run.title),
      run.run_key ? element("span", { class: "key" }, run.title) : null),
    element("td", {}, badge(run.state)),
    element("td", { class: "progress" }, progressText(run), bar(run.completed, run.skipped, run.total)),
    element("td", { class: "number" }, whole(run.left)),
    element("td", { class: "number" }, run.in_review === null ? "–" : whole(run.in_review)),
    element("td", {}, dagRunLink(run.dag_run) || "–"),
    element("td", {}, link(run.url, "Open project")));
}

function table(connection, answer) {
  const runs = answer.runs.filter(matches);
  if (!answer.runs.length) return element("p", { class: "note" }, "No annotation runs yet: a DAG with CreateAnnotationProjectOperator makes the first.");
  if (!runs.length) return element("p", { class: "note" }, "None of the runs is like that.");
  const headings = ["Run", "State", "Completed", ["Left"], ["In review"], "DAG run", ""];
  const head = headings.map((text) => element("th", Array.isArray(text) ? { class: "number" } : {}, String(text)));
  const rest = runs.length > SHOWN
    ? element("p", { class: "note" }, `The latest ${SHOWN} of ${whole(runs.length)} runs. Find the others by their name.`) : null;
  return element("div", { class: "scroll" },
    element("table", {}, element("thead", {}, element("tr", {}, ...head)),
      element("tbody", {}, ...runs.slice(0, SHOWN).map((run) => row(connection, run)))), ...(rest ? [rest] : []));
}

function show(section, connection) {
  const answer = seen.get(connection);
  section.replaceChildren(section.firstElementChild, answer instanceof Error ? problem(answer) : table(connection, answer));
}

async function read(section, connection) {
  try {
    const answer = await ask("runs", { conn_id: connection });
    answer.runs.sort((one, other) => (other.created_at || "").localeCompare(one.created_at || ""));
    seen.set(connection, answer);
  } catch (error) {
    seen.set(connection, error);
  }
  show(section, connection);
}

async function readAll() {
  let connections;
  try {
    ({ connections } = await ask("connections"));
  } catch (error) {
    place.replaceChildren(problem(error));
    return;
  }
  if (!connections.length) {
    place.replaceChildren(element("p", { class: "note" },
      "There is no connection to a labeling tool that you may read. Add one of type Label Studio or Labelbox under Admin → Connections."));
    return;
  }
  const sections = connections.map(({ conn_id: connection, tool }) => {
    const name = { label_studio: "Label Studio", labelbox: "Labelbox" }[tool] || "";
    return [connection, element("section", {}, element("h2", {}, connection, " ", element("small", {}, name)),
      element("p", { class: "note" }, "Asking the labeling tool…"))];
  });
  place.replaceChildren(...sections.map(([, section]) => section));
  for (const control of [find, state]) {
    control.oninput = () => sections.forEach(([connection, section]) => seen.has(connection) && show(section, connection));
  }
  await Promise.all(sections.map(([connection, section]) => read(section, connection)));
}

document.getElementById("again").onclick = readAll;
readAll();
