// The state timeline and the status history, which Grafana does not publish: rows of boxes on a plot with its axes and legend.
import {
  FieldColorModeId,
  FieldType,
  formattedValueToString,
  getFieldDisplayName,
  getValueFormat,
  type DataFrame,
  type Field,
  type GrafanaTheme2,
  type TimeRange,
} from '@grafana/data';
import {
  AxisPlacement,
  ScaleDirection,
  ScaleOrientation,
  VisibilityMode,
  type LegendDisplayMode,
} from '@grafana/schema';
import { getTextColorForBackground, Pagination, UPlotChart, VizLegend, VizLayout } from '@grafana/ui';
import type uPlot from 'uplot';
import { useMemo } from 'react';
import type { PanelProps } from '../panel';
import { noSeries, rowPlot } from './row-plot';

interface Box {
  from: number;
  to: number;
  text: string;
  color: string;
}

interface Row {
  name: string;
  field: Field;
  boxes: Box[];
}

const FONT_SIZE = 12;
const PAGES_HEIGHT = 40;

export function TimelinePanel({ data, options, width, height, panel, theme, timeZone }: PanelProps) {
  const history = panel.type === 'status-history';
  const all = useMemo(() => rowsOf(data.frames, data.range, history, options.mergeValues !== false, theme), [data]);
  const pages = Math.ceil(all.length / (options.perPage || Infinity)) || 1;
  const rows = useMemo(() => (pages > 1 ? all.slice(0, options.perPage) : all), [all]);
  const config = useMemo(() => plotOf(rows, data.range, history, options, theme, timeZone), [rows]);
  const items = legendItems(rows, theme);
  const shown = options.legend?.showLegend !== false && items.length > 0;
  const legend = shown ? (
    <VizLegend
      placement={options.legend.placement}
      displayMode={options.legend.displayMode as LegendDisplayMode}
      items={items}
      readonly
    />
  ) : null;
  if (rows.length === 0) {
    throw new Error('Data is missing a time field');
  }
  return (
    <VizLayout
      width={width}
      height={height}
      legend={
        legend && (
          <VizLayout.Legend placement={options.legend.placement} maxHeight="35%" maxWidth="60%">
            {legend}
          </VizLayout.Legend>
        )
      }
    >
      {(plotWidth: number, plotHeight: number) => (
        <div>
          <UPlotChart
            config={config}
            data={noSeries(data.range.from.valueOf(), data.range.to.valueOf())}
            width={plotWidth}
            height={plotHeight - (pages > 1 ? PAGES_HEIGHT : 0)}
          />
          <Pagination currentPage={1} numberOfPages={pages} onNavigate={() => {}} hideWhenSinglePage />
        </div>
      )}
    </VizLayout>
  );
}

function rowsOf(frames: DataFrame[], range: TimeRange, history: boolean, merge: boolean, theme: GrafanaTheme2): Row[] {
  return frames.flatMap((frame) => {
    const time = frame.fields.find((field) => field.type === FieldType.time);
    if (!time) {
      return [];
    }
    const fields = frame.fields.filter((field) => field !== time && field.type !== FieldType.time);
    return fields
      .filter((field) => !field.config.custom?.hideFrom?.viz)
      .map((field) => ({
        name: getFieldDisplayName(field, frame, frames),
        field,
        boxes: boxesOf(time, field, range, history, merge, theme),
      }));
  });
}

/** A value holds until the next one, but unless gaps are to be bridged no longer than a step: they are to be seen. */
function boxesOf(
  time: Field,
  field: Field,
  range: TimeRange,
  history: boolean,
  merge: boolean,
  theme: GrafanaTheme2
): Box[] {
  const end = range.to.valueOf();
  const boxes: Box[] = [];
  const gaps = time.values.slice(1).map((at, index) => at - time.values[index]);
  const step = time.config.interval ?? Math.min(...gaps, Infinity);
  const { spanNulls } = field.config.custom ?? {};
  const hold = spanNulls === true ? Infinity : Math.max(step, Number(spanNulls) || 0);
  time.values.forEach((from, index) => {
    const value = field.values[index];
    if (value == null || Number.isNaN(value)) {
      return;
    }
    const shown = field.display!(value);
    const next = time.values[index + 1] ?? from + step;
    const to = Math.min(next - from <= hold ? next : from + step, end);
    const color = theme.visualization.getColorByName(shown.color ?? 'gray');
    const box = { from, to, text: formattedValueToString(shown), color };
    if (history) {
      // A sample stands in the middle of its column.
      boxes.push({ ...box, from: from - step / 2, to: from + step / 2 });
      return;
    }
    const last = boxes.at(-1);
    if (merge && last && last.text === box.text && last.color === box.color && last.to >= from) {
      last.to = to;
    } else {
      boxes.push(box);
    }
  });
  return boxes;
}

