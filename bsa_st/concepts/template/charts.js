// A canvas does not know light-dark(), so the browser resolves the variables on a real element first.
function groupColours() {
  const probe = h("span");
  document.body.append(probe);
  const colours = Array.from({ length: 12 }, (_, at) => {
    probe.style.color = `var(--g${at})`;
    return getComputedStyle(probe).color;
  });
  probe.remove();
  return colours;
}

function chart(width, height, label, ...children) {
  return h("svg", { class: "chart", viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label }, ...children);
}

function firingCurve(data) {
  const rates = data.features.map((feature) => feature.rate).sort((one, two) => two - one);
  const least = 0.5 / Math.max(1, data.texts);
  const [left, top, width, height] = [44, 10, 320, 170];
  const low = Math.floor(Math.log10(Math.max(least, rates[rates.length - 1] || least)));
  const high = Math.ceil(Math.log10(Math.max(rates[0], 10 ** (low + 1))));
  const x = (rank) => left + (Math.log10(rank) / Math.max(0.3, Math.log10(rates.length))) * width;
  const y = (rate) => top + ((high - Math.log10(Math.max(rate, 10 ** low))) / (high - low)) * height;
  const ranks = [...new Set(Array.from({ length: 160 }, (_, at) => Math.round(rates.length ** (at / 159))))];
  const line = ranks.map((rank, at) => `${at ? "L" : "M"}${x(rank).toFixed(1)} ${y(rates[rank - 1]).toFixed(1)}`).join("");
  const grid = [];
  for (let power = low; power <= high; power++) {
    grid.push(h("line", { class: "axis", x1: left, x2: left + width, y1: y(10 ** power), y2: y(10 ** power) }));
    grid.push(h("text", { x: left - 6, y: y(10 ** power) + 4, "text-anchor": "end" }, `${Number((100 * 10 ** power).toPrecision(1))} %`));
  }
  for (let rank = 1; rank <= rates.length; rank *= 10) grid.push(h("text", { x: x(rank), y: top + height + 16, "text-anchor": "middle" }, number(rank)));
  const label = `Shares of texts, most frequent name first: from ${percent(rates[0])} of the texts down to ${percent(rates[rates.length - 1])}`;
  return chart(380, 200, label, ...grid, h("path", { class: "line", d: line }));
}

function activeHistogram(data) {
  const first = data.active.findIndex((count) => count > 0);
  const counts = data.active.slice(first);
  const step = Math.ceil(counts.length / 60);
  const bins = [];
  for (let at = 0; at < counts.length; at += step) bins.push(counts.slice(at, at + step).reduce((sum, count) => sum + count, 0));
  const [left, top, width, height] = [8, 10, 360, 160];
  const most = Math.max(...bins);
  const bars = bins.map((count, at) => {
    const name = step === 1 ? `${first + at}` : `${first + at * step} to ${first + at * step + step - 1}`;
    const tall = (count / most) * height;
    return h("rect", { class: "bar", x: left + (at * width) / bins.length, y: top + height - tall, width: Math.max(1, width / bins.length - 1), height: tall, rx: 1 },
      h("title", null, `${name} names: ${plural(count, "text")}`));
  });
  const ticks = [0, Math.floor((bins.length - 1) / 2), bins.length - 1];
  const labels = [...new Set(ticks)].map((at) =>
    h("text", { x: left + ((at + 0.5) * width) / bins.length, y: top + height + 16, "text-anchor": at === 0 ? "start" : at === bins.length - 1 ? "end" : "middle" }, number(first + at * step)));
  return chart(380, 190, `Names per text: from ${first} to ${first + counts.length - 1}`, ...bars, ...labels);
}

function meanActive(data) {
  const texts = data.active.reduce((sum, count) => sum + count, 0);
  return data.active.reduce((sum, count, at) => sum + count * at, 0) / Math.max(1, texts);
}

function featureMap(data, open) {
  const canvas = h("canvas", { role: "img", "aria-label": "Map of the names: near each other where they are alike. The list of names shows the same for the keyboard." });
  const tip = h("div", { class: "tip", hidden: true });
  const frame = h("div", null, canvas, tip);
  let points = [];
  let only = null;
  function draw() {
    const box = canvas.getBoundingClientRect();
    if (!box.width) return;
    const ratio = window.devicePixelRatio || 1;
    canvas.width = box.width * ratio;
    canvas.height = box.height * ratio;
    const context = canvas.getContext("2d");
    context.scale(ratio, ratio);
    const size = Math.max(1.3, Math.min(3.4, box.width / 14 / Math.sqrt(data.features.length) * 4));
    const most = Math.max(...data.features.map((feature) => feature.rate));
    const colours = groupColours();
    points = data.features.map((feature) => ({
      feature,
      x: 8 + feature.place[0] * (box.width - 16),
      y: 8 + feature.place[1] * (box.height - 16),
      size: size * (0.75 + 1.6 * Math.sqrt(feature.rate / (most || 1))),
    }));
    for (const layer of [false, true]) {
      for (const point of points) {
        const lit = only === null || point.feature.group === only;
        if (lit !== layer) continue;
        context.globalAlpha = lit ? 0.85 : 0.13;
        context.fillStyle = colours[point.feature.group % 12];
        context.beginPath();
        context.arc(point.x, point.y, point.size, 0, 7);
        context.fill();
      }
    }
  }
  function at(event) {
    const box = canvas.getBoundingClientRect();
    const [x, y] = [event.clientX - box.left, event.clientY - box.top];
    let best = null;
    let least = 18 * 18;
    for (const point of points) {
      if (only !== null && point.feature.group !== only) continue;
      const distance = (point.x - x) ** 2 + (point.y - y) ** 2;
      if (distance < least) [best, least] = [point, distance];
    }
    return best;
  }
  canvas.addEventListener("pointermove", (event) => {
    const point = at(event);
    tip.hidden = !point;
    if (!point) return;
    tip.textContent = `${point.feature.name} · ${percent(point.feature.rate)}`;
    const right = point.x > canvas.clientWidth / 2;
    tip.style.left = right ? "auto" : `${canvas.offsetLeft + point.x + 12}px`;
    tip.style.right = right ? `${frame.parentElement.clientWidth - canvas.offsetLeft - point.x + 12}px` : "auto";
    tip.style.top = `${canvas.offsetTop + point.y - 14}px`;
  });
  canvas.addEventListener("pointerleave", () => (tip.hidden = true));
  canvas.addEventListener("click", (event) => {
    const point = at(event);
    if (point) open(point.feature.id);
  });
  new ResizeObserver(draw).observe(canvas);
  const buttons = data.groups.map((label, group) =>
    h("button", { type: "button", "aria-pressed": "false", onclick: () => choose(only === group ? null : group) },
      h("span", { class: "swatch", css: { background: `var(--g${group % 12})` } }), label || `group ${group + 1}`));
  function choose(group) {
    only = group;
    buttons.forEach((button, at) => button.setAttribute("aria-pressed", String(at === only)));
    draw();
  }
  return { frame, legend: h("div", { class: "legend", role: "group", "aria-label": "Show one group on the map" }, buttons), draw };
}
