// The gauge panel, which Grafana does not publish: an arc of the value, and one of the thresholds around it.
import { formattedValueToString, getFieldDisplayValues, type FieldDisplay, type GrafanaTheme2 } from '@grafana/data';
import { VizRepeater } from '@grafana/ui';
import type { PanelProps } from '../panel';

const START = -120;
const SWEEP = 240;

export function GaugePanel({ data, options, width, height, theme, timeZone }: PanelProps) {
  const getValues = () =>
    getFieldDisplayValues({
      data: data.frames,
      fieldConfig: data.fieldConfig,
      reduceOptions: options.reduceOptions,
      replaceVariables: data.interpolate,
      theme,
      timeZone,
    });
  return (
    <VizRepeater<FieldDisplay>
      getValues={getValues}
      renderValue={({ value, width, height, count }) => (
        <Gauge value={value} named={count > 1} width={width} height={height} theme={theme} />
      )}
      source={data}
      renderCounter={0}
      autoGrid
      minVizWidth={options.minVizWidth}
      minVizHeight={options.minVizHeight}
      orientation={options.orientation}
      width={width}
      height={height}
    />
  );
}

interface GaugeProps {
  value: FieldDisplay;
  named: boolean;
  width: number;
  height: number;
  theme: GrafanaTheme2;
}

function Gauge({ value: { display, field }, named, width, height, theme }: GaugeProps) {
  const min = field.min ?? 0;
  const max = field.max ?? 100;
  const share = (value: number) => Math.max(0, Math.min(1, (value - min) / (max - min || 1)));
  const radius = Math.min(width / 2, (height - (named ? 20 : 0)) / 1.6) - 8;
  const thickness = radius / 4;
  const text = formattedValueToString(display);
  const steps = field.thresholds?.steps ?? [];
  const angle = (part: number) => START + SWEEP * part;
  return (
    <svg width={width} height={height}>
      <g transform={`translate(${width / 2}, ${radius + 8})`} fill="none">
        <path
          d={arc(radius - thickness, START, START + SWEEP)}
          stroke={theme.colors.background.secondary}
          strokeWidth={thickness}
        />
        <path
          d={arc(radius - thickness, START, angle(share(display.numeric)))}
          stroke={display.color}
          strokeWidth={thickness}
        />
        {steps.map((step, index) => (
          <path
            key={index}
            d={arc(radius, angle(share(step.value)), angle(share(steps[index + 1]?.value ?? max)))}
            stroke={theme.visualization.getColorByName(step.color)}
            strokeWidth={4}
          />
        ))}
        <text
          y={radius / 4}
          textAnchor="middle"
          fontSize={Math.min(radius / 2.5, (radius * 2) / text.length)}
          fontWeight={500}
          fill={display.color}
        >
          {text}
        </text>
        {named && (
          <text y={height - radius - 14} textAnchor="middle" fontSize={13} fill={theme.colors.text.primary}>
            {display.title}
          </text>
        )}
      </g>
    </svg>
  );
}

function arc(radius: number, from: number, to: number): string {
  const at = (degrees: number) => {
    const radians = (degrees * Math.PI) / 180;
    return `${radius * Math.sin(radians)} ${-radius * Math.cos(radians)}`;
  };
  return `M ${at(from)} A ${radius} ${radius} 0 ${to - from > 180 ? 1 : 0} 1 ${at(to)}`;
}
