"use strict";
// Nothing from a source is ever parsed as markup: elements are made here, strings are set as text.
const V = window.OPENDOJO_VIEW, DATA = document.documentElement.dataset.view, PAGE = 24;
const byId = (id) => document.getElementById(id);
const SVG = "http://www.w3.org/2000/svg";

function make(name, attributes, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes || {})) {
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else if (key === "class") node.className = value;
    else if (value === true) node.setAttribute(key, "");
    else if (value !== false && value != null) node.setAttribute(key, value);
  }
  node.append(...children.filter((child) => child != null));
  return node;
}
function draw(name, attributes, ...children) {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}
const facetOf = (tag) => tag.slice(0, tag.indexOf(":"));
const valueOf = (tag) => tag.slice(tag.indexOf(":") + 1);
const known = (values) => values.filter((value) => value !== null);
const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;
const whole = new Intl.NumberFormat("en");
const plural = (count, word) => `${whole.format(count)} ${word}${count === 1 ? "" : "s"}`;
function span(seconds) {
  if (seconds < 90) return `${seconds.toFixed(1)} s`;
  if (seconds < 5400) return `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`;
  return `${(seconds / 3600).toFixed(1)} h`;
}

// ---- clips, facets, state
V.clips.forEach((clip, number) => {
  clip.number = number;
  clip.has = new Set(clip.tags);
  clip.words = `${clip.source}\n${clip.id}\n${clip.dataset}`.toLowerCase();
  const speeds = known(clip.speed), turns = known(clip.turn).map(Math.abs);
  clip.meanSpeed = speeds.length ? mean(speeds) : -1;
  clip.sharpest = turns.length ? Math.max(...turns) : -1;
  clip.flagged = Object.values(clip.flags).reduce((a, b) => a + b, 0);
  const folder = String(Math.floor(number / 1000)).padStart(3, "0");
  clip.strip = (camera) => `${DATA}/${folder}/${String(number % 1000).padStart(3, "0")}-${camera}.jpg`;
});
// one scale for every chart, so that clips compare at a glance
const topSpeed = Math.max(5, 5 * Math.ceil(V.clips.reduce((top, c) => Math.max(top, ...known(c.speed)), 0) / 5));
const topTurn = {};
for (const unit of ["rad/s", "rad"]) {
  const peaks = V.clips.filter((c) => c.unit === unit).map((c) => c.sharpest).sort((a, b) => a - b);
  topTurn[unit] = Math.max(0.1, peaks[Math.floor(0.95 * (peaks.length - 1))] || 0);
}
const compare = new Intl.Collator("en", { numeric: true }).compare;
const SORTS = {
  source: ["Source", (a, b) => compare(a.source, b.source)],
  longest: ["Longest first", (a, b) => b.seconds - a.seconds],
  fastest: ["Fastest first", (a, b) => b.meanSpeed - a.meanSpeed],
  turning: ["Sharpest turn first", (a, b) => b.sharpest - a.sharpest],
  darkest: ["Darkest first", (a, b) => a.luma - b.luma],
  flagged: ["Most flagged first", (a, b) => b.flagged - a.flagged],
};
const values = {};
for (const facet of Object.keys(V.facets)) {
  const there = new Set(V.clips.flatMap((c) => c.tags.filter((t) => facetOf(t) === facet).map(valueOf)));
  const fixed = Object.keys(V.facets[facet]);
  values[facet] = fixed.length ? fixed.filter((v) => there.has(v)) : [...there].sort(compare);
}
const state = { words: "", sort: "source", page: 0, clip: "", chosen: {} };
for (const facet of Object.keys(values)) state.chosen[facet] = new Set();