function plotOf(rows: Row[], range: TimeRange, history: boolean, options: any, theme: GrafanaTheme2, timeZone: string) {
  // The columns of a history may reach over both ends.
  const starts = history ? rows.flatMap((row) => row.boxes.slice(0, 1).map((box) => box.from)) : [];
  const ends = history ? rows.flatMap((row) => row.boxes.slice(-1).map((box) => box.to)) : [];
  return rowPlot({
    from: Math.min(range.from.valueOf(), ...starts),
    to: Math.max(range.to.valueOf(), ...ends),
    rows: rows.length,
    labels: rows.map(({ name }, index) => ({ at: index + 0.5, text: name })),
    topDown: true,
    theme,
    timeZone,
    draw: (plot) => drawRows(plot, rows, history, options, theme),
  });
}

function drawRows(plot: uPlot, rows: Row[], history: boolean, options: any, theme: GrafanaTheme2) {
  const { ctx, bbox } = plot;
  const ratio = window.devicePixelRatio;
  const rowHeight = bbox.height / rows.length;
  const boxHeight = rowHeight * (options.rowHeight ?? 0.9);
  ctx.font = `500 ${FONT_SIZE * ratio}px ${theme.typography.fontFamily}`;
  ctx.textBaseline = 'middle';
  rows.forEach(({ field, boxes }, index) => {
    const { fillOpacity = 70, lineWidth = 0 } = field.config.custom ?? {};
    const top = bbox.top + index * rowHeight + (rowHeight - boxHeight) / 2;
    for (const box of boxes) {
      let left = plot.valToPos(box.from, 'x', true);
      let width = plot.valToPos(box.to, 'x', true) - left;
      if (history) {
        const whole = width;
        width *= options.colWidth ?? 0.9;
        left += (whole - width) / 2;
      }
      ctx.globalAlpha = fillOpacity / 100;
      ctx.fillStyle = box.color;
      ctx.fillRect(left, top, width, boxHeight);
      ctx.globalAlpha = 1;
      if (lineWidth > 0) {
        ctx.lineWidth = lineWidth * ratio;
        ctx.strokeStyle = box.color;
        ctx.strokeRect(left, top, width, boxHeight);
      }
      const inView = Math.max(left, bbox.left);
      const room = left + width - inView - 4 * ratio;
      const fits = ctx.measureText(box.text).width <= room && boxHeight > FONT_SIZE * ratio;
      const { showValue } = options;
      if (showValue === VisibilityMode.Never || (showValue === VisibilityMode.Auto && !fits)) {
        continue;
      }
      const align = history ? 'center' : (options.alignValue ?? 'left');
      const at = { left: inView + 4 * ratio, center: inView + room / 2 + 2 * ratio, right: left + width - 4 * ratio };
      ctx.textAlign = align;
      ctx.fillStyle = fillOpacity < 50 ? theme.colors.text.primary : getTextColorForBackground(box.color);
      ctx.fillText(box.text, at[align as keyof typeof at], top + boxHeight / 2);
    }
  });
}

/** As in Grafana: the steps where colours come from thresholds, nothing for a gradient, else each state that there was. */
function legendItems(rows: Row[], theme: GrafanaTheme2) {
  const config = rows[0]?.field.config;
  const mode = config?.color?.mode ?? FieldColorModeId.Fixed;
  const steps = config?.thresholds?.steps ?? [];
  if (mode === FieldColorModeId.Thresholds && steps.length > 1) {
    const format = getValueFormat(config.unit ?? 'none');
    const show = (value: number) => formattedValueToString(format(value, config.decimals));
    return steps.map((step, index) => ({
      label: index === 0 ? `< ${show(steps[1].value)}` : `${show(step.value)}+`,
      color: theme.visualization.getColorByName(step.color),
      yAxis: 1,
    }));
  }
  if (mode.startsWith('continuous')) {
    return [];
  }
  const states = new Map(rows.flatMap((row) => row.boxes.map((box) => [box.text, box.color] as const)));
  return [...states].map(([label, color]) => ({ label, color, yAxis: 1 }));
}
