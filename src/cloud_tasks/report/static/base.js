"use strict";
// What the pictures share: data, colours, words for numbers, and when to draw anew.
const DATA = JSON.parse(document.getElementById("data").textContent);
const PICTURES = [];

window.addEventListener("error", (event) => {
  document.documentElement.dataset.problem = event.message;
});

function colours() {
  const style = getComputedStyle(document.documentElement);
  const named = {};
  for (const name of ["fg", "muted", "line", "soft", "card", "good", "bad", "warm"]) {
    named[name] = style.getPropertyValue("--" + name).trim();
  }
  return named;
}

function faded(hex, alpha) {
  const full = hex.length === 4 ? "#" + [...hex.slice(1)].map((c) => c + c).join("") : hex;
  const [r, g, b] = [1, 3, 5].map((at) => parseInt(full.slice(at, at + 2), 16));
  return `rgba(${r},${g},${b},${alpha})`;
}

function trimmed(number, digits) {
  return String(Number(number.toPrecision(digits)));
}

function duration(seconds) {
  if (seconds === 0) return "0";
  if (seconds < 1e-3) return trimmed(seconds * 1e6, 3) + " us";
  if (seconds < 1) return trimmed(seconds * 1e3, 3) + " ms";
  if (seconds < 60) return trimmed(seconds, 3) + " s";
  const whole = Math.round(seconds);
  const [h, m, s] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const two = (n) => String(n).padStart(2, "0");
  return h ? `${h}:${two(m)}:${two(s)}` : `${m}:${two(s)}`;
}

function memory(mib) {
  return mib >= 1024 ? trimmed(mib / 1024, 3) + " GB" : trimmed(mib, 3) + " MB";
}

function percent(share) {
  return trimmed(100 * share, 3) + " %";
}

function count(number) {
  return number >= 1e3 ? Math.round(number).toLocaleString("en") : trimmed(number, 4);
}

// A moment in UTC, as exact as a picture of so many seconds needs it.
function moment(epoch, span) {
  const iso = new Date(epoch * 1000).toISOString();
  if (span > 3 * 86400) return iso.slice(5, 10);
  if (span > 86400) return iso.slice(5, 10) + " " + iso.slice(11, 16);
  if (span > 900) return iso.slice(11, 16);
  if (span > 3) return iso.slice(11, 19);
  return iso.slice(17, 23);
}

// Draw all pictures; those that were there before go.
function draw() {
  let drawn = 0;
  for (const picture of PICTURES) {
    drawn += picture() ? 1 : 0;
  }
  document.documentElement.dataset.drawn = String(drawn);
}

function begin() {
  draw();
  let asked = 0;
  const again = () => {
    cancelAnimationFrame(asked);
    asked = requestAnimationFrame(draw);
  };
  let width = document.documentElement.clientWidth;
  window.addEventListener("resize", () => {
    if (document.documentElement.clientWidth !== width) {
      width = document.documentElement.clientWidth;
      again();
    }
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", again);
  // On paper all is light, and what is folded would be lost.
  const closed = [];
  window.addEventListener("beforeprint", () => {
    for (const part of document.querySelectorAll("details:not([open])")) {
      part.open = true;
      closed.push(part);
    }
  });
  window.addEventListener("afterprint", () => {
    while (closed.length) closed.pop().open = false;
  });
  matchMedia("print").addEventListener("change", draw);
  document.addEventListener("click", (event) => {
    const button = event.target.closest("button[data-copy]");
    if (button) copy(button);
  });
}

function copy(button) {
  const source = button.parentElement.querySelector("pre");
  const said = () => {
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  };
  const selected = () => getSelection().selectAllChildren(source);
  if (navigator.clipboard) navigator.clipboard.writeText(source.textContent).then(said, selected);
  else selected();
}
