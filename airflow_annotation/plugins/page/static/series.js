/* Shows a time series as lines, one below the other, with the labeled ranges behind them. */
import { drawing, element } from "./page.js";
import { paint } from "./shapes.js";

const [WIDTH, HEIGHT] = [400, 70];

const number = (value) => String(Number(value.toPrecision(3)));

/** Return where a label begins and ends in the series, null if it has no times of the series. */
function rangeOf(label, series) {
  if (series.is_clock && label.clock) return label.clock;
  return label.time === undefined ? null : [label.time, label.time_end ?? label.time];
}

function plot(channel, series, labels, look) {
  const x = (time) => ((time - series.start) / (series.end - series.start || 1)) * WIDTH;
  const y = (value) => HEIGHT - 4 - ((value - channel.low) / (channel.high - channel.low || 1)) * (HEIGHT - 8);
  const ranges = labels.flatMap((label) => {
    const range = rangeOf(label, series);
    if (!range) return [];
    const [left, right] = [x(range[0]), x(range[1])];
    const color = paint(look, label);
    return [drawing("rect", { x: left, y: 0, width: Math.max(right - left, 1), height: HEIGHT, fill: color, stroke: color, class: "shape" },
      drawing("title", {}, label.label || label.field))];
  });
  const lines = channel.lines.map((line) => drawing("path", { class: "curve", d: line.map(([time, value], index) => `${index ? "L" : "M"}${x(time)} ${y(value)}`).join("") }));
  return element("figure", {},
    element("figcaption", {}, channel.name, element("span", {}, `${number(channel.low)} – ${number(channel.high)}`)),
    drawing("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img", "aria-label": channel.name }, ...ranges, ...lines));
}

export function plots(series, labels, look) {
  const at = (time) => (series.is_clock ? new Date(time * 1000).toISOString().replace("T", " ").slice(0, 19) : number(time));
  return element("div", { class: "series" }, ...series.channels.map((channel) => plot(channel, series, labels, look)),
    element("p", { class: "axis" }, element("span", {}, at(series.start)), element("span", {}, at(series.end))),
    series.is_cut ? element("p", { class: "note" }, "The file has more rows.") : null);
}
