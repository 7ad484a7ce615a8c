"use strict";

// ---- elements: texts are set as texts, never as markup ------------------------------------------------------------

const HIDDEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]/g;

function shown(text) {
  return String(text).replace(HIDDEN, (sign) => "⟨U+" + sign.codePointAt(0).toString(16).toUpperCase().padStart(4, "0") + "⟩");
}

function el(tag, settings = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(settings)) {
    if (name === "text") made.textContent = shown(value);
    else if (name === "on") for (const [event, task] of Object.entries(value)) made.addEventListener(event, task);
    else if (value !== null && value !== undefined) made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

function svg(tag, settings = {}, text = null) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(settings)) made.setAttribute(name, value);
  if (text !== null) made.textContent = shown(text);
  return made;
}

const percent = (value) => (value === null || value === undefined ? "" : (100 * value).toFixed(1));
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const redraws = [];  // what follows the theme

// ---- marks: eight colours that colour-blind eyes tell apart, times seven shapes ----------------------------------

const COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b58900", "#3a9bdc", "#7a5195", "#7f7f7f"];
const SHAPES = 7;

function trace(pen, shape, x, y, r) {
  pen.beginPath();
  if (shape === 0) pen.arc(x, y, r, 0, 2 * Math.PI);
  else if (shape === 1) pen.rect(x - r * 0.85, y - r * 0.85, 1.7 * r, 1.7 * r);
  else if (shape === 5) {
    pen.rect(x - r, y - r * 0.35, 2 * r, 0.7 * r);
    pen.rect(x - r * 0.35, y - r, 0.7 * r, 2 * r);
  } else {
    const corners = { 2: 3, 3: 4, 4: 3, 6: 5 }[shape];
    const turn = shape === 4 ? Math.PI / 2 : -Math.PI / 2;
    for (let corner = 0; corner < corners; corner++) {
      const angle = turn + (2 * Math.PI * corner) / corners;
      pen.lineTo(x + 1.15 * r * Math.cos(angle), y + 1.15 * r * Math.sin(angle));
    }
    pen.closePath();
  }
}

function mark(pen, number, x, y, r) {
  pen.fillStyle = COLOURS[number % COLOURS.length];
  trace(pen, Math.floor(number / COLOURS.length) % SHAPES, x, y, r);
  pen.fill();
}

function legend(names) {
  return el("div", { class: "legend", tabindex: "0", role: "group", "aria-label": "Legend" }, ...names.map((name, number) => {
    const canvas = el("canvas", { width: 28, height: 28, "aria-hidden": "true" });
    mark(canvas.getContext("2d"), number, 14, 14, 10);
    return el("span", {}, canvas, el("span", { class: "text", text: name }));
  }));
}

// ---- tables -------------------------------------------------------------------------------------------------------

function table(heads, rows, { sortable = false, caption = "", wide = false } = {}) {
  const body = el("tbody");
  const fill = (order) => body.replaceChildren(...order.map((row) => el("tr", {}, ...row.map((cell, column) => {
    const made = el(column ? "td" : "th", column ? {} : { scope: "row" });
    if (cell instanceof Node) made.append(cell); else { made.textContent = cell === null ? "" : shown(cell); made.className = column ? "" : "text"; }
    return made;
  }))));
  fill(rows);
  const head = el("tr");
  heads.forEach((name, column) => {
    const cell = el("th", { scope: "col" });
    if (!sortable) cell.textContent = name;
    else cell.append(el("button", { type: "button", text: name, on: { click: () => {
      const down = cell.getAttribute("aria-sort") !== "descending";
      for (const other of head.children) other.removeAttribute("aria-sort");
      cell.setAttribute("aria-sort", down ? "descending" : "ascending");
      const value = (row) => (row[column] instanceof Node ? row[column].textContent : row[column]);
      const compare = (a, b) => {
        const [x, y] = [value(a), value(b)];
        const numbers = !isNaN(parseFloat(x)) && !isNaN(parseFloat(y));
        return numbers ? parseFloat(x) - parseFloat(y) : String(x).localeCompare(String(y));
      };
      fill([...rows].sort((a, b) => (down ? -1 : 1) * compare(a, b)));
    } } }));
    head.append(cell);
  });
  const made = el("table", wide ? { class: "wide" } : {}, el("caption", { class: "soft", text: caption }), el("thead", {}, head), body);
  return el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption || heads.join(", ") }, made);
}

