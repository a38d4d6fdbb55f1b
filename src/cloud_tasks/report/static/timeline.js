"use strict";
// Busy times on a canvas: a row for each slot, one rectangle for each attempt while they are
// few and wide enough, and shades of whole buckets otherwise.
const timeline = (() => {
  const TOP = 4, BOTTOM = 20;
  const state = { from: 0, to: 1, drag: null };
  let node, canvas, tip, map, rows, tries, shown = [];

  function setUp() {
    node = document.getElementById("timeline");
    if (!node || !DATA.timeline.rows.length) return false;
    map = DATA.timeline;
    rows = map.rows;
    const position = new Map(rows.map((row, at) => [row.number, at]));
    tries = (DATA.tries || []).map(([number, ...rest]) => [position.get(number), ...rest]);
    canvas = document.createElement("canvas");
    canvas.tabIndex = 0;
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", node.dataset.label);
    tip = document.createElement("div");
    tip.className = "tip";
    tip.hidden = true;
    node.replaceChildren(canvas, tip);
    listen();
    return true;
  }

  // Room for the names, less on a narrow screen.
  let labelled = 120;
  const total = () => map.columns * map.width;
  const height = () => Math.max(3, Math.min(20, Math.floor(520 / rows.length)));
  const room = () => node.clientWidth - labelled;
  const toX = (share) => labelled + ((share - state.from) / (state.to - state.from)) * room();
  const toShare = (x) => state.from + ((x - labelled) / room()) * (state.to - state.from);

  function paint() {
    if (!map && !setUp()) return false;
    const c = colours();
    const row = height();
    labelled = Math.max(84, Math.min(180, Math.floor(node.clientWidth / 6)));
    const dot = devicePixelRatio || 1;
    const tall = TOP + BOTTOM + row * rows.length;
    canvas.width = Math.round(node.clientWidth * dot);
    canvas.height = Math.round(tall * dot);
    canvas.style.height = `${tall}px`;
    const ctx = canvas.getContext("2d");
    ctx.scale(dot, dot);
    ctx.clearRect(0, 0, node.clientWidth, tall);
    labels(ctx, c, row);
    ctx.save();
    ctx.beginPath();
    ctx.rect(labelled, 0, room(), tall);
    ctx.clip();
    rows.forEach((_, at) => {
      ctx.fillStyle = c.soft;
      ctx.fillRect(labelled, TOP + at * row, room(), row - gap(row));
    });
    if (singly()) bars(ctx, c, row);
    else shades(ctx, c, row);
    if (state.drag) {
      ctx.fillStyle = faded(c.fg, 0.14);
      ctx.fillRect(Math.min(...state.drag), TOP, Math.abs(state.drag[1] - state.drag[0]), row * rows.length);
    }
    ctx.restore();
    scale(ctx, c, tall);
    say();
    return true;
  }

  const gap = (row) => (row >= 8 ? 2 : row >= 4 ? 1 : 0);

  function singly() {
    if (!tries.length) return false;
    const all = total();
    shown = tries.filter(([, start, seconds]) => (start + seconds) / all >= state.from && start / all <= state.to);
    return shown.length < (room() * rows.length) / 6;
  }

  function bars(ctx, c, row) {
    const all = total();
    for (const failed of [0, 1]) {
      ctx.fillStyle = failed ? c.bad : faded(c.good, 0.7);
      for (const one of shown) {
        if (one[5] !== failed) continue;
        const left = toX(one[1] / all);
        const right = toX((one[1] + one[2]) / all);
        ctx.fillRect(left, TOP + one[0] * row, Math.max(1, right - left - 0.5), row - gap(row));
      }
    }
  }

  function shades(ctx, c, row) {
    const wide = room() / (state.to - state.from) / map.columns;
    const tints = [];
    for (let n = 0; n < 36; n += 1) tints.push(faded(c.good, 0.1 + (0.6 * n) / 35));
    rows.forEach((one, at) => {
      const y = TOP + at * row;
      for (let column = 0; column < one.shades.length; column += 1) {
        const shade = parseInt(one.shades[column], 36);
        if (!shade) continue;
        ctx.fillStyle = tints[shade];
        // To whole pixels, as seams between half pixels would be seen.
        const left = Math.floor(toX(column / map.columns));
        ctx.fillRect(left, y, Math.max(1, Math.floor(toX((column + 1) / map.columns)) - left), row - gap(row));
      }
      ctx.fillStyle = c.bad;
      for (const column of one.failed) {
        ctx.fillRect(toX(column / map.columns), y, Math.max(2, wide), row - gap(row));
      }
    });
  }

  function labels(ctx, c, row) {
    ctx.font = "11px system-ui, sans-serif";
    ctx.textBaseline = "middle";
    let before = null;
    let free = 0;
    rows.forEach((one, at) => {
      const y = TOP + at * row + (row - gap(row)) / 2;
      const first = one.host !== before;
      before = one.host;
      if (first && y >= free) {
        ctx.fillStyle = c.fg;
        ctx.textAlign = "left";
        ctx.fillText(fitted(ctx, one.host, labelled - 34), 0, Math.max(y, 7));
        free = y + 13;
      }
      if (row >= 10 && one.slot !== null) {
        ctx.fillStyle = c.muted;
        ctx.textAlign = "right";
        ctx.fillText(String(one.slot), labelled - 8, y);
      }
    });
    ctx.textAlign = "left";
  }

  function fitted(ctx, text, most) {
    if (ctx.measureText(text).width <= most) return text;
    let cut = text;
    while (cut && ctx.measureText(cut + "…").width > most) cut = cut.slice(0, -1);
    return cut + "…";
  }

  function scale(ctx, c, tall) {
    const seconds = total() * (state.to - state.from);
    const most = Math.max(2, Math.floor(room() / 110));
    const raw = seconds / most;
    let step = CLOCK.find((s) => s >= raw) || Math.ceil(raw / 86400) * 86400;
    if (raw < 1) {
      const ten = 10 ** Math.floor(Math.log10(raw));
      step = ten * ([1, 2, 5, 10].find((s) => s * ten >= raw) || 10);
    }
    const begin = map.origin + state.from * total();
    ctx.fillStyle = c.muted;
    ctx.textAlign = "center";
    ctx.textBaseline = "alphabetic";
    for (let at = Math.ceil(begin / step) * step; at <= begin + seconds; at += step) {
      const x = toX((at - map.origin) / total());
      if (x < labelled + 24 || x > labelled + room() - 24) continue;
      ctx.fillText(moment(at, seconds), x, tall - 5);
    }
    ctx.textAlign = "left";
  }

  function say() {
    const view = document.getElementById("timeline-view");
    if (!view) return;
    const seconds = total() * (state.to - state.from);
    const begin = map.origin + state.from * total();
    view.textContent = state.to - state.from > 0.999 ? "all" : `${moment(begin, 10)} and ${duration(seconds)} on`;
  }

  function look(from, to) {
    const least = Math.min(1, Math.max(1e-7, 0.001 / total()));
    const span = Math.min(1, Math.max(least, to - from));
    state.from = Math.max(0, Math.min(1 - span, from));
    state.to = state.from + span;
    tip.hidden = true;
    paint();
  }

  function zoom(factor, share) {
    const middle = share === undefined ? (state.from + state.to) / 2 : share;
    look(middle - (middle - state.from) * factor, middle + (state.to - middle) * factor);
  }

  function act(what) {
    const span = state.to - state.from;
    if (what === "in") zoom(0.5);
    else if (what === "out") zoom(2);
    else if (what === "left") look(state.from - span / 4, state.to - span / 4);
    else if (what === "right") look(state.from + span / 4, state.to + span / 4);
    else if (what === "all") look(0, 1);
    else return false;
    return true;
  }

  const KEYS = { "+": "in", "=": "in", "-": "out", ArrowLeft: "left", ArrowRight: "right", "0": "all", Escape: "all" };

  function listen() {
    const bar = document.getElementById("timeline-bar");
    bar.hidden = false;
    bar.addEventListener("click", (event) => act(event.target.dataset.act));
    canvas.addEventListener("keydown", (event) => {
      if (!event.ctrlKey && !event.metaKey && !event.altKey && act(KEYS[event.key])) event.preventDefault();
    });
    canvas.addEventListener("pointerdown", (event) => {
      if (event.offsetX < labelled) return;
      state.drag = [event.offsetX, event.offsetX];
      canvas.setPointerCapture(event.pointerId);
    });
    canvas.addEventListener("pointermove", (event) => {
      if (state.drag) {
        state.drag[1] = event.offsetX;
        paint();
      } else hover(event);
    });
    canvas.addEventListener("pointerup", () => {
      const drag = state.drag;
      state.drag = null;
      if (drag && Math.abs(drag[1] - drag[0]) > 4) look(toShare(Math.min(...drag)), toShare(Math.max(...drag)));
      else paint();
    });
    canvas.addEventListener("pointercancel", () => { state.drag = null; paint(); });
    canvas.addEventListener("pointerleave", () => { tip.hidden = true; });
    canvas.addEventListener("dblclick", () => look(0, 1));
  }

  function hover(event) {
    const at = Math.floor((event.offsetY - TOP) / height());
    const share = toShare(event.offsetX);
    const row = rows[at];
    tip.hidden = !row || event.offsetX < labelled || share > 1;
    if (tip.hidden) return;
    tip.textContent = told(row, at, share);
    const right = event.offsetX > node.clientWidth - 330;
    tip.style.left = right ? "" : `${event.offsetX + 12}px`;
    tip.style.right = right ? `${node.clientWidth - event.offsetX + 12}px` : "";
    tip.style.top = `${event.offsetY + 14}px`;
  }

  function told(row, at, share) {
    const when = map.origin + share * total();
    const worker = row.worker_number === null ? row.host : `${row.host}, worker ${row.worker_number}`;
    const where = row.slot === null ? row.host : `${worker}, ${row.rebuilt ? "lane" : "slot"} ${row.slot}`;
    const second = share * total();
    const slack = (total() * (state.to - state.from) * 2) / room();
    const one = singly() && shown.find((t) => t[0] === at && second >= t[1] - slack && second <= t[1] + t[2] + slack);
    if (one) {
      const attempt = one[4] > 1 ? `, attempt ${one[4]}` : "";
      return `${one[3]}: ${duration(one[2])}${attempt}${one[5] ? ", failed" : ""} · ${where} · ${moment(when, 10)}`;
    }
    const column = Math.min(map.columns - 1, Math.floor(share * map.columns));
    const busy = parseInt(row.shades[column] || "0", 36) / 35;
    return `${where} · ${moment(when, 10)} · ${percent(busy)} busy${row.failed.includes(column) ? " · an attempt failed" : ""}`;
  }

  return paint;
})();

PICTURES.push(throughput, timeline, runTimes, memories, cpuShares);
const choice = document.getElementById("run-time-mode");
if (choice) choice.addEventListener("change", runTimes);
fitting();
begin();
