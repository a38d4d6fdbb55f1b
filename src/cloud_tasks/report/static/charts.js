"use strict";
// The curves and histograms, by uPlot.
const HEIGHT = 210;
const FONT = "12px system-ui, -apple-system, 'Segoe UI', Roboto, Arial, sans-serif";

function axis(c, more) {
  return Object.assign({
    stroke: c.muted, font: FONT, labelFont: FONT, labelSize: 18, gap: 4,
    grid: { stroke: c.line, width: 1 }, ticks: { show: false },
  }, more);
}

// Join neighbours until there are at most so many.
function joined(lists, most) {
  const by = Math.max(1, Math.ceil(lists[0].length / most));
  const sums = lists.map((list) => {
    const out = [];
    for (let at = 0; at < list.length; at += by) {
      let sum = 0;
      for (let i = at; i < Math.min(at + by, list.length); i += 1) sum += list[i];
      out.push(sum);
    }
    return out;
  });
  return [by, sums];
}

function place(id) {
  const node = document.getElementById(id);
  if (node) node.replaceChildren();
  return node;
}

// Seconds between two marks of an axis of time.
const CLOCK = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200]
  .concat([1, 2, 4, 7, 14, 28, 56, 112, 364, 728].map((days) => days * 86400));

// Attempts ended a second, and the number that ran at once.
function throughput() {
  const node = place("throughput");
  const time = DATA.over_time;
  if (!node || !time.ok.length) return false;
  const c = colours();
  // No finer than the number of attempts allows, or all is noise.
  const ended = time.ok.concat(time.not_done).reduce((sum, n) => sum + n, 0);
  const most = Math.max(24, Math.min(Math.floor(node.clientWidth / 3), Math.floor(ended / 6)));
  const [by, [ok, bad, back, running]] = joined([time.ok, time.not_done, time.put_back, time.running], most);
  const width = time.width * by;
  const last = time.ok.length - (ok.length - 1) * by;
  const mean = running.map((sum, i) => sum / (i === ok.length - 1 ? last : by));
  const xs = ok.map((_, i) => time.origin + i * width);
  const close = (list) => list.concat(list[list.length - 1]);
  const span = width * ok.length;
  const stepped = uPlot.paths.stepped({ align: 1 });
  const notices = DATA.notices.map((iso) => Date.parse(iso) / 1000);
  const options = {
    width: node.clientWidth, height: HEIGHT,
    scales: {
      x: { time: false, range: [xs[0], xs[0] + span] },
      rate: { range: (u, low, high) => [0, high > 0 ? high * 1.08 : 1] },
      running: { range: (u, low, high) => [0, high > 0 ? high * 1.08 : 1] },
    },
    axes: [
      axis(c, { size: 32, space: 80, incrs: span > 3 ? CLOCK : undefined, values: (u, splits) => splits.map((s) => moment(s, span)) }),
      axis(c, { scale: "rate", label: "attempts a second", size: 58, values: (u, s) => s.map(count) }),
      axis(c, { scale: "running", label: "running", side: 1, size: 50, grid: { show: false }, values: (u, s) => s.map(count) }),
    ],
    series: [
      { label: "time (UTC)", value: (u, v) => v == null ? "–" : new Date(v * 1000).toISOString().slice(0, 19).replace("T", " ") },
      { label: "done a second", scale: "rate", stroke: c.good, width: 1.25, fill: faded(c.good, 0.22), paths: stepped, points: { show: false }, value: (u, v) => v == null ? "–" : count(v) },
      { label: "not done a second", scale: "rate", stroke: c.bad, width: 1.25, fill: faded(c.bad, 0.45), paths: stepped, points: { show: false }, value: (u, v) => v == null ? "–" : count(v) },
      { label: "running", scale: "running", stroke: c.warm, width: 1.5, points: { show: false }, value: (u, v) => v == null ? "–" : trimmed(v, 3) },
    ],
    cursor: { drag: { x: true, y: false }, points: { size: 6 } },
    hooks: { draw: [(u) => marks(u, c, xs, width, bad, back, notices)] },
  };
  new uPlot(options, [close(xs).map((x, i) => i === xs.length ? x + width : x), close(ok.map((n) => n / width)), close(bad.map((n) => n / width)), close(mean)], node);
  return true;
}