// ---- line charts --------------------------------------------------------------------------------------------------

const DASHES = ["", "7 4", "2 3", "9 3 2 3", "12 5"];

function ticks(low, high) {
  const step = 10 ** Math.floor(Math.log10((high - low) / 2 || 1));
  const width = [1, 2, 5, 10].map((times) => times * step).find((each) => (high - low) / each <= 6) || step;
  const found = [];
  for (let at = Math.ceil(low / width) * width; at <= high + 1e-9; at += width) found.push(+at.toPrecision(10));
  return found;
}

function chart(title, series, { x = "step", unit = 1, diagonal = false } = {}) {
  const [W, H, left, right, top, bottom] = [460, 270, 46, 96, 10, 34];
  const points = series.flatMap((each) => each.points);
  const panel = el("figure", { class: "panel" }, el("h3", { text: title }));
  if (!points.length) return panel;
  let [x0, x1] = [Math.min(...points.map((p) => p[0])), Math.max(...points.map((p) => p[0]))];
  let [y0, y1] = [Math.min(...points.map((p) => p[1])), Math.max(...points.map((p) => p[1]))];
  if (diagonal) [x0, x1, y0, y1] = [0, 1, 0, 1];
  if (x0 === x1) x1 = x0 + 1;
  if (y0 === y1) [y0, y1] = [y0 - 0.5, y1 + 0.5];
  const at = (p) => [left + ((p[0] - x0) / (x1 - x0)) * (W - left - right), H - bottom - ((p[1] - y0) / (y1 - y0)) * (H - top - bottom)];
  const picture = svg("svg", { viewBox: `0 0 ${W} ${H}`, role: "img", "aria-label": `${title}: ${series.map((s) => s.name).join(", ")}` });
  for (const value of ticks(y0, y1)) {
    const [, y] = at([x0, value]);
    picture.append(svg("line", { class: "rule", x1: left, x2: W - right, y1: y, y2: y }), svg("text", { x: left - 5, y: y + 4, "text-anchor": "end" }, +(value * unit).toFixed(4)));
  }
  for (const value of ticks(x0, x1)) picture.append(svg("text", { x: at([value, y0])[0], y: H - bottom + 15, "text-anchor": "middle" }, value));
  picture.append(svg("line", { class: "axis", x1: left, x2: W - right, y1: H - bottom, y2: H - bottom }), svg("text", { x: W - right, y: H - 4, "text-anchor": "end" }, x));
  if (diagonal) picture.append(svg("line", { class: "axis", "stroke-dasharray": "3 3", x1: at([0, 0])[0], y1: at([0, 0])[1], x2: at([1, 1])[0], y2: at([1, 1])[1] }));
  let last = -20;
  const ends = series.filter((each) => each.points.length).map((each, number) => ({ each, number, y: at(each.points[each.points.length - 1])[1] }));
  for (const [rank, { each, number, y }] of ends.sort((a, b) => a.y - b.y).entries()) {
    const path = each.points.map((p, place) => (place ? "L" : "M") + at(p).map((v) => v.toFixed(1)).join(" ")).join("");
    const stroke = COLOURS[number % COLOURS.length];
    picture.append(svg("path", { d: path, fill: "none", stroke, "stroke-width": 2, "stroke-dasharray": DASHES[number % DASHES.length] }));
    if (each.points.length < 40) for (const p of each.points) picture.append(svg("circle", { cx: at(p)[0], cy: at(p)[1], r: 2.5, fill: stroke }));
    last = Math.max(last + 13, y + 4);
    const lowest = H - bottom + 2 - 13 * (ends.length - 1 - rank);  // room for those below, above the ticks
    const label = svg("text", { x: W - right + 5, y: Math.min(last, lowest) }, each.name.length > 15 ? each.name.slice(0, 14) + "…" : each.name);
    label.append(svg("title", {}, each.name));
    picture.append(label);
  }
  panel.append(picture);
  return panel;
}

