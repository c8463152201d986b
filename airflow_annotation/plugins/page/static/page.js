/* Shared by both pages: Airflow's theme and login, requests, and links that work inside Airflow's page. */

/** The window of Airflow's page around this one, or this window if there is none of the same origin. */
const outer = (() => {
  try {
    return window.parent.document ? window.parent : window;
  } catch {
    return window;
  }
})();

function applyTheme() {
  const classes = outer.document.documentElement.classList;
  const stored = window.localStorage.getItem("theme");
  const system = window.matchMedia("(prefers-color-scheme: dark)").matches;
  const framed = outer !== window && (classes.contains("dark") || classes.contains("light"));
  const dark = framed ? classes.contains("dark") : stored === "dark" || (stored !== "light" && system);
  document.documentElement.classList.toggle("dark", dark);
}

applyTheme();
window.addEventListener("storage", applyTheme);
window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", applyTheme);
if (outer !== window) {
  new MutationObserver(applyTheme).observe(outer.document.documentElement, { attributes: true, attributeFilter: ["class"] });
}

/** Return the header with the login. Airflow before 3.2 needs it, and keeps the login where scripts can read it. */
function loginHeader() {
  const token = document.documentElement.dataset.login === "header" && window.localStorage.getItem("token");
  return token ? { Authorization: `Bearer ${token}` } : {};
}

const pause = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));

/** Ask for JSON, and ask again while the server still waits for the labeling tool. Throws an Error with the reason. */
export async function ask(path, parameters = {}) {
  const url = `api/${path}?${new URLSearchParams(parameters)}`;
  for (;;) {
    const answer = await fetch(url, { headers: loginHeader() });
    if (answer.status === 503) {
      await pause(1000);
      continue;
    }
    if (answer.status === 401) throw new Error("You are not logged in to Airflow any more. Log in, and load this page again.");
    if (answer.status === 403) throw new Error("You may not read this connection.");
    const body = await answer.json().catch(() => ({}));
    if (!answer.ok) throw new Error(body.detail || `The server answered ${answer.status}.`);
    return body;
  }
}

/** Load an image, sound or video that Airflow gives only to logged-in users. */
export async function loadMedia(shown, path, parameters) {
  const url = `api/${path}?${new URLSearchParams(parameters)}`;
  const headers = loginHeader();
  if (!Object.keys(headers).length) {
    shown.src = url;
    return;
  }
  const answer = await fetch(url, { headers });
  if (!answer.ok) throw new Error();
  shown.src = URL.createObjectURL(await answer.blob());
}

/** Make an element. Text is never read as HTML. ``--color`` is the color that the style sheet uses. */
export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined) continue;
    if (key === "--color") made.style.setProperty(key, value);
    else made.setAttribute(key, value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

const SVG = "http://www.w3.org/2000/svg";

export function drawing(name, attributes = {}, ...children) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

/** Return a link out of this page. Airflow's frame lets no page in it open others, so the page around it opens them. */
export function link(href, text, { sameTab = false } = {}) {
  if (!/^https?:\/\//.test(new URL(href, outer.location.href).href)) return element("span", {}, text);
  const target = sameTab ? "_top" : "_blank";
  const made = element("a", { href, target, rel: "noopener noreferrer" }, text);
  made.addEventListener("click", (event) => {
    if (outer === window) return;
    event.preventDefault();
    const helper = outer.document.createElement("a");
    Object.assign(helper, { href: made.href, rel: made.rel, target: sameTab ? "_self" : "_blank" });
    outer.document.body.append(helper);
    helper.click();
    helper.remove();
  });
  return made;
}

/** Return a link to download a file that Airflow gives only to logged-in users. */
export function download(path, parameters, text) {
  const url = `api/${path}?${new URLSearchParams(parameters)}`;
  const made = link(url, text);
  const headers = loginHeader();
  if (!Object.keys(headers).length) return made;
  const asked = element("a", { href: url, download: "" }, text);
  asked.addEventListener("click", async (event) => {
    if (asked.href.startsWith("blob:")) return;
    event.preventDefault();
    const answer = await fetch(url, { headers });
    if (!answer.ok) {
      asked.replaceWith(problem(new Error(`The file cannot be downloaded: the server answered ${answer.status}.`)));
      return;
    }
    asked.href = URL.createObjectURL(await answer.blob());
    asked.click();
  });
  return asked;
}

/** The URL of Airflow: this page is at <root>/annotation/. */
const root = new URL("..", document.baseURI).href.replace(/annotation\/$/, "");

export function dagRunLink(run) {
  if (!run) return null;
  const path = `dags/${encodeURIComponent(run.dag_id)}/runs/${encodeURIComponent(run.run_id)}`;
  return element("span", {}, link(root + path, run.dag_id, { sameTab: true }), " ", badge(run.state));
}

export const badge = (text) => element("span", { class: `badge ${/^\w+$/.test(text) ? text : ""}` }, text.replaceAll("_", " "));

export const whole = (number) => number.toLocaleString("en");

export function bar(run) {
  const part = (count) => (run.total ? (100 * count) / run.total : 0);
  // If the tool counts a skip as an answer, completed includes skipped items.
  const open = Math.max(run.total - run.completed, 0);
  const values = { "aria-valuemin": 0, "aria-valuemax": run.total, "aria-valuenow": Math.min(run.completed, run.total), "aria-valuetext": progressText(run) };
  return element("span", { class: "bar", role: "progressbar", "aria-label": `Progress of ${runName(run)}`, ...values },
    drawing("svg", { viewBox: "0 0 100 1", preserveAspectRatio: "none", "aria-hidden": "true" },
      drawing("rect", { class: "done", x: 0, y: 0, width: part(run.completed), height: 1 }),
      drawing("rect", { class: "skipped", x: part(run.completed), y: 0, width: part(Math.min(run.skipped, open)), height: 1 })));
}

/** Return a bar for a row of a table. ``part`` is its length, from 0 to 1. */
export function rowBar(part, color = null) {
  return drawing("svg", { class: "row-bar", viewBox: "0 0 1 1", preserveAspectRatio: "none", "aria-hidden": "true" },
    drawing("rect", { ...(color ? { fill: color } : { class: "done" }), x: 0, y: 0, width: part, height: 1 }));
}

const RUN_ID = /^([a-z_]+)__(\d{4}-\d\d-\d\dT\d\d:\d\d)[^/]*(?:\/(\d+))?$/;

/** Return a short name of a run. If Airflow made the run id, only its kind and its minute are in the name. */
export function runName(run) {
  if (!run.run_key) return run.title;
  const [dag, ...rest] = run.run_key.split("/");
  const found = RUN_ID.exec(rest.join("/"));
  if (!found) return run.run_key;
  const [, kind, minute, place] = found;
  return `${dag} · ${kind.replaceAll("_", " ")} ${minute.replace("T", " ")}${place === undefined ? "" : ` · ${place}`}`;
}

export function progressText(run) {
  const percent = run.total ? Math.floor((100 * run.completed) / run.total) : 0;
  const skipped = run.skipped ? `, ${whole(run.skipped)} skipped` : "";
  return `${whole(run.completed)} of ${whole(run.total)} (${percent} %)${skipped}`;
}

/** Return an estimated number as text, with two digits if it is below 10. */
export const about = (number) => (number >= 10 ? whole(Math.round(number)) : String(Number(number.toPrecision(2))));

export const problem = (error) => element("p", { class: "error", role: "alert" }, error.message);

export const percent = (part) => `${Math.round(100 * part)} %`;