function readAddress() {
  const query = new URLSearchParams(location.hash.slice(1));
  state.words = query.get("q") || "";
  state.sort = SORTS[query.get("sort")] ? query.get("sort") : "source";
  state.clip = query.get("clip") || "";
  state.page = Math.max(0, (parseInt(query.get("page"), 10) || 1) - 1);
  for (const facet of Object.keys(values)) state.chosen[facet] = new Set(query.getAll(facet));
}
function writeAddress() {
  const query = new URLSearchParams();
  if (state.words) query.set("q", state.words);
  for (const [facet, chosen] of Object.entries(state.chosen)) for (const v of chosen) query.append(facet, v);
  if (state.sort !== "source") query.set("sort", state.sort);
  if (state.page) query.set("page", state.page + 1);
  if (state.clip) query.set("clip", state.clip);
  history.replaceState(null, "", `#${query}`);
}
const passes = (clip, facet) => {
  const chosen = state.chosen[facet];
  if (!chosen.size) return true;
  for (const value of chosen) if (clip.has.has(`${facet}:${value}`)) return true;
  return false;
};
// A value's count is what choosing it would show: every other facet applies, its own does not.
function sift() {
  const words = state.words.toLowerCase().split(/\s+/).filter(Boolean), facets = Object.keys(values);
  const counts = {}, found = [];
  for (const clip of V.clips) {
    if (!words.every((word) => clip.words.includes(word))) continue;
    const failed = facets.filter((facet) => !passes(clip, facet));
    if (!failed.length) found.push(clip);
    if (failed.length > 1) continue;
    for (const tag of clip.tags)
      if (!failed.length || failed[0] === facetOf(tag)) counts[tag] = (counts[tag] || 0) + 1;
  }
  const order = SORTS[state.sort][1];
  found.sort((a, b) => order(a, b) || a.number - b.number);
  return { found, counts };
}