// ---- sections of one run ------------------------------------------------------------------------------------------

const LOSS_NAMES = { loss: "loss", graph_loss: "graph loss", metric_loss: "metric loss", ce_loss: "cross-entropy" };

function interval(row, score) {
  const found = row.intervals && row.intervals[score];
  return percent(row[score]) + (found ? ` [${percent(found[0])}, ${percent(found[1])}]` : "");
}

function scores(run) {
  const of = (name) => run.scores.find((row) => row.split === run.split && row.name === name);
  const [head, graph, floor] = [of("head"), of("with the graph"), of("frozen encoder, linear head")];
  const best = graph && graph.accuracy > head.accuracy ? graph : head;
  let verdict = `${percent(best.accuracy)} % of ${best.n.toLocaleString("en")} ${run.split} documents are right` + (best === graph ? " with the graph" : "");
  if (floor && best !== floor) {
    const gain = 100 * (best.accuracy - floor.accuracy);
    verdict += gain > 0 ? `, ${gain.toFixed(1)} points above the frozen encoder.` : `: training did not help; the frozen encoder has ${percent(floor.accuracy)} %.`;
  } else verdict += ".";
  const heads = ["", "split", "documents", "accuracy, %", "macro-F1, %", "neg. log-likelihood", "calibration error, %"];
  const rows = run.scores.map((row) => [row.name, row.split, row.n, interval(row, "accuracy"), interval(row, "macro_f1"), row.nll.toFixed(3), percent(row.ece)]);
  return [el("p", { class: "verdict", text: verdict }), table(heads, rows, { caption: "In brackets: 95 % intervals over documents." })];
}

function curves(found) {
  const losses = Object.keys(LOSS_NAMES).filter((name) => found[name]).map((name) => ({ name: LOSS_NAMES[name], points: found[name] }));
  const validation = [["eval_accuracy", "accuracy"], ["eval_macro_f1", "macro-F1"]].filter(([name]) => found[name]).map(([name, text]) => ({ name: text, points: found[name] }));
  if (!losses.length && !validation.length) return null;
  return [el("div", { class: "columns" }, chart("Training loss", losses), chart("Validation score, %", validation, { unit: 100 }))];
}

function confusion(run, who) {
  const counts = run.confusion[who];
  const totals = counts.map((row) => row.reduce((a, b) => a + b, 0));
  const head = el("tr", {}, el("th", { scope: "col", text: "true ↓  predicted →" }), ...run.names.map((name) => el("th", { scope: "col", title: shown(name), text: name.length > 6 ? name.slice(0, 5) + "…" : name })));
  const rows = counts.map((row, label) => el("tr", {}, el("th", { scope: "row", class: "text", text: run.names[label] }), ...row.map((count, given) => {
    const share = totals[label] ? count / totals[label] : 0;
    const cell = el("td", { text: count || "·", title: shown(`${run.names[label]} taken for ${run.names[given]}: ${count} of ${totals[label]}`) });
    if (count) {
      cell.style.background = `rgba(${colour("--heat")}, ${Math.min(0.12 + 0.75 * share, 0.85)})`;
      if (share > 0.45) cell.style.color = colour("--ground");
    }
    return cell;
  })));
  return el("div", { class: "scroll panel", tabindex: "0", role: "region", "aria-label": "Confusion matrix" }, el("table", { class: "confusion" }, el("thead", {}, head), el("tbody", {}, ...rows)));
}

function classes(run) {
  const who = Object.keys(run.confusion);
  const holder = el("div");
  const choice = el("select", { "aria-label": "Whose predictions" }, ...who.map((name) => el("option", { text: name, value: name })));
  const draw = () => holder.replaceChildren(confusion(run, choice.value));
  choice.addEventListener("change", draw);
  draw();
  redraws.push(draw);
  const rows = Object.entries(run.by_class).map(([name, found]) => [name, found.n, percent(found.precision), percent(found.recall), percent(found.f1)]);
  return [el("div", { class: "controls" }, el("label", { text: "Predictions of the " }, choice)), holder,
    el("h3", { text: "By class, the head" }), table(["class", "documents", "precision, %", "recall, %", "F1, %"], rows, { sortable: true, caption: "A heading sorts." })];
}

