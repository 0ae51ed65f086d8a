"use strict";

/* Shows the reports of /events. Text from outside only ever becomes textContent. */

const SILENT_MS = 4_000;      // without a report for so long, what is shown is old
const REOPEN_MS = 4_000;      // between attempts, where the browser's own bring nothing
const BEHIND_S = 10;          // so long an oldest message is no matter of commits any more
const SVG = "http://www.w3.org/2000/svg";

const VERDICTS = {
  ok: "All data is flowing",
  degraded: "Data is flowing, with warnings",
  troubled: "Data is flowing, with problems",
  down: "Data is not flowing",
  starting: "Starting",
  unknown: "State unknown",
};
const LINE_STATES = {
  streaming: ["ok", "streaming"],
  connected: ["warn", "no data yet"],
  connecting: ["warn", "connecting"],
  waiting: ["bad", "waiting"],
};
const PARTS = {
  exchange: ["Exchange", "from its event time until read, by two clocks"],
  network: ["Network", "half of a ping’s round trip"],
  decode: ["Decode", "from read until decoded"],
  queue: ["Queue", "until handed to the consumer"],
  handler: ["Handler", "until the consumer asks for more"],
};
const BREAKERS = {
  closed: ["ok", "closed"],
  half_open: ["warn", "half-open"],
  open: ["bad", "open"],
};

const BOOKS = {
  live: ["ok", "live"],
  unproven: ["bad", "unproven"],
  empty: ["warn", "empty"],
};

const $ = (id) => document.getElementById(id);
const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const short = new Intl.NumberFormat("en", { maximumFractionDigits: 1, minimumFractionDigits: 1 });
const rough = new Intl.NumberFormat("en", { notation: "compact", minimumFractionDigits: 2, maximumFractionDigits: 2 });
const number = (value) => (value < 1e6 ? whole : rough).format(value);
const perSecond = (value) => (value >= 100 ? whole : short).format(value);
const clock = (unix) => new Date(unix * 1000).toLocaleTimeString([], { hour12: false });

/** At most two units, as precise as anybody needs; a line may break between them only. */
function duration(seconds) {
  if (seconds < 0.95) return `${Math.round(seconds * 1000)}\u00a0ms`;
  if (seconds < 9.95) return `${seconds.toFixed(1)}\u00a0s`;
  const s = Math.round(seconds);
  if (s < 60) return `${s}\u00a0s`;
  if (s < 600) return pair(Math.floor(s / 60), "min", s % 60, "s");
  if (s < 3600) return `${Math.floor(s / 60)}\u00a0min`;
  if (s < 86400) return pair(Math.floor(s / 3600), "h", Math.floor((s % 3600) / 60), "min");
  return pair(Math.floor(s / 86400), "d", Math.floor((s % 86400) / 3600), "h");
}

/** As short as a decoder may take; negative where two clocks disagree. */
function brief(seconds) {
  if (seconds === null) return "–";
  if (seconds < 0) return `−${brief(-seconds)}`;
  if (seconds < 0.000_95) return `${Math.round(seconds * 1e6)}\u00a0µs`;
  if (seconds < 0.009_5) return `${(seconds * 1000).toFixed(1)}\u00a0ms`;
  return duration(seconds);
}

function pair(large, unit, small, subunit) {
  return small ? `${large}\u00a0${unit} ${small}\u00a0${subunit}` : `${large}\u00a0${unit}`;
}

function ago(seconds) {
  if (seconds === null) return "–";
  if (seconds < 1) return "now";
  const [large] = duration(seconds).split(" ");
  return `${seconds < 3600 ? duration(seconds) : large} ago`;
}

function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** A figure: what is not a digit of it is set smaller. */
function setFigure(node, text) {
  if (node.textContent === text) return;
  if (!/\d/.test(text)) return setText(node, text);
  const parts = text.match(/[\d.,]+|[^\d.,]+/g);
  node.replaceChildren(...parts.map((part) => (/\d/.test(part) ? part : element("small", part))));
}

