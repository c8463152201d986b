/* Shows an item large, with zoom, checkboxes to hide classes and people, and buttons to the items before and after. */
import { element, link } from "./page.js";
import { answersOf, nameOf, show, standing } from "./items.js";
import { byPerson, classOf, isDrawn } from "./shapes.js";

const dialog = element("dialog", { class: "large", "aria-label": "Item" });
document.body.append(dialog);
let step = () => {};

dialog.addEventListener("keydown", (event) => {
  if (event.target.tagName === "INPUT" && event.target.type === "range") return;
  if (event.key === "ArrowRight") step(1);
  if (event.key === "ArrowLeft") step(-1);
});
dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
dialog.addEventListener("close", () => dialog.replaceChildren());

const button = (text, label, act) => {
  const made = element("button", { type: "button", "aria-label": label }, text);
  made.addEventListener("click", act);
  return made;
};

/** Return checkboxes, one for each class or person with drawn labels. */
function toggles(title, kind, names, hidden, colored, apply) {
  if (!names.length) return null;
  return element("fieldset", {}, element("legend", {}, title), ...names.map((name) => {
    const box = element("input", { type: "checkbox", checked: "" });
    box.addEventListener("change", () => {
      hidden[kind][box.checked ? "delete" : "add"](name);
      apply();
    });
    return element("label", { class: colored ? "colored" : null, "--color": colored?.(name) }, box, element("span", {}, name));
  }));
}

/** Show one of several items large. ``look`` says how its labels are colored. */
export function enlarge(item, items, look) {
  const at = items.indexOf(item);
  const stage = element("div", { class: "stage", tabindex: "0" });
  const shown = show(item, look, true);
  stage.append(shown);
  const hidden = { class: new Set(), person: new Set() };
  const apply = () => {
    for (const group of shown.querySelectorAll("g[data-class]")) {
      group.classList.toggle("hidden", hidden.class.has(group.dataset.class) || hidden.person.has(group.dataset.person));
    }
  };
  new MutationObserver(apply).observe(shown, { childList: true });
  const zoom = element("input", { type: "range", min: "1", max: "6", step: "0.5", value: "1", "aria-label": "Zoom" });
  // At zoom 1, all of the image fits. Zoom multiplies this size.
  const fit = () => {
    const seen = shown.querySelector("img, video");
    const [width, height] = [seen?.naturalWidth || seen?.videoWidth, seen?.naturalHeight || seen?.videoHeight];
    if (width && height) shown.style.width = `${zoom.value * Math.min(stage.clientWidth, (stage.clientHeight * width) / height)}px`;
  };
  zoom.addEventListener("input", fit);
  new ResizeObserver(fit).observe(stage);
  for (const event of ["load", "loadedmetadata"]) shown.addEventListener(event, fit, true);
  const labels = item.labels.filter(isDrawn);
  const distinct = (of) => [...new Set(labels.map(of))].sort();
  const of = (name) => `${nameOf(item)}${item.target ? ` · ${item.target}` : ""}`;
  step = (by) => items[at + by] && enlarge(items[at + by], items, look);
  dialog.replaceChildren(
    element("header", {},
      element("h2", {}, item.url ? link(item.url, of(item)) : of(item)),
      at > 0 ? button("←", "The item before", () => step(-1)) : null,
      at < items.length - 1 ? button("→", "The next item", () => step(1)) : null,
      button("✕", "Close", () => dialog.close())),
    element("div", { class: "sides" }, stage, element("aside", {},
      ["image", "video"].includes(item.media_type) ? element("label", { class: "zoom" }, "Zoom", zoom) : null,
      toggles("Classes", "class", distinct(classOf), hidden, look === byPerson ? null : look.color, apply),
      toggles("People", "person", distinct((label) => label.annotator), hidden, look === byPerson ? look.color : null, apply),
      ...item.annotators.map((person) => {
        const said = answersOf(item, person);
        return said ? element("p", {}, element("b", {}, person), element("br"), said) : null;
      }),
      element("p", { class: "note" }, standing(item)))));
  if (!dialog.open) dialog.showModal();
  stage.focus();
}