function calibration(run) {
  const series = Object.entries(run.calibration).map(([name, bins]) => ({ name, points: bins.map((bin) => [bin.confidence, bin.accuracy]) }));
  return [el("p", { class: "soft", text: "How often predictions of a confidence are right. On the diagonal, probabilities mean what they say." }),
    el("div", { class: "columns" }, chart("Accuracy by confidence", series, { x: "confidence", diagonal: true }))];
}

// ---- the map ------------------------------------------------------------------------------------------------------

function documentMap(run) {
  const documents = run.documents, places = run.map;
  if (!places) return [el("p", { class: "soft", text: "The run kept no embeddings (--record no, or a whole system)." })];
  const size = documents.text.length, splits = ["train", "validation", "test"];
  const lower = documents.text.map((text) => text.toLowerCase());
  const wrong = documents.prediction.map((given, row) => given !== null && documents.label[row] >= 0 && given !== documents.label[row]);
  const canvas = el("canvas", { class: "map", tabindex: "0", role: "img", "aria-label": "Map of the documents; arrow keys step through them" });
  const back = document.createElement("canvas");
  const detail = el("div", { class: "detail panel", "aria-live": "polite" }, el("p", { class: "soft", text: "Point at a document, or step through with the arrow keys." }));
  const select = (label, options) => el("select", { "aria-label": label }, ...options.map(([value, text]) => el("option", { value, text })));
  const moment = select("Moment", [["after", "after training"], ...(places.before ? [["before", "before training"]] : [])]);
  const by = select("Coloured by", [["label", "label"], ["split", "split"], ["error", "right or wrong"]]);
  const which = select("Documents", [["all", "all documents"], ...splits.filter((name) => documents.split.includes(name)).map((name) => [name, name])]);
  const search = el("input", { type: "search", placeholder: "Search texts", "aria-label": "Search texts" });
  const found = el("span", { class: "soft", role: "status" });
  const key = el("div");
  let rows = [], selected = -1, buckets = new Map(), width = 0, height = 0;

  const place = (row) => [12 + (places[moment.value][2 * row] / 1000) * (width - 24), 12 + (places[moment.value][2 * row + 1] / 1000) * (height - 24)];
  const group = (row) => by.value === "split" ? splits.indexOf(documents.split[row]) : by.value === "error" ? (documents.prediction[row] === null ? 7 : wrong[row] ? 9 : 0) : Math.max(documents.label[row], 0);

  function paint() {
    width = canvas.width = back.width = Math.round(canvas.clientWidth * devicePixelRatio) || 960;
    height = canvas.height = back.height = Math.round(canvas.clientHeight * devicePixelRatio) || 600;
    const wanted = search.value.toLowerCase();
    rows = [];
    for (let row = 0; row < size; row++) {
      if (which.value !== "all" && documents.split[row] !== which.value) continue;
      if (wanted && !lower[row].includes(wanted)) continue;
      rows.push(row);
    }
    found.textContent = wanted ? `${rows.length.toLocaleString("en")} found` : "";
    const pen = back.getContext("2d"), r = (rows.length > 4000 ? 2.6 : rows.length > 800 ? 3.4 : 4.5) * devicePixelRatio;
    const stamps = new Map();
    const stamp = (number) => {
      if (!stamps.has(number)) {
        const made = document.createElement("canvas");
        made.width = made.height = Math.ceil(2.6 * r);
        mark(made.getContext("2d"), number, made.width / 2, made.width / 2, r);
        stamps.set(number, made);
      }
      return stamps.get(number);
    };
    pen.clearRect(0, 0, width, height);
    pen.globalAlpha = rows.length > 4000 ? 0.65 : 0.85;
    buckets = new Map();
    for (const row of rows) {
      const [x, y] = place(row), image = stamp(group(row));
      pen.drawImage(image, x - image.width / 2, y - image.width / 2);
      const bucket = Math.floor(x / 24) * 4096 + Math.floor(y / 24);
      if (buckets.has(bucket)) buckets.get(bucket).push(row); else buckets.set(bucket, [row]);
    }
    const names = by.value === "split" ? splits : by.value === "error" ? ["right", "wrong", "trained on"] : run.names;
    key.replaceChildren(by.value === "error" ? errorKey(names) : legend(names));
    show();
  }

  function errorKey(names) {
    return el("div", { class: "legend" }, ...[0, 9, 7].map((number, place) => {
      const canvas = el("canvas", { width: 28, height: 28, "aria-hidden": "true" });
      mark(canvas.getContext("2d"), number, 14, 14, 10);
      return el("span", {}, canvas, el("span", { text: names[place] }));
    }));
  }

  function show() {
    const pen = canvas.getContext("2d");
    pen.clearRect(0, 0, width, height);
    pen.drawImage(back, 0, 0);
    if (selected < 0) return;
    const [x, y] = place(selected);
    pen.lineWidth = 2 * devicePixelRatio;
    pen.strokeStyle = colour("--ink");
    for (const [row] of documents.told_by[selected] || []) {
      pen.beginPath();
      pen.moveTo(x, y);
      pen.lineTo(...place(row));
      pen.stroke();
    }
    pen.beginPath();
    pen.arc(x, y, 8 * devicePixelRatio, 0, 2 * Math.PI);
    pen.stroke();
  }

  function choose(row) {
    selected = row;
    show();
    if (row < 0) return;
    const items = [["split", documents.split[row]], ["label", documents.label[row] < 0 ? "none" : run.names[documents.label[row]]]];
    if (documents.prediction[row] !== null) items.push(["prediction", `${run.names[documents.prediction[row]]} (${percent(documents.probability[row])} %)${wrong[row] ? ", wrong" : ""}`]);
    items.push(["text", documents.text[row]]);
    for (const [other, share] of documents.told_by[row] || []) items.push([`told by, ${percent(share)} %: ${documents.label[other] < 0 ? "no label" : run.names[documents.label[other]]}`, documents.text[other]]);
    detail.replaceChildren(el("dl", {}, ...items.flatMap(([name, text]) => [el("dt", { text: name }), el("dd", { class: "text", dir: "auto", text })])));
  }

  function near(event) {
    const box = canvas.getBoundingClientRect();
    const [x, y] = [((event.clientX - box.left) / box.width) * width, ((event.clientY - box.top) / box.height) * height];
    let best = -1, least = (14 * devicePixelRatio) ** 2;
    for (let i = -1; i <= 1; i++) for (let j = -1; j <= 1; j++) {
      for (const row of buckets.get((Math.floor(x / 24) + i) * 4096 + Math.floor(y / 24) + j) || []) {
        const [px, py] = place(row), distance = (px - x) ** 2 + (py - y) ** 2;
        if (distance < least) [best, least] = [row, distance];
      }
    }
    return best;
  }

  let waiting = null;
  canvas.addEventListener("mousemove", (event) => {
    if (waiting === null) requestAnimationFrame(() => {
      const row = near(waiting);
      waiting = null;
      if (row >= 0 && row !== selected) choose(row);
    });
    waiting = event;
  });
  canvas.addEventListener("click", (event) => { const row = near(event); if (row >= 0) choose(row); });
  canvas.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (!step || !rows.length) return;
    event.preventDefault();
    const at = rows.indexOf(selected);
    choose(rows[(at + step + rows.length) % rows.length]);
  });
  let pause = 0;
  search.addEventListener("input", () => { clearTimeout(pause); pause = setTimeout(paint, 120); });
  for (const control of [moment, by, which]) control.addEventListener("change", paint);
  new ResizeObserver(() => { if (Math.round(canvas.clientWidth * devicePixelRatio) !== width) paint(); }).observe(canvas);
  redraws.push(paint);
  return [el("p", { class: "soft", text: "Documents that the encoder finds alike lie together. Lines lead to the training documents with the largest shares in what the graph says." }),
    el("div", { class: "controls" }, moment, by, which, search, found), el("div", { class: "panel" }, canvas, key), detail];
}

