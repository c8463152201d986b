import { ask, badge, bar, dagRunLink, element, link, problem, progressText, runName, whole } from "./page.js";

const A_PAGE = 25;
const place = document.getElementById("connections");
const [find, state, dag, since, until, others] = ["find", "state", "dag", "since", "until", "others"].map((id) => document.getElementById(id));
const seen = new Map();

/** How each connection's runs are shown: the column to sort by, the direction, and the page. */
const views = new Map();

const dagOf = (run) => run.dag_run?.dag_id || (run.run_key || "").split("/")[0];
const day = (run) => (run.created_at ? new Date(run.created_at) : null);
const share = (run) => (run.total ? run.completed / run.total : 0);

const COLUMNS = [
  { name: "Run", by: runName },
  { name: "State", by: (run) => run.state },
  { name: "Created", by: (run) => run.created_at || "", falls: true },
  { name: "Completed", by: share, falls: true },
  { name: "Left", by: (run) => run.left, falls: true, number: true },
  { name: "In review", by: (run) => run.in_review ?? -1, falls: true, number: true },
  { name: "DAG run", by: (run) => run.dag_run?.state || "" },
  { name: "" },
];

/** Return the time at which a chosen day, or a day after it, begins in the browser's zone; null if no day is chosen. */
function midnight(input, after = 0) {
  const [year, month, date] = input.value.split("-").map(Number);
  return year ? new Date(year, month - 1, date + after) : null;
}

function matches(run) {
  const words = find.value.trim().toLowerCase().split(/\s+/);
  const text = `${run.run_key || ""} ${run.title} ${runName(run)} ${dagOf(run)}`.toLowerCase();
  const [from, to, made] = [midnight(since), midnight(until, 1), day(run)];
  return words.every((word) => text.includes(word)) && (!state.value || run.state === state.value)
    && (!dag.value || dagOf(run) === dag.value) && (!from || (made && made >= from)) && (!to || (made && made < to));
}

function row(connection, run) {
  const details = `run?${new URLSearchParams({ conn_id: connection, project: run.project_id })}`;
  const cells = [
    [element("a", { href: details, title: run.run_key }, runName(run)), run.run_key ? element("span", { class: "key" }, run.title) : null],
    [badge(run.state)],
    [day(run)?.toLocaleDateString([], { dateStyle: "medium" }) ?? "–"],
    [progressText(run), bar(run)],
    [whole(run.left)],
    [run.in_review === null ? "–" : whole(run.in_review)],
    [dagRunLink(run.dag_run) || "–"],
    [link(run.url, "Open project")]];
  const classes = ["run", null, null, "progress", "number", "number", null, "open"];
  return element("tr", {}, ...cells.map((cell, at) => element("td", { class: classes[at], "data-name": COLUMNS[at].name }, ...cell)));
}

function heading(column, at, view, again) {
  const sorted = view.column === at ? (view.falls ? "descending" : "ascending") : null;
  const text = column.by ? element("button", { type: "button" }, column.name) : column.name;
  if (column.by) {
    text.addEventListener("click", () => {
      Object.assign(view, { column: at, falls: view.column === at ? !view.falls : Boolean(column.falls), page: 0 });
      again(at);
    });
  }
  return element("th", { class: column.number ? "number" : null, "aria-sort": sorted, scope: "col" }, text);
}

function pages(view, count, again) {
  if (count <= A_PAGE) return null;
  const turn = (text, by, is_there) => {
    const made = element("button", { type: "button", disabled: is_there ? null : "" }, text);
    made.addEventListener("click", () => { view.page += by; again(); });
    return made;
  };
  const first = view.page * A_PAGE;
  return element("div", { class: "pages" }, turn("Earlier page", -1, view.page > 0), turn("Next page", 1, first + A_PAGE < count),
    element("span", { role: "status" }, `${whole(first + 1)}–${whole(Math.min(first + A_PAGE, count))} of ${whole(count)}`));
}

function table(connection, answer, again) {
  const view = views.get(connection);
  const { by } = COLUMNS[view.column];
  const runs = answer.runs.filter(matches).sort((one, other) => {
    const [first, second] = [by(one), by(other)];
    return (view.falls ? -1 : 1) * (typeof first === "string" ? first.localeCompare(second) : first - second);
  });
  if (!answer.runs.length) {
    return [element("p", { class: "note" }, others.checked ? "There are no projects yet."
      : "No annotation runs yet: a DAG with CreateAnnotationProjectOperator makes the first.")];
  }
  if (!runs.length) return [element("p", { class: "note" }, "No runs match this search.")];
  view.page = Math.min(view.page, Math.ceil(runs.length / A_PAGE) - 1);
  const head = COLUMNS.map((column, at) => heading(column, at, view, again));
  const shown = runs.slice(view.page * A_PAGE, (view.page + 1) * A_PAGE);
  return [element("div", { class: "scroll" }, element("table", { class: "runs" }, element("thead", {}, element("tr", {}, ...head)),
    element("tbody", {}, ...shown.map((run) => row(connection, run))))), pages(view, runs.length, again)].filter(Boolean);
}

function show(section, connection) {
  const answer = seen.get(connection);
  const again = (column) => {
    show(section, connection);
    section.querySelectorAll("th")[column]?.firstElementChild?.focus();
  };
  section.replaceChildren(section.firstElementChild, ...(answer instanceof Error ? [problem(answer)] : table(connection, answer, again)));
}

/** Offer the DAGs of all runs that were read, to choose one. */
function offerDags() {
  const names = [...new Set([...seen.values()].flatMap((answer) => (answer.runs ?? []).map(dagOf)))].filter(Boolean).sort();
  const chosen = dag.value;
  dag.replaceChildren(element("option", { value: "" }, "all"), ...names.map((name) => element("option", { value: name }, name)));
  dag.value = names.includes(chosen) ? chosen : "";
}

async function read(section, connection) {
  try {
    seen.set(connection, await ask("runs", { conn_id: connection, ...(others.checked ? { others: true } : {}) }));
  } catch (error) {
    seen.set(connection, error);
  }
  offerDags();
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
    if (!views.has(connection)) views.set(connection, { column: 2, falls: true, page: 0 });
    return [connection, element("section", {}, element("h2", {}, connection, " ", element("small", {}, name)),
      element("p", { class: "note" }, "Asking the labeling tool…"))];
  });
  place.replaceChildren(...sections.map(([, section]) => section));
  for (const control of [find, state, dag, since, until]) {
    control.oninput = () => sections.forEach(([connection, section]) => {
      views.get(connection).page = 0;
      if (seen.has(connection)) show(section, connection);
    });
  }
  await Promise.all(sections.map(([connection, section]) => read(section, connection)));
}

document.getElementById("again").onclick = readAll;
others.onchange = readAll;
readAll();
