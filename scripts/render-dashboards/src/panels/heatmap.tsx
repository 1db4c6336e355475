// The heatmap panel, which Grafana does not publish, for what comes in buckets already: one row a bucket, one cell a step.
import {
  colorManipulator,
  FieldType,
  formattedValueToString,
  getFieldDisplayName,
  getValueFormat,
} from '@grafana/data';
import type { DataFrame, GrafanaTheme2 } from '@grafana/data';
import { UPlotChart, VizLayout } from '@grafana/ui';
import * as chromatic from 'd3-scale-chromatic';
import { useMemo } from 'react';
import type uPlot from 'uplot';
import type { PanelProps } from '../panel';
import { noSeries, rowPlot } from './row-plot';

const FROM_LIGHT_TO_DARK =
  /^(Blues|Greens|Greys|Oranges|Purples|Reds|BuGn|BuPu|GnBu|OrRd|PuBuGn|PuBu|PuRd|RdPu|YlGnBu|YlGn|YlOrBr|YlOrRd)$/;
const FROM_DARK_TO_LIGHT = /^(Turbo|Cividis|Viridis|Magma|Inferno|Plasma|Warm|Cool|CubehelixDefault)$/;
const LEGEND_HEIGHT = 26;

export function HeatmapPanel({ data, options, width, height, theme, timeZone }: PanelProps) {
  if (options.calculate) {
    throw new Error('heatmaps that calculate their buckets are not drawn here');
  }
  const from = data.range.from.valueOf();
  const to = data.range.to.valueOf();
  const palette = paletteOf(options.color, theme);
  const cells = useMemo(() => cellsOf(data.frames[0], options), [data]);
  const config = useMemo(
    () =>
      rowPlot({
        from,
        to,
        rows: cells.rows.length,
        labels: labelsOf(cells.rows, options.yAxis ?? {}),
        topDown: Boolean(options.yAxis?.reverse),
        theme,
        timeZone,
        draw: (plot) => drawCells(plot, cells, palette, options),
      }),
    [cells]
  );
  const shown = options.legend?.show !== false && cells.max > 0;
  return (
    <VizLayout width={width} height={height}>
      {(plotWidth: number, plotHeight: number) => (
        <div>
          <UPlotChart
            config={config}
            data={noSeries(from, to)}
            width={plotWidth}
            height={plotHeight - (shown ? LEGEND_HEIGHT : 0)}
          />
          {shown && <ColorScale {...{ palette, cells }} frame={data.frames[0]} />}
        </div>
      )}
    </VizLayout>
  );
}

interface Cells {
  times: number[];
  step: number;
  rows: Array<{ name: string; values: Array<number | null> }>;
  min: number;
  max: number;
}

function cellsOf(frame: DataFrame, options: any): Cells {
  const [time, ...buckets] = frame.fields;
  const rows = buckets
    .filter((field) => field.type === FieldType.number)
    .map((field) => ({ name: getFieldDisplayName(field, frame), values: field.values }));
  const least = options.filterValues?.le ?? -Infinity;
  const most = options.filterValues?.ge ?? Infinity;
  const shown = rows.flatMap((row) => row.values).filter((value) => value > least && value < most);
  const min = options.color.min ?? shown.reduce((least, value) => Math.min(least, value), Infinity);
  const max = options.color.max ?? shown.reduce((most, value) => Math.max(most, value), -Infinity);
  return { times: time.values, step: time.config.interval ?? time.values[1] - time.values[0], rows, min, max };
}

/** A bucket is named by its upper end. */
function labelsOf(rows: Cells['rows'], { unit, decimals }: { unit?: string; decimals?: number }) {
  const format = getValueFormat(unit ?? 'short');
  const show = (name: string) =>
    Number.isFinite(Number(name)) ? formattedValueToString(format(Number(name), decimals)) : name;
  return rows.map(({ name }, index) => ({ at: index + 1, text: show(name) }));
}

function drawCells(plot: uPlot, { times, step, rows, min, max }: Cells, palette: string[], options: any) {
  const { ctx } = plot;
  const gap = (options.cellGap ?? 1) * window.devicePixelRatio;
  rows.forEach(({ values }, row) => {
    const low = plot.valToPos(row, 'y', true);
    const high = plot.valToPos(row + 1, 'y', true);
    values.forEach((value, index) => {
      if (value == null || value <= (options.filterValues?.le ?? -Infinity)) {
        return;
      }
      // A sample tells of the step that it ends.
      const left = plot.valToPos(times[index] - step, 'x', true);
      const right = plot.valToPos(times[index], 'x', true);
      const share = max > min ? Math.max(0, Math.min(1, (value - min) / (max - min))) : 1;
      ctx.fillStyle = palette[Math.round(share * (palette.length - 1))];
      ctx.fillRect(left, Math.min(low, high), Math.max(1, right - left - gap), Math.abs(high - low) - gap);
    });
  });
}

function paletteOf(color: any, theme: GrafanaTheme2): string[] {
  const steps = color.steps ?? 64;
  const shares = Array.from({ length: steps }, (_, index) => index / (steps - 1));
  if (color.mode === 'opacity') {
    const fill = theme.visualization.getColorByName(color.fill);
    const exponent = color.scale === 'linear' ? 1 : (color.exponent ?? 0.5);
    return shares.map((share) => colorManipulator.alpha(fill, share ** exponent));
  }
  const name = color.scheme === 'Cubehelix' ? 'CubehelixDefault' : (color.scheme ?? 'Oranges');
  const interpolate = (chromatic as any)[`interpolate${name}`] as (share: number) => string;
  const palette = shares.map(interpolate);
  // The most is to stand out most from the background.
  const turned = FROM_LIGHT_TO_DARK.test(name) ? theme.isDark : FROM_DARK_TO_LIGHT.test(name) ? theme.isLight : true;
  return color.reverse || turned ? palette.reverse() : palette;
}

function ColorScale({ palette, cells, frame }: { palette: string[]; cells: Cells; frame: DataFrame }) {
  const display = frame.fields[1].display!;
  return (
    <div style={{ display: 'flex', gap: 8, height: LEGEND_HEIGHT, alignItems: 'end', fontSize: 11, lineHeight: 1 }}>
      <span>{formattedValueToString(display(cells.min))}</span>
      <span style={{ width: 300, height: 9, background: `linear-gradient(90deg, ${palette.join(', ')})` }} />
      <span>{formattedValueToString(display(cells.max))}</span>
    </div>
  );
}