// ---- parts of a card
const deg = (radians) => (radians * 180 / Math.PI).toFixed(radians < 0.17 ? 1 : 0);
function chart(clip) {
  const box = make("div", { class: "chart" }), speeds = known(clip.speed), turns = known(clip.turn);
  if (!speeds.length && !turns.length) {
    box.append("no speed and no heading in the log");
    return { box, move: () => {} };
  }
  const left = make("span", {}, make("i", { style: "background:var(--speed)" }),
    speeds.length ? `speed ${Math.min(...speeds).toFixed(1)} to ${Math.max(...speeds).toFixed(1)} m/s` : "speed unknown");
  const what = clip.unit === "rad" ? "steering" : "yaw rate", unit = clip.unit === "rad" ? "°" : "°/s";
  const right = make("span", {}, make("i", { style: "background:var(--turn)" }),
    turns.length ? `${what} ≤ ${deg(clip.sharpest)} ${unit}` : "turn unknown");
  box.append(make("div", {}, left, right));
  const svg = draw("svg", { viewBox: "0 0 100 50", preserveAspectRatio: "none", role: "img",
    "aria-label": `${left.textContent}, ${right.textContent}` });
  svg.append(draw("line", { x1: 0, x2: 100, y1: 26, y2: 26, stroke: "var(--line)" }),
    draw("line", { x1: 0, x2: 100, y1: 39, y2: 39, stroke: "var(--line)", "stroke-dasharray": "2 3" }));
  svg.append(line(clip.speed, (v) => 26 - 25 * Math.min(v / topSpeed, 1), "var(--speed)"));
  const top = topTurn[clip.unit] || 1;
  svg.append(line(clip.turn, (v) => 39 - 11 * Math.max(-1, Math.min(v / top, 1)), "var(--turn)"));
  const cursor = draw("line", { x1: 0, x2: 0, y1: 0, y2: 50, stroke: "var(--ink)", "stroke-width": 1 });
  svg.append(cursor);
  box.append(svg);
  return { box, move: (share) => { cursor.setAttribute("x1", 100 * share); cursor.setAttribute("x2", 100 * share); } };
}
function line(column, height, ink) {
  let path = "", pen = false;
  const last = Math.max(column.length - 1, 1);
  column.forEach((value, place) => {
    if (value === null) { pen = false; return; }
    path += `${pen ? "L" : "M"}${(100 * place / last).toFixed(2)} ${height(value).toFixed(2)}`;
    pen = true;
  });
  return draw("path", { d: path, stroke: ink, "stroke-width": 1.6, "stroke-linejoin": "round" });
}
function shots(clip, onMove) {
  const count = clip.times.length, order = [clip.main, ...clip.cameras.keys()].filter((c, i) => i === 0 || c !== clip.main);
  const side = order.length - 1;
  const box = make("div", { class: "shots" });
  // at large: the others beside the main camera and below it, with as few gaps as can be
  const [columns, main] = [[1, 1], [2, 1], [3, 2], [4, 3], [4, 2], [3, 2]][side] || [4, 3];
  box.style.setProperty("--columns", columns);
  box.style.setProperty("--main", main);
  box.style.gridTemplateColumns = `repeat(${Math.max(1, side > 3 ? Math.min(3, Math.ceil(side / 2)) : side)}, 1fr)`;
  const images = order.map((camera) => {
    const image = make("img", { src: clip.strip(camera), loading: "lazy", draggable: "false",
      alt: `${clip.cameras[camera]} camera` });
    image.style.width = `${100 * count}%`;
    const shot = make("div", { class: camera === clip.main ? "shot main" : "shot" }, image,
      make("small", {}, clip.cameras[camera]));
    shot.style.aspectRatio = `${V.size[0]} / ${V.size[1]}`;
    box.append(shot);
    return image;
  });
  const now = make("span", { class: "now" });
  box.append(now);
  const range = make("input", { type: "range", class: "scrub", min: 0, max: Math.max(count - 1, 0), value: 0, step: 1, "aria-label": "Instant of the clip" });
  const show = (place) => {
    place = Math.max(0, Math.min(count - 1, place));
    range.value = place;
    for (const image of images) image.style.transform = `translateX(${-100 * place / count}%)`;
    now.textContent = `${clip.times[place].toFixed(1)} s`;
    range.setAttribute("aria-valuetext", now.textContent);
    onMove(clip.seconds > 0 ? clip.times[place] / clip.seconds : 0);
  };
  box.addEventListener("pointermove", (event) => {
    const area = box.getBoundingClientRect();
    show(Math.floor(count * (event.clientX - area.left) / area.width));
  });
  range.addEventListener("input", () => show(Number(range.value)));
  return { box, range, show, step: (by) => show(Number(range.value) + by) };
}
function tagsOf(clip) {
  const box = make("div", { class: "tags" });
  for (const tag of clip.tags) {
    const facet = facetOf(tag), value = valueOf(tag);
    if (["dataset", "camera", "length"].includes(facet) || value === "unflagged" || value.endsWith("-unknown")) continue;
    const share = clip.flags[value];
    box.append(make("button", { type: "button", class: facet === "flag" ? "tag flag" : "tag",
      title: `${V.facets[facet][value]}: show only these`, onclick: () => choose(facet, value) },
      facet === "flag" ? `${value} ${Math.round(100 * share)} %` : value.replaceAll("-", " ")));
  }
  return box;
}
function linksOf(clip) {
  const box = make("div", { class: "links" });
  clip.cameras.forEach((name, camera) => box.append(
    make("a", { href: `${clip.videos[camera]}#t=${clip.span.join(",")}`, target: "_blank", rel: "noopener",
      title: `${name}: MP4 from ${clip.span[0]} s to ${clip.span[1]} s` }, `${name}.mp4`)));
  return box;
}
function card(clip) {
  const plot = chart(clip), view = shots(clip, plot.move);
  const node = make("article", { tabindex: 0, "aria-label": clip.source },
    view.box, make("div", { class: "text" }, view.range,
      make("button", { type: "button", class: "name", title: clip.source, onclick: () => open(clip) }, make("bdi", {}, clip.source)),
      make("div", { class: "facts" }, `${span(clip.seconds)} · ${clip.rate} Hz · ${plural(clip.cameras.length, "camera")} · `, make("code", {}, clip.id.slice(0, 12))),
      plot.box, tagsOf(clip), linksOf(clip)));
  node.clip = clip;
  node.step = view.step;
  view.show(Math.floor(clip.times.length / 3));
  return node;
}

