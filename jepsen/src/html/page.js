'use strict';
(() => {
  const run = JSON.parse(document.getElementById('run').textContent);
  const canvas = document.getElementById('timeline');
  const tip = document.getElementById('tip');
  const detail = document.getElementById('detail');
  const COLOURS = ['--ok', '--fail', '--info', '--info'];
  const WORDS = ['ok', 'fail', 'info', 'open'];
  const LEFT = 92, RIGHT = 12, TOP = 22, LATENCY = 150, GAP = 26;
  const LANE = run.words.length < 15 ? 34 : 24;
  const whole = [0, Math.max(1, run.ms)];
  let view = whole.slice(), drag = null, chosen = null, asked = false;

  const lanes = run.words.length;
  const height = TOP + lanes * LANE + GAP + LATENCY + 24;
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const ended = (op) => op[1] < 0 ? run.ms : op[1];
  // Latencies from 1 ms to the longest, in powers of ten.
  const longest = run.ops.reduce((most, op) => op[1] < 0 ? most : Math.max(most, op[1] - op[0]), 10);
  const powers = Math.ceil(Math.log10(longest));
  const latencyY = (ms) => TOP + lanes * LANE + GAP + LATENCY * (1 - Math.log10(Math.max(1, ms)) / powers);
  const width = () => canvas.clientWidth;
  const x = (ms) => LEFT + (ms - view[0]) / (view[1] - view[0]) * (width() - LEFT - RIGHT);
  const time = (px) => view[0] + (px - LEFT) / (width() - LEFT - RIGHT) * (view[1] - view[0]);

  function draw() {
    asked = false;
    const scale = window.devicePixelRatio || 1;
    canvas.style.height = height + 'px';
    canvas.width = Math.round(width() * scale);
    canvas.height = Math.round(height * scale);
    const pen = canvas.getContext('2d');
    pen.scale(scale, scale);
    pen.clearRect(0, 0, width(), height);
    const colours = COLOURS.map(colour), soft = colour('--soft'), line = colour('--line'), ink = colour('--ink');
    pen.font = '11px system-ui, sans-serif';
    pen.textBaseline = 'middle';
    const right = width() - RIGHT, bottom = height - 20;
    pen.save();
    pen.beginPath();
    pen.rect(LEFT, 0, right - LEFT, height);
    pen.clip();
    let free = -1e9;
    for (const fault of run.faults) {
      const [from, to, back] = [x(fault.began), x(fault.ended), x(fault.mended)];
      if (back < LEFT || right < from) continue;
      pen.fillStyle = colour('--mend-band');
      pen.fillRect(to, TOP, Math.max(0, back - to), bottom - TOP);
      pen.fillStyle = colour('--fault-band');
      pen.fillRect(from, TOP, Math.max(2, to - from), bottom - TOP);
      const name = fault.name + (fault.ok ? '' : ' (no effect)');
      if (free < from) {
        pen.fillStyle = colour('--fault');
        pen.fillText(name, Math.max(LEFT, from) + 1, TOP - 9);
        free = Math.max(LEFT, from) + pen.measureText(name).width + 8;
      }
    }
    pen.restore();
    // Lanes: single operations where few are in view, else how many there are.
    run.words.forEach((word, lane) => {
      const y = TOP + lane * LANE;
      pen.fillStyle = line;
      pen.fillRect(LEFT, y + LANE - 1, right - LEFT, 1);
      pen.fillStyle = soft;
      pen.textAlign = 'right';
      pen.fillText(word, LEFT - 8, y + LANE / 2);
      pen.textAlign = 'left';
    });
    const inView = run.ops.filter((op) => op[0] <= view[1] && view[0] <= ended(op));
    pen.save();
    pen.beginPath();
    pen.rect(LEFT, TOP, right - LEFT, bottom - TOP);
    pen.clip();
    if (inView.length < 4000) {
      const rows = run.words.map(() => []);
      for (const op of inView) {
        // The first row that is free.
        const open = rows[op[2]];
        let row = open.findIndex((until) => until <= op[0]);
        if (row < 0) row = open.length;
        open[row] = ended(op);
        const tall = (LANE - 6) / 4;
        const y = TOP + op[2] * LANE + 3 + (row % 4) * tall;
        pen.globalAlpha = op[3] === 3 ? .35 : .9;
        pen.fillStyle = colours[op[3]];
        pen.fillRect(x(op[0]), y, Math.max(1.5, x(ended(op)) - x(op[0])), tall - 1.5);
      }
      pen.globalAlpha = 1;
    } else {
      const step = 3, bins = Math.ceil((right - LEFT) / step);
      const counts = run.words.map(() => [0, 1, 2].map(() => new Float32Array(bins)));
      for (const op of inView) {
        const bin = Math.floor((x(op[0]) - LEFT) / step);
        if (0 <= bin && bin < bins) counts[op[2]][Math.min(2, op[3])][bin]++;
      }
      counts.forEach((kinds, lane) => {
        const sums = kinds[0].map((count, bin) => count + kinds[1][bin] + kinds[2][bin]);
        const most = sums.reduce((a, b) => Math.max(a, b), 1);
        for (let bin = 0; bin < bins; bin++) {
          let y = TOP + (lane + 1) * LANE - 2;
          for (const kind of [0, 2, 1]) {
            const count = kinds[kind][bin];
            if (!count) continue;
            const tall = Math.max(kind ? 2 : 1, count / most * (LANE - 6));
            pen.fillStyle = colours[kind];
            pen.fillRect(LEFT + bin * step, y - tall, step - .5, tall);
            y -= tall;
          }
        }
      });
    }
    const dot = inView.length < 4000 ? 3 : 2;
    pen.globalAlpha = inView.length < 4000 ? .8 : .35;
    for (const op of inView) {
      if (op[1] < 0) continue;
      pen.fillStyle = colours[op[3]];
      pen.fillRect(x(op[1]) - dot / 2, latencyY(op[1] - op[0]) - dot / 2, dot, dot);
    }
    pen.globalAlpha = 1;
    if (chosen) {
      pen.strokeStyle = ink;
      pen.strokeRect(x(chosen[0]) - 2, TOP + chosen[2] * LANE + 1, Math.max(4, x(ended(chosen)) - x(chosen[0]) + 4), LANE - 3);
    }
    pen.restore();
    pen.fillStyle = soft;
    pen.textAlign = 'right';
    for (let power = 0; power <= powers; power++) {
      const y = latencyY(10 ** power);
      pen.fillText(power < 3 ? 10 ** power + ' ms' : 10 ** (power - 3) + ' s', LEFT - 8, y);
      pen.fillStyle = line;
      pen.fillRect(LEFT, y, right - LEFT, 1);
      pen.fillStyle = soft;
    }
    pen.textAlign = 'center';
    const span = view[1] - view[0];
    const wanted = span / 8, unit = 10 ** Math.floor(Math.log10(wanted));
    const step = [1, 2, 5, 10].map((times) => times * unit).find((one) => wanted <= one);
    for (let ms = Math.ceil(view[0] / step) * step; ms <= view[1]; ms += step) {
      pen.fillText((ms / 1000).toFixed(step < 1000 ? 3 : 0) + ' s', x(ms), height - 9);
    }
    if (drag && drag.now !== undefined) {
      pen.fillStyle = colour('--mend-band');
      pen.fillRect(Math.min(drag.from, drag.now), TOP, Math.abs(drag.now - drag.from), bottom - TOP);
    }
  }
  const redraw = () => { if (!asked) { asked = true; requestAnimationFrame(draw); } };

  function near(px, py) {
    let best = null, least = 12;
    for (const op of run.ops) {
      if (op[0] > view[1] || ended(op) < view[0]) continue;
      let away;
      if (py < TOP + lanes * LANE) {
        if (Math.floor((py - TOP) / LANE) !== op[2]) continue;
        away = Math.max(x(op[0]) - px, px - x(ended(op)), 0);
      } else {
        if (op[1] < 0) continue;
        away = Math.hypot(x(op[1]) - px, latencyY(op[1] - op[0]) - py);
      }
      if (away < least || (away === least && best && op[3] && !best[3])) { least = away; best = op; }
    }
    return best;
  }
  const say = (op) => `${run.words[op[2]]} ${WORDS[op[3]]}, process ${op[4]}\nfrom ${(op[0] / 1000).toFixed(3)} s` +
    (op[1] < 0 ? ', never answered' : `, ${op[1] - op[0]} ms`) + `\nevents ${op[5]}` + (op[6] < 0 ? '' : ` to ${op[6]}`);

  function show(index) {
    const op = run.ops.find((one) => one[5] === index || one[6] === index);
    const known = run.details[index];
    chosen = op || null;
    if (op && (op[0] < view[0] || view[1] < op[0])) {
      const half = Math.min(run.ms, 30000) / 2;
      view = [Math.max(0, op[0] - half), Math.min(whole[1], op[0] + half)];
    }
    detail.style.display = 'block';
    detail.querySelector('b').textContent = 'event ' + index;
    detail.querySelector('pre').textContent =
      [known && JSON.stringify(known, null, 1), op && say(op)].filter(Boolean).join('\n\n') ||
      'It stands in history.jsonl; only what evidence names, and what did not succeed, is in this page.';
    redraw();
  }

  canvas.addEventListener('mousemove', (event) => {
    const box = canvas.getBoundingClientRect(), px = event.clientX - box.left, py = event.clientY - box.top;
    if (drag) { drag.now = px; redraw(); }
    const op = near(px, py), at = time(px);
    const fault = run.faults.find((one) => one.began <= at && at <= Math.max(one.mended, one.ended));
    const text = [op && say(op), fault && `${fault.name} on ${fault.node || '-'}`].filter(Boolean).join('\n');
    tip.style.display = text && LEFT <= px ? 'block' : 'none';
    tip.textContent = text;
    tip.style.left = Math.min(event.clientX + 14, innerWidth - 300) + 'px';
    tip.style.top = event.clientY + 14 + 'px';
  });
  canvas.addEventListener('mouseleave', () => { tip.style.display = 'none'; });
  canvas.addEventListener('mousedown', (event) => {
    drag = { from: event.clientX - canvas.getBoundingClientRect().left };
  });
  addEventListener('mouseup', (event) => {
    if (!drag) return;
    const box = canvas.getBoundingClientRect(), to = event.clientX - box.left;
    if (Math.abs(to - drag.from) < 5) {
      const op = near(to, event.clientY - box.top);
      if (op) show(op[6] < 0 ? op[5] : op[6]);
    } else {
      const [from, until] = [time(Math.min(drag.from, to)), time(Math.max(drag.from, to))];
      view = [Math.max(0, from), Math.min(whole[1], Math.max(until, from + 10))];
    }
    drag = null;
    redraw();
  });
  canvas.addEventListener('wheel', (event) => {
    if (!event.ctrlKey && !event.shiftKey) return;
    event.preventDefault();
    const at = time(event.clientX - canvas.getBoundingClientRect().left), by = (event.deltaY || event.deltaX) < 0 ? .8 : 1.25;
    view = [Math.max(0, at - (at - view[0]) * by), Math.min(whole[1], at + (view[1] - at) * by)];
    redraw();
  }, { passive: false });
  const all = () => { view = whole.slice(); redraw(); };
  canvas.addEventListener('dblclick', all);
  document.getElementById('all').addEventListener('click', all);
  detail.querySelector('button').addEventListener('click', () => { detail.style.display = 'none'; chosen = null; redraw(); });
  for (const link of document.querySelectorAll('a.event')) {
    link.addEventListener('click', () => show(Number(link.dataset.event)));
  }
  addEventListener('resize', redraw);
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', redraw);
  draw();
})();