// Along the bottom, where something failed or was put back; upright, where a notice came.
function marks(u, c, xs, width, bad, back, notices) {
  const ctx = u.ctx;
  const dot = devicePixelRatio;
  const bottom = u.bbox.top + u.bbox.height;
  const wide = Math.max(dot, (u.bbox.width * width) / (u.scales.x.max - u.scales.x.min));
  ctx.save();
  ctx.beginPath();
  ctx.rect(u.bbox.left, u.bbox.top, u.bbox.width, u.bbox.height);
  ctx.clip();
  xs.forEach((x, i) => {
    if (!bad[i] && !back[i]) return;
    ctx.fillStyle = bad[i] > back[i] ? c.bad : c.warm;
    ctx.fillRect(u.valToPos(x, "x", true), bottom - 5 * dot, wide, 5 * dot);
  });
  ctx.strokeStyle = c.fg;
  ctx.setLineDash([4 * dot, 3 * dot]);
  for (const notice of notices) {
    const at = u.valToPos(notice, "x", true);
    ctx.beginPath();
    ctx.moveTo(at, u.bbox.top);
    ctx.lineTo(at, bottom);
    ctx.stroke();
  }
  ctx.restore();
}

const NICE = [1, 2, 5];

// Round values along a logarithmic axis, as logarithms to base 10.
function decades(low, high, room) {
  const out = [];
  const steps = high - low > room / 3 ? [1] : high - low > room / 8 ? [1, 3] : NICE;
  for (let power = Math.floor(low); power <= Math.ceil(high); power += 1) {
    for (const step of steps) {
      const at = power + Math.log10(step);
      if (at >= low && at <= high) out.push(at);
    }
  }
  return out.length > 2 ? out : evenly(10 ** low, 10 ** high).map(Math.log10);
}

// Round values from low to high where these are close together.
function evenly(low, high) {
  const ten = 10 ** Math.floor(Math.log10((high - low) / 3));
  const step = ten * (NICE.filter((n) => n * ten <= (high - low) / 3).pop() || 1);
  const out = [];
  for (let at = Math.ceil(low / step); at * step <= high; at += 1) out.push(at * step);
  return out;
}

// A histogram over logarithmic buckets. What: {histogram, series: [[key, label, colour]], marks}.
function histogram(id, what, say, mode) {
  const node = place(id);
  const names = what.series.filter(([key]) => what.histogram.counts[key].some((n) => n));
  if (!node || !names.length) return false;
  const c = colours();
  const bins = what.histogram;
  const [by, counts] = joined(names.map(([key]) => bins.counts[key]), 64);
  const place10 = (k) => k / bins.fineness / Math.LN10;
  const step = place10(by);
  const xs = counts[0].map((_, i) => place10(bins.first + i * by + (by - 1) / 2));
  // Bars reach from zero, so what is drawn behind is the sum.
  const above = counts.map((list, i) => list.map((_, at) => counts.slice(i).reduce((sum, l) => sum + l[at], 0)));
  const shares = counts.map((list) => {
    const all = list.reduce((sum, n) => sum + n, 0);
    let seen = 0;
    return list.map((n) => (seen += n) / all);
  });
  const cumulative = mode === "share";
  const low = xs[0] - step, high = xs[xs.length - 1] + step;
  const options = {
    width: node.clientWidth, height: HEIGHT,
    scales: {
      x: { time: false, range: [low, high] },
      y: cumulative ? { range: [0, 1] } : Object.assign(
        { range: (u, min, max) => [0, max > 0 ? max * 1.12 : 1] },
        mode === "log" ? { distr: 4, asinh: 1 } : {}),
    },
    axes: [
      axis(c, { size: 32, splits: () => decades(low, high, node.clientWidth / 60), values: (u, s) => s.map((v) => say(10 ** v)) }),
      axis(c, { label: cumulative ? "share of attempts" : "attempts", size: 64, values: (u, s) => s.map((v) => v == null ? "" : cumulative ? percent(v) : count(v)) }),
    ],
    series: [{ label: what.label, value: (u, v) => v == null ? "–" : say(10 ** v) }].concat(
      names.map(([, label, colour], i) => ({
        label, stroke: c[colour], width: cumulative ? 1.75 : 0, fill: cumulative ? undefined : faded(c[colour], colour === "bad" ? 0.9 : 0.62),
        paths: cumulative ? uPlot.paths.linear() : uPlot.paths.bars({ size: [0.92, 40], align: 0 }),
        points: { show: false },
        value: (u, v, s, at) => at == null ? "–" : cumulative ? percent(shares[i][at]) : count(counts[i][at]),
      }))),
    cursor: { drag: { setScale: false, x: false, y: false }, points: { show: false } },
    hooks: { draw: [(u) => uprights(u, c, what.marks, say)] },
  };
  new uPlot(options, [xs].concat(cumulative ? shares : above), node);
  return true;
}

