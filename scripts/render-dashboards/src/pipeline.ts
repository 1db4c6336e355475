// From a panel of the JSON to frames that are ready to draw: queries, transformations, field options and overrides.
import {
  applyFieldOverrides,
  cacheFieldDisplayNames,
  dataLinksOverrideProcessor,
  displayNameOverrideProcessor,
  FieldType,
  identityOverrideProcessor,
  numberOverrideProcessor,
  Registry,
  standardTransformers,
  standardTransformersRegistry,
  stringOverrideProcessor,
  ThresholdsMode,
  thresholdsOverrideProcessor,
  transformDataFrame,
  unitOverrideProcessor,
  valueMappingsOverrideProcessor,
} from '@grafana/data';
import type {
  DataFrame,
  FieldConfigSource,
  GrafanaTheme2,
  InterpolateFunction,
  ScopedVars,
  TimeRange,
} from '@grafana/data';
import { cloneDeep, uniqBy } from 'lodash';
import { lastValueFrom } from 'rxjs';
import type { Panel, Target } from './dashboard';
import { defaultsOf } from './defaults';
import { createInterpolate, type Variable } from './interpolate';
import { queryTargets } from './prometheus';
import { panelRange, stepFor } from './time';

// Some are listed twice, under an older name too.
standardTransformersRegistry.setInit(() =>
  uniqBy(Object.values(standardTransformers), 'id').map((transformer: any) => ({
    ...transformer,
    transformation: () => Promise.resolve(transformer),
    editor: () => null,
    imageDark: '',
    imageLight: '',
  }))
);

export interface Context {
  variables: Variable[];
  range: TimeRange;
  theme: GrafanaTheme2;
  timeZone: string;
  title: string;
  scrapeInterval: string;
  panels: Panel[];
}

export interface PanelData {
  frames: DataFrame[];
  fieldConfig: FieldConfigSource;
  options: Record<string, any>;
  range: TimeRange;
  interpolate: InterpolateFunction;
  error?: string;
}

export async function loadPanel(panel: Panel, scope: ScopedVars, width: number, context: Context): Promise<PanelData> {
  const range = panelRange(context.range, panel.timeFrom, panel.timeShift);
  const fill = createInterpolate(context.variables, range, undefined, context.title);
  const interpolate: InterpolateFunction = (text, more, format) => fill(text, { ...scope, ...more }, format);
  const { options, custom, color } = defaultsOf(panel.type);
  const fieldConfig = completeFieldConfig(panel.fieldConfig, custom, color);
  const result: PanelData = { frames: [], fieldConfig, options: { ...options, ...panel.options }, range, interpolate };
  try {
    const stepOf = (target: { interval?: string }) => {
      const minStep = { query: fill(target.interval ?? '', scope), panel: fill(panel.interval ?? '', scope) };
      return stepFor(range, panel.maxDataPoints ?? width, minStep, context.scrapeInterval);
    };
    refuseOtherSources(panel);
    const frames = await queryTargets(
      targetsOf(panel, context.panels),
      range,
      stepOf,
      (step) => createInterpolate(context.variables, range, step, context.title),
      scope
    );
    const transformed = await transform(frames, panel, interpolate);
    result.frames = applyFieldOverrides({
      data: transformed,
      fieldConfig,
      fieldConfigRegistry: registryOf(fieldConfig) as any,
      replaceVariables: interpolate,
      theme: context.theme,
      timeZone: context.timeZone,
    });
    cacheFieldDisplayNames(result.frames);
  } catch (error) {
    result.error = error instanceof Error ? error.message : String(error);
  }
  return result;
}

/** A panel may take what another one asks. */
function targetsOf(panel: Panel, panels: Panel[]): Target[] {
  const source = typeof panel.datasource === 'object' ? panel.datasource?.uid : panel.datasource;
  if (source !== '-- Dashboard --') {
    return panel.targets ?? [];
  }
  const all = panels.flatMap((one) => [one, ...(one.panels ?? [])]);
  return all.find(({ id }) => id === panel.targets?.[0]?.panelId)?.targets ?? [];
}