// ---- the batch graph ----------------------------------------------------------------------------------------------

function heat(moment, count) {
  const canvas = el("canvas", { class: "heat", width: count, height: count, role: "img", "aria-label": `Weights at step ${moment.step}: ${percent(moment.inside)} % inside the classes` });
  const draw = () => {
    const pen = canvas.getContext("2d"), image = pen.createImageData(count, count);
    const [r, g, b] = colour("--heat").split(",").map(Number);
    moment.shares.forEach((value, place) => image.data.set([r, g, b, value], 4 * place));
    pen.putImageData(image, 0, 0);
  };
  draw();
  redraws.push(draw);
  return canvas;
}

function nodes(moment, labels, box) {
  const size = 420, canvas = el("canvas", { class: "heat", width: size, height: size, role: "img", "aria-label": `Graph at step ${moment.step}` });
  const at = (row) => moment.places[row].map((value, axis) => 20 + ((value - box[axis][0]) / (box[axis][1] - box[axis][0] || 1)) * (size - 40));
  const draw = () => {
    const pen = canvas.getContext("2d");
    pen.clearRect(0, 0, size, size);
    for (const [first, second] of moment.edges) {
      const same = labels[first] === labels[second];
      pen.strokeStyle = colour(same ? "--soft" : "--ink");
      pen.globalAlpha = same ? 0.35 : 0.8;
      pen.setLineDash(same ? [] : [4, 3]);
      pen.beginPath();
      pen.moveTo(...at(first));
      pen.lineTo(...at(second));
      pen.stroke();
    }
    pen.globalAlpha = 1;
    labels.forEach((label, row) => mark(pen, label, ...at(row), 6));
  };
  draw();
  redraws.push(draw);
  return canvas;
}

