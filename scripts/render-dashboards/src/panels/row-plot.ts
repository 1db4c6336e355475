// A plot of rows over time: what timelines and heatmaps have in common.
import type { GrafanaTheme2 } from '@grafana/data';
import { AxisPlacement, ScaleDirection, ScaleOrientation } from '@grafana/schema';
import { UPlotConfigBuilder } from '@grafana/ui';
import type uPlot from 'uplot';

interface RowPlot {
  from: number;
  to: number;
  rows: number;
  /** Texts on the left, and where they stand, in rows. */
  labels: Array<{ at: number; text: string }>;
  topDown: boolean;
  theme: GrafanaTheme2;
  timeZone: string;
  draw: (plot: uPlot) => void;
}

export function rowPlot({ from, to, rows, labels, topDown, theme, timeZone, draw }: RowPlot): UPlotConfigBuilder {
  const builder = new UPlotConfigBuilder(timeZone);
  builder.addScale({
    scaleKey: 'x',
    isTime: true,
    orientation: ScaleOrientation.Horizontal,
    direction: ScaleDirection.Right,
    range: () => [from, to],
  });
  builder.addScale({
    scaleKey: 'y',
    orientation: ScaleOrientation.Vertical,
    direction: topDown ? ScaleDirection.Down : ScaleDirection.Up,
    range: () => [0, rows],
  });
  builder.addAxis({ scaleKey: 'x', isTime: true, placement: AxisPlacement.Bottom, timeZone, theme });
  builder.addAxis({
    scaleKey: 'y',
    placement: AxisPlacement.Left,
    splits: () => labels.map(({ at }) => at),
    values: () => labels.map(({ text }) => text),
    grid: { show: false },
    ticks: { show: false },
    gap: 15,
    theme,
  });
  builder.addHook('draw', (plot) => {
    const { ctx, bbox } = plot;
    ctx.save();
    ctx.beginPath();
    ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
    ctx.clip();
    draw(plot);
    ctx.restore();
  });
  return builder;
}

/** uPlot wants a series, and we draw by ourselves. */
export const noSeries = (from: number, to: number) => [[from, to]] as unknown as uPlot.AlignedData;