// ---- the clip at large
let opened = null;
function open(clip) {
  opened = clip;
  state.clip = clip.id;
  writeAddress();
  const dialog = byId("dialog"), plot = chart(clip), view = shots(clip, plot.move);
  const place = shown.indexOf(clip);
  const go = (by) => { const next = shown[place + by]; if (next) open(next); };
  const player = make("div", {}), facts = make("dl", {});
  const fact = (name, ...content) => facts.append(make("dt", {}, name), make("dd", {}, ...content));
  fact("clip", make("code", {}, clip.id));
  fact("data set", clip.dataset);
  fact("length", `${span(clip.seconds)}, ${whole.format(clip.instants)} instants at ${clip.rate} Hz, ${plural(clip.cameras.length, "camera")}`);
  fact("mean luma", `${(100 * clip.luma).toFixed(0)} % of white`);
  if (clip.meanSpeed >= 0) fact("mean speed", `${clip.meanSpeed.toFixed(1)} m/s (${(3.6 * clip.meanSpeed).toFixed(0)} km/h)`);
  const top = topTurn[clip.unit];
  fact("charts", `speed 0 to ${topSpeed} m/s` + (top ? clip.unit === "rad" ? `, wheel angle ±${deg(top)}° (left is up)` : `, yaw rate ±${deg(top)} °/s (left is up)` : ""));
  fact("flags", Object.entries(clip.flags).map(([name, share]) => `${name} ${(100 * share).toFixed(1)} %`).join(", ") || "none");
  fact("in the MP4", `${clip.span[0]} s to ${clip.span[1]} s`);
  const buttons = make("div", { class: "tags" });
  clip.cameras.forEach((name, camera) => buttons.append(make("button", { type: "button", onclick: () => play(clip, camera, player) }, `▶ ${name}`)));
  dialog.replaceChildren(
    make("div", { class: "head" }, make("h2", { id: "dialog-title" }, clip.source),
      make("button", { type: "button", "aria-label": "Previous clip", disabled: place <= 0, onclick: () => go(-1) }, "‹"),
      make("button", { type: "button", "aria-label": "Next clip", disabled: place < 0 || place + 1 >= shown.length, onclick: () => go(1) }, "›"),
      make("button", { type: "button", id: "close", onclick: () => dialog.close() }, "Close")),
    view.box, make("div", { class: "text" }, view.range, plot.box, tagsOf(clip), buttons, player, facts, linksOf(clip)));
  dialog.step = view.step;
  dialog.go = go;
  view.show(0);
  if (!dialog.open) dialog.showModal();
  byId("close").focus();
}
function play(clip, camera, player) {
  const command = make("code", {}, `ffplay -ss ${clip.span[0]} -t ${(clip.span[1] - clip.span[0]).toFixed(3)} ${clip.videos[camera]}`);
  const note = make("p", { class: "note", hidden: true }, `This browser does not play the video (${V.codec}). From this page's folder: `, command);
  const video = make("video", { controls: true, autoplay: true, muted: true, src: `${clip.videos[camera]}#t=${clip.span.join(",")}`,
    onerror: () => { note.hidden = false; video.hidden = true; } });
  player.replaceChildren(video, note);
}
byId("dialog").addEventListener("close", () => {
  byId("dialog").replaceChildren();
  state.clip = "";
  writeAddress();
  const node = [...byId("grid").children].find((n) => n.clip === opened);
  if (node) node.focus();
});

// ---- the page
let shown = [];
function choose(facet, value) {
  if (byId("dialog").open) byId("dialog").close();
  const chosen = state.chosen[facet];
  if (chosen.has(value)) chosen.delete(value); else chosen.add(value);
  state.page = 0;
  render();
}
function clear() {
  for (const chosen of Object.values(state.chosen)) chosen.clear();
  state.words = ""; state.page = 0;
  render();
}
function turnPage(by) { state.page += by; render(); window.scrollTo(0, 0); }