function batch(run) {
  if (!run.batch) return null;
  const { moments, labels } = run.batch;
  const axes = [0, 1].map((axis) => moments.flatMap((moment) => moment.places.map((place) => place[axis])));
  const box = axes.map((values) => [Math.min(...values), Math.max(...values)]);
  const panels = moments.map((moment) => el("div", { class: "panel" },
    el("h3", { text: moment.step ? `Step ${moment.step}` : "Before training" }),
    el("p", { text: `${percent(moment.inside)} % of the weight inside the classes, ${percent(1 - moment.inside)} % between them; kernel width ${moment.bandwidth.toFixed(3)}.` }),
    heat(moment, labels.length), nodes(moment, labels, box)));
  const used = run.names.filter((_, number) => labels.includes(number)).length;
  return [el("p", { class: "soft", text: `The same ${labels.length} validation documents of ${used} classes. Above, what each tells each, ordered by class: blocks on the diagonal are classes that keep to themselves. Below, the strongest edges; dashed ones join different classes.` }),
    el("div", { class: "columns" }, ...panels), legend(run.names)];
}

function suspicious(run) {
  if (!run.suspicious.length) return null;
  const text = (row) => el("div", { class: "text", dir: "auto", text: run.documents.text[row] });
  const rows = run.suspicious.map((each) => [each.score.toFixed(3), each.row, run.names[run.documents.label[each.row]], run.names[each.suggested], text(each.row),
    el("div", {}, ...each.against.map(([row, share]) => el("div", { class: "text", dir: "auto", text: `${percent(share)} % ${run.names[run.documents.label[row]]}: ${run.documents.text[row].slice(0, 160)}` })))]);
  return [el("p", { class: "soft", text: "Training labels that all other documents contradict most, and the neighbours that vote against them." }),
    table(["suspicion", "row", "label", "suggested", "text", "against"], rows, { wide: true, caption: "graphloss audit lists them all." })];
}

