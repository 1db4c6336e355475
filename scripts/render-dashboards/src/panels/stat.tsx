// The stat panel: BigValue, once for each value.
import { getDisplayValueAlignmentFactors, getFieldDisplayValues, type FieldDisplay } from '@grafana/data';
import { BigValue, BigValueGraphMode, BigValueTextMode, VizRepeater } from '@grafana/ui';
import type { PanelProps } from '../panel';

export function StatPanel({ data, options, width, height, panel, theme, timeZone }: PanelProps) {
  const getValues = () =>
    getFieldDisplayValues({
      data: data.frames,
      fieldConfig: data.fieldConfig,
      reduceOptions: options.reduceOptions,
      replaceVariables: data.interpolate,
      sparkline: options.graphMode !== BigValueGraphMode.None,
      percentChange: options.showPercentChange,
      theme,
      timeZone,
    });
  // A value that nothing else names gets its name.
  const nameless = data.fieldConfig.defaults.displayName || !panel.title;
  const textMode =
    options.textMode === BigValueTextMode.Auto && nameless ? BigValueTextMode.ValueAndName : options.textMode;
  return (
    <VizRepeater<FieldDisplay, any>
      getValues={getValues}
      getAlignmentFactors={getDisplayValueAlignmentFactors}
      renderValue={({ value, alignmentFactors, width, height, count }) => (
        <BigValue
          value={value.display}
          count={count}
          sparkline={value.sparkline && { ...value.sparkline, timeRange: data.range }}
          colorMode={options.colorMode}
          graphMode={options.graphMode}
          justifyMode={options.justifyMode}
          textMode={textMode}
          text={options.text}
          alignmentFactors={alignmentFactors}
          disableWideLayout={!options.wideLayout}
          percentChangeColorMode={options.percentChangeColorMode}
          hasLinks={value.hasLinks}
          width={width}
          height={height}
          theme={theme}
        />
      )}
      source={data}
      renderCounter={0}
      itemSpacing={3}
      autoGrid
      orientation={options.orientation}
      width={width}
      height={height}
    />
  );
}
