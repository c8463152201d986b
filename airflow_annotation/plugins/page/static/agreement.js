/* Shows how far the people of a run agree, and the items about which they agree least. */
import { element, percent, rowBar, whole } from "./page.js";
import { answersOf, tile } from "./items.js";
import { byPerson } from "./shapes.js";

const CLASSES = 12;

const MEASURES = { match: "same answer", jaccard: "shared classes", distance: "distance", edit: "edit distance", order: "same order", iou: "overlap of shapes", line: "lines along each other", oks: "keypoints", overlap: "overlap of spans" };

function row(name, value, title, ...more) {
  return element("tr", { title }, element("td", {}, name, ...more), element("td", { class: "number" }, percent(value)), element("td", {}, rowBar(value)));
}

const table = (rows) => element("table", {}, element("tbody", {}, ...rows));

function field(found) {
  const alpha = found.alpha === null ? "" : `, alpha ${found.alpha.toFixed(2)}`;
  const rest = found.classes.length > CLASSES ? element("p", { class: "note" }, `and ${whole(found.classes.length - CLASSES)} more classes`) : null;
  return element("div", {}, element("h3", {}, found.field),
    table([
      row(element("b", {}, "all"), found.value, `${whole(found.pairs)} pairs of submissions`, element("small", {}, ` ${MEASURES[found.measure] ?? found.measure}${alpha}`)),
      ...found.classes.slice(0, CLASSES).map((one) => row(one.name, one.value, `${whole(Math.round(one.count))} on average`))]), rest);
}

const legend = (people) => element("p", { class: "legend" }, ...people.map((name) => element("span", { "--color": byPerson.color(name) }, name)));

function disputed({ fields, images }, enlarge) {
  const levels = fields.map(([name, value]) => `${name} ${percent(value)}`).join(" · ");
  return images.map((item) => tile(item, byPerson, [
    element("div", {}, levels),
    ...item.annotators.map((person) => {
      const said = answersOf(item, person);
      return said ? element("div", { class: "said", title: person, "--color": byPerson.color(person) }, said) : null;
    }),
  ], () => enlarge(item)));
}

export function agreement(found, enlarge) {
  if (!found.items && !found.left_out) return [];
  const left = found.left_out ? ` ${whole(found.left_out)} more were left out: to compare them takes too long.` : "";
  const of = found.items === 1 ? "the item" : `the ${whole(found.items)} items`;
  const shown = [
    element("h2", {}, "How far people agree"),
    element("p", { class: "note" }, `Of ${of} that several people labeled last.${left}`),
    element("div", { class: "columns agree" }, ...found.fields.map(field),
      found.people.length ? element("div", {}, element("h3", {}, "Each with the others"),
        table(found.people.map((one) => row(one.name, one.value, `mean of ${whole(one.compared)} answers to items and fields`)))) : null)];
  if (!found.least.length) return shown;
  const people = [...new Set(found.least.flatMap(({ images }) => images.flatMap((item) => item.annotators)))];
  people.forEach(byPerson.color);
  return [...shown, element("h2", {}, "Where they agree least"), legend(people),
    element("ul", { class: "items" }, ...found.least.flatMap((one) => disputed(one, (item) => enlarge(item, found.least.flatMap(({ images }) => images), byPerson))))];
}
