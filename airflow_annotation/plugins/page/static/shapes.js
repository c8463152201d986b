/* Draws labels over an image or a frame. A look decides the color of each label. */
import { drawing } from "./page.js";

/** Colors on which white letters are legible. */
const COLORS = ["#e4572e", "#2e86ab", "#bf7f00", "#3f984a", "#9b5de5", "#008f8f", "#d1495b", "#6b7a8f"];

/** Return a look. ``of`` returns the name that decides a label's color. Names get colors in the order of their use. */
function look(of) {
  const places = new Map();
  const place = (name) => {
    if (!places.has(name)) places.set(name, places.size);
    return places.get(name);
  };
  return { of, place, color: (name) => COLORS[place(name) % COLORS.length] };
}

export const classOf = (label) => label.label || label.type;

export const byClass = look(classOf);
export const byPerson = look((label) => label.annotator);

export const paint = (look, label) => look.color(look.of(label));

export const isDrawn = (label) => Boolean(label.bbox || label.points || label.polygons);

/** Return the shapes of a label, with coordinates in pixels of the item. */
function shapes(label, width, height, look) {
  const color = paint(look, label);
  const style = { stroke: color, fill: color, class: "shape" };
  const path = (ring) => ring.map(([x, y], index) => `${index ? "L" : "M"}${x * width} ${y * height}`).join("");
  const title = () => drawing("title", {}, look === byPerson ? `${classOf(label)}, ${label.annotator}` : classOf(label));
  if (label.polygons) {
    return [drawing("path", { ...style, "fill-rule": "evenodd", d: label.polygons.flat().map((ring) => `${path(ring)}Z`).join("") }, title())];
  }
  if (label.points) {
    if (label.type === "keypoint") return label.points.map(([x, y]) => drawing("circle", { ...style, cx: x * width, cy: y * height, r: Math.max(width, height) / 120 }, title()));
    if (label.type === "polyline") return [drawing("path", { ...style, class: "line", d: path(label.points) }, title())];
    return [drawing("path", { ...style, d: `${path(label.points)}Z` }, title())];
  }
  const [x, y, w, h] = [label.bbox[0] * width, label.bbox[1] * height, label.bbox[2] * width, label.bbox[3] * height];
  const turn = label.rotation ? { transform: `rotate(${label.rotation} ${x} ${y})` } : {};
  if (label.type === "ellipse") return [drawing("ellipse", { ...style, ...turn, cx: x + w / 2, cy: y + h / 2, rx: w / 2, ry: h / 2 }, title())];
  return [drawing("rect", { ...style, ...turn, x, y, width: w, height: h }, title())];
}

/** Return the name of a shape, above it if there is room. */
function nameOf(label, width, height, look, size) {
  const points = label.polygons?.flat(2) ?? label.points ?? [label.bbox];
  if (!label.label || !points.length) return [];
  const x = Math.min(...points.map((point) => point[0])) * width;
  // Several people mark the same thing, so their names for it are one below the other.
  const below = look === byPerson ? look.place(look.of(label)) * size : 0;
  const y = Math.max(Math.min(...points.map((point) => point[1])) * height - size / 4, size) + below;
  const turn = label.rotation ? { transform: `rotate(${label.rotation} ${label.bbox[0] * width} ${label.bbox[1] * height})` } : {};
  return [drawing("text", { x, y, ...turn, "font-size": size, stroke: paint(look, label), class: "name" }, label.label)];
}

/** Return a drawing to lay over an image: shapes, then their names. The image is ``across`` pixels wide on screen. */
export function drawn(labels, width, height, look, across) {
  const size = (width * 14) / Math.max(across, 140);
  const shown = labels.filter(isDrawn);
  const group = (label, parts) => drawing("g", { "data-class": classOf(label), "data-person": label.annotator }, ...parts);
  return drawing("svg", { viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none" },
    ...shown.map((label) => group(label, shapes(label, width, height, look))),
    ...shown.map((label) => group(label, nameOf(label, width, height, look, size))));
}
