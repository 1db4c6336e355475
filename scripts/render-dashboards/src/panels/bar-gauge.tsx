// The bar gauge panel: BarGauge, once for each value.
import {
  getDisplayValueAlignmentFactors,
  getFieldDisplayValues,
  VizOrientation,
  type FieldDisplay,
} from '@grafana/data';
import { BarGauge, VizRepeater } from '@grafana/ui';
import type { PanelProps } from '../panel';

export function BarGaugePanel({ data, options, width, height, theme, timeZone }: PanelProps) {
  const getValues = () =>
    getFieldDisplayValues({
      data: data.frames,
      fieldConfig: data.fieldConfig,
      reduceOptions: options.reduceOptions,
      replaceVariables: data.interpolate,
      theme,
      timeZone,
    });
  const automatic = width > height ? VizOrientation.Vertical : VizOrientation.Horizontal;
  const orientation = options.orientation === VizOrientation.Auto ? automatic : options.orientation;
  return (
    <VizRepeater<FieldDisplay, any>
      getValues={getValues}
      getAlignmentFactors={getDisplayValueAlignmentFactors}
      renderValue={({ value, alignmentFactors, orientation, width, height, count }) => (
        <BarGauge
          value={value.display}
          field={value.field}
          display={value.view?.getFieldDisplayProcessor(value.colIndex ?? 0)}
          text={options.text}
          orientation={orientation}
          alignmentFactors={count > 1 ? alignmentFactors : undefined}
          displayMode={options.displayMode}
          showUnfilled={options.showUnfilled}
          valueDisplayMode={options.valueMode}
          namePlacement={options.namePlacement}
          itemSpacing={options.displayMode === 'lcd' ? 2 : 10}
          lcdCellWidth={12}
          width={width}
          height={height}
          theme={theme}
        />
      )}
      source={data}
      renderCounter={0}
      itemSpacing={options.displayMode === 'lcd' ? 2 : 10}
      minVizWidth={options.minVizWidth}
      minVizHeight={options.minVizHeight}
      maxVizHeight={options.maxVizHeight}
      orientation={orientation}
      width={width}
      height={height}
    />
  );
}