function element(name, text = "", className = "") {
  const node = document.createElement(name);
  node.textContent = text;
  if (className) node.className = className;
  return node;
}

/* -- tables: rows keep their identity from report to report ------------------------------------ */

class Table {
  /** @param columns functions that fill a cell from an item; the first one fills the row's head. */
  constructor(id, key, empty, columns) {
    this.body = $(id).tBodies[0];
    this.labels = [...$(id).tHead.rows[0].cells].map((cell) => cell.textContent);
    this.key = key;
    this.empty = empty;
    this.columns = columns;
    this.rows = new Map();
    // Laid out as cards on a phone, a table would lose its meaning for screen readers.
    $(id).setAttribute("role", "table");
  }

  show(items) {
    const rows = new Map();
    for (const item of items) {
      const key = this.key(item);
      const row = this.rows.get(key) ?? this.makeRow();
      this.columns.forEach(([, fill], index) => fill(row.cells[index], item));
      rows.set(key, row);
    }
    this.rows = rows;
    const wanted = items.length ? [...rows.values()] : [this.emptyRow()];
    const same = wanted.length === this.body.rows.length &&
      wanted.every((row, index) => row === this.body.rows[index]);
    if (!same) this.body.replaceChildren(...wanted);
  }

  makeRow() {
    const row = element("tr");
    row.setAttribute("role", "row");
    this.columns.forEach(([className], index) => {
      const cell = element(index ? "td" : "th", "", className);
      if (index) cell.setAttribute("role", "cell");
      else { cell.scope = "row"; cell.setAttribute("role", "rowheader"); }
      cell.dataset.label = this.labels[index];
      row.append(cell);
    });
    return row;
  }

  emptyRow() {
    if (!this.nothing) {
      this.nothing = element("tr");
      const cell = element("td", this.empty, "none");
      cell.colSpan = this.columns.length;
      this.nothing.append(cell);
    }
    return this.nothing;
  }
}

const text = (get) => (cell, item) => setText(cell, get(item));
const alarming = (get) => (cell, item) => {
  setText(cell, number(get(item)));
  cell.classList.toggle("warn-text", get(item) > 0);
};

function badge(get) {
  return (cell, item) => {
    const [kind, words] = get(item);
    const mark = cell.firstElementChild ?? cell.appendChild(element("span"));
    mark.className = `badge ${kind}`;
    setText(mark, words);
  };
}

function twoLines(get) {
  return (cell, item) => {
    const [first, second] = get(item);
    if (!cell.firstElementChild) cell.append(element("span"), element("small"));
    setText(cell.firstElementChild, first);
    setText(cell.lastElementChild, second);
  };
}

/* -- graphs ------------------------------------------------------------------------------------ */

const SHORTEST_S = 120;       // the graphs of a program that has just begun go back so far
const trends = { steps: 1, streams: new Map() };

function note(report) {
  trends.steps = Math.max(report.rates.length, Math.round(SHORTEST_S / report.step_s));
  setText($("span"), `last ${Math.round((trends.steps * report.step_s) / 60)}\u00a0min`);
  trends.streams = new Map(report.streams.map((stream) => [streamKey(stream), stream.rates]));
  draw($("pulse"), report.rates);
  document.querySelectorAll("#streams .spark").forEach((svg) => trace(svg));
}

/** Draw the trend of the stream whose graph this is. */
function trace(svg) {
  draw(svg, trends.streams.get(svg.dataset.key) ?? []);
}

/** The newest rate is at the right; where nothing is known, nothing is drawn. */
function draw(svg, rates) {
  const { width, height } = svg.viewBox.baseVal;
  const gap = width / Math.max(1, trends.steps - 1);
  const top = Math.max(1, ...rates);
  const x = (index) => (width - gap * (rates.length - 1 - index)).toFixed(1);
  const y = (rate) => (height - 1 - (height - 3) * (rate / top)).toFixed(1);
  const path = rates.map((rate, index) => `${x(index)} ${y(rate)}`).join("L");
  svg.querySelector(".line").setAttribute("d", path && `M${path}`);
  svg.querySelector(".area").setAttribute("d", path && `M${x(0)} ${height}L${path}V${height}Z`);
}