function refuseOtherSources(panel: Panel) {
  for (const source of [panel.datasource, ...(panel.targets ?? []).map((target) => target.datasource)]) {
    const type = typeof source === 'object' ? source?.type : undefined;
    if (type && type !== 'prometheus' && type !== 'datasource' && type !== 'grafana') {
      throw new Error(`a data source of type ${type} cannot be asked here`);
    }
  }
}

async function transform(frames: DataFrame[], panel: Panel, interpolate: InterpolateFunction): Promise<DataFrame[]> {
  const wanted = (panel.transformations ?? []).filter((one) => !one.disabled);
  for (const { id } of wanted) {
    // Grafana passes over what it does not know; here that would hide what is missing.
    if (!standardTransformersRegistry.getIfExists(id)) {
      throw new Error(`the transformation ${id} is not among those that Grafana publishes`);
    }
  }
  return lastValueFrom(transformDataFrame(wanted, frames, { interpolate }));
}

function completeFieldConfig(given: FieldConfigSource | undefined, custom: object, color: string): FieldConfigSource {
  const config = cloneDeep(given ?? { defaults: {}, overrides: [] });
  config.overrides ??= [];
  const thresholds = {
    mode: ThresholdsMode.Absolute,
    steps: [
      { value: -Infinity, color: 'green' },
      { value: 80, color: 'red' },
    ],
  };
  config.defaults = { color: { mode: color }, thresholds, mappings: [], ...config.defaults };
  config.defaults.custom = { ...custom, ...config.defaults.custom };
  // JSON has no infinity, so the first step comes as null.
  const properties = config.overrides.flatMap((override) => override.properties);
  const inOverrides = properties.filter(({ id }) => id === 'thresholds').map(({ value }) => value);
  for (const { steps } of [config.defaults.thresholds, ...inOverrides]) {
    if (steps[0] && steps[0].value == null) {
      steps[0].value = -Infinity;
    }
  }
  return config;
}

const STANDARD: Record<string, any> = {
  displayName: displayNameOverrideProcessor,
  unit: unitOverrideProcessor,
  min: numberOverrideProcessor,
  max: numberOverrideProcessor,
  decimals: numberOverrideProcessor,
  fieldMinMax: identityOverrideProcessor,
  thresholds: thresholdsOverrideProcessor,
  mappings: valueMappingsOverrideProcessor,
  noValue: stringOverrideProcessor,
  links: dataLinksOverrideProcessor,
  actions: identityOverrideProcessor,
  color: identityOverrideProcessor,
  filterable: identityOverrideProcessor,
  description: identityOverrideProcessor,
};

/** The properties that a field may have: Grafana's own, and of the panel's type those that the JSON speaks of. */
function registryOf(config: FieldConfigSource) {
  const inDefaults = Object.keys(config.defaults.custom ?? {}).map((key) => `custom.${key}`);
  const inOverrides = config.overrides.flatMap((rule) => rule.properties.map(({ id }) => id));
  const custom = new Set([...inDefaults, ...inOverrides].filter((id) => id.startsWith('custom.')));
  const forNumbers = ['min', 'max', 'decimals', 'fieldMinMax'];
  return new Registry<any>(() => [
    ...Object.entries(STANDARD).map(([id, process]) => ({
      id,
      path: id,
      name: id,
      process,
      settings: {},
      shouldApply: (field: any) => !forNumbers.includes(id) || field.type === FieldType.number,
    })),
    ...[...custom].map((id) => ({
      id,
      path: id.slice('custom.'.length),
      name: id,
      isCustom: true,
      process: identityOverrideProcessor,
      settings: {},
      shouldApply: () => true,
    })),
  ]);
}
