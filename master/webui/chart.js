// Charts of the last hour: areas of what is used and offered below the line of what there is.
import { html, useEffect, useMemo, useState } from './vendor/preact-htm.js';
import { time } from './format.js';
import { read } from './live.js';

const WIDTH = 600;
const HEIGHT = 120;
const KEPT_S = 3600;
const STEP_S = 5;

/** The last hour as columns by name, the lines of roles and zones among them: read once, then grown by what the overview says. `shares`: of now, `{ 'role dev': 0.25, … }`. */
export function useHistory(now, shares) {
  const [rows, setRows] = useState([]);
  useEffect(() => {
    let gone = false;
    read('/ui/history').then(({ data }) => {
      if (gone) return;
      const lines = [...Object.entries(data.roles).map(([name, line]) => [`role ${name}`, line]), ...Object.entries(data.zones).map(([name, line]) => [`zone ${name}`, line])];
      const of = (row, at) => ({ ...Object.fromEntries(data.columns.map((name, index) => [name, row[index]])), shares: Object.fromEntries(lines.filter(([, line]) => line[at] !== null).map(([name, line]) => [name, line[at] / 1000])) });
      setRows((later) => [...data.rows.map(of).filter((row) => !later.length || row.time < later[0].time), ...later]);
    }).catch(() => {});
    return () => { gone = true; };
  }, []);
  useEffect(() => {
    if (!now) return;
    const row = { time: now.time, running: now.running, waiting: now.waiting, started: now.started, ended: now.ended, shares };
    for (const name of ['cpus', 'mem', 'disk', 'gpus']) {
      Object.assign(row, { [name]: now.total[name], [`${name}_used`]: now.used[name], [`${name}_offered`]: now.offered[name] });
    }
    setRows((before) => {
      const previous = before.at(-2);
      const kept = previous && row.time - previous.time < STEP_S ? before.slice(0, -1) : before;
      return [...kept, row].filter((one) => row.time - one.time < KEPT_S);
    });
  }, [now?.time]);
  return rows;
}

const line = (points) => points.map(([x, y], index) => `${index ? 'L' : 'M'}${x.toFixed(1)},${y.toFixed(1)}`).join('');

/** `layers`: [class, row → amount], stacked from below; `top`: row → what there is. `text` writes an amount. */
export function Areas({ rows, layers, top, text, label }) {
  const [at, setAt] = useState(null);
  const shapes = useMemo(() => {
    if (rows.length < 2) return null;
    const [first, last] = [rows[0].time, rows.at(-1).time];
    const most = Math.max(1e-9, ...rows.map((row) => Math.max(top(row), layers.reduce((sum, [, amount]) => sum + amount(row), 0))));
    const x = (row) => ((row.time - first) / Math.max(1, last - first)) * WIDTH;
    const y = (amount) => HEIGHT - (amount / most) * (HEIGHT - 6);
    let below = rows.map(() => 0);
    const areas = layers.filter(([, amount], index) => !index || rows.some((row) => amount(row) > 0)).map(([name, amount]) => {
      const sums = rows.map((row, index) => below[index] + amount(row));
      const shape = `${line(rows.map((row, index) => [x(row), y(sums[index])]))}${line(rows.map((row, index) => [x(row), y(below[index])]).reverse()).replace('M', 'L')}Z`;
      const edge = line(rows.map((row, index) => [x(row), y(sums[index])]));
      below = sums;
      return [name, shape, edge];
    });
    return { areas, top: line(rows.map((row) => [x(row), y(top(row))])), x };
  }, [rows]);
  if (!shapes) return html`<div class="chart empty-chart"><span class="soft">gathering the first samples</span></div>`;
  const row = at === null ? null : rows[at];
  const move = (event) => {
    const box = event.currentTarget.getBoundingClientRect();
    const wanted = rows[0].time + ((event.clientX - box.left) / box.width) * (rows.at(-1).time - rows[0].time);
    setAt(rows.reduce((best, one, index) => (Math.abs(one.time - wanted) < Math.abs(rows[best].time - wanted) ? index : best), 0));
  };
  return html`<figure class="chart" role="img" aria-label=${label} onpointermove=${move} onpointerleave=${() => setAt(null)}>
    <svg viewBox=${`0 0 ${WIDTH} ${HEIGHT}`} preserveAspectRatio="none" aria-hidden="true">
      ${shapes.areas.map(([name, shape, edge]) => html`<g key=${name} class=${name}><path class="area" d=${shape} /><path class="edge" d=${edge} /></g>`)}
      <path class="top" d=${shapes.top} />
      ${row && html`<line class="cursor" x1=${shapes.x(row)} x2=${shapes.x(row)} y1="0" y2=${HEIGHT} />`}
    </svg>
    <figcaption class="num">${row ? html`<b>${time(row.time)}</b>${layers.map(([name, amount]) => html`<span key=${name}> ${name} ${text(amount(row))}</span>`)}` : html`<span>${time(rows[0].time)}</span><span class="grow"></span><span>now</span>`}</figcaption>
  </figure>`;
}

/** A line without axes, as high as its largest value or `top`. */
export function Spark({ values, label, top = 1 }) {
  if (values.length < 2) return null;
  const most = Math.max(top, ...values);
  const points = values.map((value, index) => [(index / (values.length - 1)) * 100, 28 - (value / most) * 25]);
  return html`<svg class="spark" viewBox="0 0 100 30" preserveAspectRatio="none" role="img" aria-label=${label}><path d=${`${line(points)}L100,30L0,30Z`} class="area" /><path d=${line(points)} class="edge" /></svg>`;
}