function settings(run) {
  return [el("p", {}, el("code", { text: run.command })), el("div", { class: "columns" },
    table(["setting", "value"], run.settings, { caption: "Settings" }), table(["environment", ""], run.environment, { caption: "Environment" }))];
}

// ---- several runs -------------------------------------------------------------------------------------------------

function compared(several) {
  const who = [...new Set(several.rows.flatMap((row) => row.scores.map((each) => each.name)))];
  const heads = ["run", ...who.flatMap((name) => [`accuracy, ${name}, %`, `macro-F1, ${name}, %`]), "p against the first", "seconds"];
  const test = (row) => (row.p_value === null ? "other documents" : row.p_value.toFixed(4));
  const rows = several.rows.map((row, number) => [row.name, ...who.flatMap((name) => {
    const found = row.scores.find((each) => each.name === name);
    return found ? [interval(found, "accuracy"), interval(found, "macro_f1")] : ["", ""];
  }), number ? test(row) : "", row.seconds ? row.seconds.toFixed(0) : ""]);
  return [table(heads, rows, { sortable: true, caption: `${several.split} documents; 95 % intervals over documents; p of a paired permutation test of the heads` })];
}

function overlaid(several) {
  const names = [["loss", "Training loss", 1], ["graph_loss", "Graph loss", 1], ["eval_accuracy", "Validation accuracy, %", 100], ["eval_macro_f1", "Validation macro-F1, %", 100]];
  return [el("div", { class: "columns" }, ...names.map(([name, title, unit]) =>
    chart(title, several.curves.map((found, run) => ({ name: several.names[run], points: found[name] || [] })), { unit })))];
}

function convergence(several) {
  const rows = several.rows.filter((row) => row.convergence.best).map((row) => {
    const found = row.convergence, seconds = (value) => (value ? value.toFixed(0) : "");
    return [row.name, percent(found.best), found.steps_to_best, seconds(found.seconds_to_best), found.steps_to_near ?? "never", seconds(found.seconds_to_near)];
  });
  return rows.length ? [table(["run", "best validation macro-F1, %", "steps to it", "seconds to it", "steps to 99 % of the first run's", "seconds"], rows, { sortable: true, caption: "Convergence" })] : null;
}

// ---- the page -----------------------------------------------------------------------------------------------------

async function unpack() {
  const packed = Uint8Array.from(atob(document.getElementById("data").textContent), (sign) => sign.charCodeAt(0));
  return new Response(new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"))).json();
}

function sectionsOf(content) {
  if (content.several) {
    const several = content.several;
    return [["Scores", () => compared(several)], ["Curves", () => overlaid(several)], ["Convergence", () => convergence(several)],
      ["What differs", () => [table(["setting", ...several.names], several.settings, { caption: "Only settings that differ" })]]];
  }
  const run = content.run;
  return [["Scores", () => scores(run)], ["Training", () => curves(run.curves)], ["Classes", () => classes(run)], ["Calibration", () => calibration(run)],
    ["Map", () => documentMap(run)], ["Batch graph", () => batch(run)], ["Suspicious labels", () => suspicious(run)], ["Settings", () => settings(run)]];
}

function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  for (const redraw of redraws) requestAnimationFrame(redraw);
}

async function main() {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  setTheme(dark.matches ? "dark" : "light");
  document.getElementById("theme").addEventListener("click", () => setTheme(document.documentElement.dataset.theme === "dark" ? "light" : "dark"));
  const content = await unpack(), page = document.getElementById("page"), links = document.getElementById("sections");
  page.replaceChildren();
  for (const [title, make] of sectionsOf(content)) {
    await new Promise(requestAnimationFrame);
    const made = make();
    if (!made) continue;
    const id = title.toLowerCase().replace(/ /g, "-");
    page.append(el("section", { id, "aria-labelledby": `${id}-title` }, el("h2", { id: `${id}-title`, text: title }), ...made));
    links.append(el("a", { href: `#${id}`, text: title }));
  }
  page.removeAttribute("aria-busy");
}

main().catch((error) => { document.getElementById("page").textContent = `The page cannot be drawn: ${error.message}`; });