function spark(cell) {
  if (cell.firstElementChild) return cell.firstElementChild;
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", "spark");
  svg.setAttribute("viewBox", "0 0 120 32");
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("aria-hidden", "true");
  for (const name of ["area", "line"]) {
    const path = document.createElementNS(SVG, "path");
    path.setAttribute("class", name);
    svg.append(path);
  }
  return cell.appendChild(svg);
}

/* -- what is shown ----------------------------------------------------------------------------- */

const streamKey = (stream) => `${stream.venue ?? ""} ${stream.stream}`;

const tables = {
  lines: new Table("lines", (line) => line.name, "No line is configured.", [
    ["", text((line) => `Line ${line.name}`)],
    ["pair", badge((line) => LINE_STATES[line.state])],
    ["whole", twoLines((line) => [
      line.endpoint ?? "–",
      line.retry_in_s !== null ? `next attempt in ${duration(line.retry_in_s)}` : line.venue ?? "",
    ])],
    ["n", text((line) => (line.connected_s === null ? "–" : duration(line.connected_s)))],
    ["n", text((line) => ago(line.silence_s))],
    ["n", text((line) => number(line.streams))],
  ]),
  endpoints: new Table("endpoints", (endpoint) => endpoint.name, "No endpoint is configured.", [
    ["", text((endpoint) => endpoint.name)],
    ["pair", text((endpoint) => endpoint.venue)],
    ["pair", text((endpoint) => carried(endpoint.lines))],
    ["pair", badge((endpoint) => BREAKERS[endpoint.breaker])],
    ["n", text((endpoint) => admission(endpoint.admits_in_s))],
    ["n", text((endpoint) => number(endpoint.connect_budget_left))],
  ]),
  latency: new Table("latency", (part) => part.part, "Nothing measured yet.", [
    ["", twoLines((part) => PARTS[part.part])],
    ["n", text((part) => brief(part.p50_s))],
    ["n", text((part) => brief(part.p99_s))],
    ["n", text((part) => brief(part.max_s))],
    ["n", text((part) => number(part.count))],
  ]),
  shards: new Table("shards", (shard) => shard.shard, "There are none.", [
    ["", text((shard) => `Shard ${shard.shard}`)],
    ["pair", badge((shard) => (shard.owned ? ["ok", "here"] : ["", "elsewhere"]))],
    ["n", text((shard) => number(shard.streams))],
    ["n", text((shard) => (shard.owned ? number(shard.uncommitted) : "–"))],
    ["n", (cell, shard) => {
      setText(cell, shard.owned ? brief(shard.lag_s) : "–");
      cell.classList.toggle("warn-text", shard.lag_s > BEHIND_S);
    }],
    ["n", text((shard) => brief(shard.last_commit_s))],
  ]),
  books: new Table("books", streamKey, "No book is kept.", [
    ["", twoLines((book) => [book.symbol, [book.stream, book.venue, book.problem].filter(Boolean).join(" · ")])],
    ["pair", badge((book) => BOOKS[book.state])],
    ["n", twoLines((book) => level(book.bid))],
    ["n", twoLines((book) => level(book.ask))],
    ["n", text((book) => (book.spread === null ? "–" : trimmed(book.spread)))],
    ["n", text((book) => ago(book.age_s))],
    ["n", twoLines(audited)],
  ]),
  streams: new Table("streams", streamKey, "No stream is subscribed.", [
    ["", twoLines((stream) => [stream.stream, streamNote(stream)])],
    ["n", text((stream) => `${perSecond(stream.rate)}/s`)],
    ["graph", (cell, stream) => {
      const svg = spark(cell);
      if (svg.dataset.key === streamKey(stream)) return;
      svg.dataset.key = streamKey(stream);
      trace(svg);
    }],
    ["n", text((stream) => ago(stream.silence_s))],
    ["n", text((stream) => number(stream.live))],
    ["n", text((stream) => number(stream.repaired))],
    ["n", alarming((stream) => stream.lost)],
    ["n", alarming((stream) => stream.held)],
  ]),
  losses: new Table("losses", (loss) => `${loss.kind} ${streamKey(loss)} ${loss.reason} ${loss.began}`, "None so far.", [
    ["", twoLines((loss) => period(loss))],
    ["whole", text((loss) => loss.stream)],
    ["", badge(outcome)],
    ["rest", twoLines(describe)],
  ]),
  outages: new Table("outages", (outage) => `${outage.line} ${outage.began}`, "None so far.", [
    ["", text((outage) => clock(outage.began))],
    ["n", text((outage) => duration(outage.duration_s))],
    ["pair", text((outage) => outage.line)],
    ["whole", twoLines((outage) => [
      `${outage.error_type.replaceAll("_", " ")} on ${outage.endpoint}`, outage.detail,
    ])],
    ["whole", twoLines((outage) => recovery(outage))],
  ]),
};

