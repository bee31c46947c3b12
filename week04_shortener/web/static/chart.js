// A link's statistics as elements: figures, a bar for each hour, shares. SVG without a library.

import { make, plural, timeOf } from "./dom.js";

const SVG = "http://www.w3.org/2000/svg";
const HEIGHT = 100;

const hourOf = new Intl.DateTimeFormat(undefined, {
  weekday: "short",
  hour: "2-digit",
  minute: "2-digit",
});

export function statistics(found) {
  const most = Math.max(...found.hours.map((hour) => hour.clicks));
  return [
    make(
      "dl",
      { class: "figures" },
      figure("clicks", found.clicks),
      figure("by people", found.people),
      figure("by bots", found.bots),
      figure("visitors today", found.visitors_today),
    ),
    make(
      "p",
      { class: "hint" },
      found.last_click_at ? `Last click: ${timeOf(found.last_click_at)}` : "No click yet.",
    ),
    make("h3", {}, `Clicks by hour, last ${found.hours.length} hours`),
    bars(found.hours, most),
    axis(found.hours),
    make(
      "p",
      { class: "legend" },
      make("span", { class: "people" }, "people"),
      make("span", { class: "bots" }, "bots"),
      make("span", { class: "hint" }, `highest: ${plural(most, "click")}`),
    ),
    table(found.hours),
    ...shares("Where people came from", found.referrers, "typed in, or not told"),
    ...shares("Their browsers", found.browsers, "not known"),
  ];
}

const figure = (name, number) =>
  make("div", {}, make("dt", {}, name), make("dd", {}, number.toLocaleString()));

function shape(name, attributes, ...children) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

/** Stacked bars: people below, bots on top of them. The picture is stretched to its place. */
function bars(hours, most) {
  const chart = shape("svg", {
    class: "chart",
    viewBox: `0 0 ${hours.length} ${HEIGHT}`,
    preserveAspectRatio: "none",
    role: "img",
    "aria-label": `${plural(hours.reduce((sum, hour) => sum + hour.clicks, 0), "click")} in ${hours.length} hours, at most ${most} in one. The table below has them all.`,
  });
  hours.forEach((hour, at) => {
    if (hour.clicks === 0) return;
    const all = (hour.clicks / most) * HEIGHT;
    const people = ((hour.clicks - hour.bots) / most) * HEIGHT;
    const title = document.createElementNS(SVG, "title");
    title.textContent = `${hourOf.format(new Date(hour.begins))}: ${plural(hour.clicks, "click")}`;
    const bar = { x: at + 0.1, width: 0.8 };
    chart.append(
      shape(
        "g",
        {},
        title,
        shape("rect", { ...bar, class: "people", y: HEIGHT - people, height: people }),
        shape("rect", { ...bar, class: "bots", y: HEIGHT - all, height: all - people }),
      ),
    );
  });
  return chart;
}

function axis(hours) {
  const middle = hours[Math.floor(hours.length / 2)];
  return make(
    "p",
    { class: "axis", "aria-hidden": "true" },
    make("span", {}, hourOf.format(new Date(hours[0].begins))),
    make("span", {}, hourOf.format(new Date(middle.begins))),
    make("span", {}, "now"),
  );
}

function table(hours) {
  const rows = hours.filter((hour) => hour.clicks > 0).reverse();
  const head = ["Hour", "Clicks", "Bots"].map((name) => make("th", { scope: "col" }, name));
  const body = rows.map((hour) =>
    make(
      "tr",
      {},
      make("td", {}, hourOf.format(new Date(hour.begins))),
      make("td", {}, String(hour.clicks)),
      make("td", {}, String(hour.bots)),
    ),
  );
  return make(
    "details",
    { hidden: rows.length === 0 },
    make("summary", {}, "As a table"),
    make("table", {}, make("thead", {}, make("tr", {}, ...head)), make("tbody", {}, ...body)),
  );
}

function shares(title, list, unnamed) {
  if (list.length === 0) return [];
  const most = Math.max(...list.map((share) => share.clicks));
  const rows = list.map((share) => {
    const row = make(
      "li",
      {},
      make("span", {}, share.name || unnamed),
      make("b", {}, share.clicks.toLocaleString()),
    );
    row.style.setProperty("--share", `${(share.clicks / most) * 100}%`);
    return row;
  });
  return [make("h3", {}, title), make("ul", { class: "shares" }, ...rows)];
}
