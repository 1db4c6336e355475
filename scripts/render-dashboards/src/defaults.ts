// What a panel has where its JSON says nothing.
import { FieldColorModeId } from '@grafana/data';
import { defaultOptions as barGauge } from '@grafana/schema/dist/esm/raw/composable/bargauge/panelcfg/x/BarGaugePanelCfg_types.gen';
import { defaultOptions as gauge } from '@grafana/schema/dist/esm/raw/composable/gauge/panelcfg/x/GaugePanelCfg_types.gen';
import { defaultOptions as heatmap } from '@grafana/schema/dist/esm/raw/composable/heatmap/panelcfg/x/HeatmapPanelCfg_types.gen';
import { defaultOptions as stat } from '@grafana/schema/dist/esm/raw/composable/stat/panelcfg/x/StatPanelCfg_types.gen';
import {
  defaultFieldConfig as timelineField,
  defaultOptions as timeline,
} from '@grafana/schema/dist/esm/raw/composable/statetimeline/panelcfg/x/StateTimelinePanelCfg_types.gen';
import {
  defaultFieldConfig as historyField,
  defaultOptions as history,
} from '@grafana/schema/dist/esm/raw/composable/statushistory/panelcfg/x/StatusHistoryPanelCfg_types.gen';
import { defaultOptions as table } from '@grafana/schema/dist/esm/raw/composable/table/panelcfg/x/TablePanelCfg_types.gen';
import { defaultOptions as text } from '@grafana/schema/dist/esm/raw/composable/text/panelcfg/x/TextPanelCfg_types.gen';

interface Defaults {
  options: Record<string, any>;
  custom: Record<string, any>;
  color: string;
}

const reduceOptions = { values: false, calcs: ['lastNotNull'], fields: '' };
const legend = { displayMode: 'list', placement: 'bottom', showLegend: true, calcs: [] };
const byThresholds = FieldColorModeId.Thresholds;

const DEFAULTS: Record<string, Defaults> = {
  stat: { options: { reduceOptions, orientation: 'auto', ...stat }, custom: {}, color: byThresholds },
  gauge: { options: { reduceOptions, orientation: 'auto', ...gauge }, custom: {}, color: byThresholds },
  bargauge: { options: { reduceOptions, orientation: 'auto', ...barGauge }, custom: {}, color: byThresholds },
  table: {
    options: table,
    custom: { align: 'auto', cellOptions: { type: 'auto' }, inspect: false },
    color: byThresholds,
  },
  timeseries: {
    options: { legend },
    custom: {
      drawStyle: 'line',
      lineInterpolation: 'linear',
      lineWidth: 1,
      fillOpacity: 0,
      gradientMode: 'none',
      showPoints: 'auto',
      pointSize: 5,
      spanNulls: false,
      stacking: { mode: 'none', group: 'A' },
      axisPlacement: 'auto',
      axisGridShow: true,
      scaleDistribution: { type: 'linear' },
      thresholdsStyle: { mode: 'off' },
    },
    color: FieldColorModeId.PaletteClassic,
  },
  'state-timeline': {
    options: { legend, ...timeline },
    custom: timelineField,
    color: FieldColorModeId.ContinuousGrYlRd,
  },
  'status-history': { options: { legend, ...history }, custom: historyField, color: byThresholds },
  heatmap: { options: heatmap, custom: {}, color: byThresholds },
  text: { options: text, custom: {}, color: byThresholds },
};

export function defaultsOf(type: string): Defaults {
  return DEFAULTS[type] ?? { options: {}, custom: {}, color: byThresholds };
}