/** A decimal of the exchange without the zeros that say nothing. */
function trimmed(decimal) {
  return decimal.includes(".") ? decimal.replace(/\.?0+$/, "") : decimal;
}

function level(best) {
  return best === null ? ["–", ""] : [trimmed(best.price), trimmed(best.quantity)];
}

function audited({ audit }) {
  if (audit === null) return ["not yet", ""];
  return [ago(audit.ago_s), `${audit.equal ? "as the" : "not as the"} ${audit.witness} says`];
}

function carried(lines) {
  if (!lines.length) return "–";
  if (lines.length > 4) return `${lines.length} lines`;
  return `${lines.length === 1 ? "line" : "lines"} ${lines.join(", ")}`;
}

function admission(seconds) {
  if (seconds === null) return "probing";
  return seconds > 0 ? `in ${duration(seconds)}` : "now";
}

function streamNote(stream) {
  const notes = [stream.venue ?? "no message yet"];
  if (!stream.subscribed) notes.push("unsubscribed");
  if (stream.interruptions) notes.push(counted(stream.interruptions, "interruption"));
  if (stream.missing > stream.lost) notes.push(`${number(stream.missing - stream.lost)} ids in snapshots`);
  const gap = stream.last_gap;
  if (gap && stream.lost) notes.push(`last gap ${range(gap.first, gap.last)}, ${gap.reason.replaceAll("_", " ")}`);
  return notes.join(" · ");
}

function period({ began, ended }) {
  return [clock(began), clock(began) === clock(ended) ? "" : `to ${clock(ended)}`];
}

function counted(count, noun) {
  return `${number(count)} ${noun}${count === 1 ? "" : "s"}`;
}

function range(first, last) {
  return first === last ? `${first}` : `${first}–${last}`;
}

function outcome(loss) {
  if (loss.kind === "repair") return ["ok", "repaired"];
  if (loss.kind === "outage") return ["warn", "unproven"];
  return loss.reason === "snapshot" ? ["ok", "in a snapshot"] : ["bad", "missing"];
}

function describe(loss) {
  if (loss.kind === "repair") {
    const noun = loss.reason === "snapshot" ? "snapshot" : "message";
    return [`${counted(loss.count, noun)} over REST`, ""];
  }
  if (loss.kind === "outage") {
    const often = loss.count === 1 ? "" : `in ${counted(loss.count, "outage")}`;
    return [`no proof for ${duration(loss.unproven_s)}`, often];
  }
  const ids = range(loss.first, loss.last);
  const what = loss.count > 1 ? `${counted(loss.count, "range")} in ${ids}` : `${loss.first === loss.last ? "id" : "ids"} ${ids}`;
  return [what, loss.reason === "snapshot" ? "" : loss.reason.replaceAll("_", " ")];
}

function recovery(outage) {
  const retries = counted(outage.attempts, "attempt");
  return outage.ended === null
    ? ["not yet back", `after ${retries}`]
    : [`back at ${clock(outage.ended)} on ${outage.recovered_on}`, `after ${retries}`];
}

