// Draws the tables of `figure[data-chart]` with uPlot; without it the tables are all there is. Texts go to the page as text only.
(() => {
  "use strict";
  const plots = new Map(); // figure -> { plot, width, table }
  const inSight = new Set(); // figures to draw: one a frame, so that the page stays quick to the touch
  const ABSENT = "\u2013";
  const HEIGHT = 208;
  const TIMES = [60, 300, 600, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800, 345600, 604800, 1209600, 2419200, 4838400];
  const FONT = "11px system-ui, sans-serif";

  const numberOf = (text) => (text === ABSENT ? null : Number(text));

  // [x, line 1, line 2 ...]; an empty point where two bins of time do not touch, which makes a gap.
  const read = (figure) => {
    const isTime = figure.dataset.chart === "time";
    const step = Number(figure.dataset.step);
    const rows = [...figure.querySelectorAll("tbody tr")];
    const data = Array.from({ length: figure.querySelectorAll("thead th").length }, () => []);
    const labels = [];
    for (const row of rows) {
      const [head, ...cells] = row.cells;
      const x = Number(head.dataset.x);
      const last = data[0].at(-1);
      if (isTime && last !== undefined && x - last > step * 1.5) {
        data[0].push(last + step);
        data.slice(1).forEach((line) => line.push(null));
      }
      data[0].push(x);
      cells.forEach((cell, place) => data[place + 1].push(numberOf(cell.textContent)));
      labels.push(head.textContent);
    }
    if (!isTime && labels.length > 0) {
      // The last bar has an end too.
      data[0].push(labels.length);
      data.slice(1).forEach((line) => line.push(line.at(-1)));
      labels.push(labels.at(-1).split(" to ")[1] ?? "");
    }
    return { data, labels, isTime };
  };

  const marksOf = (figure) => {
    const items = figure.closest(".charts")?.querySelectorAll(".marks li") ?? [];
    return [...items].map((item, place) => ({ at: Number(item.dataset.t), text: String(place + 1) }));
  };

  const shown = (value) => value == null ? ABSENT
    : value.toLocaleString("en-US", value >= 1000 ? { maximumFractionDigits: 0 } : { maximumSignificantDigits: 4 });

  const two = (number) => String(number).padStart(2, "0");
  const timeText = (second, step) => {
    const at = new Date(second * 1000);
    const day = `${two(at.getUTCMonth() + 1)}-${two(at.getUTCDate())}`;
    const time = `${two(at.getUTCHours())}:${two(at.getUTCMinutes())}`;
    if (step >= 86400) return day;
    return time === "00:00" ? day : time;
  };

  const drawMarks = (marks, ink) => (u) => {
    const { ctx, bbox } = u;
    ctx.save();
    ctx.strokeStyle = ctx.fillStyle = ink;
    ctx.lineWidth = devicePixelRatio;
    ctx.font = `${11 * devicePixelRatio}px system-ui, sans-serif`;
    ctx.textAlign = "left";
    ctx.textBaseline = "top";
    for (const { at, text } of marks) {
      const x = Math.round(u.valToPos(at, "x", true));
      if (x < bbox.left || x > bbox.left + bbox.width) continue;
      ctx.setLineDash([2 * devicePixelRatio, 3 * devicePixelRatio]);
      ctx.beginPath();
      ctx.moveTo(x, bbox.top);
      ctx.lineTo(x, bbox.top + bbox.height);
      ctx.stroke();
      ctx.fillText(text, x + 3 * devicePixelRatio, bbox.top);
    }
    ctx.restore();
  };

  const options = (figure, table, width) => {
    const holder = figure.querySelector(".chart-plot");
    const style = getComputedStyle(holder);
    const ink = style.color;
    const line = style.borderTopColor;
    const keys = [...figure.querySelectorAll(".key")];
    const axis = { stroke: ink, font: FONT, grid: { stroke: line, width: 1 }, ticks: { stroke: line, width: 1, size: 4 } };
    const x = table.isTime
      ? { ...axis, size: 30, space: 60, incrs: TIMES, values: (u, splits, place, space, step) => splits.map((at) => timeText(at, step)) }
      : { ...axis, size: 30, space: 60, incrs: [1, 2, 3, 4, 6, 8, 12], values: (u, splits) => splits.map((place) => table.labels[place]?.split(" to ")[0] ?? "") };
    return {
      width,
      height: HEIGHT,
      legend: { show: false },
      cursor: { y: false, points: { size: 7 }, drag: { x: false, y: false } },
      scales: { x: { time: false }, y: { range: (u, low, high) => [Math.min(0, low ?? 0), high > 0 ? high * 1.08 : 1] } },
      axes: [x, { ...axis, size: 48, values: (u, splits) => splits.map(shown) }],
      series: [{}, ...keys.map((key) => ({
        stroke: getComputedStyle(key).color,
        width: key.classList.contains("is-heavy") ? 2.25 : 1.25,
        dash: key.classList.contains("is-canary") ? [6, 3] : undefined,
        paths: table.isTime ? undefined : uPlot.paths.stepped({ align: 1 }),
        points: table.isTime ? { size: 4, fill: getComputedStyle(key).color } : { show: false },
      }))],
      hooks: {
        draw: table.isTime ? [drawMarks(marksOf(figure), ink)] : [],
        setCursor: [(u) => {
          keys.forEach((key, place) => {
            const index = u.cursor.idx;
            key.querySelector("output").textContent = index == null ? "" : shown(u.data[place + 1][index]);
          });
        }],
      },
    };
  };

  const draw = (figure) => {
    inSight.delete(figure);
    const holder = figure.querySelector(".chart-plot");
    holder.hidden = false;
    const width = Math.floor(holder.clientWidth);
    if (width === 0) return; // not on display yet; the observer comes back
    const known = plots.get(figure);
    known?.plot.destroy();
    const table = known?.table ?? read(figure);
    plots.set(figure, { plot: new uPlot(options(figure, table, width), table.data, holder), width, table });
    sight.unobserve(figure);
    holder.dataset.drawn = "yes";
  };

  let isDue = false;
  const drawNext = () => {
    isDue = false;
    const [figure] = inSight;
    if (figure?.isConnected) draw(figure);
    inSight.delete(figure);
    soon();
  };
  const soon = () => {
    if (isDue || inSight.size === 0) return;
    isDue = true;
    requestAnimationFrame(() => setTimeout(drawNext));
  };

  const sight = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) {
      if (isIntersecting) inSight.add(target);
      else inSight.delete(target);
    }
    soon();
  }, { rootMargin: "50% 0px" });

  const resized = new ResizeObserver((entries) => {
    for (const { target } of entries) {
      const known = plots.get(target.closest("figure"));
      const width = Math.floor(target.clientWidth);
      if (!known || width === 0 || width === known.width) continue;
      known.width = width;
      known.plot.setSize({ width, height: HEIGHT });
    }
  });

  const moveCursor = (event, figure) => {
    const known = plots.get(figure);
    if (!known || !["ArrowLeft", "ArrowRight", "Home", "End", "Escape"].includes(event.key)) return;
    event.preventDefault();
    const { plot } = known;
    const last = plot.data[0].length - 1;
    const now = plot.cursor.idx ?? (event.key === "ArrowLeft" ? last + 1 : -1);
    const next = { ArrowLeft: now - 1, ArrowRight: now + 1, Home: 0, End: last }[event.key];
    if (next === undefined) plot.setCursor({ left: -10, top: -10 });
    else plot.setCursor({ left: plot.valToPos(plot.data[0][Math.min(Math.max(next, 0), last)], "x"), top: 10 });
  };

  const save = (blob, figure, kind) => {
    const link = document.createElement("a");
    const title = figure.querySelector("h3").firstChild.textContent.trim().toLowerCase().replace(/[^a-z0-9]+/g, "-");
    link.href = URL.createObjectURL(blob);
    link.download = `${figure.closest(".charts")?.dataset.name ?? "chart"}-${title}.${kind}`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  };

  const quoted = (text) => `"${(/^[=+@\t\r-]/.test(text) && !/^[+-]?[\d.,]+( ?%)?$/.test(text) ? `'${text}` : text).replaceAll('"', '""')}"`;
  const saveCsv = (figure) => {
    const rows = [...figure.querySelectorAll("table tr")].map((row) =>
      [...row.cells].map((cell) => (cell.textContent === ABSENT ? "" : quoted(cell.textContent))).join(","));
    save(new Blob([rows.join("\r\n"), "\r\n"], { type: "text/csv" }), figure, "csv");
  };

  // The drawing with its title, its fact and its keys, on the colour of the page.
  const savePng = (figure) => {
    if (!plots.has(figure)) draw(figure);
    const drawn = figure.querySelector("canvas");
    const scale = devicePixelRatio;
    const head = 64 * scale;
    const canvas = document.createElement("canvas");
    canvas.width = drawn.width;
    canvas.height = drawn.height + head;
    const pen = canvas.getContext("2d");
    pen.fillStyle = getComputedStyle(figure).backgroundColor;
    pen.fillRect(0, 0, canvas.width, canvas.height);
    pen.fillStyle = getComputedStyle(figure).color;
    pen.textBaseline = "top";
    pen.font = `600 ${14 * scale}px system-ui, sans-serif`;
    pen.fillText(figure.querySelector("h3").textContent, 8 * scale, 4 * scale);
    pen.font = `${11 * scale}px system-ui, sans-serif`;
    pen.fillText(figure.querySelector("figcaption p").textContent, 8 * scale, 24 * scale);
    let left = 8 * scale;
    for (const key of figure.querySelectorAll(".key")) {
      const text = key.querySelector("span").textContent;
      pen.strokeStyle = getComputedStyle(key).color;
      pen.lineWidth = (key.classList.contains("is-heavy") ? 3 : 1.5) * scale;
      pen.setLineDash(key.classList.contains("is-canary") ? [6 * scale, 3 * scale] : []);
      pen.beginPath();
      pen.moveTo(left, 50 * scale);
      pen.lineTo(left + 24 * scale, 50 * scale);
      pen.stroke();
      pen.fillText(text, left + 30 * scale, 44 * scale);
      left += 46 * scale + pen.measureText(text).width;
    }
    pen.drawImage(drawn, 0, head);
    canvas.toBlob((blob) => save(blob, figure, "png"), "image/png");
  };

  const start = () => {
    for (const [figure, { plot }] of plots) {
      if (figure.isConnected) continue;
      plot.destroy();
      plots.delete(figure);
    }
    for (const figure of document.querySelectorAll("figure[data-chart]:not([data-ready])")) {
      figure.dataset.ready = "yes";
      const holder = figure.querySelector(".chart-plot");
      const buttons = figure.querySelector(".chart-export");
      holder.tabIndex = 0;
      holder.addEventListener("keydown", (event) => moveCursor(event, figure));
      buttons.hidden = false;
      buttons.addEventListener("click", (event) => {
        const kind = event.target.closest("[data-export]")?.dataset.export;
        if (kind === "csv") saveCsv(figure);
        if (kind === "png") savePng(figure);
      });
      sight.observe(figure);
      resized.observe(holder);
    }
  };
  const again = () => [...plots.keys()].forEach(draw);
  // On paper there is no scrolling: what was never in sight is drawn too.
  const drawAll = () => document.querySelectorAll("figure[data-ready]").forEach(draw);

  document.addEventListener("htmx:afterSettle", start);
  document.addEventListener("themechange", again);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", again);
  matchMedia("print").addEventListener("change", drawAll);
  window.addEventListener("beforeprint", drawAll);
  start();
})();