// Upright lines at the percentiles, their names on top.
function uprights(u, c, found, say) {
  const ctx = u.ctx;
  const dot = devicePixelRatio;
  ctx.save();
  ctx.font = `${11 * dot}px system-ui, sans-serif`;
  ctx.textAlign = "left";
  ctx.textBaseline = "alphabetic";
  ctx.strokeStyle = ctx.fillStyle = c.fg;
  ctx.setLineDash([3 * dot, 3 * dot]);
  let free = u.bbox.left;
  for (const name of ["p50", "p90", "p95", "p99"]) {
    if (found[name] == null) continue;
    const x = u.valToPos(Math.log10(Math.max(found[name], 1e-6)), "x", true);
    ctx.globalAlpha = 0.55;
    ctx.beginPath();
    ctx.moveTo(x, u.bbox.top);
    ctx.lineTo(x, u.bbox.top + u.bbox.height);
    ctx.stroke();
    ctx.globalAlpha = 1;
    const width = ctx.measureText(name).width;
    if (x + 4 * dot >= free && x + width + 4 * dot < u.bbox.left + u.bbox.width) {
      ctx.fillText(name, x + 4 * dot, u.bbox.top + 11 * dot);
      free = x + width + 8 * dot;
    }
  }
  ctx.restore();
}

function runTimes() {
  const mode = document.getElementById("run-time-mode");
  return histogram("run-time", {
    histogram: DATA.run_time.histogram, label: "run time", marks: DATA.run_time.all,
    series: [["ok", "returned", "good"], ["failed", "failed", "bad"]],
  }, duration, mode ? mode.value : "count");
}

function memories() {
  return histogram("memory", {
    histogram: DATA.memory_mb.histogram, label: "peak memory", marks: DATA.memory_mb,
    series: [["all", "attempts", "good"]],
  }, memory, "count");
}

function cpuShares() {
  return histogram("cpu", {
    histogram: DATA.cpu_share.histogram, label: "CPU share", marks: {},
    series: [["all", "attempts", "good"]],
  }, percent, "count");
}

// How many such tasks the memory of a machine holds.
function fitting() {
  const input = document.getElementById("machine-memory");
  const output = document.getElementById("fitting");
  if (!input || !output) return;
  const say = () => {
    const fit = Math.floor((Number(input.value) * 1024) / DATA.memory_mb.p99);
    output.textContent = Number(input.value) > 0 ? `${fit.toLocaleString("en")} ${fit === 1 ? "slot" : "slots"}` : "–";
  };
  input.addEventListener("input", say);
  say();
}