const boxes = new Map();
function buildFacets() {
  for (const [facet, list] of Object.entries(values)) {
    if (list.length < 2 && facet !== "flag") continue;
    const set = make("fieldset", {}, make("legend", {}, { dataset: "data set", turn: "turning", camera: "cameras", flag: "flags" }[facet] || facet));
    for (const value of list) {
      const input = make("input", { type: "checkbox", onchange: () => choose(facet, value) }), count = make("output", {});
      const label = make("label", { title: V.facets[facet][value] || value }, input, make("span", {}, value.replaceAll("-", facet === "dataset" || facet === "camera" ? "-" : " ")), count);
      boxes.set(`${facet}:${value}`, { input, count, label });
      set.append(label);
    }
    byId("facets").append(set);
  }
}
function render() {
  const { found, counts } = sift(), pages = Math.max(1, Math.ceil(found.length / PAGE));
  state.page = Math.max(0, Math.min(state.page, pages - 1));
  shown = found.slice(state.page * PAGE, (state.page + 1) * PAGE);
  for (const [tag, { input, count, label }] of boxes) {
    input.checked = state.chosen[facetOf(tag)].has(valueOf(tag));
    count.textContent = whole.format(counts[tag] || 0);
    label.classList.toggle("none", !counts[tag] && !input.checked);
  }
  byId("grid").replaceChildren(...shown.map(card));
  byId("empty").hidden = found.length > 0;
  byId("pages").hidden = pages < 2;
  byId("count").replaceChildren(make("b", {}, whole.format(found.length)), ` of ${plural(V.clips.length, "clip")}`);
  byId("page").textContent = `page ${state.page + 1} of ${pages}`;
  byId("before").disabled = state.page === 0;
  byId("after").disabled = state.page + 1 >= pages;
  const active = Object.values(state.chosen).reduce((sum, chosen) => sum + chosen.size, 0);
  byId("clear").hidden = !active && !state.words;
  byId("filters-title").textContent = active ? `Filters (${active})` : "Filters";
  if (byId("search").value !== state.words) byId("search").value = state.words;
  byId("sort").value = state.sort;
  writeAddress();
}
function describe() {
  document.title = `${V.name}: OpenDojo store`;
  byId("title").textContent = V.name;
  const bold = (text) => make("b", {}, text);
  const hours = V.hours < 2 ? `${(60 * V.hours).toFixed(1)} min` : `${new Intl.NumberFormat("en", { maximumFractionDigits: 1 }).format(V.hours)} h`;
  byId("lead").replaceChildren(bold(whole.format(V.storeClips)), " clips · ", bold(whole.format(V.frames)), " frames · ", bold(hours),
    ` · ${V.size[0]}×${V.size[1]} · ${V.codec}, groups of ${V.gop}`);
  const part = V.wanted.length ? `${plural(V.clips.length, "clip")} tagged ${V.wanted.map(valueOf).join(", ")}, of ${whole.format(V.looked)} looked at`
    : V.clips.length < V.storeClips ? `${whole.format(V.clips.length)} of ${plural(V.storeClips, "clip")}, spread evenly` : "every clip of the store";
  byId("foot").replaceChildren(`This page shows ${part}. Store `, make("code", {}, V.place), ", fingerprint ", make("code", {}, V.fingerprint),
    ". Pictures in print: ", make("a", { href: "sheet.png" }, "contact sheet"), ".");
}
function keys(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const dialog = byId("dialog"), typing = event.target.matches("input[type=search], select");
  if (typing) { if (event.key === "Escape") event.target.blur(); return; }
  const steps = { ArrowLeft: -1, ArrowRight: 1 }, onRange = event.target.matches("input[type=range]");
  if (dialog.open) {
    if (event.key in steps && !onRange && !event.target.matches("video")) { dialog.step(steps[event.key]); event.preventDefault(); }
    else if (event.key === "j") dialog.go(1);
    else if (event.key === "k") dialog.go(-1);
    return;
  }
  const nodes = [...byId("grid").children], at = nodes.findIndex((node) => node.contains(document.activeElement));
  if (event.key === "/") { byId("search").focus(); event.preventDefault(); }
  else if (event.key === "c") clear();
  else if (event.key === "[" && !byId("before").disabled) turnPage(-1);
  else if (event.key === "]" && !byId("after").disabled) turnPage(1);
  else if (event.key === "j" || event.key === "k") {
    const next = nodes[at < 0 ? 0 : at + (event.key === "j" ? 1 : -1)];
    if (next) { next.focus(); next.scrollIntoView({ block: "nearest" }); }
  } else if (at >= 0 && event.key in steps && !onRange) { nodes[at].step(steps[event.key]); event.preventDefault(); }
  else if (event.key === "Enter" && event.target === nodes[at]) open(nodes[at].clip);
}
if (V) {
  for (const [key, [label]] of Object.entries(SORTS)) byId("sort").append(make("option", { value: key }, label));
  const narrow = matchMedia("(max-width: 760px)"), fold = () => { byId("filters").open = !narrow.matches; };
  fold();
  narrow.addEventListener("change", fold);
  describe();
  buildFacets();
  const openNamed = () => { const clip = V.clips.find((c) => c.id === state.clip); if (clip) open(clip); };
  readAddress();
  render();
  openNamed();
  let wait = 0;
  byId("search").addEventListener("input", (event) => { clearTimeout(wait); wait = setTimeout(() => { state.words = event.target.value.trim(); state.page = 0; render(); }, 120); });
  byId("sort").addEventListener("change", (event) => { state.sort = event.target.value; state.page = 0; render(); });
  byId("clear").addEventListener("click", clear);
  byId("before").addEventListener("click", () => turnPage(-1));
  byId("after").addEventListener("click", () => turnPage(1));
  addEventListener("hashchange", () => { readAddress(); render(); openNamed(); });
  document.addEventListener("keydown", keys);
}