function tally(counts, noun) {
  const total = Object.values(counts).reduce((sum, count) => sum + count, 0);
  const parts = Object.entries(counts).filter(([, count]) => count)
    .map(([reason, count]) => `${number(count)} ${reason.replaceAll("_", " ")}`);
  const head = counted(total, noun);
  return parts.length ? `${head} (${parts.join(", ")})` : head;
}

function describeLog(log) {
  const parts = [`Group ${log.group}`, `${log.standby} standby`];
  const last = log.last_takeover;
  if (last) parts.push(`shard ${last.shard} taken over at ${clock(last.at)}, within ${brief(last.seconds)}`);
  return parts.join(" · ");
}

function show(report) {
  const { state, messages, coverage, buffer } = report;
  document.body.dataset.state = state;
  const verdict = VERDICTS[state === "degraded" && report.problems.length ? "troubled" : state];
  setText($("verdict"), verdict);
  const reasons = [...report.problems, ...report.warnings];
  if ([...$("reasons").children].map((item) => item.textContent).join("\n") !== reasons.join("\n")) {
    $("reasons").replaceChildren(...reasons.map((reason) => element("li", reason)));
  }
  document.title = `${state === "ok" ? "" : `${verdict} · `}k2trio`;
  setText($("version"), report.version);
  setText($("heard"), `updated ${clock(report.at)}`);

  setText($("rate"), perSecond(messages.rate));
  setText($("window"), `${Math.round(messages.window_s)}\u00a0s`);
  setFigure($("silence"), messages.silence_s === null ? "none yet" : ago(messages.silence_s));
  setFigure($("missing"), number(coverage.lost));
  $("missing").classList.toggle("warn", coverage.lost > 0);
  setFigure($("repaired"), number(coverage.repaired));
  setFigure($("backlog"), number(buffer.waiting + buffer.held));
  setFigure($("uptime"), duration(report.uptime_s));

  tables.lines.show(report.lines);
  tables.endpoints.show(report.endpoints);
  tables.latency.show(report.latency);
  $("log-section").hidden = !report.log;
  if (report.log) {
    setText($("takeover"), describeLog(report.log));
    tables.shards.show(report.log.shards);
  }
  $("books-section").hidden = !report.books.length;
  tables.books.show(report.books);
  tables.streams.show(report.streams);
  tables.losses.show(report.losses);
  tables.outages.show(report.outages);
  setText($("tally"), `${tally(report.reconnects, "reconnect")} · ${tally(report.rotations, "planned rotation")}`);
  for (const [kind, count] of Object.entries(report.not_shown)) {
    $(`${kind}-more`).hidden = !count;
    setText($(`${kind}-more`), `and ${number(count)} more ${kind}`);
  }
}

/* -- where it comes from ----------------------------------------------------------------------- */

let source = null;
let openedAt = 0;
let heardAt = performance.now();
let everHeard = false;

function open() {
  source?.close();
  openedAt = performance.now();
  source = new EventSource("events");
  source.addEventListener("trends", (event) => note(JSON.parse(event.data)));
  source.addEventListener("status", (event) => {
    heardAt = performance.now();
    everHeard = true;
    document.body.classList.remove("stale");
    $("lost").hidden = true;
    show(JSON.parse(event.data));
  });
}

/** If what is shown is old, say so, and try to change that. */
function look() {
  const now = performance.now();
  const silent = now - heardAt;
  if (silent < SILENT_MS) return;
  document.body.classList.toggle("stale", everHeard);
  document.body.dataset.state = "unknown";
  setText($("verdict"), VERDICTS.unknown);
  $("reasons").replaceChildren();
  $("lost").hidden = false;
  setText($("age"), everHeard ? `Last update ${duration(silent / 1000)} ago.` : "");
  document.title = "Disconnected · k2trio";
  // The browser tries again by itself after a lost connection, but not after a refusal or silence.
  if (now - openedAt > REOPEN_MS) open();
}

open();
setInterval(look, 1000);
