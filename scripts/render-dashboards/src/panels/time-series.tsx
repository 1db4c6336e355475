// The time series panel. The component that Grafana publishes is an older sibling of the one in its panel; both draw alike.
import { FieldType, type DataFrame } from '@grafana/data';
import { TimeSeries } from '@grafana/ui';
import type { PanelProps } from '../panel';

export function TimeSeriesPanel({ data, options, width, height, timeZone }: PanelProps) {
  const frames = data.frames.flatMap(drawable);
  if (frames.length === 0) {
    throw new Error('Data is missing a time field');
  }
  return (
    <TimeSeries
      frames={frames}
      structureRev={1}
      timeRange={data.range}
      timeZone={timeZone}
      legend={options.legend}
      width={width}
      height={height}
    />
  );
}

/** A frame's time and numbers; what is neither finite nor a number cannot be drawn. */
function drawable(frame: DataFrame): DataFrame[] {
  const time = frame.fields.find((field) => field.type === FieldType.time);
  const numbers = frame.fields.filter((field) => field.type === FieldType.number);
  if (!time || numbers.length === 0) {
    return [];
  }
  const finite = (value: unknown) => (Number.isFinite(value) ? value : null);
  const fields = [time, ...numbers.map((field) => ({ ...field, values: field.values.map(finite) }))];
  return [{ ...frame, fields }];
}
